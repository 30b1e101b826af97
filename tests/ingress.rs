//! Ingress limits on virtual time: what is looked at when is exact here.

mod virtual_time;

use std::time::Duration;

use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use sluicemq::config::Config;
use virtual_time::{BEGIN, Got, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
const VERSIONS: [Version; 2] = [Version::V311, Version::V5];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Everybody may send so much, `keys` of `[limits.client]`; a client of ours has as much in flight as
/// it likes.
fn limited(keys: &str) -> String {
    format!(
        "
        queue = {{ messages_max = 20_000, bytes_max = '64MiB' }}
        session = {{ receive_maximum = 65_535, inflight_max = 65_535 }}
        [limits]
        unreleased_max = 65_535
        owed_max = 65_535
        {keys}
        "
    )
}

fn town(keys: &str) -> Town {
    Town::new(&limited(&format!("client = {{ {keys} }}")))
}

/// A client that may do as it likes: it hears what the others say.
fn ear(town: &mut Town) -> usize {
    let ear = town.client("ear");
    town.subscribe(ear, "t/#", QoS::ExactlyOnce);
    ear
}

fn of_version(version: Version, client_id: &str) -> Connect<'_> {
    Connect { version, ..connect(client_id, true, 0) }
}

fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter().map(|got| got.payload.trim().parse().expect("a number")).collect()
}

/// Publishes so many numbers at once.
fn burst(town: &mut Town, publisher: usize, count: usize, qos: QoS) {
    for number in 0..count {
        town.publish(publisher, "t", &number.to_string(), qos);
    }
}

/// Second law: whatever was looked at has its answer.
#[track_caller]
fn assert_answered(town: &Town, received: u64) {
    let sum = |counter| town.broker.metrics().sum(counter);
    assert_eq!(sum(Counter::ReceivedAboveQos0), received);
    let answered = sum(Counter::Accepted) + sum(Counter::Refused) + sum(Counter::Repeats);
    assert_eq!(answered, received);
}

#[test]
fn who_is_too_fast_waits_and_loses_nothing() {
    for version in VERSIONS {
        for qos in LEVELS {
            let mut town = town("publishes_rate = 100, publishes_burst = 10");
            let ear = ear(&mut town);
            // Silent for longer than its Keep Alive, because the broker does not read.
            let publisher =
                town.arrive(&Connect { keep_alive: 1, ..of_version(version, "p") }, "test");
            burst(&mut town, publisher, 1_000, qos);
            assert_eq!(town.of(ear).got.len(), 10);
            assert!(town.of(publisher).held_back() > 0);
            town.pass(SECOND * 10);
            let got = std::mem::take(&mut town.of(ear).got);
            assert_eq!(numbers(&got), (0..1_000).collect::<Vec<_>>(), "{version:?} {qos:?}");
            for (number, got) in got.iter().enumerate() {
                let gaps = u32::try_from(number.saturating_sub(9)).unwrap();
                assert_eq!(
                    got.at.since(BEGIN),
                    SECOND / 100 * gaps,
                    "{version:?} {qos:?} {number}"
                );
            }
            assert!(town.of(publisher).held_back() == 0 && !town.of(publisher).is_closed());
            let sum = |counter| town.broker.metrics().sum(counter);
            assert_eq!((sum(Counter::RatePauses), sum(Counter::RateRefused)), (990, 0));
            assert_answered(&town, if qos == QoS::AtMostOnce { 0 } else { 1_000 });
        }
    }
}

#[test]
fn bytes_have_a_rate_of_their_own() {
    let mut town = town("publish_bytes_rate = '10KiB', publish_bytes_burst = '1KiB'");
    let ear = ear(&mut town);
    let publisher = town.client("p");
    for number in 0..500 {
        town.publish(publisher, "t", &format!("{number:>200}"), QoS::AtLeastOnce);
    }
    town.pass(SECOND * 60);
    let got = std::mem::take(&mut town.of(ear).got);
    assert_eq!(numbers(&got), (0..500).collect::<Vec<_>>());
    let took = got.last().unwrap().at.since(BEGIN).as_secs_f64();
    let wanted = (499 * got[0].len - 1024) as f64 / 10_240.0;
    assert!((took - wanted).abs() < 0.001, "{took} s, not {wanted}");
}

