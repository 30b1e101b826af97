//! The scale of one side of a plot: where a value lies, and which round numbers are written there.

use super::unit::{Scale, Unit};

/// A scale with its ticks. Places are shares of its length, from 0 to 1.
#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    shape: Shape,
    ticks: Vec<Tick>,
}

impl Axis {
    /// From `low` to `high`, both widened to round numbers, with about `wanted` steps.
    pub fn linear(low: f64, high: f64, wanted: u32, unit: Unit) -> Axis {
        let (low, high) = ordered(low, high);
        let mut scale = unit.scale(low.abs().max(high.abs()));
        if round_step((high - low) / scale.factor, wanted, 0.0) < 1.0 {
            // 200 and 400, not 0.2 k and 0.4 k.
            scale = unit.scale(scale.factor * 0.99);
        }
        let least = if unit == Unit::Count && scale.factor == 1.0 { 1.0 } else { 0.0 };
        let step = round_step((high - low) / scale.factor, wanted, least);
        let first = ((low / scale.factor) / step + TOLERANCE).floor();
        let last = ((high / scale.factor) / step - TOLERANCE).ceil().max(first + 1.0);
        let (low, high) = (first * step * scale.factor, last * step * scale.factor);
        Axis::spanning(low, high, step, scale)
    }

    /// From `low` to `high` exactly, with ticks at round numbers inside and nothing behind them.
    pub fn exact(low: f64, high: f64, wanted: u32, scale: Scale) -> Axis {
        let (low, high) = ordered(low, high);
        let step = round_step((high - low) / scale.factor, wanted, 0.0);
        Axis::spanning(low, high, step, Scale { suffix: "", ..scale })
    }

    /// Logarithmic, from `low` to `high`, which must be above zero, widened to 1, 2 or 5 times a
    /// power of ten.
    pub fn log(low: f64, high: f64, unit: Unit) -> Axis {
        let (low, high) = ordered(low, high);
        let mut from = steps_of_ten(low).0;
        let mut to = steps_of_ten(high).1;
        if to - from < 2 {
            (from, to) = (from - 1, to + 1);
        }
        let axis = Axis {
            low: power(from).log10(),
            high: power(to).log10(),
            shape: Shape::Log,
            ticks: Vec::new(),
        };
        let decades = axis.high - axis.low;
        let mut ticks = Vec::new();
        for step in from..=to {
            let value = power(step);
            let whole = step.rem_euclid(3) == 0;
            let label = (whole || decades <= ALL_LABELLED).then(|| unit.text(value));
            ticks.push(Tick {
                at: axis.place(value),
                label: label.unwrap_or_default(),
                spare: false,
            });
        }
        Axis { ticks, ..axis }
    }

    /// Shares of many values, where each further nine (90 %, 99 %, 99.9 %) takes the same length:
    /// values are numbers of nines, up to `end`, where the largest value is.
    pub fn nines(end: f64) -> Axis {
        let end = if end.is_finite() { end.max(1.0) } else { 1.0 };
        let mut axis = Axis { low: 0.0, high: end, shape: Shape::Linear, ticks: Vec::new() };
        axis.ticks.push(Tick {
            at: axis.place(0.5f64.log10().abs()),
            label: "50".to_owned(),
            spare: false,
        });
        for nine in 1..end.ceil() as usize {
            let at = nine as f64 / end;
            // Too near to the end for two labels.
            if at > 0.88 {
                break;
            }
            let label = match nine {
                1 => "90".to_owned(),
                2 => "99".to_owned(),
                more => format!("99.{}", "9".repeat(more - 2)),
            };
            axis.ticks.push(Tick { at, label, spare: nine > 3 && nine % 2 == 0 });
        }
        axis.ticks.push(Tick { at: 1.0, label: "max".to_owned(), spare: false });
        axis
    }

    /// Where `value` lies; at the nearest end if it is outside.
    pub fn place(&self, value: f64) -> f64 {
        let value = match self.shape {
            Shape::Linear => value,
            Shape::Log => value.max(f64::MIN_POSITIVE).log10(),
        };
        let place = (value - self.low) / (self.high - self.low);
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Rising.
    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    fn spanning(low: f64, high: f64, step: f64, scale: Scale) -> Axis {
        let mut axis = Axis { low, high, shape: Shape::Linear, ticks: Vec::new() };
        let places = (-(step * (1.0 + TOLERANCE)).log10().floor()).max(0.0) as usize;
        let mut index = (low / scale.factor / step - TOLERANCE).ceil();
        while index * step * scale.factor <= high + TOLERANCE * (high - low) {
            let number = index * step;
            let digits = match places {
                0 => Unit::Count.text(number),
                _ => format!("{number:.places$}"),
            };
            let label = match (number == 0.0, scale.suffix) {
                (true, _) => "0".to_owned(),
                (false, "") => digits,
                (false, suffix) => format!("{digits}\u{a0}{suffix}"),
            };
            axis.ticks.push(Tick { at: axis.place(number * scale.factor), label, spare: false });
            index += 1.0;
        }
        axis
    }
}

/// A mark on an [`Axis`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Its place.
    pub at: f64,
    /// What is written there; nothing at a lesser line.
    pub label: String,
    /// The label can be left out where there is little room.
    pub spare: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    Linear,
    Log,
}

