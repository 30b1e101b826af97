//! One stranger cannot use up the Sessions that are for all.

use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, QoS, Version};
use sluicemq::message::{ClientId, Loss, RefusalKind};

use crate::rows::Disk;
use crate::virtual_time::{Town, connect};

const WEEK: u32 = 7 * 86_400;
const STRANGER: &str = "192.0.2.66:1234";
const OTHER: &str = "192.0.2.7:1234";

/// A client comes, and stays or leaves its Session behind; whether it was let in.
fn visit(town: &mut Town, connect: &Connect<'_>, from: &str, stays: bool) -> bool {
    town.address = from.to_owned();
    let number = town.arrive(connect, "test");
    let said = town.of(number).others.first().expect("a CONNACK");
    let (is_in, quota) = (said.contains("reason: Success"), said.contains("QuotaExceeded"));
    let quota = quota || said.contains("ServerUnavailable");
    assert!(is_in || quota, "{said}");
    if !stays {
        town.cut(number);
    }
    is_in
}

fn named<'a>(client_id: &'a str, user: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user), ..connect(client_id, false, WEEK) }
}

/// As many Sessions as it gets, left behind from one address.
fn hoard(town: &mut Town, from: &str, stays: bool) -> usize {
    (0..100)
        .filter(|n| visit(town, &connect(&format!("{from}{n}"), false, WEEK), from, stays))
        .count()
}

fn exists(town: &Town, client_id: &str) -> bool {
    town.broker.client(&ClientId::new(client_id)).is_some()
}

#[test]
fn strangers_have_a_share_and_verified_users_the_rest() {
    for stays in [false, true] {
        let mut town = Town::new("[totals]\nunverified_share = 25\nsessions_max = 40");
        assert_eq!(hoard(&mut town, STRANGER, stays), 10, "a quarter");
        // Users of the same address are none of its business.
        for n in 0..30 {
            let (client_id, user) = (format!("u{n}"), format!("user{}", n % 3));
            assert!(visit(&mut town, &named(&client_id, &user), STRANGER, n % 2 == 0));
        }
        assert_eq!(town.broker.view().sessions.len(), 40);
        assert_eq!(town.broker.metrics().lost(Loss::SessionEnded), 0);
        // It is full. What is above the share of its address makes room, if no client is connected to it.
        assert_eq!(visit(&mut town, &named("late", "user0"), OTHER, true), !stays);
        assert_eq!(exists(&town, &format!("{STRANGER}0")), stays, "the oldest");
        assert!((0..30).all(|n| exists(&town, &format!("u{n}"))));
        assert!(town.broker.metrics().refused(RefusalKind::SessionsMax) > 0);
    }
}

#[test]
fn where_nobody_is_verified_the_oldest_of_the_hoarder_make_room_for_others() {
    let mut town = Town::new("[totals]\nsessions_max = 40\nunverified_share = 100");
    assert_eq!(hoard(&mut town, STRANGER, false), 40);
    let mut ended = 0;
    for n in 0..35 {
        let from = format!("198.51.100.{n}:1");
        let connect = Connect {
            version: if n % 2 == 0 { Version::V5 } else { Version::V311 },
            ..connect("", true, 0)
        };
        ended += usize::from(visit(&mut town, &connect, &from, true));
    }
    // Its address keeps its share: a quarter.
    assert_eq!(ended, 30);
    assert!(!exists(&town, &format!("{STRANGER}29")) && exists(&town, &format!("{STRANGER}30")));
    assert!(!visit(&mut town, &connect("more", true, 0), STRANGER, true));
    // What is within the share can be resumed.
    assert!(visit(&mut town, &connect(&format!("{STRANGER}39"), false, WEEK), STRANGER, true));
}

#[test]
fn what_waited_for_a_session_that_made_room_is_in_the_ledger() {
    let mut town = Town::new("[totals]\nsessions_max = 4\nunverified_share = 100");
    town.address = STRANGER.to_owned();
    let number = town.arrive(&connect("hoarder", false, WEEK), "test");
    town.subscribe(number, "a", QoS::AtLeastOnce);
    let publisher = town.client("publisher");
    town.cut(number);
    town.publish(publisher, "a", "waits", QoS::AtLeastOnce);
    assert!(visit(&mut town, &connect("third", false, WEEK), STRANGER, false));
    assert!(visit(&mut town, &connect("fourth", false, WEEK), STRANGER, false));
    assert!(visit(&mut town, &connect("other", true, 0), OTHER, true));
    assert!(!exists(&town, "hoarder"));
    assert_eq!(town.broker.metrics().lost(Loss::SessionEnded), 1);
    assert_eq!(town.broker.view().subscriptions, 0);
}

#[test]
fn one_user_does_not_get_all() {
    let mut town = Town::new("[totals]\nsessions_max = 40\nuser_share = 80");
    let got = (0..40)
        .filter(|n| visit(&mut town, &named(&format!("c{n}"), "alice"), OTHER, false))
        .count();
    assert_eq!(got, 32);
    assert!(visit(&mut town, &named("b", "bob"), OTHER, false));
    assert!(visit(&mut town, &connect("nobody", false, WEEK), OTHER, false));
    // A Session of its own it can always resume.
    assert!(visit(&mut town, &named("c0", "alice"), OTHER, false));
}

#[test]
fn whose_sessions_are_is_known_after_a_restart() {
    const CONFIG: &str = "[totals]\nsessions_max = 40\nunverified_share = 100";
    let disk = Disk::default();
    let mut town = Town::with_store(CONFIG, Arc::new(disk.open()));
    let write = |town: &mut Town| disk.write_all(|| town.pass(Duration::ZERO));
    for n in 0..40 {
        town.address = if n < 20 { STRANGER.to_owned() } else { format!("[2001:db8::{n}]:1") };
        let number = town.arrive(&connect(&format!("c{n}"), false, WEEK), "test");
        write(&mut town);
        town.cut(number);
        write(&mut town);
    }
    let mut town = Town::with_store(CONFIG, Arc::new(disk.open()));
    town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
    for (from, wanted) in [(STRANGER, false), ("[2001:db8::77]:1", false), (OTHER, true)] {
        town.address = from.to_owned();
        let number = town.arrive(&connect("new", true, 0), "test");
        write(&mut town);
        let said = town.of(number).others[0].clone();
        assert_eq!(said.contains("reason: Success"), wanted, "{from}: {said}");
    }
    assert_eq!(town.broker.view().sessions.len(), 40);
}
