//! mosquitto's dynamic security: the roles of its clients and groups, as rules that decide the same.
//!
//! For a client it goes through the roles of the client, then through those of each of its groups, then it looks
//! at `defaultACLAccess`. Roles, groups and ACLs come by their priority, the highest first; among equals groups and
//! roles come by name, and ACLs as they stand. The first ACL that fits decides. In a role, literal subscriptions
//! come before patterns. A client without a user name has the roles of the anonymous group.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::ImportError;
use super::lines;
use super::report::{ImportReport, Place};
use super::rules::{self, ALL, PUBLISH, RECEIVE, RuleClients, SUBSCRIBE, WrittenRules};

/// The file, as mosquitto writes it; what is not listed here says nothing of rights.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DynamicSecurity {
    #[serde(rename = "defaultACLAccess")]
    otherwise: OtherwiseAccess,
    clients: Vec<DynClient>,
    groups: Vec<DynGroup>,
    roles: Vec<DynRole>,
    #[serde(rename = "anonymousGroup")]
    anonymous_group: Option<String>,
}

/// What holds where no ACL fits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OtherwiseAccess {
    publish_client_send: bool,
    publish_client_receive: bool,
    subscribe: bool,
    unsubscribe: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DynClient {
    username: String,
    clientid: Option<String>,
    disabled: bool,
    /// The hash as a password file has it: mosquitto 2.1.
    encoded_password: Option<String>,
    /// The parts of the hash: mosquitto 2.0.
    password: Option<String>,
    salt: Option<String>,
    iterations: Option<u32>,
    roles: Vec<RoleMember>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DynGroup {
    groupname: String,
    roles: Vec<RoleMember>,
    clients: Vec<ClientMember>,
}

#[derive(Debug, Deserialize)]
struct RoleMember {
    rolename: String,
    #[serde(default = "unset")]
    priority: i64,
}

#[derive(Debug, Deserialize)]
struct ClientMember {
    username: String,
    #[serde(default = "unset")]
    priority: i64,
}

/// The priority of what has none.
fn unset() -> i64 {
    -1
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DynRole {
    rolename: String,
    /// mosquitto 2.1.
    allowwildcardsubs: Option<bool>,
    acls: Vec<DynAcl>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DynAcl {
    acltype: String,
    topic: String,
    priority: i64,
    allow: bool,
}

/// What an ACL becomes.
enum AclFate {
    /// A rule for this topic; none: for all.
    Rule(Option<String>),
    /// A rule for this topic, and this is different.
    Other(String, &'static str),
    /// As it is without a rule, for this reason.
    Needless(&'static str),
    /// No rule, for this reason.
    Missing(&'static str),
}
use AclFate::{Missing, Needless, Other, Rule};

/// The kinds of ACLs that become rules, in the order in which they are looked at, and what they are for.
const KINDS: &[(&str, &[&str])] = &[
    ("publishClientSend", PUBLISH),
    ("publishClientReceive", RECEIVE),
    ("subscribeLiteral", SUBSCRIBE),
    ("subscribePattern", SUBSCRIBE),
];

/// Topics that mosquitto does not have, and that nobody was given.
const OF_SLUICE: &[&str] = &["$SYS/broker/clients/+/#", "$dead/#"];

impl DynamicSecurity {
    /// Reads the file; `order`: its place among the files.
    pub fn read(path: &Path, order: usize) -> Result<(DynamicSecurity, Place), ImportError> {
        let (text, place) = lines::text(path, order)?;
        let read = serde_json::from_str(&text)
            .map_err(|error| ImportError(format!("{}: {error}", path.display())))?;
        Ok((read, place))
    }

    /// Its users and their hashes, as lines of a password file.
    pub fn passwords(&self, place: &Place, report: &mut ImportReport) -> String {
        let mut text = String::new();
        let mut users = 0;
        for client in self.known_clients() {
            let user = &client.username;
            let why = match client.hash() {
                _ if client.disabled => "it is disabled, so it has no password here",
                _ if user.contains(':') => "a name with a colon cannot stand in a password file",
                None => "it has no password, so it cannot log in with one",
                Some(hash) => {
                    users += 1;
                    text.push_str(&format!("{user}:{hash}\n"));
                    continue;
                }
            };
            let said = format!("client {user:?}: {why}");
            if user.contains(':') && !client.disabled {
                report.missing(place, said);
            } else {
                report.carried(place, said);
            }
        }
        report.carried(place, format!("{users} clients, with their hashes as they are"));
        text
    }

    /// Adds what its clients may do.
    pub fn add_to(
        &self,
        rules: &mut WrittenRules,
        clients: &RuleClients,
        place: &Place,
        report: &mut ImportReport,
    ) {
        self.tell(place, report);
        // Clients whose roles come in the same order are one group.
        let mut alike: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for client in self.known_clients() {
            let user = client.username.as_str();
            let id = client.clientid.as_deref().filter(|id| !id.is_empty());
            if [user, id.unwrap_or_default()].iter().any(|name| name.contains(['*', '?'])) {
                let why = "no rules: in a rule its name or clientid would be a pattern (* and ?)";
                report.missing(place, format!("client {user:?}: {why}"));
            } else if let Some(id) = id {
                let of_user = clients.with_user(user);
                self.add_roles(&self.roles_of(client), rules, &of_user.with_client_id(id));
                rules.add_all(false, ALL, &of_user);
                let why = "with another Client Identifier it comes in, and may do nothing";
                report.differs(place, format!("client {user:?} has the clientid {id:?}: {why}"));
            } else {
                alike.entry(self.roles_of(client)).or_default().push(user);
            }
        }
        for (roles, users) in &alike {
            let shown = if roles.is_empty() { "no roles".to_owned() } else { roles.join(", ") };
            let shown = shown.replace(['*', '?'], "_");
            let group = rules.add_group(&shown, users);
            self.add_roles(roles, rules, &clients.with_group(&group));
        }
        // Users that it does not know.
        rules.add_all(false, ALL, &clients.with_user("*"));
        let anonymous = self.groups.iter().find(|group| {
            self.anonymous_group.as_deref().is_some_and(|name| group.groupname == name)
        });
        let roles = anonymous.map_or_else(Vec::new, |group| in_order(&group.roles));
        self.add_roles(&roles, rules, clients);
    }

    /// The first client of each name.
    fn known_clients(&self) -> impl Iterator<Item = &DynClient> {
        let mut seen = BTreeSet::new();
        let named = self.clients.iter().filter(|client| !client.username.is_empty());
        named.filter(move |client| seen.insert(client.username.as_str()))
    }

    /// The roles of a client, in the order in which they are looked at.
    fn roles_of<'d>(&'d self, client: &'d DynClient) -> Vec<&'d str> {
        let mut groups: Vec<(Reverse<i64>, &DynGroup)> = Vec::new();
        for group in &self.groups {
            let member = group.clients.iter().find(|member| member.username == client.username);
            groups.extend(member.map(|member| (Reverse(member.priority), group)));
        }
        groups.sort_by_key(|(priority, group)| (*priority, group.groupname.as_str()));
        let of_groups = groups.iter().flat_map(|(_, group)| in_order(&group.roles));
        let mut roles = Vec::new();
        for role in in_order(&client.roles).into_iter().chain(of_groups) {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        roles
    }

    /// Adds the rules of roles, and what holds behind them.
    fn add_roles(&self, roles: &[&str], rules: &mut WrittenRules, clients: &RuleClients) {
        // What is for one action has no effect on another: they need not be mixed.
        for action in [PUBLISH, RECEIVE, SUBSCRIBE] {
            for name in roles {
                let Some(role) = self.roles.iter().find(|role| role.rolename == *name) else {
                    continue;
                };
                for (kind, actions) in KINDS.iter().filter(|(_, actions)| *actions == action) {
                    self.add_acls(role, kind, actions, rules, clients);
                }
            }
        }
        let otherwise = &self.otherwise;
        if otherwise.publish_client_send {
            rules.add(true, PUBLISH, clients, "#");
        }
        let reads = [(otherwise.publish_client_receive, RECEIVE), (otherwise.subscribe, SUBSCRIBE)];
        for (is_allowed, actions) in reads {
            if is_allowed {
                OF_SLUICE.iter().for_each(|topic| rules.add(false, actions, clients, topic));
                rules.add_all(true, actions, clients);
            }
        }
    }

    fn add_acls(
        &self,
        role: &DynRole,
        kind: &str,
        actions: &'static [&'static str],
        rules: &mut WrittenRules,
        clients: &RuleClients,
    ) {
        let mut acls: Vec<&DynAcl> =
            role.acls.iter().filter(|acl| acl.acltype.eq_ignore_ascii_case(kind)).collect();
        acls.sort_by_key(|acl| Reverse(acl.priority));
        for acl in acls {
            match self.fate(acl) {
                Rule(None) => rules.add_all(acl.allow, actions, clients),
                Rule(Some(topic)) | Other(topic, _) => {
                    rules.add(acl.allow, actions, clients, &topic);
                }
                Needless(_) | Missing(_) => {}
            }
        }
    }

    /// Whether mosquitto 2.1 wrote it, which puts names in the place of `%u` and `%c`.
    fn fills_places(&self) -> bool {
        self.roles.iter().any(|role| role.allowwildcardsubs.is_some())
            || self.clients.iter().any(|client| client.encoded_password.is_some())
    }

    fn fate(&self, acl: &DynAcl) -> AclFate {
        let kind = acl.acltype.to_ascii_lowercase();
        if kind.starts_with("unsubscribe") && acl.allow {
            return Needless("a client may always unsubscribe");
        }
        if kind.starts_with("unsubscribe") {
            return Missing("a client may always unsubscribe");
        }
        if !KINDS.iter().any(|(known, _)| known.eq_ignore_ascii_case(&kind)) {
            return Missing("there is no such kind of ACL");
        }
        if acl.topic.starts_with("$CONTROL") {
            return Missing("there are no control topics");
        }
        if acl.topic.starts_with("$share/") {
            return Missing("a rule is for the filter, shared or not");
        }
        if !rules::is_filter(&acl.topic) {
            return Missing("it is no Topic Filter");
        }
        if kind == "subscribepattern" && acl.topic == "#" {
            // Here it is for topics that begin with $ too.
            return Rule(None);
        }
        let topic = rules::topic(&acl.topic, self.fills_places());
        if kind == "subscribeliteral" && acl.topic.contains(['+', '#']) {
            let why = if acl.allow {
                "each subscription to a part of it is allowed too"
            } else {
                "each subscription to a part of it is denied too"
            };
            return Other(topic, why);
        }
        Rule(Some(topic))
    }

    /// Says what each ACL becomes.
    fn tell(&self, place: &Place, report: &mut ImportReport) {
        for role in &self.roles {
            let name = &role.rolename;
            for acl in &role.acls {
                let verb = if acl.allow { "allow" } else { "deny" };
                let said = format!("role {name:?}: {verb} {} {}", acl.acltype, acl.topic);
                match self.fate(acl) {
                    Rule(_) => report.carried(place, said),
                    Needless(why) => report.carried(place, format!("{said}: {why}")),
                    Other(_, why) => report.differs(place, format!("{said}: {why}")),
                    Missing(why) => report.missing(place, format!("{said}: {why}")),
                }
            }
            if role.allowwildcardsubs == Some(false) {
                let why = "rules do not ask whether a filter has wildcards";
                report.missing(place, format!("role {name:?}: allowwildcardsubs false: {why}"));
            }
        }
        if self.otherwise.unsubscribe == Some(false) {
            let why = "a client may always unsubscribe";
            report.missing(place, format!("defaultACLAccess: unsubscribe false: {why}"));
        }
        report.carried(place, "defaultACLAccess: the last rules of each group of clients");
    }
}

impl DynClient {
    /// Its password, as a password file has it.
    fn hash(&self) -> Option<String> {
        if let Some(hash) = &self.encoded_password {
            return Some(hash.clone());
        }
        let iterations = self.iterations.filter(|iterations| *iterations > 0)?;
        Some(format!("$7${iterations}${}${}", self.salt.as_ref()?, self.password.as_ref()?))
    }
}

/// Names of roles, in the order in which they are looked at.
fn in_order(members: &[RoleMember]) -> Vec<&str> {
    let mut roles: Vec<&RoleMember> = members.iter().collect();
    roles.sort_by_key(|role| (Reverse(role.priority), role.rolename.as_str()));
    roles.into_iter().map(|role| role.rolename.as_str()).collect()
}
