//! The journal: frames in segments, written and flushed by the commit thread.
//!
//! * A frame is there whole or not at all, and frames are numbered without a gap.
//! * Only one write at a time is not yet certain (unless flushing is switched off), so what a
//!   crash can tear is the end of the last segment that was written to.
//! * After a failed write or flush nothing is appended any more, and a flush is never tried
//!   again: the system may have dropped what it could not write. A write that failed because the
//!   disk is full is no such failure: it is done again, at the same place, before anything else.
//! * A segment is written to in one life of the process only: a restart begins a new one, so that
//!   what a torn tail left is never taken for what came after it.

pub mod recovery;
pub mod segment;

use std::io;

use super::disk;
use super::error::StoreError;
use super::frame::{self, FrameKind, HEAD};
use segment::{START, Segment, Workshop};

/// The end of the journal, where it is written.
pub struct Journal {
    workshop: Workshop,
    active: Segment,
    /// Where the next frame goes.
    at: u64,
    /// Number of the last frame written.
    last: u64,
    /// Number of the last frame that is certain.
    certain: u64,
    /// The segment before the active one, until the active one has something certain.
    unsealed: Option<(Segment, u64)>,
    /// Segments that are no longer written to, the oldest first.
    sealed: Vec<Sealed>,
    /// Where the last mark of what is certain was written.
    settled: u64,
    poisoned: Option<String>,
}

/// A segment that is no longer written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// Which.
    pub sequence: u64,
    /// Number of its last frame.
    pub last: u64,
    /// Its length.
    pub bytes: u64,
}

/// Where the next segment comes from.
pub trait Spares {
    /// A segment that is certain to be there after a power cut, and empty.
    fn take(&self) -> io::Result<Segment>;
}

/// Frames that are written together. They are drafted: their numbers come last.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The frames.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub frames: usize,
    /// How many bytes are written.
    pub written: usize,
}

/// Why frames were not written.
#[derive(Debug)]
pub enum AppendError {
    /// There is no room, or a file cannot be made, and nothing is broken: what is left of the chunk
    /// may be tried again.
    NotNow(StoreError),
    /// Never again.
    Failed(StoreError),
}

impl Journal {
    /// Goes on after frame `last` in the empty segment `active`. `sealed` are the segments before.
    pub fn new(workshop: Workshop, active: Segment, last: u64, sealed: Vec<Sealed>) -> Journal {
        Journal {
            workshop,
            active,
            at: START,
            last,
            certain: last,
            unsealed: None,
            sealed,
            settled: 0,
            poisoned: None,
        }
    }

    /// Writes what is not yet written of a chunk. Not certain before [`Journal::flush`].
    pub fn append(&mut self, chunk: &mut Chunk, spares: &dyn Spares) -> Result<(), AppendError> {
        self.check()?;
        while chunk.written < chunk.bytes.len() {
            let room = self.active.capacity.saturating_sub(self.at + RESERVE);
            let rest = &mut chunk.bytes[chunk.written..];
            let (len, frames) = self.complete(rest, room);
            if len == 0 {
                let wanted = frame::len_at(rest) as u64;
                self.turn(wanted, spares)?;
                continue;
            }
            if let Err(error) = self.active.file.write_at(&rest[..len], self.at) {
                return Err(self.refuse("write to", error));
            }
            chunk.written += len;
            self.at += len as u64;
            self.last += frames;
        }
        Ok(())
    }

    /// Makes everything written certain.
    pub fn flush(&mut self) -> Result<(), AppendError> {
        self.check()?;
        if self.certain == self.last {
            return Ok(());
        }
        if let Err(error) = self.active.file.sync() {
            let error = StoreError::io("flush", &self.active.path)(error);
            self.poisoned = Some(error.to_string());
            return Err(AppendError::Failed(error));
        }
        self.certain = self.last;
        if let Some((before, at)) = self.unsealed.take() {
            mark(&before, at, FrameKind::Sealed, self.certain);
        }
        Ok(())
    }

    /// Leaves a mark that what was written is certain, as long as nothing follows that says so: a
    /// bad frame before it is then known to be damage. The mark itself is not flushed.
    pub fn settle(&mut self) {
        if self.poisoned.is_none() && self.settled != self.at && self.certain == self.last {
            mark(&self.active, self.at, FrameKind::Settled, self.certain);
            self.settled = self.at;
        }
    }

    /// Number of the last frame that is certain.
    pub fn certain(&self) -> u64 {
        self.certain
    }

