//! Reading the journal at a start: what is there, what was torn, and what is damage.
//!
//! Where the frames end, something may have been torn by a crash: then no frame anywhere calls
//! what is missing certain. If one does, it was once on stable storage and is no more: that is
//! damage, and never read as "nothing there".

use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile};
use super::super::error::StoreError;
use super::super::frame::{self, FrameKind};
use super::Sealed;
use super::segment::{self, Header, START, Segment, Workshop};

/// What was found.
#[derive(Debug)]
pub struct JournalEnd {
    /// Number of the last frame.
    pub last: u64,
    /// Frames that were visited.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes behind the last frame that a crash left unfinished.
    pub torn: u64,
    /// Segments with frames, the oldest first.
    pub sealed: Vec<Sealed>,
    /// The segment with the last frame.
    tail: u64,
    /// Where the frames end in it.
    end: u64,
    /// Every segment there is.
    sequences: Vec<u64>,
}

/// Looks at a frame: its number, kind and body; an error in words if it makes no sense.
pub type VisitFrame<'a> = dyn FnMut(u64, FrameKind, &[u8]) -> Result<(), String> + 'a;

/// Visits every frame numbered above `from` with its number, kind and body.
///
/// `from` is what the table holds: a journal that ends before it, or begins after it, is damaged.
pub fn read(
    disk: &dyn Disk,
    store: [u8; 16],
    from: u64,
    visit: &mut VisitFrame<'_>,
) -> Result<JournalEnd, StoreError> {
    let all = sequences(disk)?;
    // Older segments than those that follow each other to the end are leftovers of a removal.
    let first = (1..all.len()).rev().find(|&at| all[at - 1] + 1 != all[at]).unwrap_or(0);
    let followed = &all[first..];
    let start = start(disk, store, followed, from)?;
    let mut reader = JournalReader {
        disk,
        store,
        from,
        visit,
        expected: 0,
        found: JournalEnd {
            last: 0,
            frames: 0,
            bytes: 0,
            torn: 0,
            sealed: Vec::new(),
            tail: followed[start],
            end: START,
            sequences: all.clone(),
        },
    };
    reader.read(&followed[start..])?;
    Ok(reader.found)
}

impl JournalEnd {
    /// Begins a new segment behind what was found, and takes away what is in the way. Segments
    /// without a frame above `from` are given back to be used again.
    pub fn go_on(&self, workshop: &Workshop, capacity: u64) -> Result<Segment, StoreError> {
        let disk = workshop.disk();
        let folder = disk.path("");
        self.settle(disk).map_err(StoreError::io("flush a segment in", &folder))?;
        let sequence = self.tail + 1;
        for later in self.sequences.iter().filter(|&&later| later > sequence) {
            workshop.remove(*later).map_err(StoreError::io("remove from", &folder))?;
        }
        disk.sync().map_err(StoreError::io("flush", &folder))?;
        let segment = if self.sequences.contains(&sequence) {
            workshop.renew(sequence)
        } else {
            workshop.make(sequence, capacity)
        };
        let path = disk.path(&segment::name(sequence));
        let segment = segment.map_err(StoreError::io("make", &path))?;
        self.seal(disk).map_err(StoreError::io("seal a segment in", &folder))?;
        Ok(segment)
    }

    /// Segments before those that were read: nothing in them is needed.
    pub fn leftovers(&self) -> impl Iterator<Item = u64> + '_ {
        let first = self.sealed.first().map_or(self.tail, |sealed| sealed.sequence);
        self.sequences.iter().copied().filter(move |&sequence| sequence < first)
    }

    /// Makes what was read certain: a killed process may have written what it never flushed, and
    /// from now on more will be built upon it.
    fn settle(&self, disk: &Arc<dyn Disk>) -> io::Result<()> {
        disk.open(&segment::name(self.tail))?.sync()
    }

    /// Marks the end of the last segment that was written to: the journal goes on elsewhere.
    fn seal(&self, disk: &Arc<dyn Disk>) -> io::Result<()> {
        let file = disk.open(&segment::name(self.tail))?;
        let mut bytes = [0; 64];
        file.read_at(&mut bytes, 0)?;
        if let Some(header) = Header::decode(&bytes) {
            let segment = Segment {
                sequence: self.tail,
                salt: header.salt,
                capacity: header.capacity,
                file,
                path: disk.path(&segment::name(self.tail)),
            };
            super::mark(&segment, self.end, FrameKind::Sealed, self.last);
        }
        Ok(())
    }
}

