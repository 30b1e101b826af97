//! Checkpoints: what survived since the last one goes to the table, in large sorted batches.
//!
//! 1. The rows that wait are frozen; a frame *begun* goes to the journal, and is certain before
//!    the table is touched. So are then all the frames the rows came with.
//! 2. All batches; the engine's own row with the last one; one flush.
//! 3. A frame *finished*. Segments wholly below are given back.
//!
//! If the last checkpoint that began also finished, the table must hold exactly what its own row
//! says. If not, the journal still has everything, and writing it again does no harm.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::budget::DiskBudget;
use super::capacity::Shut;
use super::disk::Disk;
use super::error::StoreError;
use super::frame::FrameKind;
use super::meta::{self, Meta};
use super::options::checkpoint_room;
use super::pending::{PendingRow, PendingRows};
use super::rows::Blob;
use super::schedule::Call;
use super::shared::EngineShared;
use super::table::RowChange;
use super::tail::Transition;
use crate::sync::atomic::Ordering;
use crate::sync::whole;
use crate::time::{Clock, Time};

/// Writes checkpoints.
pub struct Checkpointer {
    shared: Arc<EngineShared>,
    disk: Arc<dyn Disk>,
    budget: Arc<DiskBudget>,
    /// What the table holds.
    meta: Meta,
    begun: Time,
    /// Rows of a checkpoint that has begun, and the last frame they came with: not in the table yet.
    frozen: Option<(Arc<PendingRows>, u64)>,
    /// The disk has no room for all the rows at once: the table is flushed between batches.
    sparing: bool,
    /// The table was told that nothing is written any more.
    rested: bool,
}

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckpointOutcome {
    /// It is on stable storage.
    Written,
    /// It could have filled the disk: not begun.
    Refused,
}

impl Checkpointer {
    /// Writes to the table, which holds what `meta` says.
    pub fn new(
        shared: Arc<EngineShared>,
        disk: Arc<dyn Disk>,
        budget: Arc<DiskBudget>,
        meta: Meta,
    ) -> Checkpointer {
        let begun = shared.clock.now();
        Checkpointer {
            shared,
            disk,
            budget,
            meta,
            begun,
            frozen: None,
            sparing: false,
            rested: false,
        }
    }

