//! Which numbers of a stream have come: the next one expected, and the ranges of those before it that
//! are missing. A few bytes, and at most [`HOLES_MAX`] holes.

/// What came of one stream to one receiver.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// The first number that is above all that came.
    next: u64,
    /// What is missing below; few trackers have any.
    holes: Option<Box<Holes>>,
}

impl Tracker {
    /// This number came.
    #[inline]
    pub fn arrived(&mut self, sequence: u64) -> Step {
        if sequence == self.next {
            self.next += 1;
            return Step::Next;
        }
        self.out_of_line(sequence)
    }

    /// The first number that is above all that came.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What is missing below [`Tracker::next`], as far as it is remembered: from, to (excluded); rising.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.holes.iter().flat_map(|holes| holes.ranges.iter().copied())
    }

    /// How many are missing below [`Tracker::next`].
    pub fn missing(&self) -> u64 {
        let given_up = self.holes.as_ref().map_or(0, |holes| holes.given_up);
        given_up + self.holes().map(|(from, to)| to - from).sum::<u64>()
    }

    /// This one has not come.
    pub fn is_missing(&self, sequence: u64) -> bool {
        sequence >= self.next || self.holes().any(|hole| (hole.0..hole.1).contains(&sequence))
    }

    #[inline(never)]
    fn out_of_line(&mut self, sequence: u64) -> Step {
        if sequence > self.next {
            let over = sequence - self.next;
            let holes = self.holes.get_or_insert_default();
            holes.ranges.push((self.next, sequence));
            if holes.ranges.len() > HOLES_MAX {
                let (from, to) = holes.ranges.remove(0);
                holes.given_up += to - from;
            }
            self.next = sequence + 1;
            return Step::Over(over);
        }
        let Some(holes) = &mut self.holes else { return Step::Again };
        let behind = holes.ranges.partition_point(|range| range.1 <= sequence);
        let Some(&(from, to)) = holes.ranges.get(behind) else { return Step::Again };
        if sequence < from {
            return Step::Again;
        }
        match (from == sequence, to == sequence + 1) {
            (true, true) => drop(holes.ranges.remove(behind)),
            (true, false) => holes.ranges[behind].0 += 1,
            (false, true) => holes.ranges[behind].1 -= 1,
            (false, false) => {
                holes.ranges[behind].1 = sequence;
                holes.ranges.insert(behind + 1, (sequence + 1, to));
            }
        }
        if holes.ranges.is_empty() && holes.given_up == 0 {
            self.holes = None;
        }
        Step::Late
    }
}

#[derive(Clone, Debug, Default)]
struct Holes {
    /// From, to (excluded); rising.
    ranges: Vec<(u64, u64)>,
    /// Numbers in holes that were given up because there were too many holes.
    given_up: u64,
}

/// Where a number stands among those that came before it.
pub enum Step {
    /// The next one.
    Next,
    /// The next but so many.
    Over(u64),
    /// It fills a hole.
    Late,
    /// It came before.
    Again,
}

/// Most holes that are remembered for one receiver and stream. Of more the oldest are given up:
/// they count as lost, and if one of their messages comes after all, as a duplicate.
pub const HOLES_MAX: usize = 4096;
