//! Moving averages of counters, with mosquitto's names and its reckoning: what there was a minute, over
//! one, five and fifteen minutes. They are reckoned once an interval, whether a client asks or not.

use crate::time::Time;

/// The spans of the averages: minutes, and their names in topics.
pub const SPANS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Moving averages of `N` counters.
#[derive(Clone, Debug)]
pub struct Loads<const N: usize> {
    counts: [u64; N],
    averages: [[f64; SPANS.len()]; N],
    at: Time,
}

impl<const N: usize> Loads<N> {
    /// Nothing counted until `now`.
    pub fn new(now: Time) -> Loads<N> {
        Loads { counts: [0; N], averages: [[0.0; SPANS.len()]; N], at: now }
    }

    /// The counters stand so at `now`.
    pub fn step(&mut self, counts: [u64; N], now: Time) {
        let minutes = now.since(self.at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        for ((average, before), count) in self.averages.iter_mut().zip(self.counts).zip(counts) {
            let rate = count.saturating_sub(before) as f64 / minutes;
            for (average, (span, _)) in average.iter_mut().zip(SPANS) {
                *average = rate + (-minutes / span).exp() * (*average - rate);
            }
        }
        (self.counts, self.at) = (counts, now);
    }

    /// The averages of each counter, in the order of [`SPANS`].
    pub fn averages(&self) -> &[[f64; SPANS.len()]; N] {
        &self.averages
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_steady_rate_is_approached_and_forgotten_at_the_speed_of_each_span() {
        let mut now = Time::from_secs(1_000);
        let mut loads = Loads::<2>::new(now);
        let mut counts = [0, 0];
        for _ in 0..30 {
            now = now.after(Duration::from_secs(10));
            counts[0] += 100;
            loads.step(counts, now);
        }
        // 600 a minute for five minutes: 1 - e^-5, 1 - e^-1, 1 - e^(-1/3).
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.01, "{found}");
        let [one, five, fifteen] = loads.averages()[0];
        near(one, 595.957);
        near(five, 379.272);
        near(fifteen, 170.081);
        assert_eq!(loads.averages()[1], [0.0; 3]);
        loads.step(counts, now);
        assert_eq!(loads.averages()[0], [one, five, fifteen], "no time has passed");
        now = now.after(Duration::from_secs(60));
        loads.step(counts, now);
        near(loads.averages()[0][0], 595.957 / std::f64::consts::E);
    }
}
