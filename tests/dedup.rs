//! Deduplication on virtual time: what is a repeat, what its answer waits for, and what is remembered.

#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rows::Disk;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::property::put_user_property;
use sluicemq::codec::{Connect, Packet, PacketId, Properties, Publish, QoS, Reason, Version, Will};
use virtual_time::{Town, connect};

const SECOND: Duration = Duration::from_secs(1);
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A rule for all below `t`, with a window of a minute.
const RULE: &str = "
    [[dedup]]
    filter = 't/#'
    window = '60s'
    key = 'property:id'
    ";

fn rule(keys: &str) -> String {
    format!("{RULE}{keys}\n")
}

/// Publishes with the key `id`.
fn send(town: &mut Town, number: usize, topic: &str, id: &str, qos: QoS) -> Option<PacketId> {
    town.publish_with(number, topic, id, qos, false, &[("id", id)])
}

/// What a client was sent since it was last asked.
fn got(town: &mut Town, number: usize) -> Vec<String> {
    std::mem::take(&mut town.of(number).got).into_iter().map(|got| got.payload).collect()
}

/// The Reason Codes of the answers to what a client published.
fn answers(town: &mut Town, number: usize) -> Vec<Reason> {
    std::mem::take(&mut town.of(number).answers).into_iter().map(|(_, reason)| reason).collect()
}

fn sum(town: &Town, counter: Counter) -> u64 {
    town.broker.metrics().sum(counter)
}

/// Everything handed in is written, and what waited for it goes on.
fn write(town: &mut Town, disk: &Disk) {
    disk.write_all(|| town.pass(Duration::ZERO));
}

/// The second law.
#[track_caller]
fn assert_answered(town: &Town) {
    let answered = [Counter::Accepted, Counter::Refused, Counter::Repeats];
    let answered: u64 = answered.into_iter().map(|counter| sum(town, counter)).sum();
    assert_eq!(sum(town, Counter::ReceivedAboveQos0), answered, "the second law");
}

#[test]
fn a_repeat_goes_to_no_receiver_and_is_answered_as_accepted() {
    for qos in ALL {
        let mut town = Town::new(RULE);
        let reader = town.client("r");
        town.subscribe(reader, "#", QoS::ExactlyOnce);
        let sender = town.client("p");
        for (topic, id) in
            [("t/a", "1"), ("t/a", "1"), ("t/a", "2"), ("t/b", "1"), ("other", "1"), ("other", "1")]
        {
            send(&mut town, sender, topic, id, qos);
        }
        assert_eq!(got(&mut town, reader), ["1", "2", "1", "1", "1"], "{qos:?}");
        let expected = if qos == QoS::AtMostOnce { 0 } else { 6 };
        assert_eq!(answers(&mut town, sender), vec![Reason::Success; expected]);
        assert_eq!(sum(&town, Counter::Duplicates), 1);
        assert_eq!(sum(&town, Counter::Repeats), u64::from(qos > QoS::AtMostOnce));
        assert_answered(&town);
    }
}

#[test]
fn a_first_that_nothing_received_is_remembered_too() {
    let mut town = Town::new(RULE);
    let sender = town.client("p");
    send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    assert_eq!(answers(&mut town, sender), [Reason::NoMatchingSubscribers, Reason::Success]);
    assert_eq!(got(&mut town, reader), [""; 0]);
}

#[test]
fn first_and_repeat_in_one_read_are_told_apart() {
    let disk = Disk::default();
    let mut town = Town::with_store(RULE, Arc::new(disk.open()));
    let reader = town.arrive(&connect("r", true, 3600), "test");
    write(&mut town, &disk);
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    let sender = town.client("p");
    write(&mut town, &disk);
    let mut block = Vec::new();
    put_user_property(&mut block, "id", "1");
    let mut bytes = Vec::new();
    for packet_id in [PacketId::new(7), PacketId::new(8)] {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: "t",
            packet_id,
            properties: Properties::trusted(&block),
            payload: b"x",
            ..Publish::default()
        };
        let packet = Packet::Publish(publish);
        sluicemq::codec::encode(&packet, Version::V5, usize::MAX, &mut bytes).expect("it encodes");
    }
    town.send_bytes(sender, &bytes);
    assert_eq!(answers(&mut town, sender), [], "nothing is safe yet");
    write(&mut town, &disk);
    assert_eq!(answers(&mut town, sender), [Reason::Success; 2]);
    assert_eq!(got(&mut town, reader), ["x"]);
    assert_answered(&town);
}

