//! Sampling for OpenTelemetry, in a program that was built without it: there is none.

use super::parent::TraceParent;
use crate::time::Time;

/// There is none.
#[derive(Debug)]
pub enum NoSampling {}

pub use self::NoSampling as Sampling;

impl NoSampling {
    /// It chooses nothing.
    pub(super) fn chooses(&self, _parent: Option<TraceParent>, _now: Time) -> bool {
        match *self {}
    }
}
