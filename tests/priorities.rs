//! Bands on virtual time: what overtakes what, what each is owed, and what keeps its order.

mod virtual_time;

use std::collections::BTreeMap;
use std::time::Duration;

use sluicemq::codec::QoS;
use virtual_time::{Got, Town, connect};

const SECOND: Duration = Duration::from_secs(1);

/// A band for each first level, and ten messages a second for meters.
const BANDS: &str = "
    queue = { messages_max = 100_000, bytes_max = '64MiB', qos0_offline = true, pause_max = '0s' }
    session.inflight_max = 65535
    [[priority]]
    filter = 'low/#'
    band = 0
    [[priority]]
    filter = 'high/#'
    band = 2
    [[priority]]
    filter = 'highest/#'
    band = 3
    [[priority]]
    property = 'urgent=yes'
    band = 3
    [[class]]
    name = 'meters'
    client_id = 'meter-*'
    shaping = { messages_rate = 100, messages_burst = 1 }
";

fn by_topic(got: &[Got]) -> BTreeMap<&str, Vec<usize>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for got in got {
        found.entry(got.topic.as_str()).or_default().push(got.payload.parse().expect("a number"));
    }
    found
}

fn draws(seed: u64) -> impl FnMut(usize) -> usize {
    let mut random = seed;
    move |below| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    }
}

const TOPICS: [&str; 4] = ["low/t", "t", "high/t", "highest/t"];

/// The naive twin: a list for each band, and the copies that each band is owed.
struct Twin {
    bands: [Vec<usize>; 4],
    credit: [usize; 4],
    share: usize,
}

impl Twin {
    fn next(&mut self) -> Option<usize> {
        let waiting = |band: &usize| !self.bands[*band].is_empty();
        let highest = (0..4).rev().find(waiting)?;
        let lower: Vec<usize> = (0..highest).filter(waiting).collect();
        for band in 0..4 {
            self.credit[band] =
                if lower.contains(&band) { self.credit[band] + self.share } else { 0 };
        }
        let mut best = highest;
        for band in lower {
            let more = best == highest || self.credit[band] >= self.credit[best];
            if self.credit[band] >= 100 && more {
                best = band;
            }
        }
        if best != highest {
            self.credit[best] -= 100;
        }
        Some(self.bands[best].remove(0))
    }
}

#[test]
fn a_backlog_leaves_by_band_as_a_twin_of_a_few_lines_says() {
    for seed in 0..40 {
        let mut draw = draws(seed);
        let share = 1 + draw(25);
        let rules = format!("queue = {{ lower_band_share = {share},");
        let mut town = Town::new(&BANDS.replace("queue = {", &rules));
        let receiver = town.arrive(&connect("r", true, 3600), "test");
        town.subscribe(receiver, "#", QoS::AtLeastOnce);
        town.cut(receiver);
        let publisher = town.client("p");
        let mut twin = Twin { bands: Default::default(), credit: [0; 4], share };
        let used = 1 + draw(4);
        for number in 0..400 {
            let band = draw(used);
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][draw(2)];
            town.publish(publisher, TOPICS[band], &number.to_string(), qos);
            twin.bands[band].push(number);
        }
        let again = town.arrive(&connect("r", false, 3600), "test");
        town.pass(SECOND);
        let got: Vec<usize> =
            town.of(again).got.iter().map(|got| got.payload.parse().unwrap()).collect();
        let wanted: Vec<usize> = std::iter::from_fn(|| twin.next()).collect();
        assert_eq!(got, wanted, "seed {seed}, share {share}");
    }
}

/// A receiver that is given twice what it may be sent.
#[test]
fn a_high_band_has_next_to_no_delay_where_a_low_one_has_seconds() {
    let mut town = Town::new(BANDS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "#", QoS::AtLeastOnce);
    let mut sent = BTreeMap::new();
    for number in 0..2_000 {
        town.publish(publisher, "t", &number.to_string(), QoS::AtLeastOnce);
        if number % 10 == 0 {
            let payload = number.to_string();
            sent.insert(number, town.now);
            town.publish(publisher, "highest/t", &payload, QoS::AtLeastOnce);
        }
        town.pass(SECOND / 200);
    }
    let got = town.of(meter).got.clone();
    let delays: Vec<Duration> = got
        .iter()
        .filter(|got| got.topic == "highest/t")
        .map(|got| got.at.since(sent[&got.payload.parse().unwrap()]))
        .collect();
    assert!(delays.len() >= 198, "{}", delays.len());
    // The next one that may leave, or, if the other band is owed its share, the one after.
    let worst = delays.iter().max().unwrap();
    assert!(*worst <= Duration::from_millis(20), "{worst:?}");
    let ordinary = got.iter().filter(|got| got.topic == "t").count();
    assert!((790..=810).contains(&ordinary), "{ordinary}");
    town.pass(SECOND * 30);
    let all = town.of(meter).got.clone();
    let all = by_topic(&all);
    assert_eq!(all["t"], (0..2_000).collect::<Vec<_>>());
    assert_eq!(all["highest/t"], (0..2_000).step_by(10).collect::<Vec<_>>());
}