#[test]
fn what_comes_before_the_packet_that_waits_is_answered() {
    let mut town = Town::new(&limited(
        "[[class]]
         name = 'slow'
         client_id = 'p'
         ingress = { publishes_rate = 1, publishes_burst = 1 }",
    ));
    let publisher = town.client("p");
    let other = town.client("o");
    town.subscribe(publisher, "u", QoS::AtLeastOnce);
    burst(&mut town, publisher, 1, QoS::AtLeastOnce);
    let pongs = |town: &mut Town| {
        town.of(publisher).others.iter().filter(|name| *name == "PingResp").count()
    };
    // Its tokens are used up: pings, acknowledgements and SUBSCRIBE need none.
    town.send(publisher, &Packet::PingReq);
    town.publish(other, "u", "1", QoS::AtLeastOnce);
    town.subscribe(publisher, "v", QoS::AtMostOnce);
    assert_eq!((pongs(&mut town), town.of(publisher).unacknowledged.len()), (1, 0));
    assert_eq!(town.of(publisher).held_back(), 0);
    // Now one waits, and what is behind it with it; but what is for the client still comes.
    burst(&mut town, publisher, 1, QoS::AtLeastOnce);
    town.send(publisher, &Packet::PingReq);
    town.pass(SECOND / 2);
    town.publish(other, "v", "2", QoS::AtMostOnce);
    // Pings do not wait with it.
    assert_eq!((pongs(&mut town), town.of(publisher).got.len()), (2, 2));
    town.pass(SECOND / 2);
    assert_eq!((pongs(&mut town), town.of(publisher).answers.len()), (2, 2));
}

#[test]
fn who_is_too_fast_is_refused_if_it_can_be_told() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut town = town("publishes_rate = 100, publishes_burst = 10, action = 'reject'");
        let ear = ear(&mut town);
        let publisher = town.client("p");
        burst(&mut town, publisher, 100, qos);
        let answers = std::mem::take(&mut town.of(publisher).answers);
        let refused = answers.iter().filter(|(_, reason)| *reason == Reason::QuotaExceeded).count();
        assert_eq!((answers.len(), refused), (100, 90), "{qos:?}");
        assert_eq!(numbers(&town.of(ear).got), (0..10).collect::<Vec<_>>());
        // Refused ones took no tokens, and their identifiers are free.
        town.pass(SECOND / 10);
        burst(&mut town, publisher, 10, qos);
        assert!(town.of(publisher).answers.iter().all(|(_, reason)| !reason.is_error()));
        assert_eq!(town.of(ear).got.len(), 20);
        let metrics = town.broker.metrics();
        assert_eq!(metrics.sum(Counter::RateRefused), 90);
        assert_eq!(metrics.sum(Counter::Refused), 90);
        assert_answered(&town, 110);
    }
}

#[test]
fn qos_0_beyond_the_rate_is_dropped_and_counted() {
    for version in VERSIONS {
        let mut town = town("publishes_rate = 100, publishes_burst = 10, action = 'reject'");
        let ear = ear(&mut town);
        let publisher = town.arrive(&of_version(version, "p"), "test");
        burst(&mut town, publisher, 100, QoS::AtMostOnce);
        assert_eq!(town.of(ear).got.len(), 10, "{version:?}");
        let sum = |counter| town.broker.metrics().sum(counter);
        assert_eq!((sum(Counter::RateDropped), sum(Counter::Unrouted)), (90, 90));
    }
}

#[test]
fn an_older_client_that_cannot_be_refused_waits() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut town = town("publishes_rate = 100, publishes_burst = 10, action = 'reject'");
        let ear = ear(&mut town);
        let publisher = town.arrive(&of_version(Version::V311, "p"), "test");
        burst(&mut town, publisher, 100, qos);
        assert_eq!(town.of(ear).got.len(), 10);
        town.pass(SECOND);
        assert_eq!(numbers(&town.of(ear).got), (0..100).collect::<Vec<_>>());
        assert_answered(&town, 100);
    }
}

