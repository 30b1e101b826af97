//! Messages of named queues that a consumer has failed, on virtual time: attempts, waits, dead letters, restarts in
//! each state, and a naive twin on random input.

#[path = "retry/answers.rs"]
mod answers;
#[allow(dead_code)] // Each test uses its part.
mod house;
#[path = "retry/poison.rs"]
mod poison;
#[path = "../src/random.rs"]
mod random;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
#[path = "retry/stored.rs"]
mod stored;
mod virtual_time;

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use answers::timed;
use house::{House, numbers};
use random::Random;
use sluicemq::broker::mailbox::Account;
use sluicemq::codec::{Connect, Disconnect, Packet, QoS, Reason, Version};
use sluicemq::message::Loss;
use sluicemq::time::Time;
use virtual_time::{Got, connect};

const JOBS: &str = "
    [auth]
    dead_letter_users = 'operator'
    [[named_queue]]
    name = 'jobs'
    bindings = ['jobs/#']
    attempts_max = 3
    backoff = '2s..8s'
";
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const REFUSES: Reason = Reason::ImplementationSpecificError;
const ABOVE_QOS0: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The first law, with nothing in flight.
#[track_caller]
fn assert_first_law(account: &Account) {
    assert_eq!(account.in_flight(), 0, "{account:?}");
}

fn property<'g>(got: &'g Got, name: &str) -> Option<&'g str> {
    let found = got.user_properties.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// What a message says of its attempt; the first does not say.
fn attempt(got: &Got) -> usize {
    property(got, "sluice-attempt").map_or(1, |number| number.parse().expect("a number"))
}

/// A consumer that answers when it is told to.
fn silent(house: &mut House, client_id: &str) -> usize {
    house.town.acknowledge = false;
    let number = house.consumer(client_id, "$queue/jobs");
    house.town.acknowledge = true;
    number
}

/// The same for a client that says more of itself.
fn silent_as(house: &mut House, own: &Connect<'_>, qos: Option<QoS>) -> usize {
    house.town.acknowledge = false;
    let number = house.town.arrive(own, "test");
    house.town.acknowledge = true;
    qos.into_iter().for_each(|qos| house.town.subscribe(number, "$queue/jobs", qos));
    house.write();
    number
}

/// A client that may have dead letters, and asks for them.
fn operator(house: &mut House) -> usize {
    let own = Connect { user_name: Some("operator"), ..connect("w", true, 0) };
    let number = house.town.arrive(&own, "test");
    house.town.subscribe(number, "$dead/#", QoS::ExactlyOnce);
    house.write();
    number
}

fn refuse(house: &mut House, consumer: usize, count: usize) {
    house.town.of(consumer).answer(count, REFUSES);
    house.pass(Duration::ZERO);
}

fn complete(house: &mut House, consumer: usize, count: usize) {
    house.town.of(consumer).acknowledge(count);
    house.pass(Duration::ZERO);
}

fn lost(house: &House, loss: Loss) -> u32 {
    house.account().ledger.iter().map(|of| of[loss as usize]).sum()
}

/// It waits for longer each time, and ends as a dead letter. A restart at any point changes nothing of that.
#[test]
fn what_is_refused_comes_again_and_ends_as_a_dead_letter() {
    for (qos, restarts) in ABOVE_QOS0.into_iter().flat_map(|qos| [(qos, false), (qos, true)]) {
        let mut house = House::new(JOBS);
        house.publish("jobs/a", 7..8, qos);
        let mut watcher = operator(&mut house);
        let mut consumer = silent(&mut house, "c");
        for number in 1..=3 {
            let got = house.got(consumer);
            assert_eq!(numbers(&got), [7], "{qos:?} {restarts} {number}");
            assert_eq!((attempt(&got[0]), got[0].qos, got[0].dup), (number, qos, false));
            refuse(&mut house, consumer, 1);
            if number == 3 {
                break;
            }
            assert_eq!(house.account().queued, [0, 1]);
            let mut least = SECOND * (1 << number);
            let before = house.town.now;
            if restarts {
                house.restart(JOBS);
                watcher = operator(&mut house);
                consumer = silent(&mut house, "c");
                least -= house.town.now.since(before);
            }
            house.pass(least - MILLISECOND);
            assert_eq!(house.got(consumer).len(), 0, "{qos:?} {restarts} {number}");
            house.pass(least + SECOND);
        }
        let letters = house.got(watcher);
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!((&*letters[0].topic, letters[0].qos), ("$dead/attempts/jobs/a", qos));
        for (name, value) in [
            ("reason", Some("attempts")),
            ("receiver", Some("$queue/jobs")),
            ("attempts", Some("3")),
            ("last-consumer", Some("c")),
            ("last-reason", Some("ImplementationSpecificError")),
            ("sluice-attempt", None),
        ] {
            assert_eq!(property(&letters[0], name), value, "{name}");
        }
        assert_eq!(lost(&house, Loss::Attempts), 1);
        assert_first_law(&house.account());
        house.restart(JOBS);
        assert_eq!(house.waiting(), 0);
    }
}