#[test]
fn a_repeat_of_another_client_is_answered_when_the_first_is_safe() {
    let disk = Disk::default();
    let config = rule("scope = 'topic'");
    let mut town = Town::with_store(&config, Arc::new(disk.open()));
    let reader = town.arrive(&connect("r", true, 3600), "test");
    write(&mut town, &disk);
    town.subscribe(reader, "#", QoS::ExactlyOnce);
    let (first, second) = (town.client("p1"), town.client("p2"));
    write(&mut town, &disk);
    send(&mut town, first, "t", "1", QoS::AtLeastOnce);
    send(&mut town, second, "t", "1", QoS::AtLeastOnce);
    assert_eq!((answers(&mut town, first), answers(&mut town, second)), (vec![], vec![]));
    // The batch of the first is written, and that of the repeat is not.
    disk.write(1);
    town.pass(Duration::ZERO);
    assert_eq!(answers(&mut town, first), [Reason::Success]);
    assert_eq!(answers(&mut town, second), []);
    write(&mut town, &disk);
    assert_eq!(answers(&mut town, second), [Reason::Success]);
    assert_eq!(got(&mut town, reader), ["1"]);
    // Of another publisher, where nothing says that they share keys.
    let mut town = Town::new(RULE);
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    for client in ["p1", "p2", "p1", "p2"] {
        let sender = town.client(client);
        send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    }
    assert_eq!(got(&mut town, reader), ["1", "1"]);
    // A user that was verified has one key, whatever its Client Identifiers.
    for client in ["p3", "p4"] {
        let named = Connect { user_name: Some("user"), ..connect(client, true, 0) };
        let sender = town.arrive(&named, "test");
        send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    }
    assert_eq!(got(&mut town, reader), ["1"]);
}

#[test]
fn a_first_that_is_refused_leaves_its_place() {
    let config = rule("[queue]\nmessages_max = 1");
    let mut town = Town::new(&config);
    let reader = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    town.cut(reader);
    let sender = town.client("p");
    for id in ["1", "2", "2"] {
        send(&mut town, sender, "t", id, QoS::AtLeastOnce);
    }
    let full = Reason::QuotaExceeded;
    assert_eq!(answers(&mut town, sender), [Reason::Success, full, full]);
    let reader = town.arrive(&connect("r", false, 3600), "test");
    send(&mut town, sender, "t", "2", QoS::AtLeastOnce);
    send(&mut town, sender, "t", "2", QoS::AtLeastOnce);
    assert_eq!(answers(&mut town, sender), [Reason::Success; 2]);
    assert_eq!(got(&mut town, reader), ["1", "2"]);
    assert_eq!(sum(&town, Counter::Duplicates), 1);
    assert_answered(&town);
}

#[test]
fn rights_are_asked_before_the_key_is_looked_at() {
    let config = rule(
        "scope = 'topic'
        [[rule]]
        user = 'sensor'
        allow = ['all']
        topics = ['#']
        [[rule]]
        user = 'reader'
        allow = ['subscribe', 'receive']
        topics = ['#']",
    );
    let mut town = Town::new(&config);
    let arrive = |town: &mut Town, user| {
        town.arrive(&Connect { user_name: Some(user), ..connect(user, true, 0) }, "test")
    };
    let (sensor, reader) = (arrive(&mut town, "sensor"), arrive(&mut town, "reader"));
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    send(&mut town, reader, "t", "1", QoS::AtLeastOnce);
    assert_eq!(answers(&mut town, reader), [Reason::NotAuthorized], "and it takes no key");
    send(&mut town, sensor, "t", "1", QoS::AtLeastOnce);
    assert_eq!(got(&mut town, reader), ["1"]);
    send(&mut town, reader, "t", "1", QoS::AtLeastOnce);
    assert_eq!(answers(&mut town, reader), [Reason::NotAuthorized], "nor does it learn of one");
    assert_eq!(sum(&town, Counter::Duplicates), 0);
}

