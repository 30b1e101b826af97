//! Through the connection task, tokio's clock paused, pipes in place of sockets.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use sluicemq::config::Config;
use sluicemq::net::{ServeContext, serve};
use sluicemq::store::MemoryStore;
use sluicemq::time::{Clock, Time};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::wire::{
    VERSIONS, connect, connect_with_will, decoded, encoded, frame, message, subscribe,
};

const SECOND: Duration = Duration::from_secs(1);
/// The client `p` may publish once a second.
const SLOW: &str = "[[class]]
     name = 'slow'
     client_id = 'p'
     ingress = { publishes_rate = 1, publishes_burst = 1 }";
/// Few messages wait for a receiver, and publishers long.
const NARROW: &str = "queue = { messages_max = 10, pause_max = '10s' }
     session = { inflight_max = 1 }";

/// As after a time in which the process, or its machine, was stopped: timers are due before it has heard of what
/// has come.
#[test]
fn what_came_before_a_deadline_counts_though_it_is_heard_of_later() {
    run("", async |house| {
        for version in VERSIONS {
            let mut client =
                house.client(&Connect { keep_alive: 2, ..connect(version, "p") }).await;
            *client.deaf.lock().unwrap() = Some(Instant::now() + SECOND * 5 / 2);
            client.write(&[0xC0, 0]).await;
            tokio::time::sleep(SECOND * 4).await;
            assert_eq!(client.read().await, [[0xD0, 0]], "{version:?}");
            // A silent one is closed as ever.
            *client.deaf.lock().unwrap() = Some(Instant::now() + SECOND * 3 / 2);
            tokio::time::sleep(SECOND * 4).await;
            assert!(client.task.is_finished());
        }
    });
}

// proves MQTT5-3.12.4-1
#[test]
fn a_client_that_waits_longer_than_its_keep_alive_stays() {
    run(SLOW, async |house| {
        let mut accepted = 0;
        for version in VERSIONS {
            let mut client =
                house.client(&Connect { keep_alive: 2, ..connect(version, "p") }).await;
            client.write(&numbered(version, 0..20, QoS::AtLeastOnce)).await;
            for second in 0..25 {
                client.write(&[0xC0, 0]).await;
                tokio::time::sleep(SECOND).await;
                let pongs = client.read().await.iter().filter(|packet| packet[0] == 0xD0).count();
                assert_eq!(pongs, 1, "{version:?}, after {second} s");
            }
            // And once more, what waits and the ping behind it in one piece.
            let piece = [numbered(version, 20..23, QoS::AtLeastOnce), vec![0xC0, 0]].concat();
            client.write(&piece).await;
            settle().await;
            assert_eq!(client.read().await.last(), Some(&vec![0xD0, 0]));
            tokio::time::sleep(SECOND * 3).await;
            accepted += 23;
            assert_eq!(house.broker().metrics().sum(Counter::Accepted), accepted);
        }
    });
}

#[test]
fn who_closes_while_it_waits_is_heard_to_its_end() {
    run(SLOW, async |house| {
        for version in VERSIONS {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                for polite in [false, true] {
                    let mut ear = house.ear().await;
                    let connect = connect_with_will(version, "p", "t/will");
                    let mut client = house.client(&connect).await;
                    // Longer than the broker waits for a peer that takes nothing.
                    client.write(&numbered(version, 0..40, qos)).await;
                    client.write(if polite { &[0xC0, 0, 0xE0, 0] } else { &[0xC0, 0] }).await;
                    settle().await;
                    let task = client.close();
                    tokio::time::sleep(SECOND * 2).await;
                    let heard = ear.payloads().await;
                    assert!((2..=4).contains(&heard.len()), "{heard:?}");
                    assert!(!task.is_finished());
                    tokio::time::sleep(SECOND * 60).await;
                    let mut wanted: Vec<_> = (0..40).map(|number| number.to_string()).collect();
                    wanted.extend((!polite).then(|| "gone".to_owned()));
                    let heard = [heard, ear.payloads().await].concat();
                    assert_eq!(heard, wanted, "{version:?} {qos:?} {polite}");
                    assert!(task.is_finished());
                }
            }
        }
    });
}

#[test]
fn a_connection_that_breaks_while_it_waits_ends_at_once_unless_goodbye_was_said() {
    run(SLOW, async |house| {
        for version in VERSIONS {
            for polite in [false, true] {
                let mut ear = house.ear().await;
                let mut client = house.client(&connect_with_will(version, "p", "t/will")).await;
                client.write(&numbered(version, 0..3, QoS::AtMostOnce)).await;
                client.write(if polite { &[0xC0, 0, 0xE0, 0] } else { &[0xC0, 0] }).await;
                settle().await;
                let task = client.breaks(io::ErrorKind::ConnectionReset);
                settle().await;
                let wanted: &[&str] = if polite { &["0"] } else { &["0", "gone"] };
                assert_eq!(ear.payloads().await, wanted);
                assert_eq!(task.is_finished(), !polite);
                tokio::time::sleep(SECOND * 10).await;
                let wanted: &[&str] = if polite { &["1", "2"] } else { &[] };
                assert_eq!(ear.payloads().await, wanted, "{version:?}");
                assert!(task.is_finished());
            }
        }
    });
}