/// Two finite numbers, the first below the second.
fn ordered(low: f64, high: f64) -> (f64, f64) {
    let low = if low.is_finite() { low } else { 0.0 };
    let high = if high.is_finite() { high } else { low };
    // A difference that the digits of a number can hold.
    let least = (low.abs() * 1e-6).max(1e-6);
    (low, high.max(low + least))
}

/// 1, 2 or 5 times a power of ten, such that `span` has at most about `wanted` steps.
fn round_step(span: f64, wanted: u32, least: f64) -> f64 {
    let raw = (span / f64::from(wanted.max(1))).max(least);
    let (below, above) = steps_of_ten(raw);
    // Slightly too many lines look better than far too few.
    if raw <= power(below) * 1.2 { power(below) } else { power(above) }
}

/// The steps (see [`power`]) that `value` lies between, or on.
fn steps_of_ten(value: f64) -> (i32, i32) {
    let decade = value.log10().floor() as i32 * 3;
    let holds = |step: &i32| power(*step) <= value * (1.0 + TOLERANCE);
    let below = (decade - 1..decade + 4).rev().find(holds).unwrap_or(decade);
    let on = power(below) >= value * (1.0 - TOLERANCE);
    (below, if on { below } else { below + 1 })
}

/// …, 0.5, 1, 2, 5, 10, 20, …: power(0) is 1.
fn power(step: i32) -> f64 {
    let lead = [1.0, 2.0, 5.0][step.rem_euclid(3) as usize];
    let decade = step.div_euclid(3);
    // Not by multiplying with 0.01, which no binary fraction is.
    if decade < 0 { lead / 10f64.powi(-decade) } else { lead * 10f64.powi(decade) }
}

/// How far off arithmetic may be.
const TOLERANCE: f64 = 1e-9;

