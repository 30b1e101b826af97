//! Decisions of rules: what each condition means, and that compiled rules decide as rules read one by one.

use super::{Explanation, ReadRules, Rights, RuleSet};
use crate::codec::QoS;
use crate::config::{Config, RulesFile};
use crate::message::{Circumstances, ClientId, Identity, Meter, Standing};
use crate::random::Random;
use crate::session::{Access, Asked, Decision};
use crate::topic::{TopicFilter, TopicLimits, TopicName};

const LIMITS: TopicLimits = TopicLimits { bytes_max: 1000, levels_max: 100 };

fn set<'a>(config: &'a Config, file: Option<&'a ReadRules>) -> RuleSet<'a> {
    RuleSet { access: &config.access, rules: &config.rule, auth: &config.auth, read: file }
}

fn rights(rules: &str) -> Rights {
    Rights::new(&set(&toml::from_str(rules).expect("rules"), None))
}

fn client(client_id: &str, user: Option<&str>) -> Identity {
    let identity = Identity::new(ClientId::new(client_id), user.map(Into::into), Meter::forever());
    identity.set_standing(Standing::Of(Circumstances::default()));
    identity
}

/// What is asked, as `publish a/b`, with QoS 1 and 10 bytes.
fn ask(rights: &Rights, identity: &Identity, what: &str) -> bool {
    let (action, topic) = what.split_once(' ').expect("an action and a topic");
    let filter = TopicFilter::parse(topic, &LIMITS);
    let (qos, retain, bytes) = (QoS::AtLeastOnce, false, 10);
    let name = TopicName::trusted(topic);
    let asked = match action {
        "publish" => Asked::Publish { topic: name, qos, retain, bytes },
        "receive" => Asked::Receive { topic: name, qos, retain, bytes },
        _ => Asked::Subscribe { filter: filter.as_ref().expect("a filter"), qos },
    };
    decide(rights, identity, &asked).is_allowed()
}

/// The decision, of which the second asking and the explanation say the same.
fn decide(rights: &Rights, identity: &Identity, asked: &Asked<'_>) -> Decision {
    let decision = rights.may(identity, asked);
    assert_eq!(rights.may(identity, asked), decision, "{asked:?}");
    let Explanation { decision: explained, rule, .. } = rights.explain(identity, asked);
    match decision.rule() {
        Some(id) => {
            assert_eq!(explained, decision, "{asked:?}");
            assert_eq!(rights.rule_name(id), Some(rule));
        }
        None => assert_eq!(explained.is_allowed(), decision.is_allowed(), "{asked:?}"),
    }
    decision
}

/// Each line: what is asked, and whether it is allowed.
#[track_caller]
fn check(rules: &str, identity: &Identity, asked: &[(&str, bool)]) {
    let rights = rights(rules);
    for (what, allowed) in asked {
        assert_eq!(ask(&rights, identity, what), *allowed, "{what}\n{rules}");
    }
}

#[test]
fn without_rules_all_is_allowed_but_what_is_said_of_others() {
    let asked = [
        ("publish a", true),
        ("subscribe #", true),
        ("receive a/b", true),
        ("subscribe $SYS/#", true),
        ("receive $SYS/broker/uptime", true),
        ("subscribe $SYS/broker/clients/total", true),
        ("receive $SYS/broker/clients/total", true),
        ("subscribe $SYS/broker/clients/c/#", true),
        ("receive $SYS/broker/clients/c/queue/messages", true),
        ("subscribe $SYS/broker/clients/+/queue/messages", false),
        ("receive $SYS/broker/clients/d/queue/messages", false),
        ("subscribe $share/g/$dead/#", false),
        ("subscribe $exclusive/a/#", true),
        ("subscribe $exclusive/$dead/#", false),
        ("receive $dead/c/a", false),
    ];
    check("", &client("c", Some("u")), &asked);
    check(
        "auth.dead_letter_users = 'op*'",
        &client("c", Some("ops")),
        &[("subscribe $dead/#", true), ("receive $dead/c/a", true)],
    );
}

