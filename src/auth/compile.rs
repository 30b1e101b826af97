//! The rules of one client: those whose conditions it fits, their places filled in.

use super::filters::{NONE, RuleFilters};
use super::rules::{PUBLISH, Person, RECEIVE, RuleTable, SUBSCRIBE, TableRule};
use crate::codec::QoS;
use crate::config::{Placeholder, TopicTemplate};
use crate::message::{RuleId, Standing};
use crate::session::{Asked, Decision};
use crate::topic::EXCLUSIVE;

/// The rules of one client.
#[derive(Debug)]
pub(super) struct Compiled {
    pub generation: u32,
    /// See [`crate::message::Identity::access_key`].
    pub key: u64,
    /// Whether a decision depends on the size of a message.
    pub is_sized: bool,
    /// There are no rules but those that are shipped.
    is_plain: bool,
    rules: Vec<Active>,
    filters: RuleFilters,
    /// The place of what holds where no rule fits, and whether that is to be allowed.
    default: (u32, bool),
}

/// A rule of the client.
#[derive(Debug)]
struct Active {
    /// In the table.
    place: u32,
    allow: bool,
    actions: u8,
    qos_max: u8,
    retain: Option<bool>,
    bytes_max: u64,
}

/// What is asked, as rules are compared with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// [`PUBLISH`], [`SUBSCRIBE`] or [`RECEIVE`].
    pub action: u8,
    /// The topic, or the filter without its share name. An exclusive filter is asked for whole.
    pub text: &'a str,
    pub qos: u8,
    pub retain: bool,
    pub bytes: u64,
}

impl<'a> Question<'a> {
    #[inline]
    pub fn of(asked: &Asked<'a>) -> Question<'a> {
        let qos = |qos: QoS| qos as u8;
        match *asked {
            Asked::Publish { topic, qos: asked, retain, bytes } => {
                let (action, text, bytes) = (PUBLISH, topic.as_str(), bytes as u64);
                Question { action, text, qos: qos(asked), retain, bytes }
            }
            Asked::Receive { topic, qos: asked, retain, bytes } => {
                let (action, text, bytes) = (RECEIVE, topic.as_str(), bytes as u64);
                Question { action, text, qos: qos(asked), retain, bytes }
            }
            Asked::Subscribe { filter, qos: asked } => {
                let whole = filter.is_exclusive();
                let text = if whole { filter.as_str() } else { filter.pattern() };
                let action = SUBSCRIBE;
                Question { action, text, qos: qos(asked), retain: false, bytes: 0 }
            }
        }
    }
}

impl Question<'_> {
    /// It asks for an exclusive filter: what holds where no rule fits does not give that.
    pub fn is_exclusive(&self) -> bool {
        self.action == SUBSCRIBE && self.text.starts_with(EXCLUSIVE)
    }

    /// As it is asked where there are no rules, if `plain`: an exclusive filter is as any.
    pub fn where_plain(self, plain: bool) -> Self {
        match self.text.strip_prefix(EXCLUSIVE) {
            Some(text) if plain && self.action == SUBSCRIBE => Self { text, ..self },
            _ => self,
        }
    }
}

impl Compiled {
    /// Those of `table` that hold for a client.
    pub fn new(table: &RuleTable, person: Person<'_>, key: u64) -> Compiled {
        let mut compiled = Compiled {
            generation: table.generation,
            key,
            is_sized: false,
            is_plain: table.is_plain(),
            rules: Vec::new(),
            filters: RuleFilters::new(),
            default: (table.rules.len() as u32, table.allows),
        };
        for (place, rule) in table.rules.iter().enumerate() {
            if table.miss(rule, person).is_none() {
                compiled.add(place as u32, rule, filters(table, rule, person));
            }
        }
        compiled
    }

    fn add(&mut self, place: u32, rule: &TableRule, filters: Option<Vec<String>>) {
        let at = self.rules.len() as u32;
        match filters {
            None if rule.allow => self.filters.add("#", at),
            None => self.filters.add_everything(at),
            Some(filters) => filters.iter().for_each(|filter| self.filters.add(filter, at)),
        }
        let says = &rule.says;
        self.is_sized |= says.bytes_max.is_some();
        self.rules.push(Active {
            place,
            allow: rule.allow,
            actions: rule.actions,
            qos_max: says.qos_max.unwrap_or(u8::MAX),
            retain: says.retain,
            bytes_max: says.bytes_max.map_or(u64::MAX, |size| size.0),
        });
    }

    /// The decision: that of the first rule that fits.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let question = &question.where_plain(self.is_plain);
        let fits = |at: u32| self.rules[at as usize].fits(question);
        let at = match question.action {
            SUBSCRIBE => self.filters.of_filter(question.text, fits),
            _ => self.filters.of_name(question.text, fits),
        };
        let (place, allow) = match at {
            NONE => (self.default.0, self.default.1 && !question.is_exclusive()),
            at => (self.rules[at as usize].place, self.rules[at as usize].allow),
        };
        Decision::by(allow, RuleId { generation: self.generation, place })
    }
}

impl Active {
    #[inline]
    fn fits(&self, question: &Question<'_>) -> bool {
        self.actions & question.action != 0
            && question.qos <= self.qos_max
            && self.retain.is_none_or(|retain| retain == question.retain)
            && question.bytes <= self.bytes_max
    }
}

/// The filters of a rule for a client; `None`: every topic.
///
/// A value that cannot be used makes its filter fit nothing, or more where that is the safe side: see
/// [`TopicTemplate::fill`].
pub(super) fn filters(
    table: &RuleTable,
    rule: &TableRule,
    person: Person<'_>,
) -> Option<Vec<String>> {
    let templates = rule.topics.as_ref()?;
    let past = *person.standing == Standing::Past;
    let mut filters = Vec::new();
    for template in templates {
        if !template.has(&Placeholder::Group) {
            filters.extend(fill(template, rule.allow, past, person, None));
            continue;
        }
        let pattern = rule.says.group.as_deref().unwrap_or("*").as_bytes();
        let meant = |name: &&str| crate::broker::classes::matches(pattern, name);
        let groups: Vec<_> = table.groups_of(person).filter(meant).collect();
        if groups.is_empty() {
            filters.extend(fill(template, rule.allow, past, person, None));
        }
        let filled = groups.iter().map(|name| fill(template, rule.allow, past, person, Some(name)));
        filters.extend(filled.flatten());
    }
    // A filter counts once.
    filters.sort();
    filters.dedup();
    Some(filters)
}

fn fill(
    template: &TopicTemplate,
    allow: bool,
    past: bool,
    person: Person<'_>,
    group: Option<&str>,
) -> Option<String> {
    let identity = person.identity;
    let of = person.circumstances();
    let value = |placeholder: &Placeholder| match placeholder {
        Placeholder::User => identity.user_name.as_deref(),
        Placeholder::Client => Some(identity.client_id.as_str()),
        Placeholder::Certificate => of.and_then(|of| of.certificate.as_deref()),
        Placeholder::Group => group,
        Placeholder::Claim(name) => {
            let claim = of?.claims.iter().find(|(own, _)| **own == **name)?;
            Some(&*claim.1)
        }
    };
    let names =
        |placeholder: &Placeholder| matches!(placeholder, Placeholder::User | Placeholder::Client);
    // Of what is past the names alone are known.
    template.fill(value, |placeholder| if past { allow && !names(placeholder) } else { !allow })
}
