//! A Client Identifier cannot be squatted: which user has its Session, and which may end it.

use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::codec::{Connect, QoS, Reason, Version};
use sluicemq::message::{ClientId, Loss};

use crate::rows::Disk;
use crate::virtual_time::{Town, connect};

const DEVICE: &str = "device-1";

/// CONNECT under the device's Client Identifier, by a user that is checked or without one.
fn device(user_name: Option<&'static str>, clean_start: bool) -> Connect<'static> {
    Connect { user_name, ..connect(DEVICE, clean_start, 3600) }
}

/// What its CONNACK says: Session Present, or that it is refused for its user.
fn answer(town: &mut Town, number: usize) -> Option<bool> {
    // A client waits a moment for the end of another user's connection.
    town.pass(Duration::from_secs(2));
    let said = town.of(number).others.first().expect("a CONNACK").clone();
    assert!(said.starts_with("ConnAck"), "{said}");
    if said.contains("NotAuthorized") {
        return None;
    }
    assert!(said.contains("reason: Success"), "{said}");
    Some(said.contains("session_present: true"))
}

/// A Session of `user_name` with a Subscription, and a message that waits or is not acknowledged.
fn holder(town: &mut Town, user_name: Option<&'static str>, connected: bool) -> usize {
    let number = town.arrive(&device(user_name, false), "test");
    town.subscribe(number, "secret", QoS::AtLeastOnce);
    town.of(number).acknowledges = false;
    if !connected {
        town.cut(number);
    }
    let publisher = town.client("publisher");
    town.publish(publisher, "secret", "for the squatter", QoS::AtLeastOnce);
    number
}

#[test]
fn a_verified_user_ends_the_session_of_a_squatter_and_inherits_nothing() {
    for connected in [false, true] {
        for clean_start in [false, true] {
            for version in [Version::V311, Version::V5] {
                let mut town = Town::new("");
                let squatter = holder(&mut town, None, connected);
                assert_eq!(town.account(DEVICE).routed, [0, 1]);
                let connect = Connect { version, ..device(Some("alice"), clean_start) };
                let owner = town.arrive(&connect, "test");
                assert_eq!(answer(&mut town, owner), Some(false));
                if connected {
                    assert_eq!(town.of(squatter).told, Some(Reason::SessionTakenOver));
                }
                assert!(town.of(squatter).is_closed());
                assert!(town.of(owner).got.is_empty(), "nothing of the squatter's");
                let view = town.broker.client(&ClientId::new(DEVICE)).expect("a Session");
                assert_eq!(view.user_name.as_deref(), Some("alice"));
                assert_eq!(view.account.routed, [0, 0]);
                assert_eq!(town.broker.view().subscriptions, 0);
                assert_eq!(town.broker.metrics().lost(Loss::SessionEnded), 1);
                // The squatter finds no way back.
                for clean_start in [false, true] {
                    let again = town.arrive(&device(None, clean_start), "test");
                    assert_eq!(answer(&mut town, again), None);
                }
                assert!(!town.of(owner).is_closed());
            }
        }
    }
}

#[test]
fn a_session_of_a_verified_user_is_neither_ended_nor_resumed_by_another() {
    for connected in [false, true] {
        for clean_start in [false, true] {
            for stranger in [None, Some("bob")] {
                let mut town = Town::new("");
                let owner = holder(&mut town, Some("alice"), connected);
                let number = town.arrive(&device(stranger, clean_start), "test");
                assert_eq!(answer(&mut town, number), None);
                assert!(town.of(number).is_closed());
                assert_eq!(town.of(owner).is_closed(), !connected);
                if !connected {
                    let back = town.arrive(&device(Some("alice"), false), "test");
                    assert_eq!(answer(&mut town, back), Some(true));
                    assert_eq!(town.of(back).got.len(), 1);
                }
            }
        }
    }
}

#[test]
fn whose_a_session_is_survives_a_restart() {
    for (user_name, stranger, wanted) in [
        (None, Some("alice"), Some(false)),
        (None, None, Some(true)),
        (Some("alice"), None, None),
        (Some("alice"), Some("bob"), None),
        (Some("alice"), Some("alice"), Some(true)),
    ] {
        let disk = Disk::default();
        let mut town = Town::with_store("", Arc::new(disk.open()));
        let number = town.arrive(&device(user_name, false), "test");
        disk.write_all(|| town.pass(Duration::ZERO));
        town.cut(number);
        disk.write_all(|| {});
        let mut town = Town::with_store("", Arc::new(disk.open()));
        town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
        let number = town.arrive(&device(stranger, false), "test");
        disk.write_all(|| town.pass(Duration::ZERO));
        assert_eq!(answer(&mut town, number), wanted, "{user_name:?} {stranger:?}");
    }
}

#[test]
fn strangers_do_not_overtake_a_verified_user_that_waits() {
    let mut town = Town::new("");
    let squatter = holder(&mut town, None, true);
    let mut strangers = Vec::new();
    // Takeovers of squatters from each other are braked; their owner's is not.
    for _ in 0..30 {
        strangers.push(town.arrive(&device(None, true), "test"));
    }
    let owner = town.arrive(&device(Some("alice"), false), "test");
    assert_eq!(answer(&mut town, owner), Some(false));
    town.pass(Duration::from_secs(10));
    assert!(town.of(squatter).is_closed() && !town.of(owner).is_closed());
    for stranger in strangers {
        assert!(town.of(stranger).is_closed());
    }
}
