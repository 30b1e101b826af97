//! Messages on their way back from the store. What memory has is answered at once; what needs the
//! disk is read by a thread of its own. A link asks for one page at a time, and so does
//! whatever looks into a queue: there are never more jobs than these.

use std::collections::VecDeque;
use std::task::Waker;

use tracing::error;

use super::Rows;
use crate::broker::ports::{Fetch, Fetched, Fetcher};
use crate::message::{Message, Meter, Mid};
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

#[derive(Debug)]
struct FetchJob {
    found: Fetched,
    /// Still to be read, in order.
    want: Vec<Mid>,
    meter: &'static Meter,
    fetcher: Fetcher,
}

impl Jobs {
    /// Begins to fetch.
    pub fn fetch(
        &self,
        rows: &impl Rows,
        want: Vec<Mid>,
        meter: &'static Meter,
        waker: &Waker,
    ) -> Fetch {
        let mut found = Fetched::with_capacity(want.len());
        for (index, mid) in want.iter().enumerate() {
            match rows.find(RowKey::message(*mid).as_bytes()) {
                Lookup::Value(value) => found.push((*mid, read(*mid, &value, meter))),
                Lookup::Deleted => found.push((*mid, None)),
                Lookup::InTable => {
                    let (fetch, fetcher) = Fetch::begin(waker);
                    let want = want[index..].to_vec();
                    self.add(FetchJob { found, want, meter, fetcher });
                    return fetch;
                }
            }
        }
        Fetch::ready(found)
    }

    /// Reads until it is closed.
    pub fn run(&self, rows: &impl Rows) {
        while let Some(job) = self.next() {
            let FetchJob { mut found, want, meter, fetcher } = job;
            let keys: Vec<RowKey> = want.iter().map(|mid| RowKey::message(*mid)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(RowKey::as_bytes).collect();
            match rows.get_many(&keys) {
                Ok(values) => {
                    found.extend(want.into_iter().zip(values).map(|(mid, value)| {
                        (mid, value.and_then(|value| read(mid, &value, meter)))
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

fn read(mid: Mid, value: &[u8], meter: &'static Meter) -> Option<Message> {
    let message = facts::read_message(value, meter);
    if message.is_err() {
        error!(%mid, "a message in the store says what it cannot mean");
    }
    message.ok()
}
