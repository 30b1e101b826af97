//! The configuration as plain data: every key, its unit, its default, its range. Reads no file.
//!
//! Each module is handed its own section, never the whole.

mod check;
mod rates;
mod reload;
mod topic_class;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::check::Problem;
pub use self::rates::{Egress, Excess, Ingress};
pub use self::topic_class::{OTHER, TopicClass, UNREAD};
pub use self::units::{Size, Span, UnitError};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect: one `[[listener]]` each.
    pub listener: Vec<Listener>,
    /// What one client may ask of the broker.
    pub limits: Limits,
    /// What CONNACK promises and what a Session gets.
    pub session: Session,
    /// What waits for one receiver.
    pub queue: Queue,
    /// How fast messages leave for each client.
    pub shaping: Shaping,
    /// Clients that are treated otherwise: one `[[class]]` each; the first that fits counts.
    pub class: Vec<Class>,
    /// What overtakes: one `[[priority]]` each; the first that fits a message counts.
    pub priority: Vec<Priority>,
    /// What the ledger tells apart: one `[[topic_class]]` each; the first that fits a topic counts.
    pub topic_class: Vec<TopicClass>,
    /// What the broker holds over all.
    pub totals: Totals,
    /// When the broker is pressed, and sheds load.
    pub overload: Overload,
    /// Who may come in.
    pub auth: Auth,
    /// Where Sessions and messages are kept.
    pub store: Store,
    /// Logs.
    pub log: Log,
    /// Threads, shutdown, `$SYS`.
    pub broker: Broker,
}

impl Config {
    /// The built-in configuration of a start without a file: TCP and TLS on the loopback address,
    /// with the development certificates in `certs/`.
    pub fn development() -> Config {
        let tls = Tls {
            certificate: "certs/server.pem".into(),
            key: "certs/server.key".into(),
            client_ca: Some("certs/ca.pem".into()),
            client_certificate: ClientCertificate::Optional,
            ..Tls::default()
        };
        let plain = Listener { address: "127.0.0.1:1883".to_owned(), ..Listener::default() };
        let secure = Listener {
            address: "127.0.0.1:8883".to_owned(),
            tls: Some(tls),
            ..Listener::default()
        };
        Config { listener: vec![plain, secure], ..Config::default() }
    }
}

/// One address clients connect to. Section `[[listener]]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Name in logs; the address if empty.
    pub name: String,
    /// Address and port, such as `127.0.0.1:1883`; port 0 takes a free one.
    pub address: String,
    /// TLS, if this section is there: `[listener.tls]`.
    pub tls: Option<Tls>,
    /// Clients without a user name are let in. On an address that is not loopback this must be
    /// said in words: `allow_anonymous = true`.
    pub allow_anonymous: Option<bool>,
    /// Connections at once. Range 1 to 10,000,000. Default 100,000.
    pub connections_max: u32,
    /// New connections a second, over all addresses; 0 is no limit. Range 0 to 10,000,000. Default 0.
    pub connect_rate_max: u32,
    /// New connections a second from one address; 0 is no limit. Range 0 to 10,000,000. Default 0.
    pub connect_rate_per_address_max: u32,
    /// What its clients may send, all together: section `[listener.ingress]`.
    pub ingress: Ingress,
    /// What the clients of one address may send, all together: section
    /// `[listener.ingress_per_address]`.
    pub ingress_per_address: Ingress,
    /// How fast messages leave for its clients, all together: section `[listener.egress]`.
    pub egress: Egress,
}

impl Listener {
    /// Where to listen; none if `address` is not an address and a port.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.address.parse().ok()
    }

    /// Whether clients without a user name are let in: as said, or else unless there is a
    /// password file.
    pub fn admits_anonymous(&self, auth: &Auth) -> bool {
        self.allow_anonymous.unwrap_or(auth.password_file.is_none())
    }

    /// Whether nobody gets as far as CONNECT without a certificate.
    pub fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required)
    }
}

