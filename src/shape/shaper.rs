//! Egress shaping of one client: how many messages and bytes may leave now, and when the next may.

use std::num::NonZeroU64;
use std::time::Duration;

use super::LeakyBucket;
use crate::config::Shaping;
use crate::time::Time;

/// The leaky buckets of one client: one for messages, one for bytes, each if it has a rate.
///
/// The caller asks for an [`Allowance`] before it takes anything for the client, and pours in
/// afterwards what has left, to the byte.
#[derive(Clone, Debug)]
pub struct Shaper {
    messages: Option<LeakyBucket>,
    bytes: Option<LeakyBucket>,
    /// Something waits for the buckets: a late wake is made up for.
    waits: bool,
    /// A `QoS` 0 message that has waited for longer is dropped; zero keeps it.
    qos0_age_max: Duration,
    /// Time that messages waited for the buckets, without the wait that goes on: see
    /// [`Shaper::delayed`].
    delay: Duration,
    waiting_since: Option<Time>,
}

/// What may leave now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// Messages.
    pub messages: usize,
    /// Bytes; the last message may go beyond.
    pub bytes: usize,
}

impl Allowance {
    /// No limit.
    pub const FREE: Allowance = Allowance { messages: usize::MAX, bytes: usize::MAX };

    /// Nothing.
    pub const NONE: Allowance = Allowance { messages: 0, bytes: 0 };

    /// What both allow.
    pub fn least(self, other: Allowance) -> Allowance {
        let messages = self.messages.min(other.messages);
        Allowance { messages, bytes: self.bytes.min(other.bytes) }
    }

    /// Nothing may leave.
    pub fn is_none(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
}

/// Longest lateness that is made up for, by sending at once what was due meanwhile. Timers are late
/// by a millisecond or two, busy processors by more.
const LATE_MAX: Duration = Duration::from_millis(20);

impl Shaper {
    /// Empty buckets; `None` where nothing is shaped.
    pub fn new(shaping: &Shaping) -> Option<Shaper> {
        let idle = shaping.messages_rate == 0
            && shaping.bytes_rate.0 == 0
            && shaping.qos0_age_max.0.is_zero();
        (!idle).then(|| Shaper {
            messages: message_bucket(shaping),
            bytes: byte_bucket(shaping),
            waits: false,
            qos0_age_max: shaping.qos0_age_max.0,
            delay: Duration::ZERO,
            waiting_since: None,
        })
    }

    /// Changes the limits at `now`; what is in the buckets stays in them.
    pub fn set(&mut self, shaping: &Shaping, now: Time) {
        change(&mut self.messages, message_bucket(shaping), now);
        change(&mut self.bytes, byte_bucket(shaping), now);
        self.qos0_age_max = shaping.qos0_age_max.0;
    }

    /// What may leave at `now`.
    pub fn allowance(&self, now: Time) -> Allowance {
        let of = |bucket: &Option<LeakyBucket>| match bucket {
            Some(bucket) => bucket.allowance(self.since(bucket, now), now),
            None => usize::MAX,
        };
        Allowance { messages: of(&self.messages), bytes: of(&self.bytes) }
    }

    /// A packet of `bytes` has left at `now`.
    pub fn pour(&mut self, bytes: usize, now: Time) {
        self.pour_many(1, bytes, now);
    }

    /// Packets of `bytes` together have left at `now`.
    pub fn pour_many(&mut self, packets: usize, bytes: usize, now: Time) {
        let poured = [(&mut self.messages, packets as u64), (&mut self.bytes, bytes as u64)];
        for (bucket, amount) in poured {
            if let Some(bucket) = bucket {
                let at = if self.waits { since(bucket, now) } else { now };
                bucket.pour(amount, at);
            }
        }
    }

    /// Says whether something is left that waits for the buckets.
    pub fn set_waits(&mut self, waits: bool, now: Time) {
        self.waits = waits;
        match self.waiting_since {
            None if waits => self.waiting_since = Some(now),
            Some(since) => {
                self.delay += now.since(since);
                self.waiting_since = waits.then_some(now);
            }
            None => {}
        }
    }

