//! How members of a group share, on virtual time: fairness, order, members that go with messages in flight,
//! members that come, and what a reload changes.

#[path = "strategies/crowd.rs"]
mod crowd;
#[path = "../src/random.rs"]
mod random;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use crowd::{Crowd, NONE, ONCE};
use random::Random;

use sluicemq::codec::{Connect, QoS};
use sluicemq::config::Config;
use virtual_time::{Town, connect};

const SECOND: Duration = Duration::from_secs(1);

/// One strategy for every group, and windows of this size.
fn config(strategy: &str, window: u16) -> String {
    format!(
        "
        session.inflight_max = {window}
        queue = {{ messages_max = 1_000_000, bytes_max = '1GiB' }}
        [[group]]
        share = '*'
        {strategy}
        "
    )
}

#[test]
fn one_member_has_all_until_it_goes_and_then_the_one_that_has_been_there_longest() {
    let mut crowd = Crowd::new(&config("strategy = 'single_active'", 10), &["a", "b", "c"]);
    (0..20).for_each(|n| crowd.publish(&format!("{}", n % 3)));
    crowd.settle();
    assert_eq!(crowd.counts, BTreeMap::from([("a".to_owned(), 20)]));
    // It goes with ten in flight, and ten wait.
    crowd.set_acknowledges(false);
    (0..20).for_each(|n| crowd.publish(&format!("{}", n % 3)));
    crowd.go("a");
    crowd.come("a");
    crowd.settle();
    (0..5).for_each(|n| crowd.publish(&format!("{}", n % 3)));
    crowd.assert_all_came();
    assert_eq!(crowd.repeats, 10, "what was in flight comes again");
    let wanted = [("a".to_owned(), 30), ("b".to_owned(), 15)];
    assert_eq!(crowd.counts, BTreeMap::from(wanted), "the one that is back is the last in line");
    crowd.go("b");
    crowd.publish("0");
    crowd.assert_all_came();
    assert_eq!(crowd.holders["0"], "c");
}

/// What a sole member leaves behind waits for whichever member comes.
#[test]
fn a_member_that_comes_takes_over_what_the_only_one_had_in_flight() {
    let mut crowd = Crowd::new(&config("strategy = 'single_active'", 10), &["a"]);
    crowd.set_acknowledges(false);
    (0..20).for_each(|_| crowd.publish("k"));
    crowd.go("a");
    crowd.come("b");
    crowd.assert_all_came();
    assert_eq!((crowd.repeats, crowd.counts["b"]), (10, 10));
}

/// At QoS 2 a message is its member's until PUBREC: the lane waits for it.
#[test]
fn a_lane_waits_for_what_is_in_flight_at_qos_2() {
    let mut crowd = Crowd::new(&config("strategy = 'single_active'", 3), &["a", "b"]);
    crowd.set_acknowledges(false);
    (0..10).for_each(|_| crowd.publish_as("k", QoS::ExactlyOnce));
    crowd.go("a");
    crowd.settle();
    assert_eq!(crowd.counts, BTreeMap::from([("a".to_owned(), 3)]));
    crowd.come("a");
    crowd.assert_all_came();
    assert_eq!(crowd.counts, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 7)]));
}

