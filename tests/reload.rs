//! What a reload changes for what waits already and for what comes, on virtual time; and what a restart
//! still knows of it.

mod virtual_time;

#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rows::Disk;
use sluicemq::broker::overload::Sample;
use sluicemq::broker::turn::{Scratch, Turn};
use sluicemq::broker::{Broker, Publisher, Submission};
use sluicemq::codec::{Properties, QoS};
use sluicemq::config::Config;
use sluicemq::message::{ClientId, Draft, Identity, Loss, Meter};
use sluicemq::topic::TopicName;
use virtual_time::{Got, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
/// A Session's own, and a group's.
const FILTERS: [&str; 2] = ["#", "$share/g/#"];

fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut random = seed;
    move |below| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    }
}

fn config(text: &str) -> Config {
    toml::from_str(text).expect("a configuration")
}

/// A Session that is not there.
fn absent(town: &mut Town, disk: Option<&Disk>, filter: &str) {
    let number = town.arrive(&connect("r", true, 3600), "test");
    write(town, disk);
    town.subscribe(number, filter, QoS::AtLeastOnce);
    write(town, disk);
    town.cut(number);
}

/// It comes back; what it is given, in order.
fn back(town: &mut Town, disk: Option<&Disk>) -> Vec<Got> {
    let number = town.arrive(&connect("r", false, 3600), "test");
    for _ in 0..20 {
        write(town, disk);
        town.pass(SECOND);
    }
    std::mem::take(&mut town.of(number).got)
}

fn write(town: &mut Town, disk: Option<&Disk>) {
    while disk.is_some_and(|disk| disk.write(usize::MAX)) {
        town.pass(Duration::ZERO);
    }
}

fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter().map(|got| got.payload.parse().expect("a number")).collect()
}

/// Numbers by topic and level of service: each list is in order.
#[track_caller]
fn assert_in_order(got: &[Got], cx: &str) {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for got in got {
        found.entry((&got.topic, got.qos)).or_default().push(&got.payload);
    }
    for (topic, payloads) in found {
        let numbers: Vec<usize> = payloads.iter().map(|payload| payload.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{cx} {topic:?}: {numbers:?}");
    }
}

/// The naive twin is a list: what waits stays, and what comes is judged by the rules of now.
#[test]
fn what_waits_stays_and_what_comes_is_judged_anew() {
    let policies = ["reject", "drop_newest", "drop_oldest", "conflate"];
    let mut reached = BTreeMap::<(&str, &str), u32>::new();
    for round in 0..200 {
        let mut draw = draws(round);
        let filter = FILTERS[draw(2)];
        let (mut policy, mut max) = ("reject", 1 + draw(12));
        let rules = |policy: &str, max: usize| {
            format!("queue = {{ messages_max = {max}, qos0_offline = true, policy = '{policy}' }}")
        };
        let mut town = Town::new(&rules(policy, max));
        absent(&mut town, None, filter);
        let publisher = town.client("p");
        let mut twin: Vec<(usize, usize)> = Vec::new();
        for number in 0..150 {
            if draw(15) == 0 {
                let before = (policy, twin.len());
                (policy, max) = (policies[draw(4)], 1 + draw(12));
                town.broker.reload(&config(&rules(policy, max)), town.now);
                *reached.entry((before.0, policy)).or_default() += u32::from(before.1 > max);
                let view = town.broker.view();
                let waiting = view.sessions.iter().map(|session| &session.account);
                let waiting = waiting.chain(view.groups.iter().map(|(_, account)| account));
                let waiting: u64 = waiting.flat_map(|account| account.queued).sum();
                assert_eq!(waiting, twin.len() as u64, "{round} {number}");
            }
            let topic = draw(6);
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][draw(2)];
            town.publish(publisher, &format!("t/{topic}"), &number.to_string(), qos);
            let same = twin.iter().rposition(|(other, _)| *other == topic);
            match (policy, same) {
                // However many wait: they do not become more.
                ("conflate", Some(at)) => twin[at] = (topic, number),
                ("drop_oldest", _) => {
                    twin.push((topic, number));
                    twin.drain(..twin.len().saturating_sub(max));
                }
                _ if twin.len() < max => twin.push((topic, number)),
                _ => {}
            }
        }
        let wanted: Vec<_> = twin.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers(&back(&mut town, None)), wanted, "{round} {filter}");
    }
    assert_eq!(reached.len(), 16, "{reached:?}");
    assert!(reached.values().all(|count| *count > 0), "{reached:?}");
}

#[test]
fn limits_and_policy_change_for_who_is_connected() {
    let mut town = Town::new("session.inflight_max = 1\nqueue.messages_max = 3");
    let (receiver, publisher) = (town.client("r"), town.client("p"));
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.of(receiver).acknowledges = false;
    let publish = |town: &mut Town, from: usize, to: usize| {
        for number in from..to {
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
            town.pass(SECOND);
        }
    };
    publish(&mut town, 0, 10);
    assert_eq!(town.account("r").queued, [0, 3]);
    town.broker.reload(&config("session.inflight_max = 1\nqueue.messages_max = 5"), town.now);
    publish(&mut town, 10, 20);
    assert_eq!(town.account("r").queued, [0, 5]);
    let oldest = "queue = { messages_max = 2, policy = 'drop_oldest' }";
    town.broker.reload(&config(oldest), town.now);
    assert_eq!(town.account("r").queued, [0, 5]);
    publish(&mut town, 20, 21);
    let account = town.account("r");
    assert_eq!(account.queued, [0, 2]);
    assert_eq!(account.ledger[1][Loss::DroppedOldest as usize], 4);
}

