//! Plots. Lines, areas and bars are inline SVG that is stretched to the room there is; what is
//! written beside them is HTML, so that letters keep their size on every screen.

use serde::Serialize;

use super::axis::Axis;
use super::markup::Markup;
use super::unit::Unit;

/// One plot with its title, axes and legend.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the values are: `messages per second`.
    pub y_title: &'a str,
    /// What the places are: `seconds since the start`.
    pub x_title: &'a str,
    /// Of the places.
    pub x: Axis,
    /// Of the values.
    pub y: Axis,
    /// What the values count.
    pub unit: Unit,
    /// Drawn in this order.
    pub series: Vec<Series>,
    /// Shaded parts: from, to, and what they are.
    pub shades: Vec<(f64, f64, &'static str)>,
    /// How the places are called when pointed at; as many as each series has values.
    pub places: Vec<Place>,
    /// Written across it if there is nothing to see.
    pub nothing: Option<&'a str>,
}

impl Plot<'_> {
    /// As a `<figure>`.
    pub fn markup(&self) -> Markup {
        let mut to = Markup::new();
        to.raw("<figure class=\"plot\" data-hover=\"").text(self.hover()).raw("\">");
        to.raw("<figcaption><span class=\"title\">").text(self.title).raw("</span>");
        to.raw("<span class=\"unit\">").text(self.y_title).raw("</span>");
        if self.series.len() > 1 {
            to.raw("<span class=\"legend\">");
            for series in &self.series {
                to.raw("<span><i class=\"key c").text(series.colour);
                to.raw(if series.style == Style::Thin { " thin" } else { "" });
                to.raw("\"></i>").text(&series.name).raw("</span>");
            }
            to.raw("</span>");
        }
        to.raw("</figcaption><div class=\"canvas\">");
        to.append(&self.drawing());
        self.labels(&mut to);
        to.raw("</div><div class=\"x-title\">").text(self.x_title);
        let mut names: Vec<_> = self.shades.iter().map(|(_, _, name)| *name).collect();
        names.dedup();
        if !names.is_empty() {
            to.raw("; shaded: ").text(names.join(" and "));
        }
        to.raw("</div></figure>\n");
        to
    }

    fn drawing(&self) -> Markup {
        let mut to = Markup::new();
        to.raw("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" ");
        to.raw("aria-label=\"").text(self.title).raw(", ").text(self.y_title).raw("\">");
        for (from, until, _) in &self.shades {
            let (from, until) = (self.x.place(*from), self.x.place(*until));
            to.raw("<rect class=\"shade\" y=\"0\" height=\"1000\" x=\"").text(across(from));
            to.raw("\" width=\"").text(across(until - from)).raw("\"/>");
        }
        let mut lines = (String::new(), String::new());
        for tick in self.y.ticks() {
            let lines = if tick.label.is_empty() { &mut lines.1 } else { &mut lines.0 };
            lines.push_str(&format!("M0 {}H1000", down(tick.at)));
        }
        to.raw("<path class=\"grid\" d=\"").text(lines.0).raw("\"/>");
        to.raw("<path class=\"grid lesser\" d=\"").text(lines.1).raw("\"/>");
        let upright = self.x.ticks().iter().map(|tick| format!("M{} 0V1000", across(tick.at)));
        to.raw("<path class=\"grid lesser\" d=\"").text(upright.collect::<String>()).raw("\"/>");
        for series in &self.series {
            to.append(&series.drawing(&self.x, &self.y));
        }
        to.raw("<path class=\"base\" d=\"M0 1000H1000\"/></svg>");
        to
    }

    fn labels(&self, to: &mut Markup) {
        for tick in self.y.ticks().iter().filter(|tick| !tick.label.is_empty()) {
            to.raw("<span class=\"y\" style=\"bottom:").text(share(tick.at));
            to.raw("\">").text(&tick.label).raw("</span>");
        }
        for tick in self.x.ticks() {
            to.raw("<span class=\"x").raw(if tick.spare { " spare" } else { "" });
            to.raw("\" style=\"left:").text(share(tick.at));
            to.raw("\">").text(&tick.label).raw("</span>");
        }
        for (from, until, name) in &self.shades {
            let (from, until) = (self.x.place(*from), self.x.place(*until));
            // A name that is wider than what it names would seem to name its neighbour.
            if until - from >= LEAST_NAMED {
                to.raw("<span class=\"shade-name\" style=\"left:").text(share(from));
                to.raw("\">").text(name).raw("</span>");
            }
        }
        if let Some(nothing) = self.nothing {
            to.raw("<span class=\"nothing\">").text(nothing).raw("</span>");
        }
    }

    /// What is shown when a place is pointed at, for the script of the page.
    fn hover(&self) -> String {
        let rows = self.series.iter().map(|series| {
            let values = series.points.iter().map(|point| match point.value {
                Some(value) => self.unit.text(value),
                None => "–".to_owned(),
            });
            HoverRow {
                name: &series.name,
                colour: format!("c{}", series.colour),
                values: values.collect(),
            }
        });
        let hover = Hover {
            at: self.places.iter().map(|place| rounded(self.x.place(place.x) * 1000.0)).collect(),
            called: self.places.iter().map(|place| place.called.as_str()).collect(),
            rows: rows.collect(),
        };
        serde_json::to_string(&hover).expect("plain data")
    }
}

