//! Time as the core sees it: a number that it is told, never a clock that it reads.
//!
//! Floors 0 to 3 take a [`Time`] as an argument. Only this file reads the
//! machine's clock, and only adapters call [`SystemClock`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment: nanoseconds since 1970-01-01 UTC. Storable; good until the year 2554.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

impl Time {
    /// Later than every other moment.
    pub const NEVER: Time = Time(u64::MAX);
    /// The first moment there is.
    pub const START: Time = Time(0);

    /// The moment `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// The moment `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Time {
        Time(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This moment moved later by `span`; [`Time::NEVER`] if that is beyond all time.
    pub fn after(self, span: Duration) -> Time {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }

    /// This moment moved earlier by `span`; the epoch if that is before it.
    pub fn before(self, span: Duration) -> Time {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(nanos))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Where adapters read the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Never earlier than what it said before.
    fn now(&self) -> Time;
}

/// The wall clock read once at the start, plus the monotonic time since.
///
/// A step of the wall clock changes nothing that runs.
#[derive(Clone, Debug)]
pub struct SystemClock {
    wall: Time,
    start: Instant,
}

impl SystemClock {
    /// Reads the wall clock, this once. `not_before` is the newest time a store remembers.
    pub fn start(not_before: Time) -> SystemClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock { wall: Time::START.after(wall).max(not_before), start: Instant::now() }
    }

    /// How far the wall clock has moved against this one since the start: for a log line.
    pub fn drift(&self) -> (Duration, bool) {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time::START.after(wall);
        let now = self.now();
        (wall.since(now).max(now.since(wall)), wall > now)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.wall.after(self.start.elapsed())
    }
}

/// A clock that moves only when told to: for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Time) -> ManualClock {
        ManualClock(AtomicU64::new(now.0))
    }

    /// Moves the clock on by `span`.
    pub fn advance(&self, span: Duration) {
        self.0.store(self.now().after(span).0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_at_both_ends() {
        assert_eq!(Time::NEVER.after(Duration::from_secs(1)), Time::NEVER);
        assert_eq!(Time::START.before(Duration::from_secs(1)), Time::START);
        assert_eq!(Time::START.since(Time::from_secs(1)), Duration::ZERO);
        assert_eq!(Time::from_secs(3).since(Time::from_secs(1)), Duration::from_secs(2));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(Time::from_secs(5));
        assert_eq!(clock.now(), Time::from_secs(5));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Time::from_secs(7));
    }

    #[test]
    fn the_system_clock_never_starts_before_what_a_store_remembers() {
        let far = Time::from_secs(10_000_000_000);
        assert!(SystemClock::start(far).now() >= far);
    }
}
