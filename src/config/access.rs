//! What clients may publish, subscribe to and receive.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problems::{Problem, Problems};
use super::section::InForce::Live;
use super::section::{ConfigEntry, Section, key, list, rows};
use super::template::{Placeholder, TopicTemplate};
use super::topic_class::is_filter;
use super::units::Size;

rows! {
    /// What clients may do: the `[[rule]]`s say it, and these keys what surrounds them. Everything here is in
    /// force at SIGHUP, all of it or, if anything is wrong, nothing.
    pub struct AccessConfig {
        /// What holds where no rule fits: `"allow"` or `"deny"`. Not set: `"deny"` as soon as there is a rule,
        /// else `"allow"`.
        default: Option<AccessDefault> =
            key(Live, None).words::<AccessDefault>().example(Some(AccessDefault::Deny));
        /// A file with more `[[rule]]`, and groups under the heading "group". Its rules come behind those of the configuration. SIGHUP
        /// reads it again.
        rules_file: Option<PathBuf> =
            key(Live, None).example(Some("rules.toml".into())).names_file();
        /// A retained message is sent only as long as the client that published it may publish it.
        check_retain_source: bool = key(Live, true);
        /// Sections `[[access.group]]`.
        group: Vec<AccessGroup> = list(Live);
    }
}

rows! {
    /// A group of clients, for the key `group` of rules: a client that one of the patterns fits is in it.
    /// Patterns are as in `[[class]]`.
    pub struct AccessGroup {
        /// Name of the group.
        name: String = key(Live, String::new()).required("operators".to_owned());
        /// User names.
        users: Vec<String> = key(Live, Vec::new()).example(vec!["operator-*".to_owned()]);
        /// Client Identifiers. A client chooses its own: give to a Client Identifier only what you give to all.
        client_ids: Vec<String> = key(Live, Vec::new()).example(vec!["panel-*".to_owned()]);
        /// Identities in client certificates.
        certificates: Vec<String> = key(Live, Vec::new()).example(vec!["*.ops.example".to_owned()]);
    }
}

rows! {
    /// What clients may do, or may not: the first `[[rule]]` that fits decides. All conditions that are set must
    /// fit. Patterns are as in `[[class]]`. See [permissions](permissions.md).
    pub struct AccessRule {
        /// Allows `"publish"`, `"subscribe"`, `"receive"` or `"all"` of them. A rule has `allow` or `deny`.
        allow: Vec<RuleAction> = key(Live, Vec::new())
            .words::<RuleAction>()
            .example(vec![RuleAction::Publish]);
        /// Denies `"publish"`, `"subscribe"`, `"receive"` or `"all"` of them.
        deny: Vec<RuleAction> =
            key(Live, Vec::new()).words::<RuleAction>().example(vec![RuleAction::All]);
        /// Condition: the user name.
        user: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Condition: a group of the client.
        group: Option<String> = key(Live, None).example(Some("operators".to_owned()));
        /// Condition: the Client Identifier.
        client_id: Option<String> = key(Live, None).example(Some("meter-*".to_owned()));
        /// Condition: the identity in the client certificate.
        certificate: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Condition: the listener's name (or its address, if it has no name).
        listener: Option<String> = key(Live, None).example(Some("*".to_owned()));
        /// Condition: the client's address is in one of these networks.
        address: Option<Vec<AddressRange>> =
            key(Live, None).example(Some(vec![AddressRange::example()]));
        /// Condition: the topic, by Topic Filters of which one fits. A subscription fits a filter that covers all
        /// of it. `%u` is the user name, `%c` the Client Identifier, `%{cn}` the identity in the certificate,
        /// `%{group}` a group, `%{claim:NAME}` a claim, `%%` a percent sign. Not set: all topics; those that begin
        /// with `$` only for a rule that denies.
        topics: Option<Vec<String>> = key(Live, None).example(Some(vec!["devices/%c/#".to_owned()]));
        /// Condition: QoS is not above this.
        qos_max: Option<u8> = key(Live, None).example(Some(1)).range(0..=2);
        /// Condition: the RETAIN flag. Only for messages, so not with `"subscribe"` and `"all"`.
        retain: Option<bool> = key(Live, None).example(Some(false));
        /// Condition: the payload has no more bytes than this. Only for messages, so not with `"subscribe"` and
        /// `"all"`.
        bytes_max: Option<Size> =
            key(Live, None).example(Some(Size::kib(64))).range(Size(0)..=Size::TIB);
    }
}

rows! {
    /// The file that `access.rules_file` names.
    pub struct RulesFile {
        /// Sections `[[rule]]`.
        rule: Vec<AccessRule> = list(Live);
        /// Sections `[[group]]`.
        group: Vec<AccessGroup> = list(Live);
    }
}

/// What holds where no rule fits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessDefault {
    /// It is allowed.
    Allow,
    /// It is not.
    Deny,
}

/// What a rule allows or denies.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// To publish messages, Wills too.
    Publish,
    /// To subscribe.
    Subscribe,
    /// To be sent messages.
    Receive,
    /// All of them.
    All,
}

/// A network: an address and the length of its prefix, as in `10.0.0.0/8`; or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressRange(IpNet);

/// Most rules, of configuration and file together.
const RULES_MAX: usize = 100_000;

impl AccessConfig {
    /// What holds where no rule fits, with this number of rules.
    pub fn default_of(&self, rules: usize) -> AccessDefault {
        let default = if rules > 0 { AccessDefault::Deny } else { AccessDefault::Allow };
        self.default.unwrap_or(default)
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, names_checked: bool, found: &mut Problems) {
        if self.rules_file.as_deref().is_some_and(|path| path.as_os_str().is_empty()) {
            found.add("access.rules_file", "is empty; leave the key out to read no rules");
        }
        check_groups("access.group", &self.group, names_checked, found);
    }
}

