//! What is left when a turn has panicked: what it changed so far is carried out, so that no other
//! client loses by it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Broker;
use super::turn::Scratch;
use crate::time::Time;

impl Broker {
    /// After a panic in a turn that worked in `scratch`: carries out what that turn had changed. If even
    /// that panics, the rest is given up, and `scratch` is as new.
    pub fn recover(&self, now: Time, scratch: &mut Scratch) {
        let carried_out = catch_unwind(AssertUnwindSafe(|| {
            scratch.forget();
            scratch.out.clear();
            scratch.changes.clear();
            self.turn(scratch, now).finish();
        }));
        if carried_out.is_err() {
            let torn = std::mem::take(scratch);
            // What it holds may panic once more, when it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(torn)));
        }
    }
}
