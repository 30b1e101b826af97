//! Answers that a consumer of a named queue owes within a time, and answers that come later.

use std::num::NonZeroU16;
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, QoS, Reason, Version};
use sluicemq::message::Loss;

use super::{
    ABOVE_QOS0, JOBS, MILLISECOND, REFUSES, SECOND, assert_first_law, attempt, complete, lost,
    operator, property, refuse, silent, silent_as,
};
use crate::house::{House, numbers};
use crate::rows::Disk;
use crate::virtual_time::{Town, connect};

/// `JOBS` with a time for answers of 10 seconds.
pub fn timed(keys: &str) -> String {
    format!("{JOBS}ack_timeout = '10s'\n{keys}\n")
}

/// CONNECT of a client that takes one message at a time.
fn narrow<'c>(client_id: &'c str, version: Version, expiry: u32) -> Connect<'c> {
    let own = connect(client_id, expiry == 0, expiry);
    Connect { version, receive_maximum: NonZeroU16::MIN, ..own }
}

/// Message 0 was sent to the first of two consumers, `two` of which has come later, and was given away.
fn given_away(house: &mut House, one: &Connect<'_>) -> (usize, usize) {
    let one = silent_as(house, one, Some(QoS::ExactlyOnce));
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(one)), [0]);
    let two = silent_as(house, &narrow("two", Version::V5, 0), Some(QoS::ExactlyOnce));
    house.pass(SECOND * 10 - MILLISECOND);
    assert_eq!((house.waiting(), house.account().in_flight()), (0, 1));
    house.pass(MILLISECOND);
    assert_eq!((house.waiting(), house.account().in_flight()), (1, 0));
    (one, two)
}

/// What is not answered in time stays where it is while no other consumer is there, and counts no attempt. `QoS` 2 stays
/// in any case.
#[test]
fn what_is_not_answered_in_time_goes_to_another_consumer_if_one_is_there() {
    for version in [Version::V5, Version::V311] {
        for qos in ABOVE_QOS0 {
            let case = format!("{version:?} {qos:?}");
            let mut house = House::new(&timed(""));
            let one = silent_as(&mut house, &narrow("one", version, 0), Some(qos));
            house.publish("jobs/a", 0..1, qos);
            assert_eq!(numbers(&house.got(one)), [0], "{case}");
            for _ in 0..4 {
                house.pass(SECOND * 10);
                assert_eq!((house.got(one).len(), house.waiting()), (0, 0), "{case}");
            }
            let two = silent(&mut house, "two");
            house.pass(SECOND * 10);
            house.pass(SECOND * 4);
            let got = house.got(two);
            if qos == QoS::ExactlyOnce {
                assert_eq!(got.len(), 0, "{case}");
                complete(&mut house, one, 1);
            } else {
                assert_eq!((numbers(&got), attempt(&got[0]), got[0].dup), (vec![0], 2, false));
                complete(&mut house, two, 1);
            }
            assert_first_law(&house.account());
            house.restart(&timed(""));
            assert_eq!(house.waiting(), 0, "{case}");
        }
    }
}

/// An answer in time is none too late, whatever comes under its Packet Identifier later.
#[test]
fn what_is_answered_in_time_is_not_given_away() {
    let mut house = House::new(&timed(""));
    let one = silent(&mut house, "one");
    for number in 0..20 {
        house.publish("jobs/a", number..number + 1, QoS::AtLeastOnce);
        let two = silent(&mut house, "two");
        house.pass(SECOND * 9);
        assert_eq!((numbers(&house.got(one)), house.got(two).len()), (vec![number], 0));
        complete(&mut house, one, 1);
        house.town.cut(two);
    }
    assert_eq!(house.account().completed[1], 20);
    assert_first_law(&house.account());
}

/// Where a message is when the first consumer answers after its time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum When {
    Postponed,
    Due,
    InFlight,
    Ended,
}