#[test]
fn a_key_keeps_its_member_and_its_order_while_members_come_and_go() {
    const KEYS: usize = 10_000;
    let mut crowd = Crowd::new(&config("strategy = 'hash'", 20), &["c1", "c2", "c3", "c4"]);
    let mut random = Random::new(15);
    let mut load = |crowd: &mut Crowd, count: usize| {
        for _ in 0..count {
            crowd.publish(&format!("{}", random.below(KEYS)));
            if random.percent(5) {
                let (_, number) = crowd.members[random.below(crowd.members.len())].clone();
                let client = crowd.town.of(number);
                let all = client.unacknowledged.len();
                client.acknowledge(random.below(all + 1));
            }
        }
    };
    (0..KEYS).for_each(|key| crowd.publish(&key.to_string()));
    crowd.settle();
    let before = crowd.holders.clone();
    // One is killed in mid-load, with messages in flight.
    crowd.set_acknowledges(false);
    load(&mut crowd, 5_000);
    crowd.go("c2");
    load(&mut crowd, 5_000);
    crowd.settle();
    (0..KEYS).for_each(|key| crowd.publish(&key.to_string()));
    crowd.settle();
    let after = crowd.holders.clone();
    let had = before.values().filter(|holder| *holder == "c2").count();
    let moved = moved(&before, &after);
    // One is added in mid-load.
    crowd.set_acknowledges(false);
    load(&mut crowd, 5_000);
    crowd.come("c5");
    crowd.set_acknowledges(false);
    load(&mut crowd, 5_000);
    crowd.settle();
    (0..KEYS).for_each(|key| crowd.publish(&key.to_string()));
    crowd.assert_all_came();
    let with_c5 = crowd.holders.clone();
    let moved_again = self::moved(&after, &with_c5);
    let of_c5 = with_c5.values().filter(|holder| *holder == "c5").count();
    println!(
        "order broken {} times; killed: {moved} of {KEYS} keys moved, it had {had}; added: {moved_again} \
         moved, ideal {}; {} came again",
        crowd.broken,
        KEYS / 4,
        crowd.repeats
    );
    assert_eq!(moved, had, "only the keys of the member that was killed move");
    assert_eq!(moved_again, of_c5, "keys move only to the member that came");
    assert!(had * 10 <= KEYS / 4 * 11 && moved_again * 10 <= KEYS / 4 * 11);
    assert!(crowd.repeats > 0, "something was in flight with the one that was killed");
}

fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> usize {
    before.iter().filter(|(key, holder)| after[*key] != **holder).count()
}

#[test]
fn keys_are_topics_publishers_or_a_user_property() {
    for (key, one_member) in [("publisher", true), ("property:order", false), ("topic", false)] {
        let config = config(&format!("strategy = 'hash'\nkey = '{key}'"), 20);
        let mut crowd = Crowd::new(&config, &["a", "b"]);
        let publisher = crowd.publisher;
        for n in 0..100 {
            let order = format!("{}", n % 10);
            let topic = if key == "topic" { format!("k/{order}") } else { "k/t".to_owned() };
            let property = [("other", "x"), ("order", &order)];
            crowd.town.publish_with(publisher, &topic, &order, ONCE, false, &property);
        }
        let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
        for (client_id, number) in crowd.members.clone() {
            for got in std::mem::take(&mut crowd.town.of(number).got) {
                seen.entry(got.payload).or_default().insert(client_id.clone());
            }
        }
        assert_eq!(seen.len(), 10, "{key}");
        assert!(seen.values().all(|members| members.len() == 1), "{key}: {seen:?}");
        let members: BTreeSet<_> = seen.values().flatten().collect();
        assert_eq!(members.len() == 1, one_member, "{key}: {seen:?}");
    }
}

#[test]
fn a_publisher_sticks_to_its_member_and_new_ones_go_to_the_one_with_the_fewest() {
    let mut crowd = Crowd::new(&config("strategy = 'sticky'", 20), &["a", "b"]);
    let publishers: Vec<_> = (0..6).map(|n| crowd.town.client(&format!("publisher-{n}"))).collect();
    let holders = |crowd: &mut Crowd, count: usize| {
        for publisher in &publishers[..count] {
            for _ in 0..3 {
                crowd.town.publish(*publisher, "k/t", &publisher.to_string(), ONCE);
            }
        }
        crowd.town.pass(SECOND);
        let mut found = BTreeMap::<usize, BTreeSet<String>>::new();
        for (client_id, number) in crowd.members.clone() {
            for got in std::mem::take(&mut crowd.town.of(number).got) {
                found.entry(got.payload.parse().unwrap()).or_default().insert(client_id.clone());
            }
        }
        found
            .into_iter()
            .map(|(publisher, members)| {
                assert_eq!(members.len(), 1, "{publisher}: {members:?}");
                (publisher, members.into_iter().next().expect("one"))
            })
            .collect::<BTreeMap<_, _>>()
    };
    let first = holders(&mut crowd, 4);
    let of = |holders: &BTreeMap<usize, String>, member: &str| {
        holders.values().filter(|holder| *holder == member).count()
    };
    assert_eq!((of(&first, "a"), of(&first, "b")), (2, 2));
    // A member that comes gets none of those, and the new ones.
    crowd.come("c");
    let second = holders(&mut crowd, 6);
    assert!(first.iter().all(|(publisher, holder)| second[publisher] == *holder));
    assert_eq!(of(&second, "c"), 2);
    crowd.go("a");
    let third = holders(&mut crowd, 6);
    let stay = second.iter().filter(|(_, holder)| *holder != "a");
    assert!(stay.clone().all(|(publisher, holder)| third[publisher] == *holder));
    assert_eq!((of(&third, "b"), of(&third, "c")), (3, 3));
}

