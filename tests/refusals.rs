//! What is refused to a peer is said once in the log, with client, user, address, listener, reason and the limit,
//! and it is counted: on the real process.

mod process;
mod wire;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use process::Sluice;
use sluicemq::codec::{Connect, Packet, Publish, QoS, Reason, Version};
use sluicemq::message::RefusalKind;
use wire::{Client, connect, connect_with_will, dial, dial_from};

const NARROW: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
[limits]
client_id_bytes_max = 23
packet_bytes_max = '2KiB'
connect_bytes_max = '1KiB'
properties_bytes_max = '1KiB'
subscriptions_max = 2
unreleased_max = 1
[session]
receive_maximum = 1
qos_max = 2
topic_alias_maximum = 1
[queue]
bytes_max = '64KiB'
[totals]
retained_max = 0
sessions_max = 3
";

/// How `docs/refusals.md` begins: its table follows.
const INTRODUCTION: &str = "\
# Refusals

When the broker refuses something to a peer, it says so in one line at level `info`, with the client, its user, its
address and the listener as far as they are known, the `reason`, and where a limit decides what was asked for
(`value`), the `limit` and its `key`. For an address (of IPv6 the first 64 bits) and a reason it does so at most once
in ten seconds; `left_out` in the next line, or a line of its own, tells how many were left out. Connects and
disconnects of one address are said up to a hundred times in ten seconds. At level `debug` nothing is left out.

Each reason is counted in `$SYS/broker/refused/<reason>`.

| Reason | Key | Meaning |
|---|---|---|
";

/// The document, as the table of kinds says it.
#[test]
fn the_document_says_what_the_table_of_refusals_says() {
    let mut wanted = String::from(INTRODUCTION);
    for kind in RefusalKind::ALL {
        let key = Some(kind.key()).filter(|key| !key.is_empty());
        let key = key.map(|key| format!("`{key}`")).unwrap_or_default();
        wanted += &format!("| `{}` | {key} | {} |\n", kind.name(), kind.help());
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/refusals.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).expect("a document");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/refusals.md: UPDATE=1 cargo test --test refusals");
}

fn log(broker: &Sluice) -> String {
    std::fs::read_to_string(broker.file("log")).expect("the broker's log")
}

/// The lines that say that something was refused for `kind`, once there is one.
#[track_caller]
fn lines(broker: &Sluice, kind: RefusalKind) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(60);
    let reason = format!(" reason={} ", kind.name());
    loop {
        let log = log(broker);
        let said = log.lines().filter(|line| format!("{line} ").contains(&reason));
        let found: Vec<String> = said.map(str::to_owned).collect();
        if !found.is_empty() {
            return found;
        }
        assert!(Instant::now() < end, "nothing says{reason}:\n{log}");
    }
}

/// Sends bytes and waits for the end of the connection.
fn throw(at: SocketAddr, from: &str, bytes: &[u8]) {
    let mut stream = dial_from(from, at);
    stream.write_all(bytes).expect("a connection");
    Client::over(stream, Version::V311).drain();
}

#[track_caller]
fn says(broker: &Sluice, kind: RefusalKind, fields: &[&str]) {
    let lines = lines(broker, kind);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for field in ["INFO", "refused", " address=127.0.0.1:", " listener=tcp "].iter().chain(fields) {
        assert!(format!("{} ", lines[0]).contains(field), "no {field} in {}", lines[0]);
    }
}

/// HTTP, TLS, other protocols and CONNECTs that are refused; each comes three times and is said once.
#[test]
fn strangers_are_told_of_once_for_each_reason() {
    let broker = Sluice::start(NARROW);
    let at = broker.address("tcp");
    let level = [&[0x10, 12, 0, 4][..], b"MQTT", &[9, 2, 0, 0, 0, 0]].concat();
    let large = [0x10, 0xff, 0xff, 0x03];
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    for (bytes, kind, fields) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], RefusalKind::Http, &[][..]),
        (&hello, RefusalKind::TlsWithoutTls, &["key=listener.tls "]),
        (b"PROXY TCP4 1.2.3.4", RefusalKind::ProxyProtocol, &[]),
        (b"SSH-2.0-x\r\n", RefusalKind::NotMqtt, &[]),
        (&level, RefusalKind::ProtocolLevel, &["why=\"unsupported protocol level 9\" "]),
        (
            &large,
            RefusalKind::ConnectBytes,
            &["value=65539 ", "limit=1024 ", "key=limits.connect_bytes_max "],
        ),
    ] {
        (0..3).for_each(|_| throw(at, "127.0.0.1", bytes));
        says(&broker, kind, fields);
    }
    // Of what is no MQTT at all, MQTT's words say nothing.
    for kind in [RefusalKind::Http, RefusalKind::TlsWithoutTls, RefusalKind::ProxyProtocol] {
        assert!(!lines(&broker, kind)[0].contains("why="));
    }
    // Another address is told of too.
    throw(at, "127.0.0.2", b"GET / HTTP/1.1\r\n\r\n");
    let end = Instant::now() + Duration::from_secs(60);
    while lines(&broker, RefusalKind::Http).len() < 2 {
        assert!(Instant::now() < end, "{}", log(&broker));
    }
    let figure = counted(at, "http");
    assert_eq!(figure, "4");
}

fn counted(at: SocketAddr, reason: &str) -> String {
    let mut watcher = Client::connect(at, Version::V5, "watcher");
    let topic = format!("$SYS/broker/refused/{reason}");
    watcher.subscribe(&[&topic], QoS::AtMostOnce);
    let (_, value) = watcher.message();
    String::from_utf8(value).expect("a number")
}

