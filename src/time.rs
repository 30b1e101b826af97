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

    /// Year, month, day, hour, minute and second in UTC.
    pub fn date(self) -> [u64; 6] {
        let second = self.0 / 1_000_000_000;
        // Days since 0000-03-01, in eras of 400 years: with February last, each year is the one before and 365 days.
        let days = second / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let months = (5 * of_year + 2) / 153;
        let day = of_year - (153 * months + 2) / 5 + 1;
        let month = if months < 10 { months + 3 } else { months - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        [year, month, day, second / 3600 % 24, second / 60 % 60, second % 60]
    }

    /// In RFC 3339, UTC: `2025-01-31T12:00:00.250Z`.
    pub fn to_rfc3339(self) -> String {
        let [year, month, day, hour, minute, second] = self.date();
        let millis = self.0 / 1_000_000 % 1000;
        format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl Time {
    /// The moment of a date and a time of day in UTC, in RFC 3339: `2025-01-31T12:00:00Z`, with or without a
    /// fraction of a second, which is left out. `None`: it is written otherwise, or before 1970.
    pub fn from_rfc3339(text: &str) -> Option<Time> {
        let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u64>().ok() } else { None }
        };
        let numbers = |text: &str, sign: char, widths: [usize; 3]| {
            let parts: Vec<&str> = text.split(sign).collect();
            let fit = parts.len() == 3
                && parts.iter().zip(widths).all(|(part, width)| part.len() == width);
            fit.then(|| parts.iter().map(|part| number(part)).collect::<Option<Vec<u64>>>())
                .flatten()
        };
        let (date, time) = (numbers(date, '-', [4, 2, 2])?, numbers(time, ':', [2, 2, 2])?);
        number(fraction)?;
        let wanted = [date[0], date[1], date[2], time[0], time[1], time[2]];
        // Days since 1970 of a year that begins in March: see [`Time::date`].
        let (month, year) =
            ((wanted[1] + 9) % 12, wanted[0].checked_sub(u64::from(wanted[1] <= 2))?);
        let days =
            365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + wanted[2];
        let days = days.checked_sub(719_469)?;
        let time = Time::from_secs(((days * 24 + wanted[3]) * 60 + wanted[4]) * 60 + wanted[5]);
        // A day or an hour that there is not makes another date.
        (time.date() == wanted).then_some(time)
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
    fn moments_have_dates() {
        for (seconds, date) in [
            (0, [1970, 1, 1, 0, 0, 0]),
            (951_782_399, [2000, 2, 28, 23, 59, 59]),
            (951_782_400, [2000, 2, 29, 0, 0, 0]),
            (951_868_800, [2000, 3, 1, 0, 0, 0]),
            (1_735_689_599, [2024, 12, 31, 23, 59, 59]),
            (4_107_542_400, [2100, 3, 1, 0, 0, 0]),
        ] {
            assert_eq!(Time::from_secs(seconds).date(), date);
        }
        let time = Time::from_secs(1_735_689_599).after(Duration::from_millis(7));
        assert_eq!(time.to_rfc3339(), "2024-12-31T23:59:59.007Z");
    }

    #[test]
    fn dates_are_moments() {
        for seconds in [0, 951_782_399, 951_782_400, 951_868_800, 1_735_689_599, 4_107_542_400] {
            let time = Time::from_secs(seconds);
            assert_eq!(Time::from_rfc3339(&time.to_rfc3339()), Some(time));
        }
        let new_year = Time::from_secs(1_735_689_600);
        assert_eq!(Time::from_rfc3339("2025-01-01T00:00:00Z"), Some(new_year));
        for wrong in [
            "",
            "2025-01-01",
            "2025-01-01T00:00:00",
            "2025-01-01 00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:60Z",
            "2025-00-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2025-1-1T0:0:0Z",
            "2025-01-01T00:00:00.Z",
            "+025-01-01T00:00:00Z",
        ] {
            assert_eq!(Time::from_rfc3339(wrong), None, "{wrong}");
        }
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
