//! Wakers that wait for a frame to be settled: each is woken once, with no lock held.

use std::collections::VecDeque;
use std::task::Waker;

use crate::sync::{Mutex, MutexGuard, whole};

/// Wakers, in the order of the frames they wait for.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<VecDeque<(u64, Waker)>>);

impl Waiters {
    /// Waits for frame `lsn`, unless `settled` says under the lock that there is nothing to wait
    /// for any more. A thread that settles frames notes it before it calls [`Waiters::wake`]: so no
    /// wake is lost.
    pub fn add(&self, lsn: u64, waker: &Waker, settled: impl FnOnce() -> bool) -> bool {
        let mut waiting = self.lock();
        if settled() {
            return false;
        }
        // Mostly at the end: frames are waited for in the order they were handed in.
        let at = waiting.partition_point(|&(there, _)| there <= lsn);
        let same = waiting.range(..at).rev().take_while(|(there, _)| *there == lsn);
        if !same.into_iter().any(|(_, there)| there.will_wake(waker)) {
            waiting.insert(at, (lsn, waker.clone()));
        }
        true
    }

    /// Wakes all that wait for frames up to `lsn`.
    pub fn wake(&self, lsn: u64) {
        let woken = {
            let mut waiting = self.lock();
            let count = waiting.partition_point(|&(there, _)| there <= lsn);
            if count == waiting.len() {
                std::mem::take(&mut *waiting)
            } else {
                let rest = waiting.split_off(count);
                std::mem::replace(&mut *waiting, rest)
            }
        };
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Wakers that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Waker)>> {
        whole(self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_woken_once_when_its_frame_is_settled() {
        let waiters = Waiters::default();
        let counted: Vec<Arc<Counted>> = (0..10).map(|_| Arc::default()).collect();
        for lsn in [3, 1, 7, 7, 5, 9, 2] {
            let waker = Waker::from(counted[lsn].clone());
            assert!(waiters.add(lsn as u64, &waker, || false));
            assert!(waiters.add(lsn as u64, &waker, || false));
        }
        let woken = || -> Vec<usize> {
            (0..10).filter(|&at| counted[at].0.load(Ordering::Relaxed) == 1).collect()
        };
        waiters.wake(4);
        assert_eq!(woken(), [1, 2, 3]);
        waiters.wake(7);
        assert_eq!(woken(), [1, 2, 3, 5, 7]);
        waiters.wake(u64::MAX);
        assert_eq!(woken(), [1, 2, 3, 5, 7, 9]);
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn what_is_settled_is_not_waited_for() {
        let waiters = Waiters::default();
        assert!(!waiters.add(1, Waker::noop(), || true));
        assert_eq!(waiters.len(), 0);
    }
}