    /// Number of the last frame written.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Bytes of the journal: its segments, and what is written of the last one.
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.at
    }

    /// Gives away the segments that have no frame above number `lsn`.
    pub fn release(&mut self, lsn: u64) -> Vec<Sealed> {
        let free = self.sealed.partition_point(|segment| segment.last <= lsn);
        self.sealed.drain(..free).collect()
    }

    /// Numbers the drafts at the beginning of `bytes` that fit into `room`: their length and
    /// their number.
    fn complete(&self, bytes: &mut [u8], room: u64) -> (usize, u64) {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (mut at, mut frames) = (0, 0);
        while at < bytes.len() {
            let len = frame::len_at(&bytes[at..]);
            if at + len > room {
                break;
            }
            frames += 1;
            let lsn = self.last + frames;
            frame::complete(&mut bytes[at..], lsn, self.certain, self.active.salt);
            at += len;
        }
        (at, frames)
    }

    /// Makes room for a frame of `len` bytes: in the next segment, or if even an empty one is too
    /// small by making it longer.
    fn turn(&mut self, len: u64, spares: &dyn Spares) -> Result<(), AppendError> {
        if self.at == START {
            let grown = self.workshop.grow(&mut self.active, START + len + RESERVE);
            return grown.map_err(|error| {
                AppendError::NotNow(StoreError::io("make longer", &self.active.path)(error))
            });
        }
        // A segment that is not the last one must not have anything uncertain in it.
        self.flush()?;
        let next = spares.take().map_err(|error| {
            AppendError::NotNow(StoreError::io("go on after", &self.active.path)(error))
        })?;
        assert!(next.sequence == self.active.sequence + 1, "segments follow each other");
        let before = std::mem::replace(&mut self.active, next);
        self.sealed.push(Sealed {
            sequence: before.sequence,
            last: self.last,
            bytes: before.capacity,
        });
        self.unsealed = Some((before, self.at));
        self.at = START;
        self.settled = 0;
        Ok(())
    }

    fn check(&self) -> Result<(), AppendError> {
        match &self.poisoned {
            Some(reason) => Err(AppendError::Failed(StoreError::Failed(reason.clone()))),
            None => Ok(()),
        }
    }

    fn refuse(&mut self, doing: &'static str, error: io::Error) -> AppendError {
        let full = disk::is_full(&error);
        let error = StoreError::io(doing, &self.active.path)(error);
        if full {
            return AppendError::NotNow(error);
        }
        self.poisoned = Some(error.to_string());
        AppendError::Failed(error)
    }
}

impl Chunk {
    /// Appends a frame that speaks of a checkpoint.
    pub fn push_mark(&mut self, kind: FrameKind, of: u64) {
        let start = self.bytes.len();
        self.bytes.resize(start + frame::padded(HEAD + 8), 0);
        let body = of.to_le_bytes();
        self.bytes[start + HEAD..start + HEAD + 8].copy_from_slice(&body);
        frame::draft(&mut self.bytes[start..], kind, body.len(), frame::checksum(&body));
        self.frames += 1;
    }

    /// Makes a drafted frame the only one, without copying it.
    pub fn set_draft(&mut self, draft: Vec<u8>) {
        assert!(self.frames == 0, "a chunk of its own");
        self.bytes = draft;
        self.bytes.resize(frame::padded(self.bytes.len()), 0);
        self.frames = 1;
    }

    /// Appends a drafted frame: its head and body.
    pub fn push_draft(&mut self, draft: &[u8]) {
        let end = self.bytes.len() + frame::padded(draft.len());
        self.bytes.extend_from_slice(draft);
        self.bytes.resize(end, 0);
        self.frames += 1;
    }
}

/// Writes a frame that is only evidence, behind `at` but in another page, so that no single page
/// holds both a frame and the evidence for it. If it cannot be written, less can be said of damage later,
/// and what stands behind a failed disk shows at the next frame that counts.
fn mark(segment: &Segment, at: u64, kind: FrameKind, lsn: u64) {
    let mut bytes = [0; HEAD];
    frame::draft(&mut bytes, kind, 0, frame::checksum(&[]));
    frame::complete(&mut bytes, lsn, lsn, segment.salt);
    let _ = segment.file.write_at(&bytes, at.next_multiple_of(PAGE));
}

const PAGE: u64 = 4096;

/// Kept free at the end of a segment, for marks.
const RESERVE: u64 = PAGE + HEAD as u64;

#[cfg(test)]
mod tests;