#[test]
fn the_first_rule_that_fits_decides_and_the_default_what_is_left() {
    let rules = "
        [[rule]]
        deny = ['publish']
        topics = ['a/secret/#']
        [[rule]]
        allow = ['publish', 'receive']
        topics = ['a/#', 'b/+']
        [[rule]]
        allow = ['subscribe']
    ";
    check(
        rules,
        &client("c", None),
        &[
            ("publish a", true),
            ("publish a/b/c", true),
            ("publish a/secret", false),
            ("publish a/secret/x", false),
            ("receive a/secret/x", true),
            ("publish b/c", true),
            ("publish b/c/d", false),
            ("publish c", false),
            ("subscribe #", true),
            ("subscribe $SYS/#", false),
        ],
    );
    let open = format!("access.default = 'allow'\n{rules}");
    check(&open, &client("c", None), &[("publish c", true), ("publish a/secret", false)]);
    check("access.default = 'deny'", &client("c", None), &[("publish c", false)]);
}

#[test]
fn a_subscription_must_be_covered_as_a_whole() {
    let rules = "[[rule]]\nallow = ['subscribe']\ntopics = ['a/+/c', 'b/#', '+/x', 'd']";
    check(
        rules,
        &client("c", None),
        &[
            ("subscribe a/b/c", true),
            ("subscribe a/+/c", true),
            ("subscribe a/#", false),
            ("subscribe a/+/+", false),
            ("subscribe b", true),
            ("subscribe b/#", true),
            ("subscribe b/+/#", true),
            ("subscribe +/x", true),
            ("subscribe $SYS/x", false),
            ("subscribe #", false),
            ("subscribe +", false),
            ("subscribe $share/g/b/#", true),
            ("subscribe $share/g/#", false),
            ("subscribe $exclusive/b/#", false),
            ("subscribe d/#", false),
        ],
    );
}

#[test]
fn names_become_no_wildcards_and_no_levels() {
    let rules = "
        [[rule]]
        deny = ['all']
        topics = ['private/%u/#']
        [[rule]]
        allow = ['all']
        topics = ['%u/%c/#', 'private/#']
    ";
    let own = [("publish u/c/x", true), ("subscribe u/c/#", true), ("publish v/c/x", false)];
    check(rules, &client("c", Some("u")), &own);
    for user in ["+", "#", "a/b", "$x"] {
        check(
            rules,
            &client("c", Some(user)),
            &[
                ("publish a/c/x", false),
                ("publish a/b/c/x", false),
                ("subscribe +/c/#", false),
                ("subscribe #", false),
                // The rule that denies cannot be told apart from that of others: it denies all.
                ("publish private/a/x", false),
                ("publish private", true),
            ],
        );
    }
    check(rules, &client("#", Some("u")), &[("publish u/c/x", false), ("subscribe u/#", false)]);
}

#[test]
fn conditions_of_the_message_are_compared() {
    let rules = rights(
        "
        [[rule]]
        allow = ['publish']
        qos_max = 1
        retain = false
        bytes_max = '1KiB'
        ",
    );
    let who = client("c", None);
    let topic = TopicName::trusted("a");
    for (qos, retain, bytes, allowed) in [
        (QoS::AtMostOnce, false, 0, true),
        (QoS::AtLeastOnce, false, 1024, true),
        (QoS::AtLeastOnce, false, 1025, false),
        (QoS::ExactlyOnce, false, 0, false),
        (QoS::AtLeastOnce, true, 0, false),
    ] {
        let asked = Asked::Publish { topic, qos, retain, bytes };
        assert_eq!(decide(&rules, &who, &asked).is_allowed(), allowed, "{asked:?}");
    }
}

