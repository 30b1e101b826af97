//! The buckets that clients share on their way out, on virtual time.

mod virtual_time;

use std::time::Duration;

use sluicemq::codec::QoS;
use sluicemq::config::Config;
use sluicemq::time::Time;
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);

const ROOMY: &str = "
    queue = { messages_max = 20_000, bytes_max = '64MiB' }
    session = { inflight_max = 1_000 }
";

fn town(keys: &str) -> Town {
    Town::new(&format!("{ROOMY}{keys}"))
}

/// A subscriber to the topic of its own name.
fn receiver(town: &mut Town, name: &str, listener: &str, qos: QoS) -> usize {
    let number = town.arrive(&connect(name, true, 3_600), listener);
    town.subscribe(number, name, qos);
    number
}

/// So many messages of `size` bytes for each of them.
fn feed(town: &mut Town, names: &[&str], count: usize, size: usize, qos: QoS) {
    let publisher = town.arrive(&connect("feeder", true, 0), "feed");
    for number in 0..count {
        for name in names {
            town.publish(publisher, name, &format!("{number:>size$}"), qos);
        }
    }
    town.cut(publisher);
}

/// When each packet of any of them came, and its bytes.
fn all(town: &mut Town, receivers: &[usize]) -> Vec<(Time, usize)> {
    let got = receivers.iter().flat_map(|number| town.of(*number).got.clone());
    let mut all: Vec<_> = got.map(|got| (got.at, got.len)).collect();
    all.sort();
    all
}

/// Most packets, and most bytes, within any `window`.
fn most(all: &[(Time, usize)], window: Duration) -> (usize, usize) {
    let (mut end, mut sum, mut most) = (0, 0, (0, 0));
    for (from, (at, bytes)) in all.iter().enumerate() {
        while end < all.len() && all[end].0 < at.after(window) {
            sum += all[end].1;
            end += 1;
        }
        most = (most.0.max(end - from), most.1.max(sum));
        sum -= bytes;
    }
    most
}

#[track_caller]
fn assert_in_order(town: &mut Town, number: usize, count: usize) {
    let got = &town.of(number).got;
    let numbers: Vec<usize> = got.iter().map(|got| got.payload.trim().parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..count), "{} of {count}: {numbers:?}", numbers.len());
}

#[test]
fn all_clients_together_leave_at_the_brokers_rate_and_share_it_evenly() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut town = town("broker.egress = { bytes_rate = '100KiB', bytes_burst = '2KiB' }");
        let huge = receiver(&mut town, "huge", "test", qos);
        let names: Vec<_> = (0..20).map(|n| format!("small-{n}")).collect();
        let small: Vec<_> =
            names.iter().map(|name| receiver(&mut town, name, "test", qos)).collect();
        feed(&mut town, &["huge"], 5_000, 1_000, qos);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        feed(&mut town, &names, 200, 200, qos);
        let (from, before) = (town.now, town.of(huge).got.len());
        town.pass(SECOND * 5);
        let bytes = |town: &mut Town, number: usize| -> usize {
            town.of(number).got.iter().filter(|got| got.at > from).map(|got| got.len).sum()
        };
        let shares: Vec<_> = small.iter().map(|number| bytes(&mut town, *number)).collect();
        let (own, least) = (bytes(&mut town, huge), *shares.iter().min().unwrap());
        let (most_of, quantum) = (*shares.iter().max().unwrap(), 1_024);
        assert!(most_of - least <= quantum + 250, "{qos:?} {shares:?}");
        assert!(own.abs_diff(least) <= quantum + 1_100, "{qos:?} {own} {shares:?}");
        assert!(before < 10, "{before}");
        town.pass(SECOND * 100);
        assert_in_order(&mut town, huge, 5_000);
        small.iter().for_each(|number| assert_in_order(&mut town, *number, 200));
        let everybody: Vec<_> = small.into_iter().chain([huge]).collect();
        let all = all(&mut town, &everybody);
        let tenth = most(&all, SECOND / 10).1;
        assert!(tenth <= 10_240 + 2_048 + 1_100, "{tenth} bytes in a tenth of a second");
        // Nor slower than that, to the end.
        let took = all.last().unwrap().0.since(BEGIN).as_secs_f64();
        let sum: usize = all.iter().map(|(_, bytes)| bytes).sum();
        let wanted = (sum - 2_048) as f64 / 102_400.0;
        assert!((took - wanted).abs() < 0.02, "{qos:?}: {took} s, not {wanted}");
    }
}

