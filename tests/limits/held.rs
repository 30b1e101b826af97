//! Clients that are held up, on the real process: they stay, and that they leave is noticed.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};

use crate::process::Sluice;
use crate::wire::{Client, VERSIONS, connect, connect_with_will, dial, encoded, frame, message};

/// A second message of 200 bytes waits for `seconds`.
fn broker(seconds: u64, key: &str) -> Sluice {
    let rate = 200 / seconds;
    let slow = format!("publish_bytes_rate = '{rate}B', publish_bytes_burst = '1B'");
    crate::broker(&format!("{key} = {{ {slow}, action = 'pause' }}"))
}

fn long(number: u16, qos: QoS, version: Version) -> Vec<u8> {
    let payload = format!("{number:>200}");
    let packet_id = PacketId::new(number).filter(|_| qos > QoS::AtMostOnce);
    let publish = Publish { qos, packet_id, ..message("t", payload.as_bytes()) };
    encoded(&Packet::Publish(publish), version)
}

fn payload(client: &mut Client) -> String {
    String::from_utf8(client.message().1).expect("text").trim().to_owned()
}

// proves MQTT5-3.12.4-1
#[test]
fn a_client_that_waits_longer_than_its_keep_alive_stays_and_is_answered() {
    let keys = ["ingress", "[limits]\nclient"];
    for (key, version) in keys.into_iter().zip(VERSIONS) {
        let broker = broker(3, key);
        let mut ear = Client::connect(broker.address("tcp"), version, "ear");
        ear.subscribe(&["t"], QoS::AtLeastOnce);
        let stream = dial(broker.address("tcp"));
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let mut slow = Impatient { stream, unread: Vec::new() };
        let connect = Connect { keep_alive: 1, ..connect(version, "slow") };
        slow.send(&encoded(&Packet::Connect(Box::new(connect)), version));
        assert_eq!(slow.wait()[0], 0x20);
        for number in 1..=2 {
            slow.send(&long(number, QoS::AtLeastOnce, version));
        }
        // It pings whenever it has heard nothing for half its Keep Alive, and waits for the answer.
        let (mut acknowledged, mut answered) = (0, 0);
        while acknowledged < 2 {
            let packet = slow.packet().unwrap_or_else(|| {
                slow.send(&[0xC0, 0]);
                slow.wait()
            });
            match packet[0] {
                0x40 => acknowledged += 1,
                _ => {
                    assert_eq!(packet, [0xD0, 0]);
                    assert_eq!(acknowledged, 1);
                    answered += 1;
                }
            }
        }
        assert!(answered > 0);
        assert_eq!([payload(&mut ear), payload(&mut ear)], ["1", "2"]);
    }
}

#[test]
fn a_client_that_closes_while_it_waits_loses_nothing_and_its_will_comes_after() {
    let broker = broker(1, "[limits]\nclient");
    for version in VERSIONS {
        let mut ear = Client::connect(broker.address("tcp"), version, "ear");
        ear.subscribe(&["t", "will"], QoS::AtMostOnce);
        for polite in [false, true] {
            let will = connect_with_will(version, "slow", "will");
            let mut slow = Client::connect_with(broker.address("tcp"), &will);
            let mut bytes = [1, 2].map(|n| long(n, QoS::AtMostOnce, version)).concat();
            if polite {
                bytes.extend([0xE0, 0]);
            }
            slow.send_bytes(&bytes);
            drop(slow);
            assert_eq!([payload(&mut ear), payload(&mut ear)], ["1", "2"]);
            if !polite {
                assert_eq!(payload(&mut ear), "gone");
            }
        }
        // A client that sent DISCONNECT has no Will: what comes next is from another client.
        let mut other = Client::connect(broker.address("tcp"), version, "other");
        assert_eq!(other.publish("will", b"other"), Reason::Success);
        assert_eq!(payload(&mut ear), "other");
    }
}

#[test]
fn a_client_whose_connection_breaks_while_it_waits_is_missed_at_once() {
    // The second message would wait for more than an hour.
    let broker = crate::broker(
        "[limits]\nclient = { publish_bytes_rate = '1B', publish_bytes_burst = '1B' }",
    );
    for version in VERSIONS {
        let mut ear = Client::connect(broker.address("tcp"), version, "ear");
        ear.subscribe(&["t", "will"], QoS::AtMostOnce);
        let stream = dial(broker.address("tcp"));
        // Closed, it resets the connection.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
        let mut slow = Client::over(stream, version);
        slow.greet(&connect_with_will(version, "slow", "will"));
        let large = vec![b'x'; 5_000];
        let publish = |payload| {
            let publish =
                Publish { qos: QoS::AtMostOnce, packet_id: None, ..message("t", payload) };
            encoded(&Packet::Publish(publish), version)
        };
        slow.send_bytes(&[publish(&large), publish(b"late")].concat());
        assert_eq!(ear.message().1.len(), large.len());
        // The broker has what waits, and has looked it over.
        slow.ping();
        drop(slow);
        assert_eq!(payload(&mut ear), "gone");
    }
}

/// A client that does not wait for ever for the next packet.
struct Impatient {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Impatient {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// The next packet, however long it takes.
    fn wait(&mut self) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match self.packet() {
                Some(packet) => return packet,
                None => assert!(Instant::now() < end, "nothing comes"),
            }
        }
    }

    /// The next packet, if one comes soon; the broker does not close.
    fn packet(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(self.unread.drain(..len).collect());
            }
            let mut buf = [0; 1024];
            match self.stream.read(&mut buf) {
                Ok(0) => panic!("closed"),
                Ok(read) => self.unread.extend_from_slice(&buf[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