#[test]
fn a_repeat_of_what_was_accepted_is_never_refused() {
    let mut town = town("publishes_rate = 1, publishes_burst = 1, action = 'reject'");
    let ear = ear(&mut town);
    let publisher = town.client("p");
    let packet = |dup| {
        Packet::Publish(sluicemq::codec::Publish {
            dup,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: "t",
            packet_id: sluicemq::codec::PacketId::new(9),
            topic_alias: None,
            expiry: None,
            subscription_ids: &[],
            properties: sluicemq::codec::Properties::EMPTY,
            payload: b"1",
        })
    };
    // Both before its PUBREL: the second is absorbed, however fast it comes.
    let mut both = Vec::new();
    for dup in [false, true] {
        sluicemq::codec::encode(&packet(dup), Version::V5, usize::MAX, &mut both).unwrap();
    }
    town.send_bytes(publisher, &both);
    let answers = &town.of(publisher).answers;
    assert!(answers.len() == 2 && answers.iter().all(|(_, reason)| !reason.is_error()));
    assert_eq!(town.of(ear).got.len(), 1);
    assert_answered(&town, 2);
}

#[test]
fn who_is_too_fast_is_disconnected_where_that_is_wanted() {
    for version in VERSIONS {
        for qos in LEVELS {
            let mut town =
                town("publishes_rate = 100, publishes_burst = 10, action = 'disconnect'");
            let ear = ear(&mut town);
            let publisher = town.arrive(&of_version(version, "p"), "test");
            burst(&mut town, publisher, 10, qos);
            assert!(!town.of(publisher).is_closed());
            burst(&mut town, publisher, 1, qos);
            assert!(town.of(publisher).is_closed(), "{version:?} {qos:?}");
            let told = (version == Version::V5).then_some(Reason::MessageRateTooHigh);
            assert_eq!(town.of(publisher).told, told);
            assert_eq!(town.of(ear).got.len(), 10);
            assert_eq!(town.broker.metrics().sum(Counter::RateDisconnects), 1);
        }
    }
}

#[test]
fn subscribe_has_a_rate_of_its_own_for_each_action() {
    for version in VERSIONS {
        for action in ["pause", "reject", "disconnect"] {
            let keys = format!("subscribes_rate = 10, subscribes_burst = 2, action = '{action}'");
            let mut town = town(&keys);
            let client = town.arrive(&of_version(version, "c"), "test");
            for _ in 0..3 {
                town.subscribe(client, "x", QoS::AtMostOnce);
            }
            let others = town.of(client).others.clone();
            let subacks: Vec<_> = others.iter().filter(|text| text.starts_with("SubAck")).collect();
            let refused = |text: &&&String| {
                text.contains("QuotaExceeded") || text.contains("UnspecifiedError")
            };
            let refused = subacks.iter().filter(refused).count();
            let closed = town.of(client).is_closed();
            let wanted = match action {
                "pause" => (2, 0, false),
                "reject" => (3, 1, false),
                _ => (2, 0, true),
            };
            assert_eq!((subacks.len(), refused, closed), wanted, "{version:?} {action} {others:?}");
            // PUBLISH is not meant.
            if action != "disconnect" {
                town.pass(SECOND / 10);
                burst(&mut town, client, 5, QoS::AtLeastOnce);
                assert_eq!(town.of(client).answers.len(), 5);
            }
        }
    }
}

/// All clients of a listener, or those of one address, have `keys` together.
fn shared(section: &str, keys: &str) -> Town {
    Town::new(&limited(&format!("[[listener]]\nname = 'test'\n{section} = {{ {keys} }}")))
}

#[test]
fn the_clients_of_a_listener_share_its_rate_evenly() {
    let mut town = shared("ingress", "publishes_rate = 1_000, publishes_burst = 1");
    let ear = town.arrive(&connect("ear", true, 0), "elsewhere");
    town.subscribe(ear, "t/#", QoS::AtMostOnce);
    // One has much to say and was here first, twenty have little.
    let clients: Vec<_> = (0..21).map(|n| town.client(&format!("c{n}"))).collect();
    for (index, client) in clients.iter().enumerate() {
        for number in 0..if index == 0 { 2_000 } else { 40 } {
            town.publish(*client, &format!("t/{index}"), &number.to_string(), QoS::AtMostOnce);
        }
    }
    town.pass(SECOND / 2);
    let got = town.of(ear).got.clone();
    assert!((500..=501).contains(&got.len()), "{}", got.len());
    for index in 0..21 {
        let share = got.iter().filter(|got| got.topic == format!("t/{index}")).count();
        // 501 packets among 21.
        assert!((23..=25).contains(&share), "client {index} has {share}");
    }
    // A client of another listener has no part in it.
    let other = town.arrive(&connect("other", true, 0), "elsewhere");
    town.publish(other, "t/other", "1", QoS::AtMostOnce);
    assert_eq!(town.of(ear).got.last().map(|got| &*got.topic), Some("t/other"));
    town.pass(SECOND * 10);
    assert_eq!(town.of(ear).got.len(), 2_000 + 20 * 40 + 1);
}

