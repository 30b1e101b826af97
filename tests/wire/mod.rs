//! A client that sends what it is told to, right or wrong, and shows every packet that comes back.
#![allow(dead_code)] // Each test file uses its part.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sluicemq::codec::{
    self, Connect, DecodeLimits, Decoded, Packet, PacketId, Properties, Publish, QoS, Reason,
    Sender, Subscribe, SubscribeOptions, Version,
};
use socket2::{Domain, Socket, Type};

/// How long an answer may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// Both versions, for tests that show the same on each.
pub const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// What a connection runs over.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    version: Version,
    unread: Vec<u8>,
    local: Option<SocketAddr>,
}

impl Client {
    /// A connection over TCP on which nothing has been said.
    pub fn open(at: SocketAddr, version: Version) -> Client {
        let stream = dial(at);
        let local = stream.local_addr().ok();
        Client { local, ..Client::over(stream, version) }
    }

    /// A connection over any stream on which nothing has been said.
    pub fn over(stream: impl Stream + 'static, version: Version) -> Client {
        Client { stream: Box::new(stream), version, unread: Vec::new(), local: None }
    }

    /// A connection over TCP that the broker has accepted.
    #[track_caller]
    pub fn connect(at: SocketAddr, version: Version, client_id: &str) -> Client {
        Client::connect_with(at, &connect(version, client_id))
    }

    /// The same with a CONNECT of one's own.
    #[track_caller]
    pub fn connect_with(at: SocketAddr, connect: &Connect<'_>) -> Client {
        let mut client = Client::open(at, connect.version);
        client.greet(connect);
        client
    }

    /// Sends CONNECT; the broker accepts it.
    #[track_caller]
    pub fn greet(&mut self, connect: &Connect<'_>) {
        self.send(&Packet::Connect(Box::new(connect.clone())));
        assert_eq!(self.connack(), Reason::Success);
    }

    /// The Reason Code of the CONNACK that comes.
    #[track_caller]
    pub fn connack(&mut self) -> Reason {
        let bytes = self.packet();
        match decoded(&bytes, self.version) {
            Packet::ConnAck(connack) => connack.reason,
            other => panic!("not CONNACK: {other:?}"),
        }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet<'_>) {
        self.send_bytes(&encoded(packet, self.version));
    }

    /// Sends bytes. That the peer has gone meanwhile is seen when reading.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The next packet, as bytes; none if the peer has closed the connection.
    #[track_caller]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(self.unread.drain(..len).collect());
            }
            let mut buf = [0; 16 * 1024];
            match self.stream.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => self.unread.extend_from_slice(&buf[..n]),
                Err(error) if timed_out(&error) => panic!("no answer within {DEADLINE:?}"),
                Err(_) => break,
            }
        }
        assert!(self.unread.is_empty(), "closed inside a packet: {:02x?}", self.unread);
        None
    }

    /// The next packet, as bytes.
    #[track_caller]
    pub fn packet(&mut self) -> Vec<u8> {
        self.next().expect("a packet, and the connection was closed")
    }

    /// The next packet is as `wanted` says; what it makes of it.
    #[track_caller]
    pub fn expect<T>(&mut self, wanted: impl FnOnce(&Packet<'_>) -> Option<T>) -> T {
        let bytes = self.packet();
        let packet = decoded(&bytes, self.version);
        wanted(&packet).unwrap_or_else(|| panic!("something else came: {packet:?}"))
    }

    /// The peer closes, on version 5 with DISCONNECT and `reason`.
    #[track_caller]
    pub fn closed_by(&mut self, reason: Reason) {
        if self.version == Version::V5 {
            let said = self.expect(|packet| match packet {
                Packet::Disconnect(disconnect) => Some(disconnect.reason),
                _ => None,
            });
            assert_eq!(said, reason);
        }
        self.closed();
    }

    /// Whether the stream says that it has ended, and not that it broke.
    pub fn ended_in_order(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    /// Reads whatever comes, be it no MQTT, until the peer closes.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            assert!(!timed_out(&error), "not closed within {DEADLINE:?}");
        }
        bytes
    }

    /// The peer closes without a further packet.
    #[track_caller]
    pub fn closed(&mut self) {
        let next = self.next();
        assert!(next.is_none(), "a packet, not the close: {:02x?}", next.unwrap_or_default());
    }

    /// PINGREQ, and its answer; what comes before is thrown away.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&Packet::PingReq);
        while self.packet() != [0xD0, 0] {}
    }

    /// DISCONNECT, and the close.
    #[track_caller]
    pub fn goodbye(mut self) {
        self.send_bytes(&[0xE0, 0]);
        while self.next().is_some() {}
    }

    /// SUBSCRIBE to `filters` at `qos`; the Reason Codes of SUBACK.
    #[track_caller]
    pub fn subscribe(&mut self, filters: &[&str], qos: QoS) -> Vec<Reason> {
        self.send(&subscribe(filters, qos));
        self.expect(|packet| match packet {
            Packet::SubAck(suback) => Some(suback.reasons.clone()),
            _ => None,
        })
    }

    /// PUBLISH at `QoS` 1; the Reason Code of PUBACK.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> Reason {
        self.send(&Packet::Publish(message(topic, payload)));
        self.puback()
    }

    /// The Reason Code of the PUBACK that comes.
    #[track_caller]
    pub fn puback(&mut self) -> Reason {
        self.expect(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
    }

    /// Topic and payload of the PUBLISH that comes; answered at `QoS` 1.
    #[track_caller]
    pub fn message(&mut self) -> (String, Vec<u8>) {
        let (topic, payload, packet_id) = self.expect(|packet| match packet {
            Packet::Publish(publish) => {
                let payload = publish.payload.to_vec();
                Some((publish.topic.to_owned(), payload, publish.packet_id))
            }
            _ => None,
        });
        if let Some(packet_id) = packet_id {
            self.send(&Packet::PubAck(codec::Ack::new(packet_id, Reason::Success)));
        }
        (topic, payload)
    }

    /// Where it is connected from.
    pub fn local(&self) -> SocketAddr {
        self.local.expect("a connection over TCP")
    }
}