    /// Nothing waits any more; the wait until now is not counted.
    pub fn end_wait(&mut self) {
        self.waits = false;
        self.waiting_since = None;
    }

    /// When the next may leave, if anything waits.
    pub fn deadline(&self) -> Option<Time> {
        self.waits.then(|| self.ready_at())
    }

    /// When the next may leave.
    pub fn ready_at(&self) -> Time {
        let buckets = [&self.messages, &self.bytes].into_iter().flatten();
        buckets.map(LeakyBucket::ready_at).max().unwrap_or(Time::START)
    }

    /// Messages and bytes in the buckets.
    pub fn level(&self, now: Time) -> (u64, u64) {
        let of = |bucket: &Option<LeakyBucket>| bucket.as_ref().map_or(0, |b| b.level(now));
        (of(&self.messages), of(&self.bytes))
    }

    /// How long, in all, something was ready to leave and waited for the buckets.
    pub fn delayed(&self) -> Duration {
        self.delay
    }

    /// Whether a `QoS` 0 message received at `received` has waited too long.
    pub fn too_old(&self, received: Time, now: Time) -> bool {
        !self.qos0_age_max.is_zero() && now.since(received) > self.qos0_age_max
    }

    fn since(&self, bucket: &LeakyBucket, now: Time) -> Time {
        if self.waits { since(bucket, now) } else { now }
    }
}

/// When the first of what waits should have left, at most [`LATE_MAX`] ago.
fn since(bucket: &LeakyBucket, now: Time) -> Time {
    bucket.ready_at().max(now.before(LATE_MAX)).min(now)
}

fn message_bucket(shaping: &Shaping) -> Option<LeakyBucket> {
    let rate = NonZeroU64::new(shaping.messages_rate.into())?;
    // A bucket takes one message more than its burst.
    Some(LeakyBucket::new(rate, burst(shaping.messages_burst.into(), rate).saturating_sub(1)))
}

fn byte_bucket(shaping: &Shaping) -> Option<LeakyBucket> {
    let rate = NonZeroU64::new(shaping.bytes_rate.0)?;
    Some(LeakyBucket::new(rate, burst(shaping.bytes_burst.0, rate)))
}

/// As configured, or what leaves in a tenth of a second.
fn burst(configured: u64, rate: NonZeroU64) -> u64 {
    if configured == 0 { rate.get() / 10 } else { configured }
}

/// Changes the rate of a bucket; what has left stays in it and drains at the new rate.
pub(super) fn change(bucket: &mut Option<LeakyBucket>, to: Option<LeakyBucket>, now: Time) {
    match (bucket, to) {
        (Some(bucket), Some(to)) => bucket.set_rate(to.rate(), to.burst(), now),
        (bucket, to) => *bucket = to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Size, Span};

    const BEGIN: Time = Time::from_secs(1_800_000_000);

    fn shaping(messages_rate: u32, messages_burst: u32) -> Shaping {
        Shaping { messages_rate, messages_burst, ..Shaping::default() }
    }

    /// Sends `count` messages of `size` bytes, all there from the beginning; each wake comes `late`
    /// of what was asked for. Returns when each left.
    fn send(shaper: &mut Shaper, count: usize, size: usize, late: Duration) -> Vec<Time> {
        let mut now = BEGIN;
        let mut sent = Vec::new();
        while sent.len() < count {
            let allowance = shaper.allowance(now);
            let mut bytes = allowance.bytes;
            for _ in 0..allowance.messages.min(count - sent.len()) {
                if bytes == 0 {
                    break;
                }
                bytes = bytes.saturating_sub(size);
                shaper.pour(size, now);
                sent.push(now);
            }
            shaper.set_waits(true, now);
            now = now.max(shaper.ready_at()).after(late);
        }
        sent
    }

    /// Most that left within any `window`.
    fn most(sent: &[Time], window: Duration) -> usize {
        let end = |from: usize| sent.partition_point(|at| *at < sent[from].after(window));
        (0..sent.len()).map(|from| end(from) - from).max().unwrap_or(0)
    }

    #[test]
    fn a_burst_becomes_a_smooth_stream() {
        for (rate, burst) in [(500, 1), (500, 10), (7, 1), (1_000_000, 50), (333, 333)] {
            let mut shaper = Shaper::new(&shaping(rate, burst)).unwrap();
            let sent = send(&mut shaper, 5_000, 100, Duration::ZERO);
            let tenth = Duration::from_millis(100);
            assert!(most(&sent, tenth) <= (rate / 10 + 1 + burst) as usize, "{rate} {burst}");
            // Exactly the rate: never slower while there is something to send.
            let last = sent.last().unwrap().since(BEGIN).as_nanos();
            let wanted = u128::from(5_000 - burst) * 1_000_000_000 / u128::from(rate);
            assert!(last.abs_diff(wanted) <= 1, "{rate} {burst}: {last} ns, not {wanted}");
        }
    }

    #[test]
    fn late_timers_cost_nothing() {
        let mut shaper = Shaper::new(&shaping(500, 1)).unwrap();
        let late = Duration::from_micros(1_300);
        let sent = send(&mut shaper, 10_000, 100, late);
        let last = sent.last().unwrap().since(BEGIN);
        assert!(last <= Duration::from_millis(9_999 * 2) + late * 2, "{last:?}");
        assert!(most(&sent, Duration::from_secs(1)) <= 502);
    }

    #[test]
    fn who_was_idle_gets_its_burst_and_no_more() {
        let mut shaper = Shaper::new(&shaping(500, 10)).unwrap();
        let later = BEGIN.after(Duration::from_secs(3600));
        assert_eq!(shaper.allowance(later).messages, 10);
        for _ in 0..10 {
            shaper.pour(1, later);
        }
        assert!(shaper.allowance(later).is_none());
        shaper.set_waits(true, later);
        assert_eq!(shaper.deadline(), Some(later.after(Duration::from_millis(2))));
        // Nothing makes up for more than a little lateness.
        let much_later = later.after(Duration::from_secs(3600));
        assert!(shaper.allowance(much_later).messages <= 20);
    }

    #[test]
    fn the_stricter_of_two_rates_counts() {
        let both = Shaping {
            messages_rate: 1_000,
            messages_burst: 1,
            bytes_rate: Size(50_000),
            bytes_burst: Size(1),
            ..Shaping::default()
        };
        for (size, wanted_ms) in [(10, 999), (100, 999 * 2), (1_000, 999 * 20)] {
            let sent = send(&mut Shaper::new(&both).unwrap(), 1_000, size, Duration::ZERO);
            let last = sent.last().unwrap().since(BEGIN).as_millis();
            assert!(last.abs_diff(wanted_ms) <= 1, "{size}: {last} ms, not {wanted_ms}");
        }
    }

    #[test]
    fn a_reload_keeps_the_promise() {
        let mut shaper = Shaper::new(&shaping(10, 1)).unwrap();
        shaper.pour(1, BEGIN);
        // Half of the gap has passed; the other half lasts as long as the new rate says.
        let half = BEGIN.after(Duration::from_millis(50));
        shaper.set(&shaping(100, 1), half);
        assert_eq!(shaper.ready_at(), half.after(Duration::from_millis(5)));
        shaper.set(&shaping(0, 0), half);
        assert_eq!(shaper.allowance(half), Allowance::FREE);
    }

    #[test]
    fn nothing_is_made_where_nothing_is_shaped() {
        assert!(Shaper::new(&Shaping::default()).is_none());
        let aged = Shaping { qos0_age_max: Span::secs(1), ..Shaping::default() };
        let shaper = Shaper::new(&aged).unwrap();
        assert_eq!(shaper.allowance(BEGIN), Allowance::FREE);
        assert!(!shaper.too_old(BEGIN, BEGIN.after(Duration::from_secs(1))));
        assert!(shaper.too_old(BEGIN, BEGIN.after(Duration::from_millis(1_001))));
    }
}
