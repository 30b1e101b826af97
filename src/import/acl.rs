//! mosquitto's access lists, as rules that decide the same.
//!
//! mosquitto looks through the topics of the client's user, or through those of clients without one, and then
//! through the patterns, in each first through what is denied. What nothing allows is denied. Every Subscription
//! is admitted; messages are asked for one by one.

use std::path::Path;

use super::ImportError;
use super::conf::{OptionBlock, SortedConf};
use super::draft::ConfigDraft;
use super::dynsec::DynamicSecurity;
use super::lines;
use super::listener::ServedListener;
use super::plugins::{self, DYNAMIC_SECURITY};
use super::report::{ImportReport, Place};
use super::rules::{self, ALL, MESSAGES, PUBLISH, RECEIVE, RuleClients, SUBSCRIBE, WrittenRules};
use super::sections::quoted;

/// Places of access lists in reports come behind those of password files.
const ORDER: usize = 2_000_000;
/// Those of what dynamic security allows come behind them.
const DYNAMIC_ORDER: usize = 3_000_000;

/// The key that names the file of rules.
const RULES_FILE: &str = "access.rules_file";

/// One `topic` or `pattern`.
#[derive(Debug)]
struct AclEntry {
    place: Place,
    denies: bool,
    actions: &'static [&'static str],
    topic: String,
}

/// What a file says.
#[derive(Debug, Default)]
struct AclList {
    /// In the order of the users' first lines.
    users: Vec<(String, Vec<AclEntry>)>,
    anonymous: Vec<AclEntry>,
    patterns: Vec<AclEntry>,
}

/// Writes the rules of all access lists.
pub fn collect(
    sorted: &SortedConf,
    served: &[ServedListener<'_>],
    names_checked: bool,
    draft: &mut ConfigDraft,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let mut rules = WrittenRules::default();
    let mut lines = sorted.securities().into_iter().flat_map(|block| block.options());
    if let Some(plugin) = lines.find(|line| line.name() == plugins::PLUGIN_UNKNOWN) {
        // What it denied is not known.
        let why = "what it allowed is not known: clients may do nothing until rules say so";
        deny(draft, plugin.place(), why, report);
    }
    let is_limited = |security: &OptionBlock| {
        ["acl_file", DYNAMIC_SECURITY].iter().any(|name| security.get(name).is_some())
    };
    if sorted.is_per_listener() {
        if served.iter().any(|served| is_limited(served.block())) {
            for listener in served {
                let clients = RuleClients::of(Some(listener.name()));
                one(listener.block(), &clients, names_checked, draft, &mut rules, report)?;
            }
        }
    } else if is_limited(sorted.securities()[0]) {
        let all = RuleClients::of(None);
        one(sorted.securities()[0], &all, names_checked, draft, &mut rules, report)?;
    }
    if rules.is_empty() {
        return Ok(());
    }
    draft.files.write("rules.toml", &rules.to_string())?;
    draft.sections.set(RULES_FILE, quoted("rules.toml"));
    draft.sections.set("access.default", "deny");
    Ok(())
}

/// Where nothing allows it, it is denied.
fn deny(draft: &mut ConfigDraft, place: &Place, why: &str, report: &mut ImportReport) {
    draft.sections.set("access.default", "deny");
    report.differs(place, format!("access.default = \"deny\": {why}"));
}

/// Adds the rules for clients of which `security` says what they are asked for.
fn one(
    security: &OptionBlock,
    clients: &RuleClients,
    names_checked: bool,
    draft: &ConfigDraft,
    rules: &mut WrittenRules,
    report: &mut ImportReport,
) -> Result<(), ImportError> {
    let list = security.get("acl_file");
    if let Some(setting) = security.get(DYNAMIC_SECURITY) {
        if let Some(list) = list {
            let why = "dynamic security decides; what this list alone allowed is denied";
            report.missing(list.place(), format!("{}: {why}", list.option()));
        }
        let (dynamic, place) = DynamicSecurity::read(&draft.path(setting.value()), DYNAMIC_ORDER)?;
        let said = format!("{} is {RULES_FILE} = \"rules.toml\"", setting.option());
        report.carried(setting.place(), said);
        dynamic.add_to(rules, clients, &place, report);
        return Ok(());
    }
    let Some(setting) = list else {
        rules.add_all(true, ALL, clients);
        return Ok(());
    };
    let list = AclList::read(&draft.path(setting.value()), report)?;
    if list.is_empty() {
        let why = "it has no topic and no pattern: all is allowed, as mosquitto has it";
        report.carried(setting.place(), format!("{}: {why}", setting.option()));
        rules.add_all(true, ALL, clients);
        return Ok(());
    }
    report
        .carried(setting.place(), format!("{} is {RULES_FILE} = \"rules.toml\"", setting.option()));
    list.add_to(rules, clients, names_checked, report);
    Ok(())
}

impl AclList {
    fn read(path: &Path, report: &mut ImportReport) -> Result<AclList, ImportError> {
        let (text, place) = lines::text(path, ORDER)?;
        let mut list = AclList::default();
        let mut user: Option<usize> = None;
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = place.at(number);
            let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let entry = entry(&place, rest.trim());
            match (word, entry) {
                ("user", _) => user = Some(list.user(rest.trim())),
                ("topic", Some(entry)) => match user {
                    Some(user) => list.users[user].1.push(entry),
                    None => list.anonymous.push(entry),
                },
                ("pattern", Some(entry)) => list.patterns.push(entry),
                _ => report.differs(
                    &place,
                    format!("{line}: not understood; mosquitto does not start with it"),
                ),
            }
        }
        Ok(list)
    }

    /// The place of a user.
    fn user(&mut self, name: &str) -> usize {
        let found = self.users.iter().position(|(user, _)| user == name);
        found.unwrap_or_else(|| {
            self.users.push((name.to_owned(), Vec::new()));
            self.users.len() - 1
        })
    }

    fn is_empty(&self) -> bool {
        let users = self.users.iter().all(|(_, entries)| entries.is_empty());
        users && self.anonymous.is_empty() && self.patterns.is_empty()
    }

    fn add_to(
        &self,
        rules: &mut WrittenRules,
        clients: &RuleClients,
        names_checked: bool,
        report: &mut ImportReport,
    ) {
        rules.add_all(true, SUBSCRIBE, clients);
        if names_checked {
            for (user, entries) in &self.users {
                let is_plain = !user.contains(['*', '?']);
                if is_plain {
                    add(rules, entries, &clients.with_user(user), false);
                }
                tell(entries, &format!("user {user}"), is_plain.then_some(()), report);
            }
            let named = clients.with_user("*");
            add(rules, &self.patterns, &named, true);
            // What follows is for clients without a user.
            rules.add_all(false, MESSAGES, &named);
        } else {
            for (user, entries) in &self.users {
                tell(entries, &format!("user {user}"), None, report);
            }
        }
        add(rules, &self.anonymous, clients, false);
        let needs_no_user = |entry: &&AclEntry| !entry.topic.contains("%u");
        add(rules, self.patterns.iter().filter(needs_no_user), clients, true);
        tell(&self.anonymous, "clients without a user", Some(()), report);
        tell(&self.patterns, "all clients", Some(()), report);
    }
}