#[test]
fn messages_have_a_rate_for_all_too() {
    let mut town = town("broker.egress = { messages_rate = 100, messages_burst = 1 }");
    let receivers = ["a", "b", "c"].map(|name| receiver(&mut town, name, "test", QoS::ExactlyOnce));
    feed(&mut town, &["a", "b", "c"], 100, 10, QoS::ExactlyOnce);
    town.pass(SECOND * 2);
    let shares = receivers.map(|number| town.of(number).got.len());
    assert!(shares.iter().all(|share| (66..=68).contains(share)), "{shares:?}");
    town.pass(SECOND);
    receivers.iter().for_each(|number| assert_in_order(&mut town, *number, 100));
    assert_eq!(town.broker.metrics().dropped(), 0);
}

#[test]
fn a_listeners_rate_is_its_clients_alone() {
    let mut town = town(
        "broker.egress = { messages_rate = 1_000, messages_burst = 1 }
         [[listener]]
         name = 'radio'
         egress = { messages_rate = 100, messages_burst = 1 }",
    );
    let radio = ["a", "b"].map(|name| receiver(&mut town, name, "radio", QoS::AtLeastOnce));
    let wired = ["c", "d"].map(|name| receiver(&mut town, name, "wire", QoS::AtLeastOnce));
    feed(&mut town, &["a", "b", "c", "d"], 1_000, 10, QoS::AtLeastOnce);
    town.pass(SECOND);
    let of = |town: &mut Town, pair: [usize; 2]| pair.map(|number| town.of(number).got.len());
    let (slow, fast) = (of(&mut town, radio), of(&mut town, wired));
    assert!(
        (100..=101).contains(&(slow[0] + slow[1])) && slow[0].abs_diff(slow[1]) <= 1,
        "{slow:?}"
    );
    assert!(
        (899..=902).contains(&(fast[0] + fast[1])) && fast[0].abs_diff(fast[1]) <= 2,
        "{fast:?}"
    );
    town.pass(SECOND * 20);
    for number in radio.into_iter().chain(wired) {
        assert_in_order(&mut town, number, 1_000);
    }
    assert!(most(&all(&mut town, &radio), SECOND / 10).0 <= 11);
    assert!(most(&all(&mut town, &[radio, wired].concat()), SECOND / 10).0 <= 101);
}

#[test]
fn who_does_not_take_holds_nobody_up() {
    let mut town = town(
        "broker.egress = { messages_rate = 100, messages_burst = 1 }
         [[class]]
         name = 'slow'
         client_id = 'slow'
         shaping = { messages_rate = 1, messages_burst = 1 }",
    );
    let deaf = receiver(&mut town, "deaf", "test", QoS::AtLeastOnce);
    let slow = receiver(&mut town, "slow", "test", QoS::AtLeastOnce);
    let quick = receiver(&mut town, "quick", "test", QoS::AtLeastOnce);
    town.of(deaf).acknowledges = false;
    feed(&mut town, &["deaf", "slow"], 1_100, 10, QoS::AtLeastOnce);
    // Until the window of `deaf`, which acknowledges nothing, is full.
    town.pass(SECOND * 20);
    assert_eq!(town.of(deaf).got.len(), 1_000);
    feed(&mut town, &["quick"], 1_000, 10, QoS::AtLeastOnce);
    let (from, before) = (town.now, town.of(slow).got.len());
    town.pass(SECOND * 12);
    assert_in_order(&mut town, quick, 1_000);
    let slowly = town.of(slow).got.len() - before;
    assert!((11..=13).contains(&slowly), "{slowly}");
    let last = town.of(quick).got.last().unwrap().at.since(from);
    assert!(last <= SECOND / 100 * 1_012, "{last:?}");
}

