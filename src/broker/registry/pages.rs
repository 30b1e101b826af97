//! Looking at Sessions: one, all, or a page of them.

use std::fmt;
use std::sync::Arc;

use super::Registry;
use super::slots::Holder;
use crate::broker::mailbox::Mailbox;
use crate::broker::parked::Parked;
use crate::message::{ClientId, GroupId};

/// Where a page of clients begins: see [`Broker::clients`].
///
/// [`Broker::clients`]: crate::broker::Broker::clients
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PageStart {
    layout: u64,
    bucket: usize,
}

impl PageStart {
    /// Reads what it says of itself.
    pub fn parse(text: &str) -> Option<PageStart> {
        let (layout, bucket) = text.split_once('.')?;
        Some(PageStart { layout: layout.parse().ok()?, bucket: bucket.parse().ok()? })
    }
}

impl fmt::Display for PageStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.layout, self.bucket)
    }
}

/// Places in the table that are looked at for each client of a page.
const LOOKS: usize = 8;

/// Where a Session is.
#[derive(Debug)]
pub enum Whereabouts<R> {
    /// There is none.
    Nowhere,
    /// A claim is settled: its link attaches within the same turn.
    OnItsWay,
    /// At a link, with this mailbox.
    Attached(Arc<Mailbox>),
    /// Parked, and this was seen.
    Parked(R),
}

/// A client, the mailbox of its Session, and whether it is connected.
pub type Found = (ClientId, Arc<Mailbox>, bool);

impl Registry {
    /// Every Session's client and mailbox, in the order of Client Identifiers.
    pub fn mailboxes(&self) -> Vec<Found> {
        let inner = self.lock();
        let mut all: Vec<_> = inner
            .slots
            .table
            .iter()
            .filter_map(|slot| slot.mailbox().map(|found| (slot.client_id(), found)))
            .map(|(client_id, (mailbox, connected))| {
                (client_id.clone(), mailbox.clone(), connected)
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The mailbox of a client's Session, and whether the client is connected.
    pub fn mailbox(&self, client_id: &ClientId) -> Option<(Arc<Mailbox>, bool)> {
        let inner = &mut *self.lock();
        let (mailbox, connected) = inner.slots.get(client_id)?.mailbox()?;
        Some((mailbox.clone(), connected))
    }

    /// Where the Session of a client is. If it is parked, it is read with `read`, under the lock.
    pub fn look<R>(&self, client_id: &ClientId, read: impl FnOnce(&Parked) -> R) -> Whereabouts<R> {
        match self.lock().slots.get(client_id).map(|slot| &slot.holder) {
            None | Some(Holder::Empty) => Whereabouts::Nowhere,
            Some(Holder::Taken(_)) => Whereabouts::OnItsWay,
            Some(Holder::Attached(mailbox)) => Whereabouts::Attached(mailbox.clone()),
            Some(Holder::Parked(parked)) => Whereabouts::Parked(read(parked)),
        }
    }

    /// At most `max` Sessions' clients and mailboxes from `from` on, and where the next page begins.
    /// Looks at a number of slots that depends on `max` alone.
    pub fn page(&self, from: PageStart, max: usize) -> (Vec<Found>, Option<PageStart>) {
        let inner = &*self.lock();
        let layout = inner.slots.layout;
        let first = if from.layout == layout { from.bucket } else { 0 };
        let last = first
            .saturating_add(max.max(1).saturating_mul(LOOKS))
            .min(inner.slots.table.num_buckets());
        let mut found = Vec::new();
        for bucket in first..last {
            if found.len() == max.max(1) {
                return (found, Some(PageStart { layout, bucket }));
            }
            let Some(slot) = inner.slots.table.get_bucket(bucket) else { continue };
            if let Some((mailbox, connected)) = slot.mailbox() {
                found.push((slot.client_id().clone(), mailbox.clone(), connected));
            }
        }
        let more = last < inner.slots.table.num_buckets();
        (found, more.then_some(PageStart { layout, bucket: last }))
    }

    /// Messages in flight of parked Sessions, by the group they came from.
    pub fn parked_in_flight(&self) -> Vec<(ClientId, Vec<Option<GroupId>>)> {
        let inner = self.lock();
        let mut all = Vec::new();
        for slot in &inner.slots.table {
            if let Holder::Parked(parked) = &slot.holder {
                all.push((slot.client_id().clone(), parked.session.in_flight()));
            }
        }
        all.sort();
        all
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::collections::BTreeMap;

    use super::super::*;
    use super::*;
    use crate::config::Totals;
    use crate::message::Meter;

    fn come(registry: &Registry, name: &str) {
        let meter = Meter::forever();
        let identity = Arc::new(Identity::new(ClientId::new(name), None, meter));
        let id = &identity.client_id;
        let claimant =
            Claimant { client_id: id, user_name: None, address: None, clean: false, number: None };
        let claim = registry.claim(&claimant, Time::START, &mut Vec::new());
        let claim = claim.expect("it is of one user").number;
        let quota = Totals::default().quotas(100_000);
        let settled = registry.settle(id, claim, &identity, quota.now(false), Waker::noop());
        let Claim::New(session, None) = settled else { panic!("{settled:?}") };
        registry.attach(id, &Arc::new(Mailbox::for_session(session, identity.clone())));
    }

    /// All pages, with as many as `between` says of others that come after each.
    fn pages(registry: &Registry, max: usize, mut between: impl FnMut()) -> BTreeMap<String, u32> {
        let (mut seen, mut next) = (BTreeMap::new(), Some(PageStart::default()));
        while let Some(from) = next {
            let (found, then) = registry.page(from, max);
            assert!(found.len() <= max);
            for (client_id, _, connected) in found {
                assert!(connected);
                *seen.entry(client_id.as_str().to_owned()).or_default() += 1;
            }
            next = then;
            between();
        }
        seen
    }

    #[test]
    fn each_client_that_stays_is_in_a_page() {
        let registry = Registry::new(7, 0);
        assert!(pages(&registry, 3, || {}).is_empty());
        (0..500).for_each(|n| come(&registry, &format!("c{n}")));
        for max in [1, 7, 100, 1000] {
            let seen = pages(&registry, max, || {});
            assert_eq!((seen.len(), seen.values().max()), (500, Some(&1)), "each once");
        }
        // The table grows meanwhile.
        let mut more = 0..2_000;
        let seen = pages(&registry, 10, || {
            more.by_ref().take(20).for_each(|n| come(&registry, &format!("d{n}")));
        });
        assert!((0..500).all(|n| seen.contains_key(&format!("c{n}"))));
        let knows = |name: &str| registry.mailbox(&ClientId::new(name)).is_some();
        assert!(knows("c7") && knows("d7") && !knows("e7"));
    }

    #[test]
    fn a_page_of_a_table_that_many_have_left_costs_no_more() {
        let registry = Registry::new(7, 0);
        (0..5_000).for_each(|n| come(&registry, &format!("c{n}")));
        for n in 0..4_990 {
            let _ = registry.release(&ClientId::new(&format!("c{n}")));
        }
        let mut rounds = 0;
        assert_eq!(pages(&registry, 10, || rounds += 1).len(), 10);
        assert_eq!(rounds, registry.lock().slots.table.num_buckets().div_ceil(10 * LOOKS));
    }
}
