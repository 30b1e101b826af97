//! Messages that fail where an order is kept: what is behind them waits, or goes on, as `on_poison` says.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use sluicemq::codec::{Connect, QoS};
use sluicemq::message::Loss;

use super::{
    JOBS, SECOND, assert_first_law, attempt, complete, lost, operator, property, refuse, silent,
    silent_as,
};
use crate::house::{House, numbers};
use crate::random::Random;
use crate::virtual_time::connect;

const ORDERED: [&str; 3] = ["hash", "sticky", "single_active"];

/// `JOBS` with a strategy; without a word nothing is said of `on_poison`.
fn ordered(strategy: &str, on_poison: &str) -> String {
    let key = format!("on_poison = '{on_poison}'\n");
    let key = if on_poison.is_empty() { "" } else { &*key };
    format!("{JOBS}strategy = '{strategy}'\n{key}")
}

/// Message 0 was refused, and 1 to 3 came after it; message 9 is of another key. Returns the consumer.
fn poisoned(house: &mut House) -> usize {
    let consumer = silent(house, "c");
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(consumer)), [0]);
    refuse(house, consumer, 1);
    house.publish("jobs/a", 1..4, QoS::AtLeastOnce);
    house.publish("jobs/b", 9..10, QoS::AtLeastOnce);
    consumer
}

/// What is behind a message that has failed waits for it, over restarts and with another consumer, until it is
/// completed or has had its last attempt. What has another key goes on.
#[test]
fn what_is_behind_it_waits_until_it_has_ended() {
    let cases = ORDERED
        .into_iter()
        .flat_map(|strategy| [(strategy, "", 1), (strategy, "block", 2), (strategy, "block", 3)]);
    for (config, last, restarts) in cases.flat_map(|(strategy, on_poison, last)| {
        [false, true].map(|restarts| (ordered(strategy, on_poison), last, restarts))
    }) {
        let case = format!("{config} {last} {restarts}");
        let mut house = House::new(&config);
        let mut consumer = poisoned(&mut house);
        let others = if config.contains("hash") { vec![9] } else { vec![] };
        assert_eq!(numbers(&house.got(consumer)), others, "{case}");
        complete(&mut house, consumer, others.len());
        // Attempt 2 completes it, attempt 3 does, or attempt 3 is the last and fails.
        for number in 2..=3 {
            if restarts {
                house.restart(&config);
                consumer = silent(&mut house, "other");
                assert_eq!(house.got(consumer).len(), 0, "{case}");
            }
            house.pass(SECOND * 8);
            let got = house.got(consumer);
            assert_eq!((numbers(&got), attempt(&got[0])), (vec![0], number), "{case}");
            if number == last + 1 {
                complete(&mut house, consumer, 1);
                break;
            }
            refuse(&mut house, consumer, 1);
            if number < 3 {
                assert_eq!(house.got(consumer).len(), 0, "{case}");
            }
        }
        let mut rest = numbers(&house.got(consumer));
        rest.retain(|number| *number != 9);
        assert_eq!(rest, [1, 2, 3], "{case}");
        assert_eq!(lost(&house, Loss::Attempts), u32::from(last == 3), "{case}");
        complete(&mut house, consumer, 4);
        assert_first_law(&house.account());
        house.restart(&config);
        assert_eq!(house.waiting(), 0, "{case}");
    }
}

#[test]
fn with_skip_what_is_behind_it_goes_on() {
    for strategy in ORDERED {
        let mut house = House::new(&ordered(strategy, "skip"));
        let consumer = poisoned(&mut house);
        assert_eq!(numbers(&house.got(consumer)), [1, 2, 3, 9], "{strategy}");
        complete(&mut house, consumer, 4);
        house.pass(SECOND * 4);
        let got = house.got(consumer);
        assert_eq!((numbers(&got), attempt(&got[0])), (vec![0], 2), "{strategy}");
        complete(&mut house, consumer, 1);
        assert_first_law(&house.account());
    }
}

