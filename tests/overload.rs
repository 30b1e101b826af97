//! What the broker does when it is pressed: each cause, each level, on virtual time; and the real
//! process.

mod process;
mod virtual_time;
mod wire;

use std::time::Duration;

use process::Sluice;
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::overload::{Cause, Sample};
use sluicemq::broker::ports::Strain;
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use sluicemq::message::Loss;
use virtual_time::{BEGIN, Town, connect};
use wire::VERSIONS;

const TICK: Duration = Duration::from_millis(100);

/// Maxima that are easy to read.
const PRESSED: &str = "
    overload = { lag_max = '500ms', memory_max = '100MiB', commit_max = '1s', hold = '1s' }
    store.unwritten_bytes_max = '100MiB'
    totals.queued_bytes_max = '1MiB'
    queue.bytes_max = '1MiB'
    limits.packet_bytes_max = '512KiB'
    queue.messages_max = 100_000
";

/// `percent` of the maximum of a cause that is measured from outside.
fn sample(cause: Cause, percent: u64) -> Sample {
    let mut sample = Sample::default();
    match cause {
        Cause::Lag => sample.lag = Duration::from_millis(percent * 5),
        Cause::Memory => sample.memory = percent << 20,
        Cause::Commit => sample.strain.commit = Duration::from_millis(percent * 10),
        Cause::Unwritten => sample.strain.unwritten = percent << 20,
        Cause::Queued => panic!("the broker measures it"),
    }
    sample
}

/// Samples come for so long, ten in a second.
fn pass(town: &mut Town, span: Duration, sample: &Sample) {
    let end = town.now.after(span);
    while town.now < end {
        town.broker.observe(sample, town.now);
        town.pass(TICK);
    }
}

/// Tasks are woken so late that this is the level.
fn press(town: &mut Town, level: u8) {
    let lag = [0, 60, 80, 95][usize::from(level)];
    pass(town, TICK * 10, &sample(Cause::Lag, lag));
    assert_eq!(town.broker.pressure().level(), level);
}

/// Nothing presses the broker for long enough.
fn relieve(town: &mut Town) {
    pass(town, Duration::from_secs(9), &Sample::default());
    assert_eq!(town.broker.pressure().level(), 0);
}

fn of_version(version: Version, client_id: &str) -> Connect<'_> {
    Connect { version, ..connect(client_id, true, 0) }
}

/// Both laws, where the clients have answered everything.
#[track_caller]
fn assert_laws(town: &Town) {
    let metrics = town.broker.metrics();
    let (view, sum) = (town.broker.view(), |counter| metrics.sum(counter));
    let queued: u64 = view.sessions.iter().flat_map(|session| session.account.queued).sum();
    let lost: u64 = Loss::ALL.into_iter().map(|loss| metrics.lost(loss)).sum();
    assert_eq!(sum(Counter::Routed), sum(Counter::Completed) + queued + lost);
    let answered = sum(Counter::Accepted) + sum(Counter::Refused) + sum(Counter::Repeats);
    assert_eq!(sum(Counter::ReceivedAboveQos0), answered);
}

#[test]
fn each_cause_raises_the_level_and_lowers_it_and_says_so() {
    for cause in [Cause::Lag, Cause::Memory, Cause::Commit, Cause::Unwritten] {
        let mut town = Town::new(PRESSED);
        let watcher = town.client("watcher");
        let top = if matches!(cause, Cause::Commit | Cause::Unwritten) { 2 } else { 3 };
        for (percent, level) in [(49, 0), (50, 1), (75, 2), (100, top), (70, top.min(2)), (45, 1)] {
            pass(&mut town, Duration::from_secs(6), &sample(cause, percent));
            let view = town.broker.view().overload;
            assert_eq!(view.pressure().level(), level, "{cause:?} at {percent} %");
            assert_eq!(view.cause(), (level > 0).then_some(cause));
            let reading = view.readings().iter().find(|reading| reading.cause() == cause).unwrap();
            assert_eq!(reading.value() * 100 / reading.max(), percent);
        }
        // At the level and at its end $SYS says so at once, not at its next interval.
        town.subscribe(watcher, "$SYS/broker/overload/+", QoS::AtMostOnce);
        let said = |town: &mut Town, topic: &str| {
            let topic = format!("$SYS/broker/overload/{topic}");
            let got = &town.of(watcher).got;
            got.iter().rfind(|got| got.topic == topic).unwrap().payload.clone()
        };
        assert_eq!(
            (said(&mut town, "level"), said(&mut town, "cause")),
            ("1".into(), cause.name().into())
        );
        pass(&mut town, Duration::from_millis(2_500), &Sample::default());
        assert_eq!(
            (said(&mut town, "level"), said(&mut town, "cause")),
            ("0".into(), "none".into())
        );
    }
}

