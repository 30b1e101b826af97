//! Times and counts as they are taken, and what is made of them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::outcome::{Latency, Sample, Smoothness, TIMELINE_MS};

/// Nanoseconds of Unix time that never go back: the wall clock, read once, and a monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    unix_ns: u64,
}

impl Clock {
    /// Reads the wall clock.
    pub fn new() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), unix_ns: unix.as_nanos() as u64 }
    }

    /// Now.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.unix_ns + self.started.elapsed().as_nanos() as u64
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// Times in nanoseconds, of which any percentile can be asked.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// No times.
    pub fn new() -> Times {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        Times(histogram.expect("the bounds are legal"))
    }

    /// Takes one.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Takes all of another.
    pub fn add(&mut self, other: &Times) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.0.reset();
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time within which `share` of them were, in microseconds; 0 if there are none.
    pub fn share_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share).min(self.0.max()) as f64 / 1e3
    }

    /// Everything about them.
    pub fn latency(&self) -> Latency {
        if self.is_empty() {
            return Latency::default();
        }
        Latency {
            count: self.0.len(),
            min_us: self.0.min() as f64 / 1e3,
            mean_us: self.0.mean() / 1e3,
            p50_us: self.share_us(0.5),
            p90_us: self.share_us(0.9),
            p99_us: self.share_us(0.99),
            p999_us: self.share_us(0.999),
            max_us: self.share_us(1.0),
            distribution: self.distribution(),
        }
    }

    /// Points of the distribution, as many in each halving of what is left.
    fn distribution(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        let mut left = 1.0;
        while left * self.0.len() as f64 >= 1.0 {
            for part in 0..POINTS {
                let share = 1.0 - left * (1.0 - f64::from(part) / f64::from(2 * POINTS));
                points.push((share, self.share_us(share)));
            }
            left /= 2.0;
        }
        points.push((1.0, self.share_us(1.0)));
        points
    }
}

impl Default for Times {
    fn default() -> Times {
        Times::new()
    }
}

/// A run in slices of [`TIMELINE_MS`], filled by every thread.
#[derive(Debug)]
pub struct Timeline {
    started_ns: u64,
    threads: usize,
    slices: Vec<Slice>,
}

/// What happened in one slice, so far as it was told.
#[derive(Debug, Default)]
struct Slice {
    sample: Sample,
    /// Until every thread has told.
    times: Option<Box<Times>>,
    told: usize,
}

impl Timeline {
    /// Begins at `started_ns`, told by `threads`.
    pub fn new(started_ns: u64, threads: usize) -> Timeline {
        Timeline { started_ns, threads, slices: Vec::new() }
    }

    /// When it began.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// Takes what it holds, and begins again from the same moment.
    pub fn take(&mut self) -> Timeline {
        let (started_ns, threads) = (self.started_ns, self.threads);
        std::mem::replace(self, Timeline::new(started_ns, threads))
    }

    /// The slice that a moment lies in.
    pub fn slice_at(&self, now_ns: u64) -> usize {
        (now_ns.saturating_sub(self.started_ns) / SLICE_NS) as usize
    }

    /// When a slice ends.
    pub fn end_of(&self, slice: usize) -> u64 {
        self.started_ns + (slice as u64 + 1) * SLICE_NS
    }

    /// Adds what one thread saw in a slice: counts in `sample`, and the `times` it took.
    pub fn add(&mut self, slice: usize, sample: &Sample, times: &Times) {
        if self.slices.len() <= slice {
            self.slices.resize_with(slice + 1, Slice::default);
        }
        let at = &mut self.slices[slice];
        at.told += 1;
        at.sample.measured |= sample.measured;
        at.sample.published += sample.published;
        at.sample.delivered += sample.delivered;
        at.sample.connections += sample.connections;
        at.sample.disconnects += sample.disconnects;
        at.sample.drops += sample.drops;
        match &mut at.times {
            Some(all) => all.add(times),
            None if !times.is_empty() => at.times = Some(Box::new(times.clone())),
            None => {}
        }
        if at.told == self.threads {
            at.settle();
        }
    }

    /// The latest slice that every thread has told of.
    pub fn latest(&self) -> Option<&Sample> {
        self.slices.iter().rev().find(|slice| slice.told == self.threads).map(|slice| &slice.sample)
    }

    /// Notes what the broker used in the slice that `now_ns` lies in.
    pub fn broker(&mut self, now_ns: u64, cores: f64, resident: u64) {
        let slice = self.slice_at(now_ns);
        if self.slices.len() <= slice {
            self.slices.resize_with(slice + 1, Slice::default);
        }
        self.slices[slice].sample.broker_cores = cores;
        self.slices[slice].sample.broker_resident = resident;
    }

    /// Every slice, from the first.
    pub fn samples(mut self) -> Vec<Sample> {
        let mut resident = 0;
        for (place, slice) in self.slices.iter_mut().enumerate() {
            slice.settle();
            slice.sample.at_s = (place as f64 + 1.0) * TIMELINE_MS as f64 / 1e3;
            // Two readings may fall into one slice, and none into the next.
            if slice.sample.broker_resident == 0 {
                slice.sample.broker_resident = resident;
            }
            resident = slice.sample.broker_resident;
        }
        self.slices.into_iter().map(|slice| slice.sample).collect()
    }
}