/// Several that have failed come again one after the other, in their order: also if their consumer was gone with them,
/// or gives back the one that is under way.
#[test]
fn several_that_have_failed_keep_their_order() {
    for (strategy, ends) in ORDERED
        .into_iter()
        .flat_map(|strategy| ["refuse", "cut", "goodbye"].map(|ends| (strategy, ends)))
    {
        let case = format!("{strategy} {ends}");
        let mut house = House::new(&ordered(strategy, "block"));
        let mut consumer = silent(&mut house, "c");
        house.publish("jobs/a", 0..3, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(consumer)), [0, 1, 2], "{case}");
        refuse(&mut house, consumer, 3);
        house.publish("jobs/a", 3..5, QoS::AtLeastOnce);
        house.pass(SECOND * 4);
        assert_eq!(numbers(&house.got(consumer)), [0], "{case}");
        match ends {
            "refuse" => refuse(&mut house, consumer, 1),
            "cut" => house.town.cut(consumer),
            _ => house.town.say_goodbye(consumer),
        }
        if ends != "refuse" {
            consumer = silent(&mut house, "other");
        }
        house.pass(SECOND * 8);
        for number in 0..3 {
            let got = house.got(consumer);
            let attempts = if number == 0 && ends != "goodbye" { 3 } else { 2 };
            assert_eq!((numbers(&got), attempt(&got[0])), (vec![number], attempts), "{case}");
            complete(&mut house, consumer, 1);
        }
        assert_eq!(numbers(&house.got(consumer)), [3, 4], "{case}");
        complete(&mut house, consumer, 2);
        assert_first_law(&house.account());
    }
}

/// A failed message holds nothing up any more once it has ended in another way: by its `ttl`, or by a late success.
#[test]
fn what_it_held_up_goes_on_however_it_ends() {
    for strategy in ORDERED {
        let mut house = House::new(&format!("{}ttl = '1s'\n", ordered(strategy, "block")));
        let consumer = poisoned(&mut house);
        let others = house.got(consumer).len();
        complete(&mut house, consumer, others);
        house.pass(SECOND * 2);
        assert_eq!(house.waiting(), 0, "{strategy}");
        house.publish("jobs/a", 5..6, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(consumer)), [5], "{strategy}");
        let late = format!("{}ack_timeout = '10s'\n", ordered("single_active", "block"));
        let mut house = House::new(&late);
        let own = connect("one", false, 600);
        let one = silent_as(&mut house, &own, Some(QoS::AtLeastOnce));
        house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), [0]);
        refuse(&mut house, one, 1);
        house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
        house.town.reload(&ordered("single_active", "skip"));
        house.pass(Duration::ZERO);
        assert_eq!(numbers(&house.got(one)), [1], "a reload lets them go on");
        complete(&mut house, one, 1);
        house.town.reload(&late);
        house.publish("jobs/a", 2..3, QoS::AtLeastOnce);
        assert_eq!(house.got(one).len(), 0, "another one holds them up again");
        house.pass(SECOND * 4);
        assert_eq!(numbers(&house.got(one)), [0]);
        complete(&mut house, one, 1);
        assert_eq!(numbers(&house.got(one)), [2]);
        complete(&mut house, one, 1);
        assert_first_law(&house.account());
    }
}

/// What waits behind a failed message comes as soon as that has ended by its `ttl` or makes room for another one:
/// nothing else has to happen.
#[test]
fn what_it_held_up_comes_when_it_ends_by_itself() {
    for strategy in ORDERED {
        let late = ordered(strategy, "block").replace("'2s..8s'", "'1h..2h'");
        let mut house = House::new(&format!("{late}ttl = '10s'\n"));
        let consumer = poisoned(&mut house);
        let others = house.got(consumer).len();
        complete(&mut house, consumer, others);
        house.pass(SECOND * 5);
        house.publish("jobs/a", 4..5, QoS::AtLeastOnce);
        assert_eq!(house.got(consumer).len(), 0, "{strategy}");
        // The failed one, and those that came with it.
        house.pass(SECOND * 7);
        assert_eq!(numbers(&house.got(consumer)), [4], "{strategy}");
        complete(&mut house, consumer, 1);
        let full =
            format!("queue.pause_max = '0s'\n{late}policy = 'drop_oldest'\nmessages_max = 4\n");
        let mut house = House::new(&full);
        let consumer = poisoned(&mut house);
        house.publish("jobs/a", 4..5, QoS::AtLeastOnce);
        let got = numbers(&house.got(consumer));
        assert_eq!(got.iter().filter(|number| **number < 9).count(), 4, "{strategy}: {got:?}");
        complete(&mut house, consumer, 5);
        assert_eq!((house.waiting(), lost(&house, Loss::DroppedOldest)), (0, 1), "{strategy}");
        assert_first_law(&house.account());
    }
}

