//! Full queues on the real process, with its store on disk: what a publisher is told, what the ledger in
//! `$SYS` says, what becomes a dead letter and what is kept are all that was published.

mod process;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use process::{Sluice, new_folder};
use sluicemq::auth::edit::set_password;
use sluicemq::codec::{Ack, Connect, Packet, QoS, Reason, Version};
use wire::{Client, connect, message};

const COUNT: usize = 5000;
const KEPT: usize = 1000;
/// Receive Maximum that the broker announces.
const WINDOW: usize = 64;

/// A broker with operators, which have a password, and a store on disk.
fn start(config: &str) -> Sluice {
    let folder = new_folder();
    for user in ["operator", "operator-1"] {
        set_password(&folder.path().join("passwords"), user, b"pw").expect("a password file");
    }
    Sluice::start_in(folder, config)
}

/// An operator connects, and may read dead letters.
fn operator(at: SocketAddr, name: &str) -> Client {
    let (user_name, password) = (Some(name), Some(&b"pw"[..]));
    let named = Connect { user_name, password, ..connect(Version::V5, "operator") };
    let mut operator = Client::connect_with(at, &named);
    assert_eq!(operator.subscribe(&["$dead/#"], QoS::AtLeastOnce), [Reason::GrantedQoS1]);
    operator
}

fn broker(policy: &str) -> Sluice {
    start(&format!(
        "
        [[listener]]
        name = 'tcp'
        address = '127.0.0.1:0'
        allow_anonymous = true
        [store]
        path = 'data'
        [auth]
        password_file = 'passwords'
        dead_letter_users = 'operator-*'
        [access]
        default = 'allow'
        [[rule]]
        allow = ['subscribe', 'receive']
        client_id = 'watcher'
        topics = ['$SYS/#']
        [queue]
        policy = '{policy}'
        dead_letters = true
        [[class]]
        name = 'operators'
        user = 'operator-*'
        queue = {{ messages_max = 100000, bytes_max = '256MiB', policy = 'reject' }}
        [[topic_class]]
        name = 'odd one'
        filters = ['t/1', '+/3']
        [[topic_class]]
        name = 'rest of t'
        filters = ['t/0', 't/4', 't/1/#']
        "
    ))
}

/// The class of a topic, as [`broker`] has them.
fn class_of(topic: &str) -> &'static str {
    match topic {
        "t/1" | "t/3" => "odd one", // Though the other fits t/1 too.
        "t/0" | "t/4" => "rest of t",
        _ => "other",
    }
}

fn lasting<'a>(client_id: &'a str, clean_start: bool) -> Connect<'a> {
    Connect { session_expiry: 3600, clean_start, ..connect(Version::V5, client_id) }
}

