//! What a run proves, in one sentence.

use super::unit::plural;
use crate::outcome::Outcome;

/// What a run proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How good it is.
    pub grade: Grade,
    /// In a sentence.
    pub sentence: String,
    /// What is allowed but worth knowing, if the sentence does not say it.
    pub remarks: String,
}

impl Verdict {
    /// Of one run.
    pub fn new(outcome: &Outcome) -> Verdict {
        let findings = findings(outcome);
        let grade = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Good);
        let sentence = match grade {
            Grade::Good => good(outcome),
            Grade::Remarkable => format!("Nothing is wrong, but: {}", sum(&findings, grade)),
            Grade::Bad => format!("Something is wrong: {}", sum(&findings, grade)),
        };
        let told = grade != Grade::Bad;
        let remarks = if told { String::new() } else { sum(&findings, Grade::Remarkable) };
        Verdict { grade, sentence, remarks }
    }

    /// Of several runs together: the worst of each.
    pub fn of_all(outcomes: &[Outcome]) -> Verdict {
        let verdicts: Vec<_> = outcomes.iter().map(Verdict::new).collect();
        let grade = verdicts.iter().map(|verdict| verdict.grade).max();
        let count = |grade| verdicts.iter().filter(|verdict| verdict.grade == grade).count() as u64;
        let sentence = match grade {
            None => "No run, so nothing is known".to_owned(),
            Some(_) if verdicts.len() == 1 => verdicts[0].sentence.clone(),
            Some(Grade::Good) => {
                let expected = outcomes.iter().map(|outcome| outcome.traffic.expected).sum();
                let copies = plural(expected, "copy", "copies");
                format!("{} runs, {copies}: each arrived once, in order, unchanged", verdicts.len())
            }
            Some(Grade::Remarkable) => {
                let some = plural(count(Grade::Remarkable), "run", "runs");
                format!("Nothing is wrong; {some} of {} with remarks", verdicts.len())
            }
            Some(Grade::Bad) => {
                let some = plural(count(Grade::Bad), "run", "runs");
                format!("Something is wrong in {some} of {}", verdicts.len())
            }
        };
        let grade = grade.unwrap_or(Grade::Remarkable);
        let remarks = match verdicts.as_slice() {
            [one] => one.remarks.clone(),
            _ => String::new(),
        };
        Verdict { grade, sentence, remarks }
    }
}

/// Something that is not as one would wish.
struct Finding {
    grade: Grade,
    /// In a few words: `3 copies lost`.
    words: String,
}

/// From good to bad.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// As it should be.
    Good,
    /// Allowed, but worth knowing.
    Remarkable,
    /// Something that must not happen did.
    Bad,
}

fn findings(outcome: &Outcome) -> Vec<Finding> {
    let verification = &outcome.verification;
    let connections = &outcome.connections;
    let lost = verification.lost.saturating_sub(verification.lost_qos0);
    let again = verification.duplicates.saturating_sub(verification.duplicates_allowed);
    let copies = |count| plural(count, "copy", "copies");
    let wanted = |count| plural(count, "connection", "connections");
    let loss = if connections.may_be_lost { Grade::Remarkable } else { Grade::Bad };
    let rows = [
        (Grade::Bad, lost, format!("{} lost", copies(lost))),
        (Grade::Bad, verification.corrupt, format!("{} corrupt", copies(verification.corrupt))),
        (Grade::Bad, again, format!("{} arrived again", copies(again))),
        (
            Grade::Bad,
            verification.reordered,
            format!("{} out of order", copies(verification.reordered)),
        ),
        (
            Grade::Bad,
            verification.misrouted,
            format!("{} where nobody had asked for it", copies(verification.misrouted)),
        ),
        (
            Grade::Remarkable,
            verification.lost_qos0,
            format!("{} of QoS 0 lost", copies(verification.lost_qos0)),
        ),
        (
            Grade::Remarkable,
            verification.duplicates_allowed,
            format!(
                "{} sent again after a lost connection",
                copies(verification.duplicates_allowed)
            ),
        ),
        (
            Grade::Remarkable,
            outcome.traffic.refused,
            format!(
                "{} refused by the broker",
                plural(outcome.traffic.refused, "PUBLISH", "PUBLISHes")
            ),
        ),
        (Grade::Bad, connections.failed, format!("{} failed", wanted(connections.failed))),
        (loss, connections.lost, format!("{} lost", wanted(connections.lost))),
    ];
    let found = rows.into_iter().filter(|(_, count, _)| *count > 0);
    let counted = found.map(|(grade, _, words)| Finding { grade, words });
    let interrupted = outcome.is_interrupted.then(|| "the run was interrupted".to_owned());
    let unmet = outcome.unmet.iter().map(|unmet| format!("required is {unmet}"));
    let others = interrupted.into_iter().chain(outcome.nothing_happened()).chain(unmet);
    counted.chain(others.map(|words| Finding { grade: Grade::Bad, words })).collect()
}