#[test]
fn who_leaves_the_line_leaves_its_place_to_the_next() {
    let mut town = town("broker.egress = { messages_rate = 10, messages_burst = 1 }");
    let names = ["a", "b", "c", "d"];
    let numbers = names.map(|name| receiver(&mut town, name, "test", QoS::AtLeastOnce));
    feed(&mut town, &names, 10, 10, QoS::AtLeastOnce);
    // One after the other goes, each the first of the line at some time.
    for number in &numbers[..3] {
        town.pass(SECOND / 20);
        town.cut(*number);
    }
    town.pass(SECOND * 2);
    assert_in_order(&mut town, numbers[3], 10);
    let again = town.arrive(&connect("a", false, 3_600), "test");
    let other = town.arrive(&connect("b", false, 3_600), "test");
    town.pass(SECOND * 3);
    for number in [again, other] {
        let got = &town.of(number).got;
        assert!(got.len() >= 9 && got.last().unwrap().payload.trim() == "9", "{}", got.len());
    }
}

#[test]
fn what_was_in_flight_and_what_is_retained_leave_by_the_same_door() {
    let mut town = town("broker.egress = { messages_rate = 100, messages_burst = 10 }");
    let publisher = town.client("p");
    for number in 0..100 {
        let topic = format!("r/{number:03}");
        town.publish_as(publisher, &topic, &number.to_string(), QoS::AtLeastOnce, true);
    }
    let first = town.arrive(&connect("a", true, 3_600), "test");
    town.of(first).acknowledges = false;
    town.subscribe(first, "r/#", QoS::AtLeastOnce);
    assert_eq!(town.of(first).got.len(), 10);
    town.pass(SECOND);
    assert_in_order(&mut town, first, 100);
    town.pass(SECOND);
    town.cut(first);
    let again = town.arrive(&connect("a", false, 3_600), "test");
    assert_eq!(town.of(again).got.len(), 10);
    town.pass(SECOND);
    assert_in_order(&mut town, again, 100);
    assert!(most(&all(&mut town, &[first, again]), SECOND / 10).0 <= 20);
}

#[test]
fn a_reload_opens_and_closes_doors_for_who_is_connected() {
    let with = |keys: &str| toml::from_str::<Config>(&format!("{ROOMY}{keys}")).unwrap();
    let slow = "broker.egress = { messages_rate = 10, messages_burst = 1 }";
    let mut town = town(slow);
    let numbers = ["a", "b"].map(|name| receiver(&mut town, name, "test", QoS::AtLeastOnce));
    feed(&mut town, &["a", "b"], 1_000, 10, QoS::AtLeastOnce);
    let sum = |town: &mut Town| numbers.iter().map(|number| town.of(*number).got.len()).sum();
    town.pass(SECOND);
    let before: usize = sum(&mut town);
    assert!((10..=11).contains(&before), "{before}");
    let faster = "broker.egress = { messages_rate = 100, messages_burst = 1 }";
    town.broker.reload(&with(faster), town.now);
    town.pass(SECOND);
    let after: usize = sum(&mut town);
    assert!((99..=101).contains(&(after - before)), "{before} {after}");
    town.broker.reload(&with(""), town.now);
    town.pass(SECOND / 1_000);
    numbers.iter().for_each(|number| assert_in_order(&mut town, *number, 1_000));
    town.broker.reload(&with(slow), town.now);
    town.pass(SECOND / 1_000);
    feed(&mut town, &["a", "b"], 10, 10, QoS::AtLeastOnce);
    town.pass(SECOND / 2);
    let late: usize = sum(&mut town);
    assert!((2_005..=2_006).contains(&late), "{late}");
}

#[test]
fn members_of_a_group_wait_in_the_same_line() {
    let mut town = town("broker.egress = { messages_rate = 100, messages_burst = 1 }");
    let members = ["a", "b", "c"].map(|name| town.client(name));
    for member in members {
        town.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
    }
    feed(&mut town, &["t"], 300, 10, QoS::AtLeastOnce);
    town.pass(SECOND * 3);
    let all = all(&mut town, &members);
    assert_eq!(all.len(), 300);
    assert!(most(&all, SECOND / 10).0 <= 11);
    let took = all.last().unwrap().0.since(BEGIN);
    assert!(took <= SECOND / 100 * 300, "{took:?}");
}

