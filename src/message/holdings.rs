//! What each owner has of the totals: a user that was verified, or a network of clients that were not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Grounds, Network, RefusalKind};
use crate::config::{DelayedConfig, Quota, Quotas, Totals};

/// What there is of a total that owners have parts of, beside Sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Total {
    /// Subscriptions.
    Subscriptions,
    /// Groups of Shared Subscriptions: of the owner of the first member.
    Groups,
    /// Retained messages: of the owner of the last publisher.
    Retained,
    /// Their bytes.
    RetainedBytes,
    /// Bytes that wait for clients without a connection.
    WaitingBytes,
    /// Bytes of Wills.
    WillBytes,
    /// Delayed messages.
    Delayed,
    /// Their bytes.
    DelayedBytes,
}

/// Kinds of [`Total`].
const KINDS: usize = 8;

/// The owner of something.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OwnerName {
    /// All clients without a verified user name that come from there.
    Network(Network),
    /// All clients of this verified user.
    User(Arc<str>),
}

/// What all owners have together, and what each may have.
#[derive(Debug)]
pub struct AllHoldings {
    quotas: [Quotas; KINDS],
    verifies: AtomicBool,
    /// Of all, and of them of clients without a verified user name.
    all: [AtomicU64; KINDS],
    unverified: [AtomicU64; KINDS],
}

/// What one owner has.
#[derive(Debug)]
pub struct Holdings {
    is_user: bool,
    amounts: [AtomicU64; KINDS],
    all: Arc<AllHoldings>,
}

impl OwnerName {
    /// That of a verified user, or else of the network.
    pub fn of(user_name: Option<Arc<str>>, network: Network) -> OwnerName {
        user_name.map_or(OwnerName::Network(network), OwnerName::User)
    }
}

impl Total {
    /// Whether the total of all is looked after here, with the shares.
    const fn is_whole_here(self) -> bool {
        matches!(self, Total::WaitingBytes | Total::Delayed | Total::DelayedBytes)
    }

    const fn refusal(self) -> RefusalKind {
        match self {
            Total::Subscriptions => RefusalKind::TotalSubscriptions,
            Total::Groups => RefusalKind::Groups,
            Total::Retained | Total::RetainedBytes => RefusalKind::RetainedMax,
            Total::WaitingBytes => RefusalKind::WaitingBytes,
            Total::WillBytes => RefusalKind::TotalWillBytes,
            Total::Delayed => RefusalKind::DelayedMessages,
            Total::DelayedBytes => RefusalKind::DelayedBytes,
        }
    }
}

impl AllHoldings {
    /// There is nothing yet. `waiting`: bytes that may wait for clients without a connection.
    pub fn new(totals: &Totals, delayed: &DelayedConfig, waiting: u64) -> AllHoldings {
        let max = [
            totals.subscriptions_max.into(),
            totals.groups_max.into(),
            totals.retained_max.into(),
            totals.retained_bytes_max.0,
            waiting,
            totals.will_bytes_max.0,
            delayed.messages_max.into(),
            delayed.bytes_max.0,
        ];
        AllHoldings {
            quotas: max.map(|max| totals.quotas(max)),
            verifies: AtomicBool::new(true),
            all: Default::default(),
            unverified: Default::default(),
        }
    }

    /// Whether user names are verified at all.
    pub fn set_verifies(&self, verifies: bool) {
        self.verifies.store(verifies, Ordering::Relaxed);
    }

    /// Whether they are.
    pub fn verifies(&self) -> bool {
        self.verifies.load(Ordering::Relaxed)
    }

    /// What there is of a total.
    pub fn amount(&self, of: Total) -> u64 {
        self.all[of as usize].load(Ordering::Relaxed)
    }

    /// What an owner may have.
    pub fn quota(&self, of: Total) -> &Quota {
        self.quotas[of as usize].now(self.verifies.load(Ordering::Relaxed))
    }

    /// What clients without a verified user name have together.
    pub fn unverified(&self, of: Total) -> u64 {
        self.unverified[of as usize].load(Ordering::Relaxed)
    }
}

impl Holdings {
    /// An owner that has nothing yet.
    pub fn new(is_user: bool, all: &Arc<AllHoldings>) -> Holdings {
        Holdings { is_user, amounts: Default::default(), all: all.clone() }
    }

    /// What it has.
    pub fn amount(&self, of: Total) -> u64 {
        self.amounts[of as usize].load(Ordering::Relaxed)
    }

