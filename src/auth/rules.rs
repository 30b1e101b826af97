//! The rules of access that are in force together, in their order.

use std::net::IpAddr;

use crate::broker::classes::matches;
use crate::config::{
    AccessConfig, AccessDefault, AccessGroup, AccessRule, AuthConfig, RuleAction, RulesFile,
    TopicTemplate,
};
use crate::message::{Circumstances, Identity, RuleId, Standing};

/// What the configuration says of access.
#[derive(Clone, Copy, Debug)]
pub struct RuleSet<'a> {
    /// `[access]`.
    pub access: &'a AccessConfig,
    /// The `[[rule]]`s.
    pub rules: &'a [AccessRule],
    /// `[auth]`: it says for which users the dead letters are.
    pub auth: &'a AuthConfig,
    /// What else was read for it.
    pub read: Option<&'a ReadRules>,
}

/// What is read beside the values of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadRules {
    /// Where each `[[rule]]` of the configuration was written: file and line; empty if that is not known.
    pub origins: Vec<String>,
    /// What `access.rules_file` says.
    pub file: RulesFile,
    /// Where each of its rules stands: file and line.
    pub places: Vec<String>,
}

/// The rules in force: those of the configuration, those of the file, and those that are shipped.
#[derive(Debug)]
pub(super) struct RuleTable {
    pub generation: u32,
    pub rules: Vec<TableRule>,
    groups: Vec<AccessGroup>,
    /// Rules that are not shipped.
    pub own: usize,
    /// What holds where none fits.
    pub allows: bool,
    pub checks_retained: bool,
}

/// One rule.
#[derive(Debug)]
pub(super) struct TableRule {
    pub says: AccessRule,
    pub allow: bool,
    /// Bits of what it allows or denies.
    pub actions: u8,
    /// Its filters; `None`: every topic.
    pub topics: Option<Vec<TopicTemplate>>,
    /// What it is called in logs.
    name: String,
}

/// Bits of [`TableRule::actions`].
pub(super) const PUBLISH: u8 = 1;
pub(super) const SUBSCRIBE: u8 = 2;
pub(super) const RECEIVE: u8 = 4;

/// A client for which rules are looked at.
#[derive(Clone, Copy)]
pub(super) struct Person<'a> {
    pub identity: &'a Identity,
    pub standing: &'a Standing,
}

/// Whether a condition fits, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fit {
    Yes,
    No,
    Unknown,
}

impl RuleTable {
    /// The table of these rules.
    pub fn new(set: &RuleSet<'_>, generation: u32) -> RuleTable {
        let file = set.read.map(|read| &read.file);
        let places = set.read.map_or(&[][..], |read| &read.places);
        let origins = set.read.map_or(&[][..], |read| &read.origins);
        let name = |index: usize| {
            let number = index + 1;
            match origins.get(index).filter(|origin| !origin.is_empty()) {
                Some(origin) => format!("[[rule]] {number} ({origin})"),
                None => format!("[[rule]] {number}"),
            }
        };
        let own = set.rules.iter().enumerate();
        let mut rules: Vec<TableRule> =
            own.map(|(index, rule)| TableRule::new(rule, name(index))).collect();
        let of_file = file.map_or(&[][..], |file| &file.rule).iter().enumerate();
        rules.extend(of_file.map(|(index, rule)| {
            let place = places.get(index).cloned();
            TableRule::new(
                rule,
                place.unwrap_or_else(|| format!("rules_file [[rule]] {}", index + 1)),
            )
        }));
        let own = rules.len();
        let allows = set.access.default_of(own) == AccessDefault::Allow;
        rules.extend(shipped(set.auth, allows));
        let groups = set.access.group.iter().chain(file.map_or(&[][..], |file| &file.group));
        RuleTable {
            generation,
            rules,
            groups: groups.cloned().collect(),
            own,
            allows,
            checks_retained: set.access.check_retain_source,
        }
    }

    /// Whether every client may do everything, but for topics that begin with `$`.
    pub fn is_plain(&self) -> bool {
        self.own == 0 && self.allows
    }

    /// The name of a rule.
    pub fn name(&self, rule: RuleId) -> Option<&str> {
        if rule.generation != self.generation {
            return None;
        }
        let place = rule.place as usize;
        Some(if place == self.rules.len() { DEFAULT } else { &self.rules.get(place)?.name })
    }

    /// The groups of a client.
    pub fn groups_of<'t>(&'t self, person: Person<'t>) -> impl Iterator<Item = &'t str> {
        let of_config = self.groups.iter().filter(move |group| has(group, person) == Fit::Yes);
        let named = person.circumstances().map_or(&[][..], |of| &of.groups);
        of_config.map(|group| group.name.as_str()).chain(named.iter().map(|name| &**name))
    }

