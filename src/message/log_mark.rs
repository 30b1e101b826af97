//! How far a node has applied the log of its cluster.

/// A place in the log, as a node has it in its store: everything up to here is applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogMark {
    /// The number of the last frame that is applied, 0 for none.
    pub sequence: u64,
    /// Which run of each node may still add to the log, as far as that is known: node, run.
    pub runs: Vec<(u64, u64)>,
}

impl LogMark {
    /// The run of a node that has been forgotten: no frame is of it.
    pub const NO_RUN: u64 = 0;

    /// The nodes that may come back: all that are known, but those that have been forgotten.
    pub fn nodes(&self) -> impl Iterator<Item = u64> {
        let runs = self.runs.iter().filter(|(_, run)| *run != LogMark::NO_RUN);
        runs.map(|(node, _)| *node)
    }
}
