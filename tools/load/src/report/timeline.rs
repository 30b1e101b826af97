//! A run over time, thinned to what a plot has room for. Nothing disappears by thinning: counts are
//! added up, longest times stay the longest, and the spread of the rates is kept.

use crate::outcome::{Sample, TIMELINE_MS};

/// Moments of equal length, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// What is shown.
    pub moments: Vec<Moment>,
    /// Samples that make one moment.
    pub samples_each: usize,
    /// Times that are not measured.
    pub shades: Vec<Shade>,
}

impl Timeline {
    /// Of `samples`, at most `max` moments.
    pub fn new(samples: &[Sample], max: usize) -> Timeline {
        let samples_each = samples.len().div_ceil(max.max(1)).max(1);
        let mut timeline = Timeline { samples_each, ..Timeline::default() };
        let mut began = samples.first().map_or(0.0, |first| (first.at_s - WINDOW_S).max(0.0));
        let mut measuring = false;
        for samples in samples.chunks(samples_each) {
            let moment = Moment::new(samples, began);
            began = moment.to_s;
            let measured = samples.iter().any(|sample| sample.measured);
            measuring |= measured;
            if !measured {
                timeline.shade(&moment, if measuring { "drain" } else { "warm-up" });
            }
            timeline.moments.push(moment);
        }
        timeline
    }

    /// Seconds at which it begins and ends.
    pub fn span_s(&self) -> (f64, f64) {
        let from = self.moments.first().map_or(0.0, |moment| moment.from_s);
        (from, self.moments.last().map_or(from, |moment| moment.to_s))
    }

    fn shade(&mut self, moment: &Moment, name: &'static str) {
        match self.shades.last_mut() {
            Some(last) if last.name == name && last.to_s == moment.from_s => {
                last.to_s = moment.to_s;
            }
            _ => self.shades.push(Shade { name, from_s: moment.from_s, to_s: moment.to_s }),
        }
    }
}

/// Some samples together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Seconds since the run began.
    pub from_s: f64,
    /// The same, above `from_s`.
    pub to_s: f64,
    /// PUBLISHes a second.
    pub published: Spread,
    /// Copies a second.
    pub delivered: Spread,
    /// Open at its end.
    pub connections: f64,
    /// Lost in it.
    pub disconnects: f64,
    /// Dropped in it.
    pub drops: f64,
    /// Half of what arrived was at most so late: the mean of the samples' medians, each weighted
    /// by what arrived in it. Nothing if nothing arrived.
    pub p50_us: Option<f64>,
    /// The same of the 99th percentiles.
    pub p99_us: Option<f64>,
    /// The longest of all.
    pub max_us: Option<f64>,
    /// Cores that the broker kept busy, on average.
    pub broker_cores: f64,
    /// The broker's resident bytes, at most.
    pub broker_resident: f64,
}

impl Moment {
    fn new(samples: &[Sample], from_s: f64) -> Moment {
        let mut moment = Moment { from_s, to_s: from_s, ..Moment::default() };
        let (mut published, mut delivered) = (Gauge::default(), Gauge::default());
        let (mut p50, mut p99) = (Gauge::default(), Gauge::default());
        let mut cores = Gauge::default();
        for sample in samples {
            // A clock that stands still must not make a rate infinite.
            let seconds = sample.at_s - moment.to_s;
            let seconds = if seconds > 1e-3 { seconds } else { WINDOW_S };
            moment.to_s += seconds;
            published.add(sample.published as f64 / seconds, seconds);
            delivered.add(sample.delivered as f64 / seconds, seconds);
            cores.add(sample.broker_cores, seconds);
            moment.connections = sample.connections as f64;
            moment.disconnects += sample.disconnects as f64;
            moment.drops += sample.drops as f64;
            moment.broker_resident = moment.broker_resident.max(sample.broker_resident as f64);
            if sample.max_us > 0.0 {
                let arrived = sample.delivered.max(1) as f64;
                p50.add(sample.p50_us, arrived);
                p99.add(sample.p99_us, arrived);
                moment.max_us = Some(moment.max_us.unwrap_or(0.0).max(sample.max_us));
            }
        }
        moment.published = published.spread();
        moment.delivered = delivered.spread();
        moment.broker_cores = cores.spread().mean;
        moment.p50_us = (p50.weight > 0.0).then(|| p50.spread().mean);
        moment.p99_us = (p99.weight > 0.0).then(|| p99.spread().mean);
        moment
    }
}

