//! Frames: the atoms of the journal. A frame is there whole or not at all.
//!
//! ```text
//! 0  checksum of bytes 4 to 24, begun with the segment's salt
//! 4  length of the body
//! 8  log sequence number
//! 16 checksum of the body
//! 20 kind, and in the upper three bytes how many frames before this one were not yet certain
//!    when it was written
//! 24 body, filled up with zeros to a multiple of eight
//! ```
//!
//! All numbers are little-endian. What a frame says of the frames before it is how a torn tail is
//! told from damage: a bad frame that a later one calls certain was once good.

/// Bytes before the body.
pub const HEAD: usize = 24;

/// Largest body.
pub const BODY_MAX: usize = u32::MAX as usize - 64;

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FrameKind {
    /// Rows that change together.
    Rows = 1,
    /// A checkpoint of all rows up to this number is about to touch the table.
    Begun = 2,
    /// It is on stable storage.
    Finished = 3,
    /// Not one of the sequence, overwritten by those that follow: says what is certain.
    Settled = 4,
    /// Not one of the sequence: the journal goes on in the next segment.
    Sealed = 5,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        [
            FrameKind::Rows,
            FrameKind::Begun,
            FrameKind::Finished,
            FrameKind::Settled,
            FrameKind::Sealed,
        ]
        .into_iter()
        .find(|&kind| kind as u8 == byte)
    }

    /// Whether frames of this kind have a number of their own.
    pub fn counts(self) -> bool {
        matches!(self, FrameKind::Rows | FrameKind::Begun | FrameKind::Finished)
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug)]
pub struct JournalFrame<'a> {
    /// What it is.
    pub kind: FrameKind,
    /// Its number, or for the kinds that have none the number it speaks of.
    pub lsn: u64,
    /// Every number up to this one was certain when the frame was written.
    pub certain: u64,
    /// Its contents.
    pub body: &'a [u8],
}

/// Writes what is known of a frame before it has a number. `head` is its first [`HEAD`] bytes.
pub fn draft(head: &mut [u8], kind: FrameKind, body_len: usize, body_checksum: u32) {
    let len = u32::try_from(body_len).expect("no body is longer than BODY_MAX");
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[16..20].copy_from_slice(&body_checksum.to_le_bytes());
    head[20..24].copy_from_slice(&u32::from(kind as u8).to_le_bytes());
}

/// Completes the draft at the beginning of `frame` for a segment.
pub fn complete(frame: &mut [u8], lsn: u64, certain: u64, salt: u32) {
    frame[8..16].copy_from_slice(&lsn.to_le_bytes());
    let open = u32::try_from(lsn - certain).unwrap_or(FAR).min(FAR);
    frame[21..24].copy_from_slice(&open.to_le_bytes()[..3]);
    let checksum = checksum_from(salt, &frame[4..HEAD]);
    frame[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// The whole length in a journal of the frame that begins `bytes`, drafted or complete.
pub fn len_at(bytes: &[u8]) -> usize {
    padded(HEAD + number(bytes, 4) as usize)
}

/// The length with its padding.
pub fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// The frame that begins at `at`, if it is a good one.
pub fn read(bytes: &[u8], at: usize, salt: u32) -> Option<JournalFrame<'_>> {
    let frame = bytes.get(at..)?;
    let head = frame.get(..HEAD)?;
    let kind = FrameKind::from_byte(head[20])?;
    if number(head, 0) != checksum_from(salt, &head[4..]) {
        return None;
    }
    let body = frame[HEAD..].get(..number(head, 4) as usize)?;
    if number(head, 16) != checksum(body) {
        return None;
    }
    let lsn = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
    let certain = match number(head, 20) >> 8 {
        FAR => 0,
        open => lsn.checked_sub(u64::from(open))?,
    };
    Some(JournalFrame { kind, lsn, certain, body })
}

/// Good frames from `from` on with a number of at least `lsn`, wherever they begin.
pub fn scan(
    bytes: &[u8],
    from: usize,
    lsn: u64,
    salt: u32,
) -> impl Iterator<Item = (usize, JournalFrame<'_>)> {
    (from.next_multiple_of(ALIGN)..bytes.len().saturating_sub(HEAD - 1))
        .step_by(ALIGN)
        .filter(move |&at| {
            let field = bytes[at + 8..at + 16].try_into().expect("eight bytes");
            // Cheaper than the checksum, and almost nothing passes.
            (lsn..lsn.saturating_add(1 << 40)).contains(&u64::from_le_bytes(field))
        })
        .filter_map(move |at| Some((at, read(bytes, at, salt)?)))
}

/// The checksum of a body.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The checksum of `bytes` in the world of `salt`.
pub fn checksum_from(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Frames begin at multiples of this, so that scanning is short.
const ALIGN: usize = 8;

/// More frames are open than three bytes can say: nothing is said of what is certain.
const FAR: u32 = 0x00FF_FFFF;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, body: &[u8], lsn: u64, certain: u64, salt: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes.extend_from_slice(body);
        bytes.resize(padded(bytes.len()), 0);
        draft(&mut bytes, kind, body.len(), checksum(body));
        complete(&mut bytes, lsn, certain, salt);
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for len in 0..40 {
            let body: Vec<u8> = (0..len).collect();
            let bytes = frame(FrameKind::Rows, &body, 77, 70, 9);
            assert_eq!(bytes.len(), len_at(&bytes));
            let read = read(&bytes, 0, 9).unwrap();
            assert_eq!(
                (read.kind, read.lsn, read.certain, read.body),
                (FrameKind::Rows, 77, 70, &*body)
            );
        }
    }

    #[test]
    fn any_changed_bit_of_head_or_body_makes_a_bad_frame() {
        let body = b"some rows that change together";
        let good = frame(FrameKind::Finished, body, 1 << 33, (1 << 33) - 5, 1234);
        for bit in 0..(HEAD + body.len()) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, 0, 1234).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_salt_or_cut_short_is_bad() {
        let good = frame(FrameKind::Rows, b"body", 5, 4, 1);
        assert!((2..1000).all(|salt| read(&good, 0, salt).is_none()));
        assert!((0..HEAD + 4).all(|len| read(&good[..len], 0, 1).is_none()));
    }

    #[test]
    fn what_is_too_far_back_to_be_said_is_not_called_certain() {
        let far = frame(FrameKind::Rows, b"", 1 << 30, 3, 0);
        assert_eq!(read(&far, 0, 0).unwrap().certain, 0);
        let near = frame(FrameKind::Rows, b"", 1 << 30, (1 << 30) - 0xFF_FFFE, 0);
        assert_eq!(read(&near, 0, 0).unwrap().certain, (1 << 30) - 0xFF_FFFE);
    }

    #[test]
    fn a_scan_finds_later_frames_behind_garbage_and_passes_over_earlier_ones() {
        let mut bytes = vec![0xA5; 64];
        bytes.extend(frame(FrameKind::Rows, b"old", 8, 8, 3));
        bytes.extend(frame(FrameKind::Rows, b"new", 10, 9, 3));
        bytes.extend(vec![0; 256]);
        bytes.extend(frame(FrameKind::Settled, b"", 11, 11, 3));
        let found: Vec<u64> = scan(&bytes, 1, 9, 3).map(|(_, frame)| frame.lsn).collect();
        assert_eq!(found, [10, 11]);
    }
}
