//! Messages on their way back from the store. What memory has is answered at once; what needs the
//! disk is read by a thread of its own. A link asks for one page at a time, and so does
//! whatever looks into a queue, and the tick that publishes delayed messages: there are never more
//! jobs than these.

use std::collections::VecDeque;
use std::fmt::{Debug, Display};
use std::task::Waker;

use tracing::error;

use super::Rows;
use crate::broker::ports::{Fetch, Fetched, Fetcher};
use crate::message::{DelayKey, DelayedMessage, Message, Meter, Mid};
use crate::store::bytes::Torn;
use crate::store::engine::Lookup;
use crate::store::facts::{self, RowKey};
use crate::sync::{Condvar, Mutex, whole};

/// What waits for the thread that reads.
#[derive(Debug, Default)]
pub struct Jobs {
    queue: Mutex<JobQueue>,
    added: Condvar,
}

#[derive(Debug, Default)]
struct JobQueue {
    jobs: VecDeque<FetchJob>,
    closed: bool,
}

/// What messages are asked for by: the row that has one, and what that says.
pub trait Wanted: Copy + Debug + Display {
    type Found: Debug;

    fn row(self) -> RowKey;

    fn read(value: &[u8], meter: &'static Meter) -> Result<Self::Found, Torn>;

    /// Puts a job for it among the others.
    fn job(some: SomeJob<Self>) -> FetchJob;
}

#[derive(Debug)]
pub enum FetchJob {
    Waiting(SomeJob<Mid>),
    Delayed(SomeJob<DelayKey>),
}

#[derive(Debug)]
pub struct SomeJob<W: Wanted> {
    found: Fetched<W, W::Found>,
    /// Still to be read, in order.
    want: Vec<W>,
    meter: &'static Meter,
    fetcher: Fetcher<W, W::Found>,
}

impl Wanted for Mid {
    type Found = Message;

    fn row(self) -> RowKey {
        RowKey::message(self)
    }

    fn read(value: &[u8], meter: &'static Meter) -> Result<Message, Torn> {
        facts::read_message(value, meter)
    }

    fn job(some: SomeJob<Mid>) -> FetchJob {
        FetchJob::Waiting(some)
    }
}

impl Wanted for DelayKey {
    type Found = DelayedMessage;

    fn row(self) -> RowKey {
        RowKey::delayed(self)
    }

    fn read(value: &[u8], meter: &'static Meter) -> Result<DelayedMessage, Torn> {
        facts::read_delayed(value, meter)
    }

    fn job(some: SomeJob<DelayKey>) -> FetchJob {
        FetchJob::Delayed(some)
    }
}

impl Jobs {
    /// Begins to fetch.
    pub fn fetch<W: Wanted>(
        &self,
        rows: &impl Rows,
        want: Vec<W>,
        meter: &'static Meter,
        waker: &Waker,
    ) -> Fetch<W, W::Found> {
        let mut found = Fetched::with_capacity(want.len());
        for (index, wanted) in want.iter().enumerate() {
            match rows.find(wanted.row().as_bytes()) {
                Lookup::Value(value) => found.push((*wanted, read(*wanted, &value, meter))),
                Lookup::Deleted => found.push((*wanted, None)),
                Lookup::InTable => {
                    let (fetch, fetcher) = Fetch::begin(waker);
                    let want = want[index..].to_vec();
                    self.add(W::job(SomeJob { found, want, meter, fetcher }));
                    return fetch;
                }
            }
        }
        Fetch::ready(found)
    }

    /// Reads until it is closed.
    pub fn run(&self, rows: &impl Rows) {
        while let Some(job) = self.next() {
            match job {
                FetchJob::Waiting(some) => some.run(rows),
                FetchJob::Delayed(some) => some.run(rows),
            }
        }
    }

    /// Ends [`Jobs::run`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.added.notify_all();
    }

    fn add(&self, job: FetchJob) {
        self.lock().jobs.push_back(job);
        self.added.notify_one();
    }

    fn next(&self) -> Option<FetchJob> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            match queue.jobs.pop_front() {
                Some(job) => return Some(job),
                None => queue = self.added.wait(queue).expect("no code panics while it holds it"),
            }
        }
    }

    fn lock(&self) -> crate::sync::MutexGuard<'_, JobQueue> {
        whole(self.queue.lock())
    }
}

impl<W: Wanted> SomeJob<W> {
    fn run(self, rows: &impl Rows) {
        let SomeJob { mut found, want, meter, fetcher } = self;
        let keys: Vec<RowKey> = want.iter().map(|wanted| wanted.row()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(RowKey::as_bytes).collect();
        match rows.get_many(&keys) {
            Ok(values) => {
                found.extend(want.into_iter().zip(values).map(|(wanted, value)| {
                    (wanted, value.and_then(|value| read(wanted, &value, meter)))
                }));
                fetcher.end(found);
            }
            // It stays where it is, for the next start: it is not reported as lost.
            Err(error) => {
                error!(%error, "what waits in the store cannot be read");
                fetcher.fail();
            }
        }
    }
}

fn read<W: Wanted>(wanted: W, value: &[u8], meter: &'static Meter) -> Option<W::Found> {
    let message = W::read(value, meter);
    if message.is_err() {
        error!(mid = %wanted, "a message in the store says what it cannot mean");
    }
    message.ok()
}
