//! What a claim waits for: the end of a connection of another user, and the brake on takeovers.

use std::time::Duration;

use sluicemq::auth::edit::set_password;
use sluicemq::broker::Broker;
use sluicemq::broker::metrics::Counter;
use sluicemq::codec::{Connect, Disconnect, Packet, Reason, Version};
use sluicemq::time::Time;

use crate::links::{Client, START, broker};
use crate::process::{Sluice, new_folder};
use crate::wire::{self, VERSIONS, connect};
use crate::{log_until, wishes};

/// Rounds of two users that take turns, for each version.
const ROUNDS: usize = 100;

/// CONNECT of a user.
fn of<'a>(version: Version, user: &'a str, lasting: bool) -> Connect<'a> {
    let password = Some(&b"secret"[..]);
    wishes(Connect { user_name: Some(user), password, ..connect(version, "one") }, lasting)
}

/// What another user is told that comes while ann is connected, `leave` being how she leaves after a while.
fn after_ann(version: Version, lasting: bool, leave: Option<fn(&mut Client)>) -> Option<Reason> {
    let broker = broker();
    let mut ann = Client::claiming(&broker, &of(version, "ann", lasting));
    ann.is_in();
    ann.told();
    let mut bob = Client::claiming(&broker, &of(version, "bob", false));
    let soon = START.after(Duration::from_millis(100));
    assert_eq!(bob.waits(soon), None, "her DISCONNECT may be on its way");
    ann.poll();
    assert_eq!(ann.told(), None, "no other user takes her Session over");
    if let Some(leave) = leave {
        leave(&mut ann);
    }
    bob.waits(START.after(Duration::from_secs(60)))
}

#[test]
fn after_its_end_a_connection_keeps_no_other_user_out() {
    for version in VERSIONS {
        for leave in [Client::says_goodbye, Client::is_lost] {
            assert_eq!(after_ann(version, false, Some(leave)), Some(Reason::Success));
            assert_eq!(after_ann(version, true, Some(leave)), Some(Reason::NotAuthorized));
        }
        assert_eq!(after_ann(version, false, None), Some(Reason::NotAuthorized), "she is there");
    }
}

#[test]
fn another_user_that_gives_up_leaves_nothing_behind() {
    let broker = broker();
    let mut ann = Client::claiming(&broker, &of(Version::V5, "ann", false));
    ann.is_in();
    let mut bob = Client::claiming(&broker, &of(Version::V5, "bob", false));
    bob.is_lost();
    ann.says_goodbye();
    assert_eq!(broker.view().sessions.len(), 0);
    Client::claiming(&broker, &of(Version::V5, "cid", false)).is_in();
}

#[test]
fn users_take_turns_with_one_client_identifier_on_the_real_process() {
    let folder = new_folder();
    let passwords = folder.path().join("passwords");
    for user in ["ann", "bob"] {
        set_password(&passwords, user, b"secret").expect("a file");
    }
    let config = format!("{}\n[auth]\npassword_file = 'passwords'\n", super::CONFIG);
    let broker = Sluice::start_in(folder, &config);
    let at = broker.address("tcp");
    for version in VERSIONS {
        for round in 0..ROUNDS {
            let user = ["ann", "bob"][round % 2];
            let mut client = wire::Client::open(at, version);
            client.send(&Packet::Connect(Box::new(of(version, user, false))));
            assert_eq!(client.connack(), Reason::Success, "{version:?}, round {round}");
            client.send(&Packet::Disconnect(Disconnect::default()));
            // It closes, and the next one comes at once.
        }
    }
}

/// Connects once more and waits until it is in; `old` is told that it was taken over.
fn take_over(broker: &Broker, old: &mut Client, now: Time) -> Client {
    let version = if old.link.version() == Some(Version::V5) { Version::V311 } else { Version::V5 };
    let mut new = Client::claiming_at(broker, &of(version, "ann", true), now);
    for _ in 0..1_000 {
        new.poll();
        old.now = new.now;
        old.poll();
        if old.link.is_closed() {
            assert_eq!(old.told(), (version == Version::V311).then_some(Reason::SessionTakenOver));
            new.poll();
            assert_eq!(new.told(), Some(Reason::Success));
            return new;
        }
        new.now = new.link.deadline().expect("it waits");
    }
    panic!("the newest connection is locked out");
}

#[test]
fn two_clients_with_one_client_identifier_are_braked_and_each_newest_one_gets_in() {
    let broker = broker();
    let mut holder = Client::claiming(&broker, &of(Version::V5, "ann", true));
    holder.is_in();
    holder.told();
    let mut now = START;
    for takeover in 0..100 {
        holder = take_over(&broker, &mut holder, now);
        let wait = holder.now.since(now);
        assert!(wait <= Duration::from_secs(4), "{wait:?}");
        assert_eq!(wait == Duration::ZERO, takeover < 10, "takeover {takeover}");
        now = holder.now;
    }
    assert!(now.since(START) >= Duration::from_secs(250), "{:?}", now.since(START));
    assert_eq!(broker.metrics().sum(Counter::TakeoversBraked), 90);
    // Once its holder has left, no claim waits; and after a rest all takeovers are free.
    holder.says_goodbye();
    let mut next = Client::claiming_at(&broker, &of(Version::V5, "ann", true), now);
    next.is_in();
    next.told();
    let rested = now.after(Duration::from_secs(60));
    assert_eq!(take_over(&broker, &mut next, rested).now, rested);
}

#[test]
fn a_device_that_comes_three_times_in_ten_seconds_is_never_braked() {
    let broker = broker();
    let mut holder = Client::claiming(&broker, &of(Version::V5, "ann", true));
    holder.is_in();
    holder.told();
    for n in 1..1_000 {
        let now = START.after(Duration::from_millis(n * 10_000 / 3));
        holder = take_over(&broker, &mut holder, now);
        assert_eq!(holder.now, now);
    }
    assert_eq!(broker.metrics().sum(Counter::TakeoversBraked), 0);
}

#[test]
fn a_storm_of_takeovers_is_one_line_on_the_real_process() {
    let broker = Sluice::start(super::CONFIG);
    let at = broker.address("tcp");
    let mut holder = wire::Client::connect(at, Version::V5, "one");
    for _ in 0..13 {
        let newcomer = wire::Client::connect(at, Version::V5, "one");
        holder.closed_by(Reason::SessionTakenOver);
        holder = newcomer;
    }
    holder.goodbye();
    let log = log_until(&broker, "reason=DISCONNECT");
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("takeovers are braked"), 1, "{log}");
    assert_eq!(lines(" connected client=one "), 11, "{log}");
}
