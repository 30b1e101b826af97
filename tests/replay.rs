//! Logs of kept messages on virtual time: what they keep and for how long, and their readers: where they begin, the
//! seam between what was there and what comes, own pace, restarts and Sessions that come back.

#[allow(dead_code)] // Each test uses its part.
mod house;
#[path = "../src/random.rs"]
mod random;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
#[path = "replay/twin.rs"]
mod twin;
mod virtual_time;

use std::num::NonZero;
use std::time::Duration;

use house::{House, numbers};
use sluicemq::broker::mailbox::Account;
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{LogNotRemoved, QueueSource};
use sluicemq::codec::{
    Connect, Packet, Properties, QoS, Reason, RetainHandling, Subscribe, SubscribeOptions, Version,
};
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);
/// The kind of the rows of messages.
const MESSAGES: u8 = 0x04;
const KEEP: &str = "
    [[keep]]
    name = 'log'
    bindings = ['a/#']
";

/// A client of version 5 with a Session that lasts.
fn lasting(town: &mut Town, client_id: &str, clean_start: bool) -> usize {
    town.arrive(&connect(client_id, clean_start, 1000), "test")
}

fn subscribe(town: &mut Town, client: usize, filter: &str, options: SubscribeOptions) {
    let subscribe = Subscribe {
        rest: &[],
        packet_id: sluicemq::codec::PacketId::MAX,
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: vec![(filter, options)],
    };
    town.send(client, &Packet::Subscribe(subscribe));
}

/// A reader of `$replay/<from>` at `QoS` 2.
fn reader(house: &mut House, client_id: &str, from: &str) -> usize {
    house.consumer(client_id, &format!("$replay/{from}"))
}

fn limited(limit: &str) -> String {
    format!("{KEEP}{limit}\n")
}

/// The log's account: what is kept waits in it, nothing is lost, and nothing is in flight.
#[track_caller]
fn assert_kept(account: &Account, kept: u64, trimmed: u64) {
    assert_eq!(account.queued.iter().sum::<u64>(), kept, "{account:?}");
    assert_eq!(account.completed.iter().sum::<u64>(), trimmed, "{account:?}");
    assert_eq!(account.in_flight(), 0, "{account:?}");
}

#[test]
fn history_comes_in_order_and_then_what_is_published() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for version in [Version::V5, Version::V311] {
            let mut house = House::new(KEEP);
            house.publish("a/b", 0..600, qos);
            house.publish("other", 0..3, qos);
            let connect = Connect { version, ..connect("r", true, 0) };
            let reader = house.town.arrive(&connect, "test");
            house.town.subscribe(reader, "$replay/log/all", QoS::ExactlyOnce);
            house.publish("a", 600..610, qos);
            let got = house.got(reader);
            assert_eq!(numbers(&got), (0..610).collect::<Vec<_>>());
            assert!(got.iter().all(|got| got.qos == qos && !got.dup));
            assert_kept(&house.account(), 610, 0);
            // Another one reads the same again.
            let other = self::reader(&mut house, "s", "log/all");
            assert_eq!(numbers(&house.got(other)), (0..610).collect::<Vec<_>>());
            assert_eq!(house.town.broker.metrics().sum(Counter::Replayed), 1220);
        }
    }
}

#[test]
fn a_store_that_forgets_keeps_logs_in_memory() {
    let mut town = Town::new(KEEP);
    town.broker.restore(town.now, &mut sluicemq::broker::turn::Scratch::default()).unwrap();
    let publisher = town.client("p");
    for payload in 0..5 {
        town.publish(publisher, "a", &payload.to_string(), QoS::AtLeastOnce);
    }
    let reader = town.client("r");
    town.subscribe(reader, "$replay/log/last-3", QoS::AtLeastOnce);
    town.publish(publisher, "a", "5", QoS::AtLeastOnce);
    assert_eq!(numbers(&town.of(reader).got), [2, 3, 4, 5]);
}