/// A place that can be pointed at.
#[derive(Clone, Debug)]
pub struct Place {
    /// On the x axis.
    pub x: f64,
    /// How it is called there.
    pub called: String,
}

/// One line, area, band or row of bars.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Which of the page's colours, from 0 to [`COLOURS`] - 1.
    pub colour: usize,
    /// How it is drawn.
    pub style: Style,
    /// In the order of the places.
    pub points: Vec<Point>,
}

impl Series {
    /// With `name`, in the colour of number `colour`.
    pub fn new(name: &str, colour: usize, style: Style, points: Vec<Point>) -> Series {
        Series { name: name.to_owned(), colour: colour % COLOURS, style, points }
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        let values = self.points.iter().filter_map(|point| Some(point.value?.max(point.high?)));
        values.fold(0.0, f64::max)
    }

    /// The smallest value above zero.
    pub fn least(&self) -> Option<f64> {
        let values = self.points.iter().filter_map(|point| point.value);
        values.filter(|value| *value > 0.0).reduce(f64::min)
    }

    fn drawing(&self, x: &Axis, y: &Axis) -> Markup {
        let mut to = Markup::new();
        match self.style {
            Style::Line | Style::Thin => {
                self.band(x, y, &mut to);
                self.line(x, y, &mut to);
            }
            Style::Area => {
                self.area(x, y, &mut to);
                self.line(x, y, &mut to);
            }
            Style::Bars => self.bars(x, y, &mut to),
        }
        to
    }

    fn line(&self, x: &Axis, y: &Axis, to: &mut Markup) {
        let mut path = String::new();
        for run in self.runs() {
            for (index, point) in run.iter().enumerate() {
                let value = point.value.unwrap_or_default();
                let command = if index == 0 { 'M' } else { 'L' };
                let (across, down) = (across(x.place(point.x)), down(y.place(value)));
                path.push_str(&format!("{command}{across} {down}"));
            }
            if run.len() == 1 {
                // A line of no length with round ends is a dot.
                path.push_str("h0");
            }
        }
        to.raw("<path class=\"line c").text(self.colour);
        to.raw(if self.style == Style::Thin { " thin" } else { "" });
        to.raw("\" d=\"").text(path).raw("\"/>");
    }

    fn area(&self, x: &Axis, y: &Axis, to: &mut Markup) {
        let mut path = String::new();
        for run in self.runs() {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            path.push_str(&format!("M{} 1000", across(x.place(first.x))));
            for point in run {
                let value = point.value.unwrap_or_default();
                path.push_str(&format!("L{} {}", across(x.place(point.x)), down(y.place(value))));
            }
            path.push_str(&format!("L{} 1000Z", across(x.place(last.x))));
        }
        to.raw("<path class=\"area c").text(self.colour).raw("\" d=\"").text(path).raw("\"/>");
    }

    /// Between the lowest and the highest value, where points have them.
    fn band(&self, x: &Axis, y: &Axis, to: &mut Markup) {
        let spread =
            |point: &Point| point.low.zip(point.high).is_some_and(|(low, high)| low < high);
        if !self.points.iter().any(spread) {
            return;
        }
        let mut path = String::new();
        for run in self.runs() {
            let upper = run.iter().map(|point| (point.x, point.high.or(point.value)));
            let lower = run.iter().rev().map(|point| (point.x, point.low.or(point.value)));
            for (index, (place, value)) in upper.chain(lower).enumerate() {
                let command = if index == 0 { 'M' } else { 'L' };
                let (across, down) =
                    (across(x.place(place)), down(y.place(value.unwrap_or_default())));
                path.push_str(&format!("{command}{across} {down}"));
            }
            path.push('Z');
        }
        to.raw("<path class=\"area c").text(self.colour).raw("\" d=\"").text(path).raw("\"/>");
    }

