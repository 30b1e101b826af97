//! The store that keeps its promises: facts as rows of the engine.
//!
//! A message is one row with the list of its receivers. Where it has only one, its end deletes the
//! row; where it has more, each end but the last is a row of its own, and the last deletes them all.

mod fetch;
mod newest;
mod replay;
mod rows;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::thread::JoinHandle;

use foldhash::fast::FixedState;

use super::engine::{Blob, Engine, Lookup, RowBatch, StoreError, Visit};
use super::facts::{self, GROUPS, MESSAGES, RowKey, RowKind, SESSIONS};
use crate::broker::ports::{
    Batch, Fact, Fetch, Marker, Progress, Publication, Receipt, Refused, Store, StoreFigures,
    StoreTimes, Strain,
};
use crate::message::{Attempt, DelayKey, DelayedMessage, Meter, Mid, ReceiverId, SessionId};
use crate::session::WillMessage;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

use fetch::Jobs;
use newest::Newest;
use replay::KeptRows;

/// What stands under the facts: rows that change in batches.
pub trait Rows: Send + Sync + 'static {
    /// Whether there is room for so many more bytes.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn admit(&self, bytes: usize) -> Result<(), Refused>;

    /// Whether there is room again for callers that had to wait; if not, `waker` is woken once when
    /// that may have changed.
    ///
    /// # Errors
    ///
    /// Why there is none.
    fn room(&self, waker: &Waker) -> Result<(), Refused>;

    /// Hands in a batch, empties it, and gives its number.
    fn submit(&self, batch: &mut RowBatch) -> u64;

    /// How far the batch of that number has come; while it is pending, `waker` is woken once when
    /// that changes.
    fn state(&self, number: u64, waker: &Waker) -> Progress;

    /// Where a row is, as far as memory knows.
    fn find(&self, key: &[u8]) -> Lookup;

    /// The value of a row; may read from the disk.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError>;

    /// How they keep up.
    fn strain(&self) -> Strain {
        Strain::default()
    }

    /// The values of rows, in the order of keys; may read from the disk.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Blob>>, StoreError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Their figures, if they have any.
    fn figures(&self) -> Option<StoreFigures> {
        None
    }

    /// How long they took for what they did, if they know.
    fn times(&self) -> Option<StoreTimes> {
        None
    }

    /// Visits the rows with keys that begin with `prefix`, in the order of keys.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

/// Sessions and messages in rows that outlast the process.
pub struct DurableStore<R: Rows> {
    shared: Arc<DurableShared<R>>,
    reader: Option<JoinHandle<()>>,
}

struct DurableShared<R> {
    rows: R,
    next_mid: AtomicU64,
    next_order: AtomicU64,
    numbers: Numbers,
    /// Copies of which more is kept than their message.
    many: Mutex<Copies>,
    newest: Mutex<Newest>,
    /// What the start has read and not told yet.
    kept: Mutex<KeptRows>,
    latest: Time,
    jobs: Jobs,
}

/// Copies of which more is kept than their message.
#[derive(Debug)]
struct Copies {
    /// Messages with more than one receiver, and the receivers that are done with them.
    many: HashMap<Mid, Many, FixedState>,
    /// Those with a row of attempts.
    tried: BTreeSet<(Mid, ReceiverId)>,
}

#[derive(Debug)]
struct Many {
    left: u32,
    done: BTreeSet<ReceiverId>,
}

/// Numbers of Sessions, groups and messages up to which they may have been used: written down before
/// they are, in blocks, so that none is ever used twice.
#[derive(Debug)]
struct Numbers {
    reserved: [AtomicU64; 3],
    change: Mutex<()>,
}

/// So many numbers are reserved in one go; the next block when half of this is left.
const BLOCK: u64 = 1 << 16;

thread_local! {
    /// A batch that each thread fills again and again.
    static BATCH: std::cell::RefCell<RowBatch> = std::cell::RefCell::new(RowBatch::new());
}

/// Reads what the engine shows when it is opened.
#[derive(Debug, Default)]
pub struct Loader {
    kept: KeptRows,
    wrong: Option<String>,
}

impl Loader {
    /// Looks at a row.
    pub fn visit(&mut self, key: &[u8], value: &[u8]) {
        if let Err(facts::Torn) = self.kept.note(key, value) {
            self.wrong.get_or_insert_with(|| replay::wrong(key, value));
        }
    }

    /// The store over `rows`, which are those that were visited.
    ///
    /// # Errors
    ///
    /// The row that says what it cannot mean.
    pub fn finish<R: Rows>(self, rows: R) -> Result<DurableStore<R>, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut kept = self.kept;
        let tried = std::mem::take(&mut kept.noted.tried);
        let many = HashMap::with_hasher(FixedState::with_seed(0));
        let used = kept.noted.numbers;
        let shared = Arc::new(DurableShared {
            rows,
            next_mid: AtomicU64::new(used[MESSAGES] + 1),
            next_order: AtomicU64::new(kept.noted.order + 1),
            numbers: Numbers { reserved: used.map(AtomicU64::new), change: Mutex::new(()) },
            many: Mutex::new(Copies { many, tried }),
            newest: Mutex::default(),
            latest: kept.noted.newest,
            kept: Mutex::new(kept),
            jobs: Jobs::default(),
        });
        let reads = shared.clone();
        let reader = std::thread::Builder::new()
            .name("store reader".to_owned())
            .spawn(move || reads.jobs.run(&reads.rows))
            .map_err(|error| format!("no thread to read the store: {error}"))?;
        Ok(DurableStore { shared, reader: Some(reader) })
    }
}