/// Every segment there is, in order; an error if there is none.
pub fn sequences(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    let folder = disk.path("");
    let names = disk.names().map_err(StoreError::io("list", &folder))?;
    let mut all: Vec<u64> = names.iter().filter_map(|name| segment::sequence_of(name)).collect();
    all.sort_unstable();
    if all.is_empty() {
        return Err(StoreError::damaged(&folder, 0, "the journal has no segment"));
    }
    Ok(all)
}

/// Where to begin: the last segment that begins with frame `from + 1` or an earlier one.
fn start(
    disk: &dyn Disk,
    store: [u8; 16],
    followed: &[u64],
    from: u64,
) -> Result<usize, StoreError> {
    for (at, &sequence) in followed.iter().enumerate().rev() {
        let (header, bytes) = load(disk, store, sequence, FIRST_LOOK)?;
        let begin = usize::try_from(START).expect("a small number");
        // Longer than what was looked at, or bad: looked at when its turn comes.
        let first = frame::read(&bytes, begin, header.salt);
        if first.is_some_and(|first| first.kind.counts() && first.lsn <= from + 1) {
            return Ok(at);
        }
    }
    Ok(0)
}

struct JournalReader<'a> {
    disk: &'a dyn Disk,
    store: [u8; 16],
    from: u64,
    visit: &'a mut VisitFrame<'a>,
    /// Number of the next frame; 0 before the first.
    expected: u64,
    found: JournalEnd,
}

impl JournalReader<'_> {
    fn read(&mut self, followed: &[u64]) -> Result<(), StoreError> {
        for (at, &sequence) in followed.iter().enumerate() {
            let (header, bytes) = load(self.disk, self.store, sequence, usize::MAX)?;
            if at > 0 && !self.goes_on_in(&header, &bytes) {
                break;
            }
            self.segment(sequence, &header, &bytes)?;
        }
        self.found.last = if self.expected == 0 { self.from } else { self.expected - 1 };
        self.tail(followed)?;
        if self.found.last < self.from {
            let last = self.found.last;
            let what = format!(
                "the journal ends with frame {last}, the table holds what was up to frame {}",
                self.from
            );
            return Err(StoreError::damaged(&self.path(self.found.tail), self.found.end, what));
        }
        Ok(())
    }

    /// Whether a segment's first frame is the next one.
    fn goes_on_in(&self, header: &Header, bytes: &[u8]) -> bool {
        let begin = usize::try_from(START).expect("a small number");
        frame::read(bytes, begin, header.salt).is_some_and(|frame| {
            frame.kind.counts() && (self.expected == 0 || frame.lsn == self.expected)
        })
    }

    /// Visits the frames of one segment.
    fn segment(&mut self, sequence: u64, header: &Header, bytes: &[u8]) -> Result<(), StoreError> {
        let mut at = usize::try_from(START).expect("a small number");
        while let Some(frame) = frame::read(bytes, at, header.salt) {
            if !frame.kind.counts() {
                break;
            }
            if self.expected == 0 {
                if frame.lsn > self.from + 1 {
                    let what = format!(
                        "the journal begins with frame {}, the table holds what was up to \
                         frame {}: a segment is missing, or the table is an older one",
                        frame.lsn, self.from
                    );
                    return Err(StoreError::damaged(&self.path(sequence), at as u64, what));
                }
                self.expected = frame.lsn;
            }
            if frame.lsn != self.expected {
                break;
            }
            let len = frame::len_at(&bytes[at..]);
            if frame.lsn > self.from {
                (self.visit)(frame.lsn, frame.kind, frame.body)
                    .map_err(|what| StoreError::damaged(&self.path(sequence), at as u64, what))?;
                self.found.frames += 1;
                self.found.bytes += len as u64;
            }
            self.expected += 1;
            at += len;
        }
        let last = self.expected.saturating_sub(1);
        self.found.sealed.push(Sealed { sequence, last, bytes: bytes.len() as u64 });
        (self.found.tail, self.found.end) = (sequence, at as u64);
        Ok(())
    }

    /// Looks behind the last frame: was something torn, or is something missing?
    fn tail(&mut self, followed: &[u64]) -> Result<(), StoreError> {
        let missing = self.found.last + 1;
        let (tail, end) = (self.found.tail, self.found.end);
        let later = followed.iter().copied().filter(|&sequence| sequence >= tail);
        let mut sealed_and_last = false;
        for sequence in later {
            let (header, bytes) = load(self.disk, self.store, sequence, usize::MAX)?;
            let from = if sequence == tail { end } else { START };
            let from = usize::try_from(from).expect("within a file in memory");
            let mut torn = 0;
            for (at, frame) in frame::scan(&bytes, from, self.found.last, header.salt) {
                if frame.certain >= missing {
                    let what = format!(
                        "frame {missing} is missing here, and frame {} in {} says that it was \
                         stored",
                        frame.lsn,
                        self.path(sequence).display()
                    );
                    return Err(StoreError::damaged(&self.path(tail), end, what));
                }
                sealed_and_last |=
                    frame.kind == FrameKind::Sealed && followed.last() == Some(&tail);
                if frame.kind.counts() && frame.lsn >= missing {
                    torn = at + frame::len_at(&bytes[at..]) - from;
                }
            }
            self.found.torn += torn as u64;
        }
        if sealed_and_last {
            let what = format!("the segment after it, {}, is missing", segment::name(tail + 1));
            return Err(StoreError::damaged(&self.path(tail), end, what));
        }
        Ok(())
    }

    fn path(&self, sequence: u64) -> std::path::PathBuf {
        self.disk.path(&segment::name(sequence))
    }
}

