//! Which plots a run gets, and what is on them.

use super::axis::Axis;
use super::markup::Markup;
use super::plot::{COLOURS, Place, Plot, Point, Series, Style};
use super::timeline::{Moment, Spread, Timeline};
use super::unit::Unit;
use crate::outcome::{Latency, Outcome};

/// Everything that there is to draw of one run.
pub fn of_run(outcome: &Outcome) -> Vec<Markup> {
    let mut plots = Vec::new();
    let timeline = Timeline::new(&outcome.timeline, MOMENTS_MAX);
    // A single moment is a number, not a course.
    let course = (timeline.moments.len() > 1).then(|| Course::new(&timeline));
    let traffic = outcome.traffic.published > 0 || outcome.traffic.delivered > 0;
    if let Some(course) = course.as_ref().filter(|_| traffic) {
        plots.extend(course.throughput());
        plots.push(course.latency());
    }
    let named = [
        ("delivery", &outcome.latency),
        ("acknowledgement", &outcome.acknowledgement),
        ("connect", &outcome.connections.connect),
    ];
    let measured: Vec<_> = named.iter().filter(|(_, latency)| latency.count > 0).collect();
    let y_title = match measured[..] {
        [("delivery", _)] => "time to deliver, logarithmic",
        [("connect", _)] => "time to connect, logarithmic",
        _ => "time, logarithmic",
    };
    plots.extend(distribution("Latency distribution", y_title, &named));
    if let Some(course) = course {
        plots.push(course.connections());
        if traffic {
            plots.push(course.drops());
        }
        if outcome.broker.is_some() {
            plots.push(course.broker_cores());
            plots.push(course.broker_memory());
        }
    }
    plots
}

/// How many messages a window had: the fewest, the most, and how far most are from the mean.
pub fn smoothness(outcome: &Outcome) -> Option<Markup> {
    let smoothness = outcome.smoothness.as_ref().filter(|smoothness| smoothness.windows > 0)?;
    let (fewest, mean, most) = smoothness.messages;
    let x = Axis::linear(0.0, (most as f64).max(mean), 8, Unit::Count);
    let permille = |value: f64| (x.place(value) * 10_000.0).round() / 10.0;
    let deviation = mean * smoothness.variation;
    let (from, to) = (permille(mean - deviation), permille(mean + deviation));
    let (fewest, mean, most) = (permille(fewest as f64), permille(mean), permille(most as f64));
    let mut to_page = Markup::new();
    let page = &mut to_page;
    page.raw("<figure class=\"plot strip\"><figcaption><span class=\"title\">Smoothness</span>");
    page.raw("<span class=\"unit\">messages in each window of ").text(smoothness.window_ms);
    page.raw(" ms</span><span class=\"legend\"><span><i class=\"key c2\"></i>fewest to most");
    page.raw("</span><span><i class=\"key thick c2\"></i>mean ± standard deviation</span></span>");
    page.raw("</figcaption><div class=\"canvas\"><svg viewBox=\"0 0 1000 1000\" ");
    page.raw("preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Smoothness\">");
    for tick in x.ticks() {
        let at = (tick.at * 10_000.0).round() / 10.0;
        page.raw("<path class=\"grid\" d=\"M").text(at).raw(" 0V1000\"/>");
    }
    page.raw("<path class=\"line c2\" d=\"M").text(fewest).raw(" 500H").text(most);
    page.raw("M").text(fewest).raw(" 300V700M").text(most).raw(" 300V700\"/>");
    page.raw("<path class=\"deviation c2\" d=\"M").text(from).raw(" 500H").text(to).raw("\"/>");
    page.raw("<path class=\"mean\" d=\"M").text(mean).raw(" 180V820\"/>");
    page.raw("<path class=\"base\" d=\"M0 1000H1000\"/></svg>");
    for tick in x.ticks() {
        page.raw("<span class=\"x\" style=\"left:").text((tick.at * 10_000.0).round() / 100.0);
        page.raw("%\">").text(&tick.label).raw("</span>");
    }
    page.raw("</div><div class=\"x-title\">messages</div></figure>\n");
    Some(to_page)
}