/// TLS of a listener. Section `[listener.tls]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Certificates that client certificates must descend from, PEM. None: clients are not asked.
    pub client_ca: Option<PathBuf>,
    /// Revoked client certificates, PEM.
    pub client_crl: Option<PathBuf>,
    /// Client certificates: `"none"`, `"optional"` or `"required"`. Default `"none"`.
    pub client_certificate: ClientCertificate,
    /// Where the user name is taken from in a client certificate: `"none"`, `"cn"` or `"san"`.
    pub identity: CertificateIdentity,
    /// Handshakes at once; more wait. Range 1 to 100,000. Default 256.
    pub handshakes_max: u32,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    None,
    /// Checked if shown.
    Optional,
    /// No certificate, no connection.
    Required,
}

/// Where the user name is taken from in a client certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateIdentity {
    /// Not from the certificate.
    #[default]
    None,
    /// Common Name of the subject.
    Cn,
    /// First DNS name, e-mail address or URI of the Subject Alternative Name.
    San,
}

/// What one client may ask of the broker. Section `[limits]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From accept to a complete CONNECT, TLS included. Range `"100ms"` to `"1h"`. Default `"10s"`.
    pub connect_timeout: Span,
    /// For an enhanced authentication exchange or a slow password check. Range `"100ms"` to `"1h"`.
    /// Default `"10s"`.
    pub auth_timeout: Span,
    /// Bytes buffered before CONNECT is accepted. At least `"256B"`, at most `packet_bytes_max`.
    /// Default `"64KiB"`.
    pub connect_bytes_max: Size,
    /// Largest packet from a client: announced as Maximum Packet Size. Range `"256B"` to
    /// `"268435460B"`, and at most `queue.bytes_max` and `totals.retained_bytes_max`. Default `"1MiB"`.
    pub packet_bytes_max: Size,
    /// Longest Topic Name or Topic Filter in bytes. Range 1 to 65535. Default 1024.
    pub topic_bytes_max: u32,
    /// Most levels of a Topic Name or Topic Filter. Range 1 to 65536. Default 32.
    pub topic_levels_max: u32,
    /// Longest Client Identifier in bytes. Range 23 to 65535. Default 256.
    pub client_id_bytes_max: u32,
    /// Subscriptions of one client. Range 1 to 1,000,000. Default 1000.
    pub subscriptions_max: u32,
    /// Topic Filters in one SUBSCRIBE or UNSUBSCRIBE. Range 1 to 65536. Default 128.
    pub filters_max: u32,
    /// User Properties in one packet. Range 0 to 65536. Default 64.
    pub user_properties_max: u32,
    /// Bytes of properties in one packet. At least `"64B"`, at most `packet_bytes_max`. Default `"8KiB"`.
    pub properties_bytes_max: Size,
    /// A peer that takes none of what is written to it for so long is closed. Range `"100ms"` to
    /// `"1h"`. Default `"30s"`.
    pub write_timeout: Span,
    /// Acknowledgements owed to a 3.1.1 client before its reads pause. Range 1 to 65535.
    /// Default 64.
    pub owed_max: u32,
    /// Unreleased inbound `QoS` 2 identifiers of a 3.1.1 client before it is closed. Range 1 to
    /// 65535. Default 4096.
    pub unreleased_max: u32,
    /// Connections a second of one Client Identifier, let in by who they say they are: more are refused
    /// with 0x9F; 0 is no limit. Range 0 to 1,000,000. Default 0.
    pub connects_rate: u32,
    /// What each client may send: section `[limits.client]`.
    pub client: Ingress,
}

