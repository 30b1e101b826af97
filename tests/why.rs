//! `why` says of each thing that stands between a publisher and a receiver that it does, on virtual time; and what
//! it says would happen is what happens.

mod virtual_time;

use std::task::{Poll, Waker};
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Why, WhyQuestion, WhyVerdict};
use sluicemq::codec::{Connect, Packet, Properties, Publish, QoS, Subscribe, SubscribeOptions};
use sluicemq::message::{ClientId, Loss};
use sluicemq::topic::TopicName;
use virtual_time::{Town, connect};

use WhyVerdict::{WouldArrive, WouldNotArrive, WouldWait};

const SECOND: Duration = Duration::from_secs(1);

fn question(client_id: &str, topic: &str) -> WhyQuestion {
    WhyQuestion::new(ClientId::new(client_id), TopicName::trusted(topic))
}

fn ask(town: &mut Town, question: WhyQuestion) -> Why {
    let mut enquiry = town.broker.why(question);
    for _ in 0..10 {
        if let Poll::Ready(why) = enquiry.poll(Waker::noop(), town.now) {
            return why.expect("not too many ask");
        }
        town.pass(Duration::ZERO);
    }
    panic!("no link answers");
}

/// Of the client `c` and the topic `t`.
fn why(town: &mut Town) -> Why {
    ask(town, question("c", "t"))
}

#[track_caller]
fn assert_says(why: &Why, verdict: WhyVerdict, reason: &str, words: &str) {
    assert_eq!((why.verdict(), why.reason()), (verdict, reason), "{why:?}");
    assert!(why.explanation().contains(words), "{why:?}");
    assert_eq!(why.advice().is_empty(), reason == "nothing", "{why:?}");
    let bad = why.steps().iter().any(|step| !step.is_ok());
    assert_eq!(bad, verdict != WouldArrive, "{why:?}");
}

fn subscribe(town: &mut Town, number: usize, filter: &str, options: SubscribeOptions) {
    let subscribe = Subscribe {
        rest: &[],
        packet_id: 9.try_into().unwrap(),
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: vec![(filter, options)],
    };
    town.send(number, &Packet::Subscribe(subscribe));
}

/// The client `c`, connected with a Session that lasts and subscribed to `t` with `QoS` 1.
fn receiver(town: &mut Town) -> usize {
    let number = town.arrive(&connect("c", true, 3600), "test");
    town.subscribe(number, "t", QoS::AtLeastOnce);
    number
}

/// So many messages of `t` are published.
fn publish(town: &mut Town, count: usize, qos: QoS) {
    let publisher = town.client("p");
    for n in 0..count {
        town.publish(publisher, "t", &n.to_string(), qos);
    }
}

/// Copies for `c` that were lost for this reason.
fn lost(town: &Town, loss: Loss) -> u32 {
    town.account("c").ledger.iter().map(|class| class[loss as usize]).sum()
}

#[test]
fn nothing_stands_in_the_way() {
    let mut town = Town::new("");
    let client = receiver(&mut town);
    assert_says(&why(&mut town), WouldArrive, "nothing", "would be sent at once");
    publish(&mut town, 1, QoS::AtLeastOnce);
    assert_eq!(town.of(client).got.len(), 1);
}

#[test]
fn an_unknown_client() {
    let mut town = Town::new("");
    assert_says(&why(&mut town), WouldNotArrive, "unknown_client", "No client \"c\" has a Session");
}

#[test]
fn offline_without_a_session() {
    let mut town = Town::new("");
    let client = town.client("c");
    town.cut(client);
    assert_says(&why(&mut town), WouldNotArrive, "unknown_client", "none had one");
    town.broker.watch();
    let client = town.client("c");
    town.cut(client);
    town.pass(SECOND * 30);
    let said = why(&mut town);
    assert_says(
        &said,
        WouldNotArrive,
        "offline_without_session",
        "ended with its connection, 30 s ago",
    );
    // One that lasted, and is over.
    let client = town.arrive(&connect("c", true, 5), "test");
    town.cut(client);
    town.pass(SECOND * 6);
    town.pass(Duration::ZERO);
    let said = why(&mut town);
    assert_says(&said, WouldNotArrive, "offline_without_session", "while it was away");
}

