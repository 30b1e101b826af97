//! Messages on their way from the store.

use std::sync::Arc;
use std::task::Waker;

use crate::message::{Message, Mid};
use crate::sync::{Mutex, whole};

/// Messages on their way from the store.
#[derive(Debug)]
pub struct Fetch<K = Mid, M = Message>(Arc<Mutex<Fetching<K, M>>>);

#[derive(Debug)]
struct Fetching<K, M> {
    found: Option<Fetched<K, M>>,
    failed: bool,
    waker: Option<Waker>,
}

/// The store's end of a [`Fetch`].
#[derive(Debug)]
pub struct Fetcher<K = Mid, M = Message>(Arc<Mutex<Fetching<K, M>>>);

/// Messages by their numbers; `None` for one that the store could not read.
pub type Fetched<K = Mid, M = Message> = Vec<(K, Option<M>)>;

impl<K, M> Fetch<K, M> {
    /// A fetch of what is here.
    pub fn ready(found: Fetched<K, M>) -> Fetch<K, M> {
        let fetching = Fetching { found: Some(found), failed: false, waker: None };
        Fetch(Arc::new(Mutex::new(fetching)))
    }

    /// A fetch that is under way, and its other end.
    pub fn begin(waker: &Waker) -> (Fetch<K, M>, Fetcher<K, M>) {
        let fetching = Fetching { found: None, failed: false, waker: Some(waker.clone()) };
        let shared = Arc::new(Mutex::new(fetching));
        (Fetch(shared.clone()), Fetcher(shared))
    }

    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        whole(self.0.lock()).found.is_some()
    }

    /// Whether nothing will ever come of it: what was asked for stays in the store, for the next
    /// start.
    pub fn has_failed(&self) -> bool {
        whole(self.0.lock()).failed
    }

    /// What was found, once it is there: every message asked for, in that order; `None` for one
    /// that the store could not read.
    pub fn take(&self) -> Option<Fetched<K, M>> {
        whole(self.0.lock()).found.take()
    }
}

impl<K, M> Fetcher<K, M> {
    /// Hands over what was found, and wakes.
    pub fn end(self, found: Fetched<K, M>) {
        self.settle(|fetching| fetching.found = Some(found));
    }

    /// Says that nothing will ever come of it, and wakes.
    pub fn fail(self) {
        self.settle(|fetching| fetching.failed = true);
    }

    fn settle(self, set: impl FnOnce(&mut Fetching<K, M>)) {
        let waker = {
            let mut fetching = whole(self.0.lock());
            set(&mut fetching);
            fetching.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