/// What CONNACK promises and what a Session gets. Section `[session]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// Unacknowledged `QoS` 1 and 2 messages in flight to one client; lowered by the client's
    /// Receive Maximum. Range 1 to 65535. Default 32.
    pub inflight_max: u16,
    /// Receive Maximum announced to clients. Range 1 to 65535. Default 64.
    pub receive_maximum: u16,
    /// Topic Alias Maximum announced to clients. Range 0 to 65535. Default 16.
    pub topic_alias_maximum: u16,
    /// Topic Aliases the broker itself assigns on one connection. Range 0 to 65535. Default 16.
    pub topic_alias_out_max: u16,
    /// Longest Session Expiry Interval; longer ones are lowered. Range `"0s"` (no Session outlives its
    /// connection) to `"4294967295s"` (Sessions may last for ever). Default `"7d"`.
    pub expiry_max: Span,
    /// Longest Keep Alive in seconds; longer ones (and 0) are lowered to it for version 5 clients. 0 is no
    /// limit. Default 0.
    pub keep_alive_max_s: u16,
    /// Highest `QoS` served. Range 0 to 2. Default 2.
    pub qos_max: u8,
    /// Retained messages are served. Default true.
    pub retain_available: bool,
}

/// What waits for one receiver. Section `[queue]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Messages that may wait for one Session or group beyond the window. Range 1 to 10,000,000.
    /// Default 1000.
    pub messages_max: u32,
    /// Bytes that may wait for one Session or group. Range `"1KiB"` to `"1024GiB"`, and at most
    /// `totals.queued_bytes_max`. Default `"4MiB"`.
    pub bytes_max: Size,
    /// How long a receiver above half full pauses the publishers that feed it. Range `"0s"` to
    /// `"10s"`. Default `"50ms"`.
    pub pause_max: Span,
    /// `QoS` 0 waits for a parked Session too. Default false.
    pub qos0_offline: bool,
    /// What a full queue does: `"reject"`, `"drop_oldest"`, `"drop_newest"`, `"drop_qos0_first"` or
    /// `"conflate"`. Default `"reject"`.
    pub policy: QueuePolicy,
    /// What is dropped is published again under `$dead/<reason>/<topic>`. Default false.
    pub dead_letters: bool,
    /// Of what one client is sent, the part in hundredths that each lower band of `[[priority]]` has
    /// while a higher one always has something. Range 1 to 25. Default 10.
    pub lower_band_share: u8,
}

/// Messages of which those of a higher band overtake those of a lower one on their way to each
/// receiver. Section `[[priority]]`.
///
/// All conditions that are set must fit. What no section speaks of is of band 1.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Priority {
    /// A Topic Filter.
    pub filter: Option<String>,
    /// A User Property, as `"name=value"`.
    pub property: Option<String>,
    /// The band. Range 0 to 3. Default 0.
    pub band: u8,
}

/// What a full queue does. What is dropped is in the ledger, and its publisher is told that it was
/// accepted; only what is rejected is refused to it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuePolicy {
    /// What comes is rejected: a version 5 publisher is told 0x97 if nobody else had room for it.
    #[default]
    Reject,
    /// What has waited longest is dropped.
    DropOldest,
    /// What comes is dropped.
    DropNewest,
    /// `QoS` 0 that waits is dropped, the oldest first; where none waits, `QoS` 0 that comes is dropped
    /// and the rest rejected.
    DropQos0First,
    /// Full or not: of each topic only the newest message waits, in the place of the one before. What
    /// comes for yet another topic is rejected.
    Conflate,
}

/// What waits for each client of a class. Section `[class.queue]`. What is left out is as in `[queue]`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassQueue {
    /// As in `[queue]`.
    pub messages_max: Option<u32>,
    /// As in `[queue]`.
    pub bytes_max: Option<Size>,
    /// As in `[queue]`.
    pub policy: Option<QueuePolicy>,
    /// As in `[queue]`.
    pub qos0_offline: Option<bool>,
    /// As in `[queue]`.
    pub dead_letters: Option<bool>,
}

impl ClassQueue {
    /// The whole, with what is left out as in `queue`.
    pub fn over(&self, queue: &Queue) -> Queue {
        Queue {
            messages_max: self.messages_max.unwrap_or(queue.messages_max),
            bytes_max: self.bytes_max.unwrap_or(queue.bytes_max),
            pause_max: queue.pause_max,
            qos0_offline: self.qos0_offline.unwrap_or(queue.qos0_offline),
            policy: self.policy.unwrap_or(queue.policy),
            dead_letters: self.dead_letters.unwrap_or(queue.dead_letters),
            lower_band_share: queue.lower_band_share,
        }
    }
}