#[test]
fn offline_with_a_session_that_waits() {
    let mut town = Town::new("");
    let client = receiver(&mut town);
    town.cut(client);
    town.pass(SECOND);
    assert_says(&why(&mut town), WouldWait, "offline", "sent when it is back");
    publish(&mut town, 1, QoS::AtLeastOnce);
    let back = town.arrive(&connect("c", false, 3600), "test");
    assert_eq!(town.of(back).got.len(), 1);
}

#[test]
fn not_subscribed() {
    let mut town = Town::new("");
    receiver(&mut town);
    let said = ask(&mut town, question("c", "t/1"));
    assert_says(&said, WouldNotArrive, "not_subscribed", "None of its 1 Subscriptions matches");
    let all = town.client("all");
    town.subscribe(all, "#", QoS::AtMostOnce);
    let said = ask(&mut town, question("all", "$SYS/x"));
    assert_says(&said, WouldNotArrive, "not_subscribed", "begins with $");
}

#[test]
fn not_permitted_by_a_rule_that_is_named() {
    let rules = "
        [access]
        default = 'allow'
        [[rule]]
        deny = ['receive']
        client_id = 'c'
        topics = ['t']
    ";
    let mut town = Town::new(rules);
    let client = receiver(&mut town);
    let said = why(&mut town);
    assert_says(&said, WouldNotArrive, "not_authorized", "may not receive the topic: [[rule]] 1");
    publish(&mut town, 1, QoS::AtLeastOnce);
    assert_eq!((town.of(client).got.len(), lost(&town, Loss::NotAuthorized)), (0, 1));
}

#[test]
fn a_named_queue_is_full_or_has_what_its_consumer_may_not_receive() {
    let config = "
        [access]
        default = 'allow'
        [[rule]]
        deny = ['receive']
        client_id = 'c'
        topics = ['t']
        [[named_queue]]
        name = 'jobs'
        bindings = ['t', 'u']
        messages_max = 1
    ";
    let mut town = Town::new(config);
    town.broker.restore(town.now, &mut Scratch::default()).expect("nothing to restore");
    let client = town.client("c");
    town.subscribe(client, "$queue/jobs", QoS::AtLeastOnce);
    let said = ask(&mut town, question("c", "u"));
    assert_says(&said, WouldArrive, "nothing", "would be sent at once");
    assert_says(&ask(&mut town, question("c", "v")), WouldNotArrive, "not_subscribed", "");
    assert_says(&why(&mut town), WouldWait, "set_aside", "goes to another consumer, or waits");
    publish(&mut town, 1, QoS::AtLeastOnce);
    let said = ask(&mut town, question("c", "u"));
    assert_says(&said, WouldNotArrive, "queue_full", "1 of 1 messages wait");
    let aside = said.steps().iter().find(|step| step.step() == "aside").expect("a step");
    assert!(aside.text().starts_with("1 of its messages"), "{aside:?}");
}

#[test]
fn its_window_is_full() {
    let mut town = Town::new("session.inflight_max = 2");
    let client = receiver(&mut town);
    town.of(client).acknowledges = false;
    publish(&mut town, 2, QoS::AtLeastOnce);
    assert_says(&why(&mut town), WouldWait, "window_full", "2 of 2 messages are sent");
    let qos0 = question("c", "t").qos(QoS::AtMostOnce);
    assert_says(&ask(&mut town, qos0), WouldArrive, "nothing", "at once");
    publish(&mut town, 1, QoS::AtLeastOnce);
    assert_eq!(town.of(client).got.len(), 2);
    town.of(client).acknowledge(2);
    town.pass(SECOND);
    assert_eq!(town.of(client).got.len(), 3);
}