/// One message that is always refused does not hold up the others.
#[test]
fn a_poisoned_message_stops_no_other() {
    let mut house = House::new(JOBS);
    let consumer = silent(&mut house, "c");
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    house.got(consumer);
    refuse(&mut house, consumer, 1);
    for round in 0..6 {
        house.publish("jobs/a", 10 * round + 1..10 * round + 4, QoS::AtLeastOnce);
        house.pass(SECOND * 2);
        let got = house.got(consumer);
        let mut others = numbers(&got);
        others.retain(|number| *number != 0);
        assert_eq!(others, (10 * round + 1..10 * round + 4).collect::<Vec<_>>());
        for got in got {
            match numbers(&[got])[0] {
                0 => refuse(&mut house, consumer, 1),
                _ => complete(&mut house, consumer, 1),
            }
        }
    }
    assert_eq!(lost(&house, Loss::Attempts), 1);
    assert_first_law(&house.account());
}

/// Another consumer has it first, if one is there that can take it; if that cannot, the one that refused it has it
/// again a second later.
#[test]
fn another_consumer_is_the_first_to_try_again() {
    for full in [false, true] {
        let mut house = House::new(JOBS);
        let one = silent(&mut house, "one");
        house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(one)), [0]);
        let own = Connect { receive_maximum: NonZeroU16::MIN, ..connect("two", true, 0) };
        let two = silent_as(&mut house, &own, Some(QoS::ExactlyOnce));
        if full {
            let two_alone = "other";
            house.town.subscribe(two, two_alone, QoS::AtLeastOnce);
            house.publish(two_alone, 90..91, QoS::AtLeastOnce);
            assert_eq!(numbers(&house.got(two)), [90]);
        }
        refuse(&mut house, one, 1);
        // It is due after 4 seconds at most.
        house.pass(SECOND * 4);
        let (first, second) = if full { (one, two) } else { (two, one) };
        house.pass(SECOND);
        house.pass(SECOND);
        let got = house.got(first);
        assert_eq!((numbers(&got), got.first().map(attempt)), (vec![0], Some(2)), "{full}");
        assert_eq!(house.got(second).len(), 0, "{full}");
        complete(&mut house, first, 1);
        assert_first_law(&house.account());
    }
}

/// So does one that says it with another reason, which leaves its Will.
#[test]
fn a_goodbye_that_leaves_the_will_fails_nothing() {
    let mut house = House::new(JOBS);
    let consumer = silent(&mut house, "c");
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(consumer)), [0]);
    let reason = Reason::DisconnectWithWill;
    house.town.send(consumer, &Packet::Disconnect(Disconnect { reason, ..Disconnect::default() }));
    house.pass(Duration::ZERO);
    let consumer = silent(&mut house, "c");
    let got = house.got(consumer);
    assert_eq!(got.iter().map(attempt).collect::<Vec<_>>(), [1]);
}

