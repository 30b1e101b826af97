//! One stranger cannot use up what is for all: Subscriptions, groups, retained messages, what waits, Wills and delayed messages.

use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::metrics::Counter;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, QoS, Version, Will};
use sluicemq::message::{ClientId, Loss, RefusalKind};

use crate::rows::Disk;
use crate::virtual_time::{Town, connect};

const STRANGER: &str = "192.0.2.66:1234";
const OTHER: &str = "192.0.2.7:1234";
const HOUR: u32 = 3_600;

/// Takes one more of something; whether it got it. Each client that is asked for is another one.
type Take = fn(&mut Town, Option<&'static str>, usize) -> bool;

/// A client of its own, of the user or of nobody.
fn arrive(town: &mut Town, user_name: Option<&str>, number: usize, expiry: u32) -> usize {
    let client_id = format!("{}-{user_name:?}-{number}", town.address);
    let version = if number.is_multiple_of(2) { Version::V5 } else { Version::V311 };
    let expiry = if version == Version::V311 && expiry > 0 { u32::MAX } else { expiry };
    town.arrive(&Connect { user_name, version, ..connect(&client_id, expiry == 0, expiry) }, "test")
}

fn is_granted(town: &mut Town, number: usize) -> bool {
    let answer = town.of(number).others.last().expect("a SUBACK").clone();
    assert!(answer.starts_with("SubAck"), "{answer}");
    answer.contains("Granted") || answer.contains("[Success]")
}

fn subscription(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let client = arrive(town, user, number, 0);
    town.subscribe(client, &format!("t/{number}"), QoS::AtLeastOnce);
    is_granted(town, client)
}

fn group(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let client = arrive(town, user, number, 0);
    town.subscribe(client, &format!("$share/{client}/t"), QoS::AtLeastOnce);
    is_granted(town, client)
}

fn retained_of(town: &mut Town, user: Option<&'static str>, number: usize, payload: &str) -> bool {
    let client = arrive(town, user, number, 0);
    let topic = format!("r/{client}");
    let refused = town.broker.metrics().refused(RefusalKind::RetainedMax);
    town.publish_as(client, &topic, payload, QoS::AtLeastOnce, true);
    town.cut(client);
    town.broker.metrics().refused(RefusalKind::RetainedMax) == refused
}

fn retained(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    retained_of(town, user, number, "x")
}

fn delayed(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let client = arrive(town, user, number, 0);
    let taken = town.broker.metrics().sum(Counter::DelayedAccepted);
    town.publish(client, "$delayed/1h/t", &"x".repeat(1_000), QoS::AtLeastOnce);
    town.cut(client);
    town.broker.metrics().sum(Counter::DelayedAccepted) > taken
}

fn retained_bytes(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    retained_of(town, user, number, &"x".repeat(1_000))
}

fn will(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let payload = [b'x'; 872];
    let will = Will { delay: HOUR, topic: "w", payload: &payload, ..Will::default() };
    let client_id = format!("{}-{user:?}-{number}", town.address);
    let connect = Connect { user_name: user, will: Some(will), ..connect(&client_id, true, HOUR) };
    let client = town.arrive(&connect, "test");
    let said = town.of(client).others[0].clone();
    town.cut(client);
    assert!(said.contains("reason: Success") || said.contains("reason: QuotaExceeded"), "{said}");
    said.contains("reason: Success")
}

/// A message that waits for a Session without connection.
fn waiting(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let client = arrive(town, user, number, HOUR);
    let topic = format!("q/{client}");
    town.subscribe(client, &topic, QoS::AtLeastOnce);
    town.cut(client);
    let address = std::mem::replace(&mut town.address, "198.51.100.1:1".to_owned());
    let publisher = town.client("publisher");
    let lost = town.broker.metrics().lost(Loss::QueueFull);
    town.publish(publisher, &topic, &"x".repeat(1_000), QoS::AtLeastOnce);
    town.cut(publisher);
    town.address = address;
    town.broker.metrics().lost(Loss::QueueFull) == lost
}

/// The same while the message is in flight when the client leaves.
fn in_flight(town: &mut Town, user: Option<&'static str>, number: usize) -> bool {
    let client = arrive(town, user, number, HOUR);
    let topic = format!("q/{client}");
    town.subscribe(client, &topic, QoS::AtLeastOnce);
    town.of(client).acknowledges = false;
    let address = std::mem::replace(&mut town.address, "198.51.100.1:1".to_owned());
    let publisher = town.client("publisher");
    town.publish(publisher, &topic, &"x".repeat(1_000), QoS::AtLeastOnce);
    assert_eq!(town.of(client).unacknowledged.len(), 1);
    town.cut(client);
    let lost = town.broker.metrics().lost(Loss::QueueFull);
    // What is in flight is not taken away; nothing is added.
    town.publish(publisher, &topic, "", QoS::AtLeastOnce);
    town.cut(publisher);
    town.address = address;
    town.broker.metrics().lost(Loss::QueueFull) == lost
}

/// Each kind: how it is taken, its total for about 40, and the reason of the refusal.
const KINDS: [(&str, Take, &str, RefusalKind); 9] = [
    ("subscriptions", subscription, "subscriptions_max = 40", RefusalKind::TotalSubscriptions),
    ("groups", group, "groups_max = 40", RefusalKind::Groups),
    ("retained", retained, "retained_max = 40", RefusalKind::RetainedMax),
    ("retained bytes", retained_bytes, "retained_bytes_max = '48KiB'", RefusalKind::RetainedMax),
    ("delayed", delayed, "[delayed]\nmessages_max = 40", RefusalKind::DelayedMessages),
    ("delayed bytes", delayed, "[delayed]\nbytes_max = '48KiB'", RefusalKind::DelayedBytes),
    ("wills", will, "will_bytes_max = '40KiB'", RefusalKind::TotalWillBytes),
    ("waiting", waiting, "waiting_bytes_max = '48KiB'", RefusalKind::WaitingBytes),
    ("in flight", in_flight, "waiting_bytes_max = '48KiB'", RefusalKind::WaitingBytes),
];

/// Takes until it gets no more; returns how many it got.
fn hoard(town: &mut Town, take: Take, from: &str, user: Option<&'static str>) -> usize {
    from.clone_into(&mut town.address);
    (0..60).position(|number| !take(town, user, number)).unwrap_or(60)
}

#[test]
fn what_one_address_hoards_leaves_room_for_others_and_for_users() {
    for (name, take, total, kind) in KINDS {
        let mut town = Town::new(&format!("[totals]\nunverified_share = 25\n{total}"));
        let stranger = hoard(&mut town, take, STRANGER, None);
        assert!((6..=9).contains(&stranger), "{name}: {stranger}, a quarter less another's share");
        assert!(town.broker.metrics().refused(kind) > 0, "{name}");
        let other = hoard(&mut town, take, OTHER, None);
        assert!((1..=4).contains(&other), "{name}: {other}, its share");
        let user = hoard(&mut town, take, STRANGER, Some("alice"));
        assert!((20..40).contains(&user), "{name}: {user} of a user from the same address");
    }
}

#[test]
fn one_user_leaves_a_reserve_for_others() {
    for (name, take, total, _) in KINDS {
        let mut town =
            Town::new(&format!("[totals]\nunverified_share = 25\nuser_share = 70\n{total}"));
        let one = hoard(&mut town, take, STRANGER, Some("alice"));
        assert!((24..=30).contains(&one), "{name}: {one}");
        let other = hoard(&mut town, take, STRANGER, Some("bob"));
        assert!((8..=14).contains(&other), "{name}: {other}");
    }
}

#[test]
fn what_is_given_back_can_be_had_again() {
    for version in [Version::V311, Version::V5] {
        let mut town =
            Town::new("[totals]\nunverified_share = 25\nsubscriptions_max = 40\ngroups_max = 40");
        STRANGER.clone_into(&mut town.address);
        let client = town.arrive(&Connect { version, ..connect("c", true, 0) }, "test");
        for round in 0..3 {
            let name = |n: usize| format!("$share/{round}-{n}/t");
            let granted = (0..20).filter(|n| {
                town.subscribe(client, &name(*n), QoS::AtLeastOnce);
                is_granted(&mut town, client)
            });
            assert_eq!(granted.count(), 8, "{round}");
            (0..20).for_each(|n| town.unsubscribe(client, &name(n)));
        }
        assert_eq!(town.broker.view().subscriptions, 0);
    }
}

#[test]
fn what_waits_is_counted_until_the_client_is_back() {
    let mut town = Town::new("[totals]\nunverified_share = 25\nwaiting_bytes_max = '48KiB'");
    assert!(hoard(&mut town, waiting, STRANGER, None) < 10);
    // The first comes back and takes what waits: as much may wait again.
    let first = arrive(&mut town, None, 0, HOUR);
    assert_eq!(town.of(first).got.len(), 1);
    assert!(waiting(&mut town, None, 100));
    assert!(!waiting(&mut town, None, 101));
}

#[test]
fn older_messages_make_room_where_the_policy_says_so() {
    let config = "[totals]\nunverified_share = 25\nwaiting_bytes_max = '48KiB'\n[queue]\npolicy = 'drop_oldest'";
    let mut town = Town::new(config);
    STRANGER.clone_into(&mut town.address);
    let client = town.arrive(&connect("c", false, HOUR), "test");
    town.subscribe(client, "q", QoS::AtLeastOnce);
    town.cut(client);
    let publisher = town.client("publisher");
    for n in 0..30 {
        let payload = format!("{n:01000}");
        town.publish(publisher, "q", &payload, QoS::AtLeastOnce);
    }
    let client = town.arrive(&connect("c", false, HOUR), "test");
    let got: Vec<_> = town.of(client).got.iter().map(|got| got.payload.clone()).collect();
    assert!((6..=9).contains(&got.len()), "{}", got.len());
    assert_eq!(got.last().map(String::as_str), Some(&*format!("{:01000}", 29)));
    assert_eq!(town.broker.metrics().lost(Loss::DroppedOldest), 30 - got.len() as u64);
}

#[test]
fn whose_it_is_survives_a_restart() {
    let config = "[totals]\nunverified_share = 25\nsubscriptions_max = 40\nretained_max = 40";
    let disk = Disk::default();
    let mut town = Town::with_store(config, Arc::new(disk.open()));
    let write = |town: &mut Town| disk.write_all(|| town.pass(Duration::ZERO));
    STRANGER.clone_into(&mut town.address);
    let client = town.arrive(&connect("hoarder", false, HOUR), "test");
    write(&mut town);
    for n in 0..20 {
        town.subscribe(client, &format!("t/{n}"), QoS::AtLeastOnce);
        town.publish_as(client, &format!("r/{n}"), "x", QoS::AtLeastOnce, true);
        write(&mut town);
    }
    town.cut(client);
    write(&mut town);
    let mut town = Town::with_store(config, Arc::new(disk.open()));
    town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
    assert_eq!(town.broker.view().subscriptions, 8);
    assert!(town.broker.client(&ClientId::new("hoarder")).is_some());
    STRANGER.clone_into(&mut town.address);
    let again = town.client("again");
    write(&mut town);
    town.subscribe(again, "t", QoS::AtMostOnce);
    assert!(!is_granted(&mut town, again), "it has its share");
    // From where what is retained came is not known any more: it counts for all of them.
    for n in 0..20 {
        town.publish_as(again, &format!("s/{n}"), "x", QoS::AtLeastOnce, true);
        write(&mut town);
    }
    assert_eq!(town.broker.metrics().refused(RefusalKind::RetainedMax), 18);
}
