//! What the broker holds over all.

use super::section::InForce::Restart;
use super::section::{key, rows};
use super::units::Size;

rows! {
    /// What the broker holds for all clients together.
    pub struct Totals {
        /// Sessions, connected and disconnected.
        sessions_max: u32 = key(Restart, 100_000).range(1..=100_000_000);
        /// Of `sessions_max`, the percentage that clients without a verified user name may have together, where
        /// user names are verified at all. Further ones are refused with 0x97 (3.1.1: 3).
        unverified_share: u32 = key(Restart, 25).range(1..=100);
        /// Of what clients without a verified user name may have together, the percentage that is one
        /// address's (of IPv6 the first 64 bits) once there is no room for others. When a Session of another
        /// client finds no room, a disconnected one of the address with most Sessions ends, the oldest
        /// first, as long as that address has more. A Session of a verified user never ends for another.
        address_share: u32 = key(Restart, 25).range(1..=100);
        /// Of `sessions_max`, the percentage that one verified user may have.
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
        /// Bytes that connections hold and that are in no queue: packets that have begun and not ended,
        /// filters that are still to be served, and what was written to clients and they have not taken yet.
        /// The first KiB of each connection is not counted. Above half of it, more than a few KiB of a packet
        /// are read once there is room for all of it, and those that have stood still for longest are closed
        /// to make room.
        connection_bytes_max: Size =
            key(Restart, Size::kib(256 * 1024)).range(Size::kib(64)..=Size::TIB);
        /// Bytes of Wills, of connected clients and of those that their clients left behind. Beyond it a
        /// CONNECT with a Will is refused with 0x97 (3.1.1: 3), beyond half of it one with a Will above
        /// 1 KiB. With a store on disk, a Will above 512 bytes of a client that is away is in the store only.
        will_bytes_max: Size = key(Restart, Size::kib(256 * 1024)).range(Size(0)..=Size::TIB);
        /// Groups of shared subscriptions.
        groups_max: u32 = key(Restart, 10_000).range(0..=100_000_000);
    }
}