/// A connection that breaks fails what was sent on it and not answered; a client that says DISCONNECT, or one that
/// the broker disconnects, fails nothing. With both versions, and with Sessions that last or do not.
#[test]
fn the_end_of_a_connection_is_an_attempt_unless_it_was_wanted() {
    let cases = [Version::V5, Version::V311].into_iter().flat_map(|version| {
        [(version, 0, true), (version, 100, true), (version, 0, false), (version, 100, false)]
    });
    for (version, expiry, breaks) in cases {
        let case = format!("{version:?} {expiry} {breaks}");
        let mut house = House::new(JOBS);
        let own = Connect { version, ..connect("c", expiry == 0, expiry) };
        let consumer = silent_as(&mut house, &own, Some(QoS::AtLeastOnce));
        house.publish("jobs/a", 0..2, QoS::AtLeastOnce);
        assert_eq!(numbers(&house.got(consumer)), [0, 1], "{case}");
        if breaks {
            house.town.cut(consumer);
        } else {
            house.town.say_goodbye(consumer);
        }
        house.pass(Duration::ZERO);
        let lasts = expiry > 0;
        let queued = if lasts && !breaks { 0 } else { 2 };
        assert_eq!(house.account().queued, [0, queued], "{case}");
        let again = (expiry == 0).then_some(QoS::AtLeastOnce);
        let consumer = silent_as(&mut house, &own, again);
        house.pass(Duration::ZERO);
        let at_once = house.got(consumer);
        if breaks {
            assert_eq!(at_once.len(), 0, "{case}");
            house.pass(SECOND * 4);
            let got = house.got(consumer);
            let mut sorted = numbers(&got);
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1], "{case}");
            let wanted = if version == Version::V5 { 2 } else { 1 };
            assert!(got.iter().all(|got| attempt(got) == wanted && !got.dup), "{case} {got:?}");
        } else {
            assert_eq!(numbers(&at_once), [0, 1], "{case}");
            assert!(at_once.iter().all(|got| attempt(got) == 1 && got.dup == lasts), "{case}");
        }
        complete(&mut house, consumer, 2);
        assert_first_law(&house.account());
        house.restart(JOBS);
        assert_eq!(house.waiting(), 0, "{case}");
    }
}

/// A message that breaks each connection that it is sent on comes to an end.
#[test]
fn a_message_that_kills_its_consumers_ends() {
    let mut house = House::new(JOBS);
    let watcher = operator(&mut house);
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    for _ in 0..3 {
        let consumer = silent(&mut house, "c");
        assert_eq!(numbers(&house.got(consumer)), [0]);
        house.town.cut(consumer);
        house.pass(SECOND * 8);
    }
    let letters = house.got(watcher);
    assert_eq!(numbers(&letters), [0]);
    assert_eq!(property(&letters[0], "last-reason"), Some("connection ended"));
    assert_first_law(&house.account());
}

/// QoS 2 stays with its consumer over connections and restarts; when its Session ends, no other has it.
#[test]
fn qos_2_stays_with_its_consumer_and_ends_with_its_session() {
    for restarts in [false, true] {
        let mut house = House::new(JOBS);
        let mut watcher = operator(&mut house);
        let own = connect("c", false, 100);
        let consumer = silent_as(&mut house, &own, Some(QoS::ExactlyOnce));
        house.publish("jobs/a", 0..1, QoS::ExactlyOnce);
        assert_eq!(numbers(&house.got(consumer)), [0]);
        let other = silent(&mut house, "other");
        house.town.cut(consumer);
        house.pass(SECOND * 8);
        assert_eq!(house.got(other).len(), 0);
        if restarts {
            house.restart(JOBS);
            watcher = operator(&mut house);
        }
        let consumer = silent_as(&mut house, &own, None);
        let got = house.got(consumer);
        assert_eq!((numbers(&got), got[0].dup, attempt(&got[0])), (vec![0], true, 1));
        house.town.cut(consumer);
        let consumer = house.town.arrive(&connect("c", true, 0), "test");
        house.pass(Duration::ZERO);
        assert_eq!(house.got(consumer).len(), 0);
        let letters = house.got(watcher);
        assert_eq!(numbers(&letters), [0]);
        assert_eq!(property(&letters[0], "last-reason"), Some("session ended"));
        assert_eq!(lost(&house, Loss::Attempts), 1);
        assert_first_law(&house.account());
    }
}

/// What waits for another attempt counts in the limits of the queue, goes when it expires, and is seen.
#[test]
fn what_failed_counts_as_what_waits() {
    for (policy, waits) in [("reject", 2), ("drop_oldest", 2), ("drop_newest", 2)] {
        let config = format!("{JOBS}messages_max = 2\npolicy = '{policy}'\n");
        let mut house = House::new(&config);
        let consumer = silent(&mut house, "c");
        house.publish("jobs/a", 0..2, QoS::AtLeastOnce);
        assert_eq!(house.got(consumer).len(), 2);
        refuse(&mut house, consumer, 2);
        assert_eq!(house.waiting(), 2, "{policy}");
        house.town.cut(consumer);
        house.publish("jobs/a", 2..3, QoS::AtLeastOnce);
        assert_eq!(house.waiting(), waits, "{policy}");
        let consumer = silent(&mut house, "c");
        house.pass(SECOND * 4);
        let mut got = numbers(&house.got(consumer));
        got.sort_unstable();
        if policy == "drop_oldest" {
            assert!(got.len() == 2 && got[1] == 2, "{got:?}");
        } else {
            assert_eq!(got, [0, 1], "{policy}");
        }
        complete(&mut house, consumer, 2);
        assert_first_law(&house.account());
    }
}