    /// Why the conditions of a rule do not fit a client; `None` if they do.
    pub fn miss(&self, rule: &TableRule, person: Person<'_>) -> Option<&'static str> {
        let says = &rule.says;
        let text = |pattern: &Option<String>, text: Evidence<Option<&str>>| match pattern {
            None => Fit::Yes,
            Some(pattern) => text.fit(|text| text.is_some_and(|t| matches(pattern.as_bytes(), t))),
        };
        let identity = person.identity;
        let client = Evidence::Is(Some(identity.client_id.as_str()));
        let conditions = [
            ("another user", text(&says.user, Evidence::Is(identity.user_name.as_deref()))),
            ("another Client Identifier", text(&says.client_id, client)),
            ("another certificate", text(&says.certificate, person.known(certificate))),
            ("another listener", text(&says.listener, person.known(listener))),
            ("another address", self.address(says, person)),
            ("another group", self.group(says, person)),
        ];
        // What is not known fits a rule that denies, and of what is past one that allows.
        let past = *person.standing == Standing::Past;
        let in_doubt = if rule.allow == past { Fit::Yes } else { Fit::No };
        let misses = |fit: Fit| (if fit == Fit::Unknown { in_doubt } else { fit }) == Fit::No;
        conditions.into_iter().find(|(_, fit)| misses(*fit)).map(|(why, _)| why)
    }

    fn address(&self, says: &AccessRule, person: Person<'_>) -> Fit {
        let Some(networks) = &says.address else { return Fit::Yes };
        let within = |address: IpAddr| networks.iter().any(|network| network.contains(address));
        person.known(|of| of.address).fit(|address| address.is_some_and(within))
    }

    fn group(&self, says: &AccessRule, person: Person<'_>) -> Fit {
        let Some(pattern) = &says.group else { return Fit::Yes };
        let meant = |name: &str| matches(pattern.as_bytes(), name);
        if self.groups_of(person).any(meant) {
            return Fit::Yes;
        }
        let mut own = self.groups.iter().filter(|group| meant(&group.name)).peekable();
        // A group that is not declared comes of authentication.
        let elsewhere = own.peek().is_none() && person.circumstances().is_none();
        let in_doubt = elsewhere || own.any(|group| has(group, person) == Fit::Unknown);
        if in_doubt { Fit::Unknown } else { Fit::No }
    }
}

/// What holds where no rule fits.
pub(super) const DEFAULT: &str = "access.default";

impl TableRule {
    fn new(says: &AccessRule, name: String) -> TableRule {
        let bits = |action: &RuleAction| match action {
            RuleAction::Publish => PUBLISH,
            RuleAction::Subscribe => SUBSCRIBE,
            RuleAction::Receive => RECEIVE,
            RuleAction::All => PUBLISH | SUBSCRIBE | RECEIVE,
        };
        // A template that does not parse was refused when the configuration was checked.
        let parse = |texts: &Vec<String>| {
            texts.iter().filter_map(|text| TopicTemplate::parse(text).ok()).collect()
        };
        TableRule {
            allow: says.deny.is_empty(),
            actions: says.actions().iter().map(bits).fold(0, |all, bit| all | bit),
            topics: says.topics.as_ref().map(parse),
            says: says.clone(),
            name,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The rules behind all others: what is said of a client is its own, and dead letters tell what others were
/// sent. `allows`: so does what holds where no rule fits.
fn shipped(auth: &AuthConfig, allows: bool) -> Vec<TableRule> {
    use RuleAction::{Receive, Subscribe};
    let rule = |topics: &[&str]| AccessRule {
        topics: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        ..AccessRule::default()
    };
    let read = vec![Subscribe, Receive];
    let own = AccessRule { allow: read.clone(), ..rule(&["$SYS/broker/clients/%c/#"]) };
    let letters = auth.dead_letter_users.clone().map(|users| AccessRule {
        allow: read.clone(),
        user: Some(users),
        ..rule(&["$dead/#"])
    });
    // One level: how many clients there are, and the like.
    let sums =
        allows.then(|| AccessRule { allow: read.clone(), ..rule(&["$SYS/broker/clients/+"]) });
    let others = AccessRule { deny: read, ..rule(&["$SYS/broker/clients/+/#", "$dead/#"]) };
    let name = |what: &str| format!("shipped: {what}");
    let mut rules = vec![TableRule::new(&own, name("a client may read what is said of itself"))];
    rules.extend(sums.map(|rule| TableRule::new(&rule, name("sums over all clients are for all"))));
    rules.extend(letters.map(|rule| TableRule::new(&rule, "auth.dead_letter_users".to_owned())));
    rules.push(TableRule::new(&others, name("other clients and dead letters are not for all")));
    rules
}

/// Something that may not be known.
enum Evidence<T> {
    Is(T),
    No,
}

impl<T> Evidence<T> {
    fn fit(self, fits: impl FnOnce(T) -> bool) -> Fit {
        match self {
            Evidence::Is(value) => {
                if fits(value) {
                    Fit::Yes
                } else {
                    Fit::No
                }
            }
            Evidence::No => Fit::Unknown,
        }
    }
}

impl<'a> Person<'a> {
    /// What its connection has shown.
    pub fn circumstances(self) -> Option<&'a Circumstances> {
        match self.standing {
            Standing::Of(of) => Some(of),
            Standing::Unknown | Standing::Past => None,
        }
    }

    fn known<T>(self, of: impl FnOnce(&'a Circumstances) -> T) -> Evidence<T> {
        self.circumstances().map_or(Evidence::No, |circumstances| Evidence::Is(of(circumstances)))
    }
}

fn certificate(of: &Circumstances) -> Option<&str> {
    of.certificate.as_deref()
}

fn listener(of: &Circumstances) -> Option<&str> {
    of.listener.as_deref()
}

/// Whether a client is in a group.
fn has(group: &AccessGroup, person: Person<'_>) -> Fit {
    let fits = |patterns: &[String], text: &str| {
        patterns.iter().any(|pattern| matches(pattern.as_bytes(), text))
    };
    let identity = person.identity;
    let user = identity.user_name.as_deref();
    if user.is_some_and(|user| fits(&group.users, user))
        || fits(&group.client_ids, identity.client_id.as_str())
    {
        return Fit::Yes;
    }
    if group.certificates.is_empty() {
        return Fit::No;
    }
    person.known(certificate).fit(|name| name.is_some_and(|name| fits(&group.certificates, name)))
}
