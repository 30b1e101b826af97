//! What has come to all subscribers, in words.

use std::fmt;

use super::clients::Again;
use super::due::Lateness;
use super::streams::Tally;

/// What came to all subscribers.
#[derive(Default)]
pub struct Came {
    pub tally: Tally,
    pub groups: Tally,
    pub queue: Tally,
    /// Messages that the consumer of version 5 has refused.
    pub refused: u64,
    /// What is delayed, and what has keys.
    pub work: Tally,
    pub log: Tally,
    pub due: Lateness,
    pub wills: u64,
    pub wills_due: u64,
    pub again: Again,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Came { tally, groups, queue, work, log, due, wills, wills_due, again, .. } = self;
        write!(f, "{} messages came, {} lost, ", tally.came, tally.lost)?;
        write!(f, "{} doubled, {} late, ", tally.doubled, tally.late)?;
        write!(f, "{} repeated at QoS 1; to the group {}, ", tally.repeated, groups.came)?;
        write!(
            f,
            "{} lost, {} doubled; {wills} of {wills_due} Wills; ",
            groups.lost, groups.doubled
        )?;
        for (what, tally) in [("queue", queue), ("delays and keys", work), ("log", log)] {
            let Tally { came, lost, doubled, .. } = tally;
            write!(f, "{what}: {came} came, {lost} lost, {doubled} doubled; ")?;
        }
        write!(f, "{} were refused, {} repeats of keys, ", self.refused, again.repeats)?;
        write!(
            f,
            "{} early, at most {:?} after they were due and could come; ",
            due.early, due.longest
        )?;
        write!(f, "after a kill {} PUBLISH again, ", again.publishes)?;
        write!(f, "{} PUBREL, {} for the first time", again.pubrels, again.first_pubrels)
    }
}