/// Members with small windows and long queues: what waits while nobody is there too.
#[test]
fn lanes_agree_with_a_list_for_each_key() {
    for strategy in ["strategy = 'hash'", "strategy = 'sticky'", "strategy = 'single_active'"] {
        let mut moves = 0;
        for seed in 0..20 {
            let random = &mut Random::new(seed);
            let mut crowd = Crowd::new(&config(strategy, 4), &["m0"]);
            crowd.set_acknowledges(false);
            let mut absent: Vec<String> = (1..4).map(|n| format!("m{n}")).collect();
            for _ in 0..600 {
                match random.below(20) {
                    0 if !absent.is_empty() => {
                        let client_id = absent.remove(random.below(absent.len()));
                        crowd.come(&client_id);
                        crowd.set_acknowledges(false);
                        moves += 1;
                    }
                    1 if !crowd.members.is_empty() => {
                        let at = random.below(crowd.members.len());
                        let client_id = crowd.members[at].0.clone();
                        crowd.go(&client_id);
                        absent.push(client_id);
                    }
                    2..10 if !crowd.members.is_empty() => {
                        let at = random.below(crowd.members.len());
                        let number = crowd.members[at].1;
                        crowd.town.of(number).acknowledge(1 + random.below(4));
                        crowd.town.pass(NONE);
                        crowd.see();
                    }
                    _ => crowd.publish(&random.below(12).to_string()),
                }
            }
            while let Some(client_id) = absent.pop() {
                crowd.come(&client_id);
            }
            println!("{strategy} {seed}");
            crowd.assert_all_came();
        }
        assert!(moves > 100, "members came and went");
    }
}

const QUEUE: &str = "
    session.inflight_max = 5
    [[named_queue]]
    name = 'q'
    bindings = ['k/#']
";

/// What was in flight when the broker stopped is for whichever member comes first, and nothing is overtaken.
#[test]
fn a_restart_keeps_the_order_of_each_key_and_waits_for_no_member_of_before() {
    for strategy in ["hash", "single_active", "sticky"] {
        let config = format!("{QUEUE}\nstrategy = '{strategy}'");
        let mut crowd = Crowd::kept(&config, "$queue/q");
        (0..20).for_each(|n| crowd.publish(&format!("{}", n % 4)));
        crowd.pass();
        ["a", "b"].iter().for_each(|client_id| crowd.come(client_id));
        crowd.set_acknowledges(false);
        (0..20).for_each(|n| crowd.publish(&format!("{}", n % 4)));
        crowd.pass();
        crowd.restart(&config);
        (0..20).for_each(|n| crowd.publish(&format!("{}", n % 4)));
        crowd.come("c");
        crowd.assert_all_came();
        assert!(crowd.counts["c"] >= 30, "{strategy}: {:?}", crowd.counts);
        assert!(crowd.repeats <= 10 && crowd.repeats > 0, "{strategy}: {}", crowd.repeats);
        // The members of before come back, and resend nothing that was given to another.
        ["a", "b"].iter().for_each(|client_id| crowd.come(client_id));
        let before = crowd.repeats;
        crowd.publish("0");
        crowd.assert_all_came();
        assert_eq!(crowd.repeats, before, "{strategy}");
    }
}

#[test]
fn a_reload_parts_into_lanes_what_waits_in_the_store_alone() {
    let kept = format!("{QUEUE}\nstrategy = 'hash'");
    for (from, to) in [(QUEUE, &*kept), (&*kept, QUEUE), (&*kept, &kept.replace("hash", "sticky"))]
    {
        let mut crowd = Crowd::kept(from, "$queue/q");
        crowd.come("a");
        crowd.go("a");
        (0..300).for_each(|n| crowd.publish(&format!("{}", n % 7)));
        crowd.pass();
        crowd.town.reload(to);
        ["a", "b", "c"].iter().for_each(|client_id| crowd.come(client_id));
        (0..50).for_each(|n| crowd.publish(&format!("{}", n % 7)));
        crowd.settle();
        assert_eq!(crowd.published, crowd.next, "each message came");
        if to.contains("strategy") {
            assert_eq!(crowd.broken, 0, "{from} -> {to}");
        }
    }
}