/// Adds what is denied, then what is allowed.
fn add<'e>(
    rules: &mut WrittenRules,
    entries: impl IntoIterator<Item = &'e AclEntry> + Clone,
    clients: &RuleClients,
    is_pattern: bool,
) {
    for denies in [true, false] {
        for entry in entries.clone().into_iter().filter(|entry| entry.denies == denies) {
            rules.add(!denies, entry.actions, clients, &rules::topic(&entry.topic, is_pattern));
        }
    }
}

/// Says that entries are rules, or that they cannot be.
fn tell(entries: &[AclEntry], of: &str, done: Option<()>, report: &mut ImportReport) {
    for entry in entries {
        let verb = if entry.denies { "deny" } else { "allow" };
        let said = format!("{verb} {} {} for {of}", entry.actions.join(", "), entry.topic);
        match done {
            Some(()) => report.carried(&entry.place, said),
            None => {
                let why = "no rule: nothing checks this user name, or it is a pattern (* and ?)";
                report.missing(&entry.place, format!("{said}: {why}"));
            }
        }
    }
}

/// What stands behind `topic` or `pattern`.
fn entry(place: &Place, text: &str) -> Option<AclEntry> {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or(("readwrite", text));
    let (denies, actions, topic) = match word {
        "read" => (false, RECEIVE, rest),
        "write" => (false, PUBLISH, rest),
        "readwrite" => (false, MESSAGES, rest),
        "deny" => (true, MESSAGES, rest),
        _ => return None,
    };
    let topic = topic.trim().to_owned();
    rules::is_filter(&topic).then(|| AclEntry { place: place.clone(), denies, actions, topic })
}
