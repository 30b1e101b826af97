//! TLS on the real process: versions, protocol, resumption, reload, and the user that a certificate
//! names.

#[path = "tls/bad_files.rs"]
mod bad_files;
#[path = "tls/check.rs"]
mod check;
#[path = "tls/identity.rs"]
mod identity;
mod process;
#[path = "tls/records.rs"]
mod records;
#[path = "tls/refusals.rs"]
mod refusals;
#[path = "tls/revoked.rs"]
mod revoked;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use process::{Sluice, new_folder};
use rustls::{ClientConfig, SupportedProtocolVersion};
use secure::{Agreed, TLS_VERSIONS, certificates, config, handshake};
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect};

const TLS: &str = "
[[listener]]
name = 'tls'
address = '127.0.0.1:0'

[listener.tls]
certificate = 'certs/server.pem'
key = 'certs/server.key'
";

const MUTUAL: &str =
    "client_ca = 'certs/ca.pem'\nclient_certificate = 'required'\nidentity = 'cn'\n";

/// For what becomes true when the broker has read its files again.
const DEADLINE: Duration = Duration::from_secs(30);

/// A broker with certificates for localhost and for "client", in `certs`.
fn broker(more: &str) -> Sluice {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    Sluice::start_in(folder, &format!("{TLS}{more}"))
}

fn certs(broker: &Sluice) -> PathBuf {
    broker.file("certs")
}

/// A client of MQTT that is let in, and what the handshake agreed on.
fn enter(at: SocketAddr, tls: &Arc<ClientConfig>, version: Version) -> (Client, Agreed) {
    let (stream, agreed) = handshake(at, tls).expect("a handshake");
    let mut client = Client::over(stream, version);
    client.greet(&connect(version, "a"));
    (client, agreed)
}

/// Whether the broker lets a client of MQTT in; with TLS 1.3 the refusal comes after the
/// client's side of the handshake.
fn enters(at: SocketAddr, tls: &Arc<ClientConfig>) -> bool {
    let Ok((stream, _)) = handshake(at, tls) else { return false };
    let mut client = Client::over(stream, Version::V5);
    client.send(&Packet::Connect(Box::new(connect(Version::V5, "b"))));
    client.next().is_some_and(|packet| packet[0] == 0x20)
}

#[test]
fn the_protocol_may_be_named_mqtt_or_not_at_all_and_versions_are_1_2_and_1_3() {
    let broker = broker("");
    let at = broker.address("tls");
    for tls_version in TLS_VERSIONS {
        for version in VERSIONS {
            let mut tls = config(&certs(&broker), None, tls_version);
            let (mut client, agreed) = enter(at, &Arc::new(tls.clone()), version);
            assert_eq!(agreed.protocol, None);
            client.subscribe(&["t"], QoS::AtLeastOnce);
            assert_eq!(client.publish("t", &[b'x'; 100_000]), Reason::Success);
            assert_eq!(client.message().1.len(), 100_000);
            client.goodbye();

            tls.alpn_protocols = vec![b"mqtt".to_vec()];
            let (client, agreed) = enter(at, &Arc::new(tls.clone()), version);
            assert_eq!(agreed.protocol.as_deref(), Some(&b"mqtt"[..]));
            client.goodbye();

            tls.alpn_protocols = vec![b"h2".to_vec()];
            assert!(!enters(at, &Arc::new(tls)));
        }
    }
}

#[test]
fn the_time_limit_of_connect_includes_the_handshake() {
    let broker = broker("[limits]\nconnect_timeout = '300ms'");
    let at = broker.address("tls");
    Client::open(at, Version::V5).closed(); // It says nothing at all.
    let mut halfway = Client::open(at, Version::V5);
    halfway.send_bytes(&[0x16, 3, 1, 1]); // The beginning of a handshake.
    halfway.closed();
    for tls_version in TLS_VERSIONS {
        let tls = Arc::new(config(&certs(&broker), None, tls_version));
        let (stream, _) = handshake(at, &tls).expect("a handshake");
        Client::over(stream, Version::V5).closed();
        let (mut client, _) = enter(at, &tls, Version::V5);
        client.ping();
    }
}

#[test]
fn what_is_no_handshake_harms_nobody() {
    let broker = broker("");
    let at = broker.address("tls");
    let tls = Arc::new(config(&certs(&broker), None, &rustls::version::TLS13));
    let (mut client, _) = enter(at, &tls, Version::V5);
    let mut plain = Client::open(at, Version::V5);
    plain.send(&Packet::Connect(Box::new(connect(Version::V5, "b"))));
    // An alert, not a packet, and the close.
    let _ = plain.drain();
    client.ping();
}

#[test]
fn at_sigterm_the_last_words_come_through_tls_and_it_ends_in_order() {
    let mut broker = broker("");
    let at = broker.address("tls");
    let mut clients = Vec::new();
    for tls_version in TLS_VERSIONS {
        let tls = Arc::new(config(&certs(&broker), None, tls_version));
        for version in VERSIONS {
            let (stream, _) = handshake(at, &tls).expect("a handshake");
            let mut client = Client::over(stream, version);
            client.greet(&connect(version, ""));
            clients.push(client);
        }
    }
    broker.signal("TERM");
    for client in &mut clients {
        client.closed_by(Reason::ServerShuttingDown);
        assert!(client.ended_in_order(), "the end of TLS was not told");
    }
    assert_eq!(broker.exit_code(), Some(0));
}