#[test]
fn the_clients_of_one_address_share_its_rate() {
    let mut town = shared("ingress_per_address", "publishes_rate = 100, publishes_burst = 1");
    let ear = town.arrive(&connect("ear", true, 0), "elsewhere");
    town.subscribe(ear, "t/#", QoS::AtMostOnce);
    for (client, address) in [("a", "10.0.0.1:1"), ("b", "10.0.0.1:2"), ("c", "[::1]:3")] {
        address.clone_into(&mut town.address);
        let client_number = town.client(client);
        for number in 0..100 {
            let topic = format!("t/{client}");
            town.publish(client_number, &topic, &number.to_string(), QoS::AtMostOnce);
        }
    }
    town.pass(SECOND / 2);
    let share = |town: &mut Town, client: &str| {
        let topic = format!("t/{client}");
        town.of(ear).got.iter().filter(|got| got.topic == topic).count()
    };
    let shares = ["a", "b", "c"].map(|client| share(&mut town, client));
    assert!(shares[0] + shares[1] <= 51 && shares[0].abs_diff(shares[1]) <= 2, "{shares:?}");
    assert_eq!(shares[2], 51);
}

#[test]
fn the_strictest_of_all_limits_counts() {
    // A client alone may do more than its listener, but is disconnected if it does that.
    let mut town = Town::new(&limited(
        "client = { publishes_rate = 100, publishes_burst = 50, action = 'disconnect' }
         [[listener]]
         name = 'test'
         ingress = { publishes_rate = 10, publishes_burst = 5 }",
    ));
    let ear = town.arrive(&connect("ear", true, 0), "elsewhere");
    town.subscribe(ear, "t/#", QoS::AtMostOnce);
    let publisher = town.client("p");
    burst(&mut town, publisher, 60, QoS::AtLeastOnce);
    assert_eq!(town.of(ear).got.len(), 5);
    town.pass(SECOND * 10);
    assert_eq!(town.of(ear).got.len(), 60);
    assert!(!town.of(publisher).is_closed(), "what waits is within its own rate");
}

#[test]
fn classes_have_limits_of_their_own() {
    let mut town = Town::new(&limited(
        "client = { publishes_rate = 1, publishes_burst = 1 }
         [[class]]
         name = 'fast'
         client_id = 'fast-*'
         ingress = { publishes_rate = 100, publishes_burst = 20 }
         [[class]]
         name = 'free'
         client_id = 'free-*'
         ingress = {}",
    ));
    for (client, wanted) in [("p", 1), ("fast-1", 20), ("free-1", 200)] {
        let client = town.client(client);
        burst(&mut town, client, 200, QoS::AtLeastOnce);
        assert_eq!(town.of(client).answers.len(), wanted);
    }
}

#[test]
fn a_reload_changes_the_limits_of_who_is_connected() {
    let slow = "client = { publishes_rate = 1, publishes_burst = 1 }";
    let mut town = Town::new(&limited(slow));
    let ear = ear(&mut town);
    let publisher = town.client("p");
    burst(&mut town, publisher, 1_000, QoS::AtLeastOnce);
    town.pass(SECOND * 3);
    assert_eq!(town.of(ear).got.len(), 4);
    let with = |keys: &str| toml::from_str::<Config>(&limited(keys)).unwrap();
    // A client that waits for a second waits no longer than the new rate demands.
    town.broker.reload(&with("client = { publishes_rate = 100, publishes_burst = 1 }"), town.now);
    town.pass(SECOND);
    let got = town.of(ear).got.len();
    assert!((98..=104).contains(&got), "{got}");
    town.broker.reload(&with(""), town.now);
    town.pass(Duration::from_millis(1));
    assert_eq!(numbers(&town.of(ear).got), (0..1_000).collect::<Vec<_>>());
    // And a client that had no limit gets one.
    town.broker.reload(&with(slow), town.now);
    town.pass(Duration::from_millis(1));
    burst(&mut town, publisher, 100, QoS::AtLeastOnce);
    assert_eq!(town.of(ear).got.len(), 1_001);
}