    /// Writes checkpoints when they are due, until told to stop: the body of a thread.
    pub fn run(mut self) {
        let interval = self.shared.options.checkpoint_interval;
        let rest_after = self.shared.options.rest_after;
        loop {
            let work = has_work(&self.shared);
            let passed = self.shared.clock.now().since(self.begun);
            if !work && !self.rested && passed >= rest_after {
                if self.rest().is_err() {
                    self.shared.schedule.closed();
                    return;
                }
                continue;
            }
            let call = if work && passed >= interval {
                Call::Due(0)
            } else {
                let mut most = match work {
                    true => Some(interval.saturating_sub(passed)),
                    // What comes meanwhile wakes it only if it is much.
                    false => (!self.rested).then_some(interval.min(rest_after / 8)),
                };
                if self.shared.room.is_shut(Shut::Checkpoint) {
                    // There may be nothing to write, but callers wait for room.
                    self.make_room();
                    most = Some(AGAIN);
                }
                self.shared.schedule.sleep(most, || has_work(&self.shared))
            };
            let answered = match call {
                Call::Look => continue,
                Call::Close => break,
                Call::Due(answered) => answered,
            };
            let outcome = self.checkpoint();
            let full = outcome.as_ref().is_ok_and(|outcome| *outcome == CheckpointOutcome::Refused);
            let answer = match &outcome {
                Ok(CheckpointOutcome::Written) => Ok(()),
                Ok(CheckpointOutcome::Refused) => Err("there is no room on the disk".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            self.shared.schedule.answer(answered, answer);
            if outcome.is_err() {
                self.shared.schedule.closed();
                return;
            }
            if full {
                self.shared.schedule.put_off();
                if self.shared.schedule.is_closing() {
                    // The journal has it all: a broker that stops does not wait for a disk.
                    break;
                }
                std::thread::sleep(AGAIN);
            }
        }
        if has_work(&self.shared) {
            let outcome = self.checkpoint().map(|_| ()).map_err(|error| error.to_string());
            self.shared.schedule.answer(u64::MAX, outcome);
        }
        self.shared.schedule.closed();
    }

    /// Tells the table that nothing is written for now.
    fn rest(&mut self) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        shared.check()?;
        let _quiet = whole(shared.quiet.lock());
        self.rested = true;
        shared.on_table(shared.table()?.rest())
    }

    /// Writes everything handed in so far to the table.
    pub fn checkpoint(&mut self) -> Result<CheckpointOutcome, StoreError> {
        let shared = self.shared.clone();
        shared.check()?;
        shared.table()?;
        let _quiet = whole(shared.quiet.lock());
        // One that had begun when there was no more room comes first.
        if self.write_frozen()? == CheckpointOutcome::Refused || self.make_room().is_none() {
            return Ok(CheckpointOutcome::Refused);
        }
        let (frozen, of, mark) = self.freeze();
        shared.wait_until_certain(mark)?;
        debug!(rows = frozen.rows(), "checkpoint begun");
        self.frozen = Some((frozen, of));
        self.write_frozen()
    }

    /// Writes the rows that are frozen, if there are any, to the table. The room for that is spoken
    /// for only now: the frame that says it has begun may itself have needed another segment, and
    /// what came since room was looked for is among the rows.
    fn write_frozen(&mut self) -> Result<CheckpointOutcome, StoreError> {
        let Some((frozen, of)) = self.frozen.clone() else { return Ok(CheckpointOutcome::Written) };
        let (shared, budget) = (self.shared.clone(), self.budget.clone());
        let begun = shared.clock.now();
        let wanted = self.make_room();
        let claimed = wanted.and_then(|wanted| budget.reserve_checkpoint(&*self.disk, wanted));
        let Some(claimed) = claimed else { return Ok(CheckpointOutcome::Refused) };
        let (rows, kept) = self.write(&frozen, of)?;
        drop(claimed);
        debug!(rows, "checkpoint written");
        self.finish(&frozen, &kept, of);
        (self.frozen, self.rested) = (None, false);
        let now = shared.clock.now();
        shared.figures().checkpoint(rows, now.since(begun), self.meta.tally.rows());
        self.begun = begun;
        Ok(CheckpointOutcome::Written)
    }

    /// Freezes the rows that wait: they, the last frame they came with, and the frame that says
    /// that the checkpoint has begun.
    pub fn freeze(&mut self) -> (Arc<PendingRows>, u64, u64) {
        let mut tail = self.shared.tail();
        let (frozen, of) = tail.freeze();
        let mark = self.shared.submit_mark(&mut tail, FrameKind::Begun, of);
        self.shared.schedule.begun();
        (frozen, of, mark)
    }

    /// Writes frozen rows to the table and flushes it: how many rows changed, and which keys came
    /// and went.
    pub fn write(
        &mut self,
        frozen: &PendingRows,
        of: u64,
    ) -> Result<(u64, Vec<Transition>), StoreError> {
        let shared = self.shared.clone();
        let mut meta = self.meta.clone();
        let mut transitions = Vec::new();
        let (mut rows, mut batch, mut bytes) = (0, Vec::new(), 0);
        let sorted = frozen.sorted();
        let mut old = Vec::new().into_iter();
        for (at, entry) in sorted.iter().enumerate() {
            if at % READ_ROWS == 0 {
                old = self.old(&sorted[at..sorted.len().min(at + READ_ROWS)])?.into_iter();
            }
            let old = if entry.in_table { old.next().expect("a value for each") } else { None };
            if let Some((change, transition)) = change(entry, old, &mut meta) {
                rows += 1;
                bytes += change.0.len() + change.1.as_ref().map_or(0, |value| value.len());
                batch.push(change);
                transitions.extend(transition.map(|there| (entry.key.clone(), entry.hash, there)));
            }
            if batch.len() >= shared.options.checkpoint_rows_max || bytes >= BATCH_BYTES {
                shared.on_table(shared.table()?.apply(std::mem::take(&mut batch)))?;
                bytes = 0;
                if self.sparing {
                    // What a batch replaced gives its room to the next one.
                    shared.on_table(shared.table()?.flush())?;
                }
            }
        }
        meta.checkpoint = of;
        meta.schema = shared.options.schema;
        batch.insert(0, (meta::KEY.into(), Some(meta.encode()[..].into())));
        shared.on_table(shared.table()?.apply(batch))?;
        shared.on_table(shared.table()?.flush())?;
        self.meta = meta;
        Ok((rows, transitions))
    }

    /// The table holds it: the frozen rows are given up, and segments wholly below.
    pub fn finish(&mut self, frozen: &Arc<PendingRows>, transitions: &[Transition], of: u64) {
        for part in transitions.chunks(1024) {
            self.shared.tail().note_transitions(part);
        }
        let mut tail = self.shared.tail();
        tail.forget_frozen(frozen);
        self.shared.submit_mark(&mut tail, FrameKind::Finished, of);
        self.shared.release(&mut tail, of);
        self.shared.room.set_used(tail.queued_bytes(), tail.pending_bytes());
        drop(tail);
        self.shared.recount.store(false, Ordering::Relaxed);
        self.shared.room.set_free(self.budget.free(&*self.disk), &self.shared.options);
        self.shared.room.wake(&self.shared.options);
    }

    /// What the table has of those entries that may be in it.
    fn old(&self, entries: &[&PendingRow]) -> Result<Vec<Option<Blob>>, StoreError> {
        let there = entries.iter().filter(|entry| entry.in_table);
        let keys: Vec<Blob> = there.map(|entry| entry.key.clone()).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.on_table(self.shared.table()?.get_many(keys))
    }

    /// The room a checkpoint wants on the disk, if there is so much, for a table that would not survive
    /// a full one. If not, the ballast makes some, and nothing new is admitted until it is there
    /// again.
    ///
    /// What a table rewrites beside the rows that change is the larger part where they are small and
    /// scattered, as those are that only delete. If it is too much for the disk, it is counted for
    /// one batch only: else a disk that is full would need the more room the more is deleted.
    fn make_room(&mut self) -> Option<u64> {
        let options = &self.shared.options;
        let (bytes, rows) = {
            let tail = self.shared.tail();
            let next = tail.next_rows();
            (next.bytes() as u64, next.rows() as u64)
        };
        let free = self.budget.free(&*self.disk);
        let for_rows = |rows| checkpoint_room(bytes, rows);
        self.sparing = free < for_rows(rows).saturating_add(options.ballast_bytes * 2);
        let at_once = if self.sparing { options.checkpoint_rows_max as u64 } else { rows };
        let wanted = for_rows(rows.min(at_once));
        if free >= wanted.saturating_add(options.ballast_bytes * 2) {
            let ballast = options.ballast_for(options.segment_for(self.shared.room.used().2));
            let kept = if ballast == 0 { Ok(()) } else { self.keep_ballast(ballast) };
            match kept {
                Ok(()) => self.shared.room.shut(Shut::Checkpoint, false),
                Err(error) => {
                    let error = StoreError::io("make", &self.disk.path(BALLAST))(error);
                    self.shared.room.shut_for(Shut::Checkpoint, &error);
                }
            }
            self.shared.room.wake(options);
            return Some(wanted);
        }
        if free >= wanted {
            return Some(wanted);
        }
        debug!(free, wanted, rows, bytes, "the disk has no room for a checkpoint");
        self.shared.room.shut(Shut::Checkpoint, true);
        self.shared.room.wake(options);
        if free.saturating_add(self.ballast()) < wanted {
            return None;
        }
        let removed = self.disk.remove(BALLAST);
        let there = removed.is_ok() && self.disk.sync().is_ok();
        (there && self.budget.free(&*self.disk) >= wanted).then_some(wanted)
    }

    /// Bytes that the removal of the ballast makes free.
    fn ballast(&self) -> u64 {
        self.disk.open(BALLAST).and_then(|file| file.len()).unwrap_or(0)
    }

    /// Makes the ballast, or makes it longer, if there is none of this length.
    fn keep_ballast(&self, len: u64) -> io::Result<()> {
        let make = || -> io::Result<()> {
            let file = match self.disk.create(BALLAST) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.disk.open(BALLAST)?
                }
                other => other?,
            };
            let mut at = file.len()?;
            if at >= len {
                return Ok(());
            }
            let block = vec![0; BLOCK];
            while at < len {
                let part = usize::try_from(len - at).unwrap_or(BLOCK).min(BLOCK);
                file.write_at(&block[..part], at)?;
                at += part as u64;
            }
            file.sync()?;
            self.disk.sync()
        };
        let made = make();
        if made.is_err() {
            let _ = self.disk.remove(BALLAST);
        }
        made
    }
}

