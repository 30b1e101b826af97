//! Ingress limiting: whether a client's packet is beyond a rate, and when it may be handled.

use std::num::NonZeroU64;

use super::LeakyBucket;
use super::shaper::change;
use crate::config::{Excess, Ingress};
use crate::time::Time;

/// The token buckets of one client, or of several together: for PUBLISH packets, for their bytes, for
/// SUBSCRIBE packets, each if it has a rate.
///
/// A packet that waits is *booked*: it takes its tokens at once, even tokens that the bucket does not
/// have yet, and the answer is the time at which the bucket will have them. So no client is woken in
/// vain, several get their turns in the order of asking, and a late wake delays no other client.
#[derive(Clone, Debug)]
pub struct Intake {
    publishes: Option<LeakyBucket>,
    bytes: Option<LeakyBucket>,
    subscribes: Option<LeakyBucket>,
    action: Excess,
}

/// A packet that is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// PUBLISH; its bytes.
    Publish(usize),
    /// SUBSCRIBE.
    Subscribe,
}

impl Intake {
    /// Full buckets; `None` where nothing is limited.
    pub fn new(ingress: &Ingress) -> Option<Intake> {
        (!ingress.is_free()).then(|| Intake {
            publishes: packets(ingress.publishes_rate, ingress.publishes_burst),
            bytes: bytes(ingress.publish_bytes_rate.0, ingress.publish_bytes_burst.0),
            subscribes: packets(ingress.subscribes_rate, ingress.subscribes_burst),
            action: ingress.action,
        })
    }

    /// Changes the limits at `now`; tokens that were taken stay taken.
    pub fn set(&mut self, ingress: &Ingress, now: Time) {
        change(&mut self.publishes, packets(ingress.publishes_rate, ingress.publishes_burst), now);
        let to = bytes(ingress.publish_bytes_rate.0, ingress.publish_bytes_burst.0);
        change(&mut self.bytes, to, now);
        let to = packets(ingress.subscribes_rate, ingress.subscribes_burst);
        change(&mut self.subscribes, to, now);
        self.action = ingress.action;
    }

    /// Takes the tokens of a packet, also tokens that the buckets do not have yet. Returns when the
    /// packet may be handled: now or earlier means at once.
    pub fn book(&mut self, load: Load, now: Time) -> Time {
        let due = self.ready_at(load);
        self.each(load, |bucket, amount| bucket.pour(amount, now));
        due
    }

    /// Gives back the tokens of a booked packet that will not be handled.
    pub fn give_back(&mut self, load: Load) {
        self.each(load, LeakyBucket::take_back);
    }

    /// Takes the tokens of so many packets more, for one that cost as much as they do. What comes next
    /// waits for them.
    pub fn charge(&mut self, load: Load, packets: u64, now: Time) {
        self.each(load, |bucket, amount| bucket.pour(amount * packets, now));
    }

    /// The buckets that a packet takes tokens from, and how many.
    fn each(&mut self, load: Load, mut visit: impl FnMut(&mut LeakyBucket, u64)) {
        let buckets = match load {
            Load::Publish(bytes) => [(&mut self.publishes, 1), (&mut self.bytes, bytes as u64)],
            Load::Subscribe => [(&mut self.subscribes, 1), (&mut None, 0)],
        };
        for (bucket, amount) in buckets {
            if let Some(bucket) = bucket {
                visit(bucket, amount);
            }
        }
    }

    /// Whether a packet is beyond the rate.
    pub fn is_over(&self, load: Load, now: Time) -> bool {
        self.ready_at(load) > now
    }

    /// What is done with a packet beyond the rate.
    pub fn action(&self) -> Excess {
        self.action
    }

    /// Whether all buckets are full, as those of a new value are.
    pub fn is_at_rest(&self, now: Time) -> bool {
        let buckets = [&self.publishes, &self.bytes, &self.subscribes];
        buckets.into_iter().flatten().all(|bucket| bucket.level(now) == 0)
    }

    fn ready_at(&self, load: Load) -> Time {
        let buckets = match load {
            Load::Publish(_) => [&self.publishes, &self.bytes],
            Load::Subscribe => [&self.subscribes, &None],
        };
        let buckets = buckets.into_iter().flatten();
        buckets.map(LeakyBucket::ready_at).max().unwrap_or(Time::START)
    }
}