/// Each waits in the queue of its listener too.
#[test]
fn what_waits_is_charged_once_however_often_the_rules_are_read_again() {
    for keys in [
        "client = { publishes_rate = 1, publishes_burst = 1 }",
        "client = {}\n[[listener]]\nname = 'test'\ningress = { publishes_rate = 1, publishes_burst = 1 }",
    ] {
        let mut town = Town::new(&limited(keys));
        let config: Config = toml::from_str(&limited(keys)).unwrap();
        let ear = ear(&mut town);
        let publisher = town.client("p");
        burst(&mut town, publisher, 10, QoS::AtLeastOnce);
        for second in 1..=6 {
            for _ in 0..5 {
                town.broker.reload(&config, town.now);
                town.pass(Duration::from_millis(200));
            }
            assert_eq!(town.of(ear).got.len(), 1 + second, "{keys}");
        }
    }
}

#[test]
fn what_waits_unread_and_is_lost_with_its_connection_is_charged_to_nobody() {
    let mut town = Town::new(&limited(
        "client = {}
         [[listener]]
         name = 'test'
         ingress = { publishes_rate = 1, publishes_burst = 1 }",
    ));
    let ear = ear(&mut town);
    let publisher = town.client("p");
    burst(&mut town, publisher, 1, QoS::AtLeastOnce);
    for number in 0..20 {
        let other = town.client(&format!("other-{number}"));
        burst(&mut town, other, 2, QoS::AtLeastOnce);
        town.cut(other);
    }
    burst(&mut town, publisher, 1, QoS::AtLeastOnce);
    town.pass(SECOND);
    assert_eq!(town.of(ear).got.len(), 2);
}

#[test]
fn who_reconnects_finds_its_limits_as_they_were() {
    let mut town = town("publishes_rate = 1, publishes_burst = 5");
    let ear = ear(&mut town);
    for _ in 0..20 {
        let publisher = town.arrive(&connect("p", false, 3_600), "test");
        burst(&mut town, publisher, 3, QoS::AtLeastOnce);
        town.cut(publisher);
    }
    assert_eq!(town.of(ear).got.len(), 5, "a burst for each connection would be no limit");
}

#[test]
fn a_client_identifier_comes_in_so_often() {
    for version in VERSIONS {
        let mut town = Town::new("limits.connects_rate = 2");
        let mut last = None;
        for wanted in [true, true, false] {
            let client = town.arrive(&of_version(version, "c"), "test");
            assert_eq!(!town.of(client).is_closed(), wanted, "{version:?}");
            last = Some(client);
        }
        let refusal = town.of(last.unwrap()).others[0].clone();
        // 0x9F, and 0x03 for an older client.
        let reason = if version == Version::V5 { "ConnectionRate" } else { "ServerUnavailable" };
        assert!(refusal.contains(reason), "{refusal}");
        assert_eq!(town.broker.metrics().sum(Counter::RateConnects), 1);
        let other = town.arrive(&of_version(version, "d"), "test");
        assert!(!town.of(other).is_closed());
        town.pass(SECOND / 2);
        let again = town.arrive(&of_version(version, "c"), "test");
        assert!(!town.of(again).is_closed());
    }
}

#[test]
fn silence_while_its_packet_waits_is_not_held_against_a_client() {
    for version in VERSIONS {
        let mut town = town("publish_bytes_rate = '10B', publish_bytes_burst = '1B'");
        let ear = ear(&mut town);
        let publisher = town.arrive(&Connect { keep_alive: 1, ..of_version(version, "p") }, "test");
        for _ in 0..2 {
            town.publish(publisher, "t", &"x".repeat(190), QoS::AtLeastOnce);
        }
        // Twenty seconds for the first one's bytes.
        town.pass(SECOND * 19);
        assert!(!town.of(publisher).is_closed() && town.of(ear).got.len() == 1, "{version:?}");
        town.pass(SECOND * 2);
        assert!(!town.of(publisher).is_closed() && town.of(ear).got.len() == 2, "{version:?}");
        // From then on it counts again.
        town.pass(SECOND * 2);
        assert!(town.of(publisher).is_closed(), "{version:?}");
    }
}
