//! The fifteen Control Packets in the shape of version 5, borrowed from the bytes they came in.
//!
//! Version 3.1.1 (and 3.1) packets are lowered into these on the way in and mapped back on the
//! way out; nothing outside the codec sees the difference.

use std::num::{NonZeroU16, NonZeroU32};

use super::property::Properties;
use super::reason::Reason;
use super::words::{PacketId, QoS, Version};

/// One Control Packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// Client asks for a connection.
    Connect(Box<Connect<'a>>),
    /// Server answers it.
    ConnAck(Box<ConnAck<'a>>),
    /// An Application Message, either way.
    Publish(Publish<'a>),
    /// `QoS` 1 answered.
    PubAck(Ack<'a>),
    /// `QoS` 2, first answer.
    PubRec(Ack<'a>),
    /// `QoS` 2, release.
    PubRel(Ack<'a>),
    /// `QoS` 2, done.
    PubComp(Ack<'a>),
    /// Client subscribes.
    Subscribe(Subscribe<'a>),
    /// Server answers it.
    SubAck(SubAck<'a>),
    /// Client unsubscribes.
    Unsubscribe(Unsubscribe<'a>),
    /// Server answers it. On 3.1.1 it has no reason codes: they are lost on the wire.
    UnsubAck(SubAck<'a>),
    /// Client shows that it is alive.
    PingReq,
    /// Server answers it.
    PingResp,
    /// Either side closes, with its reason.
    Disconnect(Disconnect<'a>),
    /// Enhanced authentication, either way.
    Auth(Auth<'a>),
}

/// CONNECT `[MQTT5-3.1]`. 3.1.1: Clean Session 1 is Clean Start 1 with Session Expiry 0,
/// Clean Session 0 is Clean Start 0 with Session Expiry `u32::MAX`.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// The version the client speaks.
    pub version: Version,
    /// It says that it is a bridge: a bit of the Protocol Level that no standard knows. Never of version 5.
    pub bridge: bool,
    /// Drop the stored Session first.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// May be empty: the server assigns one.
    pub client_id: &'a str,
    /// Seconds after the connection; 0 ends with it; `u32::MAX` never expires.
    pub session_expiry: u32,
    /// How many `QoS` 1 and 2 messages the client takes at once. Default 65535.
    pub receive_maximum: NonZeroU16,
    /// Largest packet the client takes, in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Highest Topic Alias the client takes. Default 0.
    pub topic_alias_maximum: u16,
    /// The client asks for Response Information. Default false.
    pub request_response_information: bool,
    /// The client wants Reason Strings and User Properties everywhere. Default true.
    pub request_problem_information: bool,
    /// User Properties of the CONNECT itself.
    pub user_properties: Properties<'a>,
    /// Method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Data of enhanced authentication.
    pub authentication_data: Option<&'a [u8]>,
    /// The Will.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Password: binary.
    pub password: Option<&'a [u8]>,
}

/// A client of version 5 that leaves all properties out: they are at the standard's defaults, and the
/// Session begins and ends with the connection.
impl Default for Connect<'_> {
    fn default() -> Self {
        Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: "",
            session_expiry: 0,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Properties::EMPTY,
            authentication_method: None,
            authentication_data: None,
            will: None,
            user_name: None,
            password: None,
        }
    }
}

/// The Will in a CONNECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Will<'a> {
    /// Quality of service it is published with.
    pub qos: QoS,
    /// Published retained.
    pub retain: bool,
    /// Will Delay Interval in seconds. Default 0.
    pub delay: u32,
    /// Message Expiry Interval in seconds, from the moment it is published.
    pub expiry: Option<u32>,
    /// Topic Name; checked: not empty, no wildcards.
    pub topic: &'a str,
    /// Application Message.
    pub payload: &'a [u8],
    /// What is forwarded with it, in order.
    pub properties: Properties<'a>,
}

/// CONNACK. `None` means: not on the wire, the default holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnAck<'a> {
    /// The server had a Session.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: Reason,
    /// Session Expiry Interval, if not the client's.
    pub session_expiry: Option<u32>,
    /// How many `QoS` 1 and 2 messages the server takes at once.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum `QoS`, only 0 or 1.
    pub maximum_qos: Option<QoS>,
    /// Retained messages are served. Default true.
    pub retain_available: Option<bool>,
    /// Largest packet the server takes, in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// For a client that came with an empty one.
    pub assigned_client_id: Option<&'a str>,
    /// Highest Topic Alias the server takes.
    pub topic_alias_maximum: Option<u16>,
    /// Human-readable.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: Properties<'a>,
    /// Wildcards in filters are served. Default true.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers are served. Default true.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscriptions are served. Default true.
    pub shared_available: Option<bool>,
    /// Seconds; overrides the client's.
    pub server_keep_alive: Option<u16>,
    /// Prefix of response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Data of enhanced authentication.
    pub authentication_data: Option<&'a [u8]>,
}

/// PUBLISH.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publish<'a> {
    /// Sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name without wildcards; empty only with a Topic Alias.
    pub topic: &'a str,
    /// Present exactly if `QoS` is above 0.
    pub packet_id: Option<PacketId>,
    /// Topic Alias.
    pub topic_alias: Option<NonZeroU16>,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    /// Subscription Identifiers to be written (outgoing). Decoding leaves this empty:
    /// [`Properties::subscription_ids`] reads them from the block.
    pub subscription_ids: &'a [u32],
    /// The block as it came (decoded), or what is forwarded (outgoing). The encoder writes
    /// from it only what [`Properties::forwarded`] yields, so a decoded block may be handed on.
    pub properties: Properties<'a>,
    /// Application Message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// Of the PUBLISH it belongs to.
    pub packet_id: PacketId,
    /// Reason Code.
    pub reason: Reason,
    /// Human-readable.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: Properties<'a>,
}

impl Ack<'_> {
    /// An answer with nothing but its code.
    pub fn new(packet_id: PacketId, reason: Reason) -> Ack<'static> {
        Ack { packet_id, reason, reason_string: None, user_properties: Properties::EMPTY }
    }
}

/// SUBSCRIBE. The filters are checked for form (UTF-8, length, options), not for wildcards.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Not zero.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
    /// User Properties: hop-local.
    pub user_properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<(&'a str, SubscribeOptions)>,
    /// Those after [`DecodeLimits::filters_at_once`](crate::codec::DecodeLimits::filters_at_once), as they
    /// came, checked for form too: see [`more_filters`](crate::codec::more_filters).
    pub rest: &'a [u8],
}

/// Options of one Topic Filter in a SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SubscribeOptions {
    /// Maximum `QoS`.
    pub qos: QoS,
    /// Not what the client itself published.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent at a SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Every time (and always on 3.1.1).
    #[default]
    Always = 0,
    /// Only if the Subscription is new.
    IfNew = 1,
    /// Never.
    Never = 2,
}

/// SUBACK and UNSUBACK: one Reason Code a filter, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// Of the request.
    pub packet_id: PacketId,
    /// Human-readable.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: Properties<'a>,
    /// `Reason::Success` is granted `QoS` 0 (UNSUBACK: success). A decoded 3.1.1 UNSUBACK has none.
    pub reasons: Vec<Reason>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Not zero.
    pub packet_id: PacketId,
    /// User Properties: hop-local.
    pub user_properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<&'a str>,
    /// Those after [`DecodeLimits::filters_at_once`](crate::codec::DecodeLimits::filters_at_once), as they
    /// came, checked for form too: see [`more_names`](crate::codec::more_names).
    pub rest: &'a [u8],
}

/// DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disconnect<'a> {
    /// Reason Code.
    pub reason: Reason,
    /// Changed Session Expiry Interval: from a client only.
    pub session_expiry: Option<u32>,
    /// Human-readable.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: Properties<'a>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
}

/// AUTH.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, `ContinueAuthentication` or `Reauthenticate`.
    pub reason: Reason,
    /// Absent only in an AUTH of length 0.
    pub method: Option<&'a str>,
    /// Method's own bytes.
    pub data: Option<&'a [u8]>,
    /// Human-readable.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub user_properties: Properties<'a>,
}