/// Up to so many powers of ten every line is labelled; above, only the powers themselves.
const ALL_LABELLED: f64 = 2.7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn labels(axis: &Axis) -> String {
        let labels: Vec<_> = axis.ticks().iter().map(|tick| tick.label.as_str()).collect();
        labels.join(" ").replace('\u{a0}', "")
    }

    #[test]
    fn ticks_are_at_round_numbers() {
        let rows: &[(f64, f64, Unit, &str)] = &[
            (0.0, 9.3, Unit::Plain, "0 2 4 6 8 10"),
            (0.0, 1.0, Unit::Cores, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (0.0, 2.0, Unit::Count, "0 1 2"),
            (0.0, 0.0, Unit::Count, "0 1"),
            (0.0, 520_000.0, Unit::Rate, "0 100k 200k 300k 400k 500k 600k"),
            (0.0, 1131.0, Unit::Count, "0 200 400 600 800 1,000 1,200"),
            (0.0, 1.3e6, Unit::Bytes, "0 500KiB 1,000KiB 1,500KiB"),
            (0.0, 18_000.0, Unit::Count, "0 5k 10k 15k 20k"),
            (0.0, 70.0 * 1_048_576.0, Unit::Bytes, "0 20MiB 40MiB 60MiB 80MiB"),
            (0.0, 0.000_3, Unit::Plain, "0 0.00005 0.00010 0.00015 0.00020 0.00025 0.00030"),
        ];
        for &(low, high, unit, wanted) in rows {
            let wanted = wanted.replace("0.0 ", "0 ");
            assert_eq!(labels(&Axis::linear(low, high, 5, unit)), wanted, "{low} to {high}");
        }
    }

    #[test]
    fn a_span_of_time_is_not_widened() {
        let axis = Axis::exact(0.0, 12.3, 6, Unit::Seconds.scale(12.3));
        assert_eq!(labels(&axis), "0 2 4 6 8 10 12");
        assert!(axis.ticks().last().expect("ticks").at < 1.0);
        let axis = Axis::exact(0.0, 600.0, 6, Unit::Seconds.scale(600.0));
        assert_eq!(labels(&axis), "0 2 4 6 8 10");
    }

    #[test]
    fn a_logarithmic_axis_labels_what_it_has_room_for() {
        assert_eq!(labels(&Axis::log(90.0, 900.0, Unit::Micros)), "50µs 100µs 200µs 500µs 1ms");
        let wide = Axis::log(3.0, 2_500_000.0, Unit::Micros);
        let wide: Vec<_> = wide.ticks().iter().filter(|tick| !tick.label.is_empty()).collect();
        let wide: Vec<_> = wide.iter().map(|tick| tick.label.replace('\u{a0}', "")).collect();
        assert_eq!(wide, ["10µs", "100µs", "1ms", "10ms", "100ms", "1s"]);
    }

    #[test]
    fn nines_are_equally_far_apart() {
        let axis = Axis::nines(6.0);
        assert_eq!(labels(&axis), "50 90 99 99.9 99.99 99.999 max");
        assert!((axis.place(1.0) - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(labels(&Axis::nines(3.1)), "50 90 99 max");
        assert_eq!(labels(&Axis::nines(f64::NAN)), "50 max");
    }

    /// Round, rising, evenly spaced, neither too few nor too many, and the axis holds what it is
    /// made for: for numbers of every size.
    #[test]
    fn every_span_gets_good_ticks() {
        let seed = seed();
        let mut random = Random::new(seed);
        for round in 0..20_000 {
            let high = 10f64.powf(random.unit() * 18.0 - 6.0);
            let low = if random.unit() < 0.5 { 0.0 } else { high * random.unit() };
            let unit = [Unit::Plain, Unit::Rate, Unit::Bytes, Unit::Cores][round % 4];
            let axis = Axis::linear(low, high, 5, unit);
            let say = format!("SEED={seed}: {low} to {high} {unit:?}: {axis:?}");
            assert!(axis.low <= low + high * 1e-6 && axis.high >= high * (1.0 - 1e-6), "{say}");
            let ticks = axis.ticks();
            assert!((2..=10).contains(&ticks.len()), "{say}");
            assert!(ticks[0].at.abs() < 1e-9 && (ticks[ticks.len() - 1].at - 1.0).abs() < 1e-9);
            let distance = ticks[1].at - ticks[0].at;
            for pair in ticks.windows(2) {
                assert!((pair[1].at - pair[0].at - distance).abs() < 1e-6, "{say}");
                assert_ne!(pair[0].label, pair[1].label, "{say}");
            }
            let number = |tick: &Tick| {
                let text = tick.label.split('\u{a0}').next().expect("a number");
                text.replace(',', "").parse::<f64>().expect("a number")
            };
            let step = number(&ticks[1]) - number(&ticks[0]);
            let lead = step / 10f64.powf((step * 1.000_001).log10().floor());
            // A narrow span far from zero has more digits than can be checked from its labels.
            if low == 0.0 {
                assert!([1.0, 2.0, 5.0].iter().any(|whole| (lead - whole).abs() < 1e-3), "{say}");
            }
        }
    }

    /// Its twin goes through all steps one by one.
    #[test]
    fn a_logarithmic_axis_is_as_narrow_as_round_numbers_allow() {
        let seed = seed();
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            let low = 10f64.powf(random.unit() * 9.0 - 1.0);
            let high = low * 10f64.powf(random.unit() * 5.0);
            let axis = Axis::log(low, high, Unit::Micros);
            let say = format!("SEED={seed}: {low} to {high}: {axis:?}");
            let below = (-9..40).map(power).rfind(|step| *step <= low * (1.0 + 1e-9));
            let above = (-9..40).map(power).find(|step| *step >= high * (1.0 - 1e-9));
            let (mut below, mut above) = (below.expect("a step"), above.expect("a step"));
            if above / below < 3.9 {
                // Widened, so that there is something to read.
                (below, above) = (10f64.powf(axis.low), 10f64.powf(axis.high));
                assert!(below < low && above > high, "{say}");
            }
            assert!((axis.low - below.log10()).abs() < 1e-6, "{say}");
            assert!((axis.high - above.log10()).abs() < 1e-6, "{say}");
            assert!(axis.ticks().windows(2).all(|pair| pair[0].at < pair[1].at), "{say}");
            assert!(axis.ticks().iter().filter(|tick| !tick.label.is_empty()).count() >= 3);
        }
    }

    #[test]
    fn senseless_spans_have_an_axis_too() {
        for (low, high) in [(0.0, 0.0), (5.0, 5.0), (3.0, 1.0), (f64::NAN, f64::NAN), (0.0, 1e300)]
        {
            for axis in [
                Axis::linear(low, high, 5, Unit::Plain),
                Axis::exact(low, high, 5, Unit::Seconds.scale(1.0)),
                Axis::log(low.max(1e-3), high, Unit::Micros),
            ] {
                for value in [low, high, 0.0, -1.0, f64::NAN, f64::INFINITY] {
                    assert!((0.0..=1.0).contains(&axis.place(value)), "{axis:?} {value}");
                }
                assert!(axis.ticks().len() < 2000, "{axis:?}");
            }
        }
    }

    fn seed() -> u64 {
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20)
    }
}