fn band(filter: &str, band: usize) -> String {
    format!("[[priority]]\nfilter = '{filter}'\nband = {band}\n")
}

#[test]
fn a_copy_keeps_its_band_and_its_topic_does_not_overtake_it() {
    let rules = |more: String| format!("queue.qos0_offline = true\n{more}");
    let mut town = Town::new(&rules(band("a", 0)));
    absent(&mut town, None, "#");
    let publisher = town.client("p");
    let publish = |town: &mut Town, words: &str| {
        for word in words.split(' ') {
            town.publish(publisher, &word[..1], &word[1..], QoS::AtLeastOnce);
        }
    };
    publish(&mut town, "a0 b1 b2 b3");
    town.broker.reload(&config(&rules(band("a", 3) + &band("c", 2))), town.now);
    publish(&mut town, "a4 b5 c6");
    let got = back(&mut town, None);
    assert_eq!(numbers(&got), [6, 1, 2, 3, 5, 0, 4]);
    // Nothing waits: the new rules are the only ones.
    let number = town.arrive(&connect("r", false, 3600), "test");
    town.cut(number);
    publish(&mut town, "b7 c8 a9");
    assert_eq!(numbers(&back(&mut town, None)), [9, 8, 7]);
}

/// Rules change, the broker restarts, the receiver comes for some of it and goes: of each topic all comes in
/// order.
#[test]
fn topics_keep_their_order_over_reloads_and_restarts() {
    let topics = ["a/x", "a/y", "b/x", "b/y"];
    let filters = ["a/#", "+/x", "b/y", "#"];
    for round in 0..150 {
        let mut draw = draws(round);
        let disk = Disk::default();
        let durable = draw(3) > 0;
        let store = durable.then_some(&disk);
        let rules = |draw: &mut dyn FnMut(usize) -> usize| {
            let mut rules =
                "queue = { messages_max = 100_000, qos0_offline = true, pause_max = '0s' }\n"
                    .to_owned();
            if draw(2) == 0 {
                rules += &format!("[[priority]]\nproperty = 'urgent=yes'\nband = {}\n", draw(4));
            }
            for _ in 0..draw(3) {
                rules += &band(filters[draw(4)], draw(4));
            }
            rules
        };
        let mut text = rules(&mut draw);
        let mut town = match durable {
            true => Town::with_store(&text, Arc::new(disk.open())),
            false => Town::new(&text),
        };
        let filter = FILTERS[usize::from(draw(4) == 0)];
        absent(&mut town, store, filter);
        let mut publisher = town.client("p");
        let mut got = Vec::new();
        let mut count = 0;
        for number in 0..200 {
            match draw(25) {
                0 => {
                    text = rules(&mut draw);
                    town.broker.reload(&config(&text), town.now);
                }
                1 if durable => {
                    write(&mut town, store);
                    if draw(2) == 0 {
                        text = rules(&mut draw);
                    }
                    town = Town::with_store(&text, Arc::new(disk.open()));
                    town.broker
                        .restore(town.now, &mut Scratch::default())
                        .expect("rows that mean something");
                    publisher = town.client("p");
                }
                2 => {
                    // It takes some, and leaves before it has all.
                    let number = town.arrive(&connect("r", false, 3600), "test");
                    write(&mut town, store);
                    town.pass(Duration::ZERO);
                    got.append(&mut town.of(number).got);
                    write(&mut town, store);
                    town.cut(number);
                }
                _ => {}
            }
            let urgent: &[_] = if draw(3) == 0 { &[("urgent", "yes")] } else { &[] };
            let qos = [QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::AtMostOnce][draw(3)];
            let kept = qos > QoS::AtMostOnce || !durable;
            if kept {
                town.publish_with(
                    publisher,
                    topics[draw(4)],
                    &number.to_string(),
                    qos,
                    false,
                    urgent,
                );
                count += 1;
            }
            write(&mut town, store);
        }
        got.extend(back(&mut town, store));
        assert_in_order(&got, &format!("round {round} {filter}"));
        assert_eq!(got.len(), count, "round {round}");
    }
}

/// What waits in the store alone is known by topic after a restart: each is replaced, though there is no room
/// for one more.
#[test]
fn after_a_restart_only_the_newest_of_a_topic_waits() {
    let rules = "queue = { messages_max = 5, policy = 'conflate' }";
    for filter in FILTERS {
        let disk = Disk::default();
        let mut town = Town::with_store(rules, Arc::new(disk.open()));
        absent(&mut town, Some(&disk), filter);
        for round in 0..3 {
            let publisher = town.client("p");
            for topic in 0..7 {
                let payload = (round * 10 + topic).to_string();
                town.publish(publisher, &format!("t/{topic}"), &payload, QoS::AtLeastOnce);
                write(&mut town, Some(&disk));
            }
            town = Town::with_store(rules, Arc::new(disk.open()));
            let restored = town.broker.restore(town.now, &mut Scratch::default()).unwrap();
            assert_eq!(restored.messages(), 5);
        }
        assert_eq!(numbers(&back(&mut town, Some(&disk))), [20, 21, 22, 23, 24], "{filter}");
    }
}

