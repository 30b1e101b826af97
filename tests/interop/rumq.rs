//! rumqttc, a client of its own reading, for both versions: its `v4` is MQTT 3.1.1.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::v5;

use super::PLAIN;
use super::process::Sluice;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn rumqttc_v4_speaks_with_the_broker() {
    messages_go_round::<V4>();
    a_session_outlives_its_connection::<V4>();
}

#[test]
fn rumqttc_v5_speaks_with_the_broker() {
    messages_go_round::<V5>();
    a_session_outlives_its_connection::<V5>();
}

fn messages_go_round<C: Client>() {
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    let mut client = C::connect(at, "round", true);
    assert!(!client.connected());
    client.subscribe("round/#", 2);
    client.subscribed();
    for qos in 0..=2 {
        client.publish("round/trip", qos, true, &format!("at {qos}"));
        let came = client.message();
        let text = format!("at {qos}");
        assert_eq!(came, Message { topic: "round/trip".into(), qos, retain: false, text });
    }
    let mut later = C::connect(at, "later", true);
    later.subscribe("round/+", 1);
    let kept = later.message();
    let text = "at 2".to_owned();
    assert_eq!(kept, Message { topic: "round/trip".into(), qos: 1, retain: true, text });
}

fn a_session_outlives_its_connection<C: Client>() {
    let broker = Sluice::start(PLAIN);
    let at = broker.address("tcp");
    let mut client = C::connect(at, "stays", false);
    assert!(!client.connected());
    client.subscribe("stays/#", 2);
    client.subscribed();
    drop(client);

    let mut other = C::connect(at, "other", true);
    other.subscribe("stays/last", 2);
    other.subscribed();
    for number in 0..10 {
        other.publish("stays/line", 2, false, &number.to_string());
    }
    other.publish("stays/last", 2, false, "10");
    other.message();

    let mut back = C::connect(at, "stays", false);
    assert!(back.connected(), "the session is there");
    for number in 0..=10 {
        let message = back.message();
        assert_eq!(message.text, number.to_string());
    }
}

/// What both clients have in common.
pub trait Client: Sized {
    fn connect(at: SocketAddr, id: &str, clean: bool) -> Self;
    fn subscribe(&mut self, filter: &str, qos: u8);
    fn publish(&mut self, topic: &str, qos: u8, retain: bool, text: &str);
    /// The next packet that came from the broker.
    fn next(&mut self) -> Packet;

    /// Waits for CONNACK; returns Session Present.
    fn connected(&mut self) -> bool {
        loop {
            if let Packet::ConnAck { session_present } = self.next() {
                return session_present;
            }
        }
    }

    /// Waits for SUBACK.
    fn subscribed(&mut self) {
        while self.next() != Packet::SubAck {}
    }

    /// Waits for PUBACK; returns whether it accepts.
    fn accepted(&mut self) -> bool {
        loop {
            if let Packet::PubAck { accepted } = self.next() {
                return accepted;
            }
        }
    }

    /// Waits for a PUBLISH.
    fn message(&mut self) -> Message {
        loop {
            if let Packet::Publish(message) = self.next() {
                return message;
            }
        }
    }
}

/// What came, as far as it is looked at.
#[derive(Debug, PartialEq)]
pub enum Packet {
    ConnAck { session_present: bool },
    PubAck { accepted: bool },
    SubAck,
    Publish(Message),
    Other,
}

/// A PUBLISH.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub text: String,
}

/// The one for 3.1.1.
pub struct V4(rumqttc::Client, rumqttc::Connection);

impl Client for V4 {
    fn connect(at: SocketAddr, id: &str, clean: bool) -> V4 {
        let mut options = rumqttc::MqttOptions::new(id, at.ip().to_string(), at.port());
        options.set_clean_session(clean);
        let (client, connection) = rumqttc::Client::new(options, 100);
        V4(client, connection)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        let qos = rumqttc::qos(qos).expect("0, 1 or 2");
        self.0.subscribe(filter, qos).expect("a client that runs");
    }

    fn publish(&mut self, topic: &str, qos: u8, retain: bool, text: &str) {
        let qos = rumqttc::qos(qos).expect("0, 1 or 2");
        self.0.publish(topic, qos, retain, text).expect("a client that runs");
    }

    fn next(&mut self) -> Packet {
        use rumqttc::{Event, Packet as P};
        match self.1.recv_timeout(DEADLINE).expect("a packet in time").expect("no error") {
            Event::Incoming(P::ConnAck(ack)) => {
                Packet::ConnAck { session_present: ack.session_present }
            }
            Event::Incoming(P::PubAck(_)) => Packet::PubAck { accepted: true },
            Event::Incoming(P::SubAck(_)) => Packet::SubAck,
            Event::Incoming(P::Publish(publish)) => Packet::Publish(Message {
                topic: publish.topic,
                qos: publish.qos as u8,
                retain: publish.retain,
                text: String::from_utf8_lossy(&publish.payload).into_owned(),
            }),
            Event::Incoming(_) | Event::Outgoing(_) => Packet::Other,
        }
    }
}

/// The one for 5.
pub struct V5(v5::Client, v5::Connection);

impl Client for V5 {
    fn connect(at: SocketAddr, id: &str, clean: bool) -> V5 {
        let mut options = v5::MqttOptions::new(id, at.ip().to_string(), at.port());
        options.set_clean_start(clean);
        options.set_session_expiry_interval((!clean).then_some(3600));
        let (client, connection) = v5::Client::new(options, 100);
        V5(client, connection)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        let qos = v5::mqttbytes::qos(qos).expect("0, 1 or 2");
        self.0.subscribe(filter, qos).expect("a client that runs");
    }

    fn publish(&mut self, topic: &str, qos: u8, retain: bool, text: &str) {
        let qos = v5::mqttbytes::qos(qos).expect("0, 1 or 2");
        self.0.publish(topic, qos, retain, text.to_owned()).expect("a client that runs");
    }

    fn next(&mut self) -> Packet {
        use v5::Event;
        use v5::mqttbytes::v5::{Packet as P, PubAckReason};
        match self.1.recv_timeout(DEADLINE).expect("a packet in time").expect("no error") {
            Event::Incoming(P::ConnAck(ack)) => {
                Packet::ConnAck { session_present: ack.session_present }
            }
            Event::Incoming(P::PubAck(ack)) => match ack.reason {
                PubAckReason::Success => Packet::PubAck { accepted: true },
                PubAckReason::QuotaExceeded => Packet::PubAck { accepted: false },
                other => panic!("{other:?}"),
            },
            Event::Incoming(P::SubAck(_)) => Packet::SubAck,
            Event::Incoming(P::Publish(publish)) => Packet::Publish(Message {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                qos: publish.qos as u8,
                retain: publish.retain,
                text: String::from_utf8_lossy(&publish.payload).into_owned(),
            }),
            Event::Incoming(_) | Event::Outgoing(_) => Packet::Other,
        }
    }
}