#[test]
fn a_reload_in_mid_load_loses_nothing() {
    let mut crowd = Crowd::new(&config("strategy = 'hash'", 5), &["a", "b", "c"]);
    for strategy in ["single_active", "least_inflight", "sticky", "hash", "single_active"] {
        crowd.set_acknowledges(false);
        (0..100).for_each(|n| crowd.publish(&format!("{}", n % 7)));
        crowd.town.reload(&config(&format!("strategy = '{strategy}'"), 5));
        crowd.go("b");
        crowd.come("b");
    }
    crowd.settle();
    let all: usize = crowd.published.values().sum();
    let came = crowd.counts.values().sum::<usize>() + crowd.repeats;
    assert!(came >= all, "{came} of {all}");
    let view = crowd.town.broker.view();
    assert!(view.groups.iter().all(|(_, account)| account.queued == [0, 0]));
}

/// What each member was sent, with windows so large that none is ever full.
fn counts_of(strategy: &str, windows: &[u16], messages: usize) -> Vec<usize> {
    let mut town = Town::new(&config(&format!("strategy = '{strategy}'"), 1000));
    let publisher = town.client("p");
    let members: Vec<_> = windows
        .iter()
        .enumerate()
        .map(|(n, window)| {
            let client_id = format!("m{n}");
            let named = Connect {
                receive_maximum: NonZeroU16::new(*window).expect("a window"),
                ..connect(&client_id, true, 0)
            };
            let number = town.arrive(&named, "test");
            town.of(number).acknowledges = false;
            town.subscribe(number, "$share/g/k/#", ONCE);
            number
        })
        .collect();
    town.publish_many(publisher, "k/t", messages / 2, ONCE);
    (0..messages / 2).for_each(|n| {
        town.publish(publisher, "k/t", &n.to_string(), ONCE);
    });
    members.iter().map(|number| town.of(*number).got.len()).collect()
}

#[test]
fn members_take_turns_and_one_that_cannot_take_is_passed_over() {
    assert_eq!(counts_of("round_robin", &[500, 500, 500], 300), [100, 100, 100]);
    assert_eq!(counts_of("round_robin", &[500, 10, 500], 300), [145, 10, 145]);
    assert_eq!(counts_of("round_robin", &[500], 300), [300]);
    let drawn = counts_of("random", &[1000, 1000, 1000, 1000], 2000);
    assert_eq!(drawn.iter().sum::<usize>(), 2000);
    assert!(drawn.iter().all(|count| (430..570).contains(count)), "{drawn:?}");
    assert!(drawn.iter().any(|count| *count != 500), "{drawn:?}");
    let drawn = counts_of("random", &[1000, 10, 1000], 1000);
    assert_eq!((drawn[1], drawn.iter().sum::<usize>()), (10, 1000));
}

#[test]
fn turns_agree_with_a_ring_and_lose_nothing_while_members_come_and_go() {
    for strategy in ["round_robin", "random", "least_inflight"] {
        for seed in 0..20 {
            let random = &mut Random::new(seed);
            let mut crowd = Crowd::new(&config(&format!("strategy = '{strategy}'"), 4), &["m0"]);
            let mut absent: Vec<String> = (1..4).map(|n| format!("m{n}")).collect();
            let mut all = BTreeSet::new();
            let mut came = BTreeSet::new();
            let mut look = |crowd: &mut Crowd| {
                for (_, number) in crowd.members.clone() {
                    came.extend(
                        std::mem::take(&mut crowd.town.of(number).got)
                            .into_iter()
                            .map(|got| got.payload),
                    );
                }
                came.len()
            };
            for step in 0..400 {
                match random.below(20) {
                    0 if !absent.is_empty() => {
                        let client_id = absent.remove(random.below(absent.len()));
                        crowd.come(&client_id);
                        crowd.set_acknowledges(random.chance());
                    }
                    1 if crowd.members.len() > 1 => {
                        let at = random.below(crowd.members.len());
                        look(&mut crowd);
                        let client_id = crowd.members[at].0.clone();
                        crowd.town.cut(crowd.members.remove(at).1);
                        absent.push(client_id);
                    }
                    2..10 => {
                        let at = random.below(crowd.members.len());
                        let number = crowd.members[at].1;
                        crowd.town.of(number).acknowledge(1 + random.below(4));
                        crowd.town.pass(NONE);
                    }
                    _ => {
                        let qos = if random.percent(20) { QoS::ExactlyOnce } else { ONCE };
                        crowd.town.publish(crowd.publisher, "k/t", &step.to_string(), qos);
                        all.insert(step.to_string());
                    }
                }
                look(&mut crowd);
            }
            while let Some(client_id) = absent.pop() {
                crowd.come(&client_id);
            }
            for _ in 0..1000 {
                crowd.set_acknowledges(true);
                for (_, number) in crowd.members.clone() {
                    crowd.town.of(number).acknowledge(100);
                }
                crowd.town.pass(NONE);
                if look(&mut crowd) == all.len() {
                    break;
                }
            }
            assert_eq!(look(&mut crowd), all.len(), "{strategy} {seed}");
        }
    }
}