#[test]
fn it_is_shaped() {
    let classes = "
        [[class]]
        name = 'slow ones'
        client_id = 'c'
        shaping = { messages_rate = 1, messages_burst = 1 }
    ";
    let mut town = Town::new(classes);
    let client = receiver(&mut town);
    publish(&mut town, 2, QoS::AtLeastOnce);
    let said = why(&mut town);
    assert_says(
        &said,
        WouldWait,
        "shaped",
        "(class \"slow ones\") are full: the next leaves in 1000 ms",
    );
    assert_eq!(town.of(client).got.len(), 1);
    let mut town = Town::new("broker.egress = { messages_rate = 1, messages_burst = 1 }");
    let client = receiver(&mut town);
    publish(&mut town, 2, QoS::AtLeastOnce);
    assert_says(&why(&mut town), WouldWait, "shaped", "shares with other clients");
    assert_eq!(town.of(client).got.len(), 1);
}

/// What a queue of two does with one more, by its policy.
#[test]
fn its_queue_is_full_under_each_policy() {
    let (arrive, wait) = (WouldNotArrive, WouldWait);
    for (policy, qos, verdict, reason, loss) in [
        ("reject", QoS::AtLeastOnce, arrive, "queue_full", Loss::QueueFull),
        ("drop_newest", QoS::AtLeastOnce, arrive, "dropped_newest", Loss::DroppedNewest),
        ("drop_oldest", QoS::AtLeastOnce, wait, "dropped_oldest", Loss::DroppedOldest),
        ("drop_qos0_first", QoS::AtLeastOnce, arrive, "queue_full", Loss::QueueFull),
        ("conflate", QoS::AtLeastOnce, wait, "conflated", Loss::Conflated),
    ] {
        let config =
            format!("session.inflight_max = 1\nqueue.messages_max = 2\nqueue.policy = '{policy}'");
        let mut town = Town::new(&config);
        let client = receiver(&mut town);
        town.of(client).acknowledges = false;
        publish(&mut town, 3, qos);
        let before = lost(&town, loss);
        let said = ask(&mut town, question("c", "t").qos(qos));
        assert_says(&said, verdict, reason, " of 2 messages wait");
        assert!(said.advice().contains("queue."), "{said:?}");
        assert_eq!(lost(&town, loss), before, "looking changes nothing");
        publish(&mut town, 1, qos);
        assert_eq!(lost(&town, loss), before + 1, "{policy}: what it said has happened");
    }
}

#[test]
fn messages_of_qos_0_make_room_or_have_none() {
    let config = "session.inflight_max = 1\nqueue.messages_max = 1\nqueue.policy = 'drop_qos0_first'\n\
         queue.qos0_offline = true";
    let mut town = Town::new(config);
    let client = receiver(&mut town);
    town.cut(client);
    publish(&mut town, 1, QoS::AtMostOnce);
    assert_says(&why(&mut town), WouldWait, "dropped_qos0", "one of QoS 0 that waits makes room");
    let qos0 = question("c", "t").qos(QoS::AtMostOnce);
    let said = ask(&mut town, qos0);
    assert_says(&said, WouldWait, "dropped_qos0", "one of QoS 0");
    publish(&mut town, 1, QoS::AtLeastOnce);
    assert_eq!(lost(&town, Loss::DroppedQos0), 1);
    let said = ask(&mut town, question("c", "t").qos(QoS::AtMostOnce));
    assert_says(&said, WouldNotArrive, "dropped_qos0", "Its queue is full");
    publish(&mut town, 1, QoS::AtMostOnce);
    assert_eq!(lost(&town, Loss::DroppedQos0), 2);
}

#[test]
fn a_queue_that_conflates_has_no_room_for_another_topic() {
    let config = "session.inflight_max = 1\nqueue.messages_max = 1\nqueue.policy = 'conflate'";
    let mut town = Town::new(config);
    let client = receiver(&mut town);
    town.subscribe(client, "u", QoS::AtLeastOnce);
    town.of(client).acknowledges = false;
    publish(&mut town, 2, QoS::AtLeastOnce);
    let said = ask(&mut town, question("c", "u"));
    assert_says(&said, WouldNotArrive, "queue_full", "1 of 1 messages wait");
}