#[test]
fn a_tls_stream_that_ends_without_saying_so_is_heard_to_its_end() {
    run(SLOW, async |house| {
        let mut ear = house.ear().await;
        let mut client = house.client(&connect_with_will(Version::V5, "p", "t/will")).await;
        client.write(&numbered(Version::V5, 0..3, QoS::AtMostOnce)).await;
        settle().await;
        client.breaks(io::ErrorKind::UnexpectedEof);
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(ear.payloads().await, ["0", "1", "2", "gone"]);
    });
}

#[test]
fn a_connection_that_ends_with_nothing_waiting_ends_at_once() {
    run(NARROW, async |house| {
        let mut ear = house.ear().await;
        let mut client = house.who_waits_for_a_receiver().await;
        // A ping, and a part of a packet that will never be whole.
        client.write(&[0xC0, 0, 0x30, 100, 0]).await;
        settle().await;
        assert_eq!(client.read().await.last().unwrap()[0], 0xD0);
        let begun = Instant::now();
        client.close();
        settle().await;
        assert_eq!(ear.payloads().await, ["gone"]);
        assert!(begun.elapsed() < SECOND);
    });
}

#[test]
fn what_was_read_ahead_is_handled_when_the_pause_is_over_though_nothing_more_comes() {
    run(NARROW, async |house| {
        for (accepted, leaves) in [(7, false), (15, true)] {
            let mut client = house.who_waits_for_a_receiver().await;
            client.write(&to_the_receiver(8)).await;
            if leaves {
                client.close();
            } else {
                settle().await;
                assert!(client.read().await.iter().all(|packet| packet[0] == 0x40));
                client.write(&[0xC0, 0]).await;
                settle().await;
                assert_eq!(client.read().await, [[0xD0, 0]], "it waits");
            }
            settle().await;
            assert_eq!(house.broker().metrics().sum(Counter::Accepted), accepted);
            tokio::time::sleep(SECOND * 11).await;
            assert_eq!(house.broker().metrics().sum(Counter::Accepted), accepted + 1);
        }
    });
}

#[test]
fn what_comes_for_a_client_that_has_gone_waits_for_its_return() {
    run(SLOW, async |house| {
        let lasting =
            Connect { clean_start: false, session_expiry: 100, ..connect(Version::V5, "p") };
        let mut client = house.client(&lasting).await;
        client.write(&encoded(&subscribe(&["mail"], QoS::AtLeastOnce), Version::V5)).await;
        client.write(&numbered(Version::V5, 0..3, QoS::AtMostOnce)).await;
        settle().await;
        let task = client.close();
        settle().await;
        let mut other = house.client(&connect(Version::V5, "other")).await;
        other.write(&encoded(&Packet::Publish(message("mail", b"letter")), Version::V5)).await;
        tokio::time::sleep(SECOND * 5).await;
        assert!(task.is_finished());
        let mut client = house.client(&lasting).await;
        let came = client.read().await;
        // Not a repeat: it has not been taken for the connection that was gone.
        assert_eq!(came.len(), 1);
        assert_eq!(came[0][0], 0x32, "QoS 1 without DUP");
    });
}

#[test]
fn a_client_that_waits_is_not_read_from_for_ever_and_loses_nothing() {
    run(SLOW, async |house| {
        let mut ear = house.ear().await;
        let mut client = house.client(&connect(Version::V5, "p")).await;
        let read = || house.broker().metrics().sum(Counter::BytesReceived);
        // A packet larger than all that is read ahead, and many small ones behind it.
        let payload = "x".repeat(100_000);
        let mut stream = numbered(Version::V5, 0..1, QoS::AtMostOnce);
        let large =
            Publish { qos: QoS::AtMostOnce, packet_id: None, ..message("t", payload.as_bytes()) };
        stream.extend(encoded(&Packet::Publish(large), Version::V5));
        let front = stream.len();
        stream.extend(numbered(Version::V5, 2..5_002, QoS::AtMostOnce));
        let before = read();
        client.write(&stream).await;
        settle().await;
        let ahead = read() - before - front as u64;
        assert!(
            (8 * 1024..=20 * 1024).contains(&ahead),
            "{ahead} bytes behind the packet that waits"
        );
        assert!(stream.len() - front > 40 * 1024);
        tokio::time::sleep(SECOND * 5_010).await;
        let heard = ear.payloads().await;
        assert_eq!(heard.len(), 5_002);
        assert!(heard[2..].iter().enumerate().all(|(at, heard)| *heard == (at + 2).to_string()));
    });
}