/// One message each second; the readers come 9.5 s after the first.
#[test]
fn readers_begin_where_they_ask_to() {
    let mut house = House::new(KEEP);
    for number in 0..10 {
        house.publish("a", number..number + 1, QoS::AtLeastOnce);
        house.town.pass(if number < 9 { SECOND } else { SECOND / 2 });
    }
    let begin = BEGIN.as_nanos() / 1_000_000_000;
    for (from, first) in [
        ("all".to_owned(), 0),
        ("last-3".to_owned(), 7),
        ("last-10".to_owned(), 0),
        ("last-11".to_owned(), 0),
        ("last-0".to_owned(), 10),
        ("3s".to_owned(), 6),
        ("10m".to_owned(), 0),
        ("1ms".to_owned(), 9),
        (format!("{}", begin + 4), 4),
        (format!("{}", begin + 60), 10),
        ("0".to_owned(), 0),
        ("2027-01-15T08:00:07Z".to_owned(), 7),
    ] {
        let reader = reader(&mut house, &from, &format!("log/{from}"));
        let got = numbers(&house.got(reader));
        assert_eq!(got, (first..10).collect::<Vec<_>>(), "{from}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_words() {
    for (version, refused) in
        [(Version::V5, Reason::TopicFilterInvalid), (Version::V311, Reason::UnspecifiedError)]
    {
        let mut house = House::new(KEEP);
        let connect = Connect { version, ..connect("r", true, 0) };
        let client = house.town.arrive(&connect, "test");
        for (filter, words) in [
            ("$replay/lok/all", "did you mean $replay/log/all?"),
            ("$replay/another/all", "no log of this name"),
            ("$replay/lok", "no log of this name"),
            ("$replay/log", "expected all, last-<number>"),
            ("$replay/log/", "expected all, last-<number>"),
            ("$replay/log/last-", "expected all, last-<number>"),
            ("$replay/log/last--1", "expected all, last-<number>"),
            ("$replay/log/all/", "expected all, last-<number>"),
            ("$replay/log/10", ""),
            ("$replay/log/10x", "expected all, last-<number>"),
            ("$replay/log/2026-01-01", "expected all, last-<number>"),
            ("$replay/+/all", "no log of this name"),
            ("$replay/#", "no log of this name"),
        ] {
            house.town.of(client).others.clear();
            house.town.subscribe(client, filter, QoS::AtLeastOnce);
            let said = house.town.of(client).others.concat();
            let is_refused = said.contains(&format!("[{refused:?}]"));
            assert_eq!(is_refused, !words.is_empty(), "{filter} {said}");
            assert_eq!(said.contains(words), version == Version::V5 || words.is_empty(), "{said}");
        }
        house.town.publish(client, "$replay/log", "x", QoS::AtLeastOnce);
        house.write();
        assert_kept(&house.account(), 0, 0);
    }
}

/// The oldest go when a limit is reached: they end as completed, and the store forgets them.
#[test]
fn each_limit_trims_the_oldest() {
    let cases = [("messages = 3", 3), ("span = '3s'", 3), ("bytes = '1KiB'", 3)];
    for (limit, kept) in cases {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut house = House::new(&limited(limit));
            let publisher = house.town.client("p");
            for number in 0..10 {
                // Some 330 bytes in memory.
                let payload = format!("{number:0200}");
                house.town.publish(publisher, "a", &payload, qos);
                house.write();
                house.town.pass(SECOND);
            }
            house.write();
            assert_kept(&house.account(), kept, 10 - kept);
            let stored = if qos == QoS::AtMostOnce { None } else { Some(kept as usize) };
            assert_eq!(house.disk.rows().get(&MESSAGES).copied(), stored, "{limit}");
            let reader = reader(&mut house, "r", "log/all");
            let wanted: Vec<_> = (10 - kept as usize..10).collect();
            assert_eq!(numbers(&house.got(reader)), wanted, "{limit} {qos:?}");
        }
    }
}

/// A message that is larger than the log may be is kept until the next one comes.
#[test]
fn the_newest_message_is_never_too_large() {
    let mut house = House::new(&limited("bytes = '1KiB'"));
    let publisher = house.town.client("p");
    house.town.publish(publisher, "a", &"1".repeat(2000), QoS::AtLeastOnce);
    house.write();
    assert_kept(&house.account(), 1, 0);
    house.publish("a", 2..3, QoS::AtLeastOnce);
    assert_kept(&house.account(), 1, 1);
}

#[test]
fn lower_limits_hold_after_a_reload_and_a_restart() {
    let mut house = House::new(KEEP);
    house.publish("a", 0..50, QoS::AtLeastOnce);
    house.town.reload(&limited("messages = 20"));
    house.town.pass(SECOND * 2);
    house.write();
    assert_kept(&house.account(), 20, 30);
    house.restart(&limited("messages = 10"));
    house.write();
    assert_kept(&house.account(), 10, 10);
    let reader = reader(&mut house, "r", "log/all");
    assert_eq!(numbers(&house.got(reader)), (40..50).collect::<Vec<_>>());
}

#[test]
fn a_log_outlasts_a_restart_at_qos_1_and_2() {
    let mut house = House::new(KEEP);
    for number in 0..9 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
        house.publish("a", number..number + 1, qos);
    }
    house.restart(KEEP);
    house.publish("a", 9..11, QoS::AtMostOnce);
    house.publish("a", 11..12, QoS::AtLeastOnce);
    let reader = reader(&mut house, "r", "log/all");
    let got = house.got(reader);
    // What is of QoS 2 is sent when its identifier is safe: it keeps its order for itself.
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let of: Vec<_> = got.iter().filter(|got| got.qos == qos).cloned().collect();
        let wanted: &[usize] = [&[9, 10][..], &[1, 4, 7, 11], &[2, 5, 8]][qos as usize];
        assert_eq!(numbers(&of), wanted);
    }
    assert_kept(&house.account(), 9, 0);
}

