//! What a number counts, and how it is written for people: with its unit, with the digits that say
//! something and no more.

/// What a number counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Things, whole.
    Count,
    /// Things a second.
    Rate,
    /// Microseconds; written in the unit that suits.
    Micros,
    /// Bytes; written in powers of 1024.
    Bytes,
    /// Busy processor cores.
    Cores,
    /// Seconds.
    Seconds,
    /// A number without a unit.
    Plain,
}

impl Unit {
    /// `value` with three digits that count (a whole number of things: all of them) and its unit.
    pub fn text(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Unit::Count => grouped(value),
            Unit::Cores | Unit::Plain => three_digits(value),
            Unit::Seconds => span(value),
            Unit::Rate | Unit::Micros | Unit::Bytes => {
                let scale = self.scale(value.abs());
                // 999.6 would become "1000 k": it is 1.00 M.
                let rounded = three_digits(value / scale.factor);
                let rounded = rounded.parse().map_or(value, |short: f64| short * scale.factor);
                let scale = self.scale(rounded.abs());
                join(&three_digits(value / scale.factor), scale.suffix)
            }
        }
    }

    /// The multiple of the unit in which numbers up to `max` are written.
    pub fn scale(self, max: f64) -> Scale {
        let table: &[Scale] = match self {
            Unit::Count | Unit::Rate => THOUSANDS,
            Unit::Micros => TIMES,
            Unit::Bytes => BINARY,
            Unit::Seconds => SECONDS,
            Unit::Cores | Unit::Plain => PLAIN,
        };
        let fits = table.iter().rev().find(|scale| max >= scale.factor);
        *fits.unwrap_or(&table[0])
    }
}

/// A multiple of a unit, with its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// How many of the unit make one.
    pub factor: f64,
    /// What is written behind the number.
    pub suffix: &'static str,
}

/// A share from 0 to 1 in percent; `0.5 %`, `12 %`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".to_owned();
    }
    format!("{} %", three_digits(share * 100.0))
}

/// How many times as large as something else: `×1.24`.
pub fn ratio(value: f64, base: f64) -> Option<String> {
    let ratio = value / base;
    (ratio.is_finite() && ratio > 0.0).then(|| format!("×{}", three_digits(ratio)))
}

/// Seconds as people say them: `26.5 s`, `2 min 31 s`, `1 h 12 min`.
fn span(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    if seconds.abs() < 100.0 {
        return join(&Unit::Plain.text(seconds), "s");
    }
    let whole = seconds.round() as i64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, 0) => format!("{minutes}\u{a0}min"),
        (0, minutes, seconds) => format!("{minutes}\u{a0}min {seconds}\u{a0}s"),
        (hours, 0, _) => format!("{hours}\u{a0}h"),
        (hours, minutes, _) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
    }
}

/// `12 minutes`, `1 minute`.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as f64), if count == 1 { one } else { many })
}

