//! Rules as they are written.

use std::fmt::{self, Write};

use toml::Value;

use super::sections::quoted;
use crate::topic::{TopicFilter, TopicLimits};

/// The topics that `#` does not match, of those that everything is allowed of.
const SYSTEM: &str = "$SYS/#";

/// To be sent messages, to publish, both, to subscribe, everything.
pub const RECEIVE: &[&str] = &["receive"];
pub const PUBLISH: &[&str] = &["publish"];
pub const MESSAGES: &[&str] = &["publish", "receive"];
pub const SUBSCRIBE: &[&str] = &["subscribe"];
pub const ALL: &[&str] = &["all"];

/// Which clients a rule is for: all conditions that are set must fit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleClients {
    user: Option<String>,
    group: Option<String>,
    client_id: Option<String>,
    listener: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq)]
struct WrittenRule {
    allows: bool,
    actions: &'static [&'static str],
    clients: RuleClients,
    topics: Vec<String>,
}

/// Rules in their order, and groups of users.
#[derive(Clone, Debug, Default)]
pub struct WrittenRules {
    rules: Vec<WrittenRule>,
    groups: Vec<(String, Vec<String>)>,
}

impl RuleClients {
    /// All clients, or those of a listener.
    pub fn of(listener: Option<&str>) -> RuleClients {
        RuleClients { listener: listener.map(str::to_owned), ..RuleClients::default() }
    }

    /// Those of them that are in this group.
    pub fn with_group(&self, group: &str) -> RuleClients {
        RuleClients { group: Some(group.to_owned()), ..self.clone() }
    }

    /// Those of them that have this Client Identifier: a pattern.
    pub fn with_client_id(&self, id: &str) -> RuleClients {
        RuleClients { client_id: Some(id.to_owned()), ..self.clone() }
    }

    /// Those of them that have this user name: a pattern.
    pub fn with_user(&self, user: &str) -> RuleClients {
        RuleClients { user: Some(user.to_owned()), ..self.clone() }
    }
}

impl WrittenRules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Adds a group of users with these roles, and gives it a name.
    pub fn add_group(&mut self, roles: &str, users: &[&str]) -> String {
        let name = format!("{}: {roles}", self.groups.len() + 1);
        let users = users.iter().map(|&user| user.to_owned()).collect();
        self.groups.push((name.clone(), users));
        name
    }

    /// Adds a rule, or its topic to the last one, if that is the same otherwise.
    pub fn add(
        &mut self,
        allows: bool,
        actions: &'static [&'static str],
        clients: &RuleClients,
        topic: &str,
    ) {
        let topic = topic.to_owned();
        match self.rules.last_mut() {
            Some(last)
                if (last.allows, last.actions, &last.clients) == (allows, actions, clients)
                    && !last.topics.is_empty() =>
            {
                if !last.topics.contains(&topic) {
                    last.topics.push(topic);
                }
            }
            _ => self.rules.push(WrittenRule {
                allows,
                actions,
                clients: clients.clone(),
                topics: vec![topic],
            }),
        }
    }

    /// Adds a rule for all topics.
    pub fn add_all(
        &mut self,
        allows: bool,
        actions: &'static [&'static str],
        clients: &RuleClients,
    ) {
        let topics = if allows { vec!["#".to_owned(), SYSTEM.to_owned()] } else { Vec::new() };
        self.rules.push(WrittenRule { allows, actions, clients: clients.clone(), topics });
    }
}

/// Whether it is a Topic Filter.
pub fn is_filter(text: &str) -> bool {
    TopicFilter::parse(text, &TopicLimits { bytes_max: 65_535, levels_max: 65_535 }).is_ok()
}

/// A topic of mosquitto as a rule has it. In one of a `pattern`, `%u` and `%c` stand for what they do here.
pub fn topic(text: &str, is_pattern: bool) -> String {
    let text = text.replace('%', "%%");
    if !is_pattern {
        return text;
    }
    text.replace("%%u", "%u").replace("%%c", "%c")
}

impl fmt::Display for WrittenRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Made by `sluice import mosquitto`. The first rule that fits decides.\n")?;
        let list = |texts: &[String]| Value::Array(texts.iter().map(|text| quoted(text)).collect());
        for (name, users) in &self.groups {
            writeln!(f, "\n[[group]]\nname = {}\nusers = {}", quoted(name), list(users))?;
        }
        for rule in &self.rules {
            let actions: Vec<String> =
                rule.actions.iter().map(|&action| action.to_owned()).collect();
            let key = if rule.allows { "allow" } else { "deny" };
            writeln!(f, "\n[[rule]]\n{key} = {}", list(&actions))?;
            let mut conditions = String::new();
            let of = &rule.clients;
            for (key, text) in [
                ("user", &of.user),
                ("group", &of.group),
                ("client_id", &of.client_id),
                ("listener", &of.listener),
            ] {
                if let Some(text) = text {
                    writeln!(conditions, "{key} = {}", quoted(text))?;
                }
            }
            f.write_str(&conditions)?;
            if !rule.topics.is_empty() {
                writeln!(f, "topics = {}", list(&rule.topics))?;
            }
        }
        Ok(())
    }
}