/// A time to be shaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// What it is.
    pub name: &'static str,
    /// Seconds since the run began.
    pub from_s: f64,
    /// The same.
    pub to_s: f64,
}

/// Least, mean and most of some rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The lowest.
    pub low: f64,
    /// The mean over the time.
    pub mean: f64,
    /// The highest.
    pub high: f64,
}

#[derive(Default)]
struct Gauge {
    sum: f64,
    weight: f64,
    low: Option<f64>,
    high: f64,
}

impl Gauge {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
        self.low = Some(self.low.map_or(value, |low| low.min(value)));
        self.high = self.high.max(value);
    }

    fn spread(&self) -> Spread {
        let mean = if self.weight > 0.0 { self.sum / self.weight } else { 0.0 };
        Spread { low: self.low.unwrap_or(0.0), mean, high: self.high }
    }
}

const WINDOW_S: f64 = TIMELINE_MS as f64 / 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tenth: u64, measured: bool, delivered: u64) -> Sample {
        Sample {
            at_s: tenth as f64 / 10.0,
            measured,
            published: 10,
            delivered,
            drops: 1,
            p50_us: delivered as f64,
            p99_us: delivered as f64 * 2.0,
            max_us: delivered as f64 * 3.0,
            ..Sample::default()
        }
    }

    #[test]
    fn an_empty_run_has_no_moments() {
        let timeline = Timeline::new(&[], 100);
        assert_eq!(timeline.moments, []);
        assert_eq!(timeline.span_s(), (0.0, 0.0));
    }

    #[test]
    fn thinning_keeps_sums_extremes_and_weighted_means() {
        let samples = [sample(1, true, 100), sample(2, true, 300), sample(3, true, 0)];
        let timeline = Timeline::new(&samples, 1);
        assert_eq!((timeline.samples_each, timeline.moments.len()), (3, 1));
        let moment = &timeline.moments[0];
        assert_eq!((moment.from_s, moment.drops), (0.0, 3.0));
        assert!((moment.to_s - 0.3).abs() < 1e-9);
        assert!((moment.delivered.mean - 4000.0 / 3.0).abs() < 1e-6, "{moment:?}");
        assert!((moment.delivered.high - 3000.0).abs() < 1e-6 && moment.delivered.low == 0.0);
        assert_eq!((moment.p50_us, moment.max_us), (Some(250.0), Some(900.0)));
    }

    #[test]
    fn silence_has_a_rate_but_no_latency() {
        let timeline = Timeline::new(&[sample(1, true, 0)], 10);
        let moment = &timeline.moments[0];
        assert_eq!((moment.p50_us, moment.p99_us, moment.max_us), (None, None, None));
        assert_eq!(moment.delivered, Spread::default());
    }

    #[test]
    fn what_is_before_and_behind_the_measured_time_is_shaded() {
        let measured = [false, false, true, true, false, false];
        let samples = measured.iter().zip(1..).map(|(measured, at)| sample(at, *measured, 1));
        let samples: Vec<_> = samples.collect();
        let timeline = Timeline::new(&samples, 100);
        let names: Vec<_> = timeline.shades.iter().map(|shade| shade.name).collect();
        assert_eq!(names, ["warm-up", "drain"]);
        assert!((timeline.shades[0].to_s - 0.2).abs() < 1e-9);
        assert!((timeline.shades[1].from_s - 0.4).abs() < 1e-9);
        assert!((timeline.shades[1].to_s - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_clock_that_stands_still_makes_no_infinite_rate() {
        let timeline = Timeline::new(&[sample(1, true, 5), sample(1, true, 5)], 10);
        for moment in &timeline.moments {
            assert!(moment.to_s > moment.from_s && moment.delivered.high.is_finite());
        }
    }
}
