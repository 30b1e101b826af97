//! Full queues on virtual time: what each policy keeps, and that nothing goes unaccounted.

mod virtual_time;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicemq::broker::mailbox::Account;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Connect, Packet, QoS, Reason};
use sluicemq::config::Config;
use sluicemq::message::Loss;
use virtual_time::{Got, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A policy for all clients, and dead letters that operators may read.
fn config(policy: &str) -> String {
    format!(
        "
        auth.dead_letter_users = 'operator-*'
        session.receive_maximum = 65535
        session.inflight_max = 65535
        queue.policy = '{policy}'
        queue.dead_letters = true
        [[class]]
        name = 'operators'
        user = 'operator-*'
        queue = {{ messages_max = 100_000, bytes_max = '256MiB', policy = 'reject' }}
        "
    )
}

/// An operator that subscribes to all dead letters.
fn operator(town: &mut Town) -> usize {
    let named = Connect { user_name: Some("operator-1"), ..connect("operator", true, 0) };
    let number = town.arrive(&named, "test");
    town.subscribe(number, "$dead/#", QoS::ExactlyOnce);
    number
}

/// A Session that is not there, subscribed to `filter`.
fn absent(town: &mut Town, client_id: &str, filter: &str, qos: QoS) {
    let number = town.arrive(&connect(client_id, true, 3600), "test");
    town.subscribe(number, filter, qos);
    town.cut(number);
}

/// It comes back; what it is given, in order.
fn back(town: &mut Town, client_id: &str) -> Vec<Got> {
    let number = town.arrive(&connect(client_id, false, 3600), "test");
    town.pass(SECOND);
    std::mem::take(&mut town.of(number).got)
}

fn payloads(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.payload.as_str()).collect()
}

fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter().map(|got| got.payload.parse().expect("a number")).collect()
}

fn lost(account: &Account, loss: Loss) -> u64 {
    account.ledger.iter().map(|class| u64::from(class[loss as usize])).sum()
}

/// The first law, with nothing in flight.
#[track_caller]
fn assert_first_law(account: &Account) {
    for class in 0..2 {
        let ledger: u64 = account.ledger[class].iter().map(|n| u64::from(*n)).sum();
        let found = account.completed[class] + account.queued[class] + ledger;
        assert_eq!(account.routed[class], found, "{account:?}");
    }
}

/// The second law, with nothing owed.
#[track_caller]
fn assert_second_law(town: &Town) {
    let sum = |counter| town.broker.metrics().sum(counter);
    let answered = sum(Counter::Accepted) + sum(Counter::Refused) + sum(Counter::Repeats);
    let lost = sum(Counter::LostWithConnection);
    assert_eq!(sum(Counter::ReceivedAboveQos0), answered + lost);
}

/// Dead letters by reason; each names its receiver, its age and its publisher.
fn letters(got: &[Got]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for got in got {
        let of = |name: &str| {
            let property = got.user_properties.iter().find(|(found, _)| found == name);
            property.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{name}: {got:?}"))
        };
        assert!(got.topic.starts_with(&format!("$dead/{}/", of("reason"))), "{got:?}");
        assert_eq!(of("publisher"), "p");
        of("age").parse::<u64>().expect("seconds");
        *found.entry(format!("{} {}", of("reason"), of("receiver"))).or_default() += 1;
    }
    found
}