#[test]
fn each_kind_of_key_tells_messages_apart() {
    let data = |text: &[u8]| [&[9, 0, text.len() as u8], text].concat();
    let user = |id: &str| {
        let mut block = Vec::new();
        put_user_property(&mut block, "other", "x");
        put_user_property(&mut block, "id", id);
        put_user_property(&mut block, "id", "second");
        block
    };
    let none = Vec::new();
    // Properties, payload and whether it is a repeat, in turn.
    for (key, messages) in [
        (
            "property:id",
            [
                (user("1"), "a", false),
                (user("1"), "b", true),
                (user("2"), "a", false),
                (none.clone(), "a", false),
                (none.clone(), "a", false),
            ],
        ),
        (
            "correlation_data",
            [
                (data(b"1"), "a", false),
                (data(b"1"), "b", true),
                (data(b""), "a", false),
                (data(b""), "a", true),
                (user("1"), "a", false),
            ],
        ),
        (
            "payload",
            [
                (none.clone(), "a", false),
                (user("1"), "a", true),
                (none.clone(), "b", false),
                (none.clone(), "", false),
                (none.clone(), "", true),
            ],
        ),
    ] {
        let mut town = Town::new(&RULE.replace("property:id", key));
        let sender = town.client("p");
        for (index, (block, payload, repeat)) in messages.into_iter().enumerate() {
            let before = sum(&town, Counter::Duplicates);
            let publish = Publish {
                topic: "t",
                properties: Properties::trusted(&block),
                payload: payload.as_bytes(),
                ..Publish::default()
            };
            town.send(sender, &Packet::Publish(publish));
            let found = sum(&town, Counter::Duplicates) > before;
            assert_eq!(found, repeat, "{key} {index}");
        }
        let unkeyed = match key {
            "property:id" => 2,
            "correlation_data" => 1,
            _ => 0,
        };
        assert_eq!(sum(&town, Counter::Unkeyed), unkeyed, "{key}");
    }
}

#[test]
fn what_was_taken_at_qos_0_stands_for_no_promise() {
    let mut town = Town::new(RULE);
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::ExactlyOnce);
    let sender = town.client("p");
    for (qos, repeat) in [(0, false), (0, true), (1, false), (1, true), (2, true), (0, true)] {
        send(&mut town, sender, "t", "1", ALL[qos]);
        assert_eq!(got(&mut town, reader).is_empty(), repeat, "{qos}");
    }
    assert_answered(&town);
}

#[test]
fn a_will_is_a_message_like_others() {
    let mut town = Town::new(&RULE.replace("property:id", "payload"));
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let will = Will { topic: "t", payload: b"gone", ..Will::default() };
        let sender = town.arrive(&Connect { will: Some(will), ..connect("p", true, 0) }, "test");
        town.cut(sender);
    }
    assert_eq!(got(&mut town, reader), ["gone"]);
    town.pass(60 * SECOND);
    let sender = town.client("p");
    town.publish(sender, "t", "gone", QoS::AtLeastOnce);
    assert_eq!(got(&mut town, reader), ["gone"]);
}

#[test]
fn a_delayed_message_is_looked_at_when_it_comes_by_its_target_topic() {
    let mut town = Town::new(RULE);
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    let sender = town.client("p");
    for topic in
        ["$delayed/10s/t", "$delayed/10s/t", "t", "$delayed/10s/other", "$delayed/1s/other"]
    {
        send(&mut town, sender, topic, "1", QoS::AtLeastOnce);
    }
    assert_eq!(got(&mut town, reader), [""; 0]);
    for _ in 0..13 {
        town.pass(SECOND);
    }
    assert_eq!(got(&mut town, reader), ["1"; 3], "one of t, and both of a topic without a rule");
    assert_eq!(sum(&town, Counter::Duplicates), 2);
}

#[test]
fn the_window_counts_from_the_first_and_no_repeat_makes_it_longer() {
    let mut town = Town::new(RULE);
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    let sender = town.client("p");
    for (wait, taken) in [(0, true), (30, false), (29, false), (1, true), (59, false), (1, true)] {
        town.pass(wait * SECOND);
        send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
        assert_eq!(!got(&mut town, reader).is_empty(), taken, "after {wait}");
    }
}

#[test]
fn a_publisher_makes_room_for_its_keys_among_its_own() {
    let mut town = Town::new(&rule("keys_max = 2"));
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    let (one, other) = (town.client("p1"), town.client("p2"));
    send(&mut town, other, "t", "kept", QoS::AtLeastOnce);
    for id in ["1", "2", "3", "2", "3", "1"] {
        send(&mut town, one, "t", id, QoS::AtLeastOnce);
    }
    send(&mut town, other, "t", "kept", QoS::AtLeastOnce);
    assert_eq!(got(&mut town, reader), ["kept", "1", "2", "3", "1"]);
    assert_eq!(sum(&town, Counter::KeysEvicted), 2);
}

