//! On which grounds a link refuses what its peer sent, and the CONNACK that says so.

use std::net::{IpAddr, SocketAddr};

use tracing::debug;

use super::PeerInfo;
use super::attachment::Attachment;
use crate::broker::metrics::Counter;
use crate::broker::turn::Turn;
use crate::broker::{Peer, RefusalNote};
use crate::codec::{self, ConnAck, DecodeError, Disconnect, Packet, Properties, Reason, Version};
use crate::message::{Grounds, RefusalKind};
use crate::session::Policy;

impl PeerInfo {
    /// It, as the log names it.
    pub(super) fn peer(&self) -> Peer<'_> {
        Peer::at(&self.address, self.ip()).on(self.listener)
    }

    fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok().map(|address: SocketAddr| address.ip())
    }
}

impl Attachment {
    /// Its client, as the log names it.
    pub fn peer(&self) -> Peer<'_> {
        let identity = self.identity();
        let (client, user) = (identity.client_id.as_str(), identity.user_name.as_deref());
        self.origin.peer().client(client).user(user)
    }

    /// Says that a PUBLISH of the client was refused before it was routed, or its retained copy.
    #[cold]
    pub fn say_refused(&self, topic: &str, turn: &mut Turn<'_>) {
        if let Some(grounds) = turn.refused.take() {
            self.note_refused(grounds, topic, turn);
            let note = RefusalNote::new(grounds).topic(topic);
            turn.broker.note_refusal(&note, &self.peer(), turn.now);
        }
    }

    /// Something that the client asked for was refused, and its connection goes on.
    #[cold]
    pub fn on_refused(&self, grounds: Grounds, topic: &str, count: u64, turn: &mut Turn<'_>) {
        if grounds.kind().is_of_full_filters() {
            turn.broker.metrics().add(Counter::FiltersRefused, count);
        }
        if grounds.kind() == RefusalKind::PublishTopic {
            self.note_refused(grounds, topic, turn);
        }
        let note = RefusalNote::new(grounds).topic(topic).count(count);
        turn.broker.note_refusal(&note, &self.peer(), turn.now);
    }

    /// It is among the latest losses.
    fn note_refused(&self, grounds: Grounds, topic: &str, turn: &mut Turn<'_>) {
        let (client, kind) = (self.identity(), grounds.kind());
        turn.broker.note_refused_publish(client, topic, kind, &mut turn.scratch.gone);
    }
}

/// Of a client that is disconnected with `reason`; `None` where it is not for something that it sent.
pub(super) fn of_close(reason: Reason, policy: &Policy) -> Option<Grounds> {
    let next = |kind, limit: u64| Grounds::limit(kind, limit, limit + 1);
    Some(match reason {
        Reason::MalformedPacket => Grounds::new(RefusalKind::Malformed),
        Reason::ProtocolError => Grounds::new(RefusalKind::ProtocolError),
        Reason::PacketTooLarge => Grounds::new(RefusalKind::PacketBytes),
        Reason::ReceiveMaximumExceeded => {
            next(RefusalKind::ReceiveMaximum, policy.session.receive_maximum.into())
        }
        Reason::QuotaExceeded => next(RefusalKind::Unreleased, policy.limits.unreleased_max.into()),
        Reason::TopicAliasInvalid => Grounds::new(RefusalKind::TopicAlias),
        Reason::QoSNotSupported => Grounds::new(RefusalKind::Qos),
        Reason::RetainNotSupported => Grounds::new(RefusalKind::Retain),
        Reason::MessageRateTooHigh => Grounds::new(RefusalKind::RateDisconnect),
        Reason::TopicNameInvalid => Grounds::new(RefusalKind::PublishTopic),
        Reason::TopicFilterInvalid => Grounds::new(RefusalKind::SubscribeFilter),
        Reason::NotAuthorized
        | Reason::BadUserNameOrPassword
        | Reason::BadAuthenticationMethod
        | Reason::ServerUnavailable
        | Reason::ServerBusy => return of_verdict(reason),
        // A takeover, silence, the end of the broker, a failed store, an administrator.
        _ => return None,
    })
}

/// Of a client that the authenticator refuses with `reason`.
pub(super) fn of_verdict(reason: Reason) -> Option<Grounds> {
    let kind = match reason {
        Reason::BadUserNameOrPassword => RefusalKind::Credentials,
        Reason::BadAuthenticationMethod => RefusalKind::AuthMethod,
        Reason::ServerUnavailable | Reason::ServerBusy => RefusalKind::AuthBusy,
        Reason::Banned => RefusalKind::LoginBanned,
        Reason::ProtocolError | Reason::MalformedPacket => RefusalKind::AuthBroken,
        _ => RefusalKind::ConnectNotAuthorized,
    };
    Some(Grounds::new(kind))
}

