//! One stranger that makes Sessions as fast as it can, on the real process: the others are let in.

use sluicemq::auth::{HashMethod, edit};
use sluicemq::codec::{Connect, Packet, Reason, Version};

use super::{broker, told};
use crate::process::{Sluice, new_folder};
use crate::wire::{Client, VERSIONS, connect, dial_from, encoded};

/// All that there may be.
const SESSIONS: usize = 5_000;
/// Connections that are made, used and left together.
const TOGETHER: usize = 100;
const WEEK: u32 = 7 * 86_400;

/// Leaves Sessions behind that last a week, until they are all that there may be.
fn hoard(broker: &Sluice) -> usize {
    let mut kept = 0;
    for first in (0..SESSIONS).step_by(TOGETHER) {
        let ids: Vec<_> = (first..first + TOGETHER).map(|n| format!("hoarder-{n}")).collect();
        let clients = ids.iter().map(|client_id| {
            let mut client = Client::open(broker.address("tcp"), Version::V5);
            let connect = Connect {
                clean_start: false,
                session_expiry: WEEK,
                ..connect(Version::V5, client_id)
            };
            client.send(&Packet::Connect(Box::new(connect)));
            client
        });
        for mut client in clients.collect::<Vec<_>>() {
            if client.connack() == Reason::Success {
                client.goodbye();
                kept += 1;
            }
        }
    }
    kept
}

fn from_elsewhere(broker: &Sluice, connect: &Connect<'_>) -> (Client, Reason) {
    let stream = dial_from("127.0.0.2", broker.address("tcp"));
    let mut client = Client::over(stream, connect.version);
    client.send_bytes(&encoded(&Packet::Connect(Box::new(connect.clone())), connect.version));
    let reason = client.connack();
    (client, reason)
}

#[test]
fn a_hoarder_of_all_sessions_locks_nobody_else_out_not_even_after_a_restart() {
    let mut broker = broker("[totals]\nsessions_max = 5_000");
    for _ in 0..2 {
        // The second time it has most of them from before the restart.
        assert_eq!(hoard(&broker), SESSIONS);
        let mut others = Vec::new();
        for version in VERSIONS {
            let (mut other, reason) = from_elsewhere(&broker, &connect(version, ""));
            assert_eq!(reason, Reason::Success);
            other.ping();
            others.push(other);
            // No Session makes room for the hoarder.
            let mut more = Client::open(broker.address("tcp"), version);
            more.send(&Packet::Connect(Box::new(connect(version, "more"))));
            let full = told(version, Reason::QuotaExceeded, Reason::ServerUnavailable);
            assert_eq!(more.connack(), full);
        }
        others.iter_mut().for_each(Client::ping);
        assert_eq!(broker.stop(), Some(0));
        broker.start_again();
    }
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("ends to make room")).count();
    assert!((1..=4).contains(&lines), "{lines} lines");
}

#[test]
fn beside_strangers_there_is_room_for_users() {
    let folder = new_folder();
    let (users, method) =
        ([("alice".to_owned(), b"secret".to_vec())], HashMethod::Pbkdf2 { iterations: 1 });
    edit::set_passwords(&folder.path().join("passwords"), &users, method).expect("a password file");
    let config = "auth.password_file = 'passwords'\n[[listener]]\nname = 'tcp'\n\
                  address = '127.0.0.1:0'\nallow_anonymous = true\n[totals]\nsessions_max = 5_000";
    let broker = Sluice::start_in(folder, config);
    assert_eq!(hoard(&broker), SESSIONS / 4);
    for version in VERSIONS {
        let user = Connect {
            user_name: Some("alice"),
            password: Some(b"secret"),
            ..connect(version, "device")
        };
        Client::connect_with(broker.address("tcp"), &user).goodbye();
    }
}