fn packets(rate: u32, burst: u32) -> Option<LeakyBucket> {
    let rate = NonZeroU64::new(rate.into())?;
    let burst = if burst == 0 { rate.get() } else { burst.into() };
    // A bucket takes one packet more than its burst.
    Some(LeakyBucket::new(rate, burst - 1))
}

fn bytes(rate: u64, burst: u64) -> Option<LeakyBucket> {
    let rate = NonZeroU64::new(rate)?;
    Some(LeakyBucket::new(rate, if burst == 0 { rate.get() } else { burst }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Size;
    use crate::random::Random;

    const BEGIN: Time = Time::from_secs(1_800_000_000);

    /// A number of any magnitude up to `bits` bits, at least 1.
    fn magnitude(random: &mut Random, bits: u32) -> u64 {
        random.magnitude(bits).max(1)
    }

    /// The twin keeps every packet and adds up exactly, in nanobytes: when may the next be looked at?
    struct Twin {
        rate: u128,
        burst: u128,
        level: u128,
        at: Time,
    }

    impl Twin {
        fn new(rate: u64, burst: u64) -> Twin {
            Twin { rate: rate.into(), burst: burst.into(), level: 0, at: BEGIN }
        }

        fn book(&mut self, amount: u64, now: Time) -> Time {
            let drained = now.since(self.at).as_nanos() * self.rate;
            self.level = self.level.saturating_sub(drained);
            self.at = self.at.max(now);
            let over = self.level.saturating_sub(self.burst * NANOS);
            self.level += u128::from(amount) * NANOS;
            now.after(Duration::from_nanos(u64::try_from(over.div_ceil(self.rate)).unwrap()))
        }
    }

    const NANOS: u128 = 1_000_000_000;

    /// Due at the same moment, give or take the fraction that the twin forgets; what was due before
    /// `now` is due at `now`.
    #[track_caller]
    fn assert_due(due: Time, twin: Time, now: Time, cx: &str) {
        let apart = due.max(now).since(twin).max(twin.since(due.max(now)));
        assert!(apart <= Duration::from_nanos(1), "{cx}: {due:?}, not {twin:?}");
    }

    #[test]
    fn bookings_agree_with_exact_arithmetic() {
        for seed in 1..=1_000 {
            let mut random = Random::new(seed);
            let (rate, burst) = (magnitude(&mut random, 20), magnitude(&mut random, 16));
            let (bytes_rate, bytes_burst) =
                (magnitude(&mut random, 40), magnitude(&mut random, 24));
            let mut intake = Intake::new(&Ingress {
                publishes_rate: rate as u32,
                publishes_burst: burst as u32,
                publish_bytes_rate: Size(bytes_rate),
                publish_bytes_burst: Size(bytes_burst),
                ..Ingress::default()
            })
            .unwrap();
            let mut twins = [Twin::new(rate, burst - 1), Twin::new(bytes_rate, bytes_burst)];
            let mut now = BEGIN;
            for step in 0..200 {
                let size = magnitude(&mut random, 18);
                let over = intake.is_over(Load::Publish(size as usize), now);
                let due = intake.book(Load::Publish(size as usize), now);
                let twin = twins[0].book(1, now).max(twins[1].book(size, now));
                let cx = format!("seed {seed} step {step} {intake:?}");
                assert_eq!(over, due > now, "{cx}");
                assert_due(due, twin, now, &cx);
                match random.below(4) {
                    // A wake as it was asked for, one that is late, one packet behind the other.
                    0 => now = now.max(due),
                    1 => now = now.max(due).after(Duration::from_nanos(magnitude(&mut random, 34))),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn who_always_has_more_gets_the_exact_rate_however_late_it_is_woken() {
        for (rate, burst) in [(1, 1), (7, 1), (500, 10), (999_983, 1), (1_000_000_000, 3)] {
            let ingress =
                Ingress { publishes_rate: rate, publishes_burst: burst, ..Ingress::default() };
            let mut intake = Intake::new(&ingress).unwrap();
            let (mut now, count) = (BEGIN, 10_000_u64);
            for number in 0..count {
                let due = intake.book(Load::Publish(1), now);
                let waited = number.saturating_sub(u64::from(burst) - 1);
                let nanos = (u128::from(waited) * NANOS).div_ceil(rate.into());
                let exact = BEGIN.after(Duration::from_nanos(u64::try_from(nanos).unwrap()));
                assert_eq!(due.max(BEGIN), exact, "{rate} {burst} {number}");
                // Late by less than a gap.
                let late = Duration::from_secs(1) / rate / 2;
                now = now.max(due).after(if number % 3 == 0 { late } else { Duration::ZERO });
            }
        }
    }

    #[test]
    fn who_books_in_turn_shares_evenly() {
        let ingress = Ingress { publishes_rate: 100, publishes_burst: 1, ..Ingress::default() };
        let mut intake = Intake::new(&ingress).unwrap();
        // Everybody books its next packet when the last one was due.
        let mut due = [BEGIN; 7];
        let mut looked_at = [0; 7];
        for _ in 0..7_000 {
            let next = (0..7).min_by_key(|client| due[*client]).unwrap();
            let now = due[next];
            looked_at[next] += 1;
            due[next] = intake.book(Load::Publish(1), now).max(now);
        }
        assert!(looked_at.iter().all(|count| (999..=1_001).contains(count)), "{looked_at:?}");
    }

    #[test]
    fn other_rules_keep_what_was_taken() {
        let with =
            |publishes_rate| Ingress { publishes_rate, publishes_burst: 1, ..Ingress::default() };
        let mut intake = Intake::new(&with(10)).unwrap();
        intake.book(Load::Publish(1), BEGIN);
        // Half of the gap has passed; the other half lasts as long as the new rate says.
        let half = BEGIN.after(Duration::from_millis(50));
        intake.set(&with(100), half);
        assert_eq!(intake.book(Load::Publish(1), half), half.after(Duration::from_millis(5)));
        intake.set(&Ingress { action: Excess::Reject, ..with(0) }, half);
        assert!(!intake.is_over(Load::Publish(1 << 40), half));
        assert_eq!(intake.action(), Excess::Reject);
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let mut given_back = 0;
        for seed in 1..=200 {
            let mut random = Random::new(seed);
            let ingress = Ingress {
                publishes_rate: magnitude(&mut random, 20) as u32,
                publishes_burst: magnitude(&mut random, 4) as u32,
                publish_bytes_rate: Size(magnitude(&mut random, 30)),
                ..Ingress::default()
            };
            let mut intake = Intake::new(&ingress).unwrap();
            let mut twin = intake.clone();
            let mut now = BEGIN;
            for step in 0..100 {
                let load = Load::Publish(magnitude(&mut random, 16) as usize);
                let due = intake.book(load, now);
                if due > now && random.below(2) == 0 {
                    intake.give_back(load);
                    given_back += 1;
                } else {
                    twin.book(load, now);
                }
                let next = Load::Publish(1);
                let cx = format!("seed {seed} step {step}");
                assert_eq!(intake.ready_at(next).max(now), twin.ready_at(next).max(now), "{cx}");
                now = now.after(Duration::from_nanos(magnitude(&mut random, 28)));
            }
        }
        assert!(given_back > 1_000, "{given_back}");
    }

    #[test]
    fn each_kind_has_its_own_bucket() {
        let ingress = Ingress { subscribes_rate: 1, subscribes_burst: 2, ..Ingress::default() };
        let mut intake = Intake::new(&ingress).unwrap();
        for wanted in [false, false, true] {
            assert_eq!(intake.is_over(Load::Subscribe, BEGIN), wanted);
            assert_eq!(intake.book(Load::Subscribe, BEGIN) > BEGIN, wanted);
            assert!(!intake.is_over(Load::Publish(1_000_000), BEGIN));
        }
        assert!(!intake.is_at_rest(BEGIN.after(Duration::from_millis(2_999))));
        assert!(intake.is_at_rest(BEGIN.after(Duration::from_secs(3))));
    }

    #[test]
    fn nothing_overflows_at_extreme_rates() {
        let ingress = Ingress {
            publishes_rate: 1,
            publishes_burst: 1,
            publish_bytes_rate: Size(1 << 40),
            publish_bytes_burst: Size(1 << 40),
            ..Ingress::default()
        };
        let mut intake = Intake::new(&ingress).unwrap();
        for _ in 0..1_000 {
            intake.book(Load::Publish(usize::MAX), Time::NEVER.before(Duration::from_secs(1)));
        }
        assert!(intake.is_over(Load::Publish(0), BEGIN));
        assert!(Intake::new(&Ingress::default()).is_none());
    }
}