impl<R: Rows> DurableStore<R> {
    /// First bytes of keys that mostly rise: messages, by their numbers.
    pub const GROWING: [u8; 1] = [RowKind::Message as u8];
    /// The version of what the rows say.
    pub const SCHEMA: u32 = 1;

    /// The latest moment it knows of: time does not go back behind it.
    pub fn newest(&self) -> Time {
        self.shared.latest
    }

    /// The rows.
    pub fn rows(&self) -> &R {
        &self.shared.rows
    }

    /// Gives the rows back, unless they are in use elsewhere.
    pub fn into_rows(mut self) -> Option<R> {
        self.stop_reading();
        let shared = self.shared.clone();
        drop(self);
        Arc::into_inner(shared).map(|shared| shared.rows)
    }

    fn stop_reading(&mut self) {
        self.shared.jobs.close();
        if let Some(reader) = self.reader.take() {
            // It has told what was wrong itself.
            let _ = reader.join();
        }
    }
}

impl DurableStore<Engine> {
    /// The name of a thread of the store that has ended before its time, if one has.
    pub fn dead_thread(&self) -> Option<String> {
        let reader = self.reader.as_ref().is_some_and(JoinHandle::is_finished);
        let reader = reader.then(|| "store reader".to_owned());
        reader.or_else(|| self.shared.rows.dead_thread())
    }
}

impl<R: Rows> Drop for DurableStore<R> {
    fn drop(&mut self) {
        self.stop_reading();
    }
}

impl<R: Rows> Store for DurableStore<R> {
    fn remembers(&self) -> bool {
        true
    }

    fn admit(&self, bytes: usize) -> Result<(), Refused> {
        self.shared.rows.admit(bytes)
    }

    fn room(&self, waker: &Waker) -> Result<(), Refused> {
        self.shared.rows.room(waker)
    }

    fn submit(&self, batch: Batch) -> Receipt {
        let retains = batch.publishes.iter().any(|publication| publication.retained.is_some());
        BATCH.with_borrow_mut(|rows| {
            // Held until they are in the journal: the order of the stamps is the order there.
            let mut newest = (retains || !batch.forgotten.is_empty()).then(|| self.shared.newest());
            self.shared.encode(batch, newest.as_deref_mut(), rows);
            Receipt(self.shared.rows.submit(rows))
        })
    }

    fn state(&self, receipt: Receipt, waker: &Waker) -> Progress {
        self.shared.rows.state(receipt.0, waker)
    }

    fn strain(&self) -> Strain {
        self.shared.rows.strain()
    }

    fn figures(&self) -> Option<StoreFigures> {
        self.shared.rows.figures()
    }

    fn times(&self) -> Option<StoreTimes> {
        self.shared.rows.times()
    }

    fn keeps_will(&self, id: SessionId) -> bool {
        let key = RowKey::session(RowKind::Will, id);
        let rows = &self.shared.rows;
        rows.admit(0) != Err(Refused::Failed)
            && !matches!(rows.find(key.as_bytes()), Lookup::Deleted)
    }

    fn will(&self, id: SessionId) -> Result<WillMessage, String> {
        let key = RowKey::session(RowKind::Will, id);
        let value = self.shared.rows.get(key.as_bytes()).map_err(|error| error.to_string())?;
        let value = value.ok_or_else(|| format!("the Will of session {id} is not in the store"))?;
        facts::read_will(&value).map_err(|facts::Torn| replay::wrong(key.as_bytes(), &value))
    }

    fn fetch(&self, want: Vec<Mid>, meter: &'static Meter, waker: &Waker) -> Fetch {
        self.shared.jobs.fetch(&self.shared.rows, want, meter, waker)
    }

    fn fetch_delayed(
        &self,
        want: Vec<DelayKey>,
        meter: &'static Meter,
        waker: &Waker,
    ) -> Fetch<DelayKey, DelayedMessage> {
        self.shared.jobs.fetch(&self.shared.rows, want, meter, waker)
    }

    fn replay(
        &self,
        meter: &'static Meter,
        mark: &Marker<'_>,
        visit: &mut dyn FnMut(Fact),
    ) -> Result<(), String> {
        self.shared.replay(meter, mark, visit)
    }
}