/// 5000 messages for a Session that is offline and has a queue of 1000: what is refused, what
/// is dropped and what is kept are 5000.
#[test]
fn of_five_thousand_for_a_queue_of_a_thousand_none_goes_unaccounted() {
    for (policy, topics, refused, reason, kept) in [
        ("reject", 1, 4000, Loss::QueueFull, 0..1000),
        ("drop_oldest", 1, 0, Loss::DroppedOldest, 4000..5000),
        ("drop_newest", 1, 0, Loss::DroppedNewest, 0..1000),
        ("drop_qos0_first", 1, 4000, Loss::QueueFull, 0..1000),
        ("conflate", 1000, 0, Loss::Conflated, 4000..5000),
    ] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut town = Town::new(&config(policy));
            let operator = operator(&mut town);
            absent(&mut town, "r", "t/#", qos);
            let publisher = town.client("p");
            for number in 0..5000 {
                let topic = format!("t/{}", number % topics);
                town.publish(publisher, &topic, &number.to_string(), qos);
            }
            town.pass(SECOND);
            let answers = std::mem::take(&mut town.of(publisher).answers);
            assert_eq!(answers.len(), 5000);
            let told = answers.iter().filter(|(_, told)| *told == Reason::QuotaExceeded).count();
            let others = answers.iter().filter(|(_, told)| *told == Reason::Success).count();
            assert_eq!((told, others), (refused, 5000 - refused), "{policy}");
            let account = town.account("r");
            assert_eq!(lost(&account, reason), 4000, "{policy} {account:?}");
            assert_eq!(town.broker.metrics().lost(reason), 4000);
            assert_eq!(town.broker.metrics().dropped(), 4000);
            let found = letters(&std::mem::take(&mut town.of(operator).got));
            let wanted = BTreeMap::from([(format!("{} r", reason.name()), 4000)]);
            assert_eq!(found, wanted, "{policy}");
            assert_eq!(
                numbers(&back(&mut town, "r")),
                kept.clone().collect::<Vec<_>>(),
                "{policy}"
            );
            assert_first_law(&town.account("r"));
            assert_second_law(&town);
            assert_eq!(town.broker.metrics().sum(Counter::Letters), 4000);
            assert_eq!(town.broker.metrics().sum(Counter::LettersLost), 0);
        }
    }
}

/// One of three receivers is full, and one of the others a group: each keeps its own account.
#[test]
fn a_fan_out_of_which_one_receiver_is_full_is_accounted_for_at_each() {
    for (policy, reason) in [
        ("reject", Loss::QueueFull),
        ("drop_oldest", Loss::DroppedOldest),
        ("drop_newest", Loss::DroppedNewest),
        ("conflate", Loss::Conflated),
    ] {
        let small = format!(
            "{}
            [[class]]
            name = 'small'
            client_id = 'full'
            queue = {{ messages_max = 10, policy = '{policy}' }}
            ",
            config("reject")
        );
        let mut town = Town::new(&small);
        let operator = operator(&mut town);
        absent(&mut town, "full", "t", QoS::AtLeastOnce);
        absent(&mut town, "roomy", "t", QoS::AtLeastOnce);
        let member = town.client("member");
        town.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
        let publisher = town.client("p");
        for number in 0..500 {
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        }
        town.pass(SECOND);
        // One member had room each time: no message is refused.
        let answers = std::mem::take(&mut town.of(publisher).answers);
        assert!(answers.iter().all(|(_, told)| *told == Reason::Success), "{policy}");
        assert_eq!(numbers(&town.of(member).got), (0..500).collect::<Vec<_>>());
        let kept = if policy == "conflate" { 1 } else { 10 };
        let found = letters(&std::mem::take(&mut town.of(operator).got));
        let wanted = BTreeMap::from([(format!("{} full", reason.name()), 500 - kept)]);
        assert_eq!(found, wanted);
        assert_eq!(numbers(&back(&mut town, "roomy")), (0..500).collect::<Vec<_>>());
        assert_eq!(back(&mut town, "full").len(), kept);
        for client_id in ["full", "roomy", "operator"] {
            assert_first_law(&town.account(client_id));
        }
        let (_, group) = town.broker.view().groups.remove(0);
        assert_first_law(&group);
        assert_eq!(group.completed[1], 500);
        assert_second_law(&town);
    }
}