impl Slice {
    fn settle(&mut self) {
        if let Some(times) = self.times.take() {
            self.sample.p50_us = times.share_us(0.5);
            self.sample.p99_us = times.share_us(0.99);
            self.sample.max_us = times.share_us(1.0);
        }
    }
}

/// How evenly messages arrive at one receiver: counts in windows of time.
#[derive(Clone, Debug, Default)]
pub struct Evenness {
    window: u64,
    messages: u64,
    bytes: u64,
    /// Windows begun, the first included.
    begun: u64,
}

/// The windows of many receivers, summed up.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    count: u64,
    sum: u64,
    squares: f64,
    min: u64,
    max: u64,
    bytes_max: u64,
}

impl Evenness {
    /// A message of `bytes` arrived in `window`.
    pub fn arrived(&mut self, window: u64, bytes: u64, windows: &mut Windows) {
        if self.begun == 0 {
            self.window = window;
            self.begun = 1;
        }
        while self.window < window {
            // The first is cut off by when the receiver began.
            if self.begun > 1 {
                windows.add(self.messages, self.bytes);
            }
            (self.messages, self.bytes) = (0, 0);
            self.window += 1;
            self.begun += 1;
        }
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl Windows {
    fn add(&mut self, messages: u64, bytes: u64) {
        self.min = if self.count == 0 { messages } else { self.min.min(messages) };
        self.count += 1;
        self.sum += messages;
        self.squares += (messages as f64).powi(2);
        self.max = self.max.max(messages);
        self.bytes_max = self.bytes_max.max(bytes);
    }

    /// Adds those that another thread saw.
    pub fn merge(&mut self, other: &Windows) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.max = self.max.max(other.max);
        self.bytes_max = self.bytes_max.max(other.bytes_max);
    }

    /// What they say, in windows of `window_ms`.
    pub fn smoothness(&self, window_ms: u64) -> Smoothness {
        let count = self.count.max(1) as f64;
        let mean = self.sum as f64 / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        Smoothness {
            window_ms,
            windows: self.count,
            messages: (self.min, mean, self.max),
            variation: if mean > 0.0 { deviation / mean } else { 0.0 },
            bytes_max: self.bytes_max,
        }
    }
}

/// Nanoseconds of a slice.
pub const SLICE_NS: u64 = TIMELINE_MS * 1_000_000;

/// Times are told apart down to this.
const LOWEST_NS: u64 = 1;
/// Longer times count as this.
const HIGHEST_NS: u64 = 600_000_000_000;
/// Significant digits of a time.
const DIGITS: u8 = 3;
/// Points of the distribution for each halving of what is left.
const POINTS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new();
        (1..=1000).for_each(|micros| times.record(micros * 1000));
        let latency = times.latency();
        assert_eq!(latency.count, 1000);
        for (is, should) in [
            (latency.min_us, 1.0),
            (latency.p50_us, 500.0),
            (latency.p90_us, 900.0),
            (latency.p99_us, 990.0),
            (latency.p999_us, 999.0),
            (latency.max_us, 1000.0),
        ] {
            assert!((is - should).abs() <= should * 0.002, "{is} for {should}");
        }
        assert!(latency.distribution.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert_eq!(latency.distribution.last().map(|point| point.0), Some(1.0));
    }

    #[test]
    fn a_slice_is_whole_when_every_thread_has_told() {
        let mut timeline = Timeline::new(1_000, 2);
        let mut times = Times::new();
        times.record(5_000_000);
        let sample = Sample { published: 3, connections: 1, ..Sample::default() };
        timeline.add(timeline.slice_at(1_000 + SLICE_NS), &sample, &times);
        assert!(timeline.latest().is_none());
        timeline.add(1, &sample, &Times::new());
        assert_eq!(timeline.latest().map(|sample| sample.published), Some(6));
        let samples = timeline.samples();
        assert_eq!((samples[1].at_s, samples[1].connections), (0.2, 2));
        assert!((samples[1].p99_us - 5_000.0).abs() < 10.0);
    }

    #[test]
    fn even_arrival_varies_by_nothing() {
        let mut windows = Windows::default();
        let mut even = Evenness::default();
        for window in 0..10 {
            (0..5).for_each(|_| even.arrived(window, 64, &mut windows));
        }
        let smoothness = windows.smoothness(100);
        // Without the first and the last.
        assert_eq!((smoothness.windows, smoothness.messages), (8, (5, 5.0, 5)));
        assert_eq!((smoothness.variation, smoothness.bytes_max), (0.0, 320));
    }

    #[test]
    fn a_gap_counts_as_empty_windows() {
        let mut windows = Windows::default();
        let mut gappy = Evenness::default();
        for window in [0, 1, 1, 4, 5] {
            gappy.arrived(window, 1, &mut windows);
        }
        let smoothness = windows.smoothness(100);
        // Windows 1 to 4: 2, 0, 0 and 1 messages.
        assert_eq!((smoothness.windows, smoothness.messages), (4, (0, 0.75, 2)));
        assert!(smoothness.variation > 1.0);
    }
}