/// However many failed messages wait for those before them, what has failed in another order does not wait for them.
#[test]
fn many_that_have_failed_hold_up_no_other_order() {
    let config = format!(
        "session.inflight_max = 2_000\n{}messages_max = 10_000\n",
        ordered("hash", "block")
    );
    let mut house = House::new(&config);
    let consumer = silent(&mut house, "c");
    house.publish("jobs/a", 0..1_100, QoS::AtLeastOnce);
    assert_eq!(house.got(consumer).len(), 1_100);
    refuse(&mut house, consumer, 1_100);
    // Some become due in each turn. The first is tried again, and all others of its order wait for that.
    (0..20).for_each(|_| house.pass(SECOND));
    assert_eq!(numbers(&house.got(consumer)), [0]);
    house.publish("jobs/b", 2_000..2_001, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(consumer)), [2_000]);
    house.town.of(consumer).unacknowledged.rotate_left(1);
    refuse(&mut house, consumer, 1);
    house.pass(SECOND * 4);
    assert_eq!(numbers(&house.got(consumer)), [2_000]);
}

/// A message that is given away holds up what came with it to the consumer that owns the lane by now.
#[test]
fn what_is_given_away_comes_before_what_is_behind_it() {
    let mut house = House::new(&format!("{}ack_timeout = '10s'\n", ordered("hash", "block")));
    let one = silent(&mut house, "one");
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(one)), [0]);
    let others: Vec<_> = (0..12).map(|n| silent(&mut house, &format!("other{n}"))).collect();
    house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
    house.pass(SECOND * 14);
    for message in 0..2 {
        let got: Vec<_> = others.iter().flat_map(|other| house.got(*other)).collect();
        assert_eq!(numbers(&got), [message]);
        others.iter().for_each(|other| complete(&mut house, *other, 1));
    }
    assert_eq!(house.got(one).len(), 0);
    assert_first_law(&house.account());
}

/// What has failed and is due when the strategy changes is tried as the new one says.
#[test]
fn a_reload_loses_nothing_that_is_due() {
    let strategies = ["least_inflight", "round_robin", "hash", "single_active"];
    for (from, to) in strategies.into_iter().flat_map(|from| strategies.map(|to| (from, to))) {
        let case = format!("{from} {to}");
        let plain = |strategy: &str| format!("{JOBS}strategy = '{strategy}'\n");
        let mut house = House::new(&plain(from));
        let own = Connect { receive_maximum: NonZeroU16::MIN, ..connect("c", true, 0) };
        let consumer = silent_as(&mut house, &own, Some(QoS::AtLeastOnce));
        house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
        house.publish("jobs/b", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(consumer)), [0]);
        refuse(&mut house, consumer, 1);
        // What has taken its place is not answered while it becomes due.
        house.pass(SECOND * 10);
        house.town.reload(&plain(to));
        house.pass(SECOND);
        let mut all = numbers(&house.got(consumer));
        for _ in 0..3 {
            let more = usize::from(house.account().in_flight() > 0);
            complete(&mut house, consumer, more);
            all.extend(numbers(&house.got(consumer)));
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1], "{case}");
        assert_first_law(&house.account());
    }
}

