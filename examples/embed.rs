//! A broker inside a program, without a socket: it receives, publishes, sees back-pressure, looks at
//! a client and disconnects it. Run it with `cargo run --example embed`.

use std::error::Error;
use std::sync::Arc;
use std::task::Waker;
use std::thread;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::ports::Progress;
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{
    Broker, DeliveryOutcome, Link, PeerInfo, Ports, PublishHandle, Receiver, Sent,
};
use sluicemq::codec::{self, Connect, Packet, Properties, QoS, Reason, SubscribeOptions, Version};
use sluicemq::config::Config;
use sluicemq::message::{ClientId, Draft};
use sluicemq::session::{Policy, Room};
use sluicemq::store::MemoryStore;
use sluicemq::time::{Clock, SystemClock, Time};
use sluicemq::topic::{TopicFilter, TopicName};

fn main() -> Result<(), Box<dyn Error>> {
    // A queue of ten messages, so that back-pressure is seen soon.
    let mut config = Config::default();
    config.queue.messages_max = 10;
    let limits = Policy::new(&config.limits, &config.session).topic;
    let ports = Ports {
        store: Arc::new(MemoryStore),
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    let clock = SystemClock::start(Time::START);
    // The seed feeds the broker's hashes: a server draws it at random.
    let broker = Broker::new(&config, ports, 7, clock.now());
    // Scratch memory: one for each thread.
    let mut scratch = Scratch::default();
    // A program with a task or a thread to wake has a waker of its own.
    let waker = Waker::noop();

    // A receiver. The program decides how much may be in flight.
    let filters = [(TopicFilter::parse("meters/#", &limits)?, options(QoS::AtLeastOnce))];
    let tail = broker.identity("tail", None);
    let mut receiver = Receiver::open(&broker, &tail, &filters, clock.now(), &mut scratch)
        .map_err(Reason::name)?;
    let room = Room { window: 32, bytes: 1 << 20 };
    assert!(receiver.take(room, waker, clock.now(), &mut scratch).is_empty());

    // A publisher. It stops when it is told to pause, as a link stops reading its client.
    let mut sender = PublishHandle::new(&broker, broker.identity("source", None));
    let mut published = 0;
    while sender.is_ready(waker, clock.now(), &mut scratch) {
        let sent = sender.publish(&reading("21.5", &limits)?, clock.now(), &mut scratch);
        assert_eq!(sent.reason(), Reason::Success);
        wait_for_the_store(&sender, sent);
        published += 1;
    }
    assert!((5..10).contains(&published), "it pauses before the queue is full");

    // What is taken is in flight until it is settled.
    let mut received = 0;
    loop {
        let taken = receiver.take(room, waker, clock.now(), &mut scratch);
        if taken.is_empty() {
            break;
        }
        for delivery in taken {
            println!("{}: {:?}", delivery.message.topic().as_str(), delivery.message.payload());
            received += 1;
            receiver.settle(delivery, DeliveryOutcome::Completed, clock.now(), &mut scratch);
        }
    }
    assert_eq!(received, published);
    assert!(sender.is_ready(waker, clock.now(), &mut scratch), "the queue is empty again");

    // A client: its bytes come from memory as they would from a socket.
    let peer = PeerInfo { anonymous: true, ..PeerInfo::default() };
    let mut link = Link::new(&broker, peer, clock.now());
    let connect = Connect { client_id: "meter-1", ..Connect::default() };
    let mut bytes = Vec::new();
    codec::encode(&Packet::Connect(Box::new(connect)), Version::V5, usize::MAX, &mut bytes)?;
    link.receive(&bytes, clock.now(), &mut scratch);
    link.poll(waker, clock.now(), 0, &mut scratch);
    println!("CONNACK: {:02x?}", scratch.out);

    // Looking at a client disturbs nothing.
    let meter = ClientId::new("meter-1");
    let client = broker.client(&meter).ok_or("it is connected")?;
    assert!(client.connected && client.account.routed == [0, 0]);
    // A client is told to go: its link closes with this Reason Code.
    scratch.out.clear();
    assert!(broker.kick(&meter, Reason::AdministrativeAction));
    let flow = link.poll(waker, clock.now(), 0, &mut scratch);
    assert!(flow.close && scratch.out[0] == 0xE0, "DISCONNECT is written, then the end");
    assert!(broker.client(&meter).is_none(), "its Session did not outlive it");
    Ok(())
}

/// A message of a meter.
fn reading<'a>(
    payload: &'a str,
    limits: &sluicemq::topic::TopicLimits,
) -> Result<Draft<'a>, sluicemq::topic::TopicError> {
    Ok(Draft {
        topic: TopicName::parse("meters/1", limits)?,
        qos: QoS::AtLeastOnce,
        retain: false,
        expiry: None,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    })
}

/// Waits until the message is safe: at once where nothing is remembered, as here.
fn wait_for_the_store(sender: &PublishHandle, sent: Sent) {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let Some(receipt) = sent.receipt() else { return };
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while sender.durability(receipt, &waker) == Progress::Pending {
        thread::park();
    }
}

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}
