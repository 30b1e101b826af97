//! MQTT over QUIC on the real process: its one stream, protocols, certificates, addresses that change or may be
//! forged, and what breaks its rules.
#![cfg(feature = "quic")]

mod process;
#[path = "wire/quic.rs"]
mod quic;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use process::{Process, Sluice, new_folder, program};
use quic::{QuicClient, dial, move_to_another_port, wait};
use quinn::ConnectionError;
use rustls::ClientConfig;
use secure::{certificates, config};
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use wire::{Client, Flood, VERSIONS, connect, connect_with_will, encoded, message};

const QUIC: &str = "
[[listener]]
name = 'plain'
address = '127.0.0.1:0'

[[listener]]
name = 'quic'
address = '127.0.0.1:0'
transport = 'quic'
";

const TLS: &str = "[listener.tls]\ncertificate = 'certs/server.pem'\nkey = 'certs/server.key'\n";

/// For what becomes true when the broker has worked.
const DEADLINE: Duration = Duration::from_secs(30);

/// A broker with certificates for localhost and for "client"; `keys` of the listener, `more` behind its TLS.
fn broker(keys: &str, more: &str) -> Sluice {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    Sluice::start_in(folder, &format!("{QUIC}{keys}{TLS}{more}"))
}

/// The TLS of a client that trusts the broker and shows no certificate.
fn anyone(broker: &Sluice) -> ClientConfig {
    config(&broker.file("certs"), None, &rustls::version::TLS13)
}

fn open(broker: &Sluice) -> QuicClient {
    QuicClient::open(broker.address("quic"), anyone(broker)).expect("a connection")
}

fn greeted(stream: QuicClient, version: Version, client_id: &str) -> Client {
    let mut client = Client::over(stream, version);
    client.greet(&connect(version, client_id));
    client
}

/// Waits until the log has a line with all of `parts`.
#[track_caller]
fn logged(broker: &Sluice, parts: &[&str]) {
    until(|| broker.log().lines().any(|line| parts.iter().all(|part| line.contains(part))), parts);
}

#[track_caller]
fn until(mut is_so: impl FnMut() -> bool, what: &[&str]) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what:?}");
        thread::yield_now();
    }
}

#[test]
fn messages_larger_than_its_windows_go_over_it_and_a_session_is_resumed() {
    let broker = broker("", "");
    for version in VERSIONS {
        let lasting =
            Connect { clean_start: false, session_expiry: 60, ..connect(version, "lasting") };
        let mut client = Client::over(open(&broker), version);
        client.greet(&lasting);
        client.subscribe(&["q/#"], QoS::AtLeastOnce);
        client.goodbye();
        let mut other = greeted(open(&broker), version, "other");
        let large = vec![b'x'; 300_000];
        assert_eq!(other.publish("q/1", &large), Reason::Success);
        assert_eq!(other.publish("q/2", b"second"), Reason::Success);
        let mut client = Client::over(open(&broker), version);
        client.send(&Packet::Connect(Box::new(lasting)));
        let present = client.expect(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        });
        assert!(present);
        assert_eq!(client.message(), ("q/1".to_owned(), large));
        assert_eq!(client.message(), ("q/2".to_owned(), b"second".to_vec()));
        client.goodbye();
        let again = greeted(open(&broker), version, "lasting");
        again.goodbye();
    }
}

#[test]
fn a_client_that_does_not_name_mqtt_is_refused() {
    let broker = broker("", "");
    for protocols in [&[][..], &[b"h3".to_vec()]] {
        let mut tls = anyone(&broker);
        tls.alpn_protocols = protocols.to_vec();
        let refused = dial(broker.address("quic"), tls);
        assert!(refused.is_err(), "{protocols:?}");
        logged(&broker, &["refused", "tls_not_common", "no common protocol (ALPN)"]);
    }
    let mut tls = anyone(&broker);
    tls.alpn_protocols = vec![b"h3".to_vec(), b"mqtt".to_vec()];
    assert!(dial(broker.address("quic"), tls).is_ok());
}

