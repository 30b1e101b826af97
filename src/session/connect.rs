//! Negotiation: what CONNECT asks, what CONNACK grants.

use std::num::{NonZeroU16, NonZeroU32};

use super::Policy;
use crate::codec::{ConnAck, Connect, QoS, Reason, Version};
use crate::message::{Grounds, RefusalKind};
use crate::topic::{DelayedTopic, TopicName, is_delayed};

/// What CONNECT agreed, for one Network Connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The client's version.
    pub version: Version,
    /// The client is a bridge: its Subscriptions are without what it publishes itself, and with RETAIN as
    /// published.
    pub bridge: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    /// Session Expiry Interval granted, seconds; `u32::MAX` never.
    pub expiry: u32,
    /// Session Expiry Interval asked for: a DISCONNECT is measured against it.
    pub asked_expiry: u32,
    /// `QoS` 1 and 2 messages the client takes at once.
    pub receive_maximum: u16,
    /// Largest packet the client takes, bytes; `u32::MAX` is no limit.
    pub packet_max: u32,
    /// Most aliases that the broker may set.
    pub alias_out_max: u16,
    /// Most aliases that the client may set.
    pub alias_in_max: u16,
    /// The client wants Reason Strings.
    pub problem_information: bool,
    /// It asked for a Clean Start.
    pub clean_start: bool,
}

impl Terms {
    /// Terms of a Session without a connection: only the expiry (in seconds) counts.
    pub fn parked(expiry: u32) -> Terms {
        Terms {
            version: Version::V5,
            bridge: false,
            keep_alive: 0,
            expiry,
            asked_expiry: expiry,
            receive_maximum: 1,
            packet_max: u32::MAX,
            alias_out_max: 0,
            alias_in_max: 0,
            problem_information: false,
            clean_start: false,
        }
    }
}

/// What the broker grants a valid CONNECT.
///
/// # Errors
///
/// The Reason Code to refuse it with, and for the log why.
#[inline]
pub fn negotiate(connect: &Connect<'_>, policy: &Policy) -> Result<Terms, (Reason, Grounds)> {
    let refuse = |reason, kind| Err((reason, Grounds::new(kind)));
    let (len, max) = (connect.client_id.len() as u64, policy.limits.client_id_bytes_max.into());
    if len > max {
        let grounds = Grounds::limit(RefusalKind::ClientIdBytes, max, len);
        return Err((Reason::ClientIdentifierNotValid, grounds));
    }
    // 3.1.1 cannot tell the client an assigned one, so the client could never resume the Session; 3.1 has
    // none [MQTT311-3.1.3-8].
    let assignable = match connect.version {
        Version::V31 => false,
        Version::V311 => connect.clean_start,
        Version::V5 => true,
    };
    if connect.client_id.is_empty() && !assignable {
        return refuse(Reason::ClientIdentifierNotValid, RefusalKind::ClientIdEmpty);
    }
    if let Some(will) = &connect.will {
        if will.qos > policy.qos_max {
            return refuse(Reason::QoSNotSupported, RefusalKind::WillQos); // [MQTT5-3.2.2-12]
        }
        if will.retain && !policy.session.retain_available {
            // [MQTT5-3.2.2-13]
            return refuse(Reason::RetainNotSupported, RefusalKind::WillRetain);
        }
        let name = TopicName::parse(will.topic, &policy.topic);
        let closed = reserved(will.topic) && !is_bridge_state(will.topic, will.payload);
        let unfit = is_delayed(will.topic) && DelayedTopic::parse(will.topic).is_err();
        if name.is_err() || closed || unfit {
            return refuse(Reason::TopicNameInvalid, RefusalKind::WillTopic);
        }
    }
    Ok(Terms {
        version: connect.version,
        bridge: connect.bridge,
        keep_alive: keep_alive(connect, policy),
        expiry: capped_expiry(connect.session_expiry, policy),
        asked_expiry: connect.session_expiry,
        receive_maximum: connect.receive_maximum.get(),
        packet_max: connect.maximum_packet_size.map_or(u32::MAX, |max| max.get()),
        alias_out_max: connect.topic_alias_maximum.min(policy.session.topic_alias_out_max),
        alias_in_max: policy.session.topic_alias_maximum,
        problem_information: connect.request_problem_information,
        clean_start: connect.clean_start,
    })
}

/// The CONNACK that grants `terms`: it says only what differs from the default.
pub fn granted<'a>(
    connect_keep_alive: u16,
    assigned: Option<&'a str>,
    terms: &Terms,
    policy: &Policy,
    session_present: bool,
) -> ConnAck<'a> {
    let session = &policy.session;
    let packet_max = announced_packet_max(policy);
    ConnAck {
        session_present,
        reason: Reason::Success,
        session_expiry: (terms.expiry != terms.asked_expiry).then_some(terms.expiry),
        receive_maximum: NonZeroU16::new(session.receive_maximum)
            .filter(|max| max.get() < u16::MAX),
        maximum_qos: (policy.qos_max < QoS::ExactlyOnce).then_some(policy.qos_max),
        retain_available: (!session.retain_available).then_some(false),
        shared_available: (!policy.shared_available).then_some(false),
        maximum_packet_size: NonZeroU32::new(packet_max),
        assigned_client_id: assigned,
        topic_alias_maximum: (terms.alias_in_max > 0).then_some(terms.alias_in_max),
        server_keep_alive: (terms.keep_alive != connect_keep_alive).then_some(terms.keep_alive),
        ..ConnAck::default()
    }
}

