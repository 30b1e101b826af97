//! Named queues on virtual time: what they collect, for as long as no client is there too; consumers that
//! share it; restarts and reloads.

#[allow(dead_code)] // Each test uses its part.
mod house;
#[allow(dead_code)] // Each test uses its part.
#[path = "simulation/rows.rs"]
mod rows;
mod virtual_time;

use std::time::Duration;

use house::{House, numbers};
use sluicemq::broker::mailbox::Account;
use sluicemq::codec::{Connect, QoS, Reason, Version};
use sluicemq::message::{GroupId, Loss};
use virtual_time::connect;

const SECOND: Duration = Duration::from_secs(1);
const JOBS: &str = "
    [[named_queue]]
    name = 'jobs'
    bindings = ['jobs/#']
";

/// The first law, with nothing in flight.
#[track_caller]
fn assert_first_law(account: &Account) {
    assert_eq!(account.in_flight(), 0, "{account:?}");
}

#[test]
fn a_queue_collects_before_the_first_consumer_and_over_restarts() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut house = House::new(JOBS);
        house.publish("jobs/a", 0..3, qos);
        house.publish("other", 90..91, qos);
        assert_eq!(house.waiting(), 3);
        house.restart(JOBS);
        house.publish("jobs/b", 3..5, qos);
        house.restart(JOBS);
        assert_eq!(house.waiting(), 5);
        let consumer = house.consumer("c", "$queue/jobs");
        let got = house.got(consumer);
        assert_eq!(numbers(&got), [0, 1, 2, 3, 4]);
        assert!(got.iter().all(|got| got.qos == qos && got.topic.starts_with("jobs/")));
        assert_first_law(&house.account());
        // What is done with does not come back.
        house.restart(JOBS);
        assert_eq!(house.waiting(), 0);
    }
}

#[test]
fn qos_0_waits_for_a_consumer_and_is_lost_at_a_restart() {
    let mut house = House::new(JOBS);
    house.publish("jobs/a", 0..3, QoS::AtMostOnce);
    assert_eq!(house.account().queued, [3, 0]);
    let consumer = house.consumer("c", "$queue/jobs");
    assert_eq!(numbers(&house.got(consumer)), [0, 1, 2]);
    assert_first_law(&house.account());
    house.town.cut(consumer);
    house.publish("jobs/a", 3..5, QoS::AtMostOnce);
    assert_eq!(house.account().queued, [2, 0]);
    house.restart(JOBS);
    assert_eq!(house.waiting(), 0);
}

#[test]
fn a_message_that_fits_several_bindings_is_collected_once() {
    let config = "
        [[named_queue]]
        name = 'all'
        bindings = ['a/#', 'a/+', '+/b', 'a/b', { filter = 'a/b', where = { x = '1' } }]
    ";
    let mut house = House::new(config);
    house.publish("a/b", 0..1, QoS::AtLeastOnce);
    assert_eq!(house.waiting(), 1);
    let consumer = house.consumer("c", "$queue/all");
    house.publish("a/b", 1..2, QoS::AtLeastOnce);
    assert_eq!(numbers(&house.got(consumer)), [0, 1]);
}

