//! Segments: the files of the journal, filled with zeros when they are made, so that writing to
//! them needs no new blocks and flushing them writes no metadata.
//!
//! ```text
//! 0  checksum of bytes 4 to 52
//! 4  magic, then the version of this layout
//! 12 salt of the frames
//! 16 the store's identity
//! 32 which segment this is
//! 40 bytes the file has at least
//! ```
//!
//! The rest of the first 4096 bytes is empty, so that no frame shares a sector with the header. A
//! file that has served is used again under a new number and a new salt: the frames of its former
//! life are then no frames any more.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::budget::{DiskBudget, FileReservation};
use super::super::disk::{Disk, DiskFile};
use super::super::frame;

/// Where the first frame begins.
pub const START: u64 = 4096;

/// A segment that can be written to.
pub struct Segment {
    /// Its place in the order of segments.
    pub sequence: u64,
    /// What its frames' checksums begin with.
    pub salt: u32,
    /// Bytes the file has.
    pub capacity: u64,
    /// The file.
    pub file: Box<dyn DiskFile>,
    /// Where it is, for messages.
    pub path: PathBuf,
}

/// Makes segments: new ones, and new ones of old ones.
#[derive(Clone)]
pub struct Workshop {
    disk: Arc<dyn Disk>,
    store: [u8; 16],
    budget: Arc<DiskBudget>,
}

/// What the beginning of a segment says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// What the frames' checksums begin with.
    pub salt: u32,
    /// Identity of the store that it belongs to.
    pub store: [u8; 16],
    /// Its place in the order of segments.
    pub sequence: u64,
    /// Bytes the file has at least.
    pub capacity: u64,
}

impl Workshop {
    /// A workshop on `disk` for the store with this identity.
    pub fn new(disk: Arc<dyn Disk>, store: [u8; 16]) -> Workshop {
        Workshop { disk, store, budget: Arc::default() }
    }

    /// Makes a new segment of `capacity` bytes. When this returns, a power cut cannot undo it.
    pub fn make(&self, sequence: u64, capacity: u64) -> io::Result<Segment> {
        self.clear()?;
        let made = self.fill(sequence, capacity);
        if made.is_err() {
            // What was filled so far would keep others from the room there is.
            let _ = self.clear();
        }
        self.enter(made?)
    }

    /// Makes segment `sequence` of segment `old`, if that has `capacity` bytes, or half or twice as
    /// many; else removes it. No frame of `old` may be needed any more.
    pub fn remake(&self, old: u64, sequence: u64, capacity: u64) -> io::Result<Option<Segment>> {
        self.clear()?;
        let has = header_of(&*self.disk.open(&name(old))?)?.capacity;
        if !(capacity / 2..=capacity.saturating_mul(2)).contains(&has) {
            self.disk.remove(&name(old))?;
            return Ok(None);
        }
        self.restamp(&name(old), sequence).map(Some)
    }

    /// Makes the segment that is kept for the day the disk is full, if there is none as long as that.
    pub fn keep_reserve(&self, capacity: u64) -> io::Result<()> {
        if self.disk.names()?.iter().any(|name| name == RESERVE) {
            let kept = header_of(&*self.disk.open(RESERVE)?);
            if kept.is_ok_and(|kept| kept.capacity >= capacity) {
                return Ok(());
            }
        }
        self.clear()?;
        let made = self.fill(0, capacity);
        if made.is_err() {
            let _ = self.clear();
        }
        made?;
        self.disk.rename(UNFINISHED, RESERVE)?;
        self.disk.sync()
    }

    /// Makes segment `sequence` of the reserve: that takes no room on the disk.
    pub fn take_reserve(&self, sequence: u64) -> io::Result<Segment> {
        self.clear()?;
        self.restamp(RESERVE, sequence)
    }

    /// Makes a segment that nothing certain was ever written to fit to be written to: frames in it
    /// are none any more.
    pub fn renew(&self, sequence: u64) -> io::Result<Segment> {
        let file = self.disk.open(&name(sequence))?;
        let old = header_of(&*file)?;
        // Not what the file has now: that may not be certain, and a header never promises more.
        let segment = self.segment(sequence, old.salt.wrapping_add(1), old.capacity, file);
        self.write_header(&segment)?;
        Ok(segment)
    }

