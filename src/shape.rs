//! Buckets that are told the time and answer *when*; they never sleep.
//!
//! Both kinds store one moment: when they will be empty. It is exact: whole nanoseconds and a fraction
//! with the rate as its denominator. So no rounding error adds up over the days; only the answer to
//! *when* is rounded, up to the next nanosecond.

mod fair_queue;
mod intake;
mod shaper;

use std::num::NonZeroU64;

use crate::time::Time;

pub use fair_queue::{Clearance, FairQueue, QueueSlot};
pub use intake::{Intake, Load};
pub use shaper::{Allowance, Shaper};

/// A leaky bucket: says *when* the next bytes may leave, and never sleeps itself.
///
/// The bucket drains at `rate` bytes per second. Bytes may leave while its level
/// is at most `burst` bytes, so at most `burst` plus one write leave at once and
/// `rate` bytes per second leave in the long run.
///
/// Any rate and any burst will do. A level that takes until the end of time to drain is there
/// for ever: [`ready_at`](Self::ready_at) is then centuries away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeakyBucket {
    /// Bytes per second.
    rate: NonZeroU64,
    /// Bytes.
    burst: u64,
    /// When the bucket will be empty, rounded down to a nanosecond...
    empty_at: Time,
    /// ...and what was cut off, in nanoseconds divided by `rate`: below `rate`.
    fraction: u64,
}

impl LeakyBucket {
    /// An empty bucket.
    pub fn new(rate: NonZeroU64, burst: u64) -> LeakyBucket {
        LeakyBucket { rate, burst, empty_at: Time::START, fraction: 0 }
    }

    /// Pours in `bytes` that left at `now`, be it in time or not.
    pub fn pour(&mut self, bytes: u64, now: Time) {
        self.settle(now);
        self.fill(u128::from(bytes) * NANOS);
    }

    /// Takes out again what was poured in and has not left after all.
    pub fn take_back(&mut self, bytes: u64) {
        let level = self.nanobytes(Time::START);
        self.empty_at = Time::START;
        self.fraction = 0;
        self.fill(level.saturating_sub(u128::from(bytes) * NANOS));
    }

    /// Changes rate and burst from `now` on. What is in the bucket stays in it, to the byte.
    pub fn set_rate(&mut self, rate: NonZeroU64, burst: u64, now: Time) {
        let level = self.nanobytes(now);
        *self = LeakyBucket { rate, burst, empty_at: now, fraction: 0 };
        self.fill(level);
    }

    /// When the next bytes may leave: now or earlier means at once.
    pub fn ready_at(&self) -> Time {
        self.drained_to(self.burst)
    }

    /// Bytes that may leave at `now` before the next has to wait; 0 if nothing may leave.
    ///
    /// - `since`: when the first of them should have left. What drained since then is added.
    ///
    /// The last packet may exceed the allowance: the bytes poured in beyond it delay the next packet.
    pub fn allowance(&self, since: Time, now: Time) -> usize {
        if self.ready_at() > now {
            return 0;
        }
        let rate = u128::from(self.rate.get());
        let drained = u128::from(now.as_nanos().saturating_sub(since.as_nanos())) * rate;
        let free = u128::from(self.burst) * NANOS + drained;
        let free = free.saturating_sub(self.nanobytes(since)) / NANOS;
        usize::try_from(free + 1).unwrap_or(usize::MAX)
    }

    /// Bytes per second.
    pub fn rate(&self) -> NonZeroU64 {
        self.rate
    }

    /// Bytes.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Bytes in the bucket at `now`, rounded up.
    pub fn level(&self, now: Time) -> u64 {
        u64::try_from(self.nanobytes(now).div_ceil(NANOS)).unwrap_or(u64::MAX)
    }

    /// Forgets the time the bucket stood empty: it does not count for later.
    fn settle(&mut self, now: Time) {
        // Within the nanosecond in which it runs empty the fraction is kept: a sender that
        // sends exactly at `ready_at` would else lose a little each time.
        if now > self.drained_to(0) {
            self.empty_at = now;
            self.fraction = 0;
        }
    }

