//! Numbers of cells, and what is said of a broker after all rounds: the median.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use crate::broker::Kind;

/// What is measured in a cell.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Figure {
    /// The broker's CPU, in microseconds for each message or connection.
    Cpu,
    /// Messages delivered or connections opened a second.
    Rate,
    /// Latency that half of the messages are within, in microseconds.
    P50,
    /// The same of 99 %.
    P99,
    /// Resident memory for each connection or subscription, in bytes.
    Bytes,
    /// CPU while nothing happens, in percent of a core.
    Rest,
    /// Context switches for each message.
    Switches,
    /// System calls for each message.
    Calls,
    /// Messages lost, doubled, reordered or corrupt.
    Wrong,
}

/// What one cell found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(BTreeMap<Figure, f64>);

/// Which cell.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cell {
    /// From 0.
    pub round: u32,
    /// The row's name.
    pub row: &'static str,
    /// Which broker.
    pub broker: Kind,
}

/// All cells.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<Cell, Figures>);

impl Figures {
    /// Takes a number, if there is one.
    pub fn set(&mut self, figure: Figure, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.0.insert(figure, value);
        }
    }

    /// The number, if it was measured.
    pub fn get(&self, figure: Figure) -> Option<f64> {
        self.0.get(&figure).copied()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (figure, value)) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{figure:?} {value:.2}")?;
        }
        Ok(())
    }
}

impl Results {
    /// Takes what a cell found.
    pub fn add(&mut self, cell: Cell, figures: Figures) {
        self.0.insert(cell, figures);
    }

    /// The median over the rounds.
    pub fn median(&self, row: &str, broker: Kind, figure: Figure) -> Option<f64> {
        median(self.rounds(row, broker, figure).map(|(_, value)| value).collect())
    }

    /// The median over the rounds of the ratio to another broker in the same round.
    pub fn ratio(&self, row: &str, broker: Kind, to: Kind, figure: Figure) -> Option<f64> {
        let others: BTreeMap<u32, f64> = self.rounds(row, to, figure).collect();
        let ratios = self.rounds(row, broker, figure).filter_map(|(round, value)| {
            others.get(&round).filter(|other| **other > 0.0).map(|other| value / other)
        });
        median(ratios.collect())
    }

    /// Every number of every round.
    pub fn to_tsv(&self) -> String {
        let mut text = String::from("round\trow\tbroker\tfigure\tvalue\n");
        for (Cell { round, row, broker }, figures) in &self.0 {
            for (figure, value) in &figures.0 {
                let _ = writeln!(text, "{}\t{row}\t{broker:?}\t{figure:?}\t{value:.4}", round + 1);
            }
        }
        text
    }

    fn rounds<'r>(
        &'r self,
        row: &'r str,
        broker: Kind,
        figure: Figure,
    ) -> impl Iterator<Item = (u32, f64)> + 'r {
        self.0
            .iter()
            .filter(move |(cell, _)| cell.row == row && cell.broker == broker)
            .filter_map(move |(cell, figures)| Some((cell.round, figures.get(figure)?)))
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => None,
        1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round_and_then_the_median() {
        let mut results = Results::default();
        // The machine becomes slower: medians alone would say 3 / 2.
        for (round, relay, sluice) in [(0, 1.0, 2.0), (1, 2.0, 3.0), (2, 8.0, 16.0)] {
            for (broker, value) in [(Kind::Relay, relay), (Kind::Sluice, sluice)] {
                let mut figures = Figures::default();
                figures.set(Figure::Cpu, Some(value));
                results.add(Cell { round, row: "pair", broker }, figures);
            }
        }
        assert_eq!(results.median("pair", Kind::Sluice, Figure::Cpu), Some(3.0));
        assert_eq!(results.ratio("pair", Kind::Sluice, Kind::Relay, Figure::Cpu), Some(2.0));
        assert_eq!(results.ratio("pair", Kind::Rumqttd, Kind::Relay, Figure::Cpu), None);
        assert_eq!(results.median("pair", Kind::Sluice, Figure::Rate), None);
        assert_eq!(results.to_tsv().lines().count(), 7);
    }

    #[test]
    fn a_round_that_one_of_both_lacks_has_no_ratio() {
        let mut results = Results::default();
        for (round, broker, value) in [
            (0, Kind::Relay, 1.0),
            (1, Kind::Relay, 0.0),
            (1, Kind::Sluice, 5.0),
            (2, Kind::Sluice, 7.0),
        ] {
            let mut figures = Figures::default();
            figures.set(Figure::Cpu, Some(value));
            results.add(Cell { round, row: "pair", broker }, figures);
        }
        assert_eq!(results.ratio("pair", Kind::Sluice, Kind::Relay, Figure::Cpu), None);
        assert_eq!(results.median("pair", Kind::Sluice, Figure::Cpu), Some(6.0));
    }
}
