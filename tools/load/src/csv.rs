//! The timeline of outcomes as CSV, one line a slice.

use std::fmt::Write;

use crate::outcome::Outcome;

/// The timeline of every outcome, one behind the other.
pub fn csv(outcomes: &[Outcome]) -> String {
    let mut text = String::from(HEADER);
    for outcome in outcomes {
        for sample in &outcome.timeline {
            let _ = writeln!(
                text,
                "{},{},{:.1},{},{},{},{},{},{},{},{:.1},{:.1},{:.1},{:.3},{}",
                outcome.scenario,
                outcome.target,
                sample.at_s,
                sample.phase,
                sample.measured,
                sample.published,
                sample.delivered,
                sample.connections,
                sample.disconnects,
                sample.drops,
                sample.p50_us,
                sample.p99_us,
                sample.max_us,
                sample.broker_cores,
                sample.broker_resident,
            );
        }
    }
    text
}

/// Names of the columns: those of [`Sample`](crate::outcome::Sample).
const HEADER: &str = "scenario,target,at_s,phase,measured,published,delivered,connections,\
disconnects,drops,p50_us,p99_us,max_us,broker_cores,broker_resident\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Sample;

    #[test]
    fn every_line_has_the_columns_of_the_first() {
        let timeline = vec![Sample::default(); 3];
        let outcome = Outcome { scenario: "pair".into(), timeline, ..Outcome::default() };
        let text = csv(&[outcome.clone(), outcome]);
        assert_eq!(text.lines().count(), 7);
        assert!(text.lines().all(|line| line.split(',').count() == 15), "{text}");
    }
}
