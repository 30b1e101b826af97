//! Every wire vector that a client may send, against the real process.
//!
//! What is valid is served, what is not is refused with a code that the row allows or with the
//! close, what is incomplete is waited for; nothing that was refused reaches a subscriber of `#`.

mod process;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use process::Sluice;
use sluicemq::codec::{Packet, Publish, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect, connect_with_will, decoded};

/// Rows that a client may send, and how often they are sent: `any` is both versions.
const ROWS: usize = 294;
const RUNS: usize = 299;

/// A Protocol Level with the bridge bit: the row allows to refuse it and to serve it.
const BRIDGE: &str = "A143";
/// Valid in itself, but not on any connection that this broker accepts.
const ONLY_WITH_A_METHOD: &str = "B289";

/// Expires as it comes: no client gets it.
const EXPIRED: &str = "B109";

struct Row<'a> {
    id: &'a str,
    packet: &'a str,
    bytes: Vec<u8>,
    verdict: Verdict,
    expected: &'a str,
    version: Version,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Valid,
    Refused,
    Incomplete,
}

#[test]
fn every_vector_gets_its_verdict_from_the_process() {
    let text = include_str!("vectors/codec-vectors.tsv");
    let broker = Sluice::start(include_str!("vectors.toml"));
    let mut stand = Stand::new(broker.address("tcp"));
    let mut rows = BTreeSet::new();
    let mut runs = 0;
    for row in text.lines().skip(1).flat_map(from_client) {
        stand.check(&row);
        rows.insert(row.id);
        runs += 1;
    }
    let Slowest { span, id } = &stand.slowest;
    println!("{} rows sent {runs} times; the slowest refusal, {id}, took {span:?}", rows.len());
    assert_eq!((rows.len(), runs), (ROWS, RUNS), "rows in the file, and how often they were sent");

    // After all that it is alive.
    for version in VERSIONS {
        let mut fresh = Client::connect(stand.at, version, "fresh");
        assert_eq!(fresh.subscribe(&["fresh/+"], QoS::AtLeastOnce), [Reason::GrantedQoS1]);
        assert_eq!(fresh.publish("fresh/t", b"round"), Reason::Success);
        assert_eq!(fresh.message(), ("fresh/t".to_owned(), b"round".to_vec()));
    }
}

/// Once for each version of a row that a client may send.
fn from_client(line: &str) -> Vec<Row<'_>> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [id, version, direction, packet, hex, verdict, expected, ..] = columns[..] else {
        panic!("short row: {line}");
    };
    let versions: &[Version] = match (direction, version) {
        ("s2c", _) => &[],
        ("c2s" | "both", "3.1.1") => &[Version::V311],
        ("c2s" | "both", "5") => &[Version::V5],
        ("c2s" | "both", "any") => &VERSIONS,
        other => panic!("direction and version {other:?}"),
    };
    let verdict = match verdict {
        _ if id == ONLY_WITH_A_METHOD => Verdict::Refused,
        _ if id == BRIDGE => Verdict::Valid,
        "valid" => Verdict::Valid,
        "malformed" | "protocol-error" => Verdict::Refused,
        "incomplete" => Verdict::Incomplete,
        other => panic!("verdict {other}"),
    };
    let expected = if id == ONLY_WITH_A_METHOD { "0x82 and close" } else { expected };
    let row = |version: &Version| {
        let bytes = bytes(hex);
        Row { id, packet, bytes, verdict, expected, version: *version }
    };
    versions.iter().map(row).collect()
}

/// The broker, and a client that watches it.
struct Stand {
    at: SocketAddr,
    /// Subscribes to everything.
    witness: Client,
    marker: Client,
    slowest: Slowest,
}

struct Slowest {
    span: Duration,
    id: String,
}

impl Stand {
    fn new(at: SocketAddr) -> Stand {
        let mut witness = Client::connect(at, Version::V5, "witness");
        assert_eq!(witness.subscribe(&["#"], QoS::AtMostOnce), [Reason::Success]);
        let marker = Client::connect(at, Version::V5, "marker");
        let slowest = Slowest { span: Duration::ZERO, id: String::new() };
        Stand { at, witness, marker, slowest }
    }

