//! A store for a thread of its own.

use std::task::Waker;

use shuttle::sync::{Condvar, Mutex};
use sluicemq::broker::ports::{Batch, Progress, Receipt, Refused, Store};

/// A store: another thread makes its batches durable, one by one.
#[derive(Default)]
pub struct Disk {
    inner: Mutex<Inner>,
    work: Condvar,
}

#[derive(Default)]
struct Inner {
    submitted: u64,
    durable: u64,
    over: bool,
    /// The first batch with a message in it.
    message: Option<u64>,
    waiting: Vec<(u64, Waker)>,
}

impl Disk {
    pub fn run(&self) {
        loop {
            let mut inner = self.inner.lock().unwrap();
            while inner.durable == inner.submitted && !inner.over {
                inner = self.work.wait(inner).unwrap();
            }
            if inner.durable == inner.submitted {
                return;
            }
            inner.durable += 1;
            let durable = inner.durable;
            let (woken, waiting) =
                std::mem::take(&mut inner.waiting).into_iter().partition(|w| w.0 <= durable);
            inner.waiting = waiting;
            drop(inner);
            let woken: Vec<(u64, Waker)> = woken;
            woken.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Whether a message is durable.
    pub fn has_written_a_message(&self) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.message.is_some_and(|batch| batch <= inner.durable)
    }

    pub fn stop(&self) {
        self.inner.lock().unwrap().over = true;
        self.work.notify_one();
    }
}

impl Store for Disk {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn submit(&self, batch: Batch) -> Receipt {
        let mut inner = self.inner.lock().unwrap();
        inner.submitted += 1;
        if !batch.publishes.is_empty() {
            inner.message = inner.message.or(Some(inner.submitted));
        }
        self.work.notify_one();
        Receipt(inner.submitted)
    }

    fn state(&self, receipt: Receipt, waker: &Waker) -> Progress {
        let mut inner = self.inner.lock().unwrap();
        if receipt.0 <= inner.durable {
            return Progress::Durable;
        }
        inner.waiting.push((receipt.0, waker.clone()));
        Progress::Pending
    }
}