/// A segment's header and as much of it as is asked for, its header included.
pub fn load(
    disk: &dyn Disk,
    store: [u8; 16],
    sequence: u64,
    most: usize,
) -> Result<(Header, Vec<u8>), StoreError> {
    let path = disk.path(&segment::name(sequence));
    let file = disk.open(&segment::name(sequence)).map_err(StoreError::io("open", &path))?;
    let len = file.len().map_err(StoreError::io("read", &path))?;
    let bytes = contents(&*file, len, most).map_err(StoreError::io("read", &path))?;
    let Some(header) = Header::decode(&bytes) else {
        return Err(StoreError::damaged(&path, 0, "this is not the header of a segment"));
    };
    if header.store != store {
        return Err(StoreError::damaged(&path, 16, "this segment belongs to another store"));
    }
    if header.sequence != sequence {
        let what = format!("by its header this is segment {}", header.sequence);
        return Err(StoreError::damaged(&path, 32, what));
    }
    if header.capacity > len {
        let what = format!("the file ends here, it had {} bytes", header.capacity);
        return Err(StoreError::damaged(&path, len, what));
    }
    Ok((header, bytes))
}

/// A segment with a good header, whosever it is and however long, and all of it.
pub fn load_any(disk: &dyn Disk, sequence: u64) -> Result<(Header, Vec<u8>), StoreError> {
    let path = disk.path(&segment::name(sequence));
    let file = disk.open(&segment::name(sequence)).map_err(StoreError::io("open", &path))?;
    let read = file.len().and_then(|len| contents(&*file, len, usize::MAX));
    let bytes = read.map_err(StoreError::io("read", &path))?;
    match Header::decode(&bytes) {
        Some(header) => Ok((header, bytes)),
        None => Err(StoreError::damaged(&path, 0, "this is not the header of a segment")),
    }
}

fn contents(file: &dyn DiskFile, len: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(most)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Enough for the header and an ordinary first frame.
const FIRST_LOOK: usize = START as usize + (64 << 10);