/// Consumers that take one message at a time complete, refuse, break off, leave and come; the broker crashes. Of each
/// key what ends, ends in the order in which it came, and nothing is lost.
#[test]
fn the_order_of_each_key_is_that_of_publishing_whatever_fails() {
    let mut letters = 0;
    for (seed, strategy) in (0..18).zip(ORDERED.into_iter().cycle()) {
        let config = ordered(strategy, "");
        let random = &mut Random::new(seed);
        let mut house = House::new(&config);
        let mut ended: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let (mut published, mut consumers) = (0, Vec::<(usize, Option<(String, usize)>)>::new());
        let mut watcher = operator(&mut house);
        let come = |house: &mut House, name: usize| {
            let client_id = format!("c{name}");
            let own = Connect { receive_maximum: NonZeroU16::MIN, ..connect(&client_id, true, 0) };
            (silent_as(house, &own, Some(QoS::AtLeastOnce)), None)
        };
        for step in 0..250 {
            for (number, held) in &mut consumers {
                for got in house.got(*number) {
                    let message = numbers(std::slice::from_ref(&got))[0];
                    assert!(held.is_none(), "{seed} {step}: one at a time");
                    *held = Some((got.topic.clone(), message));
                }
            }
            for letter in house.got(watcher) {
                let topic = letter.topic.trim_start_matches("$dead/attempts/").to_owned();
                assert_eq!(property(&letter, "attempts"), Some("3"));
                ended.entry(topic).or_default().extend(numbers(std::slice::from_ref(&letter)));
                letters += 1;
            }
            let at = random.below(consumers.len().max(1));
            match random.below(12) {
                0..=2 => {
                    let topic = format!("jobs/{}", random.below(4));
                    house.publish(&topic, published..published + 1, QoS::AtLeastOnce);
                    published += 1;
                }
                3 if consumers.len() < 3 => consumers.push(come(&mut house, step)),
                4 if random.chance() && !consumers.is_empty() => {
                    let (number, _) = consumers.swap_remove(at);
                    match random.chance() {
                        true => house.town.cut(number),
                        false => house.town.say_goodbye(number),
                    }
                    house.settle();
                }
                5 if random.below(6) == 0 => {
                    house.restart(&config);
                    watcher = operator(&mut house);
                    consumers.clear();
                }
                6..=10 if !consumers.is_empty() => {
                    let (number, held) = &mut consumers[at];
                    let Some((topic, message)) = held.take() else { continue };
                    if random.below(3) > 0 {
                        ended.entry(topic).or_default().push(message);
                        complete(&mut house, *number, 1);
                    } else {
                        refuse(&mut house, *number, 1);
                    }
                }
                _ => house.pass(SECOND * random.below(4) as u32),
            }
        }
        for (topic, ended) in &ended {
            assert!(ended.is_sorted(), "{seed} {strategy} {topic}: {ended:?}");
        }
        consumers.drain(..).for_each(|(number, _)| house.town.say_goodbye(number));
        let last = house.consumer("last", "$queue/jobs");
        (0..4).for_each(|_| house.pass(SECOND * 8));
        for got in house.got(last) {
            ended.entry(got.topic.clone()).or_default().extend(numbers(&[got]));
        }
        let total: usize = ended.values().map(Vec::len).sum();
        assert_eq!(total, published, "{seed} {strategy}: {ended:?}");
        for (topic, ended) in &ended {
            assert!(ended.is_sorted(), "{seed} {strategy} {topic}: {ended:?}");
        }
        assert_first_law(&house.account());
    }
    assert!(letters > 10, "{letters}: many had their last attempt");
}

/// More copies than a consumer looks at in one go have failed, of a topic that it may not receive: those behind them
/// come all the same.
#[test]
fn what_has_failed_and_no_consumer_may_have_stops_no_other() {
    const RULES: &str = "
        access.default = 'allow'
        [[rule]]
        deny = ['receive']
        client_id = 'stranger'
        topics = ['jobs/secret']
    ";
    let jobs = JOBS.replace("attempts_max", "messages_max = 5000\n    attempts_max");
    let mut house = House::new(&format!("{RULES}{jobs}"));
    house.publish("jobs/secret", 0..2100, QoS::AtLeastOnce);
    house.publish("jobs/open", 9000..9001, QoS::AtLeastOnce);
    let one = silent(&mut house, "one");
    loop {
        let got = house.got(one).len();
        if got == 0 {
            break;
        }
        refuse(&mut house, one, got);
    }
    house.town.cut(one);
    let stranger = silent(&mut house, "stranger");
    for _ in 0..12 {
        house.pass(SECOND);
    }
    assert_eq!(numbers(&house.got(stranger)), [9000]);
    complete(&mut house, stranger, 1);
    assert_eq!(house.waiting(), 2100);
}
