//! How often each address may connect.
//!
//! The table is bounded, and so is the cost of one connection: it looks at a few entries at most.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU64;

use crate::message::Network;
use crate::shape::TokenBucket;
use crate::time::Time;

/// A bucket for each address that has connected lately.
pub(super) struct Addresses {
    /// Connections a second, and at once.
    rate: NonZeroU64,
    /// Most entries in the table.
    max: usize,
    buckets: HashMap<Network, TokenBucket, foldhash::fast::RandomState>,
    /// The same addresses, the oldest entry in front.
    order: VecDeque<Network>,
}

/// Entries looked at to find one that is at rest.
const LOOKS: usize = 8;

impl Addresses {
    pub fn new(rate: NonZeroU64, max: usize) -> Addresses {
        Addresses { rate, max, buckets: HashMap::default(), order: VecDeque::new() }
    }

    /// Whether a connection from `address` is let in at `now`, after all others from its
    /// [`Network`]. It is not if the table has no room.
    pub fn allow(&mut self, address: IpAddr, now: Time) -> bool {
        let address = Network::of(Some(address));
        if let Some(bucket) = self.buckets.get_mut(&address) {
            return bucket.take(1, now);
        }
        if self.order.len() >= self.max && !self.forget_one(now) {
            return false;
        }
        let mut bucket = TokenBucket::new(self.rate, self.rate.get());
        let allowed = bucket.take(1, now);
        self.buckets.insert(address, bucket);
        self.order.push_back(address);
        allowed
    }

    /// Forgets an address at rest (a new bucket is the same) and returns true. One that is not at rest
    /// goes to the end.
    fn forget_one(&mut self, now: Time) -> bool {
        for _ in 0..LOOKS {
            let Some(oldest) = self.order.pop_front() else { return false };
            let full = |bucket: &TokenBucket| bucket.ready_at(self.rate.get()) <= now;
            if self.buckets.get(&oldest).is_none_or(full) {
                self.buckets.remove(&oldest);
                return true;
            }
            self.order.push_back(oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    fn rate(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).expect("a rate")
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    /// A table that forgets no address.
    struct Twin(NonZeroU64, HashMap<IpAddr, TokenBucket>);

    impl Twin {
        fn allow(&mut self, address: IpAddr, now: Time) -> bool {
            let bucket = self.1.entry(address);
            bucket.or_insert_with(|| TokenBucket::new(self.0, self.0.get())).take(1, now)
        }

        /// Those that are not at rest.
        fn moving(&self, now: Time) -> usize {
            self.1.values().filter(|bucket| bucket.ready_at(self.0.get()) > now).count()
        }
    }

    #[test]
    fn forgetting_lets_nobody_in_too_often_and_keeps_out_only_strangers_to_a_full_table() {
        let (mut let_in, mut kept_out, mut strangers) = (0, 0, 0);
        for seed in 1..200_u64 {
            let mut random = Random::new(seed);
            let rate = rate(1 + random.below_u64(5));
            let max = 1 + random.below(20);
            let crowd = 1 + random.below_u64(60);
            let mut addresses = Addresses::new(rate, max);
            let mut twin = Twin(rate, HashMap::new());
            let mut now = Time::from_secs(1_000);
            for _ in 0..2_000 {
                now = now.after(Duration::from_micros(random.below_u64(100_000)));
                let address = address(random.below_u64(crowd) as u32);
                let known = addresses.buckets.contains_key(&Network::of(Some(address)));
                let moving = twin.moving(now);
                let allowed = addresses.allow(address, now);
                let (place, full) = (
                    addresses.buckets.contains_key(&Network::of(Some(address))),
                    addresses.order.len() == max,
                );
                if known || place {
                    assert_eq!(allowed, twin.allow(address, now), "seed {seed}");
                } else {
                    // The twin does not hear of it.
                    assert!(!allowed && full && moving > 0, "seed {seed}");
                    // With no more places than are looked at, only those that all are taken.
                    assert!(max > LOOKS || moving >= max, "seed {seed}");
                    strangers += 1;
                }
                let_in += u32::from(allowed);
                kept_out += u32::from(!allowed);
                assert!(addresses.order.len() <= max);
                assert_eq!(addresses.order.len(), addresses.buckets.len());
            }
        }
        assert!(let_in > 10_000 && kept_out > 10_000 && strangers > 1_000);
    }

    #[test]
    fn all_addresses_of_one_ipv6_subscriber_are_one() {
        let mut addresses = Addresses::new(rate(5), 1_000);
        let now = Time::from_secs(1_000);
        let from =
            |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 1, host]);
        let allowed = (0..100).filter(|host| addresses.allow(from(1, *host), now)).count();
        assert_eq!(allowed, 5);
        assert!(addresses.allow(from(2, 1), now));
        assert_eq!(addresses.order.len(), 2);
    }

    #[test]
    fn a_crowd_that_has_come_and_gone_keeps_nobody_out() {
        let max = 1_000;
        let mut addresses = Addresses::new(rate(10), max);
        let mut now = Time::from_secs(1_000);
        for number in 0..20_000 {
            // Each is at rest a tenth of a second after it came, and a thousand come in that time.
            now = now.after(Duration::from_micros(101));
            assert!(addresses.allow(address(number), now), "{number}");
        }
        assert_eq!(addresses.order.len(), max);
    }
}
