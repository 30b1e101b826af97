//! Faults that tests ask for: a panic or a hang at a named place. There are none in builds without debug
//! assertions, and none before [`arm`].
//!
//! A client asks for one with a PUBLISH to the topic `sluice/fault/PLACE`: the next thread that comes to
//! that place panics, or hangs if the payload says `hang`.

/// Topics that ask for a fault begin so.
#[cfg(debug_assertions)]
const TOPICS: &str = "sluice/fault/";

#[cfg(debug_assertions)]
mod armed {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Condvar, Mutex};

    pub static ARMED: AtomicBool = AtomicBool::new(false);
    /// The place, and whether it is a hang.
    pub static PLAN: Mutex<Option<(String, bool)>> = Mutex::new(None);
    pub static NEVER: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

/// From now on a fault may be asked for: the broker does this if `SLUICE_FAULTS` is in its environment.
pub fn arm() {
    #[cfg(debug_assertions)]
    armed::ARMED.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// A client publishes: it may ask for a fault.
#[inline]
pub fn ask(_topic: &str, _payload: &[u8]) {
    #[cfg(debug_assertions)]
    if armed::ARMED.load(std::sync::atomic::Ordering::Relaxed)
        && let Some(place) = _topic.strip_prefix(TOPICS)
    {
        *crate::sync::whole(armed::PLAN.lock()) = Some((place.to_owned(), _payload == b"hang"));
    }
}

/// The thread has come to `place`: the fault that was asked for there happens, once.
#[inline]
pub fn reach(_place: &str) {
    #[cfg(debug_assertions)]
    if armed::ARMED.load(std::sync::atomic::Ordering::Relaxed) {
        let mut plan = crate::sync::whole(armed::PLAN.lock());
        if plan.as_ref().is_none_or(|(place, _)| place != _place) {
            return;
        }
        let hangs = plan.take().is_some_and(|(_, hangs)| hangs);
        drop(plan);
        assert!(hangs, "a fault at {_place}, which a test has asked for");
        let (mutex, condvar) = &armed::NEVER;
        let mut guard = crate::sync::whole(mutex.lock());
        loop {
            guard = crate::sync::whole(condvar.wait(guard));
        }
    }
}