/// What the API shows of a group.
#[test]
fn it_is_seen_which_member_owns_how_many_lanes() {
    let look = |crowd: &Crowd| {
        let groups = crowd.town.broker.groups(None, 10);
        let lanes = groups[0].lanes().iter();
        let lanes = lanes.map(|(id, lanes)| (id.as_str().to_owned(), *lanes));
        (groups[0].strategy().name(), lanes.collect::<BTreeMap<_, _>>())
    };
    let mut crowd = Crowd::new(&config("strategy = 'single_active'", 10), &["a", "b"]);
    let active = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    assert_eq!(look(&crowd), ("single_active", active(1, 0)));
    crowd.go("a");
    crowd.come("a");
    assert_eq!(look(&crowd), ("single_active", active(0, 1)));
    crowd.town.reload(&config("strategy = 'hash'", 10));
    let (name, lanes) = look(&crowd);
    assert_eq!((name, lanes.values().map(|n| u32::from(*n)).sum::<u32>()), ("hash", 1024));
    assert!(lanes.values().all(|lanes| (400..624).contains(lanes)), "{lanes:?}");
    crowd.town.reload(&config("strategy = 'random'", 10));
    assert_eq!(look(&crowd), ("random", BTreeMap::new()));
}

#[test]
fn what_cannot_hold_together_is_refused_in_words() {
    for (text, wanted) in [
        ("[[group]]\nstrategy = 'hash'", "group.0.share: a group needs a share or a filter"),
        ("[[group]]\nfilter = 'a/#'", "group.0.filter: expected a whole filter"),
        ("[[group]]\nshare = 'g'\nkey = 'topic'", "group.0.key: only the strategy \"hash\""),
        (
            "[[group]]\nshare = 'g'\nstrategy = 'hash'\nkey = 'x'",
            "\"property:<name>\", found \"x\"",
        ),
        (
            "[[group]]\nshare = 'g'\nstrategy = 'sticky'\n[[priority]]\nfilter = 'a'",
            "group.0.strategy: \"sticky\" keeps the order",
        ),
        (
            "queue.policy = 'conflate'\n[[group]]\nshare = 'g'\nstrategy = 'single_active'",
            "group.0.strategy: \"single_active\" keeps every message",
        ),
        (
            "[[named_queue]]\nname = 'q'\nbindings = ['a']\non_poison = 'skip'",
            "named_queue.0.on_poison: \"least_inflight\" keeps no order",
        ),
        (
            "[[named_queue]]\nname = 'q'\nbindings = ['a']\nstrategy = 'hash'\npolicy = 'conflate'",
            "named_queue.0.strategy: \"hash\" keeps every message",
        ),
        ("[[group]]\nshare = 'g'\nstrategy = 'random'\n[[priority]]\nfilter = 'a'", ""),
    ] {
        let text = format!("{text}\n[[listener]]\naddress = '127.0.0.1:1883'");
        let config: Config = toml::from_str(&text).expect("a configuration");
        let found = config.check().err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(|problem| problem.to_string()).collect();
        let is_said = match wanted {
            "" => found.is_empty(),
            wanted => found.len() == 1 && found[0].contains(wanted),
        };
        assert!(is_said, "{text}\n{found:?}");
    }
}
