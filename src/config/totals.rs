//! What the broker holds over all.

use super::section::InForce::Restart;
use super::section::{key, rows};
use super::units::Size;

rows! {
    /// What the broker holds for all clients together.
    pub struct Totals {
        /// Sessions, connected and disconnected.
        sessions_max: u32 = key(Restart, 100_000).range(1..=100_000_000);
        /// Of each total of Sessions, Subscriptions, groups, retained messages and bytes, waiting bytes and
        /// bytes of Wills, the percentage that clients without a verified user name may have together, where
        /// user names are verified at all; where none are, they may have all of it. What is above is
        /// refused with 0x97 (3.1.1: CONNACK 3, SUBACK 0x80).
        unverified_share: u32 = key(Restart, 10).range(1..=100);
        /// Of what clients without a verified user name may have together, the percentage that is one
        /// address's (of IPv6 the first 64 bits): an address that has more gets no more when less than
        /// that is left for the others. 100 puts no limit on an address: for fleets without user names
        /// behind one address. When a Session of another client finds no room, a disconnected
        /// one of the address with most Sessions ends, the oldest first, as long as that address has more
        /// than its share. A Session of a verified user never ends for another.
        address_share: u32 = key(Restart, 25).range(1..=100);
        /// Of each of these totals, the percentage that one verified user may have.
        user_share: u32 = key(Restart, 90).range(1..=100);
        /// Subscriptions.
        subscriptions_max: u32 = key(Restart, 1_000_000).range(1..=1_000_000_000);
        /// Retained messages.
        retained_max: u32 = key(Restart, 100_000).range(0..=1_000_000_000);
        /// Bytes of retained messages.
        retained_bytes_max: Size = key(Restart, Size::kib(256 * 1024)).range(Size(0)..=Size::TIB);
        /// Bytes of queued messages in memory, each message counted once.
        queued_bytes_max: Size =
            key(Restart, Size::kib(1024 * 1024)).range(Size::kib(1)..=Size::TIB);
        /// Bytes of messages that wait for clients without a connection, in memory and in the store. A
        /// message counts for each client and group that it waits for. Without a store on disk no more
        /// than `queued_bytes_max`. Beyond it, such a queue is treated as a full one.
        waiting_bytes_max: Size =
            key(Restart, Size::kib(16 * 1024 * 1024)).range(Size::kib(1)..=Size::TIB);
        /// Bytes that connections hold and that are in no queue: packets that have begun and not ended,
        /// filters that are still to be served, what was written to clients and they have not taken yet, and
        /// Topic Aliases of a connection that take more than 4 KiB. The first KiB of each connection is not
        /// counted. Above half of it, more than a few KiB of a packet are read once there is room for all of
        /// it, and those that have stood still for longest are closed to make room; an eighth above it, those
        /// that take more before their CONNECT, or with aliases, too.
        connection_bytes_max: Size =
            key(Restart, Size::kib(48 * 1024)).range(Size::kib(64)..=Size::TIB);
        /// Bytes of Wills, of connected clients and of those that their clients left behind. Beyond it a
        /// CONNECT with a Will is refused with 0x97 (3.1.1: 3), beyond half of it one with a Will above
        /// 1 KiB. With a store on disk, a Will above 512 bytes of a client that is away is in the store only.
        will_bytes_max: Size = key(Restart, Size::kib(256 * 1024)).range(Size(0)..=Size::TIB);
        /// Groups of shared subscriptions.
        groups_max: u32 = key(Restart, 10_000).range(0..=100_000_000);
        /// Named queues that are made by the HTTP API. Those of the configuration do not count.
        queues_max: u32 = key(Restart, 1000).range(0..=100_000);
    }
}

/// What owners may have of a total.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    total: u64,
    unverified: u64,
    network: u64,
    kept_free: u64,
    user: u64,
}

/// What owners may have of a total where no user is verified, and where users are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas([Quota; 2]);

impl Quotas {
    /// What holds now; `verifies`: users are verified.
    pub fn now(&self, verifies: bool) -> &Quota {
        &self.0[usize::from(verifies)]
    }
}

impl Totals {
    /// What owners may have of a total of `total`.
    pub fn quotas(&self, total: u64) -> Quotas {
        Quotas([false, true].map(|verifies| self.quota(total, verifies)))
    }

    /// What owners may have of a total of `total`. `verifies`: user names are verified at all; where none
    /// are, nothing is kept free for users.
    fn quota(&self, total: u64, verifies: bool) -> Quota {
        let part = |of: u64, percent: u32| u128::from(of) * u128::from(percent);
        let whole = |part: u128| u64::try_from(part).expect("a share is at most the whole");
        let share = |of: u64, percent: u32| whole(part(of, percent).div_ceil(100));
        let unverified = if verifies { share(total, self.unverified_share) } else { total };
        Quota {
            total,
            unverified,
            network: share(unverified, self.address_share),
            kept_free: whole(part(unverified, self.address_share) / 100),
            user: share(total, self.user_share),
        }
    }
}

impl Quota {
    /// All together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// All clients without a verified user name together.
    pub fn unverified(&self) -> u64 {
        self.unverified
    }

    /// Those of one network, when there is no room for others.
    pub fn network(&self) -> u64 {
        self.network
    }

    /// What a network that has more than its share leaves to the others.
    pub fn kept_free(&self) -> u64 {
        self.kept_free
    }

    /// One user.
    pub fn user(&self) -> u64 {
        self.user
    }
}