/// A high band that always has something leaves each lower one its share.
#[test]
fn no_band_starves() {
    let mut town = Town::new(BANDS);
    let (publisher, meter) = (town.client("p"), town.client("meter-1"));
    town.subscribe(meter, "#", QoS::AtLeastOnce);
    for number in 0..4_000 {
        for topic in TOPICS {
            town.publish(publisher, topic, &number.to_string(), QoS::AtLeastOnce);
        }
    }
    town.pass(SECOND * 10);
    let got = town.of(meter).got.clone();
    let found = by_topic(&got);
    let counts = TOPICS.map(|topic| found[topic].len());
    assert!((1_000..=1_002).contains(&got.len()));
    for lower in &counts[..3] {
        assert!((98..=102).contains(lower), "{counts:?}");
    }
    // In any hundred that are sent, too.
    for window in got[100..].chunks_exact(100) {
        let found = by_topic(window);
        assert!(TOPICS[..3].iter().all(|topic| found[topic].len() >= 9), "{counts:?}");
    }
    for numbers in found.values() {
        assert!(numbers.is_sorted());
    }
}

/// By its properties one topic may be of two bands: it keeps its order all the same.
#[test]
fn a_topic_keeps_its_order_whatever_its_messages_say() {
    let mut town = Town::new(BANDS);
    let receiver = town.arrive(&connect("r", true, 3600), "test");
    town.subscribe(receiver, "#", QoS::AtLeastOnce);
    town.cut(receiver);
    let publisher = town.client("p");
    let mut draw = draws(5);
    let mut publish = |town: &mut Town, count: usize| {
        for number in 0..count {
            let urgent: &[_] =
                if draw(3) == 0 { &[("urgent", "yes")] } else { &[("urgent", "no")] };
            let (topic, payload) = (format!("n/{}", draw(20)), number.to_string());
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][draw(2)];
            town.publish_with(publisher, &topic, &payload, qos, false, urgent);
        }
    };
    publish(&mut town, 1_000);
    let again = town.arrive(&connect("r", false, 3600), "test");
    town.pass(SECOND);
    let got = town.of(again).got.clone();
    assert_eq!(got.len(), 1_000);
    for (topic, numbers) in by_topic(&got) {
        assert!(numbers.is_sorted(), "{topic}: {numbers:?}");
    }
    // And something did overtake.
    let all: Vec<usize> = got.iter().map(|got| got.payload.parse().unwrap()).collect();
    assert!(!all.is_sorted());
    // When nothing of it waits any more, a topic is free to be of another band.
    town.cut(again);
    town.publish(publisher, "t", "0", QoS::AtLeastOnce);
    let urgent = [("urgent", "yes")];
    town.publish_with(publisher, "n/1", "1", QoS::AtLeastOnce, false, &urgent);
    let last = town.arrive(&connect("r", false, 3600), "test");
    town.pass(SECOND);
    let got: Vec<_> = town.of(last).got.iter().map(|got| got.payload.clone()).collect();
    assert_eq!(got, ["1", "0"]);
}

/// Where bands and policies meet: the oldest goes first, whatever its band; a topic is replaced in place.
#[test]
fn policies_look_at_all_bands() {
    for (policy, wanted) in [
        ("drop_oldest", ["b", "d", "c"]),
        ("drop_newest", ["b", "c", "a"]),
        ("conflate", ["d", "c", "a"]),
    ] {
        let rules = BANDS
            .replace("100_000", "3")
            .replace("queue = {", &format!("queue = {{ policy = '{policy}',"));
        let mut town = Town::new(&rules);
        let receiver = town.arrive(&connect("r", true, 3600), "test");
        town.subscribe(receiver, "#", QoS::AtLeastOnce);
        town.cut(receiver);
        let publisher = town.client("p");
        for (topic, payload) in
            [("low/t", "a"), ("highest/t", "b"), ("high/t", "c"), ("highest/t", "d")]
        {
            town.publish(publisher, topic, payload, QoS::AtLeastOnce);
        }
        let again = town.arrive(&connect("r", false, 3600), "test");
        town.pass(SECOND);
        let got: Vec<_> = town.of(again).got.iter().map(|got| got.payload.as_str()).collect();
        assert_eq!(got, wanted, "{policy}");
    }
}
