//! `QoS` 2 identifiers received and not yet released. Most clients never have one.

use thin_vec::ThinVec;

use crate::codec::PacketId;

/// A set of identifiers, ascending: one word until the first is inserted, then two bytes each, because a
/// client may leave tens of thousands behind. Clients count upwards, so mostly the last place is the right
/// one.
#[derive(Debug, Default)]
pub(super) struct Unreleased(ThinVec<PacketId>);

impl Unreleased {
    pub fn insert(&mut self, packet_id: PacketId) {
        if let Err(place) = self.0.binary_search(&packet_id) {
            self.0.insert(place, packet_id);
        }
    }

    /// Takes an identifier out; returns whether it was there.
    pub fn remove(&mut self, packet_id: PacketId) -> bool {
        let Ok(place) = self.0.binary_search(&packet_id) else { return false };
        self.0.remove(place);
        if self.0.is_empty() {
            self.0 = ThinVec::new();
        }
        true
    }

    pub fn contains(&self, packet_id: PacketId) -> bool {
        self.0.binary_search(&packet_id).is_ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.0.iter().copied()
    }
}

impl FromIterator<PacketId> for Unreleased {
    fn from_iter<I: IntoIterator<Item = PacketId>>(ids: I) -> Unreleased {
        let mut ids: ThinVec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Unreleased(ids)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Random;

    #[test]
    fn it_is_the_set_that_a_stupid_twin_is() {
        for seed in 1..50 {
            let mut random = Random::new(seed);
            let (mut ids, mut twin) = (Unreleased::default(), BTreeSet::new());
            for _ in 0..2_000 {
                let id = PacketId::new(1 + random.below(300) as u16).expect("not zero");
                if random.below(2) == 0 {
                    ids.insert(id);
                    twin.insert(id);
                } else {
                    assert_eq!(ids.remove(id), twin.remove(&id), "seed {seed}");
                }
                assert_eq!((ids.len(), ids.contains(id)), (twin.len(), twin.contains(&id)));
            }
            assert!(ids.iter().eq(twin.iter().copied()), "seed {seed}");
            let again: Unreleased = ids.iter().chain(ids.iter()).collect();
            assert!(again.iter().eq(twin), "seed {seed}");
        }
        let all: Unreleased = (1..=u16::MAX).filter_map(PacketId::new).collect();
        assert!(all.0.capacity() <= 1 << 17);
        assert_eq!((all.len(), size_of::<Unreleased>()), (65_535, size_of::<usize>()));
    }
}