/// A client that publishes at `QoS` 0 as fast as it can until it is dropped.
pub struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Messages of 16 KiB to `topic`, which is its Client Identifier too.
    pub fn start(at: SocketAddr, version: Version, topic: &str) -> Flood {
        let mut client = Client::connect(at, version, &format!("{topic}{version:?}"));
        let publish = Publish { topic, payload: &[b'x'; 16 * 1024], ..Publish::default() };
        let bytes = encoded(&Packet::Publish(publish), version);
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = over.clone();
            move || {
                while !over.load(Ordering::Relaxed) {
                    client.send_bytes(&bytes);
                }
            }
        });
        Flood { over, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A TCP connection that gives up in the end.
pub fn dial(at: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(at).expect("a broker that listens"))
}

/// The same from another address of this machine.
pub fn dial_from(address: &str, at: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{address}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("an address of ours");
    socket.connect(&at.into()).expect("a broker that listens");
    patient(socket.into())
}

/// A TCP connection with a small receive buffer.
pub fn dial_narrow(at: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&at.into()).expect("a broker that listens");
    patient(socket.into())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
    stream.set_nodelay(true).expect("small packets at once");
    stream
}

/// The bytes of a packet.
pub fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(packet, version, usize::MAX, &mut bytes).expect("a packet that encodes");
    bytes
}

/// The packet in `bytes`.
#[track_caller]
pub fn decoded(bytes: &[u8], version: Version) -> Packet<'_> {
    match codec::decode(bytes, Some(version), Sender::Server, &DecodeLimits::NONE) {
        Ok(Decoded::Packet { packet, .. }) => packet,
        other => panic!("not a packet: {other:?}"),
    }
}

/// A CONNECT that asks for nothing.
pub fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect { version, client_id, ..Connect::default() }
}

/// The same with a Will of `QoS` 0.
pub fn connect_with_will<'a>(version: Version, client_id: &'a str, topic: &'a str) -> Connect<'a> {
    let will = codec::Will { topic, payload: b"gone", ..codec::Will::default() };
    Connect { will: Some(will), ..connect(version, client_id) }
}

/// A SUBSCRIBE.
pub fn subscribe<'a>(filters: &[&'a str], qos: QoS) -> Packet<'a> {
    let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
    Packet::Subscribe(Subscribe {
        rest: &[],
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: filters.iter().map(|filter| (*filter, options)).collect(),
    })
}

/// A PUBLISH of `QoS` 1.
pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        qos: QoS::AtLeastOnce,
        topic,
        packet_id: Some(PacketId::MIN),
        payload,
        ..Publish::default()
    }
}

/// How long the packet at the front of `bytes` is, if it is all there.
pub fn frame(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let whole = 2 + index + len;
            return (bytes.len() >= whole).then_some(whole);
        }
    }
    None
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