#[test]
fn windows_shrink_with_the_level_and_what_is_in_flight_stays() {
    for version in VERSIONS {
        let mut town = Town::new("session.inflight_max = 32");
        let publisher = town.client("p");
        for (level, window) in [(0, 32), (1, 16), (2, 8), (3, 4), (0, 32)] {
            relieve(&mut town);
            let name = format!("{level}");
            let receiver = town.arrive(&of_version(version, &name), "test");
            town.subscribe(receiver, "t", QoS::AtLeastOnce);
            town.of(receiver).acknowledges = false;
            press(&mut town, level);
            for number in 0..100 {
                town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
                town.pass(Duration::from_secs(1));
            }
            assert_eq!(town.of(receiver).got.len(), window, "{version:?} at level {level}");
            // Half of it comes back: as much comes again, and in order.
            town.of(receiver).acknowledge(window / 2);
            town.pass(TICK);
            assert_eq!(town.of(receiver).got.len(), window + window / 2);
            relieve(&mut town);
            town.of(receiver).acknowledges = true;
            town.of(receiver).acknowledge(window);
            town.pass(TICK);
            let got: Vec<_> = town.of(receiver).got.iter().map(|got| got.payload.clone()).collect();
            assert_eq!(got, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
            assert_laws(&town);
            town.cut(receiver);
        }
    }
}

#[test]
fn a_window_of_one_stays_one() {
    let mut town = Town::new("session.inflight_max = 1");
    let (publisher, receiver) = (town.client("p"), town.client("r"));
    town.subscribe(receiver, "t", QoS::ExactlyOnce);
    press(&mut town, 3);
    for number in 0..10 {
        town.publish(publisher, "t", &number.to_string(), QoS::ExactlyOnce);
        town.pass(Duration::from_secs(1));
    }
    assert_eq!(town.of(receiver).got.len(), 10);
}

#[test]
fn at_level_two_heavy_publishers_are_held_up_and_light_ones_are_not() {
    for version in VERSIONS {
        let mut town = Town::new("queue.messages_max = 100_000");
        let (heavy, light, receiver) = (
            town.arrive(&of_version(version, "heavy"), "test"),
            town.arrive(&of_version(version, "light"), "test"),
            town.client("r"),
        );
        town.subscribe(receiver, "#", QoS::AtLeastOnce);
        pass(&mut town, Duration::from_secs(4), &sample(Cause::Lag, 80));
        let begun = town.now;
        for second in 0..20 {
            town.publish(light, "light", &second.to_string(), QoS::AtLeastOnce);
            assert_eq!(town.of(light).held_back(), 0, "second {second}");
            for _ in 0..60 {
                town.publish(heavy, "heavy", "x", QoS::AtLeastOnce);
            }
            pass(&mut town, Duration::from_secs(1), &sample(Cause::Lag, 80));
        }
        let metrics = town.broker.metrics();
        assert!(metrics.sum(Counter::HeldUp) > 10);
        let from = |town: &mut Town, topic: &str| {
            town.of(receiver).got.iter().filter(|got| got.topic == topic).count()
        };
        assert_eq!(from(&mut town, "light"), 20);
        // Of its 1200, some eight a second.
        let seconds = usize::try_from(town.now.since(begun).as_secs()).unwrap();
        let got = from(&mut town, "heavy");
        assert!((5 * seconds..=9 * seconds).contains(&got), "{got} in {seconds} seconds");
        assert!(town.of(heavy).held_back() > 0);
        // It is not closed for its silence, which is ours, and nothing is lost.
        relieve(&mut town);
        town.pass(Duration::from_secs(2));
        assert_eq!(from(&mut town, "heavy"), 1_200);
        assert_eq!((town.of(heavy).held_back(), town.of(heavy).told), (0, None));
        assert_eq!(town.broker.metrics().dropped(), 0);
        assert_laws(&town);
    }
}

#[test]
fn who_is_held_up_for_longer_than_its_keep_alive_is_not_closed_for_it() {
    let mut town = Town::new("");
    let mut asks = connect("heavy", true, 0);
    asks.keep_alive = 2;
    let heavy = town.arrive(&asks, "test");
    pass(&mut town, Duration::from_secs(2), &sample(Cause::Lag, 80));
    // At four KiB a second each takes longer than one and a half times the Keep Alive.
    for _ in 0..4 {
        town.publish(heavy, "t", &"x".repeat(40_000), QoS::AtMostOnce);
    }
    pass(&mut town, Duration::from_secs(20), &sample(Cause::Lag, 80));
    assert!(town.of(heavy).held_back() > 0);
    assert_eq!(town.of(heavy).told, None);
    // Its pings stand behind what is not read; then they are answered.
    for _ in 0..10 {
        town.send(heavy, &Packet::PingReq);
        pass(&mut town, Duration::from_secs(1), &Sample::default());
    }
    assert_eq!((town.of(heavy).held_back(), town.of(heavy).told), (0, None));
    assert_eq!(town.of(heavy).others.last().map(String::as_str), Some("PingResp"));
}

#[test]
fn at_level_three_nobody_new_is_let_in_and_pings_are_answered() {
    let mut town = Town::new(PRESSED);
    let there = town.client("there");
    let lasting = town.arrive(&connect("lasting", false, 3600), "test");
    town.cut(lasting);
    // If waiting messages press it, the client that they wait for is admitted; if tasks are late, none is.
    for (cause, back) in [(Cause::Memory, true), (Cause::Lag, false)] {
        pass(&mut town, TICK * 10, &sample(cause, 100));
        for (version, told) in [(Version::V5, "ServerBusy"), (Version::V311, "ServerUnavailable")] {
            let new = town.arrive(&of_version(version, "new"), "test");
            let connack = town.of(new).others.last().unwrap().clone();
            assert!(connack.starts_with("ConnAck") && connack.contains(told), "{connack}");
        }
        let again = town.arrive(&connect("lasting", false, 3600), "test");
        let connack = town.of(again).others.last().unwrap().clone();
        assert_eq!(connack.contains("Success"), back, "{connack}");
        town.cut(again);
        town.send(there, &Packet::PingReq);
        assert_eq!(town.of(there).others.last().map(String::as_str), Some("PingResp"));
        relieve(&mut town);
    }
    let new = town.arrive(&connect("new", true, 0), "test");
    assert!(town.of(new).others[0].contains("Success"));
}

#[test]
fn at_level_three_qos_0_is_dropped_and_counted_and_nothing_else_is() {
    for version in VERSIONS {
        let mut town = Town::new("");
        let publisher = town.arrive(&of_version(version, "p"), "test");
        let (receiver, watcher) = (town.client("r"), town.client("w"));
        town.subscribe(receiver, "t/#", QoS::ExactlyOnce);
        press(&mut town, 3);
        for number in 0..9 {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
            town.publish(publisher, "t", &number.to_string(), qos);
            town.pass(Duration::from_secs(1));
        }
        town.publish_as(publisher, "t/kept", "retained", QoS::AtMostOnce, true);
        town.pass(Duration::from_secs(1));
        let got: Vec<_> = town.of(receiver).got.iter().map(|got| got.payload.clone()).collect();
        assert_eq!(got, ["1", "2", "4", "5", "7", "8", "retained"]);
        let metrics = town.broker.metrics();
        assert_eq!((metrics.sum(Counter::Shed), metrics.sum(Counter::Unrouted)), (3, 3));
        assert_eq!((metrics.sum(Counter::Accepted), metrics.sum(Counter::Refused)), (6, 0));
        assert_laws(&town);
        // What the broker says of itself is not shed.
        town.subscribe(watcher, "$SYS/broker/overload/shed", QoS::AtMostOnce);
        assert_eq!(town.of(watcher).got.last().unwrap().payload, "3");
        relieve(&mut town);
        town.publish(publisher, "t", "again", QoS::AtMostOnce);
        assert_eq!(town.of(receiver).got.last().unwrap().payload, "again");
    }
}

#[test]
fn an_alias_set_by_what_is_shed_is_set() {
    let mut town = Town::new("");
    let (publisher, receiver) = (town.client("p"), town.client("r"));
    town.subscribe(receiver, "t", QoS::AtMostOnce);
    press(&mut town, 3);
    let alias = std::num::NonZeroU16::new(1);
    let publish = |topic, payload| {
        let publish =
            sluicemq::codec::Publish { topic, payload, topic_alias: alias, ..Default::default() };
        Packet::Publish(publish)
    };
    town.send(publisher, &publish("t", b"shed"));
    relieve(&mut town);
    town.send(publisher, &publish("", b"comes"));
    let got: Vec<_> = town.of(receiver).got.iter().map(|got| got.payload.clone()).collect();
    assert_eq!(got, ["comes"]);
}

#[test]
fn what_waits_holds_up_publishers_above_its_high_mark_until_below_its_low_one() {
    let mut town = Town::new(PRESSED);
    let (publisher, receiver) = (town.client("p"), town.client("r"));
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.of(receiver).acknowledges = false;
    let none = Sample::default();
    // 10 KiB each, ten in a second: 1 MiB would be full after ten seconds.
    let mut sent = 0;
    let payload = "x".repeat(10_000);
    // Less than ten seconds of the highest level: then the receiver would be given up.
    for _ in 0..180 {
        if town.of(publisher).held_back() < 60_000 {
            town.publish(publisher, "t", &payload, QoS::AtLeastOnce);
            sent += 1;
        }
        pass(&mut town, TICK, &none);
    }
    let metrics = town.broker.metrics();
    assert!(metrics.sum(Counter::HeldUp) > 0);
    assert_eq!((metrics.sum(Counter::Refused), metrics.dropped()), (0, 0), "nothing was lost");
    let full = town.broker.view();
    assert!((750_000..1_048_576).contains(&full.message_bytes), "{}", full.message_bytes);
    assert_eq!(full.overload.cause(), Some(Cause::Queued));
    // The receiver takes again: everything comes, and the publisher goes on.
    town.of(receiver).acknowledges = true;
    town.of(receiver).acknowledge(1_000);
    pass(&mut town, Duration::from_secs(20), &none);
    assert_eq!(town.of(publisher).held_back(), 0);
    assert_eq!(town.of(receiver).got.len(), sent);
    assert_eq!(town.broker.pressure().level(), 0);
    assert_laws(&town);
}

#[test]
fn a_backlog_that_nobody_comes_for_starves_no_publisher() {
    let shares = "totals.address_share = 100\ntotals.unverified_share = 100";
    let mut town = Town::new(&format!("{PRESSED}\n{shares}\n[session]\nexpiry_max = '1h'"));
    let (publisher, receiver) = (town.client("p"), town.client("r"));
    let absent = town.arrive(&connect("absent", false, 3600), "test");
    town.subscribe(absent, "backlog", QoS::AtLeastOnce);
    town.subscribe(receiver, "t", QoS::AtLeastOnce);
    town.cut(absent);
    let none = Sample::default();
    for _ in 0..84 {
        town.publish(publisher, "backlog", &"x".repeat(10_000), QoS::AtLeastOnce);
        pass(&mut town, TICK * 10, &none);
    }
    assert_eq!(town.broker.pressure().level(), 2);
    // As fast as it likes, once it is seen that it does no harm.
    pass(&mut town, Duration::from_secs(10), &none);
    for _ in 0..1_000 {
        town.publish(publisher, "t", "x", QoS::AtLeastOnce);
    }
    pass(&mut town, TICK, &none);
    assert_eq!(town.of(receiver).got.len(), 1_000);
    assert_eq!(town.broker.pressure().level(), 2);
    // And it is let in when it comes for its own.
    let again = town.arrive(&connect("absent", false, 3600), "test");
    pass(&mut town, Duration::from_secs(10), &none);
    assert_eq!((town.of(again).got.len(), town.broker.pressure().level()), (84, 0));
}

#[test]
fn with_level_max_zero_nothing_happens() {
    let mut town = Town::new("overload.level_max = 0");
    let (publisher, receiver) = (town.client("p"), town.client("r"));
    town.subscribe(receiver, "t", QoS::AtMostOnce);
    let strain = Strain { commit: Duration::from_secs(60), unwritten: u64::MAX };
    let worst = Sample { lag: Duration::from_secs(60), memory: u64::MAX, strain };
    pass(&mut town, Duration::from_secs(5), &worst);
    for _ in 0..100 {
        town.publish(publisher, "t", "x", QoS::AtMostOnce);
    }
    assert_eq!(town.of(receiver).got.len(), 100);
    assert!(town.now > BEGIN && town.broker.view().overload.cause().is_none());
}

#[test]
fn a_linger_makes_few_writes_of_many_messages_and_delays_nobody_who_rests() {
    let linger = Duration::from_millis(5);
    for version in VERSIONS {
        let mut town = Town::new("broker.linger_max = '5ms'");
        let publisher = town.client("p");
        let receiver = town.arrive(&of_version(version, "r"), "test");
        town.subscribe(receiver, "t", QoS::AtLeastOnce);
        let mut sent = Vec::new();
        for number in 0..600 {
            // Ten in a millisecond, then one in ten.
            town.pass(Duration::from_micros(if number < 500 { 100 } else { 10_000 }));
            sent.push(town.now);
            town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        }
        town.pass(linger);
        let got = town.of(receiver).got.clone();
        let numbers: Vec<_> = got.iter().map(|got| got.payload.clone()).collect();
        assert_eq!(numbers, (0..600).map(|number| number.to_string()).collect::<Vec<_>>());
        let waits: Vec<_> = got.iter().zip(&sent).map(|(got, sent)| got.at.since(*sent)).collect();
        assert!(waits.iter().all(|wait| *wait <= linger), "{:?}", waits.iter().max());
        assert!(waits[0].is_zero() && waits[501..].iter().all(Duration::is_zero));
        let mut moments: Vec<_> = got[..500].iter().map(|got| got.at).collect();
        moments.dedup();
        // Half of what comes in 5 ms fills the window: the rest follows its acknowledgements.
        assert!(moments.len() <= 30, "{} moments in 50 ms", moments.len());
    }
}

/// The broker samples by itself: what waits raises the level, and when it is fetched the level falls.
#[test]
fn the_real_process_answers_pings_at_every_level_and_recovers() {
    let broker = Sluice::start(
        "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [overload]\nhold = '100ms'\nlag_max = '0s'\n\
         [totals]\nqueued_bytes_max = '8MiB'\naddress_share = 100\n[queue]\nbytes_max = '8MiB'",
    );
    let at = broker.address("tcp");
    let mut watcher = wire::Client::connect(at, Version::V5, "watcher");
    watcher.subscribe(&["$SYS/broker/overload/level"], QoS::AtMostOnce);
    let level = |watcher: &mut wire::Client, wanted: &[u8]| {
        while watcher.message().1 != wanted {}
    };
    level(&mut watcher, b"0");
    let lasting = Connect { session_expiry: 60, ..wire::connect(Version::V5, "absent") };
    let mut absent = wire::Client::connect_with(at, &lasting);
    absent.subscribe(&["t"], QoS::AtLeastOnce);
    absent.goodbye();
    let mut publisher = wire::Client::connect(at, Version::V5, "p");
    for _ in 0..15 {
        assert_eq!(publisher.publish("t", &[b'x'; 512 * 1024]), Reason::Success);
        publisher.ping();
    }
    level(&mut watcher, b"3");
    for version in VERSIONS {
        let mut new = wire::Client::open(at, version);
        new.send(&Packet::Connect(Box::new(wire::connect(version, "new"))));
        let busy =
            if version == Version::V5 { Reason::ServerBusy } else { Reason::ServerUnavailable };
        assert_eq!(new.connack(), busy);
        new.closed();
    }
    watcher.ping();
    publisher.ping();
    let mut absent = wire::Client::open(at, Version::V5);
    absent.greet(&Connect { clean_start: false, ..lasting });
    for _ in 0..15 {
        assert_eq!(absent.message().1.len(), 512 * 1024);
    }
    level(&mut watcher, b"0");
    wire::Client::connect(at, Version::V5, "new").ping();
}