#[test]
fn a_connection_has_one_stream_of_the_client_and_no_datagrams() {
    let broker = broker("", "");
    let stream = open(&broker);
    let connection = stream.connection.clone();
    let mut client = greeted(stream, Version::V5, "a");
    assert_eq!(connection.max_datagram_size(), None);
    let (mut second, mut one_way) = (pin!(connection.open_bi()), pin!(connection.open_uni()));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(second.as_mut().poll(cx).is_pending());
        assert!(one_way.as_mut().poll(cx).is_pending());
        // Whatever the broker grants has come by then.
        client.ping();
    }
}

#[test]
fn a_stream_that_is_reset_or_a_connection_that_is_closed_has_its_will_sent() {
    let broker = broker("", "");
    let mut watcher = greeted(open(&broker), Version::V5, "watcher");
    watcher.subscribe(&["will"], QoS::AtMostOnce);
    for resets in [true, false] {
        let mut stream = open(&broker);
        let will = connect_with_will(Version::V5, "dying", "will");
        let bytes = encoded(&Packet::Connect(Box::new(will)), Version::V5);
        std::io::Write::write_all(&mut stream, &bytes).expect("a broker that reads");
        std::io::Read::read_exact(&mut stream, &mut [0; 5]).expect("CONNACK");
        if resets {
            stream.reset();
        } else {
            stream.connection.close(0u8.into(), b"");
        }
        assert_eq!(watcher.message(), ("will".to_owned(), b"gone".to_vec()));
        let end = wait(stream.connection.closed()).expect("a connection that ends");
        assert_eq!(matches!(end, ConnectionError::LocallyClosed), !resets, "{end}");
    }
}

#[test]
fn a_connection_without_a_stream_or_without_a_connect_ends_in_time() {
    let broker = broker("", "[limits]\nconnect_timeout = '1s'\n");
    let mut tls = anyone(&broker);
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    let (_endpoint, silent) = dial(broker.address("quic"), tls).expect("a connection");
    let speechless = open(&broker);
    for connection in [&silent, &speechless.connection] {
        let end = wait(connection.closed()).expect("a connection that ends");
        assert!(matches!(end, ConnectionError::ApplicationClosed(_)), "{end}");
    }
    logged(&broker, &["refused", "quic_timeout", "limits.connect_timeout"]);
}

#[test]
fn a_packet_that_is_too_large_is_refused_and_the_reason_arrives() {
    let broker = broker("", "[limits]\npacket_bytes_max = '70KiB'\n");
    let mut client = greeted(open(&broker), Version::V5, "a");
    client.send(&Packet::Publish(message("t", &[b'x'; 100_000])));
    client.closed_by(Reason::PacketTooLarge);
}

#[test]
fn a_client_that_reads_nothing_is_closed() {
    let broker = broker("", "[limits]\nwrite_timeout = '1s'\n");
    let stream = open(&broker);
    let connection = stream.connection.clone();
    let mut client = greeted(stream, Version::V5, "slow");
    client.subscribe(&["flood"], QoS::AtMostOnce);
    let _flood = Flood::start(broker.address("plain"), Version::V5, "flood");
    wait(connection.closed()).expect("a connection that ends");
    logged(&broker, &["refused", "write_timeout"]);
}

#[test]
fn a_client_certificate_is_asked_for_and_names_the_user() {
    let mutual = "client_ca = 'certs/ca.pem'\nclient_certificate = 'required'\nidentity = 'cn'\n";
    let rule = "[[rule]]\nallow = ['all']\nuser = 'client'\ntopics = ['of/%u/#']\n";
    let broker = broker("", &format!("{mutual}{rule}"));
    let certs = broker.file("certs");
    let mine = config(&certs, Some(&certs), &rustls::version::TLS13);
    let stream = QuicClient::open(broker.address("quic"), mine).expect("a connection");
    let mut client = greeted(stream, Version::V5, "a");
    assert_eq!(client.publish("of/client/1", b"x"), Reason::NoMatchingSubscribers);
    assert_eq!(client.publish("of/other/1", b"x"), Reason::NotAuthorized);
    // A client of TLS 1.3 learns only afterwards that it is refused.
    let refused = QuicClient::open(broker.address("quic"), anyone(&broker));
    if let Ok(stream) = refused {
        let end = wait(stream.connection.closed()).expect("a connection that ends");
        assert!(matches!(end, ConnectionError::ConnectionClosed(_)), "{end}");
    }
    logged(&broker, &["refused", "tls_client_certificate", "no client certificate"]);
    let other = new_folder();
    certificates(other.path(), "client");
    let foreign = config(&certs, Some(other.path()), &rustls::version::TLS13);
    let _ = QuicClient::open(broker.address("quic"), foreign)
        .map(|stream| wait(stream.connection.closed()));
    logged(&broker, &["refused", "tls_client_certificate", "UnknownIssuer"]);
    // The CA is trusted no more.
    fs::copy(other.path().join("ca.pem"), certs.join("ca.pem")).expect("a copy");
    broker.signal("HUP");
    client.closed_by(Reason::NotAuthorized);
}

