//! MQTT over WebSocket on the real process: the upgrade, frames cut anywhere, what is refused, and the address
//! of a client behind a proxy.

#[path = "wire/websocket.rs"]
mod messages;
mod process;
#[path = "wire/tls.rs"]
mod secure;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use messages::Messages;
use process::{Process, Sluice, new_folder};
use sluicemq::codec::{Packet, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect, dial, encoded, message, subscribe};

const WEBSOCKET: &str = "
[[listener]]
name = 'ws'
address = '127.0.0.1:0'
transport = 'websocket'
";

/// How long a line of the log may take.
const DEADLINE: Duration = Duration::from_secs(30);

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: broker:80\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

fn open(broker: &Sluice, version: Version) -> Client {
    Client::over(Messages::open(dial(broker.address("ws")), &[]).expect("an upgrade"), version)
}

/// A frame of a client, with a mask.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = match payload.len() {
        len @ 0..=125 => vec![first, 0x80 | len as u8],
        len => [vec![first, 0xFE], (len as u16).to_be_bytes().to_vec()].concat(),
    };
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    bytes
}

/// An upgraded connection on which frames are written by hand.
fn raw(broker: &Sluice) -> TcpStream {
    let mut stream = dial(broker.address("ws"));
    stream.write_all(UPGRADE.as_bytes()).expect("a broker that reads");
    let head = head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the key of RFC 6455, 1.3: {head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{head}");
    stream
}

/// The head of an answer.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// Reads until there are `wanted` bytes of payload; the frames of a broker are short and not cut here.
fn payload(stream: &mut TcpStream, wanted: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    while payload.len() < wanted {
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        assert_eq!(head[0], 0x82, "a whole binary message");
        let mut bytes = vec![0; usize::from(head[1])];
        stream.read_exact(&mut bytes).expect("its payload");
        payload.extend(bytes);
    }
    payload
}

/// Waits for a line of the log that holds all of `parts`.
#[track_caller]
fn logged(broker: &Sluice, parts: &[&str]) -> String {
    let end = Instant::now() + DEADLINE;
    loop {
        let log = broker.log();
        let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        if let Some(line) = line {
            return line.to_owned();
        }
        assert!(Instant::now() < end, "no line with {parts:?} in:\n{log}");
        thread::yield_now();
    }
}

/// CONNECT, SUBSCRIBE, and a PUBLISH at `QoS` 1 to itself.
fn conversation(version: Version) -> Vec<u8> {
    let packets = [
        Packet::Connect(Box::new(connect(version, "a"))),
        subscribe(&["t"], QoS::AtMostOnce),
        Packet::Publish(message("t", b"hello")),
    ];
    packets.iter().flat_map(|packet| encoded(packet, version)).collect()
}

// proves MQTT5-6.0.0-2 MQTT311-6.0.0-2
#[test]
fn a_conversation_may_be_cut_into_frames_and_pieces_at_each_byte() {
    let broker = Sluice::start(WEBSOCKET);
    for version in VERSIONS {
        let bytes = conversation(version);
        let mut whole = raw(&broker);
        whole.write_all(&frame(0x82, &bytes)).expect("a broker that reads");
        let mut wanted = Vec::new();
        while !(has(&wanted, b"hello") && has(&wanted, &[0x40, 2])) {
            wanted.extend(payload(&mut whole, 1));
        }
        drop(whole);
        for at in 1..bytes.len() {
            let (one, other) = bytes.split_at(at);
            let mut stream = raw(&broker);
            // Two messages, then one message of two frames with a ping between them.
            let cut = match at % 2 {
                0 => [frame(0x82, one), frame(0x82, other)].concat(),
                _ => [frame(0x02, one), frame(0x89, b""), frame(0x80, other)].concat(),
            };
            // In two writes too, so that a header is cut.
            let (first, second) = cut.split_at(cut.len() * at / bytes.len());
            stream.write_all(first).expect("a broker that reads");
            stream.write_all(second).expect("a broker that reads");
            let came = everything(&mut stream, wanted.len());
            assert_eq!(came.len(), wanted.len(), "{version:?}, cut at {at}");
            assert!(has(&came, b"hello"), "{version:?}, cut at {at}");
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Payload of data frames, `wanted` bytes of it; pongs are thrown away.
fn everything(stream: &mut TcpStream, wanted: usize) -> Vec<u8> {
    let mut came = Vec::new();
    while came.len() < wanted {
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        let mut bytes = vec![0; usize::from(head[1])];
        stream.read_exact(&mut bytes).expect("its payload");
        match head[0] {
            0x82 => came.extend(bytes),
            0x8A => {}
            other => panic!("a frame that begins with {other:#x}"),
        }
    }
    came
}

#[test]
fn messages_of_every_qos_go_over_it_and_a_session_is_resumed() {
    let broker = Sluice::start(WEBSOCKET);
    for version in VERSIONS {
        let lasting = sluicemq::codec::Connect {
            clean_start: false,
            session_expiry: 60,
            ..connect(version, "lasting")
        };
        let mut client = open(&broker, version);
        client.greet(&lasting);
        client.subscribe(&["q/#"], QoS::AtLeastOnce);
        client.goodbye();
        let mut other = open(&broker, version);
        other.greet(&connect(version, "other"));
        let large = vec![b'x'; 300_000];
        assert_eq!(other.publish("q/1", &large), Reason::Success);
        assert_eq!(other.publish("q/2", b"second"), Reason::Success);
        let mut client = open(&broker, version);
        client.send(&Packet::Connect(Box::new(lasting)));
        let present = client.expect(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.session_present),
            _ => None,
        });
        assert!(present);
        assert_eq!(client.message(), ("q/1".to_owned(), large));
        assert_eq!(client.message(), ("q/2".to_owned(), b"second".to_vec()));
        client.goodbye();
        let mut again = open(&broker, version);
        again.greet(&connect(version, "lasting"));
        again.goodbye();
    }
}

// proves MQTT5-6.0.0-1 MQTT311-6.0.0-1
#[test]
fn what_breaks_a_rule_of_websocket_is_closed_with_its_code_and_said_once() {
    let broker = Sluice::start(WEBSOCKET);
    for (bytes, code, why) in [
        (frame(0x81, b"text"), 1003_u16, "a text frame, and MQTT comes in binary ones"),
        (vec![0x82, 1, 0], 1002, "a frame without a mask"),
        (frame(0xC2, b"x"), 1002, "a reserved bit, for no extension was agreed on"),
        (frame(0x80, b"x"), 1002, "a continuation of no message"),
        (
            vec![0x82, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1009,
            "a frame longer than any MQTT packet",
        ),
    ] {
        let mut stream = raw(&broker);
        stream.write_all(&bytes).expect("a broker that reads");
        let mut last = Vec::new();
        stream.read_to_end(&mut last).expect("a close in order");
        assert_eq!(last, [&[0x88, 2][..], &code.to_be_bytes()].concat(), "{why}");
        let line = logged(&broker, &["websocket_frame", why]);
        assert!(line.contains("listener=ws") && line.contains("address=127.0.0.1:"), "{line}");
    }
    // A client that closes has its close frame back, and its Will is sent.
    let mut watcher = open(&broker, Version::V5);
    watcher.greet(&connect(Version::V5, "watcher"));
    watcher.subscribe(&["will"], QoS::AtMostOnce);
    let mut stream = raw(&broker);
    let will = wire::connect_with_will(Version::V5, "dying", "will");
    let bytes = encoded(&Packet::Connect(Box::new(will)), Version::V5);
    stream.write_all(&frame(0x82, &bytes)).expect("a broker that reads");
    payload(&mut stream, 5);
    stream.write_all(&frame(0x88, &[3, 0xE9])).expect("a broker that reads");
    let mut last = Vec::new();
    stream.read_to_end(&mut last).expect("a close in order");
    assert_eq!(last, [0x88, 2, 3, 0xE9]);
    assert_eq!(watcher.message(), ("will".to_owned(), b"gone".to_vec()));
}

// proves MQTT5-6.0.0-3 MQTT5-6.0.0-4 MQTT311-6.0.0-3 MQTT311-6.0.0-4
#[test]
fn an_upgrade_that_is_not_granted_has_an_answer_in_words() {
    let config = format!("{WEBSOCKET}[listener.websocket]\norigins = ['https://app.example']\n");
    let broker = Sluice::start(&config);
    let with = |from: &str, to: &str| UPGRADE.replace(from, to);
    let header = |line: &str| with("Host:", &format!("{line}\r\nHost:"));
    let long = header(&format!("Cookie: {}", "x".repeat(9000)));
    for (request, status, why) in [
        (with("/mqtt", "/other"), "404 Not Found", "WebSocket on another path"),
        (with("Protocol: mqtt", "Protocol: soap"), "400 Bad Request", "without the subprotocol"),
        (
            with("Upgrade: websocket\r\n", ""),
            "426 Upgrade Required",
            "HTTP that asks for no WebSocket",
        ),
        (
            with("Version: 13", "Version: 8"),
            "426 Upgrade Required",
            "WebSocket of another version than 13",
        ),
        (with("GET", "POST"), "405 Method Not Allowed", "another method than GET"),
        (header("Origin: https://evil.example"), "403 Forbidden", "another origin"),
        (long, "431 Request Header Fields Too Large", "too long"),
        (format!("{UPGRADE}\u{2}"), "400 Bad Request", "bytes after the WebSocket request"),
        ("\u{10}\u{c}\0\u{4}MQTT".to_owned(), "400 Bad Request", "MQTT without WebSocket"),
    ] {
        let mut stream = dial(broker.address("ws"));
        stream.write_all(request.as_bytes()).expect("a broker that reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{why}: {answer}");
        logged(&broker, &["refused", why]);
    }
    let any =
        Sluice::start(&format!("{WEBSOCKET}[listener.websocket]\npath = '*'\norigins = ['*']\n"));
    let mut stream = dial(any.address("ws"));
    let request = header("Origin: https://evil.example").replace("/mqtt", "/any/path");
    stream.write_all(request.as_bytes()).expect("a broker that reads");
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "), "any path, any origin");
    for origin in ["https://app.example", "http://broker:80", "HTTPS://BROKER:80"] {
        let mut stream = dial(broker.address("ws"));
        let request = header(&format!("Origin: {origin}"));
        stream.write_all(request.as_bytes()).expect("a broker that reads");
        assert!(head(&mut stream).starts_with("HTTP/1.1 101 "), "{origin}");
    }
}

#[test]
fn within_tls_it_is_wss_and_named_http() {
    let folder = new_folder();
    secure::certificates(&folder.path().join("certs"), "client");
    let tls = "[listener.tls]\ncertificate = 'certs/server.pem'\nkey = 'certs/server.key'\n";
    let broker = Sluice::start_in(folder, &format!("{WEBSOCKET}{tls}"));
    let at = broker.address("ws");
    for tls_version in secure::TLS_VERSIONS {
        let mut config = secure::config(&broker.file("certs"), None, tls_version);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (stream, agreed) = secure::handshake(at, &Arc::new(config)).expect("a handshake");
        assert_eq!(agreed.protocol.as_deref(), Some(&b"http/1.1"[..]));
        let stream = Messages::open(stream, &[]).expect("an upgrade");
        let mut client = Client::over(stream, Version::V5);
        client.greet(&connect(Version::V5, "a"));
        assert_eq!(client.publish("t", &[b'y'; 40_000]), Reason::NoMatchingSubscribers);
        client.goodbye();
    }
}

#[test]
fn a_proxy_that_is_trusted_says_where_its_client_is_and_others_do_not() {
    let broker = Sluice::start(&format!(
        "{WEBSOCKET}trusted_proxies = ['127.0.0.1', '10.0.0.0/8']\n
         [[listener]]\nname = 'far'\naddress = '127.0.0.1:0'\ntransport = 'websocket'\n
         trusted_proxies = ['192.0.2.1']\n"
    ));
    for (listener, forwarded, seen) in [
        ("ws", "203.0.113.7", "203.0.113.7:0"),
        ("ws", "1.2.3.4, 203.0.113.8, 10.1.1.1", "203.0.113.8:0"),
        ("ws", "[2001:db8::1]:443", "[2001:db8::1]:0"),
        ("ws", "unknown", "127.0.0.1:"),
        ("far", "203.0.113.9", "127.0.0.1:"),
    ] {
        let stream = dial(broker.address(listener));
        let headers = [("X-Forwarded-For", forwarded)];
        let stream = Messages::open(stream, &headers).expect("an upgrade");
        let mut client = Client::over(stream, Version::V5);
        let id = format!("of-{forwarded}").replace([',', ' '], "_");
        client.greet(&connect(Version::V5, &id));
        logged(&broker, &["connected", &id, &format!("address={seen}")]);
        client.goodbye();
    }
}

#[test]
fn a_program_with_mqtt_js_meets_the_broker_plain_and_within_tls() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/js/node_modules");
    if !modules.join("mqtt").exists() {
        assert!(std::env::var_os("SLUICE_TEST_ALL").is_none(), "tools/test makes target/js");
        println!("skipped: tools/test installs mqtt.js");
        return;
    }
    let folder = new_folder();
    secure::certificates(&folder.path().join("certs"), "client");
    // A program is found beside its modules.
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).expect("a link");
    let script = folder.path().join("client.mjs");
    for (name, text) in [
        ("client.mjs", include_str!("mqttjs/client.mjs")),
        ("conversation.mjs", include_str!("mqttjs/conversation.mjs")),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let secure = WEBSOCKET.replace("'ws'", "'wss'");
    let tls = "[listener.tls]\ncertificate = 'certs/server.pem'\nkey = 'certs/server.key'\n";
    let broker = Sluice::start_in(folder, &format!("{WEBSOCKET}{secure}{tls}"));
    for (name, scheme) in [("ws", "ws"), ("wss", "wss")] {
        let url = format!("{scheme}://localhost:{}/mqtt", broker.address(name).port());
        let mut node = Command::new("node");
        node.arg(&script).arg(&url).stdin(Stdio::null());
        if scheme == "wss" {
            node.arg(broker.file("certs/ca.pem"));
        }
        let (code, lines) = Process::start(&mut node).end();
        assert_eq!(
            (code, lines.last().map(String::as_str)),
            (Some(0), Some("all went well")),
            "{lines:#?}"
        );
    }
}
