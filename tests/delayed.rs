//! Delayed publish on virtual time: order, restarts, rights, expiry, limits, and what is looked at and cancelled.

mod virtual_time;

#[allow(dead_code)] // Queues need more of it.
mod house;
#[path = "../src/random.rs"]
mod random;
#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;

use std::task::{Poll, Waker};
use std::time::Duration;

use house::House;
use random::Random;
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{
    Connect, Packet, Properties, Publish, QoS, Reason, Subscribe, SubscribeOptions, Version, Will,
};
use sluicemq::message::{DelayKey, DelayedMessage, RefusalKind};
use sluicemq::store::DurableStore;
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: u32 = 3600;

/// A broker on a disk, and what it was configured with.
struct Place {
    house: House,
    config: String,
}

impl Place {
    fn new(config: &str) -> Place {
        Place { house: House::new(config), config: config.to_owned() }
    }

    /// The machine stops and starts again at once; clients are gone.
    fn restart(&mut self) {
        self.house.restart_after(Duration::ZERO, &self.config);
    }

    fn subscriber(&mut self, qos: QoS) -> usize {
        let number = self.house.town.arrive(&connect("s", false, HOUR * 24), "test");
        self.house.settle();
        self.house.town.subscribe(number, "#", qos);
        self.house.settle();
        number
    }

    fn publish(&mut self, number: usize, topic: &str, payload: &str) -> Reason {
        self.house.town.publish(number, topic, payload, QoS::AtLeastOnce);
        self.house.settle();
        self.house.town.of(number).answers.last().expect("an answer").1
    }
}

fn payloads(town: &mut Town, number: usize) -> Vec<String> {
    town.of(number).got.iter().map(|got| got.payload.clone()).collect()
}

fn look(town: &Town) -> Vec<(DelayKey, Option<DelayedMessage>)> {
    let mut look = town.broker.look_at_delayed(None, 1000, Waker::noop());
    match look.poll() {
        Poll::Ready(found) => found,
        Poll::Pending => panic!("all of it is in memory here"),
    }
}

/// What was accepted waits, was published or refused, or was cancelled.
fn check_law(town: &Town) {
    let metrics = town.broker.metrics();
    let of = |counter| metrics.sum(counter);
    let ended = of(Counter::DelayedPublished) + of(Counter::DelayedRefused);
    let found = look(town).len() as u64 + ended + of(Counter::DelayedCancelled);
    assert_eq!(of(Counter::DelayedAccepted), found);
}

#[test]
fn they_come_in_the_order_of_due_times_and_of_arrival_also_across_restarts() {
    for seed in 1..=20 {
        let mut random = Random::new(seed);
        let mut place = Place::new("");
        let (mut receiver, mut publisher) =
            (place.subscriber(QoS::AtLeastOnce), place.house.town.client("p"));
        // The twin: all that was accepted, sorted at the end.
        let (mut twin, mut came) = (Vec::new(), Vec::new());
        for number in 0..60 {
            match random.below(10) {
                0 => {
                    came.append(&mut payloads(&mut place.house.town, receiver));
                    place.restart();
                    receiver = place.subscriber(QoS::AtLeastOnce);
                    publisher = place.house.town.client("p");
                }
                1..4 => place.house.pass(Duration::from_millis(random.below_u64(20_000))),
                _ => {
                    let spans =
                        [("0s", 0), ("250ms", 250), ("1s", 1000), ("1", 1000), ("1m", 60_000)];
                    let (text, millis) = spans[random.below(spans.len())];
                    let topic = format!("$delayed/{text}/t/{}", random.below(3));
                    let due = place.house.town.now.after(Duration::from_millis(millis));
                    assert_eq!(
                        place.publish(publisher, &topic, &number.to_string()),
                        Reason::Success
                    );
                    twin.push((due, number));
                }
            }
        }
        place.house.pass(SECOND * 120);
        came.append(&mut payloads(&mut place.house.town, receiver));
        twin.sort();
        let wanted: Vec<_> = twin.iter().map(|(_, number)| number.to_string()).collect();
        assert_eq!(came, wanted, "seed {seed}");
        assert_eq!(place.house.disk.rows().get(&0x0e), None, "seed {seed}: no row is left");
        check_law(&place.house.town);
    }
}

#[test]
fn nothing_comes_before_it_is_due_and_the_store_remembers_when_it_came() {
    let mut place = Place::new("");
    let (receiver, publisher) = (place.subscriber(QoS::AtMostOnce), place.house.town.client("p"));
    place.publish(publisher, "$delayed/15s/a/b", "x");
    place.house.pass(Duration::from_millis(14_999));
    assert_eq!(payloads(&mut place.house.town, receiver), [""; 0]);
    // A clock that starts again goes on behind all that was received.
    assert!(DurableStore::newest(&place.house.disk.open()) >= BEGIN);
    place.restart();
    let receiver = place.subscriber(QoS::AtMostOnce);
    place.house.pass(Duration::ZERO);
    assert_eq!(payloads(&mut place.house.town, receiver), [""; 0]);
    place.house.pass(Duration::from_millis(1));
    assert_eq!(payloads(&mut place.house.town, receiver), ["x"]);
    assert_eq!(place.house.town.of(receiver).got[0].topic, "a/b");
}