/// Of a connected client that sent what cannot be decoded.
pub(super) fn of_packet(error: &DecodeError, policy: &Policy) -> Option<Grounds> {
    match *error {
        DecodeError::TooLarge { len, max } => {
            Some(Grounds::limit(RefusalKind::PacketBytes, max as u64, len as u64))
        }
        _ => of_close(error.reason(), policy),
    }
}

/// Of a peer that has said nothing before these bytes.
pub(super) fn of_first_bytes(bytes: &[u8], error: &DecodeError) -> Grounds {
    let methods: [&[u8]; 8] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PRI * "];
    let begins = |with: &[u8]| bytes.starts_with(with);
    let kind = match *error {
        DecodeError::TooLarge { len, max } => {
            return Grounds::limit(RefusalKind::ConnectBytes, max as u64, len as u64);
        }
        DecodeError::UnsupportedVersion { .. } => RefusalKind::ProtocolLevel,
        // A handshake record of TLS: all its versions begin with 3; a ClientHello of SSL 2.
        _ if begins(&[0x16, 3]) || (begins(&[0x80]) && bytes.get(2) == Some(&1)) => {
            RefusalKind::TlsWithoutTls
        }
        _ if methods.iter().any(|method| begins(method)) => RefusalKind::Http,
        // What both versions begin with: the first read may have no more of it.
        _ if begins(b"PROXY") || begins(b"\r\n\r\n\0") => RefusalKind::ProxyProtocol,
        // The type of CONNECT and its flags.
        _ if begins(&[0x10]) => RefusalKind::ConnectMalformed,
        _ => RefusalKind::NotMqtt,
    };
    Grounds::new(kind)
}

/// Whether the first bytes are those of another protocol that is known.
pub(super) fn speaks_other(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::Http | RefusalKind::TlsWithoutTls | RefusalKind::ProxyProtocol)
}

/// A DISCONNECT for this reason.
pub(super) fn disconnect(reason: Reason, policy: &Policy) -> Packet<'_> {
    let server_reference = reference(reason, policy);
    Packet::Disconnect(Disconnect { reason, server_reference, ..Disconnect::default() })
}

/// Where the client is to connect instead.
fn reference(reason: Reason, policy: &Policy) -> Option<&str> {
    policy.server_reference.as_deref().filter(|_| reason == Reason::UseAnotherServer)
}

/// A CONNACK that refuses; where the version has no word for it, nothing.
pub(super) fn refusal(reason: Reason, version: Version, turn: &mut Turn<'_>) {
    let server_reference = reference(reason, turn.broker.policy());
    let user_properties = Properties::EMPTY;
    let connack = ConnAck { reason, server_reference, user_properties, ..ConnAck::default() };
    // What reason codes CONNACK may carry is the table's matter: the rest closes without a word.
    if reason.allowed_in(codec::reason::carrier::CONNACK) {
        let packet = Packet::ConnAck(Box::new(connack));
        if let Err(error) = codec::encode(&packet, version, usize::MAX, &mut turn.out) {
            debug!(%error, "refusal not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_speak_is_told_by_their_first_bytes() {
        let broken = DecodeError::Malformed("");
        for (bytes, kind) in [
            (&b"GET / HTTP/1.1\r\n"[..], RefusalKind::Http),
            (b"PRI * HTTP/2.0\r\n", RefusalKind::Http),
            (&[0x16, 3, 1, 2, 0, 1], RefusalKind::TlsWithoutTls),
            (&[0x80, 0x2e, 1, 3, 1], RefusalKind::TlsWithoutTls),
            (b"PROXY TCP4 ", RefusalKind::ProxyProtocol),
            (b"\r\n\r\n\0\r\nQUIT\n!", RefusalKind::ProxyProtocol),
            (b"\r\n\r\n\0", RefusalKind::ProxyProtocol),
            (b"\r\n\r\n", RefusalKind::NotMqtt),
            (b"SSH-2.0", RefusalKind::NotMqtt),
            (&[0x16], RefusalKind::NotMqtt),
            (&[0x10, 0], RefusalKind::ConnectMalformed),
            (b"", RefusalKind::NotMqtt),
        ] {
            assert_eq!(of_first_bytes(bytes, &broken).kind(), kind, "{bytes:02x?}");
        }
        let large = of_first_bytes(&[0x10], &DecodeError::TooLarge { len: 9, max: 8 });
        assert_eq!(large, Grounds::limit(RefusalKind::ConnectBytes, 8, 9));
    }
}