/// Publishes numbers to so many topics; how many were accepted and how many refused.
fn publish(at: SocketAddr, topics: usize) -> (usize, usize) {
    let mut publisher = Client::connect(at, Version::V5, "p");
    let mut told = (0, 0);
    for first in (0..COUNT).step_by(WINDOW) {
        let batch = first..COUNT.min(first + WINDOW);
        for number in batch.clone() {
            let (topic, payload) = (format!("t/{}", number % topics), number.to_string());
            let packet_id = NonZeroU16::new(u16::try_from(number % WINDOW + 1).unwrap());
            let publish =
                sluicemq::codec::Publish { packet_id, ..message(&topic, payload.as_bytes()) };
            publisher.send(&Packet::Publish(publish));
        }
        for _ in batch {
            match publisher.puback() {
                Reason::Success => told.0 += 1,
                Reason::QuotaExceeded => told.1 += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

/// Entries by class of topics and reason.
type Classes = BTreeMap<(String, String), usize>;

/// The ledger in `$SYS` by class of topics, once each entry has one.
fn classes(at: SocketAddr) -> Classes {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let mut watcher = Client::connect(at, Version::V5, "watcher");
        watcher.subscribe(&["$SYS/broker/ledger/topics/#", "$SYS/broker/version"], QoS::AtMostOnce);
        let mut found = Classes::new();
        loop {
            let (topic, value) = watcher.message();
            let Some(rest) = topic.strip_prefix("$SYS/broker/ledger/topics/") else { break };
            let (class, reason) = rest.split_once('/').unwrap();
            let count = String::from_utf8(value).unwrap().parse().unwrap();
            found.insert((class.to_owned(), reason.to_owned()), count);
        }
        if found.keys().all(|(class, _)| class != "unread") {
            return found;
        }
        assert!(Instant::now() < deadline, "never read: {found:?}");
    }
}

/// Over all classes each reason has as many entries as the ledger.
#[track_caller]
fn assert_classes_add_up(classes: &Classes, ledger: &BTreeMap<String, usize>) {
    let mut sums = BTreeMap::new();
    for ((_, reason), count) in classes {
        *sums.entry(reason.clone()).or_default() += count;
    }
    assert_eq!(&sums, ledger);
}

/// The ledger in `$SYS`, without what is zero.
fn ledger(at: SocketAddr) -> BTreeMap<String, usize> {
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&["$SYS/broker/ledger/+"], QoS::AtMostOnce);
    let mut found = BTreeMap::new();
    for _ in sluicemq::message::Loss::ALL {
        let (topic, value) = watcher.message();
        let reason = topic.rsplit('/').next().unwrap().to_owned();
        found.insert(reason, String::from_utf8(value).unwrap().parse().unwrap());
    }
    found.retain(|_, count| *count > 0);
    found
}

/// So many dead letters, by reason and receiver; and by class of topics and reason.
fn letters(operator: &mut Client, count: usize) -> (BTreeMap<(String, String), usize>, Classes) {
    let mut found = BTreeMap::new();
    let mut classes = Classes::new();
    for _ in 0..count {
        let (topic, properties, packet_id) = operator.expect(|packet| match packet {
            Packet::Publish(publish) => {
                let properties = publish.properties.user_properties().into_iter();
                let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                let properties: BTreeMap<_, _> = properties.map(owned).collect();
                Some((publish.topic.to_owned(), properties, publish.packet_id))
            }
            _ => None,
        });
        if let Some(packet_id) = packet_id {
            operator.send(&Packet::PubAck(Ack::new(packet_id, Reason::Success)));
        }
        let (reason, receiver) = (properties["reason"].clone(), properties["receiver"].clone());
        let dead = format!("$dead/{reason}/");
        let original = topic.strip_prefix(&dead).unwrap_or_else(|| panic!("{topic}"));
        assert!(original.starts_with("t/"), "{topic}");
        assert_eq!(properties["publisher"], "p");
        *classes.entry((class_of(original).to_owned(), reason.clone())).or_default() += 1;
        *found.entry((reason, receiver)).or_default() += 1;
    }
    (found, classes)
}

#[test]
fn five_thousand_for_a_queue_of_a_thousand_are_accounted_for() {
    for (policy, topics, refused, reason, kept) in [
        ("reject", 7, COUNT - KEPT, "queue_full", 0..KEPT),
        ("drop_oldest", 7, 0, "dropped_oldest", COUNT - KEPT..COUNT),
        ("drop_newest", 7, 0, "dropped_newest", 0..KEPT),
        ("drop_qos0_first", 7, COUNT - KEPT, "queue_full", 0..KEPT),
        ("conflate", KEPT, 0, "conflated", COUNT - KEPT..COUNT),
    ] {
        let broker = broker(policy);
        let at = broker.address("tcp");
        let mut operator = operator(at, "operator-1");
        let mut stranger = Client::connect(at, Version::V5, "stranger");
        assert_eq!(stranger.subscribe(&["$dead/#"], QoS::AtLeastOnce), [Reason::NotAuthorized]);
        let mut receiver = Client::connect_with(at, &lasting("r", true));
        receiver.subscribe(&["t/#"], QoS::AtLeastOnce);
        receiver.goodbye();

        let (accepted, told) = publish(at, topics);
        assert_eq!((accepted, told), (COUNT - refused, refused), "{policy}");
        let (found, of_letters) = letters(&mut operator, COUNT - KEPT);
        let wanted = BTreeMap::from([((reason.to_owned(), "r".to_owned()), COUNT - KEPT)]);
        assert_eq!(found, wanted, "{policy}");
        let ledger = ledger(at);
        assert_eq!(ledger, BTreeMap::from([(reason.to_owned(), COUNT - KEPT)]), "{policy}");
        let classes = classes(at);
        assert_classes_add_up(&classes, &ledger);
        assert_eq!(classes, of_letters, "{policy}");
        assert_eq!(classes.len(), 3, "{policy}");

        let dropped = format!("$SYS/broker/clients/r/dropped/{reason}");
        let mut watcher = Client::connect(at, Version::V5, "watcher");
        watcher.subscribe(&["$SYS/broker/clients/r/#"], QoS::AtMostOnce);
        let client: BTreeMap<_, _> = (0..3).map(|_| watcher.message()).collect();
        assert_eq!(client[&dropped], (COUNT - KEPT).to_string().as_bytes());
        assert_eq!(client["$SYS/broker/clients/r/queue/messages"], KEPT.to_string().as_bytes());

        let mut receiver = Client::connect_with(at, &lasting("r", false));
        let mut got: Vec<usize> = Vec::new();
        while got.len() < KEPT {
            let (_, payload) = receiver.message();
            got.push(String::from_utf8(payload).unwrap().parse().unwrap());
        }
        assert_eq!(got, kept.collect::<Vec<_>>(), "{policy}");
        // And no more than that.
        for mut client in [receiver, operator] {
            client.send(&Packet::PingReq);
            client.expect(|packet| matches!(packet, Packet::PingResp).then_some(()));
        }
    }
}

/// Of three receivers one is full and not there, one has room, and one is a group.
#[test]
fn a_fan_out_of_which_one_receiver_is_full_is_accounted_for() {
    for (policy, reason, kept) in [
        ("reject", "queue_full", 0..10),
        ("drop_oldest", "dropped_oldest", 490..500),
        ("drop_newest", "dropped_newest", 0..10),
        ("conflate", "conflated", 499..500),
    ] {
        let broker = start(&format!(
            "
            [[listener]]
            name = 'tcp'
            address = '127.0.0.1:0'
            allow_anonymous = true
            [store]
            path = 'data'
            [auth]
            password_file = 'passwords'
            dead_letter_users = 'operator'
            [queue]
            dead_letters = true
            [[class]]
            name = 'small'
            client_id = 'full'
            queue = {{ messages_max = 10, policy = '{policy}' }}
            "
        ));
        let at = broker.address("tcp");
        let mut operator = operator(at, "operator");
        for client_id in ["full", "roomy"] {
            let mut receiver = Client::connect_with(at, &lasting(client_id, true));
            receiver.subscribe(&["t/#"], QoS::AtLeastOnce);
            receiver.goodbye();
        }
        let mut member = Client::connect(at, Version::V5, "member");
        member.subscribe(&["$share/g/t/#"], QoS::AtLeastOnce);
        let mut publisher = Client::connect(at, Version::V5, "p");
        let number = |payload: Vec<u8>| String::from_utf8(payload).unwrap().parse::<usize>();
        for sent in 0..500 {
            // One member has room: no message is refused.
            assert_eq!(publisher.publish("t/0", sent.to_string().as_bytes()), Reason::Success);
            assert_eq!(number(member.message().1), Ok(sent), "{policy}");
        }
        let lost = 500 - kept.len();
        let (found, _) = letters(&mut operator, lost);
        let wanted = BTreeMap::from([((reason.to_owned(), "full".to_owned()), lost)]);
        assert_eq!(found, wanted, "{policy}");
        assert_eq!(ledger(at), BTreeMap::from([(reason.to_owned(), lost)]), "{policy}");
        for (client_id, kept) in [("full", kept), ("roomy", 0..500)] {
            let mut receiver = Client::connect_with(at, &lasting(client_id, false));
            for wanted in kept {
                assert_eq!(number(receiver.message().1), Ok(wanted), "{policy} {client_id}");
            }
            receiver.send(&Packet::PingReq);
            receiver.expect(|packet| matches!(packet, Packet::PingResp).then_some(()));
        }
    }
}

/// Most of what waits is only in the store, the receiver is back and takes its time: what comes now
/// takes the places of what waits there.
#[test]
fn what_waits_in_the_store_is_replaced_too() {
    const TOPICS: usize = 400;
    let broker = broker("conflate");
    let at = broker.address("tcp");
    let mut receiver = Client::connect_with(at, &lasting("r", true));
    receiver.subscribe(&["t/#"], QoS::AtLeastOnce);
    receiver.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "p");
    let mut publish = |payload: &str| {
        for topic in 0..TOPICS {
            let topic = format!("t/{topic}");
            assert_eq!(publisher.publish(&topic, payload.as_bytes()), Reason::Success);
        }
    };
    publish("old");
    let receive_maximum = NonZeroU16::MIN;
    let mut receiver =
        Client::connect_with(at, &Connect { receive_maximum, ..lasting("r", false) });
    let (topic, packet_id) = receiver.expect(|packet| match packet {
        Packet::Publish(publish) => Some((publish.topic.to_owned(), publish.packet_id)),
        _ => None,
    });
    assert_eq!(topic, "t/0");
    publish("new");
    receiver.send(&Packet::PubAck(Ack::new(packet_id.unwrap(), Reason::Success)));
    let got: Vec<_> = (0..TOPICS).map(|_| receiver.message()).collect();
    assert!(got.iter().all(|(_, payload)| payload == b"new"));
    let topics: Vec<_> = got.into_iter().map(|(topic, _)| topic).collect();
    let wanted: Vec<_> = (1..TOPICS).chain([0]).map(|topic| format!("t/{topic}")).collect();
    assert_eq!(topics, wanted, "in their places; and that in flight was nobody's place");
    assert_eq!(ledger(at), BTreeMap::from([("conflated".to_owned(), TOPICS - 1)]));
}

/// A Session ends of which only the store knows what waits, and the broker has started again since: each
/// copy finds its class all the same.
#[test]
fn what_waits_in_the_store_is_told_apart_when_its_session_ends() {
    let mut broker = broker("reject");
    let mut receiver = Client::connect_with(broker.address("tcp"), &lasting("r", true));
    receiver.subscribe(&["t/#"], QoS::AtLeastOnce);
    receiver.goodbye();
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "p");
    let mut wanted = Classes::new();
    for number in 0..700 {
        let topic = format!("t/{}", number % 7);
        assert_eq!(publisher.publish(&topic, b"x"), Reason::Success);
        *wanted.entry((class_of(&topic).to_owned(), "taken_clean".to_owned())).or_default() += 1;
    }
    broker.kill_and_start_again();
    let at = broker.address("tcp");
    assert_eq!(classes(at), Classes::new(), "the ledger begins anew");
    let _taker = Client::connect_with(at, &lasting("r", true));
    let found = classes(at);
    assert_eq!(found, wanted);
    assert_classes_add_up(&found, &ledger(at));
}