/// However much of what was handed in is written when the machine stops.
#[test]
fn a_crash_while_it_is_published_neither_loses_nor_doubles_it() {
    for written in 0..12 {
        let mut place = Place::new("");
        let (receiver, publisher) =
            (place.subscriber(QoS::ExactlyOnce), place.house.town.client("p"));
        assert_eq!(place.publish(publisher, "$delayed/1s/t", "x"), Reason::Success);
        place.house.town.pass(SECOND);
        for _ in 0..written {
            place.house.town.pass(Duration::ZERO);
            place.house.disk.write(1);
        }
        let fresh =
            |town: &mut Town, number| town.of(number).got.iter().filter(|got| !got.dup).count();
        let before = fresh(&mut place.house.town, receiver);
        place.restart();
        let receiver = place.subscriber(QoS::ExactlyOnce);
        place.house.pass(SECOND);
        assert_eq!(before + fresh(&mut place.house.town, receiver), 1, "{written} batches written");
    }
}

#[test]
fn what_is_not_delayed_is_refused_and_said_why() {
    for version in [Version::V311, Version::V5] {
        let mut place = Place::new("[delayed]\nspan_max = '1h'\n");
        let client = Connect { version, ..connect("p", true, 0) };
        let publisher = place.house.town.arrive(&client, "test");
        for (topic, reason, kind) in [
            ("$delayed/15s", Reason::TopicNameInvalid, RefusalKind::PublishDelayed),
            ("$delayed/soon/t", Reason::TopicNameInvalid, RefusalKind::PublishDelayed),
            ("$delayed/1s/$SYS/broker", Reason::TopicNameInvalid, RefusalKind::PublishDelayed),
            ("$delayed/1s/$delayed/1s/t", Reason::TopicNameInvalid, RefusalKind::PublishDelayed),
            ("$delayed/3601s/t", Reason::QuotaExceeded, RefusalKind::DelayedSpan),
        ] {
            let before = place.house.town.broker.metrics().refused(kind);
            let told = if version == Version::V5 { reason } else { Reason::Success };
            assert_eq!(place.publish(publisher, topic, "x"), told, "{version:?} {topic}");
            assert_eq!(place.house.town.broker.metrics().refused(kind), before + 1, "{topic}");
        }
        assert_eq!(place.publish(publisher, "$delayed/1h/t", "x"), Reason::Success);
        for filter in ["$delayed/#", "$delayed/1s/t", "$delayed", "$share/g/$delayed/#"] {
            place.house.town.subscribe(publisher, filter, QoS::AtMostOnce);
            place.house.settle();
            let told = place.house.town.of(publisher).others.last().expect("SUBACK").clone();
            let wanted =
                if version == Version::V5 { "TopicFilterInvalid" } else { "UnspecifiedError" };
            assert!(told.contains(wanted), "{version:?} {filter}: {told}");
        }
        check_law(&place.house.town);
    }
}

#[test]
fn rights_are_asked_when_it_comes_and_again_when_it_is_due() {
    let all = "[[rule]]\nallow = ['all']\ntopics = ['#']\n";
    let denied = format!("[[rule]]\ndeny = ['publish']\nuser = 'ann'\ntopics = ['t']\n{all}");
    for restarts in [false, true] {
        for (user, comes) in [("ann", false), ("bob", true)] {
            let mut place = Place::new(all);
            let receiver = place.subscriber(QoS::AtLeastOnce);
            let client = Connect { user_name: Some(user), ..connect("p", true, 0) };
            let publisher = place.house.town.arrive(&client, "test");
            assert_eq!(place.publish(publisher, "$delayed/10s/t", "x"), Reason::Success);
            place.house.town.reload(&denied);
            place.config = denied.clone();
            let now = place.publish(publisher, "$delayed/10s/t", "y");
            assert_eq!(now, if comes { Reason::Success } else { Reason::NotAuthorized });
            let receiver = if restarts {
                place.restart();
                place.subscriber(QoS::AtLeastOnce)
            } else {
                receiver
            };
            place.house.pass(SECOND * 10);
            let wanted: &[&str] = if comes { &["x", "y"] } else { &[] };
            assert_eq!(
                payloads(&mut place.house.town, receiver),
                wanted,
                "{user}, restarts: {restarts}"
            );
            let refused = place.house.town.broker.metrics().sum(Counter::DelayedRefused);
            assert_eq!(refused, u64::from(!comes), "{user}, restarts: {restarts}");
            check_law(&place.house.town);
        }
    }
}