/// A late success completes the message, a late failure changes nothing: by where the message is then, and what the
/// other consumer answers.
#[test]
fn a_late_answer_counts_if_it_is_success() {
    let when = [When::Postponed, When::Due, When::InFlight, When::Ended];
    for (version, when) in
        [Version::V5, Version::V311].into_iter().flat_map(|v| when.map(|w| (v, w)))
    {
        let reasons = [Reason::Success, REFUSES];
        let answers = reasons.into_iter().flat_map(|late| reasons.map(|other| (late, other)));
        for (late, other) in answers.filter(|(late, _)| version == Version::V5 || !late.is_error())
        {
            let case = format!("{version:?} {when:?} {late:?} {other:?}");
            let mut house = House::new(&timed(""));
            let (one, two) = given_away(&mut house, &narrow("one", version, 0));
            if when == When::Due {
                house.town.subscribe(two, "other", QoS::AtLeastOnce);
                house.publish("other", 90..91, QoS::AtLeastOnce);
                assert_eq!(numbers(&house.got(two)), [90], "{case}");
            }
            if when != When::Postponed {
                house.pass(SECOND * 4);
            }
            let there = usize::from(matches!(when, When::InFlight | When::Ended));
            assert_eq!(house.got(two).len(), there, "{case}");
            if when == When::Ended {
                house.town.of(two).answer(1, other);
                house.pass(Duration::ZERO);
            }
            house.town.of(one).answer(1, late);
            house.pass(Duration::ZERO);
            if when == When::Due {
                house.town.of(two).acknowledge(1);
                house.pass(Duration::ZERO);
            }
            let is_over = !late.is_error();
            if matches!(when, When::Postponed | When::Due) {
                assert_eq!(
                    house.waiting() == 0 && house.account().in_flight() == 0,
                    is_over,
                    "{case}"
                );
            }
            house.pass(SECOND * 4);
            house.pass(SECOND * 2);
            assert_after(&mut house, (when, late, other), (one, two), &case);
        }
    }
}

/// Without a store a message is told from others by what it says.
#[test]
fn a_late_answer_finds_its_message_without_a_store() {
    for taken in [false, true] {
        let town = Town::new(&timed(""));
        town.broker.restore(town.now, &mut Scratch::default()).expect("no rows");
        let mut house = House { disk: Disk::default(), town };
        let (one, two) = given_away(&mut house, &narrow("one", Version::V5, 0));
        house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(two)), [1], "{taken}");
        refuse(&mut house, two, 1);
        if taken {
            house.pass(SECOND * 4);
            house.pass(SECOND);
            assert_eq!(numbers(&house.got(two)), [0]);
        }
        complete(&mut house, one, 1);
        if taken {
            refuse(&mut house, two, 1);
        }
        assert_eq!(house.account().completed[1], 1, "{taken}");
        house.pass(SECOND * 8);
        let got: Vec<_> = [one, two].into_iter().flat_map(|number| house.got(number)).collect();
        assert_eq!(numbers(&got), [1], "{taken}");
        complete(&mut house, one, 1);
        complete(&mut house, two, 1);
        assert_first_law(&house.account());
    }
}

/// What comes after a late answer.
fn assert_after(
    house: &mut House,
    (when, late, other): (When, Reason, Reason),
    (one, two): (usize, usize),
    case: &str,
) {
    let mut failed = 1;
    if when == When::InFlight {
        house.town.of(two).answer(1, other);
        house.pass(Duration::ZERO);
        assert_eq!((house.got(one).len(), house.got(two).len()), (0, 0), "{case}");
    }
    let is_over = !late.is_error() || (!other.is_error() && when >= When::InFlight);
    if when >= When::InFlight {
        failed += usize::from(other.is_error());
    }
    // Until it must have come again, and is not given away again.
    let more = match when {
        _ if is_over => 20,
        When::Postponed | When::Due => 0,
        When::InFlight => 8,
        When::Ended => 2,
    };
    house.pass(SECOND * more);
    house.pass(SECOND);
    let got: Vec<_> = [one, two].into_iter().flat_map(|number| house.got(number)).collect();
    if is_over {
        assert_eq!(got.len(), 0, "{case}");
    } else {
        assert_eq!((numbers(&got), attempt(&got[0])), (vec![0], failed + 1), "{case}");
        complete(house, one, 1);
        complete(house, two, 1);
    }
    let account = house.account();
    assert_eq!((account.completed[1], house.waiting()), (1, 0), "{case}");
    assert_first_law(&account);
    house.restart(&timed(""));
    assert_eq!(house.waiting(), 0, "{case}");
}

/// The slot of the window stays used until the late answer, or the end of the connection; the next connection of the
/// Session does not get the message again, and nor does it fail twice.
#[test]
fn a_message_given_away_keeps_its_slot_until_it_is_answered() {
    for answers in [true, false] {
        let mut house = House::new(&timed(""));
        let own = narrow("one", Version::V5, 100);
        let (one, two) = given_away(&mut house, &own);
        house.publish("jobs/a", 1..3, QoS::AtLeastOnce);
        assert_eq!((numbers(&house.got(two)), house.got(one).len()), (vec![1], 0));
        assert_eq!(house.waiting(), 2);
        let one = if answers {
            refuse(&mut house, one, 1);
            one
        } else {
            house.town.cut(one);
            silent_as(&mut house, &own, None)
        };
        let got = house.got(one);
        assert_eq!((numbers(&got), got[0].dup), (vec![2], false), "{answers}");
        complete(&mut house, one, 1);
        complete(&mut house, two, 1);
        house.pass(SECOND * 4);
        let got = house.got(two);
        assert_eq!((numbers(&got), attempt(&got[0])), (vec![0], 2), "{answers}");
        complete(&mut house, two, 1);
        assert_first_law(&house.account());
    }
}

