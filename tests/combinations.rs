//! Each way in which messages are work (named queues, strategies, delay, deduplication, replay, exclusive filters),
//! with what the broker had before: each combination works, or `sluice check` refuses it. On virtual time.

#[allow(dead_code)] // Each test uses its part.
mod house;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::num::NonZero;
use std::time::Duration;

use house::{House, numbers};
use sluicemq::codec::{
    Connect, Packet, PacketId, Properties, Publish, QoS, Reason, Subscribe, SubscribeOptions,
    Version, Will,
};
use sluicemq::config::Config;
use sluicemq::message::Loss;
use virtual_time::connect;

const SECOND: Duration = Duration::from_secs(1);
const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A way from a publisher to the client `r`.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    /// What the configuration has for it.
    config: &'static str,
    /// What `r` subscribes to.
    filter: &'static str,
    /// Before the topic `t/…` of a PUBLISH.
    before: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Copies wait in a queue of `r`.
    Own,
    /// Copies wait in a queue that is shared.
    Shared,
    /// The same, and an order is kept: what would break it is refused by `sluice check`.
    Ordered,
    /// A log is read: it gives nothing away, and has limits of its own.
    Log,
}

const fn way(
    name: &'static str,
    config: &'static str,
    filter: &'static str,
    before: &'static str,
    kind: Kind,
) -> Way {
    Way { name, config, filter, before, kind }
}

const WAYS: &[Way] = &[
    way("queue", "[[named_queue]]\nname = 'q'\nbindings = ['t/#']\n", "$queue/q", "", Kind::Shared),
    way(
        "queue in turns",
        "[[named_queue]]\nname = 'q'\nbindings = ['t/#']\nstrategy = 'round_robin'\n",
        "$queue/q",
        "",
        Kind::Shared,
    ),
    way(
        "queue by key",
        "[[named_queue]]\nname = 'q'\nbindings = ['t/#']\nstrategy = 'hash'\n",
        "$queue/q",
        "",
        Kind::Ordered,
    ),
    way(
        "timed queue that keeps",
        "[[named_queue]]\nname = 'q'\nbindings = ['t/#']\nstrategy = 'single_active'\nttl = '1d'\n\
         ack_timeout = '1h'\nkeep = {}\n",
        "$queue/q",
        "",
        Kind::Ordered,
    ),
    way("share", "", "$share/g/t/#", "", Kind::Shared),
    way(
        "share at random",
        "[[group]]\nshare = 'g'\nstrategy = 'random'\n",
        "$share/g/t/#",
        "",
        Kind::Shared,
    ),
    way(
        "sticky share",
        "[[group]]\nshare = 'g'\nstrategy = 'sticky'\n",
        "$share/g/t/#",
        "",
        Kind::Ordered,
    ),
    way("delay", "", "t/#", "$delayed/1s/", Kind::Own),
    way(
        "delay to a queue",
        "[[named_queue]]\nname = 'q'\nbindings = ['t/#']\n",
        "$queue/q",
        "$delayed/1s/",
        Kind::Shared,
    ),
    way(
        "deduplication",
        "[[dedup]]\nfilter = 't/#'\nkey = 'payload'\nwindow = '1h'\n",
        "t/#",
        "",
        Kind::Own,
    ),
    way("replay", "[[keep]]\nname = 'k'\nbindings = ['t/#']\n", "$replay/k/all", "", Kind::Log),
    way("exclusive", "", "$exclusive/t/#", "", Kind::Own),
];

impl Way {
    /// A broker with it and some more of a configuration, which has no lists of its own before this.
    fn house(&self, more: &str) -> House {
        House::new(&self.with(more))
    }

    fn with(&self, more: &str) -> String {
        format!("{more}\n{}", self.config)
    }

    fn subscribe(&self, house: &mut House, client: usize, qos: QoS) {
        house.town.subscribe(client, self.filter, qos);
        house.settle();
    }

    /// The client `r`, subscribed at `QoS` 2, with a Session that lasts.
    fn receiver(&self, house: &mut House) -> usize {
        self.receiver_as(house, &connect("r", false, 1000))
    }

    fn receiver_as(&self, house: &mut House, own: &Connect<'_>) -> usize {
        let client = house.town.arrive(own, "test");
        self.subscribe(house, client, QoS::ExactlyOnce);
        client
    }

    /// One that answers when it is told to.
    fn silent(&self, house: &mut House, own: &Connect<'_>) -> usize {
        house.town.acknowledge = false;
        let client = self.receiver_as(house, own);
        house.town.acknowledge = true;
        client
    }

    /// Publishes numbers to `t/<name>`; what is delayed comes.
    fn publish(&self, house: &mut House, name: &str, numbers: std::ops::Range<usize>, qos: QoS) {
        house.publish(&format!("{}t/{name}", self.before), numbers, qos);
        self.come(house);
    }

