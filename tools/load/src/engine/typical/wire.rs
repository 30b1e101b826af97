//! rumqttc's two clients, for MQTT 3.1.1 and 5, as one: what is asked of them, and what they tell.

use std::time::Duration;

use ::rumqttc::v5::mqttbytes::v5 as packets5;
use ::rumqttc::{NetworkOptions, Outgoing, v5};
use sluicemq::codec::{QoS, Reason, Version};

use crate::plan::Plan;

/// The half that requests are made with.
#[derive(Clone)]
pub enum Handle {
    /// MQTT 3.1.1.
    V311(::rumqttc::AsyncClient),
    /// MQTT 5.
    V5(v5::AsyncClient),
}

/// The half that does the work while it is polled.
pub enum Events {
    /// MQTT 3.1.1.
    V311(Box<::rumqttc::EventLoop>),
    /// MQTT 5.
    V5(Box<v5::EventLoop>),
}

/// What happened at a poll.
#[derive(Debug)]
pub enum Happened {
    /// CONNACK: let in.
    Accepted,
    /// SUBACK, with its first refusal.
    Subscribed(Option<Reason>),
    /// A message came; topic and payload.
    Message(Topic, bytes::Bytes, QoS),
    /// A PUBLISH of `QoS` 1 or 2 was written under this identifier.
    Written(u16),
    /// Its handshake is over.
    Acknowledged(u16, Reason),
    /// DISCONNECT was written.
    Left,
    /// Nothing that matters here.
    Nothing,
}

/// A Topic Name as each client gives it.
#[derive(Debug)]
pub enum Topic {
    /// MQTT 3.1.1.
    Text(String),
    /// MQTT 5; not yet known to be UTF-8.
    Bytes(bytes::Bytes),
}

impl Topic {
    /// As text; empty if it is none, which is the topic of no message.
    pub fn as_str(&self) -> &str {
        match self {
            Topic::Text(text) => text,
            Topic::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or(""),
        }
    }
}

/// Why polling is over.
#[derive(Debug)]
pub enum Ended {
    /// CONNACK with this code.
    Refused(Reason),
    /// The connection failed.
    Lost(String),
}

/// The client that connects, and the address it connects to.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// Name or address, as it stands before `:port`.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// Client Identifier.
    pub client_id: &'a str,
    /// User Name and Password.
    pub credentials: Option<(&'a str, &'a str)>,
}

/// A client that is not connected before it is polled. Where the defaults of the library would
/// measure something else than it (Nagle's delay, 14 MB for each client of version 5), they are
/// set; all else is as it comes.
pub fn client(plan: &Plan, login: &Login<'_>) -> (Handle, Events) {
    let window = u16::try_from(plan.load.window).unwrap_or(u16::MAX).max(1);
    let keep_alive = Duration::from_secs(u64::from(plan.keep_alive_s));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT_S);
    if plan.version == Version::V5 {
        let mut options = v5::MqttOptions::new(login.client_id, login.host, login.port);
        options.set_keep_alive(keep_alive);
        options.set_max_packet_size(Some(PACKET_MAX));
        options.set_receive_maximum(plan.receive_maximum.map(Into::into));
        options.set_outgoing_inflight_upper_limit(window);
        options.set_connection_timeout(CONNECT_TIMEOUT_S);
        options.set_network_options(network);
        if let Some((user, password)) = login.credentials {
            options.set_credentials(user, password);
        }
        let (handle, events) = v5::AsyncClient::new(options, REQUESTS_MAX);
        return (Handle::V5(handle), Events::V5(Box::new(events)));
    }
    let mut options = ::rumqttc::MqttOptions::new(login.client_id, login.host, login.port);
    options.set_keep_alive(keep_alive);
    options.set_max_packet_size(PACKET_MAX as usize, PACKET_MAX as usize);
    options.set_inflight(window);
    if let Some((user, password)) = login.credentials {
        options.set_credentials(user, password);
    }
    let (handle, mut events) = ::rumqttc::AsyncClient::new(options, REQUESTS_MAX);
    events.set_network_options(network);
    (Handle::V311(handle), Events::V311(Box::new(events)))
}

impl Handle {
    /// Hands a PUBLISH over; waits while too many wait already.
    pub async fn publish(
        &self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: Vec<u8>,
    ) -> Result<(), String> {
        match self {
            Handle::V311(handle) => {
                let sent = handle.publish(topic, qos3(qos), retain, payload).await;
                sent.map_err(|error| error.to_string())
            }
            Handle::V5(handle) => {
                let sent = handle.publish(topic, qos5(qos), retain, payload).await;
                sent.map_err(|error| error.to_string())
            }
        }
    }