#[test]
fn a_client_that_comes_back_resumes() {
    let broker = broker(MUTUAL);
    let at = broker.address("tls");
    for tls_version in TLS_VERSIONS {
        let tls = Arc::new(config(&certs(&broker), Some(&certs(&broker)), tls_version));
        for resumed in [false, true, true] {
            let (client, agreed) = enter(at, &tls, Version::V5);
            assert_eq!(agreed.resumed, resumed, "{tls_version:?}");
            client.goodbye();
        }
    }
}

#[test]
fn at_sighup_a_new_certificate_serves_new_connections_and_old_ones_live_on() {
    let broker = broker("");
    let at = broker.address("tls");
    for tls_version in TLS_VERSIONS {
        let old = Arc::new(config(&certs(&broker), None, tls_version));
        let (mut client, _) = enter(at, &old, Version::V5);
        // Another CA and another certificate.
        let other = new_folder();
        certificates(other.path(), "client");
        for name in ["ca.pem", "server.pem", "server.key"] {
            fs::copy(other.path().join(name), certs(&broker).join(name)).expect("a copy");
        }
        broker.signal("HUP");
        let new = Arc::new(config(other.path(), None, tls_version));
        until(|| enters(at, &new));
        let fresh = config(other.path(), None, tls_version);
        assert!(enters(at, &Arc::new(fresh)));
        client.ping();
        client.goodbye();
    }
}

#[test]
fn at_sighup_a_bad_pair_leaves_the_old_one_in_force_and_is_logged() {
    let broker = broker("");
    let at = broker.address("tls");
    let tls = || Arc::new(config(&certs(&broker), None, &rustls::version::TLS13));
    let (mut client, _) = enter(at, &tls(), Version::V5);
    let other = new_folder();
    certificates(other.path(), "client");
    fs::copy(other.path().join("server.key"), certs(&broker).join("server.key")).expect("a copy");
    broker.signal("HUP");
    let log = || fs::read_to_string(broker.file("log")).expect("the broker's log");
    until(|| log().contains("ERROR") && log().contains("does not belong to certificate"));
    assert!(enters(at, &tls()));
    client.ping();
}

#[test]
fn a_new_ca_makes_old_tickets_worthless() {
    for tls_version in TLS_VERSIONS {
        let broker = broker(MUTUAL);
        let at = broker.address("tls");
        let server = new_folder();
        fs::copy(certs(&broker).join("ca.pem"), server.path().join("ca.pem")).expect("a copy");
        let known = Arc::new(config(server.path(), Some(&certs(&broker)), tls_version));
        let (mut client, _) = enter(at, &known, Version::V5);
        let (again, agreed) = enter(at, &known, Version::V311);
        assert!(agreed.resumed);
        client.closed_by(Reason::SessionTakenOver);
        again.goodbye();

        // From now on clients descend from another CA; the server's certificate stays.
        let other = new_folder();
        certificates(other.path(), "client");
        fs::copy(other.path().join("ca.pem"), certs(&broker).join("ca.pem")).expect("a copy");
        let (mut connected, _) = enter(at, &known, Version::V5);
        broker.signal("HUP");
        connected.closed_by(Reason::NotAuthorized);
        let stranger = new_identity(server.path(), other.path(), tls_version);
        until(|| enters(at, &stranger));
        assert!(!enters(at, &known), "{tls_version:?}");
    }
}

fn new_identity(
    trust: &Path,
    identity: &Path,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    Arc::new(config(trust, Some(identity), version))
}

#[test]
fn a_certificate_s_name_is_the_user_and_another_user_does_not_get_the_session() {
    let broker = broker(MUTUAL);
    let at = broker.address("tls");
    // Another client of the same CA.
    let other = new_folder();
    for name in ["ca.pem", "ca.key"] {
        fs::copy(certs(&broker).join(name), other.path().join(name)).expect("a copy");
    }
    certificates(other.path(), "other");
    for tls_version in TLS_VERSIONS {
        let client = new_identity(other.path(), &certs(&broker), tls_version);
        let other = new_identity(other.path(), other.path(), tls_version);
        let connect = |version, user_name| Connect {
            session_expiry: if version == Version::V5 { 60 } else { u32::MAX },
            clean_start: false,
            user_name,
            ..connect(version, "device")
        };
        let come = |tls, connect: &Connect<'_>| {
            let (stream, _) = handshake(at, tls).expect("a handshake");
            let mut client = Client::over(stream, connect.version);
            client.send(&Packet::Connect(Box::new(connect.clone())));
            let answer = client.connack();
            (client, answer)
        };
        for version in VERSIONS {
            let (mut first, answer) = come(&client, &connect(version, None));
            assert_eq!(answer, Reason::Success);
            // Whatever it says it is: neither while the Session is connected nor when it is parked.
            for user_name in [None, Some("client")] {
                assert_eq!(come(&other, &connect(version, user_name)).1, Reason::NotAuthorized);
            }
            first.ping();
            first.goodbye();
            assert_eq!(come(&other, &connect(version, None)).1, Reason::NotAuthorized);
            let (back, answer) = come(&client, &connect(version, Some("someone")));
            assert_eq!(answer, Reason::Success);
            back.goodbye();
        }
    }
}

/// Tries until it is so.
fn until(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "it does not become so");
    }
}