/// Many messages of one packet buffer are admitted in one go: the limits hold all the same.
#[test]
fn what_one_turn_brings_is_kept_and_dropped_as_if_each_came_alone() {
    for (policy, kept) in [
        ("drop_oldest", vec![27, 28, 29]),
        ("drop_newest", vec![0, 1, 2]),
        ("reject", vec![0, 1, 2]),
    ] {
        let mut town = Town::new(
            &config(policy).replace("queue.policy", "queue.messages_max = 3\nqueue.policy"),
        );
        absent(&mut town, "r", "t", QoS::AtLeastOnce);
        let publisher = town.client("p");
        town.publish_many(publisher, "t", 30, QoS::AtLeastOnce);
        assert_eq!(numbers(&back(&mut town, "r")), kept, "{policy}");
        assert_first_law(&town.account("r"));
    }
    // Of one topic there is never more than one, and a turn's own promises are known.
    let mut town = Town::new(
        &config("conflate").replace("queue.policy", "queue.messages_max = 1\nqueue.policy"),
    );
    absent(&mut town, "r", "t", QoS::AtLeastOnce);
    let publisher = town.client("p");
    town.publish_many(publisher, "t", 30, QoS::AtLeastOnce);
    assert!(town.of(publisher).answers.iter().all(|(_, told)| *told == Reason::Success));
    assert_eq!(numbers(&back(&mut town, "r")), [29]);
}

#[test]
fn qos_0_gives_way_first_and_the_oldest_of_it() {
    let mut town = Town::new(
        "
        queue = { messages_max = 4, qos0_offline = true, policy = 'drop_qos0_first' }
        ",
    );
    absent(&mut town, "r", "t", QoS::ExactlyOnce);
    let publisher = town.client("p");
    let mut publish = |payload: &str, qos| {
        town.publish(publisher, "t", payload, qos);
        town.of(publisher).answers.pop().map(|(_, told)| told)
    };
    let accepted = Some(Reason::Success);
    for (payload, qos, told) in [
        ("a0", QoS::AtMostOnce, None),
        ("b1", QoS::AtLeastOnce, accepted),
        ("c0", QoS::AtMostOnce, None),
        ("d2", QoS::ExactlyOnce, accepted),
        // Full: a0 goes, then c0, then nothing is left to go.
        ("e1", QoS::AtLeastOnce, accepted),
        ("f0", QoS::AtMostOnce, None),
        ("g1", QoS::AtLeastOnce, accepted),
        ("h1", QoS::AtLeastOnce, Some(Reason::QuotaExceeded)),
        ("i0", QoS::AtMostOnce, None),
    ] {
        assert_eq!(publish(payload, qos), told, "{payload}");
    }
    assert_eq!(payloads(&back(&mut town, "r")), ["b1", "d2", "e1", "g1"]);
    let account = town.account("r");
    let found = [Loss::DroppedQos0, Loss::QueueFull].map(|loss| lost(&account, loss));
    assert_eq!(found, [4, 1], "a0, c0, f0 and i0; h1");
    assert_first_law(&account);
}

/// In the place of the older one, whatever their QoS.
#[test]
fn the_newest_of_a_topic_takes_the_place_of_the_one_before() {
    for first in ALL {
        for second in ALL {
            let mut town = Town::new("queue = { qos0_offline = true, policy = 'conflate' }");
            absent(&mut town, "r", "#", QoS::ExactlyOnce);
            let publisher = town.client("p");
            for (topic, payload, qos) in [
                ("a", "a1", QoS::AtLeastOnce),
                ("b", "b1", first),
                ("c", "c1", QoS::AtMostOnce),
                ("b", "b2", second),
                ("c", "c2", QoS::AtLeastOnce),
                ("b", "b3", first),
            ] {
                town.publish(publisher, topic, payload, qos);
            }
            assert_eq!(payloads(&back(&mut town, "r")), ["a1", "b3", "c2"], "{first:?} {second:?}");
            assert_eq!(lost(&town.account("r"), Loss::Conflated), 3);
            assert_first_law(&town.account("r"));
        }
    }
}

