//! `QoS` 2 identifiers received and not yet released. Most clients never have one.

use std::collections::BTreeSet;

use crate::codec::PacketId;

/// A set of identifiers; takes one word until the first is inserted.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // One word for the many that have none, not three.
pub(super) struct Unreleased(Option<Box<BTreeSet<PacketId>>>);

impl Unreleased {
    pub fn insert(&mut self, packet_id: PacketId) {
        self.0.get_or_insert_default().insert(packet_id);
    }

    /// Takes an identifier out; returns whether it was there.
    pub fn remove(&mut self, packet_id: PacketId) -> bool {
        self.0.as_mut().is_some_and(|ids| ids.remove(&packet_id))
    }

    pub fn contains(&self, packet_id: PacketId) -> bool {
        self.0.as_ref().is_some_and(|ids| ids.contains(&packet_id))
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| ids.len())
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.0.iter().flat_map(|ids| ids.iter().copied())
    }
}

impl FromIterator<PacketId> for Unreleased {
    fn from_iter<I: IntoIterator<Item = PacketId>>(ids: I) -> Unreleased {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        Unreleased((!ids.is_empty()).then(|| Box::new(ids)))
    }
}