    /// Moves the end later by what takes `nanobytes` to drain.
    fn fill(&mut self, nanobytes: u128) {
        let (nanos, fraction) = divide(nanobytes.saturating_add(self.fraction.into()), self.rate);
        let end =
            u64::try_from(nanos).ok().and_then(|nanos| self.empty_at.as_nanos().checked_add(nanos));
        self.empty_at = end.map_or(Time::NEVER, Time::from_nanos);
        self.fraction = if end.is_some() { fraction } else { 0 };
    }

    /// The first nanosecond at which no more than `bytes` are left.
    fn drained_to(&self, bytes: u64) -> Time {
        let spare = u128::from(bytes) * NANOS;
        let fraction = u128::from(self.fraction);
        if fraction > spare {
            // Less than a nanosecond: the fraction is below the rate.
            return Time::from_nanos(self.empty_at.as_nanos().saturating_add(1));
        }
        let (nanos, _) = divide(spare - fraction, self.rate);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Time::from_nanos(self.empty_at.as_nanos().saturating_sub(nanos))
    }

    /// What is in the bucket at `now`, in billionths of a byte.
    fn nanobytes(&self, now: Time) -> u128 {
        let Some(nanos) = self.empty_at.as_nanos().checked_sub(now.as_nanos()) else { return 0 };
        u128::from(nanos) * u128::from(self.rate.get()) + u128::from(self.fraction)
    }
}

/// A token bucket: says whether something may happen now, or *when*.
///
/// It holds `burst` tokens at most and at first, and gains `rate` of them per second. So at most
/// `burst` are taken at once, and `rate` per second in the long run.
///
/// Any rate and any burst will do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenBucket {
    /// The tokens taken and not yet regained: drains at the rate.
    taken: LeakyBucket,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: NonZeroU64, burst: u64) -> TokenBucket {
        TokenBucket { taken: LeakyBucket::new(rate, burst) }
    }

    /// Takes `n` tokens if they are there, else none.
    pub fn take(&mut self, n: u64, now: Time) -> bool {
        if n > self.taken.burst || self.ready_at(n) > now {
            return false;
        }
        self.taken.pour(n, now);
        true
    }

    /// Changes rate and burst from `now` on. What was taken and not yet regained stays so.
    pub fn set_rate(&mut self, rate: NonZeroU64, burst: u64, now: Time) {
        self.taken.set_rate(rate, burst, now);
    }

    /// When `n` tokens are there: now or earlier means at once. [`Time::NEVER`] if `n` is more
    /// than the burst.
    pub fn ready_at(&self, n: u64) -> Time {
        match self.taken.burst.checked_sub(n) {
            Some(others) => self.taken.drained_to(others),
            None => Time::NEVER,
        }
    }
}