/// What is in flight is not what waits.
#[test]
fn what_is_in_flight_is_neither_dropped_nor_replaced() {
    for policy in ["drop_oldest", "conflate"] {
        let rules = format!(
            "session.inflight_max = 2\nqueue = {{ messages_max = 2, policy = '{policy}', pause_max = '0s' }}"
        );
        let mut town = Town::new(&rules);
        let (publisher, receiver) = (town.client("p"), town.client("r"));
        town.subscribe(receiver, "t", QoS::AtLeastOnce);
        town.of(receiver).acknowledges = false;
        for number in 0..10 {
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        }
        assert_eq!(numbers(&town.of(receiver).got), [0, 1]);
        town.of(receiver).acknowledges = true;
        town.of(receiver).acknowledge(2);
        town.pass(SECOND);
        let kept: &[usize] = if policy == "conflate" { &[0, 1, 9] } else { &[0, 1, 8, 9] };
        assert_eq!(numbers(&town.of(receiver).got), kept, "{policy}");
        assert_first_law(&town.account("r"));
    }
}

/// A twin of a few lines says what waits; topics and QoS at random.
#[test]
fn conflation_and_dropping_agree_with_a_twin_of_a_few_lines() {
    let mut random = 11u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    for round in 0..60 {
        let policy = ["drop_oldest", "conflate", "drop_newest"][round % 3];
        let max = 1 + draw(12);
        let rules =
            format!("queue = {{ messages_max = {max}, qos0_offline = true, policy = '{policy}' }}");
        let mut town = Town::new(&rules);
        absent(&mut town, "r", "#", QoS::ExactlyOnce);
        let publisher = town.client("p");
        let mut twin: Vec<(usize, usize)> = Vec::new();
        for number in 0..200 {
            let topic = draw(8);
            town.publish(publisher, &format!("t/{topic}"), &number.to_string(), ALL[draw(3)]);
            let same = twin.iter().position(|(other, _)| *other == topic);
            match (policy, same) {
                ("conflate", Some(at)) => twin[at] = (topic, number),
                _ if twin.len() < max => twin.push((topic, number)),
                ("drop_oldest", _) => {
                    twin.remove(0);
                    twin.push((topic, number));
                }
                _ => {}
            }
        }
        let wanted: Vec<_> = twin.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers(&back(&mut town, "r")), wanted, "{policy} {max}");
        assert_first_law(&town.account("r"));
    }
}

