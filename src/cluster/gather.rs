//! Records that wait until their frame is sent: those that have come meanwhile go together.

use std::collections::VecDeque;

/// Frames that wait, the oldest first.
#[derive(Debug)]
pub(super) struct Gatherer<X> {
    frames: VecDeque<FrameContents<X>>,
    /// Bytes of all their records.
    bytes: usize,
    limits: FrameLimits,
}

/// The records of one frame, with what they were made of.
#[derive(Debug)]
pub(super) struct FrameContents<X> {
    /// As they stand in the frame.
    pub records: Vec<u8>,
    /// One for each record.
    pub items: Vec<X>,
}

/// How much goes into one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameLimits {
    /// Bytes of records that go together; a larger one goes alone.
    pub together: usize,
    /// Bytes of the largest record that goes at all.
    pub most: usize,
    /// Records of one frame.
    pub records: usize,
}

impl<X> Gatherer<X> {
    /// None yet.
    pub fn new(limits: FrameLimits) -> Gatherer<X> {
        Gatherer { frames: VecDeque::new(), bytes: 0, limits }
    }

    /// Adds the record that `put` writes of `item`. Returns its bytes; the item itself if they are too many.
    pub fn push(&mut self, item: X, put: impl FnOnce(&X, &mut Vec<u8>)) -> Result<usize, X> {
        let limits = self.limits;
        let open = self.frames.back_mut().filter(|last| last.items.len() < limits.records);
        let Some(last) = open else { return self.begin(item, put) };
        let before = last.records.len();
        put(&item, &mut last.records);
        let len = last.records.len() - before;
        if last.records.len() <= limits.together {
            last.items.push(item);
            self.bytes += len;
            return Ok(len);
        }
        let record = last.records.split_off(before);
        self.begin(item, |_, into| *into = record)
    }

    fn begin(&mut self, item: X, put: impl FnOnce(&X, &mut Vec<u8>)) -> Result<usize, X> {
        let mut records = Vec::new();
        put(&item, &mut records);
        let len = records.len();
        if len > self.limits.most {
            return Err(item);
        }
        self.frames.push_back(FrameContents { records, items: vec![item] });
        self.bytes += len;
        Ok(len)
    }

    /// Takes the oldest frame.
    pub fn pop(&mut self) -> Option<FrameContents<X>> {
        let oldest = self.frames.pop_front()?;
        self.bytes -= oldest.records.len();
        Some(oldest)
    }

    /// Bytes of the records that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_goes_together_and_what_is_large_alone() {
        let mut gatherer = Gatherer::new(FrameLimits { together: 10, most: 20, records: 3 });
        let put = |len: &usize, records: &mut Vec<u8>| records.extend(vec![*len as u8; *len]);
        for len in [1, 1, 1, 4, 6, 1, 15, 2, 20] {
            assert_eq!(gatherer.push(len, put), Ok(len));
        }
        assert_eq!(gatherer.push(21, put), Err(21));
        assert_eq!(gatherer.bytes(), 51);
        let frames: Vec<_> = std::iter::from_fn(|| gatherer.pop()).collect();
        let items: Vec<_> = frames.iter().map(|frame| frame.items.clone()).collect();
        assert_eq!(items, [vec![1, 1, 1], vec![4, 6], vec![1], vec![15], vec![2], vec![20]]);
        for frame in frames {
            assert_eq!(frame.records.len(), frame.items.iter().sum::<usize>());
        }
        assert_eq!(gatherer.bytes(), 0);
    }
}