    /// Hands a SUBSCRIBE over.
    pub async fn subscribe(&self, filters: Vec<(String, QoS)>) -> Result<(), String> {
        match self {
            Handle::V311(handle) => {
                let filters = filters
                    .into_iter()
                    .map(|(filter, qos)| ::rumqttc::SubscribeFilter::new(filter, qos3(qos)));
                handle.subscribe_many(filters).await.map_err(|error| error.to_string())
            }
            Handle::V5(handle) => {
                let filters = filters
                    .into_iter()
                    .map(|(filter, qos)| packets5::Filter::new(filter, qos5(qos)));
                handle.subscribe_many(filters).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Hands a DISCONNECT over; false if there is no room for it.
    pub fn disconnect(&self) -> bool {
        match self {
            Handle::V311(handle) => handle.try_disconnect().is_ok(),
            Handle::V5(handle) => handle.try_disconnect().is_ok(),
        }
    }
}

impl Events {
    /// Goes on until something happens.
    pub async fn poll(&mut self) -> Result<Happened, Ended> {
        match self {
            Events::V311(events) => match events.poll().await {
                Ok(::rumqttc::Event::Incoming(packet)) => Ok(came3(packet)),
                Ok(::rumqttc::Event::Outgoing(outgoing)) => Ok(went(&outgoing)),
                Err(::rumqttc::ConnectionError::ConnectionRefused(code)) => {
                    Err(Ended::Refused(refusal3(code)))
                }
                Err(error) => Err(Ended::Lost(error.to_string())),
            },
            Events::V5(events) => match events.poll().await {
                Ok(v5::Event::Incoming(packet)) => Ok(came5(packet)),
                Ok(v5::Event::Outgoing(outgoing)) => Ok(went(&outgoing)),
                Err(
                    v5::ConnectionError::ConnectionRefused(code)
                    | v5::ConnectionError::MqttState(v5::StateError::ConnFail { reason: code }),
                ) => Err(Ended::Refused(refusal5(code))),
                Err(error) => Err(Ended::Lost(error.to_string())),
            },
        }
    }
}

fn came3(packet: ::rumqttc::Packet) -> Happened {
    use ::rumqttc::{Packet, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(_) => Happened::Accepted,
        Packet::Publish(publish) => {
            let qos = of_qos3(publish.qos);
            Happened::Message(Topic::Text(publish.topic), publish.payload, qos)
        }
        Packet::PubAck(ack) => Happened::Acknowledged(ack.pkid, Reason::Success),
        Packet::PubComp(ack) => Happened::Acknowledged(ack.pkid, Reason::Success),
        Packet::SubAck(ack) => {
            let refused = ack.return_codes.contains(&SubscribeReasonCode::Failure);
            Happened::Subscribed(refused.then_some(Reason::UnspecifiedError))
        }
        Packet::Connect(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect => Happened::Nothing,
    }
}

fn came5(packet: packets5::Packet) -> Happened {
    use packets5::{Packet, PubAckReason, PubRecReason};
    match packet {
        Packet::ConnAck(_) => Happened::Accepted,
        Packet::Publish(publish) => {
            let qos = of_qos5(publish.qos);
            Happened::Message(Topic::Bytes(publish.topic), publish.payload, qos)
        }
        Packet::PubAck(ack) => Happened::Acknowledged(
            ack.pkid,
            match ack.reason {
                PubAckReason::Success => Reason::Success,
                PubAckReason::NoMatchingSubscribers => Reason::NoMatchingSubscribers,
                PubAckReason::UnspecifiedError => Reason::UnspecifiedError,
                PubAckReason::ImplementationSpecificError => Reason::ImplementationSpecificError,
                PubAckReason::NotAuthorized => Reason::NotAuthorized,
                PubAckReason::TopicNameInvalid => Reason::TopicNameInvalid,
                PubAckReason::PacketIdentifierInUse => Reason::PacketIdentifierInUse,
                PubAckReason::QuotaExceeded => Reason::QuotaExceeded,
                PubAckReason::PayloadFormatInvalid => Reason::PayloadFormatInvalid,
            },
        ),
        // A refusal ends the handshake; else PUBCOMP does.
        Packet::PubRec(ack) => match ack.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Happened::Nothing,
            PubRecReason::UnspecifiedError
            | PubRecReason::ImplementationSpecificError
            | PubRecReason::NotAuthorized
            | PubRecReason::TopicNameInvalid
            | PubRecReason::PacketIdentifierInUse
            | PubRecReason::QuotaExceeded
            | PubRecReason::PayloadFormatInvalid => {
                Happened::Acknowledged(ack.pkid, Reason::UnspecifiedError)
            }
        },
        Packet::PubComp(ack) => Happened::Acknowledged(ack.pkid, Reason::Success),
        Packet::SubAck(ack) => Happened::Subscribed(ack.return_codes.iter().find_map(granted5)),
        Packet::Auth(_)
        | Packet::Connect(..)
        | Packet::PingReq(_)
        | Packet::PingResp(_)
        | Packet::Subscribe(_)
        | Packet::PubRel(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::Disconnect(_) => Happened::Nothing,
    }
}

fn went(outgoing: &Outgoing) -> Happened {
    match outgoing {
        Outgoing::Publish(id) if *id != 0 => Happened::Written(*id),
        Outgoing::Disconnect => Happened::Left,
        Outgoing::Publish(_)
        | Outgoing::Subscribe(_)
        | Outgoing::Unsubscribe(_)
        | Outgoing::PubAck(_)
        | Outgoing::PubRec(_)
        | Outgoing::PubRel(_)
        | Outgoing::PubComp(_)
        | Outgoing::PingReq
        | Outgoing::PingResp
        | Outgoing::AwaitAck(_) => Happened::Nothing,
    }
}

/// The refusal in a SUBACK, if it is one.
fn granted5(code: &packets5::SubscribeReasonCode) -> Option<Reason> {
    use packets5::SubscribeReasonCode as Code;
    match code {
        Code::Success(_) => None,
        Code::Failure | Code::Unspecified => Some(Reason::UnspecifiedError),
        Code::ImplementationSpecific => Some(Reason::ImplementationSpecificError),
        Code::NotAuthorized => Some(Reason::NotAuthorized),
        Code::TopicFilterInvalid => Some(Reason::TopicFilterInvalid),
        Code::PkidInUse => Some(Reason::PacketIdentifierInUse),
        Code::QuotaExceeded => Some(Reason::QuotaExceeded),
        Code::SharedSubscriptionsNotSupported => Some(Reason::SharedSubscriptionsNotSupported),
        Code::SubscriptionIdNotSupported => Some(Reason::SubscriptionIdentifiersNotSupported),
        Code::WildcardSubscriptionsNotSupported => Some(Reason::WildcardSubscriptionsNotSupported),
    }
}

fn refusal3(code: ::rumqttc::ConnectReturnCode) -> Reason {
    use ::rumqttc::ConnectReturnCode as Code;
    match code {
        Code::Success => Reason::Success,
        Code::RefusedProtocolVersion => Reason::UnsupportedProtocolVersion,
        Code::BadClientId => Reason::ClientIdentifierNotValid,
        Code::ServiceUnavailable => Reason::ServerUnavailable,
        Code::BadUserNamePassword => Reason::BadUserNameOrPassword,
        Code::NotAuthorized => Reason::NotAuthorized,
    }
}

fn refusal5(code: packets5::ConnectReturnCode) -> Reason {
    use packets5::ConnectReturnCode as Code;
    match code {
        Code::Success => Reason::Success,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            Reason::UnsupportedProtocolVersion
        }
        Code::BadClientId | Code::ClientIdentifierNotValid => Reason::ClientIdentifierNotValid,
        Code::ServiceUnavailable | Code::ServerUnavailable => Reason::ServerUnavailable,
        Code::UnspecifiedError => Reason::UnspecifiedError,
        Code::MalformedPacket => Reason::MalformedPacket,
        Code::ProtocolError => Reason::ProtocolError,
        Code::ImplementationSpecificError => Reason::ImplementationSpecificError,
        Code::BadUserNamePassword => Reason::BadUserNameOrPassword,
        Code::NotAuthorized => Reason::NotAuthorized,
        Code::ServerBusy => Reason::ServerBusy,
        Code::Banned => Reason::Banned,
        Code::BadAuthenticationMethod => Reason::BadAuthenticationMethod,
        Code::TopicNameInvalid => Reason::TopicNameInvalid,
        Code::PacketTooLarge => Reason::PacketTooLarge,
        Code::QuotaExceeded => Reason::QuotaExceeded,
        Code::PayloadFormatInvalid => Reason::PayloadFormatInvalid,
        Code::RetainNotSupported => Reason::RetainNotSupported,
        Code::QoSNotSupported => Reason::QoSNotSupported,
        Code::UseAnotherServer => Reason::UseAnotherServer,
        Code::ServerMoved => Reason::ServerMoved,
        Code::ConnectionRateExceeded => Reason::ConnectionRateExceeded,
    }
}

fn qos3(qos: QoS) -> ::rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => ::rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => ::rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => ::rumqttc::QoS::ExactlyOnce,
    }
}

fn qos5(qos: QoS) -> v5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => v5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn of_qos3(qos: ::rumqttc::QoS) -> QoS {
    match qos {
        ::rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
        ::rumqttc::QoS::AtLeastOnce => QoS::AtLeastOnce,
        ::rumqttc::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn of_qos5(qos: v5::mqttbytes::QoS) -> QoS {
    match qos {
        v5::mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        v5::mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v5::mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// Requests that wait for the library, at most; its examples have 10.
const REQUESTS_MAX: usize = 10;
/// Largest packet: what the protocol allows.
const PACKET_MAX: u32 = 268_435_460;
/// Seconds for a connection, CONNACK included.
const CONNECT_TIMEOUT_S: u64 = 60;
