//! What `/metrics` tells, by the text of each series.

use std::collections::{BTreeMap, BTreeSet};

/// Values by series, as they are written: `name{label="value"}`.
#[derive(Debug)]
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    pub fn read(text: &str) -> Samples {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut samples = BTreeMap::new();
        for line in lines {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let value = value.parse().expect("a number");
            let series = with_plain_bound(series);
            assert_eq!(samples.insert(series.clone(), value), None, "{series} is there twice");
        }
        Samples(samples)
    }

    pub fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    pub fn series(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// The names of the families that there are samples of.
    pub fn families(&self) -> Vec<String> {
        let names = self.0.keys().map(|series| series.split('{').next().expect("a name"));
        let names: BTreeSet<_> = names.map(family_of_series).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    pub fn has_family(&self, family: &str) -> bool {
        self.families().iter().any(|found| found == family)
    }
}

/// The formats write the bound of a bucket differently: `5`, `5.0`; `0.00005`, `5e-05`.
fn with_plain_bound(series: &str) -> String {
    let Some((name, bound)) = series.split_once("le=\"") else { return series.to_owned() };
    let (bound, rest) = bound.split_once('"').expect("a label");
    match bound.parse::<f64>().expect("a number") {
        bound if bound.is_finite() => format!("{name}le=\"{bound}\"{rest}"),
        _ => series.to_owned(),
    }
}

/// The family of a series: a histogram has several.
pub fn family_of_series(name: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The names of ours in a text.
pub fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sluice_")).map(str::to_owned).collect()
}
