//! The stamp at the front of every payload: its publisher, its number, when it was
//! due, and a checksum over all of it. What follows the stamp is a pattern drawn from the same.
//!
//! ```text
//!  0  checksum over everything behind it and the length, u64
//!  8  sequence number in its stream, u64
//! 16  when it was due, nanoseconds of Unix time, u64
//! 24  number of the run, u32
//! 28  number of the stream: one topic of one publisher, u32
//! 32  pattern up to the end
//! ```
//!
//! All little-endian. The length itself needs no place: it is part of the checksum.

/// What a message says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// Number of the run.
    pub run: u32,
    /// One topic of one publisher.
    pub stream: u32,
    /// Its place in the stream, from 0.
    pub sequence: u64,
    /// When it was due, nanoseconds of Unix time.
    pub due_ns: u64,
}

impl Stamp {
    /// Makes `payload` the message of this stamp, `len` bytes long.
    ///
    /// # Panics
    ///
    /// If `len` is below [`STAMP_LEN`].
    #[inline]
    pub fn write(&self, len: usize, payload: &mut Vec<u8>) {
        assert!(len >= STAMP_LEN, "a payload has room for its stamp");
        payload.clear();
        payload.extend_from_slice(&[0; 8]);
        payload.extend_from_slice(&self.sequence.to_le_bytes());
        payload.extend_from_slice(&self.due_ns.to_le_bytes());
        payload.extend_from_slice(&self.run.to_le_bytes());
        payload.extend_from_slice(&self.stream.to_le_bytes());
        let mut word = self.sequence.wrapping_mul(GOLDEN) ^ u64::from(self.stream) << 32;
        while payload.len() + 8 <= len {
            payload.extend_from_slice(&word.to_le_bytes());
            word = word.wrapping_add(GOLDEN);
        }
        let rest = len - payload.len();
        payload.extend_from_slice(&word.to_le_bytes()[..rest]);
        let check = checksum(&payload[8..]);
        payload[..8].copy_from_slice(&check.to_le_bytes());
    }

    /// The stamp of `payload`, if every byte is as it was written.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (check, rest) = payload.split_first_chunk::<8>()?;
        if payload.len() < STAMP_LEN || u64::from_le_bytes(*check) != checksum(rest) {
            return None;
        }
        let word = |at: usize| word(&payload[at..]);
        Some(Stamp {
            sequence: word(8),
            due_ns: word(16),
            run: word(24) as u32,
            stream: (word(24) >> 32) as u32,
        })
    }
}

/// Bytes a stamp takes: the shortest payload.
pub const STAMP_LEN: usize = 32;

/// Changes whenever a single word of eight bytes does: each step is reversible, so two texts that
/// differ in one word leave a lane in two states. Four lanes, because one would wait for its
/// multiplications.
#[inline]
fn checksum(bytes: &[u8]) -> u64 {
    let mut lanes = [bytes.len() as u64, GOLDEN, 0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, at) in lanes.iter_mut().zip([0, 8, 16, 24]) {
            *lane = step(*lane, word(&block[at..]));
        }
    }
    let mut words = blocks.remainder().chunks_exact(8);
    for (lane, bytes) in lanes.iter_mut().zip(&mut words) {
        *lane = step(*lane, word(bytes));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    lanes[3] = step(lanes[3], u64::from_le_bytes(last));
    lanes.into_iter().fold(0, step)
}

/// One reversible step: the state for each word, the word for each state.
#[inline]
fn step(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(GOLDEN);
    mixed ^ mixed >> 29
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes are left"))
}

/// A number that looks like chance, for each number another.
#[inline]
pub fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(GOLDEN);
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

/// 2⁶⁴ divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stamp: Stamp, len: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        stamp.write(len, &mut payload);
        payload
    }

    const STAMP: Stamp = Stamp { run: 7, stream: 0x8000_0001, sequence: u64::MAX - 1, due_ns: 5 };

    #[test]
    fn what_is_written_is_read() {
        for len in STAMP_LEN..200 {
            let payload = written(STAMP, len);
            assert_eq!(payload.len(), len);
            assert_eq!(Stamp::read(&payload), Some(STAMP));
        }
    }

    #[test]
    fn every_wrong_byte_is_found() {
        for len in [32, 33, 40, 64, 71, 200] {
            let payload = written(STAMP, len);
            for at in 0..len {
                for bit in 0..8 {
                    let mut wrong = payload.clone();
                    wrong[at] ^= 1 << bit;
                    assert_eq!(Stamp::read(&wrong), None, "byte {at} of {len}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_shorter_and_a_longer_payload_are_found() {
        let payload = written(STAMP, 100);
        for len in 0..100 {
            assert_eq!(Stamp::read(&payload[..len]), None, "{len}");
        }
        let longer = [&payload[..], &[0]].concat();
        assert_eq!(Stamp::read(&longer), None);
        assert_eq!(Stamp::read(&[0; 64]), None);
    }

    #[test]
    fn two_swapped_blocks_are_found() {
        let mut payload = written(STAMP, 160);
        payload[40..104].rotate_left(32);
        assert_eq!(Stamp::read(&payload), None);
    }
}
