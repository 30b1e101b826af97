//! `sluice acl` on configurations and files of rules, and a running broker whose rules change.

mod process;
mod wire;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use process::{Process, Sluice, new_folder, program};
use sluicemq::codec::{QoS, Reason, Version};
use sluicemq::settings::load_rules;
use wire::Client;

const CONFIG: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
[auth]
password_file = 'passwords'
[access]
rules_file = 'rules.toml'
[[access.group]]
name = 'operators'
users = ['op-*']
[[rule]]
allow = ['all']
group = 'operators'
topics = ['#', '$SYS/#']
[[rule]]
deny = ['publish']
topics = ['devices/+/config']
address = ['192.0.2.0/24']
";

const RULES: &str = "
[[rule]]
allow = ['publish', 'subscribe', 'receive']
topics = ['devices/%c/#']

[[rule]]
allow = ['subscribe']
topics = ['news']
qos_max = 1
";

/// Exit code and lines of a command.
fn acl(folder: &Path, arguments: &str) -> (Option<i32>, Vec<String>) {
    let mut command = program();
    command.current_dir(folder).arg("--config").arg("sluice.toml").arg("acl");
    Process::start(command.args(arguments.split(' '))).end()
}

#[test]
fn a_decision_is_told_with_its_rule_and_where_that_stands() {
    let folder = new_folder();
    fs::write(folder.path().join("sluice.toml"), CONFIG).expect("a file");
    fs::write(folder.path().join("rules.toml"), RULES).expect("a file");
    for (arguments, code, wanted) in [
        ("test --user op-1 publish a", 0, "allowed: [[rule]] 1 (sluice.toml:13)"),
        ("test --user ann --client c publish devices/c/x", 0, "allowed: rules.toml:3"),
        ("test --user ann --client c publish devices/d/x", 1, "denied: access.default"),
        (
            "test --client c --address 192.0.2.9 publish devices/c/config",
            1,
            "denied: [[rule]] 2 (sluice.toml:17)",
        ),
        ("test --client c --address 10.0.0.1 publish devices/c/config", 0, "allowed: rules.toml:3"),
        ("test --client c subscribe $share/g/devices/c/#", 0, "allowed: rules.toml:3"),
        ("test --client c subscribe devices/#", 1, "denied: access.default"),
        ("test --client c --qos 2 subscribe news", 1, "denied: access.default"),
        ("test --client c --qos 1 subscribe news", 0, "allowed: rules.toml:7"),
        (
            "test --client c receive $SYS/broker/clients/c/queue/messages",
            0,
            "allowed: shipped: a client may read what is said of itself",
        ),
        (
            "test --user op-1 publish $SYS/a",
            1,
            "denied: the topic is the broker's own: no client may publish to it",
        ),
    ] {
        assert_eq!(
            acl(folder.path(), arguments),
            (Some(code), vec![wanted.to_owned()]),
            "{arguments}"
        );
    }
    let (code, lines) = acl(folder.path(), "explain --client c --qos 2 subscribe news");
    assert_eq!(code, Some(1));
    assert_eq!(
        lines,
        [
            "denied: access.default",
            "  passed over: [[rule]] 1 (sluice.toml:13): another group",
            "  passed over: [[rule]] 2 (sluice.toml:17): another action",
            "  passed over: rules.toml:3: another topic",
            "  passed over: rules.toml:7: QoS above qos_max",
            "  passed over: shipped: a client may read what is said of itself: another topic",
            "  passed over: shipped: other clients and dead letters are not for all: another topic",
        ]
    );
    let (code, lines) = acl(folder.path(), "test publish a/+");
    assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
}