    fn check(&mut self, row: &Row<'_>) {
        let will = format!("will/{}/{:?}", row.id, row.version);
        let wanted = match (row.packet, row.verdict) {
            ("CONNECT", Verdict::Valid) => self.connect_is_answered(row),
            ("CONNECT", Verdict::Refused) => {
                let client = Client::open(self.at, row.version);
                self.is_refused(row, client);
                Vec::new()
            }
            ("CONNECT", Verdict::Incomplete) => self.connect_is_waited_for(row),
            ("DISCONNECT", Verdict::Valid) => {
                let mut client = self.connected(row, &will);
                client.send_bytes(&row.bytes);
                client.closed();
                // Only Normal disconnection discards the Will [MQTT5-3.14.4-3].
                let normal = row.bytes.get(2).is_none_or(|code| *code == 0);
                if normal { Vec::new() } else { vec![will] }
            }
            (_, Verdict::Valid) => self.is_served(row, &will),
            (_, Verdict::Refused) => {
                let client = self.connected(row, &will);
                if self.is_refused(row, client) { vec![will] } else { Vec::new() }
            }
            (_, Verdict::Incomplete) => self.is_waited_for(row, will),
        };
        assert_eq!(self.forwarded(), wanted, "forwarded of {} {:?}", row.id, row.expected);
    }

    fn connected(&self, row: &Row<'_>, will: &str) -> Client {
        let mut connect = connect_with_will(row.version, "subject", will);
        if row.version == Version::V5 {
            // A DISCONNECT may change it only if it was not 0.
            connect.session_expiry = 60;
        }
        Client::connect_with(self.at, &connect)
    }

    fn connect_is_answered(&self, row: &Row<'_>) -> Vec<String> {
        let mut client = Client::open(self.at, row.version);
        client.send_bytes(&row.bytes);
        if row.expected.starts_with("Maximum Packet Size 1") {
            client.closed(); // No CONNACK is so small [MQTT5-3.1.2-24].
        } else if row.expected.contains("Authentication Method")
            || row.expected == "all CONNECT properties"
        {
            assert_eq!(client.connack(), Reason::BadAuthenticationMethod, "{}", row.id);
            client.closed();
        } else {
            assert_eq!(client.connack(), Reason::Success, "{}", row.id);
            client.ping();
            client.goodbye();
        }
        Vec::new()
    }

    fn connect_is_waited_for(&mut self, row: &Row<'_>) -> Vec<String> {
        let mut client = Client::open(self.at, row.version);
        client.send_bytes(&row.bytes);
        assert_eq!(self.forwarded(), Vec::<String>::new());
        client.greet(&connect(row.version, "late"));
        client.goodbye();
        Vec::new()
    }

    /// PINGREQ behind it is answered. Returns what should be forwarded of it.
    fn is_served(&self, row: &Row<'_>, will: &str) -> Vec<String> {
        let mut client = self.connected(row, will);
        client.send_bytes(&row.bytes);
        for _ in row.packet.split_whitespace().skip(1) {
            assert_eq!(client.packet(), [0xD0, 0], "{}", row.id); // It is itself "PINGREQ x2".
        }
        client.ping();
        client.goodbye();
        if row.packet == "PUBLISH" && row.id != EXPIRED {
            vec![topic(&row.bytes)]
        } else {
            Vec::new()
        }
    }