#[test]
fn its_publisher_with_no_local_does_not_get_it() {
    for restarts in [false, true] {
        let mut place = Place::new("");
        let lasting = connect("p", false, HOUR);
        let mut client = place.house.town.arrive(&lasting, "test");
        let packet_id = sluicemq::codec::PacketId::new(9).expect("not zero");
        let options = SubscribeOptions {
            no_local: true,
            qos: QoS::AtLeastOnce,
            ..SubscribeOptions::default()
        };
        let subscribe = Subscribe {
            rest: &[],
            packet_id,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![("#", options)],
        };
        place.house.town.send(client, &Packet::Subscribe(subscribe));
        place.house.settle();
        place.publish(client, "$delayed/10s/t", "own");
        if restarts {
            place.restart();
            client = place.house.town.arrive(&lasting, "test");
        }
        let other = place.house.town.client("other");
        place.publish(other, "$delayed/10s/t", "other's");
        place.house.pass(SECOND * 10);
        assert_eq!(payloads(&mut place.house.town, client), ["other's"], "restarts: {restarts}");
    }
}

#[test]
fn its_expiry_counts_from_when_it_came() {
    let mut place = Place::new("");
    let (receiver, publisher) = (place.subscriber(QoS::AtLeastOnce), place.house.town.client("p"));
    for (expiry, wanted) in
        [(14, Reason::QuotaExceeded), (15, Reason::QuotaExceeded), (20, Reason::Success)]
    {
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: "$delayed/15s/t",
            packet_id: sluicemq::codec::PacketId::new(100 + expiry),
            expiry: Some(expiry.into()),
            payload: b"x",
            ..Publish::default()
        };
        place.house.town.send(publisher, &Packet::Publish(publish));
        place.house.settle();
        let told = place.house.town.of(publisher).answers.last().expect("an answer").1;
        assert_eq!(told, wanted, "{expiry}");
    }
    assert_eq!(place.house.town.broker.metrics().refused(RefusalKind::DelayedExpiry), 2);
    place.house.pass(SECOND * 15);
    let got: Vec<_> = place.house.town.of(receiver).got.iter().map(|got| got.expiry).collect();
    assert_eq!(got, [Some(5)]);
}

#[test]
fn it_is_retained_when_it_is_due_and_not_before() {
    let mut place = Place::new("");
    let publisher = place.house.town.client("p");
    place.house.town.publish_as(publisher, "$delayed/10s/t", "x", QoS::AtLeastOnce, true);
    place.house.settle();
    for (after, wanted) in [(0, 0), (10, 1)] {
        place.house.pass(SECOND * after);
        let receiver = place.house.town.client(&format!("r{after}"));
        place.house.town.subscribe(receiver, "#", QoS::AtLeastOnce);
        place.house.settle();
        assert_eq!(place.house.town.of(receiver).got.len(), wanted, "after {after} s");
    }
}

#[test]
fn what_it_says_is_unchanged_and_it_comes_without_a_store_too() {
    for stored in [true, false] {
        let mut place = Place::new("");
        if !stored {
            place.house.town = Town::new("");
        }
        let (receiver, publisher) =
            (place.subscriber(QoS::ExactlyOnce), place.house.town.client("p"));
        let properties = [("a", "1"), ("b", "2")];
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = "$delayed/1/t";
            place.house.town.publish_with(publisher, topic, "x", qos, false, &properties);
            place.house.settle();
        }
        place.house.pass(SECOND);
        let got = &place.house.town.of(receiver).got;
        let qos: Vec<_> = got.iter().map(|got| got.qos as u8).collect();
        assert_eq!(qos, [0, 1, 2], "stored: {stored}");
        for got in got {
            let user: Vec<_> = got.user_properties.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!((&*got.topic, &*got.payload, user), ("t", "x", properties.to_vec()));
        }
        check_law(&place.house.town);
    }
}