#[test]
fn at_sighup_a_new_certificate_serves_new_connections_and_old_ones_live_on() {
    let broker = broker("", "");
    let mut client = greeted(open(&broker), Version::V5, "old");
    let other = new_folder();
    certificates(other.path(), "client");
    for name in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(other.path().join(name), broker.file("certs").join(name)).expect("a copy");
    }
    let new = || config(other.path(), None, &rustls::version::TLS13);
    assert!(QuicClient::open(broker.address("quic"), new()).is_err());
    broker.signal("HUP");
    until(|| QuicClient::open(broker.address("quic"), new()).is_ok(), &["the new certificate"]);
    client.ping();
    client.goodbye();
}

#[test]
fn a_client_that_changes_its_address_stays_connected_and_the_log_says_it() {
    let broker = broker("", "");
    let stream = open(&broker);
    let endpoint = stream.endpoint.clone();
    let mut client = greeted(stream, Version::V5, "mobile");
    let before = endpoint.local_addr().expect("an address");
    move_to_another_port(&endpoint);
    let after = endpoint.local_addr().expect("an address");
    client.ping();
    let [from, to] = [format!("from={before}"), format!("address={after}")];
    logged(&broker, &["the address of a client changed", &from, &to, "listener=quic"]);
    assert_eq!(client.publish("t", b"x"), Reason::NoMatchingSubscribers);
}

#[test]
fn what_is_no_quic_harms_nobody() {
    let broker = broker("", "");
    let mut client = greeted(open(&broker), Version::V5, "a");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let mut state = 14_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2_000 {
        let mut bytes: Vec<u8> = (0..random() % 1_400).map(|_| random() as u8).collect();
        if round % 2 == 0 && bytes.len() > 20 {
            // The header of the first packet of a connection, version 1, with the longest identifiers.
            bytes[..6].copy_from_slice(&[0xC0, 0, 0, 0, 1, 20]);
            bytes.resize(1_200, 0);
        }
        let _ = socket.send_to(&bytes, broker.address("quic"));
    }
    client.ping();
    let other = greeted(open(&broker), Version::V311, "b");
    other.goodbye();
}