    /// Returns whether the connection was closed.
    fn is_refused(&mut self, row: &Row<'_>, mut client: Client) -> bool {
        let start = Instant::now();
        client.send_bytes(&row.bytes);
        let answer = client.next();
        let closed = match &answer {
            None => true,
            Some(bytes) => match decoded(bytes, form(bytes, row)) {
                Packet::ConnAck(connack) if row.packet == "CONNECT" => {
                    allowed(row, connack.reason);
                    client.closed();
                    true
                }
                Packet::Disconnect(disconnect) if row.packet != "CONNECT" => {
                    allowed(row, disconnect.reason);
                    client.closed();
                    true
                }
                Packet::SubAck(suback) if row.expected.contains("SUBACK") => {
                    assert_eq!(suback.reasons.len(), 1);
                    allowed(row, suback.reasons[0]);
                    client.ping();
                    client.goodbye();
                    false
                }
                other => panic!("{} should be refused, not {other:?}", row.id),
            },
        };
        if start.elapsed() > self.slowest.span {
            self.slowest = Slowest { span: start.elapsed(), id: row.id.to_owned() };
        }
        closed
    }

    /// Nothing happens until the rest comes; then it is served.
    fn is_waited_for(&mut self, row: &Row<'_>, will: String) -> Vec<String> {
        let mut client = self.connected(row, &will);
        client.send_bytes(&row.bytes);
        if row.bytes.starts_with(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]) {
            // Larger than this broker takes: it need not wait.
            client.closed_by(Reason::PacketTooLarge);
            return vec![will];
        }
        assert_eq!(self.forwarded(), Vec::<String>::new(), "{}", row.id);
        let v5 = row.version == Version::V5;
        let (rest, topic): (Vec<u8>, String) = match (&row.bytes[..], v5) {
            ([0x30], false) => (bytes("03000161"), "a".into()),
            ([0x30], true) => (bytes("0400016100"), "a".into()),
            ([0x30, 0xFF], _) => (bytes("01000161(00)*252"), "a".into()),
            // Only the property length was missing.
            (_, true) if row.bytes.len() > 65_535 => (vec![0], "a".repeat(65_535)),
            _ => panic!("{}: what is its rest?", row.id),
        };
        client.send_bytes(&rest);
        client.ping();
        client.goodbye();
        vec![topic]
    }

    /// Topics that the witness has got since the last call: everything published before it.
    fn forwarded(&mut self) -> Vec<String> {
        const MARKER: &str = "marker";
        let marker = Publish { topic: MARKER, ..Publish::default() };
        self.marker.send(&Packet::Publish(marker));
        let mut topics = Vec::new();
        loop {
            let (topic, _) = self.witness.message();
            if topic == MARKER {
                return topics;
            }
            topics.push(topic);
        }
    }
}

/// The row names the code. One that names none, for both versions, is malformed.
fn allowed(row: &Row<'_>, reason: Reason) {
    let named = format!("0x{:02x}", reason as u8);
    let expected = row.expected.to_lowercase();
    let silent = !expected.contains("0x") && !expected.contains("no bytes");
    let allowed = expected.contains(&named) || (silent && reason == Reason::MalformedPacket);
    assert!(allowed, "{}: {named} is not in {}", row.id, row.expected);
}

/// The version that an answer is in the form of: one to an unknown version may have either.
fn form(answer: &[u8], row: &Row<'_>) -> Version {
    let long_connack = answer[0] == 0x20 && answer.len() > 4;
    if long_connack { Version::V5 } else { row.version }
}

/// The Topic Name of a PUBLISH.
fn topic(bytes: &[u8]) -> String {
    let length = 1 + bytes[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let end = length + 2 + usize::from(u16::from_be_bytes([bytes[length], bytes[length + 1]]));
    String::from_utf8(bytes[length + 2..end].to_vec()).expect("a valid row")
}

/// Hexadecimal digits; `(78)*123` is the byte 123 times.
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).expect("two hexadecimal digits");
    let mut bytes = Vec::new();
    let mut rest = hex;
    while !rest.is_empty() {
        if let Some(repeated) = rest.strip_prefix('(') {
            let count = &repeated[4..];
            let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
            let times = count[..end].parse().expect("a count");
            bytes.extend(std::iter::repeat_n(byte(&repeated[..2]), times));
            rest = &count[end..];
        } else {
            bytes.push(byte(&rest[..2]));
            rest = &rest[2..];
        }
    }
    bytes
}