fn sum(findings: &[Finding], grade: Grade) -> String {
    let words = findings.iter().filter(|finding| finding.grade == grade);
    words.map(|finding| finding.words.as_str()).collect::<Vec<_>>().join(", ")
}

fn good(outcome: &Outcome) -> String {
    match outcome.traffic.expected {
        0 => {
            let opened = plural(outcome.connections.opened, "connection", "connections");
            format!("{opened} opened, none failed, none lost")
        }
        1 => "The one copy arrived once and unchanged".to_owned(),
        expected => {
            let copies = plural(expected, "copy", "copies");
            format!("All {copies} arrived: once, in order, unchanged")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::passes;

    fn check(change: impl Fn(&mut Outcome), grade: Grade, sentence: &str) {
        let mut outcome = Outcome::default();
        outcome.traffic.expected = 1000;
        change(&mut outcome);
        let verdict = Verdict::new(&outcome);
        assert_eq!((verdict.grade, verdict.sentence.as_str()), (grade, sentence));
    }

    #[test]
    fn a_clean_run_says_what_it_proves() {
        check(|_| {}, Grade::Good, "All 1,000 copies arrived: once, in order, unchanged");
        let idle = |outcome: &mut Outcome| {
            outcome.traffic.expected = 0;
            outcome.connections.opened = 18_000;
        };
        check(idle, Grade::Good, "18,000 connections opened, none failed, none lost");
    }

    #[test]
    fn every_fault_is_named_for_what_it_is() {
        check(|o| o.verification.lost = 1, Grade::Bad, "Something is wrong: 1 copy lost");
        check(|o| o.verification.corrupt = 2, Grade::Bad, "Something is wrong: 2 copies corrupt");
        let again = |outcome: &mut Outcome| {
            outcome.verification.duplicates = 5;
            outcome.verification.duplicates_allowed = 2;
            outcome.verification.reordered = 1;
        };
        let sentence = "Something is wrong: 3 copies arrived again, 1 copy out of order";
        check(again, Grade::Bad, sentence);
        let mut outcome = Outcome::default();
        again(&mut outcome);
        let remarks = "2 copies sent again after a lost connection";
        assert_eq!(Verdict::new(&outcome).remarks, remarks);
        let sentence = "Something is wrong: 1 copy where nobody had asked for it";
        check(|o| o.verification.misrouted = 1, Grade::Bad, sentence);
    }

    #[test]
    fn what_is_allowed_is_a_remark() {
        let dropped = |outcome: &mut Outcome| {
            outcome.verification.lost = 7;
            outcome.verification.lost_qos0 = 7;
        };
        let sentence = "Nothing is wrong, but: 7 copies of QoS 0 lost";
        check(dropped, Grade::Remarkable, sentence);
        let sentence = "Nothing is wrong, but: 1 PUBLISH refused by the broker, 2 connections lost";
        let refused = |outcome: &mut Outcome| {
            outcome.traffic.refused = 1;
            outcome.connections.lost = 2;
            outcome.connections.may_be_lost = true;
        };
        check(refused, Grade::Remarkable, sentence);
    }

    #[test]
    fn connections_that_end_are_wrong_unless_the_scenario_is_about_it() {
        let sentence = "Something is wrong: 1 connection failed, 2 connections lost";
        let lost = |outcome: &mut Outcome| {
            outcome.connections.failed = 1;
            outcome.connections.lost = 2;
        };
        check(lost, Grade::Bad, sentence);
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_not_good() {
        let about = |change: fn(&mut Outcome)| {
            let mut outcome = Outcome { is_about_messages: true, ..Outcome::default() };
            outcome.connections.opened = 2;
            change(&mut outcome);
            assert_eq!(Verdict::new(&outcome).grade == Grade::Bad, !passes(&outcome));
            (Verdict::new(&outcome).sentence, crate::table::verdict(&outcome))
        };
        for (change, words) in [
            ((|_| {}) as fn(&mut Outcome), "no message was published, so nothing is proven"),
            (
                |outcome| {
                    let traffic = &mut outcome.traffic;
                    (traffic.published, traffic.acknowledged, traffic.refused) = (9, 9, 9);
                },
                "the broker refused every PUBLISH, so nothing is proven",
            ),
            (
                |outcome| outcome.traffic.published = 9,
                "nothing was acknowledged or expected, so nothing is proven",
            ),
        ] {
            let (page, table) = about(change);
            assert!(page.starts_with("Something is wrong: ") && page.contains(words), "{page}");
            assert_eq!(table, format!("FAILED: {words}"));
        }
        let (_, table) = about(|outcome| {
            outcome.traffic.expected = 1;
            outcome.unmet.push("p99<5ms: it is 7.000ms".to_owned());
        });
        assert_eq!(table, "FAILED: required is p99<5ms: it is 7.000ms");
        let (_, table) = about(|outcome| {
            outcome.traffic.expected = 1;
            outcome.is_interrupted = true;
        });
        assert!(table.starts_with("INTERRUPTED"), "{table}");
        // Absent subscribers: what was acknowledged is what was proven.
        let (_, table) = about(|outcome| {
            (outcome.traffic.published, outcome.traffic.acknowledged) = (9, 8);
            outcome.traffic.refused = 2;
        });
        assert!(table.starts_with("passed, with PUBLISHes that the broker refused"), "{table}");
    }

    /// Each counter by itself, large and small: bad is what the exit code calls a failure.
    #[test]
    fn the_page_and_the_exit_code_agree() {
        let counters: [fn(&mut Outcome) -> &mut u64; 10] = [
            |outcome| &mut outcome.verification.lost,
            |outcome| &mut outcome.verification.lost_qos0,
            |outcome| &mut outcome.verification.duplicates,
            |outcome| &mut outcome.verification.duplicates_allowed,
            |outcome| &mut outcome.verification.reordered,
            |outcome| &mut outcome.verification.corrupt,
            |outcome| &mut outcome.verification.misrouted,
            |outcome| &mut outcome.traffic.refused,
            |outcome| &mut outcome.connections.failed,
            |outcome| &mut outcome.connections.lost,
        ];
        for chosen in 0u32..1 << (counters.len() + 1) {
            let mut outcome = Outcome::default();
            for (place, counter) in counters.iter().enumerate() {
                *counter(&mut outcome) = u64::from(chosen >> place & 1) * 3;
            }
            outcome.connections.may_be_lost = chosen >> counters.len() == 1;
            let verification = &mut outcome.verification;
            // The allowed are among the others.
            verification.lost = verification.lost.max(verification.lost_qos0);
            verification.duplicates = verification.duplicates.max(verification.duplicates_allowed);
            let bad = Verdict::new(&outcome).grade == Grade::Bad;
            assert_eq!(bad, !passes(&outcome), "{outcome:?}");
        }
    }

    #[test]
    fn several_runs_are_as_good_as_the_worst() {
        let mut good = Outcome::default();
        good.traffic.expected = 500;
        let mut bad = Outcome::default();
        bad.verification.lost = 1;
        assert_eq!(Verdict::of_all(&[]).grade, Grade::Remarkable);
        let verdict = Verdict::of_all(&[good.clone(), good.clone()]);
        assert_eq!(verdict.grade, Grade::Good);
        let sentence = "2 runs, 1,000 copies: each arrived once, in order, unchanged";
        assert_eq!(verdict.sentence, sentence);
        let verdict = Verdict::of_all(&[good.clone(), bad, good]);
        assert_eq!(verdict.grade, Grade::Bad);
        assert_eq!(verdict.sentence, "Something is wrong in 1 run of 3");
    }
}
