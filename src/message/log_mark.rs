//! How far a node has applied the log of its cluster.

/// A place in the log, as a node has it in its store: everything up to here is applied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogMark {
    /// The number of the last frame that is applied, 0 for none.
    pub sequence: u64,
    /// Which run of each node may still add to the log, as far as that is known: node, run.
    pub runs: Vec<(u64, u64)>,
}