#[test]
fn users_that_were_verified_do_not_make_room_for_strangers() {
    let mut town = Town::new(&rule("keys_max = 8\nkeys_total_max = 8"));
    let repeats = |town: &mut Town, number: usize, ids: &[&str]| {
        let before = sum(town, Counter::Duplicates);
        for id in ids {
            send(town, number, "t", id, QoS::AtLeastOnce);
        }
        sum(town, Counter::Duplicates) - before
    };
    let named = |town: &mut Town, user: &str| {
        town.arrive(&Connect { user_name: Some(user), ..connect(user, true, 0) }, "test")
    };
    let (one, other) = (named(&mut town, "u1"), named(&mut town, "u2"));
    assert_eq!(repeats(&mut town, one, &["1", "2", "3", "4", "5"]), 0);
    // However many Client Identifiers they take, they have a quarter.
    for client in 0..20 {
        let stranger = town.client(&format!("s{client}"));
        assert_eq!(repeats(&mut town, stranger, &["1"]), 0);
    }
    assert_eq!(repeats(&mut town, one, &["1", "2", "3", "4", "5"]), 5);
    // A user takes from strangers only what is above their quarter, and then from the user with most keys.
    assert_eq!(repeats(&mut town, other, &["1", "2", "3"]), 0);
    assert_eq!(repeats(&mut town, other, &["1", "2", "3"]), 3);
    assert_eq!(repeats(&mut town, one, &["3", "4", "5"]), 3, "the oldest of the first went");
    let stranger = town.client("s19");
    assert_eq!(repeats(&mut town, stranger, &["1"]), 1);
}

#[test]
fn keys_outlast_a_restart_for_what_is_left_of_their_window() {
    let disk = Disk::default();
    let mut town = Town::with_store(RULE, Arc::new(disk.open()));
    let sender = town.client("p");
    for (id, qos) in [("0", 0), ("1", 1), ("2", 2)] {
        send(&mut town, sender, "t", id, ALL[qos]);
        write(&mut town, &disk);
        town.pass(SECOND);
    }
    let now = town.now;
    // The key is handed in, and the machine stops before it is written: it was not answered.
    send(&mut town, sender, "t", "lost", QoS::AtLeastOnce);
    drop(town);
    disk.crash();
    let restart = |config: &str, now| {
        let mut town = Town::with_store(config, Arc::new(disk.open()));
        town.now = now;
        town.broker.restore(now, &mut Default::default()).expect("it was written");
        let reader = town.client("r");
        town.subscribe(reader, "#", QoS::AtLeastOnce);
        let sender = town.client("p");
        (town, reader, sender)
    };
    let (mut town, reader, sender) = restart(RULE, now);
    for (id, qos) in [("0", 0), ("1", 1), ("2", 2), ("lost", 1)] {
        send(&mut town, sender, "t", id, ALL[qos]);
    }
    write(&mut town, &disk);
    assert_eq!(got(&mut town, reader), ["lost"]);
    town.pass(56 * SECOND);
    send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    assert_eq!(got(&mut town, reader), [""; 0], "58 s after the first");
    town.pass(2 * SECOND);
    send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    assert_eq!(got(&mut town, reader), ["1"], "60 s after it");
    write(&mut town, &disk);
    assert_eq!(disk.rows().get(&0x0F), Some(&3), "2, lost, and the newer 1");
    // A rule that is gone leaves nothing in the store.
    let (mut town, ..) = restart("", town.now);
    town.pass(SECOND);
    write(&mut town, &disk);
    assert_eq!(disk.rows().get(&0x0F), None);
}