    fn come(&self, house: &mut House) {
        let span = if self.before.is_empty() { Duration::ZERO } else { SECOND * 2 };
        house.pass(span);
    }
}

/// What a client has, once each, in the order in which it came first.
fn once(got: &[virtual_time::Got]) -> Vec<usize> {
    let mut all = numbers(got);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|number| seen.insert(*number));
    all
}

fn narrow<'c>(client_id: &'c str) -> Connect<'c> {
    Connect { receive_maximum: NonZero::<u16>::MIN, ..connect(client_id, false, 1000) }
}

fn lost(house: &House, loss: Loss) -> u64 {
    house.town.broker.metrics().lost(loss)
}

#[test]
fn at_each_quality_of_service_and_with_both_versions() {
    for way in WAYS {
        for (sent, granted) in ALL_QOS.into_iter().flat_map(|sent| ALL_QOS.map(|g| (sent, g))) {
            for version in [Version::V311, Version::V5] {
                let mut house = way.house("");
                let own = Connect { version, ..connect("r", true, 0) };
                let client = house.town.arrive(&own, "test");
                way.subscribe(&mut house, client, granted);
                way.publish(&mut house, "a", 0..3, sent);
                let got = house.got(client);
                assert_eq!(numbers(&got), [0, 1, 2], "{} {sent:?} {granted:?}", way.name);
                assert!(got.iter().all(|got| got.qos == sent.min(granted)), "{}", way.name);
            }
        }
    }
}

#[test]
fn one_at_a_time_and_in_order() {
    for way in WAYS {
        let mut house = way.house("");
        let client = way.silent(&mut house, &narrow("r"));
        way.publish(&mut house, "a", 0..5, QoS::AtLeastOnce);
        for number in 0..5 {
            assert_eq!(numbers(&house.got(client)), [number], "{}", way.name);
            house.town.of(client).acknowledge(1);
            house.settle();
        }
    }
}

#[test]
fn what_is_too_large_for_a_client_is_lost_and_holds_up_nothing() {
    for way in WAYS {
        let mut house = way.house("");
        let own = Connect { maximum_packet_size: NonZero::new(60), ..connect("r", true, 0) };
        let client = way.receiver_as(&mut house, &own);
        let publisher = house.town.client("p");
        let topic = format!("{}t/a", way.before);
        house.town.publish(publisher, &topic, &"7".repeat(80), QoS::AtLeastOnce);
        house.settle();
        way.publish(&mut house, "a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(client)), [1], "{}", way.name);
        assert_eq!(lost(&house, Loss::TooLarge), 1, "{}", way.name);
    }
}

#[test]
fn what_has_expired_does_not_come() {
    for way in WAYS {
        let mut house = way.house("");
        let client = way.receiver(&mut house);
        house.town.say_goodbye(client);
        let publisher = house.town.client("p");
        for (number, expiry) in [("0", Some(3)), ("1", None), ("2", Some(600))] {
            house.town.send(
                publisher,
                &Packet::Publish(Publish {
                    qos: QoS::AtLeastOnce,
                    topic: &format!("{}t/a", way.before),
                    packet_id: PacketId::new(number.parse::<u16>().unwrap() + 1),
                    expiry,
                    payload: number.as_bytes(),
                    ..Publish::default()
                }),
            );
            house.settle();
        }
        house.pass(SECOND * 10);
        let client = house.town.arrive(&connect("r", false, 1000), "test");
        house.settle();
        let got = house.got(client);
        assert_eq!(numbers(&got), [1, 2], "{}", way.name);
        assert!(got[1].expiry.is_some_and(|left| left < 600), "{} {got:?}", way.name);
    }
}

/// A client that was away, and one that is taken over, with messages in flight: all of them come, also over a crash.
#[test]
fn a_session_goes_on_where_it_was() {
    for (way, how) in WAYS
        .iter()
        .flat_map(|way| ["goodbye", "cut", "taken over", "restart"].map(|how| (way, how)))
    {
        let case = format!("{} {how}", way.name);
        let mut house = way.house("");
        let own = connect("r", false, 1000);
        let client = way.silent(&mut house, &own);
        way.publish(&mut house, "a", 0..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(client)), [0, 1], "{case}");
        match how {
            "goodbye" => house.town.say_goodbye(client),
            "cut" => house.town.cut(client),
            "restart" => house.restart(&way.with("")),
            _ => {}
        }
        house.settle();
        if how != "taken over" {
            way.publish(&mut house, "a", 2..4, QoS::AtLeastOnce);
        }
        let back = house.town.arrive(&own, "test");
        house.settle();
        if how == "taken over" {
            way.publish(&mut house, "a", 2..4, QoS::AtLeastOnce);
        }
        // What a consumer of a named queue breaks off with is tried again after a second or two.
        house.pass(SECOND * 3);
        let mut all = once(&house.got(back));
        if way.kind == Kind::Shared {
            all.sort_unstable();
        }
        assert_eq!(all, [0, 1, 2, 3], "{case}");
    }
}

