//! Why something is allowed or not: every rule, in order, with what it says to it. It looks at rules one by one
//! and is as slow as it is plain: tests compare what is compiled with it.

use super::compile::{Question, filters};
use super::rules::{DEFAULT, Person, RuleTable, TableRule};
use crate::message::RuleId;
use crate::session::Decision;

/// How a decision was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// What the rule is called that decided.
    pub rule: String,
    /// The rules before it, and why each does not fit.
    pub passed_over: Vec<PassedOver>,
}

/// A rule that does not fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PassedOver {
    /// What the rule is called.
    pub rule: String,
    /// Why it does not fit.
    pub why: &'static str,
}

/// Explains what `table` says.
pub(super) fn explain(
    table: &RuleTable,
    person: Person<'_>,
    question: &Question<'_>,
) -> Explanation {
    let question = &question.where_plain(table.is_plain());
    let mut passed_over = Vec::new();
    let decision = |allow, place: usize| {
        Decision::by(allow, RuleId { generation: table.generation, place: place as u32 })
    };
    for (place, rule) in table.rules.iter().enumerate() {
        match miss(table, rule, person, question) {
            None => {
                let (decision, rule) = (decision(rule.allow, place), rule.name().to_owned());
                return Explanation { decision, rule, passed_over };
            }
            Some(why) => passed_over.push(PassedOver { rule: rule.name().to_owned(), why }),
        }
    }
    let decision = decision(table.allows && !question.is_exclusive(), table.rules.len());
    Explanation { decision, rule: DEFAULT.to_owned(), passed_over }
}

/// Why a rule does not fit; `None` if it does.
fn miss(
    table: &RuleTable,
    rule: &TableRule,
    person: Person<'_>,
    question: &Question<'_>,
) -> Option<&'static str> {
    let says = &rule.says;
    let conditions = [
        ("another action", rule.actions & question.action != 0),
        ("QoS above qos_max", says.qos_max.is_none_or(|max| question.qos <= max)),
        ("another RETAIN flag", says.retain.is_none_or(|retain| retain == question.retain)),
        ("more bytes than bytes_max", says.bytes_max.is_none_or(|max| question.bytes <= max.0)),
    ];
    if let Some((why, _)) = conditions.into_iter().find(|(_, fits)| !fits) {
        return Some(why);
    }
    if let Some(why) = table.miss(rule, person) {
        return Some(why);
    }
    let fits = match filters(table, rule, person) {
        Some(filters) => filters.iter().any(|filter| fits(filter, question)),
        None => !rule.allow || fits("#", question),
    };
    (!fits).then_some("another topic")
}

/// Whether a filter fits a name, or covers a filter: a name is a filter that only itself matches.
fn fits(filter: &str, question: &Question<'_>) -> bool {
    if question.text.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let wide: Vec<&str> = filter.split('/').collect();
    let narrow: Vec<&str> = question.text.split('/').collect();
    covers(&wide, &narrow)
}

/// Whether whatever matches `narrow` matches `wide` too.
fn covers(wide: &[&str], narrow: &[&str]) -> bool {
    match (wide, narrow) {
        (["#"], _) | ([], []) => true,
        (["+", wide @ ..], [level, narrow @ ..]) => *level != "#" && covers(wide, narrow),
        ([own, wide @ ..], [level, narrow @ ..]) => {
            own == level && !["+", "#"].contains(level) && covers(wide, narrow)
        }
        _ => false,
    }
}