/// Quotient and remainder. Dividing 128 bits is slow, and seldom needed.
fn divide(dividend: u128, divisor: NonZeroU64) -> (u128, u64) {
    if let Ok(small) = u64::try_from(dividend) {
        return (u128::from(small / divisor), small % divisor);
    }
    let wide = u128::from(divisor.get());
    let rest = u64::try_from(dividend % wide).expect("below the divisor");
    (dividend / wide, rest)
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    const BEGIN: Time = Time::from_secs(1_800_000_000);

    /// A rate of any magnitude up to `bits` bits.
    fn any_rate(random: &mut Random, bits: u32) -> NonZeroU64 {
        random.magnitude(bits).try_into().unwrap_or(NonZeroU64::MIN)
    }

    fn rate(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).unwrap()
    }

    /// When `bytes` beyond the burst have drained, exactly, rounded up to a nanosecond.
    fn exact(bytes: u128, burst: u64, rate: NonZeroU64) -> Time {
        let nanos = (bytes.saturating_sub(burst.into()) * NANOS).div_ceil(rate.get().into());
        BEGIN.after(Duration::from_nanos(u64::try_from(nanos).unwrap()))
    }

    #[test]
    fn both_are_small() {
        assert_eq!(size_of::<LeakyBucket>(), 32);
        assert_eq!(size_of::<TokenBucket>(), 32);
    }

    #[test]
    fn who_always_has_something_to_send_gets_the_exact_rate() {
        for seed in 1..=2000 {
            let mut random = Random::new(seed);
            // Billions of bytes a second and one byte a second; no burst and much.
            let (rate, burst) = (any_rate(&mut random, 40), random.magnitude(30) / 2);
            let mut bucket = LeakyBucket::new(rate, burst);
            let (mut now, mut sent) = (BEGIN, 0_u128);
            for step in 0..200 {
                let bytes = random.magnitude(20);
                bucket.pour(bytes, now);
                sent += u128::from(bytes);
                now = now.max(bucket.ready_at());
                assert_eq!(now, exact(sent, burst, rate), "seed {seed} step {step} {bucket:?}");
            }
        }
    }

    #[test]
    fn nothing_drifts_over_the_days() {
        // Rates that no nanosecond divides.
        for (rate, burst, bytes) in
            [(rate(7), 0, 1), (rate(2_999_999_999), 0, 1_299_709), (rate(333_333), 17, 8191)]
        {
            let mut bucket = LeakyBucket::new(rate, burst);
            let (mut now, mut sent) = (BEGIN, 0_u128);
            while now < BEGIN.after(Duration::from_secs(3 * 86_400))
                && sent / u128::from(bytes) < 2_000_000_u128
            {
                bucket.pour(bytes, now);
                sent += u128::from(bytes);
                now = now.max(bucket.ready_at());
            }
            assert_eq!(now, exact(sent, burst, rate));
        }
    }

    #[test]
    fn a_sender_with_pauses_never_exceeds_rate_and_burst() {
        for seed in 1..=500 {
            let mut random = Random::new(seed);
            let (rate, burst) = (any_rate(&mut random, 34), random.magnitude(20));
            let mut bucket = LeakyBucket::new(rate, burst);
            let (mut now, mut writes) = (BEGIN, Vec::new());
            for _ in 0..120 {
                if random.below_u64(3) == 0 {
                    now = now.after(Duration::from_nanos(random.magnitude(40)));
                }
                now = now.max(bucket.ready_at());
                let bytes = random.magnitude(16);
                bucket.pour(bytes, now);
                writes.push((now, bytes));
            }
            assert_within(&writes, rate, burst, seed);
        }
    }

    /// In every span from one write to another: all but the last fit into the burst and what
    /// drains in the span, the nanosecond of rounding included.
    fn assert_within(writes: &[(Time, u64)], rate: NonZeroU64, burst: u64, seed: u64) {
        for (first, (start, _)) in writes.iter().enumerate() {
            let mut sum = 0_u128;
            for (end, bytes) in &writes[first..] {
                let nanos = end.since(*start).as_nanos() + 1;
                let most = u128::from(burst) * NANOS + nanos * u128::from(rate.get());
                assert!(sum * NANOS <= most, "seed {seed}");
                sum += u128::from(*bytes);
            }
        }
    }

    /// The level of a bucket as a fraction of two u128: what the bucket must agree with.
    struct Twin {
        nanobytes: u128,
        at: Time,
    }

    impl Twin {
        fn drain(&mut self, rate: NonZeroU64, now: Time) {
            let drained = now.since(self.at).as_nanos() * u128::from(rate.get());
            self.nanobytes = self.nanobytes.saturating_sub(drained);
            self.at = now.max(self.at);
        }
    }

    #[test]
    fn tokens_agree_with_exact_arithmetic_through_changes_of_the_rate() {
        for seed in 1..=2000 {
            let mut random = Random::new(seed);
            let (mut rate, mut burst) = (any_rate(&mut random, 30), random.magnitude(20));
            let mut bucket = TokenBucket::new(rate, burst);
            let mut twin = Twin { nanobytes: 0, at: BEGIN };
            let mut now = BEGIN;
            for step in 0..200 {
                now = now.after(Duration::from_nanos(random.magnitude(36)));
                twin.drain(rate, now);
                if random.below_u64(10) == 0 {
                    (rate, burst) = (any_rate(&mut random, 30), random.magnitude(20));
                    bucket.set_rate(rate, burst, now);
                }
                let n = random.magnitude(20);
                let room = n <= burst && twin.nanobytes <= u128::from(burst - n) * NANOS;
                let cx = format!("seed {seed} step {step} {bucket:?}");
                assert_eq!(bucket.ready_at(n) <= now, room, "{cx}");
                assert_eq!(bucket.take(n, now), room, "{cx}");
                twin.nanobytes += if room { u128::from(n) * NANOS } else { 0 };
                // Not exact to less than a nanosecond's worth: the fraction is kept on purpose.
                assert!(
                    bucket.taken.nanobytes(now).abs_diff(twin.nanobytes) <= u128::from(rate.get()),
                    "{cx}"
                );
                twin.nanobytes = bucket.taken.nanobytes(now);
            }
        }
    }

    #[test]
    fn tokens_come_exactly_when_they_were_announced() {
        for seed in 1..=500 {
            let mut random = Random::new(seed);
            let (rate, burst) = (any_rate(&mut random, 40), 1 + random.magnitude(20));
            let mut bucket = TokenBucket::new(rate, burst);
            let (mut now, mut taken) = (BEGIN, 0_u128);
            assert!(bucket.take(burst, now));
            for step in 0..100 {
                let n = 1 + random.below_u64(burst);
                let ready = bucket.ready_at(n);
                if ready > now {
                    assert!(
                        !bucket.take(n, ready.before(Duration::from_nanos(1))),
                        "seed {seed} step {step}"
                    );
                }
                now = now.max(ready);
                assert!(bucket.take(n, now), "seed {seed} step {step}");
                taken += u128::from(n);
                assert_eq!(now, exact(taken, 0, rate), "seed {seed} step {step}");
            }
        }
    }

    #[test]
    fn more_than_the_burst_never_comes() {
        let mut bucket = TokenBucket::new(rate(1000), 10);
        assert_eq!(bucket.ready_at(11), Time::NEVER);
        assert!(!bucket.take(11, Time::NEVER));
        assert!(bucket.take(10, BEGIN));
        assert!(!bucket.take(1, BEGIN));
        assert!(bucket.take(0, BEGIN));
    }

    #[test]
    fn a_pause_earns_no_more_than_the_burst() {
        let mut bucket = LeakyBucket::new(rate(1000), 500);
        bucket.pour(2000, BEGIN);
        assert_eq!(bucket.ready_at(), BEGIN.after(Duration::from_millis(1500)));
        assert_eq!(bucket.level(BEGIN), 2000);
        assert_eq!(bucket.level(BEGIN.after(Duration::from_millis(1999))), 1);
        let late = BEGIN.after(Duration::from_secs(86_400));
        assert_eq!(bucket.level(late), 0);
        bucket.pour(1500, late);
        assert_eq!(bucket.ready_at(), late.after(Duration::from_secs(1)));
    }

    #[test]
    fn a_new_rate_holds_at_once_and_forgets_nothing() {
        let mut bucket = LeakyBucket::new(rate(1000), 0);
        bucket.pour(2000, BEGIN);
        let now = BEGIN.after(Duration::from_secs(1));
        bucket.set_rate(rate(100), 0, now);
        assert_eq!(bucket.ready_at(), now.after(Duration::from_secs(10)));
        bucket.set_rate(rate(1_000_000), 0, now);
        assert_eq!(bucket.ready_at(), now.after(Duration::from_millis(1)));
        bucket.set_rate(rate(1_000_000), 400, now);
        assert_eq!(bucket.ready_at(), now.after(Duration::from_micros(600)));
    }

    #[test]
    fn no_numbers_are_too_large() {
        let all = [0, 1, 2, 1_000_000_000, u64::MAX - 1, u64::MAX];
        for rate in all.into_iter().filter_map(NonZeroU64::new) {
            for burst in all {
                let mut bucket = LeakyBucket::new(rate, burst);
                let mut tokens = TokenBucket::new(rate, burst);
                for (bytes, now) in
                    all.into_iter().flat_map(|a| all.map(|b| (a, Time::from_nanos(b))))
                {
                    bucket.pour(bytes, now);
                    tokens.take(bytes, now);
                    assert!(tokens.ready_at(1) <= Time::NEVER && bucket.ready_at() <= Time::NEVER);
                    bucket.set_rate(NonZeroU64::MAX, burst, now);
                    bucket.set_rate(rate, burst, now);
                }
            }
        }
    }
}
