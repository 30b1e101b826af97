//! How long something takes, counted in classes: many writers, no lock, no allocation after the start.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Spans of time, counted in classes. To count one is two additions and a look, all relaxed; writers
/// meet in the sum only, so what happens with every message should be sampled.
#[derive(Debug)]
pub struct Histogram {
    classes: Box<[AtomicU64; CLASSES]>,
    sum: AtomicU64,
    longest: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spans {
    classes: Box<[u64; CLASSES]>,
    /// In nanoseconds, as the next one.
    sum: u64,
    longest: u64,
}

/// Two digits for each power of ten, from a microsecond on, up to almost three hours: a class is wider
/// than the one before by a tenth or less, and every round number is the end of one.
const CLASSES: usize = DIGITS * 10;
const DIGITS: usize = 90;
/// 10 to this power nanoseconds are the first.
const FIRST: u32 = 3;

impl Default for Histogram {
    fn default() -> Histogram {
        let classes = Box::new(array::from_fn(|_| AtomicU64::new(0)));
        Histogram { classes, sum: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one.
    pub fn note(&self, span: Duration) {
        let nanos = nanos_of(span);
        self.classes[class_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// What it holds now.
    pub fn spans(&self) -> Spans {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Spans {
            classes: Box::new(array::from_fn(|class| load(&self.classes[class]))),
            sum: load(&self.sum),
            longest: load(&self.longest),
        }
    }
}

impl Spans {
    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest one since the start.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// Of 100 so many took no longer, give or take a tenth; zero if there is none.
    pub fn quantile(&self, percent: u64) -> Duration {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.classes.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(Duration::ZERO, |class| {
            Duration::from_nanos(upper_end(class)).min(self.longest())
        })
    }

    /// How many took no longer than `bound`, which should be the end of a class: two digits and zeros.
    pub fn up_to(&self, bound: Duration) -> u64 {
        self.classes[..=class_of(nanos_of(bound))].iter().sum()
    }

    /// Those that were counted since it held `earlier`. The longest is still that since the start.
    pub fn since(&self, earlier: &Spans) -> Spans {
        let left = |class: usize| self.classes[class].saturating_sub(earlier.classes[class]);
        Spans {
            classes: Box::new(array::from_fn(left)),
            sum: self.sum.saturating_sub(earlier.sum),
            longest: self.longest,
        }
    }
}

fn nanos_of(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn class_of(nanos: u64) -> usize {
    let below = nanos.saturating_sub(1).max(10u64.pow(FIRST));
    let power = below.ilog10();
    let digits = (below / 10u64.pow(power - 1)) as usize - 10;
    ((power - FIRST) as usize * DIGITS + digits).min(CLASSES - 1)
}

/// In nanoseconds.
fn upper_end(class: usize) -> u64 {
    let power = FIRST + (class / DIGITS) as u32;
    (class % DIGITS + 11) as u64 * 10u64.pow(power - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let times = Histogram::default();
        assert_eq!(times.spans().quantile(50), Duration::ZERO);
        for micros in 1..=1000 {
            times.note(Duration::from_micros(micros));
        }
        let found = times.spans();
        let close = |found: Duration, wanted: u128| {
            found.as_micros() >= wanted && found.as_micros() * 10 <= wanted * 11
        };
        assert!(close(found.quantile(50), 500), "{found:?}");
        assert!(close(found.quantile(99), 990), "{found:?}");
        assert_eq!(found.longest(), Duration::from_millis(1));
        assert_eq!((found.count(), found.sum()), (1000, Duration::from_micros(500_500)));
    }

    #[test]
    fn every_time_is_within_its_class() {
        for nanos in (0..1 << 20).chain([1 << 40, (1 << 43) - 1]) {
            let class = class_of(nanos);
            assert!(upper_end(class) >= nanos, "{nanos}");
            assert!(class == 0 || upper_end(class - 1) < nanos, "{nanos}");
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn what_takes_as_long_as_a_round_number_is_not_above_it() {
        let times = Histogram::default();
        for micros in [10, 11, 25, 26, 2_500_000, 10_000_000] {
            times.note(Duration::from_micros(micros));
        }
        let found = times.spans();
        let counts = [10, 25, 1000, 2_500_000, 10_000_000]
            .map(|micros| found.up_to(Duration::from_micros(micros)));
        assert_eq!(counts, [1, 3, 4, 5, 6]);
    }

    #[test]
    fn what_came_since_is_counted_alone() {
        let times = Histogram::default();
        times.note(Duration::from_secs(1));
        let before = times.spans();
        times.note(Duration::from_millis(1));
        times.note(Duration::from_millis(2));
        let since = times.spans().since(&before);
        assert_eq!((since.count(), since.sum()), (2, Duration::from_millis(3)));
        assert_eq!(since.quantile(50), Duration::from_millis(1));
        assert_eq!(since.quantile(99), Duration::from_millis(2));
    }
}