/// One curve for each of `named` that was measured.
pub fn distribution(title: &str, y_title: &str, named: &[(&str, &Latency)]) -> Option<Markup> {
    let mut curves = Vec::new();
    for (colour, (name, latency)) in named.iter().enumerate() {
        let points = points(latency);
        if let Some((end, _)) = points.last() {
            curves.push((colour, *name, *end, points));
        }
    }
    let end = curves.iter().map(|(_, _, end, _)| *end).reduce(f64::max)?;
    let steps = (0..=CURVE_STEPS).map(|step| end * f64::from(step) / f64::from(CURVE_STEPS));
    let steps: Vec<_> = steps.collect();
    let mut series = Vec::new();
    for (colour, name, own_end, points) in curves {
        let mut before = 0.0;
        let curve = steps.iter().map(|&step| {
            // A curve ends with its own largest value, where fewer values have fewer nines.
            let beyond = before >= own_end;
            before = step;
            if beyond { Point::unknown(step) } else { Point::new(step, between(&points, step)) }
        });
        // When the colours are used up, the next ones are thin.
        let style = if (colour / COLOURS).is_multiple_of(2) { Style::Line } else { Style::Thin };
        series.push(Series::new(name, colour, style, curve.collect()));
    }
    let places = steps.iter().map(|&step| Place { x: step, called: share(step, end) });
    let plot = Plot {
        title,
        y_title,
        x_title: "percentile: % that were at least as fast",
        y: logarithmic(&series),
        x: Axis::nines(end),
        unit: Unit::Micros,
        series,
        shades: Vec::new(),
        places: places.collect(),
        nothing: None,
    };
    Some(plot.markup())
}

/// A run over time.
struct Course<'a> {
    timeline: &'a Timeline,
    x: Axis,
    x_title: &'static str,
}

