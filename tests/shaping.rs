//! Egress shaping on virtual time: what arrives when is exact here.

mod virtual_time;

use std::time::Duration;

use sluicemq::broker::metrics::Timing;
use sluicemq::codec::QoS;
use sluicemq::config::Config;
use sluicemq::message::Loss;
use virtual_time::{BEGIN, Got, Town, connect};

/// Meters get 500 messages a second, ten at once; everybody else what there is.
const METERS: &str = "
    queue.messages_max = 20_000
    queue.bytes_max = '64MiB'
    session.inflight_max = 1000
    [[class]]
    name = 'meters'
    client_id = 'meter-*'
    shaping = { messages_rate = 500, messages_burst = 10 }
";

const SECOND: Duration = Duration::from_secs(1);

/// Most that arrived within any `window`.
fn most(got: &[Got], window: Duration, of: impl Fn(&Got) -> usize) -> usize {
    let sum = |from: usize| {
        let end = got[from].at.after(window);
        got[from..].iter().take_while(|got| got.at < end).map(&of).sum()
    };
    (0..got.len()).map(sum).max().unwrap_or(0)
}

fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter().map(|got| got.payload.trim().parse().expect("a number")).collect()
}

/// All of them, in this order; a failure names the first that is wrong.
#[track_caller]
fn assert_numbers(got: &[Got], wanted: impl IntoIterator<Item = usize>) {
    let (got, wanted) = (numbers(got), wanted.into_iter().collect::<Vec<_>>());
    let wrong = got.iter().zip(&wanted).position(|(got, wanted)| got != wanted);
    assert_eq!((got.len(), wrong), (wanted.len(), None));
}

/// Publishes `count` numbers to `t` at even distances within a second.
fn burst(town: &mut Town, publisher: usize, count: usize, qos: QoS) {
    let gap = SECOND / u32::try_from(count).unwrap();
    for number in 0..count {
        town.publish(publisher, "t", &format!("{number:>60}"), qos);
        town.pass(gap);
    }
}

#[test]
fn a_burst_of_messages_becomes_a_smooth_stream() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut town = Town::new(METERS);
        let (publisher, meter) = (town.client("p"), town.client("meter-1"));
        let other = town.client("other");
        town.subscribe(meter, "t", qos);
        town.subscribe(other, "t", qos);
        let count = 10_000;
        burst(&mut town, publisher, count, qos);
        assert_numbers(&town.of(other).got, 0..count);
        town.pass(SECOND * 30);
        let got = std::mem::take(&mut town.of(meter).got);
        assert_numbers(&got, 0..count);
        assert!(most(&got, SECOND / 10, |_| 1) <= 50 + 10, "{qos:?}");
        // Ten at once, then one every two milliseconds: exactly.
        let took = got.last().unwrap().at.since(BEGIN);
        assert!(took <= Duration::from_millis(2) * 9_990 && took > SECOND * 19, "{took:?}");
        assert_eq!(town.broker.metrics().dropped(), 0);
    }
}

#[test]
fn waits_at_a_bucket_and_the_delivery_of_every_sixteenth_copy_are_timed() {
    let mut town = Town::new(METERS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "t", QoS::AtMostOnce);
    // Nothing is timed before it is watched.
    for number in 0..42 {
        town.publish(publisher, "t", &number.to_string(), QoS::AtMostOnce);
    }
    town.pass(SECOND);
    town.of(meter).got.clear();
    for timing in [Timing::Deliver, Timing::Shaped, Timing::Connack] {
        assert_eq!(town.broker.timing(timing).unwrap().count(), 0);
    }
    town.broker.watch();
    let begin = BEGIN.after(SECOND);
    for number in 0..42 {
        town.publish(publisher, "t", &number.to_string(), QoS::AtMostOnce);
    }
    town.pass(SECOND);
    let got = std::mem::take(&mut town.of(meter).got);
    assert_numbers(&got, 0..42);
    // The first, that comes at once, and those 6 and 22 places behind the ten that leave at once.
    let times = town.broker.timing(Timing::Deliver).unwrap();
    let wanted = got.iter().step_by(16).map(|got| got.at.since(begin)).sum();
    assert_eq!((times.count(), times.sum()), (3, wanted));
    assert!(wanted > Duration::from_millis(50));
    // What 32 copies waited for, one after the other, two milliseconds each.
    let waits = town.broker.timing(Timing::Shaped).unwrap();
    assert_eq!((waits.count(), waits.sum()), (32, Duration::from_millis(64)));
    assert_eq!(waits.longest(), Duration::from_millis(2));
    // One to which nothing is late waits for nothing.
    let other = town.client("other");
    town.subscribe(other, "o", QoS::AtMostOnce);
    town.publish(publisher, "o", "x", QoS::AtMostOnce);
    assert_eq!(town.broker.timing(Timing::Shaped).unwrap(), waits);
}

