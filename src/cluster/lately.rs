//! The frames that were applied lately, as they came: what a Session that moves here has missed is mostly among them.

use std::collections::VecDeque;

use bytes::Bytes;

/// Frames in the order of the log. What is left out was void.
#[derive(Debug)]
pub(super) struct LatelyApplied {
    frames: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// All that was applied behind this frame is here.
    after: u64,
}

/// How many frames there are at most, and about how many bytes.
const FRAMES_MAX: usize = 4096;
const BYTES_MAX: usize = 16 * 1024 * 1024;

impl LatelyApplied {
    /// None, at this place of the log.
    pub fn at(sequence: u64) -> LatelyApplied {
        LatelyApplied { frames: VecDeque::new(), bytes: 0, after: sequence }
    }

    /// The next one.
    pub fn push(&mut self, sequence: u64, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back((sequence, frame));
        while self.frames.len() > FRAMES_MAX || (self.bytes > BYTES_MAX && self.frames.len() > 1) {
            let Some((sequence, frame)) = self.frames.pop_front() else { break };
            self.bytes -= frame.len();
            self.after = sequence;
        }
    }

    /// The frames behind `after`; `None`: they are not all here.
    pub fn behind(&self, after: u64) -> Option<Vec<(u64, Bytes)>> {
        if after < self.after {
            return None;
        }
        let first = self.frames.partition_point(|(sequence, _)| *sequence <= after);
        Some(self.frames.iter().skip(first).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_frame_is_all_there_or_not_told() {
        let mut lately = LatelyApplied::at(7);
        assert!(lately.behind(6).is_none());
        assert_eq!(lately.behind(7), Some(Vec::new()));
        let frame = Bytes::from(vec![0; 1024 * 1024]);
        // Frame 9 was void.
        for sequence in [8, 10, 11] {
            lately.push(sequence, frame.clone());
        }
        let behind = |lately: &LatelyApplied, after| {
            let frames = lately.behind(after)?;
            Some(frames.into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>())
        };
        assert_eq!(behind(&lately, 7), Some(vec![8, 10, 11]));
        assert_eq!(behind(&lately, 9), Some(vec![10, 11]));
        for sequence in 12..30 {
            lately.push(sequence, frame.clone());
        }
        assert_eq!(behind(&lately, 12), None);
        assert_eq!(behind(&lately, 13).map(|frames| frames.len()), Some(16));
        for sequence in 30..5000 {
            lately.push(sequence, Bytes::new());
        }
        assert_eq!(behind(&lately, 902), None);
        assert_eq!(behind(&lately, 903).map(|frames| frames.len()), Some(4096));
    }
}