impl RulesFile {
    /// Every section and key.
    pub fn entries() -> Vec<ConfigEntry> {
        let mut entries = Vec::new();
        <RulesFile as Section>::describe("", &mut entries);
        entries
    }

    /// A file with a value for every key.
    pub fn example() -> RulesFile {
        Section::example()
    }

    /// Whether every value is in its range.
    pub fn out_of_range(&self) -> Vec<Problem> {
        let mut found = Problems::default();
        self.check_ranges("", &mut found);
        found.into_result().err().unwrap_or_default()
    }

    /// Whether every value is in its range and the keys agree with each other. `names_checked`: some user names
    /// are.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(&self, names_checked: bool) -> Result<(), Vec<Problem>> {
        let mut found = Problems::default();
        self.check_ranges("", &mut found);
        check_groups("group", &self.group, names_checked, &mut found);
        check_rules(&self.rule, names_checked, &mut found);
        found.into_result()
    }
}

/// Nothing here checks user names, and something is given to one.
pub(super) const NAMES_UNCHECKED: &str = "is for user names, and nothing here checks those: set auth.password_file, or \
     identity in a [listener.tls] that asks for client certificates";

fn check_groups(at: &str, groups: &[AccessGroup], names_checked: bool, found: &mut Problems) {
    for (index, group) in groups.iter().enumerate() {
        let at = |key: &str| format!("{at}.{index}.{key}");
        if group.name.is_empty() {
            found.add(at("name"), "a group needs a name");
        } else if groups[..index].iter().any(|other| other.name == group.name) {
            found.add(at("name"), format!("{:?} is the name of another group", group.name));
        }
        if group.users.is_empty() && group.client_ids.is_empty() && group.certificates.is_empty() {
            found.add(at("users"), "a group needs users, client_ids or certificates");
        }
        if !group.users.is_empty() && !names_checked {
            found.add(at("users"), NAMES_UNCHECKED);
        }
    }
}

/// Adds what is wrong with rules, apart from ranges.
pub(super) fn check_rules(rules: &[AccessRule], names_checked: bool, found: &mut Problems) {
    if rules.len() > RULES_MAX {
        found.add("rule", format!("{} of them are more than {RULES_MAX}", rules.len()));
    }
    for (index, rule) in rules.iter().enumerate() {
        rule.check(&format!("rule.{index}"), names_checked, found);
    }
}

impl AccessRule {
    /// What it allows or denies, as it is written.
    pub fn actions(&self) -> &[RuleAction] {
        if self.allow.is_empty() { &self.deny } else { &self.allow }
    }

    fn check(&self, at: &str, names_checked: bool, found: &mut Problems) {
        let at = |key: &str| format!("{at}.{key}");
        match (self.allow.is_empty(), self.deny.is_empty()) {
            (true, true) => found.add(at("allow"), "a rule needs allow or deny"),
            (false, false) => found.add(at("deny"), "a rule has allow or deny, not both"),
            _ => {}
        }
        if self.user.is_some() && !names_checked {
            found.add(at("user"), NAMES_UNCHECKED);
        }
        let subscribes =
            |action: &RuleAction| matches!(action, RuleAction::Subscribe | RuleAction::All);
        for (key, is_set) in
            [("retain", self.retain.is_some()), ("bytes_max", self.bytes_max.is_some())]
        {
            if is_set && self.actions().iter().any(subscribes) {
                found.add(
                    at(key),
                    "is a condition of messages, and a subscription has none: write two rules",
                );
            }
        }
        if self.address.as_ref().is_some_and(Vec::is_empty) {
            found.add(at("address"), "is empty; leave the key out for all addresses");
        }
        if self.topics.as_ref().is_some_and(Vec::is_empty) {
            found.add(at("topics"), "is empty; leave the key out for all topics");
        }
        for (number, text) in self.topics.iter().flatten().enumerate() {
            if let Some(problem) = self.topic_problem(text) {
                found.add(at(&format!("topics.{number}")), problem);
            }
        }
    }

    fn topic_problem(&self, text: &str) -> Option<String> {
        let template = match TopicTemplate::parse(text) {
            Ok(template) => template,
            Err(problem) => return Some(problem),
        };
        let filled = template.fill(|_| Some("x"), |_| false).unwrap_or_default();
        if let Some(rest) = text.strip_prefix("$share/") {
            let own = rest.split_once('/').map_or("", |(_, own)| own);
            return Some(format!("{text:?}: a rule holds for shared subscriptions too: {own:?}"));
        }
        if !is_filter(&filled) {
            return Some(format!("{text:?} is not a Topic Filter"));
        }
        let needs_group = template.has(&Placeholder::Group) && self.group.is_none();
        needs_group.then(|| format!("{text:?}: %{{group}} needs the key group in its rule"))
    }
}

impl AddressRange {
    pub(super) fn example() -> AddressRange {
        AddressRange(IpNet::V4(ipnet::Ipv4Net::new_assert([10, 0, 0, 0].into(), 8)))
    }

    /// Whether the address is in it; one of IPv4 that is written as one of IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressRange, String> {
        let net = match text.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| {
                format!("expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", found {text:?}")
            })?,
        };
        if net.addr() != net.network() {
            return Err(format!("{text:?} has bits behind its prefix; write \"{}\"", net.trunc()));
        }
        Ok(AddressRange(net))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AddressRange, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