/// A Session that was connected at a crash is away since the start after that, however often the broker starts then;
/// not if its client was there again.
#[test]
fn a_session_that_was_connected_at_a_crash_ends_in_its_time() {
    for returns in [false, true] {
        let mut house = House::new("");
        let own = connect("r", false, 100);
        let client = house.town.arrive(&own, "test");
        house.town.subscribe(client, "t/#", QoS::AtLeastOnce);
        house.settle();
        let sessions = |house: &House| house.town.broker.view().sessions.len();
        for there in [1, 1, usize::from(returns)] {
            house.restart_after(SECOND * 60, "");
            house.settle();
            assert_eq!(sessions(&house), there, "{returns}");
            if returns {
                house.town.arrive(&own, "test");
                house.settle();
            }
        }
        // One that was away before the crash is away since then.
        let client = house.town.arrive(&own, "test");
        house.settle();
        house.town.say_goodbye(client);
        house.settle();
        house.restart_after(SECOND * 60, "");
        house.settle();
        assert_eq!(sessions(&house), 1, "{returns}");
        house.restart_after(SECOND * 60, "");
        house.settle();
        assert_eq!(sessions(&house), 0, "{returns}");
    }
}

/// A right that is taken away holds for what comes then; what is given back, for what comes after that.
#[test]
fn rights_are_asked_for_each_message() {
    let allowed =
        "access.default = 'allow'\n[[rule]]\nallow = ['subscribe']\ntopics = ['$exclusive/#']\n";
    let denied =
        format!("{allowed}[[rule]]\ndeny = ['receive']\nclient_id = 'r'\ntopics = ['t/#']\n");
    for way in WAYS {
        let mut house = way.house(allowed);
        let client = way.receiver(&mut house);
        way.publish(&mut house, "a", 0..1, QoS::AtLeastOnce);
        house.town.reload(&way.with(&denied));
        way.publish(&mut house, "a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(client)), [0], "{}", way.name);
        house.town.reload(&way.with(allowed));
        way.publish(&mut house, "a", 2..3, QoS::AtLeastOnce);
        let mut came = numbers(&house.got(client));
        came.sort_unstable();
        // A named queue keeps for others what one may not have, unless that would break an order.
        let waits = way.filter == "$queue/q" && way.kind == Kind::Shared;
        assert_eq!(came, if waits { vec![1, 2] } else { vec![2] }, "{}", way.name);
    }
}

/// What is published with RETAIN goes this way too, and is retained once it is published.
#[test]
fn retained_messages() {
    for way in WAYS {
        let mut house = way.house("");
        let client = way.receiver(&mut house);
        let publisher = house.town.client("p");
        let topic = format!("{}t/a", way.before);
        house.town.publish_as(publisher, &topic, "5", QoS::AtLeastOnce, true);
        house.settle();
        way.come(&mut house);
        assert_eq!(numbers(&house.got(client)), [5], "{}", way.name);
        let later = house.town.client("later");
        house.town.subscribe(later, "t/a", QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(later)), [5], "{}", way.name);
        // Shared Subscriptions get none at the SUBSCRIBE; a log has it as any other message.
        let second = way.receiver_as(&mut house, &connect("second", true, 0));
        let second = house.got(second).len();
        let has = way.kind == Kind::Log || (way.kind == Kind::Own && way.name != "exclusive");
        assert_eq!(second, usize::from(has), "{}", way.name);
    }
}

#[test]
fn a_will() {
    for way in WAYS {
        let mut house = way.house("");
        let client = way.receiver(&mut house);
        let topic = format!("{}t/a", way.before);
        let will = Will { qos: QoS::AtLeastOnce, topic: &topic, payload: b"9", ..Will::default() };
        let dying = Connect { will: Some(will), ..connect("w", true, 0) };
        let dying = house.town.arrive(&dying, "test");
        house.town.cut(dying);
        house.settle();
        way.come(&mut house);
        assert_eq!(numbers(&house.got(client)), [9], "{}", way.name);
    }
}

/// No Local holds for what the client has published itself; with a Subscription that is shared it is a Protocol Error.
#[test]
fn no_local() {
    for way in WAYS {
        let mut house = way.house("");
        let client = house.town.client("r");
        let options = SubscribeOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            ..SubscribeOptions::default()
        };
        let subscribe = Subscribe {
            rest: &[],
            packet_id: PacketId::MAX,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![(way.filter, options)],
        };
        house.town.send(client, &Packet::Subscribe(subscribe));
        house.settle();
        if matches!(way.kind, Kind::Shared | Kind::Ordered) {
            assert_eq!(house.town.of(client).told, Some(Reason::ProtocolError), "{}", way.name);
            continue;
        }
        let topic = format!("{}t/a", way.before);
        house.town.publish(client, &topic, "0", QoS::AtLeastOnce);
        house.settle();
        way.publish(&mut house, "a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(client)), [1], "{}", way.name);
    }
}