/// A crash in the middle: what was in flight is sent again, and nothing else comes twice.
#[test]
fn a_reader_goes_on_after_a_crash_where_it_was() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut house = House::new(KEEP);
        house.publish("a", 0..100, qos);
        let client = house.town.arrive(
            &Connect { receive_maximum: NonZero::new(5).unwrap(), ..connect("r", true, 1000) },
            "test",
        );
        house.town.of(client).acknowledges = false;
        house.town.subscribe(client, "$replay/log/last-90", QoS::ExactlyOnce);
        house.write();
        house.town.of(client).acknowledge(3);
        house.write();
        let first = house.got(client);
        let before = numbers(&first);
        assert_eq!(before, (10..10 + before.len()).collect::<Vec<_>>());
        house.restart(KEEP);
        house.publish("a", 100..103, QoS::AtMostOnce);
        house.publish("a", 103..110, qos);
        let client = lasting(&mut house.town, "r", false);
        let got = house.got(client);
        let again: Vec<_> = got.iter().filter(|got| got.dup).cloned().collect();
        assert!(numbers(&again).iter().all(|number| before.contains(number)), "{again:?}");
        let next = before.last().unwrap() + 1;
        let fresh = |low: bool| got.iter().filter(move |got| !got.dup && (got.qos < qos) == low);
        let fresh = |low| numbers(&fresh(low).cloned().collect::<Vec<_>>());
        assert_eq!(fresh(true), [100, 101, 102]);
        assert_eq!(fresh(false), (next..100).chain(103..110).collect::<Vec<_>>());
    }
}

#[test]
fn a_session_that_comes_back_goes_on_and_a_subscribe_begins_anew() {
    let mut house = House::new(KEEP);
    house.publish("a", 0..5, QoS::AtLeastOnce);
    let client = lasting(&mut house.town, "r", true);
    house.town.subscribe(client, "$replay/log/all", QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), [0, 1, 2, 3, 4]);
    house.town.cut(client);
    house.publish("a", 5..8, QoS::AtLeastOnce);
    let client = lasting(&mut house.town, "r", false);
    assert_eq!(numbers(&house.got(client)), [5, 6, 7]);
    let if_new = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        retain_handling: RetainHandling::IfNew,
        ..SubscribeOptions::default()
    };
    subscribe(&mut house.town, client, "$replay/log/all", if_new);
    house.publish("a", 8..9, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), [8], "Retain Handling 1 goes on");
    house.town.subscribe(client, "$replay/log/all", QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), (0..9).collect::<Vec<_>>());
    house.town.unsubscribe(client, "$replay/log/all");
    house.publish("a", 9..10, QoS::AtLeastOnce);
    assert_eq!(house.got(client).len(), 0);
    assert_eq!(house.town.broker.view().subscriptions, 0);
}

/// At `QoS` 0 too, and with nothing new there.
#[test]
fn a_place_is_kept_over_a_restart_with_nothing_left_to_read() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut house = House::new(KEEP);
        house.publish("a", 0..5, QoS::AtLeastOnce);
        let client = lasting(&mut house.town, "r", true);
        house.town.subscribe(client, "$replay/log/all", qos);
        assert_eq!(house.got(client).len(), 5);
        house.town.cut(client);
        house.write();
        house.restart(KEEP);
        house.publish("a", 5..6, QoS::AtMostOnce);
        let client = lasting(&mut house.town, "r", false);
        assert_eq!(numbers(&house.got(client)), [5]);
    }
}