#[test]
fn who_does_not_read_its_answers_is_not_read_from_for_ever_either() {
    run("", async |house| {
        for version in VERSIONS {
            let mut client =
                house.client(&Connect { keep_alive: 2, ..connect(version, "p") }).await;
            let pings = [0xC0, 0].repeat(512);
            let mut sent = 0;
            // As long as anybody takes them; a pipe holds a mebibyte each way.
            while let Ok(written) =
                tokio::time::timeout(SECOND, client.pipe.write(&pings[sent % 1024..])).await
            {
                sent += written.expect("the broker is there");
                assert!(sent < 4 << 20, "all that comes is answered, and the answers kept");
            }
            // It is not its silence.
            tokio::time::sleep(SECOND * 10).await;
            let rest = 1024 - sent % 1024;
            let (mut answered, mut buffer) = (0, vec![0; 1 << 16]);
            while answered < sent / 2 * 2 {
                let read = client.pipe.read(&mut buffer).await.expect("the broker is there");
                assert!(read > 0, "{version:?}: {answered} of {sent}");
                answered += read;
            }
            client.write(&pings[1024 - rest..]).await;
            settle().await;
            assert_eq!(client.read().await.len(), rest.div_ceil(2));
        }
    });
}

#[test]
fn the_broker_stops_whoever_waits() {
    run(SLOW, async |house| {
        let mut stays = house.client(&connect(Version::V5, "p")).await;
        stays.write(&numbered(Version::V5, 0..3, QoS::AtMostOnce)).await;
        settle().await;
        house.shared.stop();
        settle().await;
        assert_eq!(stays.read().await, [[0xE0, 2, Reason::ServerShuttingDown as u8, 0]]);
        tokio::time::sleep(SECOND * 2).await;
        assert!(stays.task.is_finished());
    });
    run(SLOW, async |house| {
        let mut leaves = house.client(&connect(Version::V5, "p")).await;
        leaves.write(&numbered(Version::V5, 0..3, QoS::AtMostOnce)).await;
        settle().await;
        let task = leaves.close();
        settle().await;
        house.shared.stop();
        tokio::time::sleep(SECOND * 2).await;
        assert!(task.is_finished());
    });
}

#[test]
fn another_connection_takes_over_from_one_that_has_gone_and_waits() {
    run(SLOW, async |house| {
        let mut client = house.client(&connect(Version::V5, "p")).await;
        client.write(&numbered(Version::V5, 0..30, QoS::AtMostOnce)).await;
        settle().await;
        let task = client.close();
        settle().await;
        // `client` gets its CONNACK, so no other connection has the Session any more.
        let _again = house.client(&connect(Version::V5, "p")).await;
        tokio::time::sleep(SECOND * 2).await;
        assert!(task.is_finished());
    });
}

/// A PUBLISH to the receiver that others wait for.
fn to_the_receiver(number: u16) -> Vec<u8> {
    let packet_id = PacketId::new(number);
    let publish = Publish { packet_id, ..message("s", b"x") };
    encoded(&Packet::Publish(publish), Version::V5)
}

/// Numbers as PUBLISHes to `t`.
fn numbered(version: Version, numbers: std::ops::Range<u16>, qos: QoS) -> Vec<u8> {
    let packet = |number: u16| {
        let payload = number.to_string();
        let packet_id = PacketId::new(number + 1).filter(|_| qos > QoS::AtMostOnce);
        let publish = Publish { qos, packet_id, ..message("t", payload.as_bytes()) };
        encoded(&Packet::Publish(publish), version)
    };
    numbers.flat_map(packet).collect()
}

/// Lets every task run until none can: only then the paused clock moves.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Runs `test` with a broker under a configuration in TOML.
pub(crate) fn run(config: &str, test: impl AsyncFnOnce(&House)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let house = House::new(config);
        test(&house).await;
    });
}

/// A broker with a task for each connection.
pub(crate) struct House {
    shared: Arc<ServeContext<PausedClock>>,
    /// A client that acknowledges nothing.
    slow: RefCell<Option<Client>>,
}

