//! Figures of a store.

use std::time::Duration;

/// Figures of a store, as plain data.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Commits so far: writes of the journal.
    pub commits: u64,
    /// Frames in them.
    pub frames: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Most frames in one of them.
    pub frames_max: u64,
    /// Time that a flush took.
    pub flush: Quantiles,
    /// Time from handing in to durable, of the first batch of each commit.
    pub commit: Quantiles,
    /// Wakers, of links mostly, that wait for a frame to become durable.
    pub waiters: usize,
    /// Frames handed in and not yet durable.
    pub lag: u64,
    /// Bytes handed in and not yet written.
    pub queued_bytes: usize,
    /// Length of the journal.
    pub journal_bytes: u64,
    /// Rows that wait for a checkpoint.
    pub pending_rows: usize,
    /// Memory they take.
    pub pending_bytes: usize,
    /// Changes that cancelled each other out and never reached the table.
    pub cancelled_rows: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Rows the last one changed in the table.
    pub checkpoint_rows: u64,
    /// Time it took.
    pub checkpoint_time: Duration,
    /// Frames that are not in the table yet.
    pub checkpoint_lag: u64,
    /// Rows in the table after the last checkpoint.
    pub table_rows: u64,
    /// Bytes that the table's files take on the disk.
    pub table_bytes: u64,
    /// Memory of the whole process that is resident; 0 where the system does not say.
    pub resident_bytes: u64,
    /// Time the start took.
    pub recovery_time: Duration,
    /// Why nothing is admitted for want of room on the disk, if so.
    pub full: Option<&'static str>,
    /// Why nothing is admitted for another reason, which may pass, if so.
    pub trouble: Option<String>,
    /// Why the journal takes nothing any more.
    pub poisoned: Option<String>,
    /// Why the table is not used any more; the journal goes on until it is full.
    pub table_failed: Option<String>,
}

/// Times of something that happens often.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quantiles {
    /// Half of them took no longer, give or take an eighth.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

/// Times, counted in classes that each are an eighth wider than the one before.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    classes: Box<[u64; CLASSES]>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { classes: Box::new([0; CLASSES]), count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.classes[class_of(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.quantile(50), p99: self.quantile(99), max: self.max }
    }

    fn quantile(&self, percent: u64) -> Duration {
        let wanted = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(upper_end(class)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

/// Eight classes for each power of two.
fn class_of(nanos: u64) -> usize {
    let nanos = nanos.max(8);
    let power = nanos.ilog2();
    let eighth = (nanos >> (power - 3)) & 7;
    (((power - 3) * 8) as usize + eighth as usize).min(CLASSES - 1)
}

fn upper_end(class: usize) -> u64 {
    let (power, eighth) = (class / 8, class as u64 % 8);
    ((eighth + 9) << power) - 1
}

/// Up to 2^43 ns, more than two hours.
const CLASSES: usize = 8 * 41;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let mut times = Histogram::default();
        assert_eq!(times.quantiles(), Quantiles::default());
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros));
        }
        let found = times.quantiles();
        let close = |found: Duration, wanted: u128| {
            found.as_micros() >= wanted && found.as_micros() * 8 <= wanted * 9 + 8
        };
        assert!(close(found.p50, 500), "{found:?}");
        assert!(close(found.p99, 990), "{found:?}");
        assert_eq!(found.max, Duration::from_millis(1));
    }

    #[test]
    fn every_time_is_within_its_class() {
        for nanos in (0..1 << 20).chain([1 << 40, (1 << 43) - 1]) {
            let class = class_of(nanos);
            assert!(upper_end(class) >= nanos, "{nanos}");
            assert!(class == 0 || upper_end(class - 1) < nanos, "{nanos}");
        }
    }
}