    fn bars(&self, x: &Axis, y: &Axis, to: &mut Markup) {
        let mut path = String::new();
        for point in self.points.iter().filter(|point| point.value.is_some_and(|v| v > 0.0)) {
            let place = across(x.place(point.x));
            path.push_str(&format!("M{place} 1000V{}", down(y.place(point.value.unwrap_or(0.0)))));
        }
        to.raw("<path class=\"bars c").text(self.colour).raw("\" d=\"").text(path).raw("\"/>");
    }

    /// The points that have a value, cut where one has none.
    fn runs(&self) -> impl Iterator<Item = &[Point]> {
        self.points.split(|point| point.value.is_none()).filter(|run| !run.is_empty())
    }
}

/// A value at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// On the x axis.
    pub x: f64,
    /// On the y axis; nothing where nothing is known.
    pub value: Option<f64>,
    /// The lowest that the value stands for.
    pub low: Option<f64>,
    /// The highest that the value stands for.
    pub high: Option<f64>,
}

impl Point {
    /// `value` at `x`, if both are numbers.
    pub fn new(x: f64, value: f64) -> Point {
        let value = (x.is_finite() && value.is_finite()).then_some(value);
        Point { x: if x.is_finite() { x } else { 0.0 }, value, low: value, high: value }
    }

    /// Nothing is known at `x`.
    pub fn unknown(x: f64) -> Point {
        Point { x, ..Point::default() }
    }
}

/// How a [`Series`] is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// A line; a band around it where its points stand for more than one value.
    Line,
    /// The same, thinner.
    Thin,
    /// A line with the area below it.
    Area,
    /// A bar for each point above zero.
    Bars,
}

/// Colours that series can have.
pub const COLOURS: usize = 6;

#[derive(Serialize)]
struct Hover<'a> {
    /// In thousandths of the width.
    at: Vec<f64>,
    called: Vec<&'a str>,
    rows: Vec<HoverRow<'a>>,
}

#[derive(Serialize)]
struct HoverRow<'a> {
    name: &'a str,
    colour: String,
    values: Vec<String>,
}

/// A share of the width in the drawing's units.
fn across(share: f64) -> f64 {
    rounded(share * 1000.0)
}

/// A share of the height, from the top.
fn down(share: f64) -> f64 {
    rounded((1.0 - share) * 1000.0)
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn share(share: f64) -> String {
    format!("{}%", (share * 10_000.0).round() / 100.0)
}

const LEAST_NAMED: f64 = 0.11;

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(series: Vec<Series>) -> String {
        let plot = Plot {
            title: "T<tle",
            y_title: "things",
            x_title: "seconds",
            x: Axis::exact(0.0, 10.0, 5, Unit::Seconds.scale(10.0)),
            y: Axis::linear(0.0, 10.0, 5, Unit::Plain),
            unit: Unit::Plain,
            places: vec![Place { x: 5.0, called: "5 s".to_owned() }],
            series,
            shades: vec![(0.0, 2.0, "warm-up"), (9.8, 10.0, "drain")],
            nothing: None,
        };
        plot.markup().into_string()
    }

    #[test]
    fn values_are_drawn_where_the_axes_say() {
        let points = vec![Point::new(0.0, 10.0), Point::new(5.0, 5.0), Point::new(10.0, 0.0)];
        let html = plot(vec![Series::new("a", 0, Style::Line, points)]);
        assert!(html.contains("d=\"M0 0L500 500L1000 1000\""), "{html}");
        assert!(html.contains("bottom:100%\">10</span>"), "{html}");
        assert!(html.contains("left:40%\">4</span>"), "{html}");
    }

    #[test]
    fn a_line_is_cut_where_nothing_is_known_and_a_lonely_point_is_a_dot() {
        let points = vec![Point::new(0.0, 1.0), Point::unknown(1.0), Point::new(2.0, f64::NAN)];
        let html = plot(vec![Series::new("a", 0, Style::Line, points)]);
        assert!(html.contains("d=\"M0 900h0\""), "{html}");
        assert!(!html.contains("NaN"), "{html}");
    }

    #[test]
    fn what_is_too_narrow_for_its_name_is_shaded_without() {
        let html = plot(Vec::new());
        assert!(html.contains(">warm-up</span>") && !html.contains(">drain</span>"), "{html}");
        assert_eq!(html.matches("class=\"shade\"").count(), 2);
    }

    #[test]
    fn names_are_escaped_in_legend_and_hover_text() {
        let point = || vec![Point::new(5.0, 1.0)];
        let name = "\"><script>x</script>";
        let html = plot(vec![
            Series::new(name, 0, Style::Area, point()),
            Series::new(name, 1, Style::Bars, point()),
        ]);
        assert!(!html.contains("<script") && !html.contains("T<tle"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
    }
}