#[test]
fn what_waits_has_expired() {
    let mut town = Town::new("session.inflight_max = 1");
    town.broker.watch();
    let client = receiver(&mut town);
    town.of(client).acknowledges = false;
    publish(&mut town, 1, QoS::AtLeastOnce);
    let publisher = town.client("q");
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        topic: "t",
        packet_id: 1.try_into().ok(),
        expiry: Some(5),
        payload: b"x",
        ..Publish::default()
    };
    town.send(publisher, &Packet::Publish(publish));
    town.pass(SECOND * 6);
    let said = why(&mut town);
    assert_says(
        &said,
        WouldWait,
        "expired",
        "Of 1 messages of the topic that wait, 1 have expired",
    );
    // It is lost when it would be sent; then the loss is what is known of it.
    town.of(client).acknowledges = true;
    town.of(client).acknowledge(1);
    town.pass(SECOND);
    let said = why(&mut town);
    assert_says(&said, WouldArrive, "expired", "The last that did not arrive was lost");
    assert_eq!((said.losses().len(), said.losses()[0].count()), (1, 1));
    assert_eq!(said.advice(), Loss::Expired.advice());
}

#[test]
fn it_is_too_large() {
    let mut town = Town::new("");
    town.broker.watch();
    let small = Connect { maximum_packet_size: 100.try_into().ok(), ..connect("c", true, 3600) };
    let client = town.arrive(&small, "test");
    town.subscribe(client, "t", QoS::AtLeastOnce);
    // Fixed header, topic, identifier, length of properties: 2 + 3 + 2 + 1.
    for (bytes, verdict, reason) in
        [(92, WouldArrive, "nothing"), (93, WouldNotArrive, "too_large")]
    {
        let said = ask(&mut town, question("c", "t").payload_bytes(bytes));
        let words = if reason == "nothing" { "at once" } else { "101 bytes at least" };
        assert_says(&said, verdict, reason, words);
        let publisher = town.client("p");
        town.publish(publisher, "t", &"x".repeat(bytes), QoS::AtLeastOnce);
    }
    assert_eq!((town.of(client).got.len(), lost(&town, Loss::TooLarge)), (1, 1));
    // Of one that it is not told the size of, it knows the loss.
    let said = why(&mut town);
    assert_says(&said, WouldArrive, "too_large", "Maximum Packet Size");
}