#[test]
fn a_burst_of_bytes_becomes_a_smooth_stream() {
    let mut town = Town::new(
        "
        queue.messages_max = 20_000
        queue.bytes_max = '64MiB'
        shaping = { bytes_rate = '64KiB', bytes_burst = '1KiB' }
        ",
    );
    let (publisher, meter) = (town.client("p"), town.client("meter"));
    town.subscribe(meter, "t", QoS::AtLeastOnce);
    burst(&mut town, publisher, 10_000, QoS::AtLeastOnce);
    town.pass(SECOND * 30);
    let got = std::mem::take(&mut town.of(meter).got);
    assert_numbers(&got, 0..10_000);
    let packet = got[0].len;
    // In any window what the rate allows, the burst, and the packet that went beyond it.
    let tenth = most(&got, SECOND / 10, |got| got.len);
    assert!(tenth <= 65_536 / 10 + 1024 + packet, "{tenth} bytes");
    let took = got.last().unwrap().at.since(got[0].at).as_secs_f64();
    let wanted = (9_999 * packet - 1024) as f64 / 65_536.0;
    assert!((took - wanted).abs() < 0.01, "{took} s, not {wanted}");
}

#[test]
fn what_was_in_flight_and_a_backlog_leave_through_the_same_bucket() {
    let mut town = Town::new(METERS);
    let publisher = town.client("p");
    let meter = town.arrive(&connect("meter-1", true, 3600), "test");
    town.subscribe(meter, "t", QoS::AtLeastOnce);
    // In flight at the cut: sent once, never acknowledged.
    town.of(meter).acknowledges = false;
    burst(&mut town, publisher, 400, QoS::AtLeastOnce);
    assert_eq!(town.of(meter).got.len(), 400);
    town.cut(meter);
    burst(&mut town, publisher, 600, QoS::AtLeastOnce);
    let again = town.arrive(&connect("meter-1", false, 3600), "test");
    let came = town.now;
    town.pass(SECOND * 10);
    let got = std::mem::take(&mut town.of(again).got);
    assert_numbers(&got, (0..400).chain(0..600));
    assert!(got[..400].iter().all(|got| got.dup) && !got[400..].iter().any(|got| got.dup));
    assert!(most(&got, SECOND / 10, |_| 1) <= 50 + 10);
    let took = got.last().unwrap().at.since(came);
    assert_eq!(took.as_millis(), (1000 - 10) * 2);
}