/// The Maximum Packet Size that is announced. A packet can be five bytes longer than a Variable Byte Integer
/// can say, but clients refuse a CONNACK with more than that.
fn announced_packet_max(policy: &Policy) -> u32 {
    const MOST: u32 = 268_435_455;
    u32::try_from(policy.limits.packet_bytes_max.0).map_or(MOST, |max| max.min(MOST))
}

/// The Session Expiry Interval that is granted to a client that asks for `seconds`.
pub fn capped_expiry(seconds: u32, policy: &Policy) -> u32 {
    let max = policy.session.expiry_max.0.as_secs();
    seconds.min(u32::try_from(max).unwrap_or(u32::MAX))
}

/// Whether only the broker itself publishes to `topic`.
#[inline]
pub fn reserved(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$') && is_own(topic)
}

#[cold]
fn is_own(topic: &str) -> bool {
    ["$SYS/", "$dead/"].iter().any(|own| topic.starts_with(own))
        || topic == "$SYS"
        || topic == "$dead"
        || is_of_filters(topic)
}

/// Whether `topic` begins as only Topic Filters do: nothing is published there.
#[inline]
pub(super) fn for_subscribers(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$') && is_of_filters(topic)
}

#[cold]
fn is_of_filters(topic: &str) -> bool {
    ["$share/", "$queue/", "$replay/", "$exclusive/"].iter().any(|own| topic.starts_with(own))
}

/// Whether this is what mosquitto publishes, as a bridge, to the broker that it connects to: whether it is
/// connected, under a name of its own.
pub fn is_bridge_state(topic: &str, payload: &[u8]) -> bool {
    const NAME_BYTES_MAX: usize = 64;
    let name = topic.strip_prefix("$SYS/broker/connection/");
    let name = name.and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains('/'))
        && matches!(payload, b"0" | b"1")
}

/// Only a version 5 client can be told another Keep Alive `[MQTT5-3.2.2-21]`.
fn keep_alive(connect: &Connect<'_>, policy: &Policy) -> u16 {
    let max = policy.session.keep_alive_max_s;
    let asked = connect.keep_alive;
    let over = max > 0 && (asked == 0 || asked > max);
    if over && connect.version == Version::V5 { max } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeLimits, Decoded, Packet, Sender, decode, encode};
    use crate::config::{LimitsConfig, SessionConfig, Size, Span};

    /// The CONNACK to a version 5 CONNECT under these settings, as the client reads it.
    fn announced(
        limits: &LimitsConfig,
        session: &SessionConfig,
        connect: &Connect<'_>,
    ) -> Announced {
        let policy = Policy::new(limits, session);
        let terms = negotiate(connect, &policy).unwrap();
        let connack = granted(connect.keep_alive, None, &terms, &policy, false);
        let mut bytes = Vec::new();
        let packet = Packet::ConnAck(Box::new(connack));
        encode(&packet, Version::V5, usize::MAX, &mut bytes).unwrap();
        let decoded = decode(&bytes, Some(Version::V5), Sender::Server, &DecodeLimits::NONE);
        let Ok(Decoded::Packet { packet: Packet::ConnAck(connack), .. }) = decoded else {
            panic!("no CONNACK: {decoded:?}")
        };
        Announced {
            packet_max: connack.maximum_packet_size.map(NonZeroU32::get),
            receive_maximum: connack.receive_maximum.map(NonZeroU16::get),
            aliases: connack.topic_alias_maximum,
            keep_alive: connack.server_keep_alive,
            expiry: connack.session_expiry,
        }
    }

    #[derive(Debug, Eq, PartialEq)]
    struct Announced {
        packet_max: Option<u32>,
        receive_maximum: Option<u16>,
        aliases: Option<u16>,
        keep_alive: Option<u16>,
        expiry: Option<u32>,
    }

    #[test]
    fn what_is_announced_is_within_the_standard_however_wide_the_configuration_is() {
        let connect =
            Connect { version: Version::V5, session_expiry: u32::MAX, ..Connect::default() };
        for (bytes, told) in [
            (256, 256),
            (268_435_454, 268_435_454),
            (268_435_455, 268_435_455),
            (256 << 20, 268_435_455),
            (268_435_460, 268_435_455),
        ] {
            let limits = LimitsConfig { packet_bytes_max: Size(bytes), ..Default::default() };
            let found = announced(&limits, &SessionConfig::default(), &connect);
            assert_eq!(found.packet_max, Some(told), "{bytes}");
        }
        let widest = SessionConfig {
            receive_maximum: u16::MAX,
            topic_alias_maximum: u16::MAX,
            keep_alive_max_s: u16::MAX,
            expiry_max: Span::secs(u32::MAX.into()),
            ..SessionConfig::default()
        };
        let found = announced(&LimitsConfig::default(), &widest, &connect);
        let wanted = Announced {
            packet_max: Some(4 << 20),
            receive_maximum: None, // 65,535 is what it is where nothing is said [MQTT5-3.2.2.3.3].
            aliases: Some(u16::MAX),
            keep_alive: Some(u16::MAX), // It asked for none.
            expiry: None,               // As it asked.
        };
        assert_eq!(found, wanted);
        let narrowest = SessionConfig {
            receive_maximum: 1,
            topic_alias_maximum: 0,
            keep_alive_max_s: 1,
            expiry_max: Span::millis(999),
            ..SessionConfig::default()
        };
        let found = announced(&LimitsConfig::default(), &narrowest, &connect);
        let wanted = Announced {
            packet_max: Some(4 << 20),
            receive_maximum: Some(1),
            aliases: None,
            keep_alive: Some(1),
            expiry: Some(0),
        };
        assert_eq!(found, wanted);
    }
}