impl<R: Rows> DurableShared<R> {
    /// The rows of a batch.
    fn encode(&self, batch: Batch, mut newest: Option<&mut Newest>, rows: &mut RowBatch) {
        let mut is_late = |topic: &str, stamp| {
            newest.as_deref_mut().is_some_and(|newest| newest.is_late(topic, stamp, batch.oldest))
        };
        // What came before it is promised with it: so it must stand behind that.
        let rare = batch.rare.map(|rare| *rare).unwrap_or_default();
        let mut late = rare.promises;
        for publication in batch.publishes {
            late |= self.publish(publication, &mut is_late, rows);
        }
        for (session, op) in &batch.ops {
            if facts::may_be_first(op) {
                self.use_number(SESSIONS, session.get(), rows);
            }
            facts::write(*session, op, || self.next_order.fetch_add(1, Ordering::Relaxed), rows);
        }
        for (group, filter) in batch.groups {
            if filter.is_some() {
                self.use_number(GROUPS, group.get(), rows);
            }
            facts::write_group(group, filter.as_ref(), rows);
        }
        for (name, queue) in &rare.queues {
            facts::write_queue(name, queue.as_deref(), rows);
        }
        for (topic, stamp) in batch.forgotten {
            if !is_late(&topic, stamp) {
                rows.delete(&facts::retained_key(&topic));
            }
        }
        for (place, message) in &rare.delayed {
            facts::write_delayed(*place, message.as_ref(), rows);
        }
        if let Some(mark) = &rare.log_mark {
            facts::write_log_mark(mark, rows);
        }
        for (client_id, home) in &rare.homes {
            facts::write_home(client_id, home.as_ref(), rows);
        }
        self.try_again(&rare.attempts, rows);
        self.settle(&batch.settled, rows);
        for change in rare.keys {
            facts::write_key(change, rows);
        }
        if late && rows.is_empty() {
            self.write_numbers(rows);
        }
    }

    /// Returns whether it was retained and has already been replaced.
    fn publish(
        &self,
        publication: Publication,
        is_late: &mut impl FnMut(&str, u64) -> bool,
        rows: &mut RowBatch,
    ) -> bool {
        let Publication { message, mut copies, retained } = publication;
        let parts = message.parts();
        let late = retained.is_some_and(|stamp| is_late(parts.topic, stamp));
        if retained.is_some() && !late {
            let key = facts::retained_key(parts.topic);
            match parts.payload {
                [] => rows.delete(&key),
                _ => rows.put_with(&key, |out| facts::retained(&parts, out)),
            }
        }
        if copies.is_empty() {
            return late;
        }
        let mid = Mid::new(self.next_mid.fetch_add(1, Ordering::Relaxed));
        self.use_number(MESSAGES, mid.get(), rows);
        message.set_mid(mid);
        if copies.len() > 1 {
            self.note_many(mid, copies.len(), BTreeSet::new());
        }
        let key = RowKey::message(mid);
        rows.put_with(key.as_bytes(), |out| facts::message(&parts, &mut copies, out));
        late
    }

    /// Copies are to be tried again.
    fn try_again(&self, attempts: &[Attempt], rows: &mut RowBatch) {
        if attempts.is_empty() {
            return;
        }
        let tried = &mut whole(self.many.lock()).tried;
        for attempt in attempts {
            tried.insert((attempt.mid, attempt.receiver));
            facts::write_attempt(attempt, rows);
        }
    }

    /// Receivers are done with messages.
    fn settle(&self, settled: &[(ReceiverId, Mid)], rows: &mut RowBatch) {
        if settled.is_empty() {
            return;
        }
        let Copies { many: all, tried } = &mut *whole(self.many.lock());
        for &(receiver, mid) in settled {
            if !tried.is_empty() && tried.remove(&(mid, receiver)) {
                rows.delete(RowKey::attempt(mid, receiver).as_bytes());
            }
            let message = RowKey::message(mid);
            let Some(many) = all.get_mut(&mid) else {
                rows.delete(message.as_bytes());
                continue;
            };
            if many.done.contains(&receiver) {
                // Said before: the others still wait for it.
                continue;
            }
            many.left -= 1;
            if many.left > 0 {
                rows.put(RowKey::done(mid, receiver).as_bytes(), &facts::MARK);
                many.done.insert(receiver);
                continue;
            }
            rows.delete(message.as_bytes());
            for receiver in &many.done {
                rows.delete(RowKey::done(mid, *receiver).as_bytes());
            }
            all.remove(&mid);
        }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        whole(self.newest.lock())
    }

    fn note_many(&self, mid: Mid, left: usize, done: BTreeSet<ReceiverId>) {
        let left = u32::try_from(left).expect("fewer receivers than Sessions there can be");
        whole(self.many.lock()).many.insert(mid, Many { left, done });
    }

    /// Sees to it that `number` is among those reserved.
    fn use_number(&self, which: usize, number: u64, rows: &mut RowBatch) {
        let reserved = &self.numbers.reserved[which];
        let enough = || number + BLOCK / 2 <= reserved.load(Ordering::Relaxed);
        if enough() {
            return;
        }
        let _change = whole(self.numbers.change.lock());
        if !enough() {
            reserved.store(number + BLOCK, Ordering::Relaxed);
            self.write_numbers(rows);
        }
    }

    fn write_numbers(&self, rows: &mut RowBatch) {
        let [sessions, groups, messages] = &self.numbers.reserved;
        let numbers = [sessions, groups, messages].map(|number| number.load(Ordering::Relaxed));
        facts::write_numbers(numbers, rows);
    }
}
