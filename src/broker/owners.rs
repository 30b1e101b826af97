//! The owners of what is for all: what each has is found once for a client, when it first takes something.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{DelayedConfig, Totals};
use crate::message::{AllHoldings, Holdings, Identity, OwnerName};
use crate::sync::{Mutex, whole};

/// All owners that have anything.
#[derive(Debug)]
pub(super) struct Owners {
    all: Arc<AllHoldings>,
    known: Mutex<KnownOwners>,
}

#[derive(Debug, Default)]
struct KnownOwners {
    /// Kept while nothing is theirs: an owner that comes back costs no more than a look.
    by_name: BTreeMap<OwnerName, Arc<Holdings>>,
    /// Those that have neither clients nor anything else are forgotten when there are so many.
    sweep_at: usize,
}

/// So many owners are known before it is looked for those that are gone.
const SWEEP_AT: usize = 1024;

impl Owners {
    /// None yet. `remembers`: what waits for clients without a connection is in the store.
    pub fn new(totals: &Totals, delayed: &DelayedConfig, remembers: bool) -> Owners {
        let (waiting, queued) = (totals.waiting_bytes_max.0, totals.queued_bytes_max.0);
        let waiting = if remembers { waiting } else { waiting.min(queued) };
        Owners {
            all: Arc::new(AllHoldings::new(totals, delayed, waiting)),
            known: Mutex::default(),
        }
    }

    /// What all have together.
    pub fn all(&self) -> &Arc<AllHoldings> {
        &self.all
    }

    /// What the owner of this name has.
    pub fn of(&self, name: OwnerName) -> Arc<Holdings> {
        let known = &mut *whole(self.known.lock());
        if let Some(found) = known.by_name.get(&name) {
            return found.clone();
        }
        if known.by_name.len() >= known.sweep_at {
            let stays = |known: &Arc<Holdings>| Arc::strong_count(known) > 1 || !known.is_empty();
            known.by_name.retain(|_, holdings| stays(holdings));
            known.sweep_at = SWEEP_AT.max(known.by_name.len() * 2);
        }
        let is_user = matches!(name, OwnerName::User(_));
        let holdings = Arc::new(Holdings::new(is_user, &self.all));
        known.by_name.insert(name, holdings.clone());
        holdings
    }

    /// What the owner of this client's Session has: it is looked for once.
    #[inline]
    pub fn of_client<'a>(&self, client: &'a Identity) -> &'a Arc<Holdings> {
        client.holdings_or(|| self.of(OwnerName::of(client.user_name.clone(), client.network())))
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;
    use crate::message::{Network, Total};

    #[test]
    fn an_owner_is_one_for_all_its_clients_and_forgotten_after_them() {
        let owners = Owners::new(&Totals::default(), &DelayedConfig::default(), true);
        let of = |n: u32| {
            let address = std::net::Ipv4Addr::from(n).into();
            owners.of(OwnerName::Network(Network::of(Some(address))))
        };
        let first = of(0);
        first.change(Total::Groups, 0, 7);
        assert_eq!(of(0).amount(Total::Groups), 7);
        for n in 1..10_000 {
            drop(of(n));
        }
        assert!(whole(owners.known.lock()).by_name.len() <= SWEEP_AT);
        assert_eq!(of(0).amount(Total::Groups), 7);
    }
}