#[test]
fn conditions_of_the_client_are_compared() {
    let condition = |condition: &str| {
        format!(
            "
            [[access.group]]
            name = 'team'
            users = ['ann', 'b*']
            certificates = ['*.team']
            [[rule]]
            allow = ['publish']
            topics = ['a', 'g/%{{group}}', 's/%{{claim:site}}', 'n/%{{cn}}']
            {condition}
            "
        )
    };
    let of = |listener: &str, address: &str, certificate: Option<&str>| {
        let identity = client("c", Some("bob"));
        identity.set_standing(Standing::Of(Circumstances {
            listener: Some(listener.into()),
            address: address.parse().ok(),
            certificate: certificate.map(Into::into),
            groups: vec!["named".into()],
            claims: vec![("site".into(), "rome".into())],
        }));
        identity
    };
    for (keys, fits, other) in [
        ("listener = 'in*'", of("inner", "", None), of("outer", "", None)),
        (
            "address = ['10.0.0.0/8', 'fd00::/8']",
            of("", "10.1.2.3", None),
            of("", "11.1.2.3", None),
        ),
        ("address = ['10.0.0.0/8']", of("", "::ffff:10.1.2.3", None), of("", "", None)),
        ("certificate = '*'", of("", "", Some("x.team")), of("", "", None)),
        ("user = 'b*'", of("", "", None), client("c", Some("carl"))),
        ("user = '*'", of("", "", None), client("c", None)),
        ("client_id = 'c'", of("", "", None), client("d", Some("bob"))),
        ("group = 'team'", of("", "", None), client("c", Some("carl"))),
        ("group = 'named'", of("", "", None), client("c", Some("bob"))),
    ] {
        check(&condition(keys), &fits, &[("publish a", true), ("publish b", false)]);
        check(&condition(keys), &other, &[("publish a", false)]);
    }
    check(
        &condition("group = 'team'"),
        &of("", "", Some("n.team")),
        &[
            ("publish g/team", true),
            ("publish g/named", false),
            ("publish g/+", false),
            ("publish s/rome", true),
            ("publish s/paris", false),
            ("publish n/n.team", true),
        ],
    );
    check(&condition("user = 'bob'"), &of("", "", None), &[("publish n/x", false)]);
}

#[test]
fn what_is_not_known_of_a_client_is_denied_and_what_is_past_stays_allowed() {
    let rules = "
        [[rule]]
        deny = ['publish']
        listener = 'outer'
        topics = ['cmd/#']
        [[rule]]
        allow = ['publish']
        certificate = '*'
        topics = ['cmd/#', 'cert/#', 'own/%{cn}/#']
        [[rule]]
        allow = ['publish']
        topics = ['cmd/#', 'pub/#']
    ";
    let identity = client("c", None);
    for (standing, cmd, cert, own) in [
        (Standing::Of(Circumstances::default()), true, false, false),
        (Standing::Unknown, false, false, false),
        (Standing::Past, true, true, true),
    ] {
        identity.set_standing(standing);
        check(
            rules,
            &identity,
            &[
                ("publish cmd/x", cmd),
                ("publish cert/x", cert),
                ("publish own/n/x", own),
                ("publish pub/x", true),
                ("publish x", false),
            ],
        );
    }
}

#[test]
fn rules_of_the_file_come_behind_those_of_the_configuration() {
    let config: Config =
        toml::from_str("[[rule]]\ndeny = ['publish']\ntopics = ['a/b']").expect("rules");
    let file: RulesFile =
        toml::from_str("[[rule]]\nallow = ['publish']\ntopics = ['a/#']").expect("rules");
    let read = ReadRules { file, places: vec!["rules.toml:1".to_owned()], ..ReadRules::default() };
    let rights = Rights::new(&set(&config, Some(&read)));
    let who = client("c", None);
    assert!(!ask(&rights, &who, "publish a/b"));
    assert!(ask(&rights, &who, "publish a/c"));
    let topic = TopicName::trusted("a/c");
    let asked = Asked::Publish { topic, qos: QoS::AtMostOnce, retain: false, bytes: 0 };
    let found = rights.explain(&who, &asked);
    assert_eq!(found.rule, "rules.toml:1");
    let passed: Vec<_> = found.passed_over.iter().map(|p| (&*p.rule, p.why)).collect();
    assert_eq!(passed, [("[[rule]] 1", "another topic")]);
}

#[test]
fn other_rules_hold_from_the_next_question_on() {
    let rights = rights("[[rule]]\nallow = ['publish']\ntopics = ['a']");
    let who = client("c", None);
    assert!(ask(&rights, &who, "publish a"));
    let old = rights.may(
        &who,
        &Asked::Publish {
            topic: TopicName::trusted("a"),
            qos: QoS::AtMostOnce,
            retain: false,
            bytes: 0,
        },
    );
    let config: Config = toml::from_str("[[rule]]\ndeny = ['publish']").expect("rules");
    rights.set(&set(&config, None));
    assert!(!ask(&rights, &who, "publish a"));
    assert_eq!(rights.rule_name(old.rule().expect("a rule")), None, "it is in force no more");
    rights.set(&set(&Config::default(), None));
    assert!(ask(&rights, &who, "publish a"));
    who.forget_standing();
    assert!(ask(&rights, &who, "publish a"));
}