#[test]
fn retained_messages_are_paced_too() {
    let mut town = Town::new(METERS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    for number in 0..1_000 {
        let topic = format!("r/{number:04}");
        town.publish_as(publisher, &topic, &number.to_string(), QoS::AtLeastOnce, true);
    }
    town.subscribe(meter, "r/#", QoS::AtLeastOnce);
    assert_eq!(town.of(meter).got.len(), 10);
    town.pass(SECOND * 10);
    let got = std::mem::take(&mut town.of(meter).got);
    assert_numbers(&got, 0..1_000);
    assert!(most(&got, SECOND / 10, |_| 1) <= 60);
    assert_eq!(got.last().unwrap().at.since(BEGIN).as_millis(), 1_980);
}

#[test]
fn who_reconnects_finds_its_bucket_as_it_was() {
    let mut town = Town::new(METERS);
    let publisher = town.client("p");
    let first = town.arrive(&connect("meter-1", true, 3600), "test");
    town.subscribe(first, "t", QoS::AtLeastOnce);
    for number in 0..100 {
        town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
    }
    let mut got = town.of(first).got.len();
    let mut last = first;
    for _ in 0..50 {
        town.cut(last);
        last = town.arrive(&connect("meter-1", false, 3600), "test");
        got += town.of(last).got.len();
    }
    assert_eq!(got, 10, "a burst for each connection would be no limit");
}

#[test]
fn acknowledgements_and_pings_wait_for_no_bucket() {
    let mut town = Town::new(METERS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "t", QoS::AtMostOnce);
    burst(&mut town, publisher, 1_000, QoS::AtMostOnce);
    let before = town.of(meter).got.len();
    assert!(before < 600);
    town.publish(meter, "elsewhere", "x", QoS::AtLeastOnce);
    town.send(meter, &sluicemq::codec::Packet::PingReq);
    assert_eq!(town.of(meter).answers.len(), 1);
    assert_eq!(town.of(meter).others.last().map(String::as_str), Some("PingResp"));
    assert_eq!(town.of(meter).got.len(), before);
}

#[test]
fn qos_0_that_has_waited_too_long_is_dropped_and_counted() {
    let mut town = Town::new(
        "
        queue.messages_max = 20_000
        shaping = { messages_rate = 100, messages_burst = 1, qos0_age_max = '2s' }
        ",
    );
    let (publisher, meter) = (town.client("p"), town.client("meter"));
    town.subscribe(meter, "t", QoS::AtLeastOnce);
    burst(&mut town, publisher, 1_000, QoS::AtMostOnce);
    town.publish(publisher, "t", "1000", QoS::AtLeastOnce);
    town.pass(SECOND * 60);
    let got = std::mem::take(&mut town.of(meter).got);
    let dropped = town.broker.metrics().lost(Loss::TooOld);
    assert_eq!(got.len() as u64 + dropped, 1_001);
    assert!((290..=310).contains(&got.len()), "{}", got.len());
    assert_eq!(numbers(&got).last(), Some(&1000), "QoS 1 is never dropped for its age");
    let meter = town.broker.view().sessions.into_iter().find(|s| s.client_id.as_str() == "meter");
    assert_eq!(meter.unwrap().account.ledger[0][Loss::TooOld as usize], dropped as u32);
}

#[test]
fn a_member_that_is_held_up_leaves_its_share_to_the_others() {
    let mut town = Town::new(METERS);
    let publisher = town.client("p");
    let (meter, other) = (town.client("meter-1"), town.client("other"));
    town.subscribe(meter, "$share/g/t", QoS::AtLeastOnce);
    town.subscribe(other, "$share/g/t", QoS::AtLeastOnce);
    burst(&mut town, publisher, 5_000, QoS::AtLeastOnce);
    // Nothing waits for the slow one beyond a turn of its own.
    town.pass(SECOND / 100);
    let (slow, fast) = (town.of(meter).got.clone(), town.of(other).got.clone());
    assert_eq!(slow.len() + fast.len(), 5_000);
    assert!(most(&slow, SECOND / 10, |_| 1) <= 60 && slow.len() > 100, "{}", slow.len());
    // With both held up, the backlog stays in the group and leaves as it may.
    town.cut(other);
    burst(&mut town, publisher, 5_000, QoS::AtLeastOnce);
    town.pass(SECOND * 20);
    assert_eq!(town.of(meter).got.len(), slow.len() + 5_000);
    assert!(most(&town.of(meter).got, SECOND / 10, |_| 1) <= 60);
}

#[test]
fn a_reload_changes_the_rate_of_who_is_connected() {
    let mut town = Town::new(METERS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "t", QoS::AtLeastOnce);
    burst(&mut town, publisher, 5_000, QoS::AtLeastOnce);
    let slower: Config = toml::from_str(&METERS.replace("500", "100")).unwrap();
    let before = town.of(meter).got.len();
    town.broker.reload(&slower, town.now);
    town.pass(SECOND * 10);
    let after = town.of(meter).got.len();
    assert!((990..=1_010).contains(&(after - before)), "{before} {after}");
    // And without a limit the rest comes at once.
    town.broker.reload(&Config::default(), town.now);
    town.pass(SECOND / 1000);
    assert_numbers(&town.of(meter).got, 0..5_000);
}

#[test]
fn what_shaping_does_to_a_client_is_in_the_view() {
    let mut town = Town::new(METERS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "t", QoS::AtLeastOnce);
    burst(&mut town, publisher, 1_000, QoS::AtLeastOnce);
    let view = |town: &Town| {
        let sessions = town.broker.view().sessions;
        sessions.into_iter().find(|s| s.client_id.as_str() == "meter-1").unwrap()
    };
    let during = view(&town);
    let pace = during.pace.unwrap();
    assert_eq!(&*pace.class, "meters");
    assert!(pace.waits && pace.level.0 > 0);
    assert!(pace.delayed > SECOND / 2, "{:?}", pace.delayed);
    assert!(during.queued_bytes > 60 * 400);
    town.pass(SECOND * 10);
    let after = view(&town).pace.unwrap();
    assert!(!after.waits);
}
