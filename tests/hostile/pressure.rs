//! Receivers that acknowledge nothing do not keep everybody else out.

use std::num::NonZeroU16;
use std::time::Duration;

use sluicemq::broker::overload::Sample;
use sluicemq::codec::{Connect, QoS, Reason};
use sluicemq::message::ClientId;

use crate::virtual_time::{Town, connect};

const CONFIG: &str = "
[totals]
queued_bytes_max = '4MiB'
unverified_share = 50
[queue]
bytes_max = '2MiB'
pause_max = '0s'
";

/// Watched ten times a second.
fn pass(town: &mut Town, seconds: u64) {
    for _ in 0..seconds * 10 {
        town.broker.observe(&Sample::default(), town.now);
        town.pass(Duration::from_millis(100));
    }
}

/// A client that subscribes to its own name and acknowledges nothing.
fn glutton(town: &mut Town, client_id: &str, user_name: Option<&str>, expiry: u32) -> usize {
    let wants = Connect {
        user_name,
        receive_maximum: NonZeroU16::new(4).expect("not zero"),
        ..connect(client_id, false, expiry)
    };
    let number = town.arrive(&wants, "test");
    town.subscribe(number, client_id, QoS::AtLeastOnce);
    town.of(number).acknowledges = false;
    number
}

fn feed(town: &mut Town, publisher: usize, client_id: &str, count: usize) {
    let payload = "x".repeat(32 * 1024);
    for _ in 0..count {
        town.publish(publisher, client_id, &payload, QoS::AtLeastOnce);
    }
}

fn is_let_in(town: &mut Town) -> bool {
    let number = town.arrive(&connect("new", true, 0), "test");
    let is_in = town.of(number).others[0].contains("reason: Success");
    town.cut(number);
    is_in
}

#[test]
fn at_a_lasting_level_three_those_that_hold_most_are_disconnected_strangers_first() {
    for expiry in [0, 3600] {
        let mut town = Town::new(CONFIG);
        let publisher = town.client("publisher");
        let slow = glutton(&mut town, "slow", Some("alice"), 3600);
        let strangers = ["one", "two"].map(|name| glutton(&mut town, name, None, expiry));
        let healthy = town.client("healthy");
        town.subscribe(healthy, "#", QoS::AtMostOnce);
        feed(&mut town, publisher, "slow", 40);
        feed(&mut town, publisher, "one", 50);
        feed(&mut town, publisher, "two", 50);
        pass(&mut town, 9);
        assert_eq!(town.broker.pressure().level(), 3);
        assert!(!is_let_in(&mut town));
        assert!(strangers.iter().all(|number| !town.of(*number).is_closed()), "not at once");
        pass(&mut town, 20);
        let told = strangers.map(|number| town.of(number).told);
        assert!(told.contains(&Some(Reason::QuotaExceeded)), "{told:?}");
        assert_eq!(town.of(slow).told, None, "a user's is not the first");
        assert!(!town.of(healthy).is_closed() && !town.of(publisher).is_closed());
        assert!(town.broker.pressure().level() < 3);
        assert!(is_let_in(&mut town));
    }
}

#[test]
fn a_users_receiver_is_given_up_if_there_is_no_strangers() {
    let mut town = Town::new(CONFIG);
    let publisher = town.client("publisher");
    let users = ["one", "two"].map(|name| glutton(&mut town, name, Some(name), 3600));
    feed(&mut town, publisher, "one", 60);
    feed(&mut town, publisher, "two", 59);
    pass(&mut town, 12);
    let told = users.map(|number| town.of(number).told);
    assert_eq!(told, [Some(Reason::QuotaExceeded), None]);
    // Its Session, and what waits for it, is never taken from a user.
    pass(&mut town, 60);
    assert!(town.broker.client(&ClientId::new("one")).is_some());
}