/// A reader with a full window holds nothing up, and what it did not come to in time is counted.
#[test]
fn a_slow_reader_misses_what_is_trimmed_and_goes_on() {
    let mut house = House::new(&limited("messages = 10"));
    house.publish("a", 0..10, QoS::AtLeastOnce);
    let client = house.town.arrive(
        &Connect { receive_maximum: NonZero::new(2).unwrap(), ..connect("r", true, 0) },
        "test",
    );
    house.town.of(client).acknowledges = false;
    house.town.subscribe(client, "$replay/log/all", QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), [0, 1]);
    house.publish("a", 10..30, QoS::AtLeastOnce);
    assert_eq!(house.got(client).len(), 0);
    house.town.of(client).acknowledges = true;
    house.town.of(client).acknowledge(2);
    house.town.pass(SECOND);
    assert_eq!(numbers(&house.got(client)), (20..30).collect::<Vec<_>>());
    assert_eq!(house.town.broker.metrics().sum(Counter::ReplayMissed), 18);
}

#[test]
fn what_a_reader_may_not_receive_is_passed_over() {
    let config = format!(
        "{KEEP}
        [[rule]]
        client_id = 'p'
        allow = ['publish']
        topics = ['a/#']
        [[rule]]
        client_id = 'r'
        allow = ['subscribe']
        topics = ['$replay/log/#']
        [[rule]]
        client_id = 'r'
        allow = ['receive']
        topics = ['a/open']
        "
    );
    let mut house = House::new(&config);
    for number in 0..6 {
        let topic = if number % 2 == 0 { "a/open" } else { "a/closed" };
        house.publish(topic, number..number + 1, QoS::AtLeastOnce);
    }
    let reader = reader(&mut house, "r", "log/all");
    assert_eq!(numbers(&house.got(reader)), [0, 2, 4]);
    assert_eq!(house.town.account("r").in_flight(), 0);
    let other = self::reader(&mut house, "x", "log/all");
    assert_eq!(house.town.of(other).others.concat().matches("NotAuthorized").count(), 1);
}

#[test]
fn no_local_passes_over_what_the_reader_has_published() {
    let mut house = House::new(KEEP);
    house.publish("a", 0..3, QoS::AtLeastOnce);
    let client = house.town.client("r");
    house.town.publish(client, "a", "3", QoS::AtLeastOnce);
    let options =
        SubscribeOptions { qos: QoS::AtLeastOnce, no_local: true, ..SubscribeOptions::default() };
    subscribe(&mut house.town, client, "$replay/log/all", options);
    house.town.publish(client, "a", "4", QoS::AtLeastOnce);
    house.publish("a", 5..6, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), [0, 1, 2, 5]);
}

/// What the consumers of a queue have taken is still in its log, and they are not held up by a reader.
#[test]
fn a_queue_keeps_what_was_consumed() {
    let config = "
        [[named_queue]]
        name = 'jobs'
        bindings = ['jobs/#']
        keep = { messages = 4, span = '1h' }
    ";
    let mut house = House::new(config);
    house.publish("jobs/a", 0..3, QoS::AtLeastOnce);
    let consumer = house.consumer("c", "$queue/jobs");
    assert_eq!(numbers(&house.got(consumer)), [0, 1, 2]);
    house.restart(config);
    let reader = reader(&mut house, "r", "jobs/all");
    let consumer = house.consumer("c", "$queue/jobs");
    house.publish("jobs/a", 3..5, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(consumer)), [3, 4]);
    assert_eq!(numbers(&house.got(reader)), [0, 1, 2, 3, 4]);
    let again = self::reader(&mut house, "s", "jobs/all");
    assert_eq!(numbers(&house.got(again)), [1, 2, 3, 4]);
}

/// A log without a definition collects nothing more, can be read, and is the same when it is defined again.
#[test]
fn a_log_that_left_the_configuration_keeps_what_it_has() {
    let mut house = House::new(&limited("span = '5s'"));
    house.publish("a", 0..3, QoS::AtLeastOnce);
    house.town.reload("");
    house.publish("a", 3..4, QoS::AtLeastOnce);
    house.restart("");
    house.town.pass(SECOND * 60);
    house.publish("a", 4..5, QoS::AtLeastOnce);
    let reader = reader(&mut house, "r", "log/all");
    assert_eq!(numbers(&house.got(reader)), [0, 1, 2]);
    house.town.reload(KEEP);
    house.publish("a", 5..6, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(reader)), [5]);
    // A removal names how much goes.
    house.town.reload("");
    let remove = |house: &mut House, name: &str, discard: usize| {
        let now = house.town.now;
        let removed = house.town.broker.remove_log(name, discard, now, &mut Scratch::default());
        let removed = removed.map(|(discarded, _)| discarded);
        house.write();
        removed
    };
    assert_eq!(remove(&mut house, "log", 3), Err(LogNotRemoved::Keeps(4)));
    assert_eq!(remove(&mut house, "gol", 3), Err(LogNotRemoved::Unknown));
    house.town.reload(KEEP);
    assert_eq!(remove(&mut house, "log", 4), Err(LogNotRemoved::Defined));
    house.town.reload("");
    assert_eq!(remove(&mut house, "log", 4), Ok(4));
    assert_eq!(house.town.broker.view().groups, []);
    house.restart("");
    assert_eq!(house.town.broker.view().groups, [], "over a restart too");
    // One that is empty goes with its definition.
    house.town.reload(&limited("span = '1s'"));
    for config in [None, Some(""), None, None] {
        config.into_iter().for_each(|config| house.town.reload(config));
        house.town.pass(SECOND * 3);
        house.write();
    }
    assert_eq!(house.town.broker.view().groups, []);
}

