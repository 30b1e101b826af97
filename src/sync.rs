//! Locks of the shared state: the standard library's, or shuttle's where tests try every order in
//! which threads can take them.

#[cfg(not(feature = "shuttle"))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

/// The guard of a lock, whether or not a thread has panicked with it: what the lock guards is whole
/// anyway, because every change of it is one step, or is made whole by the caller.
#[inline]
pub fn whole<G>(locked: std::sync::LockResult<G>) -> G {
    locked.unwrap_or_else(std::sync::PoisonError::into_inner)
}