/// What waits in the store keeps its band and its order when the broker is killed and starts again.
#[test]
fn bands_outlive_the_broker() {
    let mut broker = Sluice::start(
        "
        [[listener]]
        name = 'tcp'
        address = '127.0.0.1:0'
        allow_anonymous = true
        [store]
        path = 'data'
        [[priority]]
        filter = 'high/#'
        band = 3
        [[priority]]
        filter = 'low/#'
        band = 0
        ",
    );
    let at = broker.address("tcp");
    let mut receiver = Client::connect_with(at, &lasting("r", true));
    receiver.subscribe(&["#"], QoS::AtLeastOnce);
    receiver.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "p");
    for number in 0..300 {
        let topic = ["low/t", "t", "high/t"][number % 3];
        assert_eq!(publisher.publish(topic, number.to_string().as_bytes()), Reason::Success);
    }
    broker.kill_and_start_again();
    let mut receiver = Client::connect_with(broker.address("tcp"), &lasting("r", false));
    let mut got: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut order = Vec::new();
    for _ in 0..300 {
        let (topic, payload) = receiver.message();
        got.entry(topic.clone())
            .or_default()
            .push(String::from_utf8(payload).unwrap().parse().unwrap());
        order.push(topic);
    }
    for (at, topic) in ["low/t", "t", "high/t"].into_iter().enumerate() {
        assert_eq!(got[topic], (at..300).step_by(3).collect::<Vec<_>>(), "{topic}");
    }
    // Of the first hundred, all but the others' shares of ten each.
    let high = order[..100].iter().filter(|topic| *topic == "high/t").count();
    assert!((78..=82).contains(&high), "{high}");
}