/// The naive twin reads all rules one by one, from the first.
#[test]
fn compiled_rules_decide_as_rules_that_are_read_one_by_one() {
    let mut allowed = [0, 0];
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let rules = random_rules(&mut random);
        let rights = rights(&rules);
        for _ in 0..4 {
            let who = random_client(&mut random);
            for _ in 0..40 {
                let topic = random_levels(&mut random, &["a", "b", "c", "u", "$SYS", ""]).join("/");
                let filter = random_levels(&mut random, &["a", "b", "c", "u", "+", "$SYS", "#"]);
                let end = filter.iter().position(|level| *level == "#");
                let filter = filter[..end.map_or(filter.len(), |end| end + 1)].join("/");
                let qos = random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
                let (retain, bytes) = (random.chance(), random.below(3000));
                let topic = TopicName::trusted(if topic.is_empty() { "x" } else { &topic });
                let form = if random.percent(20) { "$exclusive/" } else { "" };
                let filter =
                    TopicFilter::parse(&format!("{form}{filter}"), &LIMITS).expect("a filter");
                let asked = match random.below(3) {
                    0 => Asked::Publish { topic, qos, retain, bytes },
                    1 => Asked::Receive { topic, qos, retain, bytes },
                    _ => Asked::Subscribe { filter: &filter, qos },
                };
                let decision = decide(&rights, &who, &asked);
                allowed[usize::from(decision.is_allowed())] += 1;
            }
        }
    }
    assert!(allowed.iter().all(|count| *count > 5_000), "{allowed:?}");
}

fn random_levels(random: &mut Random, levels: &[&'static str]) -> Vec<&'static str> {
    (0..1 + random.below(4)).map(|_| random.pick(levels)).collect()
}

fn random_rules(random: &mut Random) -> String {
    let mut text =
        String::from("[[access.group]]\nname = 'g'\nusers = ['u']\ncertificates = ['b']\n");
    for _ in 0..1 + random.below(12) {
        let key = random.pick(&["allow", "deny", "allow"]);
        let action = random.pick(&["publish", "subscribe", "receive", "all"]);
        text.push_str(&format!("[[rule]]\n{key} = ['{action}']\n"));
        let mut may = |percent: usize, line: String| {
            if random.percent(percent) {
                text.push_str(&line);
            }
        };
        may(20, "user = 'u'\n".to_owned());
        may(15, "client_id = '?'\n".to_owned());
        may(10, "certificate = '*'\n".to_owned());
        may(10, "listener = 'a'\n".to_owned());
        may(10, "address = ['10.0.0.0/8']\n".to_owned());
        may(20, "qos_max = 1\n".to_owned());
        if action == "publish" || action == "receive" {
            may(20, "retain = true\n".to_owned());
            may(20, "bytes_max = '1KiB'\n".to_owned());
        }
        let in_group = random.percent(20);
        let places = if in_group { ["%{group}", "%c"] } else { ["%u", "%{cn}"] };
        if in_group {
            text.push_str("group = 'g'\n");
        }
        if random.percent(80) {
            let levels = ["a", "b", "c", "+", "$SYS", places[0], places[1], "#"];
            let topics: Vec<String> = (0..1 + random.below(3))
                .map(|_| {
                    let filter = random_levels(random, &levels);
                    let end = filter.iter().position(|level| *level == "#");
                    let filter = filter[..end.map_or(filter.len(), |end| end + 1)].join("/");
                    format!("'{filter}'")
                })
                .collect();
            text.push_str(&format!("topics = [{}]\n", topics.join(", ")));
        }
    }
    text
}

fn random_client(random: &mut Random) -> Identity {
    let name = |random: &mut Random| random.pick(&["a", "b", "u", "+", "#", "a/b", "$SYS"]);
    let client_id = ClientId::new(name(random));
    let user = random.chance().then(|| name(random).into());
    let identity = Identity::new(client_id, user, Meter::forever());
    let circumstances = Circumstances {
        listener: random.chance().then(|| name(random).into()),
        address: random.chance().then(|| random.pick(&[[10, 0, 0, 1], [11, 0, 0, 1]]).into()),
        certificate: random.chance().then(|| name(random).into()),
        ..Circumstances::default()
    };
    identity.set_standing(match random.below(4) {
        0 => Standing::Unknown,
        1 => Standing::Past,
        _ => Standing::Of(circumstances),
    });
    identity
}