impl<'a> Course<'a> {
    fn new(timeline: &'a Timeline) -> Course<'a> {
        let (from, to) = timeline.span_s();
        let scale = Unit::Seconds.scale(to / LEAST_UNITS);
        let x_title = match scale.suffix {
            "h" => "hours",
            "min" => "minutes",
            _ => "seconds",
        };
        Course { timeline, x: Axis::exact(from, to, 6, scale), x_title }
    }

    /// Published and delivered in one plot, or each in its own where one would dwarf the other.
    fn throughput(&self) -> Vec<Markup> {
        let published = self.rates("published", 0, Style::Area, |moment| moment.published);
        let delivered = self.rates("delivered", 1, Style::Line, |moment| moment.delivered);
        let (most, least) =
            (published.max().max(delivered.max()), published.max().min(delivered.max()));
        let per_second = "messages per second";
        if least > 0.0 && most / least > DWARFED {
            let delivered = Series { style: Style::Area, ..delivered };
            return vec![
                self.plot("Published", per_second, Unit::Rate, vec![published]).markup(),
                self.plot("Delivered", per_second, Unit::Rate, vec![delivered]).markup(),
            ];
        }
        let series = vec![published, delivered];
        vec![self.plot("Throughput", per_second, Unit::Rate, series).markup()]
    }

    fn latency(&self) -> Markup {
        let series = vec![
            self.times("max", 3, Style::Thin, |moment| moment.max_us),
            self.times("p99", 1, Style::Line, |moment| moment.p99_us),
            self.times("p50", 0, Style::Line, |moment| moment.p50_us),
        ];
        let y = logarithmic(&series);
        let unknown = series.iter().all(|series| series.least().is_none());
        let plot = self.plot("Latency", "time, logarithmic", Unit::Micros, series);
        let nothing = unknown.then_some("nothing arrived");
        Plot { y, nothing, ..plot }.markup()
    }

    fn connections(&self) -> Markup {
        let open = self.ends("open", 2, Style::Area, |moment| moment.connections);
        let lost = self.middles("lost", 1, Style::Bars, |moment| moment.disconnects);
        let any_lost = lost.max() > 0.0;
        let series = if any_lost { vec![open, lost] } else { vec![open] };
        let note = if any_lost { "open, and lost in each moment" } else { "open" };
        self.plot("Connections", note, Unit::Count, series).markup()
    }

    fn drops(&self) -> Markup {
        let drops = self.middles("dropped", 1, Style::Bars, |moment| moment.drops);
        let nothing = (drops.max() == 0.0).then_some("nothing dropped or refused");
        let title = "messages refused or missing";
        let plot = self.plot("Drops", title, Unit::Count, vec![drops]);
        Plot { nothing, ..plot }.markup()
    }

    fn broker_cores(&self) -> Markup {
        let cores = self.middles("busy", 4, Style::Area, |moment| moment.broker_cores);
        self.plot("Broker CPU", "busy cores", Unit::Cores, vec![cores]).markup()
    }

    fn broker_memory(&self) -> Markup {
        let mut resident = self.ends("resident", 5, Style::Area, |moment| moment.broker_resident);
        // No process has none: it was not looked at yet.
        for point in resident.points.iter_mut().filter(|point| point.value == Some(0.0)) {
            *point = Point::unknown(point.x);
        }
        self.plot("Broker memory", "resident bytes", Unit::Bytes, vec![resident]).markup()
    }

    fn plot<'b>(
        &self,
        title: &'b str,
        y_title: &'b str,
        unit: Unit,
        series: Vec<Series>,
    ) -> Plot<'b> {
        let max = series.iter().map(Series::max).fold(0.0, f64::max);
        // Where there is nothing, an axis to one says so.
        let max = if max > 0.0 { max } else { 1.0 };
        let places = self.timeline.moments.iter().map(|moment| Place {
            x: middle(moment),
            called: format!("{:.1} to {:.1} s", moment.from_s, moment.to_s),
        });
        let shades = self.timeline.shades.iter();
        Plot {
            title,
            y_title,
            x_title: self.x_title,
            x: self.x.clone(),
            y: Axis::linear(0.0, max, 5, unit),
            unit,
            series,
            shades: shades.map(|shade| (shade.from_s, shade.to_s, shade.name)).collect(),
            places: places.collect(),
            nothing: None,
        }
    }

    fn rates(
        &self,
        name: &str,
        colour: usize,
        style: Style,
        of: impl Fn(&Moment) -> Spread,
    ) -> Series {
        let moments = self.timeline.moments.iter();
        let points = moments.map(|moment| {
            let Spread { low, mean, high } = of(moment);
            Point { low: Some(low), high: Some(high), ..Point::new(middle(moment), mean) }
        });
        Series::new(name, colour, style, points.collect())
    }

    fn times(
        &self,
        name: &str,
        colour: usize,
        style: Style,
        of: impl Fn(&Moment) -> Option<f64>,
    ) -> Series {
        let points = self.timeline.moments.iter().map(|moment| match of(moment) {
            Some(time) => Point::new(middle(moment), time),
            None => Point::unknown(middle(moment)),
        });
        Series::new(name, colour, style, points.collect())
    }

    /// What holds for a whole moment is drawn in its middle,
    fn middles(
        &self,
        name: &str,
        colour: usize,
        style: Style,
        of: impl Fn(&Moment) -> f64,
    ) -> Series {
        let moments = self.timeline.moments.iter();
        let points = moments.map(|moment| Point::new(middle(moment), of(moment)));
        Series::new(name, colour, style, points.collect())
    }

    /// and what was seen at its end there.
    fn ends(&self, name: &str, colour: usize, style: Style, of: impl Fn(&Moment) -> f64) -> Series {
        let moments = self.timeline.moments.iter();
        let points = moments.map(|moment| Point::new(moment.to_s, of(moment)));
        Series::new(name, colour, style, points.collect())
    }
}

fn middle(moment: &Moment) -> f64 {
    f64::midpoint(moment.from_s, moment.to_s)
}

/// From the least to the most of all `series`.
fn logarithmic(series: &[Series]) -> Axis {
    let least = series.iter().filter_map(Series::least).reduce(f64::min).unwrap_or(100.0);
    let most = series.iter().map(Series::max).fold(least, f64::max);
    Axis::log(least, most, Unit::Micros)
}

/// Points of the distribution as nines and microseconds, rising; made from the percentiles if
/// there are none. The last of `count` values has as many nines as `count` has zeros.
fn points(latency: &Latency) -> Vec<(f64, f64)> {
    if latency.count == 0 {
        return Vec::new();
    }
    let end = (latency.count.max(10) as f64).log10().min(MOST_NINES);
    let percentiles = [
        (0.0, latency.min_us),
        (0.5, latency.p50_us),
        (0.9, latency.p90_us),
        (0.99, latency.p99_us),
        (0.999, latency.p999_us),
        (1.0, latency.max_us),
    ];
    let known = &latency.distribution;
    let known = if known.is_empty() { &percentiles[..] } else { &known[..] };
    let mut points: Vec<_> = known
        .iter()
        .filter(|(share, time)| (0.0..=1.0).contains(share) && time.is_finite() && *time > 0.0)
        .map(|(share, time)| ((-(1.0 - share).log10()).clamp(0.0, end), *time))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points
}