/// The whole message for a file of rules; the folder left out.
fn said(content: &[u8]) -> String {
    let folder = new_folder();
    let path = folder.path().join("r.toml");
    fs::write(&path, content).expect("a file");
    match load_rules(&path, true) {
        Ok((rules, places)) => format!("{} rules: {}", rules.rule.len(), places.join(" ")),
        Err(error) => error.to_string(),
    }
    .replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn mistakes_in_a_file_of_rules_are_told_with_place_key_and_what_was_meant() {
    let rule = |line: &str| format!("[[rule]]\nallow = ['publish']\n{line}\n");
    for (content, wanted) in [
        (rule("topics = ['a/#']"), "1 rules: r.toml:2"),
        (String::new(), "r.toml:1:1: has no [[rule]]: it is not put in force"),
        (
            "[[rule]]\nalow = ['publish']".to_owned(),
            "r.toml:2:1: unknown key 'alow' in [[rule]]; did you mean 'allow'?",
        ),
        (
            "[[rules]]\nallow = ['publish']".to_owned(),
            "r.toml:1:3: unknown section 'rules'; did you mean 'rule'?",
        ),
        (
            "[[rule]]\nallow = ['publsh']".to_owned(),
            "r.toml:2:10: rule.allow: expected one of \"publish\", \"subscribe\", \"receive\", \"all\", found \"publsh\"; did you mean \"publish\"?",
        ),
        (
            "[[rule]]\nallow = 'publish'".to_owned(),
            "r.toml:2:9: rule.allow: expected a list such as [\"publish\"], found a string; write [\"publish\"]",
        ),
        (
            "[[rule]]\ntopics = ['a']".to_owned(),
            "r.toml:2:11: rule.0.allow: a rule needs allow or deny",
        ),
        (rule("deny = ['all']"), "r.toml:3:9: rule.0.deny: a rule has allow or deny, not both"),
        (
            rule("topics = ['a/#/b']"),
            "r.toml:3:11: rule.0.topics.0: \"a/#/b\" is not a Topic Filter",
        ),
        (
            rule("topics = ['a/%x']"),
            "r.toml:3:11: rule.0.topics.0: \"a/%x\": after % comes u, c, {cn}, {group}, {claim:NAME}, or another % for a percent sign",
        ),
        (
            rule("topics = ['a/x%u/+%c']"),
            "r.toml:3:11: rule.0.topics.0: \"a/x%u/+%c\" is not a Topic Filter",
        ),
        (
            rule("topics = ['$share/g/a']"),
            "r.toml:3:11: rule.0.topics.0: \"$share/g/a\": a rule holds for shared subscriptions too: \"a\"",
        ),
        (
            rule("topics = ['%{group}']"),
            "r.toml:3:11: rule.0.topics.0: \"%{group}\": %{group} needs the key group in its rule",
        ),
        (
            rule("topics = []"),
            "r.toml:2:10: rule.0.topics: is empty; leave the key out for all topics",
        ),
        (
            rule("address = ['10.0.0.0/33']"),
            "r.toml:3:12: rule.address: expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", found \"10.0.0.0/33\"",
        ),
        (
            rule("address = ['10.0.0.1/8']"),
            "r.toml:3:12: rule.address: \"10.0.0.1/8\" has bits behind its prefix; write \"10.0.0.0/8\"",
        ),
        (rule("qos_max = 3"), "r.toml:3:11: rule.qos_max: 3 is out of range: 0 to 2"),
        (
            rule("retain = 'yes'"),
            "r.toml:3:10: rule.retain: expected true or false, found a string; write true",
        ),
        (
            "[[rule]]\nallow = ['all']\nretain = true".to_owned(),
            "r.toml:3:10: rule.0.retain: is a condition of messages, and a subscription has none: write two rules",
        ),
        (
            "[[group]]\nname = 'g'\n[[rule]]\nallow = ['all']".to_owned(),
            "r.toml:2:8: group.0.users: a group needs users, client_ids or certificates",
        ),
        (rule("topics = ['a"), "r.toml:3:13: unclosed array, expected `]`"),
    ] {
        assert_eq!(said(content.as_bytes()), wanted, "{content}");
    }
    assert_eq!(
        said(b"[[rule]]\n# \xff"),
        "r.toml:2:3: byte 0xFF is not UTF-8; save the file as UTF-8"
    );
    let missing = load_rules(Path::new("/no/such/rules.toml"), true).expect_err("no file");
    assert!(missing.to_string().contains("/no/such/rules.toml"), "{missing}");
}

/// Whatever is wrong with the file of rules, the old ones are in force.
#[test]
fn at_sighup_rules_change_as_a_whole_or_not_at_all() {
    let folder = new_folder();
    let rules = folder.path().join("rules.toml");
    let allow = |topic: &str| format!("[[rule]]\nallow = ['all']\ntopics = ['{topic}/#']\n");
    fs::write(&rules, allow("a")).expect("a file");
    let config = "
        [[listener]]
        name = 'tcp'
        address = '127.0.0.1:0'
        [access]
        rules_file = 'rules.toml'
    ";
    let broker = Sluice::start_in(folder, config);
    let at = broker.address("tcp");
    let (mut subscriber, mut client) =
        (Client::connect(at, Version::V5, "s"), Client::connect(at, Version::V5, "c"));
    assert_eq!(
        subscriber.subscribe(&["a/s/#", "b/s/#"], QoS::AtLeastOnce),
        [Reason::GrantedQoS1, Reason::NotAuthorized]
    );
    let may =
        |client: &mut Client, topic: &str| client.publish(topic, b"x") != Reason::NotAuthorized;
    for wrong in
        ["", "[[rule]]", "[[rule]]\nallow = ['all'", "[[rule]]\nallow = ['everything']\n", "\u{0}"]
    {
        fs::write(&rules, wrong).expect("a file");
        let before = failures(&broker);
        broker.signal("HUP");
        until(|| failures(&broker) > before);
        assert!(may(&mut client, "a/x") && !may(&mut client, "b/x"), "{wrong:?}");
    }
    fs::remove_file(&rules).expect("a file");
    let before = failures(&broker);
    broker.signal("HUP");
    until(|| failures(&broker) > before);
    assert!(may(&mut client, "a/x") && !may(&mut client, "b/x"));
    fs::write(&rules, allow("b")).expect("a file");
    broker.signal("HUP");
    until(|| may(&mut client, "b/x"));
    assert!(!may(&mut client, "a/x"));
    assert_eq!(subscriber.subscribe(&["b/s/#"], QoS::AtLeastOnce), [Reason::GrantedQoS1]);
    // The log is written beside the broker.
    until(|| broker.log().contains("subscription_revoked"));
    let log = broker.log();
    let revoked = log.lines().find(|line| line.contains("subscription_revoked")).expect("a line");
    assert!(revoked.contains("topic=a/s/#") && revoked.contains("rule="), "{revoked}");
    subscriber.ping();
}

/// A rule of the configuration is named with its number, file and line, also after a reload.
#[test]
fn a_denial_is_logged_with_file_and_line() {
    let config = "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n[[rule]]\n";
    let broker = Sluice::start(&format!("{config}deny = ['publish']\ntopics = ['a']\n"));
    let at = broker.address("tcp");
    let mut client = Client::connect(at, Version::V5, "c");
    assert_eq!(client.publish("a", b"x"), Reason::NotAuthorized);
    until(|| broker.log().contains("reason=publish_not_authorized"));
    let line = |log: &str| log.lines().find(|line| line.contains("rule=")).map(str::to_owned);
    let said = line(&broker.log()).expect("a line");
    assert!(said.contains("[[rule]] 1 (") && said.contains("sluice.toml:"), "{said}");
    let number = |said: &str| -> u32 {
        let (_, rest) = said.split_once("sluice.toml:").expect("a line");
        rest.split(')').next().expect("a number").parse().expect("a number")
    };
    let before = number(&said);
    let path = broker.file("sluice.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    fs::write(&path, format!("# One line more.\n{text}")).expect("the configuration");
    let reloads = |log: &str| log.matches("overload reloaded").count();
    broker.signal("HUP");
    until(|| reloads(&broker.log()) == 1);
    let mut other = Client::connect(at, Version::V5, "other");
    assert_eq!(other.publish("a", b"x"), Reason::NotAuthorized);
    until(|| broker.log().contains("client=other") && broker.log().matches("rule=").count() > 1);
    let log = broker.log();
    let said = log.lines().rfind(|line| line.contains("rule=")).expect("a line");
    assert_eq!(number(said), before + 1, "{said}");
}

fn failures(broker: &Sluice) -> usize {
    broker.log().matches("nothing reloaded").count()
}

#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "it does not come");
    }
}