#[test]
fn a_refused_connect_is_told_of_with_client_user_and_limit() {
    let broker = Sluice::start(NARROW);
    let at = broker.address("tcp");
    let refuse = |connect: &Connect<'_>, reason| {
        let mut client = Client::open(at, connect.version);
        client.send(&Packet::Connect(Box::new(connect.clone())));
        assert_eq!(client.connack(), reason);
    };
    for version in [Version::V311, Version::V5] {
        let long = connect(version, "a-client-identifier-that-is-too-long");
        refuse(&Connect { user_name: Some("anna"), ..long }, Reason::ClientIdentifierNotValid);
    }
    says(
        &broker,
        RefusalKind::ClientIdBytes,
        &[
            " client=a-client-identifier-that-is-too-long ",
            " user=anna ",
            " value=36 limit=23 key=limits.client_id_bytes_max ",
        ],
    );
    refuse(&connect_with_will(Version::V5, "w", "$SYS/x"), Reason::TopicNameInvalid);
    says(&broker, RefusalKind::WillTopic, &[" client=w ", " topic=$SYS/x "]);
    let lasting = |id| Connect { session_expiry: 60, ..connect(Version::V5, id) };
    let _three = ["a", "b", "c"].map(|id| Client::connect_with(at, &lasting(id)));
    refuse(&lasting("d"), Reason::QuotaExceeded);
    says(&broker, RefusalKind::SessionsMax, &[" value=4 limit=3 key=totals.sessions_max "]);
}

/// A bridge of mosquitto has its name in the topic of its Will, and publishes its state there.
#[test]
fn the_state_of_a_bridge_is_refused_with_what_its_name_may_be() {
    let broker = Sluice::start(NARROW);
    let at = broker.address("tcp");
    let state = "$SYS/broker/connection/hall/b1/state";
    let mut client = Client::open(at, Version::V5);
    client.send(&Packet::Connect(Box::new(connect_with_will(Version::V5, "bridge", state))));
    assert_eq!(client.connack(), Reason::TopicNameInvalid);
    says(&broker, RefusalKind::WillTopic, &["its name is one level"]);
    let mut client = Client::connect(at, Version::V5, "bridge");
    assert_eq!(client.publish(state, b"1"), Reason::NotAuthorized);
    says(&broker, RefusalKind::PublishReserved, &["its name is one level"]);
}

#[test]
fn a_client_at_a_limit_is_told_of_with_the_limit() {
    let broker = Sluice::start(NARROW);
    let at = broker.address("tcp");

    let mut client = Client::connect(at, Version::V5, "p");
    let publish = |topic, retain| Publish { topic, retain, payload: b"x", ..Publish::default() };
    client.send(&Packet::Publish(publish("$SYS/broker/forged", false)));
    client.send(&Packet::Publish(publish("kept", true)));
    client.ping();
    says(&broker, RefusalKind::PublishReserved, &[" client=p ", " topic=$SYS/broker/forged "]);
    says(&broker, RefusalKind::RetainedMax, &[" value=1 limit=0 key=totals.retained_max "]);

    let answers = client.subscribe(&["a", "b", "c", "d/#/e"], QoS::AtMostOnce);
    assert_eq!(answers[2..], [Reason::QuotaExceeded, Reason::TopicFilterInvalid]);
    says(
        &broker,
        RefusalKind::Subscriptions,
        &[" topic=c ", " value=3 limit=2 key=limits.subscriptions_max "],
    );
    says(&broker, RefusalKind::SubscribeFilter, &[" topic=d/#/e "]);

    client.send(&Packet::Publish(Publish { payload: &[0; 4000], ..publish("large", false) }));
    client.closed_by(Reason::PacketTooLarge);
    says(
        &broker,
        RefusalKind::PacketBytes,
        &[" client=p ", " limit=2048 key=limits.packet_bytes_max "],
    );

    // QoS 2 without PUBREL, beyond the Receive Maximum; on 3.1.1 beyond what is kept.
    for (version, kind, fields) in [
        (Version::V5, RefusalKind::ReceiveMaximum, " value=2 limit=1 key=session.receive_maximum "),
        (Version::V311, RefusalKind::Unreleased, " value=2 limit=1 key=limits.unreleased_max "),
    ] {
        let mut client = Client::connect(at, version, "q");
        for id in 1..=2 {
            let packet_id = std::num::NonZeroU16::new(id);
            let qos = QoS::ExactlyOnce;
            client.send(&Packet::Publish(Publish { qos, packet_id, ..publish("t", false) }));
        }
        client.drain();
        says(&broker, kind, &[" client=q ", fields]);
    }
}

/// A stranger cannot write a field, a line or a sequence of a terminal into the log.
#[test]
fn names_that_clients_choose_forge_nothing() {
    let broker = Sluice::start("[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n");
    let at = broker.address("tcp");
    let forged = "d client=e address=1.2.3.4";
    Client::connect(at, Version::V5, forged).goodbye();
    let user = Connect { user_name: Some("x\" y=\"z"), ..connect(Version::V5, "u") };
    Client::connect_with(at, &user).goodbye();
    let end = Instant::now() + Duration::from_secs(60);
    while log(&broker).matches(" disconnected ").count() < 2 {
        assert!(Instant::now() < end, "{}", log(&broker));
    }
    let log = log(&broker);
    assert!(log.contains(" client=\"d client=e address=1.2.3.4\" "), "{log}");
    for line in log.lines().filter(|line| line.contains(" connected ")) {
        assert_eq!(outside_quotes(line).matches(" client=").count(), 1, "{line}");
        assert!(!outside_quotes(line).contains("1.2.3.4") && line.contains(" listener=tcp "));
    }
    drop(dial(at));
}

fn outside_quotes(line: &str) -> String {
    let (mut out, mut quoted, mut chars) = (String::new(), false, line.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => quoted = !quoted,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}