#[test]
fn a_rule_keeps_its_keys_while_a_reload_keeps_its_filter() {
    let disk = Disk::default();
    let other = "[[dedup]]\nfilter = 'u'\nkey = 'payload'\n";
    let mut town = Town::with_store(RULE, Arc::new(disk.open()));
    let sender = town.client("p");
    send(&mut town, sender, "t", "1", QoS::AtLeastOnce);
    write(&mut town, &disk);
    let repeats = |town: &mut Town, config: &str| {
        town.reload(config);
        let before = sum(town, Counter::Duplicates);
        send(town, sender, "t", "1", QoS::AtLeastOnce);
        write(town, &disk);
        sum(town, Counter::Duplicates) - before
    };
    assert_eq!(repeats(&mut town, &format!("{other}{RULE}")), 1);
    assert_eq!(repeats(&mut town, &rule("keys_max = 1")), 1);
    town.pass(10 * SECOND);
    assert_eq!(repeats(&mut town, &RULE.replace("60s", "5s")), 0, "that is over");
    assert_eq!(repeats(&mut town, other), 0);
    town.pass(SECOND);
    write(&mut town, &disk);
    assert_eq!(disk.rows().get(&0x0F), None, "its rows are gone with it");
    assert_eq!(repeats(&mut town, RULE), 0, "it begins anew");
}

#[test]
fn the_first_rule_that_fits_counts() {
    let mut town = Town::new(&format!(
        "[[dedup]]\nfilter = 't/x'\nkey = 'payload'\n{RULE}[[dedup]]\nfilter = '#'\nkey = 'payload'\n"
    ));
    let reader = town.client("r");
    town.subscribe(reader, "#", QoS::AtLeastOnce);
    let sender = town.client("p");
    for topic in ["t/x", "t/y", "z"] {
        for id in ["1", "2"] {
            town.publish_with(sender, topic, "same", QoS::AtLeastOnce, false, &[("id", id)]);
        }
    }
    assert_eq!(got(&mut town, reader).len(), 4, "by payload, by property, by payload");
}

/// What is remembered, in the simplest way: a list.
#[derive(Default)]
struct Twin {
    keys: Vec<(String, String, bool, u64)>,
}

impl Twin {
    /// Whether it is taken. A publisher has eight keys at most.
    fn take(&mut self, publisher: &str, id: &str, above: bool, now: u64) -> bool {
        self.keys.retain(|key| now < key.3 + 60);
        let same = |key: &&(String, String, bool, u64)| key.0 == publisher && key.1 == id;
        if self.keys.iter().filter(same).any(|key| key.2 || !above) {
            return false;
        }
        if self.keys.iter().filter(|key| key.0 == publisher).count() == 8 {
            let oldest = self.keys.iter().position(|key| key.0 == publisher);
            self.keys.remove(oldest.expect("there are eight"));
        }
        self.keys.push((publisher.to_owned(), id.to_owned(), above, now));
        true
    }
}

#[test]
fn it_takes_what_a_list_takes() {
    for seed in 0..20_u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let disk = Disk::default();
        let config = rule("keys_max = 8");
        let mut town = Town::with_store(&config, Arc::new(disk.open()));
        let (mut twin, mut sent, mut taken) = (Twin::default(), 0, BTreeMap::new());
        let names = ["p0", "p1", "p2"];
        let mut clients = names.map(|name| town.client(name));
        for step in 0..400 {
            if draw(60) == 0 {
                // A restart: everything is written, for what was answered is.
                write(&mut town, &disk);
                let now = town.now;
                drop(town);
                town = Town::with_store(&config, Arc::new(disk.open()));
                town.now = now;
                town.broker.restore(now, &mut Default::default()).expect("it was written");
                clients = names.map(|name| town.client(name));
            }
            // No two keys are of one moment: their order would not outlast a restart.
            town.pass(SECOND * u32::try_from(1 + draw(5) * draw(5)).expect("few"));
            let (publisher, id, qos) = (draw(3) as usize, draw(14).to_string(), draw(3) as usize);
            let before = sum(&town, Counter::Duplicates);
            send(&mut town, clients[publisher], "t", &id, ALL[qos]);
            write(&mut town, &disk);
            let now = town.now.as_nanos() / 1_000_000_000;
            let expected = twin.take(names[publisher], &id, qos > 0, now);
            let found = sum(&town, Counter::Duplicates) == before;
            assert_eq!(found, expected, "seed {seed}, step {step}: {publisher} {id} {qos}");
            sent += 1;
            *taken.entry(found).or_insert(0) += 1;
        }
        assert!(taken.len() == 2 && taken.values().all(|count| *count > sent / 10), "{taken:?}");
        assert_eq!(disk.rows().get(&0x0F).copied().unwrap_or(0), twin.keys.len(), "seed {seed}");
    }
}