#[test]
fn a_client_is_paced_by_its_class() {
    let more = "[[class]]\nname = 'slow'\nclient_id = 'r'\n\
                shaping = { messages_rate = 1, messages_burst = 1 }\n";
    for way in WAYS {
        let mut house = way.house(more);
        let client = way.receiver(&mut house);
        way.publish(&mut house, "a", 0..10, QoS::AtLeastOnce);
        house.pass(SECOND * 4);
        let first = numbers(&house.got(client)).len();
        assert!((3..=5).contains(&first), "{} {first}", way.name);
        house.pass(SECOND * 10);
        assert_eq!(first + numbers(&house.got(client)).len(), 10, "{}", way.name);
    }
}

/// A higher band overtakes what waits; a log keeps its order, and with a strategy that keeps one it is refused.
#[test]
fn priorities() {
    let more = "[[priority]]\nfilter = 't/urgent'\nband = 3\n";
    for way in WAYS {
        if is_refused(way, more, "keeps the order of what one member has") {
            continue;
        }
        let mut house = way.house(more);
        let client = way.silent(&mut house, &narrow("r"));
        way.publish(&mut house, "a", 0..3, QoS::AtLeastOnce);
        way.publish(&mut house, "urgent", 3..4, QoS::AtLeastOnce);
        let mut all = numbers(&house.got(client));
        for _ in 0..3 {
            house.town.of(client).acknowledge(1);
            all.extend(numbers(&house.got(client)));
        }
        let wanted = if way.kind == Kind::Log { [0, 1, 2, 3] } else { [0, 3, 1, 2] };
        assert_eq!(all, wanted, "{}", way.name);
    }
}

/// Each policy of `[queue]` where two messages may wait. A log has limits of its own.
#[test]
fn policies_of_full_queues() {
    for (policy, kept, loss) in [
        ("reject", vec![0, 1], Loss::QueueFull),
        ("drop_oldest", vec![2, 3], Loss::DroppedOldest),
        ("drop_newest", vec![0, 1], Loss::DroppedNewest),
        ("drop_qos0_first", vec![0, 1], Loss::QueueFull),
        ("conflate", vec![3], Loss::Conflated),
    ] {
        let more = format!(
            "auth.dead_letter_users = 'operator'\n\
             queue = {{ messages_max = 2, policy = '{policy}', pause_max = '0s', dead_letters = true }}\n"
        );
        for way in WAYS {
            if policy == "conflate" && is_refused(way, &more, "keeps every message in its order") {
                continue;
            }
            let case = format!("{} {policy}", way.name);
            let mut house = way.house(&more);
            let own = Connect { user_name: Some("operator"), ..connect("letters", true, 0) };
            let letters = house.town.arrive(&own, "test");
            if policy != "conflate" {
                house.town.subscribe(letters, "$dead/#", QoS::AtLeastOnce);
            }
            let client = way.receiver(&mut house);
            house.town.say_goodbye(client);
            way.publish(&mut house, "a", 0..4, QoS::AtLeastOnce);
            let client = house.town.arrive(&connect("r", false, 1000), "test");
            house.settle();
            let is_log = way.kind == Kind::Log;
            let wanted = if is_log { vec![0, 1, 2, 3] } else { kept.clone() };
            assert_eq!(numbers(&house.got(client)), wanted, "{case}");
            let gone = 4 - wanted.len();
            assert_eq!(lost(&house, loss), gone as u64, "{case}");
            // Letters would be conflated too.
            if policy != "conflate" {
                assert_eq!(house.got(letters).len(), gone, "{case}");
            }
        }
    }
}

/// Whether a combination is one that cannot hold: then `sluice check` says why, and else it finds nothing.
fn is_refused(way: &Way, more: &str, why: &str) -> bool {
    let listener = "[[listener]]\naddress = '127.0.0.1:1883'\n";
    let more = more.replace("auth.dead_letter_users = 'operator'\n", "");
    let config: Config = toml::from_str(&(way.with(&more) + listener)).expect("a configuration");
    let found = config.check().err().unwrap_or_default();
    let found: Vec<_> = found.iter().map(|problem| problem.to_string()).collect();
    let wanted = usize::from(way.kind == Kind::Ordered);
    assert_eq!(found.len(), wanted, "{} {found:?}", way.name);
    assert!(found.iter().all(|problem| problem.contains(why)), "{} {found:?}", way.name);
    wanted > 0
}
