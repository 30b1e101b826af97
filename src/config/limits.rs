//! What one client may ask of the broker, and what CONNACK promises.

use super::problems::Problems;
use super::rates::Ingress;
use super::section::InForce::{Live, Restart};
use super::section::{key, rows, section};
use super::units::{Size, Span};

/// Largest packet MQTT can carry: fixed header and a Remaining Length of 268,435,455.
const PACKET_BYTES_MAX: Size = Size(268_435_460);
/// Time limits of a connection.
const TIMEOUT: std::ops::RangeInclusive<Span> = Span::millis(100)..=Span::secs(3600);
/// Largest Session Expiry Interval, "does not expire".
const NEVER: Span = Span::secs(u32::MAX as u64);

rows! {
    /// What one client may ask of the broker.
    pub struct LimitsConfig {
        /// Time from accept to a complete CONNECT, TLS included; and how long CONNACK may wait for the store
        /// before CONNECT is refused with 0x89.
        connect_timeout: Span = key(Restart, Span::secs(10)).range(TIMEOUT);
        /// Time for an enhanced authentication exchange or a slow password check.
        auth_timeout: Span = key(Restart, Span::secs(10)).range(TIMEOUT);
        /// Bytes buffered before CONNECT is accepted. At most `limits.packet_bytes_max`.
        connect_bytes_max: Size = key(Restart, Size::kib(64)).range(Size(256)..=PACKET_BYTES_MAX);
        /// Largest packet from a client; announced as Maximum Packet Size. At most `queue.bytes_max`,
        /// `totals.retained_bytes_max` and `totals.connection_bytes_max`.
        packet_bytes_max: Size = key(Restart, Size::kib(4096)).range(Size(256)..=PACKET_BYTES_MAX);
        /// A packet that has begun comes whole within this time, or the client is closed. Each 4 KiB of
        /// it that come give it this time again.
        packet_timeout: Span = key(Restart, Span::secs(120)).range(TIMEOUT);
        /// Largest Will: topic, properties and payload. A CONNECT with a larger one is refused with 0x97
        /// (3.1.1: 3).
        will_bytes_max: Size = key(Restart, Size::kib(64)).range(Size(256)..=PACKET_BYTES_MAX);
        /// Longest Topic Name or Topic Filter in bytes.
        topic_bytes_max: u32 = key(Restart, 1024).range(1..=65_535);
        /// Most levels of a Topic Name or Topic Filter.
        topic_levels_max: u32 = key(Restart, 32).range(1..=65_536);
        /// Longest Client Identifier in bytes.
        client_id_bytes_max: u32 = key(Restart, 256).range(23..=65_535);
        /// Subscriptions of one client; further ones are refused with 0x97 (3.1.1: 0x80). A client has more
        /// than 1,000 only while there is room for 32 times as many as it has under
        /// `totals.subscriptions_max`.
        subscriptions_max: u32 = key(Restart, 10_000).range(1..=1_000_000);
        /// Topic Filters of one SUBSCRIBE that are served; further ones are refused with 0x97 (3.1.1: 0x80).
        /// 0: as many as the packet holds. An UNSUBSCRIBE is always served whole.
        filters_max: u32 = key(Restart, 0).range(0..=65_536);
        /// User Properties in one packet.
        user_properties_max: u32 = key(Restart, 64).range(0..=65_536);
        /// Bytes of properties in one packet. At most `limits.packet_bytes_max`.
        properties_bytes_max: Size = key(Restart, Size::kib(8)).range(Size(64)..=PACKET_BYTES_MAX);
        /// A client that takes nothing of what is written to it for this long is closed.
        write_timeout: Span = key(Restart, Span::secs(30)).range(TIMEOUT);
        /// Acknowledgements owed to a 3.1.1 client before its reads pause.
        owed_max: u32 = key(Restart, 64).range(1..=65_535);
        /// Unreleased inbound QoS 2 identifiers of a 3.1.1 client before it is closed.
        unreleased_max: u32 = key(Restart, 4096).range(1..=65_535);
        /// Connections a second of one Client Identifier, counted after authentication; further ones are
        /// refused with 0x9F. 0 is no limit.
        connects_rate: u32 = key(Live, 0).range(0..=1_000_000);
        /// Takeovers of one Client Identifier that are free: connections that take the Session from one that is
        /// still connected. Every 3 s one more is. Beyond them each waits before it is carried out, 0.5 s at
        /// first, then twice as long each time up to 4 s: so two clients with one Client Identifier do not throw
        /// each other out at full speed. After 100 that waited, with no rest of 10 min, further ones are refused
        /// with 0x9F (3.1.1: 3) for 1 min, each time twice as long up to 1 h. 0: nothing waits.
        takeovers_max: u32 = key(Live, 10).range(0..=1_000_000);
        /// Section `[limits.client]`.
        client: Ingress = section();
    }
}

rows! {
    /// What CONNACK promises and what a Session gets.
    pub struct SessionConfig {
        /// Unacknowledged QoS 1 and 2 messages in flight to one client; lowered by the client's Receive
        /// Maximum.
        inflight_max: u16 = key(Restart, 32).range(1..=65_535);
        /// Receive Maximum announced to clients: PUBLISHes of QoS 1 and 2 of one client that are open at once. Of
        /// a client that sends more, further ones are left unread while the broker owes it answers; if all that
        /// is open is QoS 2 with its PUBREC sent, it is closed with 0x93.
        receive_maximum: u16 = key(Restart, 4096).range(1..=65_535);
        /// Topic Alias Maximum announced to clients.
        topic_alias_maximum: u16 = key(Restart, 16).range(0..=65_535);
        /// Topic Aliases that the broker itself assigns on one connection.
        topic_alias_out_max: u16 = key(Restart, 16).range(0..=65_535);
        /// Longest Session Expiry Interval; longer ones are lowered to it. `"0s"`: no Session outlives
        /// its connection. `"4294967295s"`: Sessions may last for ever.
        expiry_max: Span = key(Restart, Span::secs(7 * 86_400)).range(Span::secs(0)..=NEVER);
        /// A Session without a connection keeps its Subscriptions to `$exclusive/<filter>` for so long, then the
        /// next client that asks has them.
        exclusive_max: Span = key(Live, Span::secs(600)).range(Span::secs(0)..=NEVER);
        /// Longest Keep Alive in seconds; longer ones (and 0) are lowered to it for version 5 clients. 0
        /// is no limit.
        keep_alive_max_s: u16 = key(Restart, 0).range(0..=65_535);
        /// Highest QoS served.
        qos_max: u8 = key(Restart, 2).range(0..=2);
        /// Retained messages are served.
        retain_available: bool = key(Restart, true);
    }
}

impl LimitsConfig {
    /// Adds what is wrong with it, apart from ranges and the rules of other sections.
    pub(super) fn check(&self, found: &mut Problems) {
        self.client.check("limits.client", found);
        let packet = ("limits.packet_bytes_max", self.packet_bytes_max);
        found.at_most("limits.connect_bytes_max", self.connect_bytes_max, packet);
        found.at_most("limits.properties_bytes_max", self.properties_bytes_max, packet);
    }
}