/// How fast messages leave for each client: a leaky bucket. What is not let out waits in the queue;
/// `QoS` 1 and 2 are never dropped for it, and nothing but PUBLISH is ever held up. Section
/// `[shaping]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shaping {
    /// Messages a second; 0 is no limit. Range 0 to 1,000,000,000. Default 0.
    pub messages_rate: u32,
    /// Messages that may leave at once after a rest; 0 is what `messages_rate` lets out in a tenth of a
    /// second, at least one. Range 0 to 1,000,000,000. Default 0.
    pub messages_burst: u32,
    /// Bytes of PUBLISH packets a second; `"0B"` is no limit. Range `"0B"` to `"1024GiB"`. Default
    /// `"0B"`.
    pub bytes_rate: Size,
    /// Bytes that may leave at once after a rest, and one packet more; `"0B"` is what `bytes_rate` lets
    /// out in a tenth of a second. Range `"0B"` to `"1024GiB"`. Default `"0B"`.
    pub bytes_burst: Size,
    /// A `QoS` 0 message that has waited for longer is dropped; `"0s"` keeps it. Range `"0s"` to
    /// `"7d"`. Default `"0s"`.
    pub qos0_age_max: Span,
}

/// Clients that are treated otherwise than the rest. Section `[[class]]`.
///
/// All conditions that are set must fit. A condition is a pattern in which `*` stands for any text, the
/// empty one too, and `?` for one character.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Class {
    /// Name in logs and `$SYS`.
    pub name: String,
    /// The listener's name (or its address, if it has none).
    pub listener: Option<String>,
    /// The user name.
    pub user: Option<String>,
    /// The Client Identifier.
    pub client_id: Option<String>,
    /// The identity in the client's certificate.
    pub certificate: Option<String>,
    /// Instead of `[shaping]`: section `[class.shaping]`.
    pub shaping: Option<Shaping>,
    /// Beside `[queue]`: section `[class.queue]`.
    pub queue: Option<ClassQueue>,
    /// Instead of `[limits.client]`: section `[class.ingress]`.
    pub ingress: Option<Ingress>,
}

/// What the broker holds over all. Section `[totals]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Totals {
    /// Sessions, connected and parked. Range 1 to 100,000,000. Default 100,000.
    pub sessions_max: u32,
    /// Subscriptions. Range 1 to 1,000,000,000. Default 1,000,000.
    pub subscriptions_max: u32,
    /// Retained messages. Range 0 to 1,000,000,000. Default 100,000.
    pub retained_max: u32,
    /// Bytes of retained messages. Range `"0B"` to `"1024GiB"`. Default `"256MiB"`.
    pub retained_bytes_max: Size,
    /// Bytes of queued messages in memory, each message counted once. Range `"1KiB"` to `"1024GiB"`.
    /// Default `"1GiB"`.
    pub queued_bytes_max: Size,
    /// Groups of shared subscriptions. Range 0 to 100,000,000. Default 10,000.
    pub groups_max: u32,
}

/// When the broker is pressed: a level from 0 to 3. Each cause has a maximum; level 1 begins at half of it,
/// 2 at three quarters, 3 at nine tenths. At level 1 windows shrink; at 2 the heaviest publishers are
/// held up and connections are accepted more slowly; at 3 CONNECT is refused 0x89 and `QoS` 0 of clients
/// that is not retained is dropped and counted. Bytes that wait are measured against `totals.queued_bytes_max`, what the store
/// has not written against `store.unwritten_bytes_max`; for the store alone the level is 2 at most.
/// Section `[overload]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overload {
    /// No level above this; 0 is off. Range 0 to 3. Default 3.
    pub level_max: u8,
    /// How late a task is woken; `"0s"` is not watched. Range `"0s"` to `"1m"`. Default `"500ms"`.
    pub lag_max: Span,
    /// Resident memory of the process (on Linux); `"0B"` is not watched. Range `"0B"` to
    /// `"1024GiB"`. Default `"0B"`.
    pub memory_max: Size,
    /// From handing something to the store until it is durable; `"0s"` is not watched. Range `"0s"` to
    /// `"1h"`. Default `"500ms"`.
    pub commit_max: Span,
    /// The level falls by one when the load has been well below it for so long. Range `"100ms"` to
    /// `"10m"`. Default `"2s"`.
    pub hold: Span,
}

