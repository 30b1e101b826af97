//! The grounds on which something of a peer is refused: the one table of them, for logs and `$SYS`.

use std::fmt;

macro_rules! refusals {
    ($($variant:ident $name:literal $key:literal $help:literal;)*) => {
        /// What was refused, and why: each has a name in the log and a counter.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum RefusalKind {
            $(#[doc = $help] $variant,)*
        }

        impl RefusalKind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [RefusalKind] = &[$(RefusalKind::$variant),*];

            /// The name in logs and in `$SYS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(RefusalKind::$variant => $name,)*
                }
            }

            /// The key of the configuration that decides it; empty if there is none.
            pub const fn key(self) -> &'static str {
                match self {
                    $(RefusalKind::$variant => $key,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn help(self) -> &'static str {
                match self {
                    $(RefusalKind::$variant => $help,)*
                }
            }
        }
    };
}

refusals! {
    // Connections.
    ConnectionsMax "connections_max" "listener.connections_max"
        "The listener has as many connections as it may.";
    ConnectRate "connect_rate" "listener.connect_rate_max"
        "The listener is connected to too often.";
    AddressRate "address_rate" "listener.connect_rate_per_address_max"
        "The address connects too often.";
    OpenFiles "open_files" ""
        "The open files that the system permits are used up, but for those of the store: raise LimitNOFILE= of the unit, or ulimit -n.";
    HttpConnections "http_connections" "http.connections_max"
        "The HTTP listener has as many connections as it may.";
    HttpSite "http_site" "http.hosts"
        "A request over HTTP for a name that is not the broker's, or from a page of another site.";
    HttpToken "http_token" "http.token_file"
        "A request over HTTP without a good token.";
    Unanswered "unanswered" ""
        "So many refusals are on their way that this connection is dropped without one.";
    Accept "accept" ""
        "A connection could not be accepted: the system lacks descriptors or memory.";
    TlsNotTls "tls_not_tls" "listener.tls"
        "What comes to a TLS listener is not TLS.";
    TlsHello "tls_hello" "listener.tls.hello_timeout"
        "The first message of a TLS handshake, the ClientHello, is not whole in time.";
    TlsNotCommon "tls_not_common" "listener.tls"
        "The client has no version, cipher suite, key exchange or protocol of TLS in common with the broker.";
    TlsClientCertificate "tls_client_certificate" "listener.tls.client_ca"
        "The client shows no certificate, or one that is not accepted.";
    TlsServerCertificate "tls_server_certificate" "listener.tls.certificate"
        "The client does not accept the certificate of the broker.";
    TlsHandshake "tls_handshake" "listener.tls"
        "The TLS handshake failed for another reason.";
    TlsTimeout "tls_timeout" "limits.connect_timeout"
        "The TLS handshake took too long.";
    CertificateUser "certificate_user" "identity"
        "The certificate does not name its user as it should, or the user of a unix socket's peer has no name.";
    // Before CONNECT.
    Http "http" ""
        "HTTP on a port of MQTT.";
    TlsWithoutTls "tls_without_tls" "listener.tls"
        "TLS on a listener without TLS.";
    ProxyProtocol "proxy_protocol" "listener.proxy_protocol"
        "A header of the PROXY protocol where none is read, or none where there must be one.";
    ProxyTimeout "proxy_timeout" "limits.connect_timeout"
        "The header of the PROXY protocol took too long.";
    WebSocketUpgrade "websocket_upgrade" "listener.websocket"
        "The upgrade to WebSocket asks for something else than what is served.";
    WebSocketOrigin "websocket_origin" "listener.websocket.origins"
        "A page of an origin that is not listed asks for a WebSocket.";
    WebSocketTimeout "websocket_timeout" "limits.connect_timeout"
        "The upgrade to WebSocket took too long.";
    WebSocketFrame "websocket_frame" ""
        "A frame that breaks a rule of WebSocket, or a text frame.";
    Quic "quic" ""
        "A connection of QUIC that breaks a rule, or that the client gives up before MQTT begins.";
    QuicTimeout "quic_timeout" "limits.connect_timeout"
        "The client of a QUIC connection opens no stream in time.";
    NotMqtt "not_mqtt" ""
        "The first bytes are no CONNECT.";
    ProtocolLevel "protocol_level" ""
        "CONNECT of a protocol or version that is not served.";
    ConnectTimeout "connect_timeout" "limits.connect_timeout"
        "No whole CONNECT within the time for it.";
    PacketTimeout "packet_timeout" "limits.packet_timeout"
        "A packet that has begun does not come whole in time.";
    WriteTimeout "write_timeout" "limits.write_timeout"
        "The client takes nothing of what is written to it for so long.";
    ConnectionBytes "connection_bytes_max" "totals.connection_bytes_max"
        "All connections together hold too many bytes, and this one has stood still for longest.";
    ConnackTimeout "connack_timeout" "limits.connect_timeout"
        "The store does not confirm in time what CONNACK promises.";
    ConnectBytes "connect_bytes_max" "limits.connect_bytes_max"
        "CONNECT is too large.";
    // CONNECT.
    ConnectMalformed "connect_malformed" ""
        "CONNECT breaks a rule of the protocol.";
    ClientIdBytes "client_id_bytes_max" "limits.client_id_bytes_max"
        "The Client Identifier is too long.";
    ClientIdEmpty "client_id_empty" ""
        "No Client Identifier, and version 3.1.1 without Clean Session.";
    WillBytes "will_bytes_max" "limits.will_bytes_max"
        "The Will is too large.";
    TotalWillBytes "total_will_bytes" "totals.will_bytes_max"
        "All Wills together take as much room as they may.";
    WillTopic "will_topic" ""
        "The topic of the Will is invalid or reserved.";
    WillQos "will_qos" "session.qos_max"
        "The QoS of the Will is above the maximum.";
    WillRetain "will_retain" "session.retain_available"
        "The Will is to be retained, and nothing is retained.";
    Credentials "credentials" "auth.password_file"
        "Unknown user or wrong password.";
    ConnectNotAuthorized "connect_not_authorized" "listener.allow_anonymous"
        "The client may not connect.";
    AuthMethod "auth_method" ""
        "The authentication method is not served.";
    AuthTimeout "auth_timeout" "limits.auth_timeout"
        "The authentication took too long.";
    TakeoverTimeout "takeover_timeout" "limits.auth_timeout"
        "The connection that holds the Session does not give it up in time.";
    SessionElsewhere "session_elsewhere" "cluster.servers"
        "The node of the cluster that has the Session does not send it, or the log of the cluster does not answer, within limits.auth_timeout.";
    LogAway "log_away" "cluster.ack_timeout"
        "The log of the cluster does not answer this node.";
    Draining "draining" "cluster.server_reference"
        "This node of the cluster is about to stop: its Sessions go to other nodes.";
    AuthBusy "auth_busy" "auth.queue_max"
        "As many logins wait to be checked as may, or the check cannot be made.";
    LoginBanned "login_banned" "auth.failures_max"
        "Too many logins failed: of the address, or of the user from there.";
    LoginEnded "login_ended" "auth"
        "What let the client in does not hold any more: its user, its certificate or its token.";
    AuthBroken "auth_broken" ""
        "The authentication breaks a rule of the protocol.";
    OtherUser "other_user" ""
        "The Session of this Client Identifier belongs to another user.";
    ClientRate "client_rate" "limits.connects_rate"
        "The Client Identifier connects too often.";
    Takeovers "takeovers" "limits.takeovers_max"
        "Connections with one Client Identifier have taken the Session from each other for minutes: the one that has it keeps it for a while.";
    SessionsMax "sessions_max" "totals.sessions_max"
        "There are as many Sessions as there may be.";
    Overloaded "overloaded" "overload"
        "The broker is overloaded.";
    ConnackBytes "connack_bytes" ""
        "CONNACK is larger than the client takes.";
    // A connected client that is disconnected for what it sent.
    Malformed "malformed" ""
        "A packet that cannot be read.";
    ProtocolError "protocol_error" ""
        "A packet that breaks a rule of the protocol.";
    WrongAcknowledgement "wrong_acknowledgement" ""
        "An acknowledgement of another kind than what was sent asks for.";
    PacketBytes "packet_bytes_max" "limits.packet_bytes_max"
        "A packet is too large.";
    AnswerBytes "answer_bytes" ""
        "An answer, to SUBSCRIBE mostly, is larger than the client takes.";
    ReceiveMaximum "receive_maximum" "session.receive_maximum"
        "More PUBLISHes of QoS 1 and 2 in flight than the broker takes.";
    NotInCluster "not_in_cluster" "cluster.servers"
        "A delayed message or a Shared Subscription, which a node of a cluster does not take.";
    ClusterRoom "cluster_room" "cluster.servers"
        "The log of the cluster does not answer and as much waits for it as may, or a message is larger than its servers take.";
    Unreleased "unreleased_max" "limits.unreleased_max"
        "More QoS 2 identifiers without PUBREL than the broker keeps.";
    TopicAlias "topic_alias" "session.topic_alias_maximum"
        "A Topic Alias above the maximum.";
    Qos "qos_max" "session.qos_max"
        "A PUBLISH of a QoS above the maximum.";
    Retain "retain" "session.retain_available"
        "A PUBLISH is to be retained, and nothing is retained.";
    RateDisconnect "rate_disconnect" "ingress"
        "Beyond a rate whose action is to disconnect.";
    // A PUBLISH that is refused; its client stays.
    PublishReserved "publish_reserved" ""
        "A PUBLISH or Will to a topic of the broker's own.";
    PublishNotAuthorized "publish_not_authorized" ""
        "The client may not publish to the topic.";
    PublishTopic "publish_topic" ""
        "A PUBLISH to an invalid topic.";
    PublishDelayed "publish_delayed" ""
        "A PUBLISH or Will below $delayed/ that does not name a span, and behind it an ordinary topic.";
    DelayedExpiry "delayed_expiry" ""
        "A delayed PUBLISH that would have expired before it is due.";
    DelayedSpan "delayed_span_max" "delayed.span_max"
        "A PUBLISH is to be delayed for too long.";
    DelayedMessages "delayed_messages_max" "delayed.messages_max"
        "There are as many delayed messages as there may be: of all, or of the owner of this one.";
    DelayedBytes "delayed_bytes_max" "delayed.bytes_max"
        "Delayed messages take as many bytes as they may: all, or those of the owner of this one.";
    PublishRate "publish_rate" "ingress"
        "A PUBLISH beyond a rate.";
    PublishOverload "publish_overload" "overload"
        "A PUBLISH of QoS 0, and the broker is overloaded.";
    RetainedMax "retained_max" "totals.retained_max"
        "There are as many retained messages as there may be, or their bytes.";
    QueuedBytes "queued_bytes_max" "totals.queued_bytes_max"
        "All messages together take as much memory as they may.";
    WaitingBytes "waiting_bytes_max" "totals.waiting_bytes_max"
        "As many bytes wait for clients without a connection as may: of all, or of the owner of this one.";
    StoreFull "store_full" "store.journal_bytes_max"
        "The store has no room.";
    StoreFailed "store_failed" "store.path"
        "The store has failed.";
    // A SUBSCRIBE that is refused, by filter; its client stays.
    SubscribeFilter "subscribe_filter" ""
        "A Topic Filter is invalid.";
    SubscribeQueue "subscribe_queue" "named_queue"
        "There is no named queue of that name.";
    SubscribeReplay "subscribe_replay" "keep"
        "There is no log of kept messages of that name, or the filter does not say where to begin.";
    SubscribeExclusive "subscribe_exclusive" "session.exclusive_max"
        "Another client has this exclusive Subscription.";
    ExclusiveEnded "exclusive_ended" "session.exclusive_max"
        "An exclusive Subscription ends: its client has been away for too long, and another one asks for it.";
    SubscribeNotAuthorized "subscribe_not_authorized" ""
        "The client may not subscribe to the filter.";
    SubscriptionRevoked "subscription_revoked" "rule"
        "A Subscription ends: the rules in force now do not allow it.";
    ReceiveNotAuthorized "receive_not_authorized" "rule"
        "A client may not receive a message that it has subscribed to.";
    SubscribeRate "subscribe_rate" "ingress"
        "A SUBSCRIBE beyond a rate.";
    SubscribeFilters "subscribe_filters" "limits.filters_max"
        "Too many filters in one packet.";
    Subscriptions "subscriptions_max" "limits.subscriptions_max"
        "The client has as many Subscriptions as it may.";
    TotalSubscriptions "total_subscriptions" "totals.subscriptions_max"
        "There are as many Subscriptions as there may be.";
    SubscriptionsShare "subscriptions_share" "totals.subscriptions_max"
        "The client has more Subscriptions than its share of the rest.";
    Groups "groups_max" "totals.groups_max"
        "There are as many groups of Shared Subscriptions as there may be.";
}