/// What is seen of a log: what it has, its readers, and how far behind the slowest reader is.
#[test]
fn what_a_log_has_and_who_reads_it_is_seen() {
    let mut house = House::new(&limited("messages = 5"));
    house.publish("a", 0..3, QoS::AtLeastOnce);
    let begin = house.town.now;
    house.town.acknowledge = false;
    let own = Connect { receive_maximum: NonZero::<u16>::MIN, ..connect("slow", true, 0) };
    let slow = house.town.arrive(&own, "test");
    house.town.subscribe(slow, "$replay/log/all", QoS::AtLeastOnce);
    house.town.acknowledge = true;
    let fast = reader(&mut house, "fast", "log/all");
    house.town.pass(SECOND * 2);
    house.publish("a", 3..4, QoS::AtLeastOnce);
    let seen = |house: &House| {
        let views = house.town.broker.keeps(None, 9);
        assert_eq!(
            (views.len(), views[0].name(), views[0].source()),
            (1, "log", QueueSource::Configuration)
        );
        *views[0].state()
    };
    let state = seen(&house);
    assert_eq!((state.messages, state.readers, state.unread, state.missed), (4, 2, 3, 0));
    assert!(state.bytes > 0 && state.first == Some(begin) && state.last > state.first, "{state:?}");
    // Messages 1 and 2 go before the slow one has come to them.
    house.publish("a", 4..8, QoS::AtLeastOnce);
    house.town.of(slow).acknowledge(1);
    house.write();
    let state = seen(&house);
    assert_eq!((state.messages, state.readers, state.unread, state.missed), (5, 2, 4, 2));
    house.town.say_goodbye(slow);
    house.town.unsubscribe(fast, "$replay/log/all");
    house.write();
    let state = seen(&house);
    assert_eq!((state.messages, state.readers, state.unread), (5, 0, 0));
    assert_eq!(house.town.broker.keeps(Some("log"), 9).len(), 0);
}

/// Receivers have a publisher told whether there are any: a log is one.
#[test]
fn a_log_counts_as_a_receiver() {
    let mut house = House::new(KEEP);
    let publisher = house.town.client("p");
    for (topic, reason) in [("a", Reason::Success), ("b", Reason::NoMatchingSubscribers)] {
        house.town.publish(publisher, topic, "x", QoS::AtLeastOnce);
        house.write();
        assert_eq!(house.town.of(publisher).answers.last().map(|answer| answer.1), Some(reason));
    }
}

/// The reader's own shaping holds: ten messages a second.
#[test]
fn a_reader_is_paced_by_its_class() {
    let config = format!(
        "{KEEP}
        [[class]]
        name = 'slow'
        client_id = 'r'
        shaping = {{ messages_rate = 10, messages_burst = 10 }}
        "
    );
    let mut house = House::new(&config);
    house.publish("a", 0..50, QoS::AtLeastOnce);
    let client = house.town.client("r");
    let free = house.town.client("f");
    for client in [client, free] {
        house.town.subscribe(client, "$replay/log/all", QoS::AtLeastOnce);
    }
    assert_eq!(house.got(free).len(), 50);
    assert_eq!(house.got(client).len(), 10);
    for _ in 0..4 {
        house.town.pass(SECOND);
        assert_eq!(house.got(client).len(), 10);
    }
    house.town.pass(SECOND);
    house.publish("a", 50..51, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(client)), [50]);
}

#[test]
fn a_client_has_a_limited_number_of_readers() {
    let mut house = House::new(KEEP);
    let client = house.town.client("r");
    for number in 0..65 {
        house.town.of(client).others.clear();
        house.town.subscribe(client, &format!("$replay/log/last-{number}"), QoS::AtLeastOnce);
        let refused = house.town.of(client).others.concat().contains("QuotaExceeded");
        assert_eq!(refused, number == 64);
    }
}