impl House {
    fn new(config: &str) -> House {
        let config: Config = toml::from_str(config).expect("a configuration");
        let clock = PausedClock(Instant::now());
        let ports = Ports {
            store: Arc::new(MemoryStore),
            authenticator: Arc::new(PasswordAuth::new(None)),
            access: Arc::new(PermitAll),
        };
        let broker = Broker::new(&config, ports, 7, clock.now());
        let shared = Arc::new(ServeContext::new(broker, clock));
        let turned = shared.clone();
        tokio::spawn(async move { turned.wheel.turn(&turned.clock).await });
        let ticked = shared.clone();
        tokio::spawn(async move {
            loop {
                ticked.broker.tick(ticked.clock.now(), &mut Scratch::default());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        House { shared, slow: RefCell::default() }
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.shared.broker
    }

    /// A client that has its CONNACK.
    pub(crate) async fn client(&self, connect: &Connect<'_>) -> Client {
        let mut client = self.dial(connect.version);
        client.write(&encoded(&Packet::Connect(Box::new(connect.clone())), connect.version)).await;
        settle().await;
        let connack = client.next().await.expect("CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        client
    }

    /// A connection on which nothing has come.
    pub(crate) fn dial(&self, version: Version) -> Client {
        let peer = PeerInfo {
            address: "127.0.0.1:1".to_owned(),
            anonymous: true,
            nonce: 1,
            ..PeerInfo::default()
        };
        let link = Link::new(self.broker(), peer, self.shared.clock.now());
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let broken = Arc::<OnceLock<_>>::default();
        let deaf = Arc::<Mutex<_>>::default();
        let theirs = Breakable { pipe: theirs, broken: broken.clone(), deaf: deaf.clone() };
        let task = tokio::spawn(serve(link, theirs, self.shared.clone()));
        Client { pipe: ours, broken, deaf, task, version, unread: Vec::new() }
    }

    /// A client with a Will that waits for a receiver above half full, and has nothing unread.
    async fn who_waits_for_a_receiver(&self) -> Client {
        let mut slow = self.client(&connect(Version::V5, "slow")).await;
        slow.write(&encoded(&subscribe(&["s"], QoS::AtLeastOnce), Version::V5)).await;
        settle().await;
        let mut client = self.client(&connect_with_will(Version::V5, "p", "t/will")).await;
        for number in 1..=7 {
            client.write(&to_the_receiver(number)).await;
            settle().await;
        }
        self.slow.borrow_mut().replace(slow);
        client
    }

    /// A client that hears everything below `t`, in order.
    pub(crate) async fn ear(&self) -> Client {
        let mut ear = self.client(&connect(Version::V5, "ear")).await;
        ear.write(&encoded(&subscribe(&["t/#"], QoS::AtMostOnce), Version::V5)).await;
        settle().await;
        assert_eq!(ear.read().await.len(), 1);
        ear
    }
}

/// The time of a runtime with a paused clock.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Time {
        Time::from_secs(1_000_000_000).after(self.0.elapsed())
    }
}

pub(crate) struct Client {
    pipe: DuplexStream,
    deaf: Arc<Mutex<Option<Instant>>>,
    broken: Arc<OnceLock<io::ErrorKind>>,
    pub(crate) task: JoinHandle<io::Result<()>>,
    version: Version,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.expect("room in the pipe");
    }

    /// The next packet, if one comes soon.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(self.unread.drain(..len).collect());
            }
            let soon = Duration::from_micros(10);
            match tokio::time::timeout(soon, self.pipe.read_buf(&mut self.unread)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return None,
            }
        }
    }

    /// All packets that have come.
    pub(crate) async fn read(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.next().await {
            packets.push(packet);
        }
        packets
    }

    /// The payloads of the PUBLISHes that have come.
    pub(crate) async fn payloads(&mut self) -> Vec<String> {
        let version = self.version;
        let payload = |packet: Vec<u8>| match decoded(&packet, version) {
            Packet::Publish(publish) => String::from_utf8(publish.payload.to_vec()).expect("text"),
            other => panic!("something else came: {other:?}"),
        };
        self.read().await.into_iter().map(payload).collect()
    }

    /// Closes; what it has sent is still read. Returns the task that serves it.
    fn close(self) -> JoinHandle<io::Result<()>> {
        self.task
    }

    /// The connection breaks; what it has sent is still read.
    fn breaks(self, kind: io::ErrorKind) -> JoinHandle<io::Result<()>> {
        self.broken.set(kind).expect("it breaks once");
        self.close()
    }
}

/// The broker's end of a pipe, which may break in the end.
struct Breakable {
    pipe: DuplexStream,
    broken: Arc<OnceLock<io::ErrorKind>>,
    /// Until then nothing is heard of what has come; nor when it is asked then for the first time.
    deaf: Arc<Mutex<Option<Instant>>>,
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let deaf = *self.deaf.lock().expect("a lock");
        if let Some(until) = deaf {
            if Instant::now() >= until {
                *self.deaf.lock().expect("a lock") = None;
            }
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.pipe).poll_read(cx, buf);
        let ended = matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        match self.broken.get() {
            Some(kind) if ended => Poll::Ready(Err((*kind).into())),
            _ => polled,
        }
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