/// What is to be done to a row in the table, which has `old` there, if anything, and whether its key
/// comes or goes.
fn change(
    entry: &PendingRow,
    old: Option<Blob>,
    meta: &mut Meta,
) -> Option<(RowChange, Option<bool>)> {
    if old == entry.value {
        return None;
    }
    if let Some(old) = &old {
        meta.tally.subtract(&entry.key, old);
    }
    if let Some(new) = &entry.value {
        meta.tally.add(&entry.key, new);
    }
    let transition = match (&old, &entry.value) {
        (None, _) => Some(true),
        (_, None) => Some(false),
        _ => None,
    };
    Some(((entry.key.clone(), entry.value.clone()), transition))
}

/// Whether a checkpoint would have anything to do.
fn has_work(shared: &EngineShared) -> bool {
    shared.tail().has_rows()
        || shared.schedule.journal() >= shared.options.checkpoint_journal_bytes / 8
        // What was repaired after a crash is counted afresh and written down.
        || shared.recount.load(Ordering::Relaxed)
}

const BALLAST: &str = "ballast";
const BLOCK: usize = 1 << 20;

/// Rows that are read from the table in one call.
const READ_ROWS: usize = 64;
/// Bytes of one batch of a checkpoint.
const BATCH_BYTES: usize = 8 << 20;

/// How long to wait before looking for room again.
const AGAIN: Duration = Duration::from_millis(250);