    /// Gives a segment room for a frame that is larger than a whole one.
    pub fn grow(&self, segment: &mut Segment, capacity: u64) -> io::Result<()> {
        let mut room = self.budget.reserve_file(capacity.saturating_sub(segment.capacity))?;
        zeros(&*segment.file, segment.capacity, capacity, &mut room)?;
        segment.file.sync()?;
        segment.capacity = capacity;
        // Only now: a header must never promise more than is there.
        self.write_header(segment)
    }

    /// Removes a segment. No frame of it may be needed any more.
    pub fn remove(&self, sequence: u64) -> io::Result<()> {
        self.disk.remove(&name(sequence))
    }

    /// Disk space reserved by the journal and by checkpoints.
    pub fn budget(&self) -> &Arc<DiskBudget> {
        &self.budget
    }

    /// The disk the segments are on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Gives a file a new header and a new name.
    fn restamp(&self, old: &str, sequence: u64) -> io::Result<Segment> {
        self.disk.rename(old, UNFINISHED)?;
        // Otherwise a power cut could show the new header under the old name.
        self.disk.sync()?;
        let file = self.disk.open(UNFINISHED)?;
        let old = header_of(&*file)?;
        // Not what the file has now: that may not be certain, and a header never promises more.
        let segment = self.segment(sequence, old.salt.wrapping_add(1), old.capacity, file);
        self.write_header(&segment)?;
        self.enter(segment)
    }

    fn fill(&self, sequence: u64, capacity: u64) -> io::Result<Segment> {
        let mut room = self.budget.reserve_file(capacity.max(START))?;
        let file = self.disk.create(UNFINISHED)?;
        let segment = self.segment(sequence, FIRST_SALT, capacity.max(START), file);
        zeros(&*segment.file, 0, segment.capacity, &mut room)?;
        self.write_header(&segment)?;
        Ok(segment)
    }

    /// Gives a finished segment its name.
    fn enter(&self, segment: Segment) -> io::Result<Segment> {
        self.disk.rename(UNFINISHED, &name(segment.sequence))?;
        self.disk.sync()?;
        Ok(segment)
    }

    /// Removes what an interrupted workshop left.
    fn clear(&self) -> io::Result<()> {
        match self.disk.remove(UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn segment(&self, sequence: u64, salt: u32, capacity: u64, file: Box<dyn DiskFile>) -> Segment {
        Segment { sequence, salt, capacity, file, path: self.disk.path(&name(sequence)) }
    }

    fn write_header(&self, segment: &Segment) -> io::Result<()> {
        let header = Header {
            salt: segment.salt,
            store: self.store,
            sequence: segment.sequence,
            capacity: segment.capacity,
        };
        segment.file.write_at(&header.encode(), 0)?;
        segment.file.sync()
    }
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..12].copy_from_slice(MAGIC);
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.capacity.to_le_bytes());
        let checksum = frame::checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What the first bytes of a segment say, if they are good.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        let good = bytes[..4] == frame::checksum(&bytes[4..]).to_le_bytes();
        (good && &bytes[4..12] == MAGIC).then(|| Header {
            salt: u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")),
            store: bytes[16..32].try_into().expect("sixteen bytes"),
            sequence: u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes")),
            capacity: u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes")),
        })
    }
}

fn header_of(file: &dyn DiskFile) -> io::Result<Header> {
    let mut bytes = [0; HEADER];
    file.read_at(&mut bytes, 0)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "its header is not good");
    Header::decode(&bytes).ok_or_else(bad)
}

/// The name of a segment's file.
pub fn name(sequence: u64) -> String {
    format!("{sequence:010}{ENDING}")
}

/// Which segment a file is, if it is one.
pub fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() >= 10).then(|| digits.parse().ok()).flatten()
}

fn zeros(
    file: &dyn DiskFile,
    from: u64,
    to: u64,
    room: &mut FileReservation<'_>,
) -> io::Result<()> {
    let block = vec![0; BLOCK];
    let mut at = from;
    while at < to {
        let len = (to - at).min(BLOCK as u64);
        file.write_at(&block[..usize::try_from(len).expect("a block at most")], at)?;
        room.took(len);
        at += len;
    }
    Ok(())
}

const MAGIC: &[u8; 8] = b"sluicej\x01";
const HEADER: usize = 52;
const ENDING: &str = ".journal";
const UNFINISHED: &str = "unfinished";
const RESERVE: &str = "reserve";
const FIRST_SALT: u32 = 1;
const BLOCK: usize = 1 << 20;