    /// Whether it has nothing at all.
    pub fn is_empty(&self) -> bool {
        self.amounts.iter().all(|amount| amount.load(Ordering::Relaxed) == 0)
    }

    /// It has other than `before` now.
    pub fn change(&self, of: Total, before: u64, now: u64) {
        let (kind, by) = (of as usize, now.wrapping_sub(before));
        // Modulo 2^64: what is taken away was added before.
        self.amounts[kind].fetch_add(by, Ordering::Relaxed);
        self.all.all[kind].fetch_add(by, Ordering::Relaxed);
        if !self.is_user {
            self.all.unverified[kind].fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Whether it may have so many more. Of what counts for all but has no owner, the total is looked after
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// The share that it would exceed.
    pub fn room(&self, of: Total, more: u64) -> Result<(), Grounds> {
        let quota = self.all.quota(of);
        let own = self.amount(of) + more;
        let exceeds = |max, value, key| Err(Grounds::limit(of.refusal(), max, value).by_key(key));
        let all = self.all.amount(of) + more;
        if of.is_whole_here() && all > quota.total() {
            return exceeds(quota.total(), all, of.refusal().key());
        }
        if self.is_user {
            let max = quota.user();
            return if own > max { exceeds(max, own, "totals.user_share") } else { Ok(()) };
        }
        let unverified = self.all.unverified(of) + more;
        if unverified > quota.unverified() {
            exceeds(quota.unverified(), unverified, "totals.unverified_share")
        } else if own > quota.network() && unverified > quota.unverified() - quota.kept_free() {
            exceeds(quota.network(), own, "totals.address_share")
        } else {
            Ok(())
        }
    }

    /// Whether it is a verified user's.
    pub fn is_user(&self) -> bool {
        self.is_user
    }

    /// Whether it has more than its share, and is no verified user.
    pub fn is_above(&self, of: Total) -> bool {
        !self.is_user && self.amount(of) > self.all.quota(of).network()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Total = Total::Subscriptions;

    fn all(shares: [u32; 3], verifies: bool) -> Arc<AllHoldings> {
        let [unverified_share, address_share, user_share] = shares;
        let totals = Totals {
            subscriptions_max: 1_000,
            unverified_share,
            address_share,
            user_share,
            ..Totals::default()
        };
        let all = AllHoldings::new(&totals, &DelayedConfig::default(), 1_000);
        all.set_verifies(verifies);
        Arc::new(all)
    }

    /// Takes one after the other; returns how many it got, and the key that ends it.
    fn take(holdings: &Holdings) -> (u64, &'static str) {
        for got in 0..=1_000 {
            match holdings.room(OF, 1) {
                Ok(()) => holdings.change(OF, got, got + 1),
                Err(grounds) => return (got, grounds.key().expect("a key")),
            }
        }
        (1_001, "")
    }

    #[test]
    fn what_one_owner_may_have_of_a_total() {
        for (shares, verifies, is_user, wanted) in [
            ([25, 25, 90], true, true, (900, "totals.user_share")),
            // A quarter, but for the share of another address.
            ([25, 25, 90], true, false, (188, "totals.address_share")),
            ([25, 100, 90], true, false, (250, "totals.unverified_share")),
            // Where no name is verified nothing is kept free for users.
            ([25, 25, 90], false, false, (750, "totals.address_share")),
            ([25, 60, 90], false, false, (600, "totals.address_share")),
            ([25, 100, 90], false, false, (1_000, "totals.unverified_share")),
        ] {
            let holdings = Holdings::new(is_user, &all(shares, verifies));
            assert_eq!(take(&holdings), wanted, "{shares:?} {verifies} {is_user}");
        }
    }

    #[test]
    fn others_find_their_share_however_much_one_has() {
        for verifies in [false, true] {
            let all = all([25, 25, 90], verifies);
            let [hoarder, other, user] =
                [false, false, true].map(|is_user| Holdings::new(is_user, &all));
            let (had, _) = take(&hoarder);
            assert!(hoarder.is_above(OF) && !other.is_above(OF));
            assert_eq!(take(&other).0, all.quota(OF).unverified() - had);
            assert_eq!(take(&user).0, 900);
            hoarder.change(OF, had, 0);
            assert_eq!((hoarder.amount(OF), all.unverified(OF)), (0, other.amount(OF)));
            assert_eq!(all.amount(OF), other.amount(OF) + 900);
        }
    }
}
