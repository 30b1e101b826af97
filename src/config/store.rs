//! Where Sessions and messages are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::section::InForce::Restart;
use super::section::{key, rows};
use super::units::{Size, Span};

const MIB: Size = Size::kib(1024);
const GIB: Size = Size::kib(1024 * 1024);

rows! {
    /// Where Sessions and messages are kept.
    pub struct StoreConfig {
        /// `"sled"` or `"redb"` (in builds with the feature `store-redb`): on disk, behind a commit
        /// journal. `"memory"`: forgotten at a restart.
        kind: StoreKind = key(Restart, StoreKind::Sled).words::<StoreKind>();
        /// Folder of the store. A relative one begins beside the last configuration file, or without one
        /// in the current folder. It is made if it is missing, readable by its owner only.
        path: PathBuf = key(Restart, PathBuf::from("data"));
        /// What an acknowledgement promises. `"sync"`: what it acknowledges is on stable storage; neither
        /// a crash nor a power cut loses it. `"os"`: the operating system has it; a power cut loses the
        /// last seconds. `"none"`: a crash loses the last moments too.
        durability: Durability = key(Restart, Durability::Sync).words::<Durability>();
        /// Longest segment of the journal. The first one has 2 MiB, later ones are longer the longer the
        /// journal is. At most a quarter of `store.journal_bytes_max`. An empty store wants about 100 MB
        /// free on the disk, with `"1MiB"` here 16 MB.
        segment_bytes: Size = key(Restart, Size::kib(64 * 1024)).range(MIB..=GIB);
        /// Publishers pause while the journal is longer, until a checkpoint is done. At least four
        /// segments.
        journal_bytes_max: Size = key(Restart, GIB).range(Size::kib(16 * 1024)..=Size::TIB);
        /// Publishers pause while changes that no checkpoint has written take more memory.
        pending_bytes_max: Size = key(Restart, Size::kib(256 * 1024)).range(MIB..=Size::TIB);
        /// They go on when it has fallen to this. Below `store.pending_bytes_max`.
        pending_bytes_low: Size = key(Restart, Size::kib(192 * 1024)).range(Size(0)..=Size::TIB);
        /// Publishers pause while more bytes are handed in and not yet written.
        unwritten_bytes_max: Size = key(Restart, Size::kib(64 * 1024)).range(MIB..=Size::TIB);
        /// They go on when they have fallen to this. Below `store.unwritten_bytes_max`.
        unwritten_bytes_low: Size = key(Restart, Size::kib(32 * 1024)).range(Size(0)..=Size::TIB);
        /// Time between the starts of two checkpoints, if something changed.
        checkpoint_interval: Span =
            key(Restart, Span::secs(1)).range(Span::millis(10)..=Span::secs(3600));
        /// Shortest time between the starts of two commits: more changes share a flush, which helps slow
        /// disks. The first commit after a pause does not wait.
        commit_delay: Span = key(Restart, Span::millis(0)).range(Span::millis(0)..=Span::secs(1));
        /// Memory in which the table behind the journal keeps what it has read.
        cache_bytes: Size = key(Restart, Size::kib(64 * 1024)).range(MIB..=Size::TIB);
    }
}

/// Kind of store.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// On disk, in sled's table.
    #[default]
    Sled,
    /// On disk, in redb's table.
    Redb,
    /// Forgotten at a restart.
    Memory,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is on stable storage.
    #[default]
    Sync,
    /// The operating system has it.
    Os,
    /// The broker has it.
    None,
}

impl StoreConfig {
    /// Adds what is wrong with it, apart from ranges.
    pub(super) fn check(&self, found: &mut Problems) {
        let marks = [
            ("store.pending_bytes", self.pending_bytes_low, self.pending_bytes_max),
            ("store.unwritten_bytes", self.unwritten_bytes_low, self.unwritten_bytes_max),
        ];
        for (name, low, max) in marks {
            if low.0 >= max.0 {
                found.add(format!("{name}_low"), format!("is not below {name}_max"));
            }
        }
        if self.segment_bytes.0.saturating_mul(4) > self.journal_bytes_max.0 {
            found.add("store.segment_bytes", "four segments are more than store.journal_bytes_max");
        }
        if self.kind != StoreKind::Memory && self.path.as_os_str().is_empty() {
            found.add("store.path", "is empty; with store.kind = \"memory\" none is needed");
        }
        if self.kind == StoreKind::Redb && !cfg!(feature = "store-redb") {
            found.add("store.kind", "this build has no redb: build it with --features store-redb");
        }
    }
}
