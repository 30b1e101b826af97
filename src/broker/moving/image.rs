//! What the log has made of this node, for one that begins with an empty store and finds the log without its beginning.

use crate::broker::Broker;
use crate::broker::cluster_log::LogEntry;
use crate::message::{ClientId, LogMark, SessionHome};
use crate::sync::whole;

/// What the log has made up to one place of it, but for Sessions: they are of their node.
#[derive(Debug)]
pub struct ClusterImage {
    /// The place.
    pub mark: LogMark,
    /// Which node has the Session of which client.
    pub homes: Vec<(ClientId, SessionHome)>,
    /// What is retained.
    pub retained: Vec<LogEntry>,
}

impl Broker {
    /// What the log has made of this node so far.
    pub fn cluster_image(&self) -> ClusterImage {
        // Nothing of the log is half applied.
        let applied = whole(self.0.moving.applied.lock());
        let retained = self.0.router.retained().all_of_clients();
        let homes = whole(self.0.moving.homes.lock()).all();
        let mark = applied.clone();
        drop(applied);
        let retained = retained.into_iter().map(|message| {
            let entry = self.entry_of(message);
            LogEntry { retains: true, ..entry }
        });
        ClusterImage { mark, homes, retained: retained.collect() }
    }

    /// The nodes of the cluster that may come back: each with a run that adds to the log, or did.
    pub fn nodes_of_log(&self) -> Vec<u64> {
        whole(self.0.moving.applied.lock()).nodes().collect()
    }
}