/// What the publisher calls so is left alone until the broker has something to say there.
#[test]
fn a_property_of_that_name_is_the_publishers_until_the_second_attempt() {
    let mut house = House::new(JOBS);
    let consumer = silent(&mut house, "c");
    let publisher = house.town.client("p");
    let properties = [("sluice-attempt", "x"), ("other", "y"), ("sluice-attempt", "z")];
    house.town.publish_with(publisher, "jobs/a", "0", QoS::AtLeastOnce, false, &properties);
    let own = |got: &Got| {
        let pairs = got.user_properties.iter();
        pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let got = house.got(consumer);
    assert_eq!(own(&got[0]), ["sluice-attempt=x", "other=y", "sluice-attempt=z"]);
    refuse(&mut house, consumer, 1);
    house.pass(SECOND * 4);
    assert_eq!(own(&house.got(consumer)[0]), ["other=y", "sluice-attempt=2"]);
}

/// Groups of `$share` are as they were: what a member refuses is lost at once.
#[test]
fn a_shared_subscription_tries_nothing_again() {
    let mut house = House::new("");
    let consumer = house.consumer("c", "$share/g/jobs/#");
    house.town.of(consumer).acknowledges = false;
    house.publish("jobs/a", 0..1, QoS::AtLeastOnce);
    assert_eq!(house.got(consumer).len(), 1);
    refuse(&mut house, consumer, 1);
    assert_eq!((lost(&house, Loss::RefusedByReceiver), house.waiting()), (1, 0));
    house.pass(SECOND * 10);
    assert_eq!(house.got(consumer).len(), 0);
}

/// What the naive twin knows of one message.
#[derive(Clone, Debug, Default)]
struct Known {
    failed: usize,
    completed: usize,
    dead: bool,
    /// It was completed after the time, while it was with another consumer.
    late: bool,
}

impl Known {
    /// An attempt has failed.
    fn fail(&mut self) {
        match std::mem::take(&mut self.late) {
            true => self.completed += 1,
            false => self.failed += 1,
        }
    }
}

/// A message that a consumer of the naive twin has and has not answered.
#[derive(Clone, Copy, Debug)]
struct Held {
    message: usize,
    /// When it is given away; never at `QoS` 2.
    due: Time,
    given: bool,
}

/// What the naive twin has: messages by number, and consumers with what they hold, the oldest first.
#[derive(Default)]
struct Twin {
    known: Vec<(QoS, Known)>,
    consumers: Vec<(usize, VecDeque<Held>)>,
}

impl Twin {
    /// What a consumer holds is overdue.
    fn time_out(&mut self, now: Time) {
        let alone = self.consumers.len() <= 1;
        for held in self.consumers.iter_mut().flat_map(|(_, held)| held) {
            while held.due <= now && !held.given {
                held.given = !alone;
                held.due = held.due.after(SECOND * 10);
                if held.given {
                    self.known[held.message].1.fail();
                }
            }
        }
    }

    /// The first thing that a consumer holds is answered.
    fn answer(&mut self, held: Held, completes: bool) {
        let mut all = self.consumers.iter().flat_map(|(_, held)| held);
        let in_flight = all.any(|other| other.message == held.message && !other.given);
        let known = &mut self.known[held.message].1;
        match (held.given, completes) {
            (false, true) => known.completed += 1,
            (false, false) => known.fail(),
            (true, false) => {}
            (true, true) if known.dead || known.completed > 0 => {}
            (true, true) if in_flight => known.late = true,
            (true, true) => known.completed += 1,
        }
    }

    /// A consumer is gone, and its Session.
    fn part(&mut self, held: VecDeque<Held>, breaks: bool) {
        for held in held.into_iter().filter(|held| !held.given) {
            let (qos, known) = &mut self.known[held.message];
            match (*qos, breaks) {
                (QoS::ExactlyOnce, _) => known.dead = true,
                (_, true) => known.fail(),
                (_, false) => {}
            }
        }
    }

    /// What a consumer was given.
    fn check(&mut self, house: &mut House, seed: u64, timeout: bool) {
        self.known.iter_mut().for_each(|(_, known)| known.dead |= known.failed == 3);
        for (number, held) in &mut self.consumers {
            for got in house.got(*number) {
                let message = numbers(std::slice::from_ref(&got))[0];
                let (qos, twin) = &self.known[message];
                assert_eq!(attempt(&got), twin.failed + 1, "{seed} {message}");
                assert!(!twin.dead && twin.completed == 0, "{seed} {message} {twin:?}");
                let is_timed = timeout && *qos == QoS::AtLeastOnce;
                let due = if is_timed { got.at.after(SECOND * 10) } else { Time::NEVER };
                held.push_back(Held { message, due, given: false });
            }
        }
    }
}

/// The naive twin counts what has failed of each message; consumers refuse, complete, answer late or not at all, break
/// off, leave, come again, and the broker crashes.
#[test]
fn attempts_are_counted_as_the_naive_twin_counts_them() {
    let strategies = ["least_inflight", "round_robin", "random", "sticky", "hash", "single_active"];
    for (seed, strategy) in (0..12).zip(strategies.into_iter().cycle()) {
        twin_of(seed, &format!("{JOBS}strategy = '{strategy}'\n"), false, true);
    }
    // With a time for answers: where members take turns, what is due again is not taken back by a late success.
    for (seed, strategy) in (12..36).zip(strategies[..3].iter().cycle()) {
        let config = timed(&format!("strategy = '{strategy}'"));
        twin_of(seed, &config, true, *strategy == "least_inflight");
    }
}

fn twin_of(seed: u64, config: &str, timeout: bool, late_success: bool) {
    let random = &mut Random::new(seed);
    let mut house = House::new(config);
    let mut twin = Twin::default();
    for step in 0..120 {
        match random.below(10) {
            0..=2 => {
                let (qos, number) = (ABOVE_QOS0[random.below(2)], twin.known.len());
                house.publish("jobs/a", number..number + 1, qos);
                twin.known.push((qos, Known::default()));
            }
            3 if twin.consumers.len() < 3 => {
                let number = silent(&mut house, &format!("c{step}"));
                twin.consumers.push((number, VecDeque::new()));
            }
            4 if !twin.consumers.is_empty() && (!timeout || random.below(3) == 0) => {
                // The Session ends too.
                let at = random.below(twin.consumers.len());
                let (number, held) = twin.consumers.swap_remove(at);
                let breaks = random.chance();
                match breaks {
                    true => house.town.cut(number),
                    false => house.town.say_goodbye(number),
                }
                twin.part(held, breaks);
            }
            5 if random.below(4) == 0 => {
                house.restart(config);
                twin.consumers.clear();
                twin.known.iter_mut().for_each(|(_, known)| known.late = false);
            }
            6..=8 if !twin.consumers.is_empty() && (!timeout || random.chance()) => {
                let at = random.below(twin.consumers.len());
                let number = twin.consumers[at].0;
                if let Some(held) = twin.consumers[at].1.pop_front() {
                    let completes = random.below(3) == 0 && (late_success || !held.given);
                    twin.answer(held, completes);
                    match completes {
                        true => complete(&mut house, number, 1),
                        false => refuse(&mut house, number, 1),
                    }
                }
            }
            _ => {
                let end = house.town.now.after(SECOND * random.below(5) as u32);
                while house.town.now < end {
                    house.pass(MILLISECOND * 250);
                    twin.time_out(house.town.now);
                    twin.check(&mut house, seed, timeout);
                }
            }
        }
        house.pass(Duration::ZERO);
        twin.check(&mut house, seed, timeout);
    }
    let last = house.consumer("last", "$queue/jobs");
    for (number, held) in std::mem::take(&mut twin.consumers) {
        house.town.say_goodbye(number);
        twin.part(held, false);
    }
    house.pass(SECOND * 20);
    house.pass(SECOND * 2);
    for message in numbers(&house.got(last)) {
        twin.known[message].1.completed += 1;
    }
    for (message, (qos, known)) in twin.known.iter().enumerate() {
        let ended = known.completed + usize::from(known.dead);
        assert_eq!(ended, 1, "{seed} {message} {qos:?} {known:?}");
    }
    let account = house.account();
    assert_eq!((account.queued, account.in_flight()), ([0, 0], 0), "{seed}");
}
