//! What is known of a client beside its names, and what is kept of it, for rules of access.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, whole};

/// What is known of a client beside its names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// Nothing: it was not connected since the broker started. What depends on it is not allowed.
    #[default]
    Unknown,
    /// Nothing any more: it has published what is retained. What depends on it was allowed then, and still is.
    Past,
    /// What its last connection has shown.
    Of(Circumstances),
}

/// What a connection shows of its client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Circumstances {
    /// The name of the listener.
    pub listener: Option<Box<str>>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The identity in its certificate.
    pub certificate: Option<Box<str>>,
    /// Groups that its authentication has named.
    pub groups: Vec<Box<str>>,
    /// What else its authentication says of it: names and values.
    pub claims: Vec<(Box<str>, Box<str>)>,
}

/// What is kept of a client for rules of access: its standing, and what is made of it.
#[derive(Default)]
pub struct KeptForAccess {
    /// What is known of it.
    pub standing: Standing,
    /// What the permissions made of it and of its names, for the next time.
    pub made: Option<Box<dyn Any + Send>>,
}

/// The place for it. It is small as long as nothing is kept.
#[derive(Default)]
pub(super) struct AccessSlot {
    /// Another number whenever something else is kept; 0: nothing was made of it.
    key: AtomicU64,
    kept: Mutex<Option<Box<KeptForAccess>>>,
}

impl AccessSlot {
    #[inline]
    pub fn key(&self) -> u64 {
        self.key.load(Ordering::Acquire)
    }

    /// What is made of a standing before is forgotten.
    pub fn set(&self, standing: Standing) {
        let mut kept = whole(self.kept.lock());
        *kept = Some(Box::new(KeptForAccess { standing, made: None }));
        self.key.store(0, Ordering::Release);
    }

    /// What was made of the names alone stays.
    pub fn forget(&self) {
        let mut kept = whole(self.kept.lock());
        if kept.as_ref().is_some_and(|kept| kept.standing != Standing::Unknown) {
            *kept = None;
            self.key.store(0, Ordering::Release);
        }
    }

    /// `work` returns the new key too, if it has made something.
    pub fn work<R>(&self, work: impl FnOnce(&mut KeptForAccess) -> (R, Option<u64>)) -> R {
        let mut kept = whole(self.kept.lock());
        let (result, key) = work(kept.get_or_insert_default());
        if let Some(key) = key {
            self.key.store(key, Ordering::Release);
        }
        result
    }
}

impl fmt::Debug for AccessSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessSlot").field("key", &self.key()).finish_non_exhaustive()
    }
}
