//! A few clients of one small broker, played from bytes: for the fuzzer, and for the seeded test.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, NOBODY_READS, PeerInfo, Ports};
use sluicemq::codec::{DecodeLimits, Decoded, Sender, decode};
use sluicemq::config::{Config, Size};
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

/// Clients at once.
const CLIENTS: usize = 3;

/// Packets that a client may well send; `?` is a Client Identifier or a Packet Identifier, chosen
/// by the bytes played.
pub const PACKETS: &[&[u8]] = &[
    b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01?",
    b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01?",
    b"\x10\x0e\0\x04MQTT\x05\x02\0\x0a\0\0\x01?",
    b"\x10\x16\0\x04MQTT\x05\0\0\0\x08\x11\0\0\0\x09\x21\0\x02\0\x01?",
    b"\x10\x1d\0\x04MQTT\x05\x26\0\x0a\x03\x22\0\x05\0\x01?\x05\x18\0\0\0\x03\0\x01w\0\x01x",
    b"\x82\x06\0?\0\x01#\x01",
    b"\x82\x09\0?\0\0\x03a/+\x02",
    b"\x82\x0f\0?\0\0\x09$share/g/\x01",
    b"\x82\x10\0?\0\0\x0a$share/g/#\x02",
    b"\xa2\x05\0?\0\x01#",
    b"\xa2\x06\0?\0\0\x01#",
    b"\x30\x06\0\x03a/bx",
    b"\x30\x08\0\x03a/b\0xy",
    b"\x31\x0a\0\x03a/b\0xyz!",
    b"\x32\x07\0\x03a/b\0?",
    b"\x32\x08\0\x03a/b\0?\0",
    b"\x34\x07\0\x03a/b\0?",
    b"\x34\x08\0\x03a/b\0?\0",
    b"\x3c\x08\0\x03a/b\0?\0",
    b"\x33\x0d\0\x03a/b\0?\x05\x02\0\0\0\x02",
    b"\x32\x0b\0\x03a/b\0?\x03\x23\0\x01",
    b"\x40\x02\0?",
    b"\x50\x02\0?",
    b"\x50\x04\0?\x97\0",
    b"\x62\x02\0?",
    b"\x70\x02\0?",
    b"\xc0\0",
    b"\xe0\0",
    b"\xe0\x02\x04\0",
    b"\xe0\x07\0\x05\x11\0\0\0\x05",
    b"\xf0\0",
];

struct Client {
    link: Link,
    /// Sent, and not yet consumed.
    sent: Vec<u8>,
    reads: bool,
}

struct House {
    broker: Broker,
    now: Time,
    turn: Scratch,
    clients: Vec<Client>,
}

/// Plays `data`: every pair of bytes is a client with something to do, and how.
///
/// Whatever comes in: nothing panics, what goes out obeys the standard, and when all clients are
/// gone and their Sessions over, nothing is left.
pub fn play(data: &[u8]) {
    let mut house = House::new();
    let mut rest = data;
    while let [what, how, more @ ..] = rest {
        rest = more;
        let client = usize::from(what >> 5) % CLIENTS;
        match what & 0x1F {
            0 => {
                let (bytes, more) = rest.split_at(rest.len().min(usize::from(*how)));
                rest = more;
                house.send(client, bytes);
            }
            1 => house.now = house.now.after(Duration::from_millis(u64::from(*how) * 100)),
            2 => house.hang_up(client),
            3 => house.clients[client].reads = how & 1 == 0,
            other => {
                let packet = PACKETS[(usize::from(other) + usize::from(how >> 3)) % PACKETS.len()];
                let id = b'1' + how % 3;
                let packet = packet.iter().map(|byte| if *byte == b'?' { id } else { *byte });
                house.send(client, &packet.collect::<Vec<u8>>());
            }
        }
        house.settle();
    }
    house.end();
}

impl House {
    fn new() -> House {
        let mut config = Config::default();
        config.limits.packet_bytes_max = Size(2048);
        config.limits.connect_bytes_max = Size(1024);
        config.limits.subscriptions_max = 4;
        config.session.receive_maximum = 3;
        config.session.inflight_max = 2;
        config.queue.messages_max = 5;
        config.queue.bytes_max = Size(4096);
        config.totals.retained_max = 3;
        config.totals.groups_max = 2;
        config.limits.client.publishes_rate = 20;
        config.limits.client.publishes_burst = 10;
        let ports = Ports {
            store: Arc::new(MemoryStore),
            authenticator: Arc::new(PasswordAuth::new(None)),
            access: Arc::new(PermitAll),
        };
        let now = Time::from_secs(1_000_000);
        let broker = Broker::new(&config, ports, 7, now);
        let clients = (0..CLIENTS).map(|_| Client::new(&broker, now)).collect();
        House { broker, now, turn: Scratch::default(), clients }
    }

    fn send(&mut self, client: usize, bytes: &[u8]) {
        let client = &mut self.clients[client];
        client.sent.extend_from_slice(bytes);
        self.turn.out.clear();
        client.offer(self.now, &mut self.turn);
        check(&client.link, &self.turn.out);
    }

    fn hang_up(&mut self, client: usize) {
        self.turn.out.clear();
        self.clients[client].link.hang_up(self.now, &mut self.turn);
        self.clients[client] = Client::new(&self.broker, self.now);
    }

    /// Polls everybody until nothing more comes of it.
    fn settle(&mut self) {
        for _ in 0..8 {
            for client in &mut self.clients {
                self.turn.out.clear();
                let unwritten = if client.reads { 0 } else { NOBODY_READS };
                let flow = client.link.poll(Waker::noop(), self.now, unwritten, &mut self.turn);
                if flow.unread {
                    client.offer(self.now, &mut self.turn);
                } else if !flow.read {
                    client.link.look_ahead(&client.sent, &mut self.turn);
                }
                check(&client.link, &self.turn.out);
                if client.link.is_closed() {
                    *client = Client::new(&self.broker, self.now);
                }
            }
        }
        self.turn.out.clear();
        self.broker.tick(self.now, &mut self.turn);
    }

    fn end(mut self) {
        for client in 0..CLIENTS {
            self.hang_up(client);
        }
        // No Session lasts longer than a week.
        self.now = self.now.after(Duration::from_secs(8 * 86_400));
        while self.broker.tick(self.now, &mut self.turn).is_some_and(|next| next <= self.now) {}
        let view = self.broker.view();
        assert!(view.sessions.is_empty(), "{:?}", view.sessions);
        assert!(view.groups.is_empty(), "{:?}", view.groups);
        assert_eq!(view.subscriptions, 0);
        assert_eq!(view.message_bytes, view.retained.1, "only what is retained is kept");
    }
}

impl Client {
    fn new(broker: &Broker, now: Time) -> Client {
        let peer = PeerInfo {
            address: "127.0.0.1:1".to_owned(),
            anonymous: true,
            nonce: 1,
            ..PeerInfo::default()
        };
        Client { link: Link::new(broker, peer, now), sent: Vec::new(), reads: true }
    }

    fn offer(&mut self, now: Time, turn: &mut Scratch) {
        let used = self.link.receive(&self.sent, now, turn);
        self.sent.drain(..used);
    }
}

/// What was written are whole packets that a server may send.
fn check(link: &Link, mut out: &[u8]) {
    while !out.is_empty() {
        match decode(out, link.version(), Sender::Server, &DecodeLimits::NONE) {
            Ok(Decoded::Packet { len, .. }) => out = &out[len..],
            other => panic!("{other:?} in {out:02x?}"),
        }
    }
}