/// A crash in each state forgets no attempt, and sends nothing to the one that did not answer in time.
#[test]
fn what_was_given_away_outlives_a_restart() {
    for taken in [false, true] {
        let mut house = House::new(&timed(""));
        let own = narrow("one", Version::V5, 1000);
        let (_, two) = given_away(&mut house, &own);
        if taken {
            house.pass(SECOND * 4);
            assert_eq!(numbers(&house.got(two)), [0]);
        }
        house.restart(&timed(""));
        let one = silent_as(&mut house, &own, None);
        let two = silent(&mut house, "two");
        house.pass(SECOND * 4);
        house.pass(SECOND * 2);
        let got: Vec<_> = [one, two].into_iter().flat_map(|number| house.got(number)).collect();
        assert_eq!((numbers(&got), attempt(&got[0]), got[0].dup), (vec![0], 2, false), "{taken}");
        complete(&mut house, one, 1);
        complete(&mut house, two, 1);
        assert_eq!((house.waiting(), house.account().in_flight()), (0, 0), "{taken}");
    }
}

/// Where lanes say which consumer has what, a message stays with the owner of its lane; if another one owns that by now,
/// it goes there, and the lane with it.
#[test]
fn a_lane_is_given_to_its_owner_only() {
    for (strategy, moves) in
        [("single_active", false), ("sticky", false), ("hash", false), ("hash", true)]
    {
        let keys = format!("strategy = '{strategy}'\non_poison = 'skip'");
        let mut house = House::new(&timed(&keys));
        let one = silent(&mut house, "one");
        house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), [0], "{strategy}");
        let mut others = Vec::new();
        let others_count = if moves { 12 } else { 1 };
        (0..others_count).for_each(|n| others.push(silent(&mut house, &format!("other{n}"))));
        house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), if moves { vec![] } else { vec![1] }, "{strategy}");
        house.pass(SECOND * 10);
        let mut got: Vec<_> = others.iter().flat_map(|other| house.got(*other)).collect();
        assert_eq!(numbers(&got), if moves { vec![1] } else { vec![] }, "{strategy}");
        house.pass(SECOND * 4);
        got.extend(others.iter().flat_map(|other| house.got(*other)));
        if moves {
            assert_eq!((numbers(&got), attempt(&got[1])), (vec![1, 0], 2), "{strategy}");
            others.iter().for_each(|other| complete(&mut house, *other, 2));
        } else {
            assert_eq!((got.len(), house.waiting()), (0, 0), "{strategy}");
            complete(&mut house, one, 2);
        }
        assert_first_law(&house.account());
    }
}

/// The time is set and taken away by a reload: what is there already counts from when its consumer has looked again.
#[test]
fn a_reload_sets_the_time_for_answers() {
    for timed_at_first in [false, true] {
        let (with, without) = (timed(""), JOBS.to_owned());
        let (first, second) = if timed_at_first { (with, without) } else { (without, with) };
        let mut house = House::new(&first);
        let one = silent(&mut house, "one");
        house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), [0]);
        house.pass(SECOND * 5);
        house.town.reload(&second);
        house.publish("jobs/a", 1..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), [1]);
        silent(&mut house, "two");
        house.pass(SECOND * 10 - MILLISECOND);
        assert_eq!(house.waiting(), 0, "{timed_at_first}");
        house.pass(MILLISECOND);
        assert_eq!(house.waiting(), if timed_at_first { 0 } else { 2 }, "{timed_at_first}");
    }
}

/// The last attempt ends by a time-out too.
#[test]
fn a_message_that_is_never_answered_ends() {
    let mut house = House::new(&timed(""));
    let watcher = operator(&mut house);
    silent(&mut house, "one");
    silent(&mut house, "two");
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    (0..60).for_each(|_| house.pass(SECOND));
    let letters = house.got(watcher);
    assert_eq!(numbers(&letters), [0]);
    assert_eq!(property(&letters[0], "last-reason"), Some("no answer in time"));
    assert_eq!(property(&letters[0], "attempts"), Some("3"));
    assert_eq!(lost(&house, Loss::Attempts), 1);
    assert_first_law(&house.account());
}