/// Limits and policy change while the process runs, and what waits stays: everything is accounted for, on
/// both sides.
#[test]
fn what_reloads_leave_waiting_refuse_and_drop_is_all_that_was_published() {
    let rules = |max: usize, policy: &str| {
        format!(
            "
            [[listener]]
            name = 'tcp'
            address = '127.0.0.1:0'
            allow_anonymous = true
            [store]
            path = 'data'
            [session]
            receive_maximum = 100
            [queue]
            messages_max = {max}
            policy = '{policy}'
            "
        )
    };
    let broker = Sluice::start(&rules(50, "reject"));
    let at = broker.address("tcp");
    let mut receiver = Client::connect_with(at, &lasting("r", true));
    receiver.subscribe(&["t/#"], QoS::AtLeastOnce);
    receiver.goodbye();
    let mut publisher = Client::connect(at, Version::V5, "p");
    let mut published = 0;
    let mut publish = |count: usize, topics: usize| {
        let numbers = published..published + count;
        published += count;
        let told = numbers.map(|number| {
            publisher.publish(&format!("t/{}", number % topics), number.to_string().as_bytes())
        });
        told.filter(|reason| *reason == Reason::Success).count()
    };
    let mut reloads = 0;
    let mut reload = |text: &str| {
        std::fs::write(broker.file("sluice.toml"), text).expect("a configuration file");
        reloads += 1;
        broker.signal("HUP");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let reloaded = "rates, queues, classes, priorities and overload reloaded";
        let log = || std::fs::read_to_string(broker.file("log")).expect("the broker's log");
        while log().matches(reloaded).count() < reloads {
            assert!(std::time::Instant::now() < end, "{}", log());
        }
    };
    assert_eq!(publish(60, 10), 50);
    // What waits stays, and no more comes in.
    reload(&rules(20, "reject"));
    assert_eq!(publish(5, 10), 0);
    // Now what is beyond the limit goes for what comes.
    reload(&rules(30, "drop_oldest"));
    assert_eq!(publish(1, 1), 1);
    reload(&rules(40, "drop_newest"));
    assert_eq!(publish(20, 10), 20);
    // What waits is the store's alone, so of it nothing is replaced.
    reload(&rules(45, "conflate"));
    assert_eq!(publish(20, 5), 20);
    let wanted =
        [("conflated", 15), ("dropped_newest", 10), ("dropped_oldest", 21), ("queue_full", 15)];
    let wanted = BTreeMap::from(wanted.map(|(reason, count)| (reason.to_owned(), count)));
    assert_eq!(ledger(at), wanted);
    let mut receiver = Client::connect_with(at, &lasting("r", false));
    let mut got: Vec<usize> = Vec::new();
    for _ in 0..45 {
        got.push(String::from_utf8(receiver.message().1).unwrap().parse().unwrap());
    }
    assert_eq!(got.len() + wanted.values().sum::<usize>(), published);
    let kept = [21..50, 65..76, 101..106].into_iter().flatten();
    assert_eq!(got, kept.collect::<Vec<_>>());
    receiver.ping();
}