#[test]
fn limits_are_asked_before_anything_changes_and_survive_a_restart() {
    let mut place =
        Place::new("[delayed]\nmessages_max = 2\nspan_max = '1m'\n[totals]\nuser_share = 100");
    let user = Connect { user_name: Some("ann"), ..connect("p", true, 0) };
    let mut publisher = place.house.town.arrive(&user, "test");
    assert_eq!(place.publish(publisher, "$delayed/10s/t", "x"), Reason::Success);
    assert_eq!(place.publish(publisher, "$delayed/20s/t", "y"), Reason::Success);
    for _ in 0..2 {
        assert_eq!(place.publish(publisher, "$delayed/10s/t", "z"), Reason::QuotaExceeded);
        assert_eq!(look(&place.house.town).len(), 2);
        assert_eq!(place.house.disk.rows().get(&0x0e), Some(&2));
        place.restart();
        publisher = place.house.town.arrive(&user, "test");
    }
    place.house.pass(SECOND * 10);
    assert_eq!(place.publish(publisher, "$delayed/10s/t", "z"), Reason::Success);
    assert_eq!(place.publish(publisher, "$delayed/10s/t", "z"), Reason::QuotaExceeded);
    place.house.pass(SECOND * 20);
    // A reload changes the longest span.
    assert_eq!(place.publish(publisher, "$delayed/61s/t", "z"), Reason::QuotaExceeded);
    place.house.town.reload("[delayed]\nspan_max = '2m'");
    assert_eq!(place.publish(publisher, "$delayed/61s/t", "z"), Reason::Success);
    check_law(&place.house.town);
}

#[test]
fn one_is_looked_at_and_cancelled() {
    for stored in [true, false] {
        let mut place = Place::new("");
        if !stored {
            place.house.town = Town::new("");
        }
        let (receiver, publisher) =
            (place.subscriber(QoS::AtLeastOnce), place.house.town.client("p"));
        for (span, payload) in [("20s", "c"), ("10s", "a"), ("10s", "b")] {
            place.publish(publisher, &format!("$delayed/{span}/t/{payload}"), payload);
        }
        let found = look(&place.house.town);
        let topic = |message: &Option<DelayedMessage>| {
            let message = &message.as_ref().expect("it is read").message;
            (message.topic().as_str().to_owned(), message.publisher().to_owned())
        };
        let topics: Vec<_> = found.iter().map(|(_, message)| topic(message).0).collect();
        assert_eq!(topics, ["t/a", "t/b", "t/c"], "stored: {stored}");
        assert_eq!(topic(&found[0].1).1, "p");
        assert_eq!(found[0].0.due(), place.house.town.now.after(SECOND * 10));
        let (place_of_b, b) = (found[1].0, found[1].1.as_ref().expect("it is read"));
        let scratch = &mut Scratch::default();
        let (broker, now) = (place.house.town.broker.clone(), place.house.town.now);
        assert!(broker.cancel_delayed(place_of_b, b, now, scratch).is_some());
        assert!(broker.cancel_delayed(place_of_b, b, now, scratch).is_none(), "it is gone");
        let mut page = broker.look_at_delayed(Some(found[0].0), 1, Waker::noop());
        let Poll::Ready(page) = page.poll() else { panic!("all of it is in memory here") };
        assert_eq!(page[0].0, found[2].0, "the next page begins behind the first");
        if stored {
            place.house.disk.write(usize::MAX);
            assert_eq!(place.house.disk.rows().get(&0x0e), Some(&2));
        }
        place.house.pass(SECOND * 20);
        assert_eq!(payloads(&mut place.house.town, receiver), ["a", "c"]);
        assert_eq!(broker.metrics().sum(Counter::DelayedCancelled), 1);
        check_law(&place.house.town);
    }
}

#[test]
fn a_will_is_delayed_once_it_is_published() {
    for (topic, comes) in [("$delayed/10s/w", true), ("$delayed/soon/w", false)] {
        let mut place = Place::new("");
        let receiver = place.subscriber(QoS::AtLeastOnce);
        let will = Will { qos: QoS::AtLeastOnce, topic, payload: b"gone", ..Will::default() };
        let client =
            place.house.town.arrive(&Connect { will: Some(will), ..connect("p", true, 0) }, "test");
        place.house.settle();
        assert_eq!(
            place.house.town.of(client).is_closed(),
            !comes,
            "{topic}: a wrong one is refused"
        );
        place.house.town.cut(client);
        place.house.settle();
        place.house.pass(Duration::from_millis(9_999));
        assert_eq!(payloads(&mut place.house.town, receiver), [""; 0]);
        place.house.pass(Duration::from_millis(1));
        assert_eq!(payloads(&mut place.house.town, receiver).len(), usize::from(comes), "{topic}");
    }
}

/// What is read ahead is bounded: thousands that are due at once come in order, in many ticks.
#[test]
fn thousands_at_once_come_in_order() {
    let mut place = Place::new("[queue]\nmessages_max = 10000\n");
    let (receiver, publisher) = (place.subscriber(QoS::AtMostOnce), place.house.town.client("p"));
    place.house.town.publish_many(publisher, "$delayed/5s/t", 3000, QoS::AtMostOnce);
    place.house.pass(SECOND * 5);
    for _ in 0..10 {
        place.house.settle();
    }
    let wanted: Vec<_> = (0..3000).map(|number| number.to_string()).collect();
    assert_eq!(payloads(&mut place.house.town, receiver), wanted);
}