#[test]
fn a_reload_changes_the_queues_of_who_is_not_there() {
    let small = "
        [[class]]
        name = 'small'
        client_id = 'r'
        queue = { messages_max = 5 }
    ";
    let mut town = Town::new(small);
    absent(&mut town, "r", "t", QoS::AtLeastOnce);
    let publisher = town.client("p");
    let publish = |town: &mut Town, from: usize, to: usize| {
        for number in from..to {
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        }
    };
    publish(&mut town, 0, 10);
    assert_eq!(town.account("r").queued, [0, 5]);
    let other: Config =
        toml::from_str(&small.replace("= 5", "= 5, policy = 'drop_oldest'")).unwrap();
    town.broker.reload(&other, town.now);
    publish(&mut town, 10, 12);
    assert_eq!(town.account("r").queued, [0, 5]);
    town.broker.reload(&Config::default(), town.now);
    publish(&mut town, 12, 20);
    assert_eq!(numbers(&back(&mut town, "r")), [2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
}

#[test]
fn expired_oversized_aged_and_refused_messages_become_letters_too() {
    let shaping = "shaping = { messages_rate = 1, messages_burst = 1, qos0_age_max = '2s' }";
    let rules =
        config("reject").replace("user = 'operator-*'", "user = 'operator-*'\nshaping = {}");
    let rules = format!("{shaping}\n{rules}");
    let mut town = Town::new(&rules);
    let operator = operator(&mut town);
    let small = Connect {
        maximum_packet_size: std::num::NonZeroU32::new(200),
        ..connect("small", true, 0)
    };
    let small = town.arrive(&small, "test");
    town.subscribe(small, "t", QoS::AtLeastOnce);
    let publisher = town.client("p");
    town.publish(publisher, "t", &"x".repeat(300), QoS::AtLeastOnce);
    town.pass(SECOND * 5);
    for _ in 0..10 {
        town.publish(publisher, "t", "x", QoS::AtMostOnce);
    }
    town.pass(SECOND * 20);
    let found = letters(&std::mem::take(&mut town.of(operator).got));
    assert_eq!(found.get("too_large small"), Some(&1), "{found:?}");
    let aged = lost(&town.account("small"), Loss::TooOld);
    assert!(aged > 0);
    assert_eq!(found.get("too_old small").copied().unwrap_or_default() as u64, aged);
}

/// What the broker says, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One line for each receiver and reason, and how many there were since the last; where topics have
/// classes it says which.
#[test]
fn the_log_tells_of_drops_at_most_once_in_ten_seconds() {
    for (classes, told) in [
        ("", [None, None]),
        ("[[topic_class]]\nname = 'of t'\nfilters = ['t']", [Some("of t"), Some("other")]),
    ] {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let lines = lines.finish();
        tracing::subscriber::with_default(lines, || {
            let queue = "queue = { messages_max = 2, policy = 'drop_newest' }";
            let mut town = Town::new(&format!("{queue}\n{classes}"));
            absent(&mut town, "r", "t", QoS::AtLeastOnce);
            absent(&mut town, "s", "u", QoS::AtLeastOnce);
            let publisher = town.client("p");
            for _ in 0..30 {
                for _ in 0..4 {
                    town.publish(publisher, "t", "x", QoS::AtLeastOnce);
                    town.publish(publisher, "u", "x", QoS::AtLeastOnce);
                }
                town.pass(SECOND);
            }
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for (receiver, class) in ["r", "s"].into_iter().zip(told) {
            let class = class.map(|class| format!("topic_class=\"{class}\" ")).unwrap_or_default();
            let fields = format!("receiver=\"{receiver}\" {class}reason=\"dropped_newest\" count=");
            let counts: Vec<u64> = log
                .lines()
                .filter(|line| line.contains("messages dropped"))
                .filter(|line| line.contains(&format!("receiver=\"{receiver}\" ")))
                .inspect(|line| assert!(line.contains(&fields), "{line}"))
                .map(|line| line.rsplit("count=").next().unwrap().trim().parse().unwrap())
                .collect();
            assert!((3..=4).contains(&counts.len()), "{receiver}: {counts:?}\n{log}");
            assert!(counts.iter().sum::<u64>() <= 118 && counts[1] >= 30, "{counts:?}");
        }
    }
}

#[test]
fn dead_letters_are_read_by_those_who_may_and_written_by_nobody() {
    let mut town = Town::new(&config("drop_newest"));
    let (stranger, publisher) = (town.client("stranger"), town.client("p"));
    for filter in ["$dead/#", "$dead/queue_full/+", "$share/g/$dead/#", "$dead"] {
        town.subscribe(stranger, filter, QoS::AtMostOnce);
        let answer = town.of(stranger).others.pop().unwrap();
        assert!(answer.contains("NotAuthorized"), "{filter}: {answer}");
    }
    town.publish(publisher, "$dead/queue_full/t", "x", QoS::AtLeastOnce);
    assert_eq!(town.of(publisher).answers.pop().unwrap().1, Reason::NotAuthorized);
    let operator = operator(&mut town);
    let answer = town.of(operator).others.pop().unwrap();
    assert!(answer.contains("GrantedQoS2") || answer.contains("Granted"), "{answer}");
    assert_eq!(town.of(operator).told, None);
    town.send(operator, &Packet::PingReq);
}

/// A queue of letters that is full itself makes no letters of letters.
#[test]
fn dead_letters_cause_no_dead_letters() {
    for policy in ["reject", "drop_oldest", "drop_newest", "conflate"] {
        let rules = config(policy)
            .replace("queue.policy", "queue.messages_max = 3\nqueue.policy")
            .replace("messages_max = 100_000", "messages_max = 7")
            .replace("policy = 'reject' }", &format!("policy = '{policy}' }}"));
        let mut town = Town::new(&rules);
        let named = Connect { user_name: Some("operator-1"), ..connect("operator", true, 3600) };
        let operator = town.arrive(&named, "test");
        town.subscribe(operator, "$dead/#", QoS::ExactlyOnce);
        town.subscribe(operator, "t", QoS::ExactlyOnce);
        town.cut(operator);
        absent(&mut town, "r", "t", QoS::AtLeastOnce);
        let publisher = town.client("p");
        for number in 0..100 {
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        }
        town.pass(SECOND);
        let named = Connect { user_name: Some("operator-1"), ..connect("operator", false, 3600) };
        let operator = town.arrive(&named, "test");
        town.pass(SECOND);
        let got = std::mem::take(&mut town.of(operator).got);
        assert!(!got.iter().any(|got| got.topic.contains("$dead/queue_full/$dead")), "{got:?}");
        assert!(!got.iter().any(|got| got.topic.matches("$dead").count() > 1), "{got:?}");
        assert_first_law(&town.account("operator"));
        assert_first_law(&town.account("r"));
        assert_second_law(&town);
        // Each drop of an ordinary message has its letter, or is known to have none for want of room;
        // those of letters have none.
        let sum = |counter| town.broker.metrics().sum(counter);
        let written = sum(Counter::Letters) + sum(Counter::LettersLost);
        assert!(written <= town.broker.metrics().dropped(), "{policy}: {written}");
        assert!(written >= 97, "{policy}: {written}");
    }
}

/// Whatever way a message is lost, its topic's class has it: the dead letters say the same, where there
/// are any.
#[test]
fn each_loss_is_told_apart_by_class_of_topics() {
    let mut town = Town::new(
        "
        auth.dead_letter_users = 'operator-*'
        queue = { messages_max = 4, dead_letters = true }
        limits.client = { publishes_rate = 1, publishes_burst = 10, action = 'reject' }
        [[class]]
        name = 'operators'
        user = 'operator-*'
        queue = { messages_max = 1000, dead_letters = false }
        [[topic_class]]
        name = 'first'
        filters = ['t/a', 'g/+']
        [[topic_class]]
        name = 'second'
        filters = ['t/#']
        ",
    );
    let operator = operator(&mut town);
    absent(&mut town, "r", "t/#", QoS::AtLeastOnce);
    absent(&mut town, "ended", "u", QoS::AtLeastOnce);
    let publisher = town.client("p");
    let mut publish = |topic: &str, qos| town.publish(publisher, topic, "x", qos);
    // Five for a queue of four, one without a receiver, and one for a Session that will end.
    for topic in ["t/b", "t/b", "t/a", "t/a", "t/a"] {
        publish(topic, QoS::AtLeastOnce);
    }
    publish("t/b", QoS::AtMostOnce);
    publish("u", QoS::AtLeastOnce);
    // The only member of a group leaves it with three messages that wait, and those beyond the rate.
    let mut member = connect("member", true, 3600);
    member.receive_maximum = std::num::NonZeroU16::MIN;
    let member = town.arrive(&member, "test");
    town.of(member).acknowledges = false;
    town.subscribe(member, "$share/g/g/+", QoS::AtLeastOnce);
    for topic in ["g/a", "g/b", "g/c"] {
        town.publish(publisher, topic, "x", QoS::AtLeastOnce);
    }
    for topic in ["t/a", "u", "u"] {
        town.publish(publisher, topic, "x", QoS::AtMostOnce);
    }
    town.unsubscribe(member, "$share/g/g/+");
    town.arrive(&connect("ended", true, 0), "test");
    town.pass(SECOND);

    let found = town.broker.view().topics.into_iter().map(|class| {
        let some: Vec<_> = class.reasons().filter(|(_, count)| *count > 0).collect();
        (class.class.to_string(), some)
    });
    let wanted = [
        ("first", vec![("queue_full", 1), ("group_gone", 2), ("over_rate", 1)]),
        ("second", vec![("offline_qos0", 1)]),
        ("other", vec![("taken_clean", 1), ("over_rate", 2)]),
        ("unread", vec![]),
    ];
    let wanted = wanted.map(|(class, losses)| (class.to_owned(), losses));
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    let letters = letters(&std::mem::take(&mut town.of(operator).got));
    assert_eq!(letters, BTreeMap::from([("queue_full r".to_owned(), 1)]));
}