#[test]
fn no_local() {
    let mut town = Town::new("");
    let client = town.arrive(&connect("c", true, 3600), "test");
    let options =
        SubscribeOptions { no_local: true, qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    subscribe(&mut town, client, "t", options);
    let own = question("c", "t").publisher(ClientId::new("c"));
    let said = ask(&mut town, own.clone());
    assert_says(&said, WouldNotArrive, "no_local", "not sent what it has published itself");
    let other = question("c", "t").publisher(ClientId::new("p"));
    assert_says(&ask(&mut town, other), WouldArrive, "nothing", "at once");
    town.publish(client, "t", "own", QoS::AtLeastOnce);
    assert!(town.of(client).got.is_empty());
    // Another Subscription that matches has not.
    town.subscribe(client, "+", QoS::AtMostOnce);
    assert_says(&ask(&mut town, own), WouldArrive, "nothing", "at once");
    town.publish(client, "t", "own", QoS::AtLeastOnce);
    assert_eq!(town.of(client).got.len(), 1);
}

#[test]
fn qos_0_while_it_is_offline() {
    let mut town = Town::new("");
    let client = town.arrive(&connect("c", true, 3600), "test");
    town.subscribe(client, "t", QoS::AtMostOnce);
    town.cut(client);
    // What it was granted counts, and what is published.
    for qos in [QoS::AtMostOnce, QoS::ExactlyOnce] {
        let said = ask(&mut town, question("c", "t").qos(qos));
        assert_says(&said, WouldNotArrive, "offline_qos0", "does not wait");
    }
    publish(&mut town, 1, QoS::ExactlyOnce);
    assert_eq!(lost(&town, Loss::OfflineQos0), 1);
}

#[test]
fn a_group_has_other_members_and_a_retained_message_is_told() {
    let mut town = Town::new("");
    for name in ["c", "d"] {
        let number = town.arrive(&connect(name, true, 3600), "test");
        town.subscribe(number, "$share/g/t", QoS::AtLeastOnce);
    }
    let publisher = town.client("p");
    town.publish_as(publisher, "t", "kept", QoS::AtLeastOnce, true);
    let said = why(&mut town);
    assert_says(&said, WouldArrive, "nothing", "at once");
    let text = |name: &str| {
        let step = said.steps().iter().find(|step| step.step() == name);
        step.unwrap_or_else(|| panic!("no step {name}: {said:?}")).text()
    };
    assert!(text("group").contains("one member of $share/g/t: 2 of them are connected"));
    assert!(text("retained").contains("4 bytes is retained"));
}

#[test]
fn a_group_without_a_member_keeps_nothing_of_qos_0() {
    let mut town = Town::new("");
    let number = town.arrive(&connect("c", true, 3600), "test");
    town.subscribe(number, "$share/g/t", QoS::AtLeastOnce);
    town.cut(number);
    let said = ask(&mut town, question("c", "t").qos(QoS::AtMostOnce));
    assert_says(&said, WouldNotArrive, "offline_qos0", "QoS 0");
    publish(&mut town, 1, QoS::AtMostOnce);
    assert_eq!(town.broker.metrics().lost(Loss::OfflineQos0), 1);
    assert_says(&why(&mut town), WouldWait, "offline", "not connected");
}

#[test]
fn all_queues_together_are_full() {
    let mut town = Town::new(
        "session.inflight_max = 1\ntotals.queued_bytes_max = '64KiB'\nqueue.bytes_max = '64KiB'\n\
         limits.packet_bytes_max = '64KiB'\nlimits.connect_bytes_max = '1KiB'\nlimits.will_bytes_max = '1KiB'",
    );
    let client = receiver(&mut town);
    town.of(client).acknowledges = false;
    let publisher = town.client("p");
    for _ in 0..3 {
        town.publish(publisher, "t", &"x".repeat(20_000), QoS::AtLeastOnce);
    }
    let said = ask(&mut town, question("c", "t").payload_bytes(20_000));
    assert_says(&said, WouldNotArrive, "memory_full", "All queues together");
}

/// What a strategy gives to another member does not come; of a key that the topic does not tell nothing is said.
#[test]
fn another_member_of_the_group_has_the_topic() {
    for (strategy, depends) in [
        ("'single_active'", false),
        ("'hash'", false),
        ("'sticky'", true),
        ("'hash'\nkey = 'property:order'", true),
    ] {
        let mut town = Town::new(&format!("[[group]]\nshare = 'g'\nstrategy = {strategy}"));
        let mut clients = Vec::new();
        for name in ["c", "d", "e", "f"] {
            let client = town.client(name);
            town.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
            clients.push((name, client));
        }
        publish(&mut town, 1, QoS::AtLeastOnce);
        let taker = clients.iter().find(|(_, client)| !town.of(*client).got.is_empty());
        let taker = taker.expect("one has it").0;
        for (name, _) in &clients {
            let said = ask(&mut town, question(name, "t"));
            let text = format!("{:?}", said.steps());
            match name == &taker {
                _ if depends => assert!(text.contains("depends on its publisher"), "{text}"),
                true => assert_says(&said, WouldArrive, "nothing", "at once"),
                false => {
                    let wanted = format!("\"{taker}\", has the messages");
                    assert_says(&said, WouldNotArrive, "another_member", &wanted);
                }
            }
            assert!(
                text.contains(&format!("as {}", strategy.split('\'').nth(1).unwrap())),
                "{text}"
            );
        }
    }
}

#[test]
fn another_client_has_an_exclusive_filter() {
    let mut town = Town::new("");
    let holder = town.client("holder");
    town.subscribe(holder, "$exclusive/t/+", QoS::AtLeastOnce);
    let client = town.client("c");
    town.subscribe(client, "$exclusive/t/+", QoS::AtLeastOnce);
    let said = ask(&mut town, question("c", "t/1"));
    let wanted = "$exclusive/t/+ is client \"holder\"'s";
    assert_says(&said, WouldNotArrive, "not_subscribed", wanted);
    assert_says(&ask(&mut town, question("holder", "t/1")), WouldArrive, "nothing", "at once");
    assert!(!why(&mut town).explanation().contains("exclusive"));
}