/// The time at `nines`, on the straight line between the points beside it.
fn between(points: &[(f64, f64)], nines: f64) -> f64 {
    let above = points.partition_point(|(known, _)| *known < nines);
    let Some(&(right, high)) = points.get(above) else {
        return points.last().map_or(f64::NAN, |(_, time)| *time);
    };
    let Some(&(left, low)) = above.checked_sub(1).and_then(|below| points.get(below)) else {
        return high;
    };
    if right <= left { high } else { low + (high - low) * (nines - left) / (right - left) }
}

/// A number of nines as the share that it stands for, in percent: 3 is `99.90 %`.
fn share(nines: f64, end: f64) -> String {
    if nines >= end {
        return "100 %".to_owned();
    }
    let places = nines.clamp(0.0, 10.0) as usize;
    format!("{:.places$} %", (1.0 - 10f64.powf(-nines)) * 100.0)
}

/// More than a plot has pixels for are of no use.
const MOMENTS_MAX: usize = 300;

/// More nines than these say nothing to anybody.
const MOST_NINES: f64 = 8.0;

/// Points of a distribution's curve.
const CURVE_STEPS: u32 = 240;

/// Where one line is so many times as high as the other, the lower is not readable.
const DWARFED: f64 = 12.0;

/// Minutes are counted from so many of them on, hours too.
const LEAST_UNITS: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(count: u64) -> Latency {
        let distribution = vec![(0.0, 10.0), (0.5, 20.0), (0.9, 40.0), (1.0, 100.0)];
        Latency { count, distribution, max_us: 100.0, ..Latency::default() }
    }

    #[test]
    fn a_distribution_is_read_between_its_points() {
        let points = points(&latency(100));
        assert_eq!(between(&points, 0.0), 10.0);
        assert_eq!(between(&points, 0.5f64.log10().abs()), 20.0);
        assert!((between(&points, 1.0) - 40.0).abs() < 1e-9);
        assert!((between(&points, 1.5) - 70.0).abs() < 1e-9);
        assert_eq!(between(&points, 2.0), 100.0);
        assert!(between(&[], 0.5).is_nan());
    }

    #[test]
    fn a_curve_of_fewer_values_ends_earlier_and_with_its_own_largest() {
        let html =
            distribution("two", "time", &[("many", &latency(1_000_000)), ("few", &latency(100))]);
        let html = html.expect("a plot").into_string();
        let ends = html.split("class=\"line").skip(1).map(|line| {
            let path = line.split('"').nth(2).expect("a path");
            path.rsplit('L').next().expect("a point").to_owned()
        });
        let ends: Vec<_> = ends.collect();
        // 100 µs is the top of the axis.
        assert_eq!(ends, ["1000 0", "333.3 0"], "{html}");
    }

    #[test]
    fn only_what_was_measured_is_drawn() {
        let none = Latency::default();
        assert!(distribution("none", "time", &[("a", &none), ("b", &none)]).is_none());
        let html = distribution("some", "time", &[("a", &none), ("b", &latency(100))]);
        let html = html.expect("a plot").into_string();
        assert_eq!(html.matches("class=\"line").count(), 1);
        assert!(!html.contains("NaN"));
    }

    #[test]
    fn percentiles_alone_make_a_distribution_too() {
        let latency = Latency {
            count: 5,
            min_us: 1.0,
            p50_us: 2.0,
            p90_us: 3.0,
            p99_us: 4.0,
            p999_us: 4.0,
            max_us: 4.0,
            ..Latency::default()
        };
        assert_eq!(points(&latency).len(), 6);
    }

    #[test]
    fn a_share_has_the_digits_that_its_nines_need() {
        assert_eq!(share(0.5f64.log10().abs(), 6.0), "50 %");
        assert_eq!(share(2.5, 6.0), "99.68 %");
        assert_eq!(share(3.0, 6.0), "99.900 %");
        assert_eq!(share(6.0, 6.0), "100 %");
    }
}
