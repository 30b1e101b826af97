//! Checks that cost processor time run beside the workers, on threads of their own, behind a bounded queue.

use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::thread;

use super::line::{JobLine, Waits};
use crate::message::Network;
use crate::sync::{Condvar, Mutex, whole};

/// The threads, and what waits for them.
pub(super) struct CheckPool {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    line: Mutex<PoolQueue>,
    work: Condvar,
}

struct PoolQueue {
    line: JobLine<Box<dyn PoolJob>>,
    over: bool,
}

/// The client's end of a check. Dropped, the check is not made if it has not begun.
pub(super) struct CheckTicket<T>(Arc<Mutex<TicketSlot<T>>>);

struct TicketSlot<T> {
    stage: TicketStage<T>,
    waker: Option<Waker>,
}

enum TicketStage<T> {
    Queued,
    Runs,
    /// `None`: it was not made, or has failed.
    Over(Option<T>),
}

trait PoolJob: Send {
    fn is_wanted(&self) -> bool;
    fn run(self: Box<Self>);
    fn give_up(self: Box<Self>);
}

struct Check<T, F> {
    slot: Weak<Mutex<TicketSlot<T>>>,
    check: F,
}

/// How far behind other threads those of the pool stand: answers to the connected come first.
const NICE: i32 = 10;

impl CheckPool {
    /// Starts `threads`; so many jobs may wait for them.
    pub fn start(threads: usize, queue_max: usize) -> io::Result<CheckPool> {
        let waiting = PoolQueue { line: JobLine::new(queue_max), over: false };
        let shared = Arc::new(PoolShared { line: Mutex::new(waiting), work: Condvar::new() });
        let pool = CheckPool { shared };
        for _ in 0..threads {
            let shared = pool.shared.clone();
            thread::Builder::new().name("login".to_owned()).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// So many jobs may wait from now on.
    pub fn set_queue_max(&self, queue_max: usize) {
        whole(self.shared.line.lock()).line.set_max(queue_max);
    }

    /// Has `check` made, for a client at the address `from`.
    pub fn check<T: Send + 'static>(
        &self,
        from: Option<IpAddr>,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> CheckTicket<T> {
        let slot = Arc::new(Mutex::new(TicketSlot { stage: TicketStage::Queued, waker: None }));
        let job = Check { slot: Arc::downgrade(&slot), check };
        let out = whole(self.shared.line.lock()).line.push(Network::of(from), Box::new(job));
        match out {
            Some(out) => out.give_up(),
            None => self.shared.work.notify_one(),
        }
        CheckTicket(slot)
    }
}

impl Drop for CheckPool {
    fn drop(&mut self) {
        whole(self.shared.line.lock()).over = true;
        self.shared.work.notify_all();
    }
}

impl PoolShared {
    fn work(&self) {
        // Where it may not be, it stands beside the others.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        while let Some(job) = self.next() {
            job.run();
        }
    }

    fn next(&self) -> Option<Box<dyn PoolJob>> {
        let mut waiting = whole(self.line.lock());
        loop {
            if waiting.over {
                return None;
            }
            if let Some(job) = waiting.line.pop() {
                return Some(job);
            }
            waiting = whole(self.work.wait(waiting));
        }
    }
}

impl<T> CheckTicket<T> {
    /// What came of it, once it is over; `None` in it: it was not made. `waker` is woken when that changes.
    pub fn poll(&self, waker: &Waker) -> Poll<Option<T>> {
        let slot = &mut *whole(self.0.lock());
        match &mut slot.stage {
            TicketStage::Over(said) => Poll::Ready(said.take()),
            TicketStage::Queued | TicketStage::Runs => {
                slot.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Whether it waits for its turn.
    pub fn is_queued(&self) -> bool {
        matches!(whole(self.0.lock()).stage, TicketStage::Queued)
    }
}

impl<T> TicketSlot<T> {
    fn end(slot: &Mutex<TicketSlot<T>>, said: Option<T>) {
        let waker = {
            let slot = &mut *whole(slot.lock());
            slot.stage = TicketStage::Over(said);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waits for Box<dyn PoolJob> {
    fn is_wanted(&self) -> bool {
        (**self).is_wanted()
    }
}

impl<T: Send, F: FnOnce() -> T + Send> PoolJob for Check<T, F> {
    fn is_wanted(&self) -> bool {
        self.slot.strong_count() > 0
    }

    fn run(self: Box<Self>) {
        let Check { slot, check } = *self;
        let Some(slot) = slot.upgrade() else { return };
        whole(slot.lock()).stage = TicketStage::Runs;
        // A check that panics is of one client; the thread is for all.
        let said: Result<T, Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(check));
        TicketSlot::end(&slot, said.ok());
    }

    fn give_up(self: Box<Self>) {
        if let Some(slot) = self.slot.upgrade() {
            TicketSlot::end(&slot, None);
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use super::*;

    /// Lets one check stand until the test lets it go.
    fn gate() -> (SyncSender<()>, Receiver<()>) {
        mpsc::sync_channel(0)
    }

    struct Bell(SyncSender<()>);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Bell>) {
            let _ = self.0.send(());
        }
    }

    /// Waits for the end of the check.
    fn outcome<T>(ticket: &CheckTicket<T>) -> Option<T> {
        let (ring, rung) = mpsc::sync_channel(1);
        let waker = Waker::from(Arc::new(Bell(ring)));
        loop {
            match ticket.poll(&waker) {
                Poll::Ready(said) => return said,
                Poll::Pending => rung.recv().expect("a ring"),
            }
        }
    }

    /// A pool of one thread, which stands in a check until it is let go.
    fn standing(queue_max: usize) -> (CheckPool, CheckTicket<()>, SyncSender<()>) {
        let pool = CheckPool::start(1, queue_max.max(1)).expect("a thread");
        let (go, gone) = gate();
        let (begin, begun) = gate();
        let first = pool.check(None, move || {
            begin.send(()).expect("a test");
            gone.recv().expect("a test");
        });
        begun.recv().expect("a check");
        pool.set_queue_max(queue_max);
        (pool, first, go)
    }

    #[test]
    fn a_check_beyond_the_queue_is_not_made_and_one_in_it_is() {
        let (pool, first, go) = standing(1);
        assert!(!first.is_queued());
        let second = pool.check(None, || 2);
        let third = pool.check(None, || 3);
        assert!(second.is_queued() && !third.is_queued());
        assert_eq!(outcome(&third), None);
        go.send(()).expect("a check");
        assert_eq!(outcome(&second), Some(2));
    }

    #[test]
    fn a_check_of_a_client_that_has_gone_is_skipped() {
        let (pool, _first, go) = standing(2);
        let (made, was_made) = mpsc::sync_channel::<()>(2);
        drop(pool.check(None, move || made.send(()).expect("room")));
        let last = pool.check(None, || ());
        go.send(()).expect("a check");
        assert_eq!(outcome(&last), Some(()));
        assert!(was_made.recv().is_err(), "it was dropped, and not made");
    }

    #[test]
    fn a_check_that_panics_does_not_take_the_thread_with_it() {
        let pool = CheckPool::start(1, 10).expect("a thread");
        let broken: CheckTicket<()> = pool.check(None, || panic!("on purpose"));
        assert_eq!(outcome(&broken), None);
        assert_eq!(outcome(&pool.check(None, || 1)), Some(1));
    }
}