/// What goes between a client and the broker, until it is dropped.
struct Middle {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    /// A packet that asks the client to show its address came by.
    has_retry: Arc<AtomicBool>,
    /// Datagrams of the client.
    heard: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Middle {
    fn start(broker: SocketAddr) -> Middle {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a short wait");
        let address = socket.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let has_retry = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(AtomicU32::new(0));
        let thread = thread::spawn({
            let (over, has_retry, heard) = (over.clone(), has_retry.clone(), heard.clone());
            move || {
                let mut client = None;
                let mut bytes = [0; 2_048];
                while !over.load(Ordering::Relaxed) {
                    match socket.recv_from(&mut bytes) {
                        Ok((len, from)) if from == broker => {
                            // Type 3 of the long headers (RFC 9000, 17.2.5).
                            if bytes[0] & 0xF0 == 0xF0 {
                                has_retry.store(true, Ordering::Relaxed);
                            }
                            let client = client.expect("a client that began");
                            socket.send_to(&bytes[..len], client).expect("a client");
                        }
                        Ok((len, from)) => {
                            client = Some(from);
                            heard.fetch_add(1, Ordering::Relaxed);
                            socket.send_to(&bytes[..len], broker).expect("a broker");
                        }
                        Err(error) => assert!(
                            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                            "{error}"
                        ),
                    }
                }
            }
        });
        Middle { address, over, has_retry, heard, thread: Some(thread) }
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_client_shows_its_address_where_a_rate_goes_by_it_or_many_handshakes_are_under_way() {
    for (keys, more, asked) in [
        ("", "", false),
        ("connect_rate_per_address_max = 100\n", "", true),
        ("", "handshakes_max = 1\n", true),
    ] {
        let broker = broker(keys, more);
        let at = broker.address("quic");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let middle = Middle::start(at);
        let connected = || {
            let stream = QuicClient::open(middle.address, anyone(&broker)).expect("a connection");
            greeted(stream, Version::V5, "a").goodbye();
        };
        if more.is_empty() {
            connected();
            assert_eq!(middle.has_retry.load(Ordering::Relaxed), asked, "{keys}{more}");
            continue;
        }
        // The first packets of a client that says no more: its handshake is under way.
        let begun = begun(&broker);
        socket.send_to(&begun, at).expect("a broker");
        socket.recv_from(&mut [0; 2_048]).expect("the broker's part of the handshake");
        connected();
        assert_eq!(middle.has_retry.load(Ordering::Relaxed), asked, "{keys}{more}");
    }
}

/// The first datagram that a client sends.
fn begun(broker: &Sluice) -> Vec<u8> {
    let deaf = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let at = deaf.local_addr().expect("an address");
    let tls = anyone(broker);
    thread::spawn(move || QuicClient::open(at, tls).map(drop));
    let mut bytes = vec![0; 2_048];
    let (len, _) = deaf.recv_from(&mut bytes).expect("a client that begins");
    bytes.truncate(len);
    bytes
}

#[test]
fn a_silent_client_is_probed_and_one_that_has_vanished_is_missed() {
    let keys = "tcp_keepalive = '100ms'\ntcp_keepalive_interval = '1s'\ntcp_keepalive_probes = 1\n";
    let broker = broker(keys, "");
    let mut watcher = Client::connect(broker.address("plain"), Version::V5, "watcher");
    watcher.subscribe(&["will"], QoS::AtMostOnce);
    let middle = Middle::start(broker.address("quic"));
    let stream = QuicClient::open(middle.address, anyone(&broker)).expect("a connection");
    let mut client = Client::over(stream, Version::V5);
    client.greet(&connect_with_will(Version::V5, "vanishing", "will"));
    // More than would end it if its answers did not count.
    until(|| middle.heard.load(Ordering::Relaxed) > 50, &["answers to probes"]);
    client.ping();
    drop(middle);
    assert_eq!(watcher.message(), ("will".to_owned(), b"gone".to_vec()));
}

#[test]
fn the_last_words_come_through_it() {
    let mut broker = broker("", "");
    let mut clients = VERSIONS.map(|version| greeted(open(&broker), version, ""));
    broker.signal("TERM");
    for client in &mut clients {
        client.closed_by(Reason::ServerShuttingDown);
    }
    assert_eq!(broker.exit_code(), Some(0));
}

#[test]
fn a_port_of_tcp_may_be_one_of_quic_too_and_what_makes_no_sense_is_refused() {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let listener = |transport: &str, more: &str| {
        format!("[[listener]]\naddress = '127.0.0.1:14567'\ntransport = '{transport}'\n{more}\n")
    };
    let check = |config: &str| {
        let file = folder.path().join("sluice.toml");
        fs::write(&file, config).expect("a configuration file");
        let mut command = program();
        command.args(["check", "--config"]).arg(file).current_dir(folder.path());
        let (code, lines) = Process::start(&mut command).end();
        (code, lines.join("\n"))
    };
    let both = listener("tcp", "") + &listener("quic", TLS);
    assert_eq!(check(&both).0, Some(0));
    for (config, wanted) in [
        (listener("quic", ""), "QUIC is never without TLS: it needs [listener.tls]"),
        (
            listener("quic", &format!("proxy_protocol = true\n{TLS}")),
            "listener.0.proxy_protocol: is not for QUIC",
        ),
        (listener("quic", TLS) + &listener("quic", TLS), "is taken by another listener"),
    ] {
        let (code, said) = check(&config);
        assert!(code != Some(0) && said.contains(wanted), "{said}");
    }
}