impl RefusalKind {
    /// Whether it refuses to delay a message.
    pub const fn is_of_delayed(self) -> bool {
        use RefusalKind::{
            DelayedBytes, DelayedExpiry, DelayedMessages, DelayedSpan, PublishDelayed,
        };
        matches!(
            self,
            PublishDelayed | DelayedExpiry | DelayedSpan | DelayedMessages | DelayedBytes
        )
    }

    /// Whether it refuses filters because there is no room for more.
    pub const fn is_of_full_filters(self) -> bool {
        matches!(
            self,
            RefusalKind::SubscribeFilters
                | RefusalKind::Subscriptions
                | RefusalKind::TotalSubscriptions
                | RefusalKind::SubscriptionsShare
                | RefusalKind::Groups
                | RefusalKind::StoreFull
        )
    }
}

/// Why something is refused: the kind and, where a limit decides, its value and the one that was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grounds {
    kind: RefusalKind,
    /// The limit and what was asked for.
    limit: Option<(u64, u64)>,
    key: &'static str,
    rule: Option<RuleId>,
}

/// A rule of access: its place in the rules that were in force, and which those were.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RuleId {
    /// Counts the rules that were put in force.
    pub generation: u32,
    /// Its place, from 0.
    pub place: u32,
}

impl Grounds {
    /// No number decides.
    pub const fn new(kind: RefusalKind) -> Grounds {
        Grounds { kind, limit: None, key: kind.key(), rule: None }
    }