/// Where a reload brings the policy, what only the store has stays, in its place.
#[test]
fn what_only_the_store_has_when_conflate_comes_stays() {
    let disk = Disk::default();
    let mut town = Town::with_store("queue.policy = 'reject'", Arc::new(disk.open()));
    absent(&mut town, Some(&disk), "#");
    let publisher = town.client("p");
    let publish = |town: &mut Town, from: usize, to: usize| {
        for number in from..to {
            town.publish(
                publisher,
                &format!("t/{}", number % 2),
                &number.to_string(),
                QoS::AtLeastOnce,
            );
            write(town, Some(&disk));
        }
    };
    publish(&mut town, 0, 4);
    town.broker.reload(&config("queue.policy = 'conflate'"), town.now);
    publish(&mut town, 4, 20);
    assert_eq!(numbers(&back(&mut town, Some(&disk))), [0, 1, 2, 3, 18, 19]);
}

#[test]
fn thresholds_of_overload_hold_from_the_next_sample_on() {
    let rules = |lag: &str, level: u8| {
        config(&format!("overload = {{ lag_max = '{lag}', hold = '1s', level_max = {level} }}"))
    };
    let mut town = Town::new("overload = { lag_max = '1s', hold = '1s' }");
    let observe = |town: &mut Town, count: u32| {
        for _ in 0..count {
            town.pass(SECOND / 10);
            let sample = Sample { lag: SECOND * 6 / 10, ..Sample::default() };
            town.broker.observe(&sample, town.now);
        }
        town.broker.pressure().level()
    };
    assert_eq!(observe(&mut town, 20), 1);
    town.broker.reload(&rules("600ms", 3), town.now);
    assert_eq!(town.broker.pressure().level(), 1);
    assert_eq!(observe(&mut town, 1), 3);
    // Less is asked for: it falls step by step, as it always does.
    town.broker.reload(&rules("10s", 3), town.now);
    assert_eq!(town.broker.pressure().level(), 3);
    assert_eq!(observe(&mut town, 12), 2);
    assert_eq!(observe(&mut town, 30), 0);
    // A level that may not be any more ends at once, though no sample may ever come.
    town.broker.reload(&rules("600ms", 3), town.now);
    assert_eq!(observe(&mut town, 1), 3);
    town.broker.reload(&rules("600ms", 1), town.now);
    assert_eq!(town.broker.pressure().level(), 1);
    town.broker.reload(&rules("600ms", 0), town.now);
    assert_eq!(town.broker.pressure().level(), 0);
}

#[test]
fn nobody_lingers_once_a_reload_says_so() {
    let mut town = Town::new("broker.linger_max = '50ms'");
    let (receiver, publisher) = (town.client("r"), town.client("p"));
    town.subscribe(receiver, "t", QoS::AtMostOnce);
    let publish = |town: &mut Town| {
        town.publish(publisher, "t", "x", QoS::AtMostOnce);
        town.of(receiver).got.len()
    };
    assert_eq!((publish(&mut town), publish(&mut town)), (1, 1));
    town.broker.reload(&Config::default(), town.now);
    town.pass(Duration::from_millis(50));
    assert_eq!(town.of(receiver).got.len(), 2);
    // A deadline that passes without an action would be found here.
    town.pass(SECOND);
    assert_eq!((publish(&mut town), publish(&mut town)), (3, 4));
    town.broker.reload(&config("broker.linger_max = '50ms'"), town.now);
    assert_eq!((publish(&mut town), publish(&mut town)), (5, 5));
}

/// A turn that has begun keeps its rules: what it brings is in its place all the same.
#[test]
fn a_turn_under_the_rules_before_does_not_mix_up_a_topic() {
    let mut town = Town::new("queue.policy = 'reject'");
    absent(&mut town, None, "#");
    let publisher = Arc::new(Identity::new(ClientId::new("p"), None, Meter::forever()));
    let publish = |broker: &Broker, mut turn: Turn<'_>, payload: &str| {
        let draft = Draft {
            topic: TopicName::trusted("t"),
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry: None,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        let submission = Submission::new(&draft, Publisher::Client(&publisher));
        broker.publish(submission, &mut turn);
        turn.finish();
    };
    let (broker, now) = (town.broker.clone(), town.now);
    let (mut old, mut new) = (Scratch::default(), Scratch::default());
    let before = broker.turn(&mut old, now);
    broker.reload(&config("queue.policy = 'conflate'"), now);
    publish(&broker, broker.turn(&mut new, now), "0");
    publish(&broker, before, "1");
    publish(&broker, broker.turn(&mut new, now), "2");
    assert_eq!(numbers(&back(&mut town, None)), [0, 2]);
}