/// A moment of Unix time as `2026-11-03 14:22:05 UTC`.
pub fn moment(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970-01-01, counted in years that begin in March: then
/// the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let since_year_0 = days + 719_468;
    let era = since_year_0 / 146_097;
    let day_of_era = since_year_0 % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn join(number: &str, suffix: &str) -> String {
    if suffix.is_empty() { number.to_owned() } else { format!("{number}\u{a0}{suffix}") }
}

/// Three digits that count, without needless zeros, whole above 1000, never as a power of ten
/// unless it is tiny.
fn three_digits(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if size >= 1000.0 {
        return grouped(value);
    }
    if size < 0.0001 {
        return format!("{value:.0e}");
    }
    let places = (2.0 - size.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Whole, with the thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 && digits != "0" {
        text.push('-');
    }
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const PLAIN: &[Scale] = &[Scale { factor: 1.0, suffix: "" }];

const THOUSANDS: &[Scale] = &[
    Scale { factor: 1.0, suffix: "" },
    Scale { factor: 1e3, suffix: "k" },
    Scale { factor: 1e6, suffix: "M" },
    Scale { factor: 1e9, suffix: "G" },
];

const TIMES: &[Scale] = &[
    Scale { factor: 1.0, suffix: "µs" },
    Scale { factor: 1e3, suffix: "ms" },
    Scale { factor: 1e6, suffix: "s" },
];

const SECONDS: &[Scale] = &[
    Scale { factor: 1.0, suffix: "s" },
    Scale { factor: 60.0, suffix: "min" },
    Scale { factor: 3600.0, suffix: "h" },
];

const BINARY: &[Scale] = &[
    Scale { factor: 1.0, suffix: "B" },
    Scale { factor: 1024.0, suffix: "KiB" },
    Scale { factor: 1_048_576.0, suffix: "MiB" },
    Scale { factor: 1_073_741_824.0, suffix: "GiB" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let rows: &[(Unit, f64, &str)] = &[
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 999.0, "999"),
            (Unit::Count, 1_234_567.0, "1,234,567"),
            (Unit::Rate, 0.0, "0"),
            (Unit::Rate, 950.0, "950"),
            (Unit::Rate, 512_345.0, "512\u{a0}k"),
            (Unit::Rate, 999_600.0, "1\u{a0}M"),
            (Unit::Rate, 1_500_000.0, "1.5\u{a0}M"),
            (Unit::Micros, 0.25, "0.25\u{a0}µs"),
            (Unit::Micros, 87.26, "87.3\u{a0}µs"),
            (Unit::Micros, 1240.0, "1.24\u{a0}ms"),
            (Unit::Micros, 2_310_000.0, "2.31\u{a0}s"),
            (Unit::Bytes, 100.0, "100\u{a0}B"),
            (Unit::Bytes, 1536.0, "1.5\u{a0}KiB"),
            (Unit::Bytes, 64.0 * 1_048_576.0, "64\u{a0}MiB"),
            (Unit::Cores, 1.934, "1.93"),
            (Unit::Seconds, 10.0, "10\u{a0}s"),
            (Unit::Seconds, 90.0, "90\u{a0}s"),
            (Unit::Seconds, 120.2, "2\u{a0}min"),
            (Unit::Seconds, 150.7, "2\u{a0}min 31\u{a0}s"),
            (Unit::Seconds, 4320.0, "1\u{a0}h 12\u{a0}min"),
            (Unit::Seconds, f64::NAN, "–"),
            (Unit::Plain, 0.034_56, "0.0346"),
            (Unit::Plain, -12.5, "-12.5"),
            (Unit::Plain, 0.000_01, "1e-5"),
            (Unit::Rate, f64::NAN, "–"),
            (Unit::Micros, f64::INFINITY, "–"),
        ];
        for &(unit, value, wanted) in rows {
            assert_eq!(unit.text(value), wanted, "{unit:?} {value}");
        }
    }

    #[test]
    fn a_ratio_needs_something_on_both_sides() {
        assert_eq!(ratio(2.0, 1.0).as_deref(), Some("×2"));
        assert_eq!(ratio(1.0, 3.0).as_deref(), Some("×0.333"));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(0.0, 1.0), None);
        assert_eq!(ratio(0.0, 0.0), None);
    }

    #[test]
    fn a_share_is_written_in_percent() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.125), "12.5 %");
        assert_eq!(percent(f64::NAN), "–");
    }

    #[test]
    fn moments_are_calendar_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(951_868_799_999), "2000-02-29 23:59:59 UTC");
        assert_eq!(moment(1_762_180_325_000), "2025-11-03 14:32:05 UTC");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
    }

    /// Its twin counts the days one by one.
    #[test]
    fn every_day_of_two_centuries_follows_the_day_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..75_000 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (day, month) = if day == last { (1, month + 1) } else { (day + 1, month) };
            (month, year) = if month == 13 { (1, year + 1) } else { (month, year) };
        }
    }
}