/// All User Properties of one binding must be there; one of several bindings must fit. What one publisher's
/// message decides is not remembered for the next.
#[test]
fn conditions_choose_by_user_properties() {
    let config = "
        [[named_queue]]
        name = 'eu'
        bindings = [
            { filter = 'orders/+', where = { region = 'eu', kind = 'x' } },
            { filter = 'orders/+', where = { region = 'ch' } },
            { filter = 'orders/#', where = { all = 'yes' } },
        ]
    ";
    let mut house = House::new(config);
    let publisher = house.town.client("p");
    type Properties<'a> = &'a [(&'a str, &'a str)];
    let messages: [(&str, Properties<'_>, bool); 10] = [
        ("orders/1", &[], false),
        ("orders/1", &[("region", "eu")], false),
        ("orders/1", &[("region", "eu"), ("kind", "x")], true),
        ("orders/1", &[("kind", "x"), ("other", "y"), ("region", "eu")], true),
        ("orders/1", &[("region", "eu"), ("kind", "y")], false),
        ("orders/1", &[("region", "us"), ("region", "ch")], true),
        ("orders/1", &[("all", "yes"), ("region", "ch")], true),
        ("orders/1/2", &[("region", "ch")], false),
        ("orders/1/2", &[("all", "yes")], true),
        ("orders/1", &[("REGION", "ch")], false),
    ];
    let mut wanted = Vec::new();
    for round in 0..3 {
        for (number, (topic, properties, collected)) in messages.iter().enumerate() {
            let number = round * 10 + number;
            let (payload, qos) = (number.to_string(), QoS::AtLeastOnce);
            house.town.publish_with(publisher, topic, &payload, qos, false, properties);
            house.write();
            wanted.extend(collected.then_some(number));
        }
    }
    let consumer = house.consumer("c", "$queue/eu");
    assert_eq!(numbers(&house.got(consumer)), wanted);
}

/// Two consumers share what comes. One leaves with messages in flight: what it had of QoS 1 is first for the
/// other, in its order; what it had of QoS 2 stays with its Session.
#[test]
fn consumers_compete_and_what_one_left_is_first_for_the_other() {
    let mut house = House::new(JOBS);
    let one = house.consumer("one", "$queue/jobs");
    let two = house.consumer("two", "$queue/jobs");
    house.publish("jobs/a", 0..10, QoS::AtLeastOnce);
    let (first, second) = (house.got(one), house.got(two));
    assert_eq!(first.len() + second.len(), 10);
    assert!(!first.is_empty() && !second.is_empty(), "{first:?} {second:?}");
    for client in [one, two] {
        house.town.of(client).acknowledges = false;
    }
    house.publish("jobs/a", 10..20, QoS::AtLeastOnce);
    let (mut first, second) = (numbers(&house.got(one)), numbers(&house.got(two)));
    assert_eq!(first.len() + second.len(), 10);
    house.town.say_goodbye(one);
    house.publish("jobs/a", 20..22, QoS::AtLeastOnce);
    let rest = numbers(&house.got(two));
    first.extend(20..22);
    assert_eq!(rest, first, "what it left comes first, in order");
    let left = rest.len() + second.len();
    house.town.of(two).acknowledge(left);
    house.town.pass(SECOND);
    house.write();
    assert_first_law(&house.account());
}

#[test]
fn a_queue_that_is_not_there_is_refused_with_the_nearest_name() {
    for (version, refused) in
        [(Version::V5, Reason::TopicFilterInvalid), (Version::V311, Reason::UnspecifiedError)]
    {
        let mut house = House::new(JOBS);
        let connect = Connect { version, ..connect("c", true, 0) };
        let client = house.town.arrive(&connect, "test");
        for filter in
            ["$queue/job", "$queue/", "$queue/jobs/x", "$queue/#", "$queue/+", "$queue/zzzzzz"]
        {
            house.town.of(client).others.clear();
            house.town.subscribe(client, filter, QoS::AtLeastOnce);
            let said = house.town.of(client).others.concat();
            assert!(said.contains(&format!("[{refused:?}]")), "{filter} {said}");
            let near = said.contains("did you mean $queue/jobs?");
            assert_eq!(near, version == Version::V5 && filter.contains("job"), "{filter} {said}");
        }
        house.town.subscribe(client, "$queue/jobs", QoS::AtLeastOnce);
        assert_eq!(house.town.broker.view().subscriptions, 1);
    }
}

#[test]
fn nothing_is_published_to_a_queue_by_its_name() {
    for (version, told) in
        [(Version::V5, Reason::TopicNameInvalid), (Version::V311, Reason::Success)]
    {
        let mut house = House::new(JOBS);
        let connect = Connect { version, ..connect("p", true, 0) };
        let publisher = house.town.arrive(&connect, "test");
        house.town.publish(publisher, "$queue/jobs", "x", QoS::AtLeastOnce);
        house.write();
        assert_eq!(house.town.of(publisher).answers.last().map(|(_, reason)| *reason), Some(told));
        assert_eq!(house.waiting(), 0);
    }
}

/// A changed binding is for what comes later. A queue that leaves the configuration collects nothing, gives
/// what it has, and goes when it has nothing left; over a restart too.
#[test]
fn a_queue_that_left_the_configuration_stays_until_it_is_empty() {
    let other = "[[named_queue]]\nname = 'jobs'\nbindings = ['tasks']";
    let mut house = House::new(JOBS);
    house.publish("jobs/a", 0..2, QoS::AtLeastOnce);
    house.town.reload(other);
    house.publish("jobs/a", 2..3, QoS::AtLeastOnce);
    house.publish("tasks", 3..4, QoS::AtLeastOnce);
    assert_eq!(house.waiting(), 3);
    house.town.reload("");
    house.publish("tasks", 4..5, QoS::AtLeastOnce);
    assert_eq!(house.waiting(), 3);
    house.restart("");
    house.publish("tasks", 5..6, QoS::AtLeastOnce);
    let consumer = house.consumer("c", "$queue/jobs");
    assert_eq!(numbers(&house.got(consumer)), [0, 1, 3]);
    house.town.unsubscribe(consumer, "$queue/jobs");
    for _ in 0..3 {
        house.town.pass(SECOND);
        house.write();
    }
    assert_eq!(house.town.broker.view().groups, []);
    house.restart("");
    assert_eq!(house.town.broker.view().groups, []);
    // It is another queue if it comes again.
    house.town.reload(JOBS);
    house.publish("jobs/a", 6..7, QoS::AtLeastOnce);
    assert_eq!(house.waiting(), 1);
    assert!(house.town.broker.groups(None, 1)[0].id() > GroupId::new(1));
}

/// What waits in a queue that left the configuration ends by its `ttl` all the same.
#[test]
fn a_queue_that_drains_keeps_its_ttl() {
    let mut house = House::new(&format!("{JOBS}ttl = '10s'\n"));
    house.publish("jobs/a", 0..2, QoS::AtLeastOnce);
    house.town.reload("");
    house.town.pass(SECOND * 8);
    house.write();
    assert_eq!(house.waiting(), 2);
    for _ in 0..4 {
        house.town.pass(SECOND);
        house.write();
    }
    assert_eq!(house.town.broker.view().groups, []);
}

#[test]
fn a_queue_without_messages_goes_with_its_definition() {
    let mut house = House::new(JOBS);
    let rows = house.disk.rows();
    house.town.reload("");
    for _ in 0..2 {
        house.town.pass(SECOND * 2);
        house.write();
    }
    assert_eq!(house.town.broker.view().groups, []);
    assert!(house.disk.rows().len() < rows.len(), "the store forgets it");
}

/// Each policy holds with the queue's own limits, and those of `[queue]` where it has none.
#[test]
fn the_limits_and_the_policy_of_the_queue_hold() {
    for (policy, reason, kept) in [
        ("reject", Loss::QueueFull, vec![0, 1, 2]),
        ("drop_oldest", Loss::DroppedOldest, vec![7, 8, 9]),
        ("drop_newest", Loss::DroppedNewest, vec![0, 1, 2]),
        ("drop_qos0_first", Loss::QueueFull, vec![0, 1, 2]),
        ("conflate", Loss::Conflated, vec![9]),
    ] {
        for (own, whole) in [(true, false), (false, true)] {
            let keys = format!("messages_max = 3\npolicy = '{policy}'\n");
            let config = format!(
                "[queue]\n{}{JOBS}{}",
                if whole { &keys } else { "messages_max = 9\n" },
                if own { &keys } else { "" }
            );
            let mut house = House::new(&config);
            house.publish("jobs/a", 0..10, QoS::AtLeastOnce);
            let account = house.account();
            let lost = u64::from(account.ledger[1][reason as usize]);
            assert_eq!(lost, 10 - kept.len() as u64, "{policy} {account:?}");
            let consumer = house.consumer("c", "$queue/jobs");
            assert_eq!(numbers(&house.got(consumer)), kept, "{policy}");
            assert_first_law(&house.account());
        }
    }
}

/// A message that no connected consumer may receive waits, and those behind it do not wait for it. It is the
/// first for a consumer that may have it: one that comes, or one that is allowed to by a reload.
#[test]
fn what_no_consumer_may_have_waits_and_holds_up_nothing() {
    let rules = |who: &str| {
        format!(
            "
            [[rule]]
            deny = ['receive']
            client_id = '{who}'
            topics = ['jobs/secret']
            [[rule]]
            allow = ['all']
            topics = ['#', '$queue/#']
            {JOBS}"
        )
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for consumers in [1, 2] {
            let mut house = House::new(&rules("plain-*"));
            let plain: Vec<_> = (0..consumers)
                .map(|number| house.consumer(&format!("plain-{number}"), "$queue/jobs"))
                .collect();
            for number in 0..6 {
                let topic = if number % 2 == 0 { "jobs/secret" } else { "jobs/open" };
                house.publish(topic, number..number + 1, qos);
            }
            let got: Vec<_> = plain.iter().flat_map(|client| house.got(*client)).collect();
            let mut got = numbers(&got);
            got.sort_unstable();
            assert_eq!(got, [1, 3, 5]);
            assert_eq!(house.waiting(), 3);
            let trusted = house.consumer("trusted", "$queue/jobs");
            assert_eq!(numbers(&house.got(trusted)), [0, 2, 4]);
            assert_first_law(&house.account());
            house.town.cut(trusted);
            house.publish("jobs/secret", 6..8, qos);
            assert_eq!(house.waiting(), 2);
            house.town.reload(&rules("nobody"));
            let got: Vec<_> = plain.iter().flat_map(|client| house.got(*client)).collect();
            let mut got = numbers(&got);
            got.sort_unstable();
            assert_eq!(got, [6, 7]);
            assert_first_law(&house.account());
        }
    }
}

/// A copy that has waited for longer than the queue lets it ends as expired, with no consumer, in memory or in
/// the store, after a restart too; and the tick finds it in bounded work.
#[test]
fn a_copy_that_waits_for_too_long_ends_as_expired() {
    let config = format!("{JOBS}ttl = '10s'");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut house = House::new(&config);
        house.publish("jobs/a", 0..2, qos);
        house.town.now = house.town.now.after(SECOND * 5);
        house.publish("jobs/a", 2..3, qos);
        house.town.now = house.town.now.after(SECOND * 6);
        house.write();
        assert_eq!(house.waiting(), 1);
        let class = usize::from(qos > QoS::AtMostOnce);
        assert_eq!(house.account().ledger[class][Loss::Expired as usize], 2);
        let consumer = house.consumer("c", "$queue/jobs");
        house.town.of(consumer).acknowledges = false;
        assert_eq!(numbers(&house.got(consumer)), [2]);
        if qos > QoS::AtMostOnce {
            // It was sent and not answered: given back, it is as old as it is.
            house.town.cut(consumer);
            house.town.now = house.town.now.after(SECOND * 6);
            house.write();
            assert_eq!(house.waiting(), 0);
            house.publish("jobs/a", 3..4, qos);
            house.restart(&config);
            assert_eq!(house.waiting(), 1);
            house.town.now = house.town.now.after(SECOND * 600);
            house.write();
            assert_eq!(house.waiting(), 0);
        }
    }
}