/// Who may come in. Section `[auth]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Users and passwords in mosquitto's `$7$` format. None: user names are not checked.
    pub password_file: Option<PathBuf>,
    /// The users who may read dead letters, under `$dead/`: a pattern as in `[[class]]`. None: nobody may.
    pub dead_letter_users: Option<String>,
}

/// Where Sessions and messages are kept. Section `[store]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `"sled"` or `"redb"` (in builds with the feature `store-redb`): on disk, behind a commit
    /// journal; `"memory"`: forgotten at a restart. Default `"sled"`.
    pub kind: StoreKind,
    /// Folder of the store; a relative one begins beside the last configuration file, or without one
    /// in the current folder. Made if it is not there, readable by its owner only. Default `"data"`.
    pub path: PathBuf,
    /// What an acknowledgement promises. `"sync"`: what it acknowledges is on stable storage, and
    /// neither a crash nor a power cut loses it. `"os"`: the operating system has it, and a power cut
    /// loses the last seconds. `"none"`: a crash loses the last moments too. Default `"sync"`.
    pub durability: Durability,
    /// Length of a segment of the journal. Range `"1MiB"` to `"1GiB"`. Default `"64MiB"`.
    pub segment_bytes: Size,
    /// Above this much journal publishers wait until a checkpoint is done. Range `"16MiB"` to
    /// `"1024GiB"`, and at least four segments. Default `"1GiB"`.
    pub journal_bytes_max: Size,
    /// Above so much memory of changes that no checkpoint has written yet publishers wait. Range
    /// `"1MiB"` to `"1024GiB"`. Default `"256MiB"`.
    pub pending_bytes_max: Size,
    /// They go on when it has fallen to this. Range `"0B"` to below `store.pending_bytes_max`. Default `"192MiB"`.
    pub pending_bytes_low: Size,
    /// Above so many bytes handed in and not yet written publishers wait. Range `"1MiB"` to
    /// `"1024GiB"`. Default `"64MiB"`.
    pub unwritten_bytes_max: Size,
    /// They go on when it has fallen to this. Range `"0B"` to below `store.unwritten_bytes_max`. Default `"32MiB"`.
    pub unwritten_bytes_low: Size,
    /// A checkpoint begins so long after the one before, if something changed. Range `"10ms"` to
    /// `"1h"`. Default `"1s"`.
    pub checkpoint_interval: Span,
    /// A commit begins so long after the one before at the earliest, so that more share its flush: for
    /// slow disks. After a rest none waits. Range `"0ms"` to `"1s"`. Default `"0ms"`.
    pub commit_delay: Span,
    /// Memory in which the table behind the journal keeps what it has read. Range `"1MiB"` to
    /// `"1024GiB"`. Default `"64MiB"`.
    pub cache_bytes: Size,
}

/// Kind of store.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// On disk, in sled's table.
    #[default]
    Sled,
    /// On disk, in redb's table.
    Redb,
    /// Forgotten at a restart.
    Memory,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is on stable storage.
    #[default]
    Sync,
    /// The operating system has it.
    Os,
    /// The broker has it.
    None,
}

