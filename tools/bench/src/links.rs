//! A broker and its links in one thread, no sockets: what the broker itself costs.

use std::sync::Arc;
use std::task::Waker;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Link, PeerInfo, Ports};
use sluicemq::codec::{
    self, Connect, Packet, PacketId, Properties, Publish, QoS, Subscribe, SubscribeOptions, Version,
};
use sluicemq::config::{Config, NamedQueue};
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

/// A broker, and what its links take their turns with.
pub struct Links {
    broker: Broker,
    turn: Scratch,
    now: Time,
}

impl Links {
    /// A broker without clients, with wide limits.
    #[expect(clippy::new_without_default, reason = "a broker is nothing to have by default")]
    pub fn new() -> Links {
        Links::with_queues(Vec::new())
    }

    /// The same with named queues. If `WATCHED` is set in the environment, what happens is noted as with an HTTP
    /// listener that is not asked for it.
    pub fn with_queues(queues: Vec<NamedQueue>) -> Links {
        let ports = Ports {
            store: Arc::new(MemoryStore),
            authenticator: Arc::new(PasswordAuth::new(None)),
            access: Arc::new(PermitAll),
        };
        let now = Time::from_secs(1_700_000_000);
        let mut config = Config::default();
        config.queue.messages_max = 100_000;
        config.session.inflight_max = 1_000;
        config.named_queue = queues;
        let broker = Broker::new(&config, ports, 7, now);
        if std::env::var_os("WATCHED").is_some() {
            broker.watch();
        }
        let mut links = Links { broker, turn: Scratch::default(), now };
        // Queues are there from the start of a broker on.
        links.broker.restore(now, &mut links.turn).expect("an empty store is restored");
        links
    }

    /// A client that has connected.
    pub fn connect(&mut self, name: &str, version: Version) -> Link {
        let peer = PeerInfo {
            address: "bench".to_owned(),
            anonymous: true,
            nonce: 1,
            ..PeerInfo::default()
        };
        let mut link = Link::new(&self.broker, peer, self.now);
        let connect = Connect { version, client_id: name, ..Connect::default() };
        self.ask(&mut link, &Packet::Connect(Box::new(connect)), version);
        link
    }

    /// A client that has connected and subscribed to [`TOPIC`].
    pub fn subscriber(&mut self, name: &str, qos: QoS, version: Version) -> Subscriber {
        self.subscriber_to(TOPIC, name, qos, version)
    }

    /// A client that has connected and subscribed to a Topic Filter.
    pub fn subscriber_to(
        &mut self,
        filter: &str,
        name: &str,
        qos: QoS,
        version: Version,
    ) -> Subscriber {
        let mut link = self.connect(name, version);
        let subscribe = Subscribe {
            rest: &[],
            packet_id: PacketId::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![(filter, SubscribeOptions { qos, ..SubscribeOptions::default() })],
        };
        self.ask(&mut link, &Packet::Subscribe(subscribe), version);
        Subscriber { link, last_id: 0 }
    }

    /// Subscribes a client to these filters at `QoS` 0.
    pub fn subscribe(&mut self, link: &mut Link, filters: &[&str], version: Version) {
        let subscribe = Subscribe {
            packet_id: PacketId::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: filters.iter().map(|f| (*f, SubscribeOptions::default())).collect(),
            rest: &[],
        };
        self.ask(link, &Packet::Subscribe(subscribe), version);
    }

    /// What one read of a publisher's socket causes; how many bytes are its answers.
    pub fn publish(&mut self, publisher: &mut Link, bytes: &[u8]) -> usize {
        self.turn.out.clear();
        publisher.receive(bytes, self.now, &mut self.turn);
        publisher.poll(Waker::noop(), self.now, 0, &mut self.turn);
        self.turn.out.len()
    }

    /// What a subscriber's wake-up causes; how many bytes it is sent.
    pub fn deliver(&mut self, subscriber: &mut Subscriber) -> usize {
        self.turn.out.clear();
        subscriber.link.poll(Waker::noop(), self.now, 0, &mut self.turn);
        self.turn.out.len()
    }

    /// One read of `count` PUBACKs for the oldest that were delivered; how many bytes the subscriber is sent then.
    pub fn acknowledge(&mut self, subscriber: &mut Subscriber, count: usize) -> usize {
        let mut acks = [0; 4 * BATCH];
        let acks = &mut acks[..4 * count];
        for ack in acks.chunks_exact_mut(4) {
            subscriber.last_id = subscriber.last_id.checked_add(1).unwrap_or(1);
            let [high, low] = subscriber.last_id.to_be_bytes();
            ack.copy_from_slice(&[0x40, 2, high, low]);
        }
        self.turn.out.clear();
        subscriber.link.receive(acks, self.now, &mut self.turn);
        subscriber.link.poll(Waker::noop(), self.now, 0, &mut self.turn);
        assert!(!subscriber.link.is_closed(), "the acknowledged packets were in flight");
        self.turn.out.len()
    }

    /// The connection is gone.
    pub fn hang_up(&mut self, link: &mut Link) {
        link.hang_up(self.now, &mut self.turn);
        self.turn.out.clear();
    }

    fn ask(&mut self, link: &mut Link, packet: &Packet<'_>, version: Version) {
        let mut bytes = Vec::new();
        codec::encode(packet, version, usize::MAX, &mut bytes).expect("it is well-formed");
        self.turn.out.clear();
        assert!(link.receive(&bytes, self.now, &mut self.turn) > 0);
        link.poll(Waker::noop(), self.now, 0, &mut self.turn);
        assert!(!self.turn.out.is_empty(), "the broker answered");
        self.turn.out.clear();
    }
}

/// A client that is sent messages.
pub struct Subscriber {
    /// The broker's end of it.
    pub link: Link,
    last_id: u16,
}

/// `count` PUBLISHes to [`TOPIC`] with a payload of 64 bytes, as a socket would yield them; at most
/// [`BATCH`].
pub fn publishes(count: usize, qos: QoS, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in 1..=count.min(BATCH) as u16 {
        let publish = Publish {
            qos,
            topic: TOPIC,
            packet_id: PacketId::new(id).filter(|_| qos > QoS::AtMostOnce),
            payload: &[b'x'; 64],
            ..Publish::default()
        };
        let written = codec::encode(&Packet::Publish(publish), version, usize::MAX, &mut bytes);
        written.expect("it is well-formed");
    }
    bytes
}

/// PUBLISHes in one read: as many as a 3.1.1 client may be owed answers for.
pub const BATCH: usize = 64;

/// What is published to and subscribed to.
pub const TOPIC: &str = "fleet/17/device/4711/temp";