    /// The key of `kind` permits `limit` and `value` was asked for, in the key's unit.
    pub const fn limit(kind: RefusalKind, limit: u64, value: u64) -> Grounds {
        Grounds { kind, limit: Some((limit, value)), key: kind.key(), rule: None }
    }

    /// Another key decides than the usual one of the kind.
    pub const fn by_key(self, key: &'static str) -> Grounds {
        Grounds { key, ..self }
    }

    /// A rule of access decides.
    pub const fn by_rule(self, rule: Option<RuleId>) -> Grounds {
        Grounds { rule, ..self }
    }

    /// The rule of access that decides, if one does.
    pub const fn rule(&self) -> Option<RuleId> {
        self.rule
    }

    /// What was refused, and why.
    pub const fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// Whether it is the Will of a CONNECT that is refused.
    pub fn is_of_will(&self) -> bool {
        use RefusalKind::{WillQos, WillRetain, WillTopic};
        matches!(self.kind, WillTopic | WillQos | WillRetain)
    }

    /// The key of the configuration that decides; `None` if there is none.
    pub fn key(&self) -> Option<&'static str> {
        (!self.key.is_empty()).then_some(self.key)
    }

    /// What the key permits.
    pub fn maximum(&self) -> Option<u64> {
        self.limit.map(|(limit, _)| limit)
    }

    /// What was asked for, in the key's unit.
    pub fn value(&self) -> Option<u64> {
        self.limit.map(|(_, value)| value)
    }
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let (Some(key), Some((limit, value))) = (self.key(), self.limit) {
            write!(f, ": {value} is above {key} = {limit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_are_numbered_in_order_and_have_names_of_their_own() {
        for (index, kind) in RefusalKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(kind.name().chars().all(plain), "{}", kind.name());
        }
        let names: BTreeSet<_> = RefusalKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), RefusalKind::ALL.len());
    }

    #[test]
    fn grounds_name_the_key_and_both_numbers() {
        let grounds = Grounds::limit(RefusalKind::PacketBytes, 1024, 2048);
        assert_eq!(
            grounds.to_string(),
            "packet_bytes_max: 2048 is above limits.packet_bytes_max = 1024"
        );
        let other = Grounds::limit(RefusalKind::RetainedMax, 1, 2).by_key("totals.other");
        assert_eq!(other.key(), Some("totals.other"));
        assert_eq!(Grounds::new(RefusalKind::Http).key(), None);
    }
}