/// Logs. Section `[log]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `"human"` or `"json"`. Default `"human"`.
    pub format: LogFormat,
    /// Level, or levels by module as in `info,sluicemq::net=debug`. `SLUICE_LOG` overrides it. Default `"info"`.
    pub level: String,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Threads, shutdown, `$SYS`. Section `[broker]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// Worker threads; 0 is one a core. Range 0 to 1024. Default 0.
    pub workers: u32,
    /// At SIGTERM, how long writes may take to finish. Range `"0s"` to `"10m"`. Default `"5s"`.
    pub stop_timeout: Span,
    /// How often `$SYS` topics that changed are published: `"1s"` to `"1d"`, or `"0s"` for never. Default `"10s"`.
    pub sys_interval: Span,
    /// A client that was just given messages is given the next only so long after, many in one write; one
    /// that was given none for as long gets the next at once. Range `"0ms"` to `"50ms"`. Default `"0ms"`.
    pub linger_max: Span,
    /// How fast messages leave for all clients together: section `[broker.egress]`.
    pub egress: Egress,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            name: String::new(),
            address: String::new(),
            tls: None,
            allow_anonymous: None,
            connections_max: 100_000,
            connect_rate_max: 0,
            connect_rate_per_address_max: 0,
            ingress: Ingress::default(),
            ingress_per_address: Ingress::default(),
            egress: Egress::default(),
        }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: None,
            client_crl: None,
            client_certificate: ClientCertificate::None,
            identity: CertificateIdentity::None,
            handshakes_max: 256,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect_timeout: Span::secs(10),
            auth_timeout: Span::secs(10),
            connect_bytes_max: Size::kib(64),
            packet_bytes_max: Size::kib(1024),
            topic_bytes_max: 1024,
            topic_levels_max: 32,
            client_id_bytes_max: 256,
            subscriptions_max: 1000,
            filters_max: 128,
            user_properties_max: 64,
            properties_bytes_max: Size::kib(8),
            write_timeout: Span::secs(30),
            owed_max: 64,
            unreleased_max: 4096,
            connects_rate: 0,
            client: Ingress::default(),
        }
    }
}

impl Default for Session {
    fn default() -> Session {
        Session {
            inflight_max: 32,
            receive_maximum: 64,
            topic_alias_maximum: 16,
            topic_alias_out_max: 16,
            expiry_max: Span::secs(7 * 86_400),
            keep_alive_max_s: 0,
            qos_max: 2,
            retain_available: true,
        }
    }
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            messages_max: 1000,
            bytes_max: Size::kib(4 * 1024),
            pause_max: Span::millis(50),
            qos0_offline: false,
            policy: QueuePolicy::Reject,
            dead_letters: false,
            lower_band_share: 10,
        }
    }
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            sessions_max: 100_000,
            subscriptions_max: 1_000_000,
            retained_max: 100_000,
            retained_bytes_max: Size::kib(256 * 1024),
            queued_bytes_max: Size::kib(1024 * 1024),
            groups_max: 10_000,
        }
    }
}

impl Default for Overload {
    fn default() -> Overload {
        Overload {
            level_max: 3,
            lag_max: Span::millis(500),
            memory_max: Size(0),
            commit_max: Span::millis(500),
            hold: Span::secs(2),
        }
    }
}

impl Default for Store {
    fn default() -> Store {
        Store {
            kind: StoreKind::Sled,
            path: "data".into(),
            durability: Durability::Sync,
            segment_bytes: Size::kib(64 * 1024),
            journal_bytes_max: Size::kib(1024 * 1024),
            pending_bytes_max: Size::kib(256 * 1024),
            pending_bytes_low: Size::kib(192 * 1024),
            unwritten_bytes_max: Size::kib(64 * 1024),
            unwritten_bytes_low: Size::kib(32 * 1024),
            checkpoint_interval: Span::secs(1),
            commit_delay: Span::millis(0),
            cache_bytes: Size::kib(64 * 1024),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Human, level: "info".to_owned() }
    }
}

impl Default for Broker {
    fn default() -> Broker {
        Broker {
            workers: 0,
            stop_timeout: Span::secs(5),
            sys_interval: Span::secs(10),
            linger_max: Span::millis(0),
            egress: Egress::default(),
        }
    }
}