#[test]
fn whoever_comes_and_goes_nothing_is_stuck_and_the_rate_holds() {
    for seed in 1..=30_u64 {
        let mut random = seed;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let rate = [50, 500][draw(2)];
        let keys = format!(
            "broker.egress = {{ messages_rate = {rate}, messages_burst = 5 }}
             [[listener]]
             name = 'radio'
             egress = {{ bytes_rate = '2KiB' }}"
        );
        let mut town = town(&keys);
        let names = ["a", "b", "c", "d", "e"];
        let listener = |n: usize| if n < 2 { "radio" } else { "wire" };
        let mut numbers: Vec<usize> = Vec::new();
        let mut everybody = Vec::new();
        for (index, name) in names.iter().enumerate() {
            numbers.push(receiver(&mut town, name, listener(index), QoS::AtLeastOnce));
        }
        everybody.extend(&numbers);
        let publisher = town.arrive(&connect("p", true, 0), "feed");
        for number in 0..400 {
            let of = draw(5);
            let (size, qos) = (1 + draw(300), [QoS::AtMostOnce, QoS::AtLeastOnce][draw(2)]);
            town.publish(publisher, names[of], &format!("{number:>size$}"), qos);
            if draw(40) == 0 {
                town.cut(numbers[of]);
                numbers[of] = town.arrive(&connect(names[of], false, 3_600), listener(of));
                everybody.push(numbers[of]);
            }
            town.pass(Duration::from_millis(draw(20) as u64));
        }
        town.pass(SECOND * 120);
        for session in town.broker.view().sessions {
            assert_eq!(session.account.queued, [0, 0], "seed {seed} {:?}", session.client_id);
        }
        let tenth = most(&all(&mut town, &everybody), SECOND / 10).0;
        assert!(tenth <= rate / 10 + 5, "seed {seed}: {tenth}");
    }
}

/// Its own bucket and the shared one are told apart, whichever holds it up; and a client that has
/// nothing, or was away, has not waited.
#[test]
fn how_long_a_client_waited_for_the_others_is_told() {
    let mut town = town(
        "broker.egress = { messages_rate = 10, messages_burst = 1 }
         [[class]]
         name = 'slow'
         client_id = 'slow'
         shaping = { messages_rate = 1, messages_burst = 1 }",
    );
    let names = ["a", "b", "slow", "idle"];
    let numbers = names.map(|name| receiver(&mut town, name, "test", QoS::AtLeastOnce));
    feed(&mut town, &["slow"], 3, 10, QoS::AtLeastOnce);
    let pace = |town: &Town, name: &str| {
        let mut sessions = town.broker.view().sessions.into_iter();
        let session = sessions.find(|session| session.client_id.as_str() == name);
        session.and_then(|session| session.pace).expect("it is shaped")
    };
    let (told, millis) = (|town: &Town, name: &str| pace(town, name).waited, Duration::from_millis);
    town.pass(SECOND * 3);
    // Alone it waited for its own rate only: the second and the third message, a second each.
    assert_eq!(told(&town, "slow"), Duration::ZERO);
    assert_eq!(pace(&town, "slow").delayed, SECOND * 2);
    assert_eq!(town.of(numbers[2]).got.len(), 3);

    // Two with ten messages each, at ten a second together: the last but one is gone after 1.8 s,
    // the last after 1.9 s.
    feed(&mut town, &["a", "b"], 10, 10, QoS::AtLeastOnce);
    town.pass(SECOND);
    let (a, b) = (told(&town, "a"), told(&town, "b"));
    let nearly_a_second = millis(800)..=SECOND;
    assert!(nearly_a_second.contains(&a) && nearly_a_second.contains(&b), "{a:?} {b:?}");
    town.pass(SECOND * 2);
    let (a, b) = (told(&town, "a"), told(&town, "b"));
    assert_eq!((a.min(b), a.max(b)), (millis(1_800), millis(1_900)));
    assert_eq!(told(&town, "idle"), Duration::ZERO);
    assert_eq!(pace(&town, "a").delayed, Duration::ZERO);

    // It is remembered where the Session is, and time away is no wait.
    town.cut(numbers[0]);
    town.pass(SECOND * 60);
    let again = town.arrive(&connect("a", false, 3_600), "test");
    town.pass(SECOND);
    assert_eq!(told(&town, "a"), a);
    feed(&mut town, &["a"], 3, 10, QoS::AtLeastOnce);
    town.pass(SECOND);
    assert_eq!(town.of(again).got.len(), 3);
    assert_eq!(told(&town, "a"), a + millis(200));
}
