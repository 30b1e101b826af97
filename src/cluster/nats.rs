//! NATS JetStream as the engine.
//!
//! Two connections: frames and questions go over one, what the log and other nodes tell comes over the other, so that
//! much of one does not hold up the other.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{self, Context as JetStream, ContextBuilder, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerInfo, Subject, Subscriber};
use bytes::Bytes;
use futures_util::Stream as _;
use tracing::{debug, warn};

use super::JoinError;
use super::aside::AsideSubject;
use super::engine::{Appended, Bounds, EngineError, LogEngine, LogFrames};
use crate::config::ClusterConfig;

/// Connections to the servers, and what is named there.
pub(super) struct Nats {
    /// Frames to the log, and questions.
    out: Client,
    to_log: JetStream,
    /// What the log has, and what nodes tell each other.
    back: Client,
    from_log: JetStream,
    servers: Vec<String>,
    /// Moves so far: by so many the list of servers is turned.
    moves: AtomicUsize,
    prefix: String,
    stream: String,
    /// The name of this node.
    node: String,
}

/// What is known of the servers before anything is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Servers {
    /// The smallest `max_payload` of those that answer.
    pub payload_max: usize,
}

/// The oldest version that does what is needed.
const VERSION_MIN: (u32, u32) = (2, 12);
/// What a server takes at least: a page of copies, and a Session with all its Subscriptions, go in one message each.
const PAYLOAD_MIN: usize = 256 * 1024;
/// How long it takes at most to be connected to one server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reader of the log may take to be made: one at a server that has just died is never, and the next one has
/// another name and perhaps another server.
const READER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is tried.
const PING: Duration = Duration::from_secs(1);
/// The window in which a frame that is sent again is known: as long as servers have it by default.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Asks each server what it is. `Ok(None)`: none answers yet, which the log is told the first time.
pub(super) async fn look_at(
    config: &ClusterConfig,
    is_first: bool,
) -> Result<Option<Servers>, JoinError> {
    let mut payload_max = None;
    for server in config.servers() {
        let connected = options(config, "look").await?.connect(server.as_str()).await;
        let client = match connected {
            Ok(client) => client,
            Err(error) if is_final(&error.kind()) => {
                return Err(JoinError(format!("{server}: {error}")));
            }
            Err(error) => {
                if is_first {
                    warn!(server, %error, "a server of the cluster does not answer");
                }
                continue;
            }
        };
        let info = client.server_info();
        check_server(server, &info)?;
        payload_max = Some(payload_max.unwrap_or(usize::MAX).min(info.max_payload));
        // It may be gone already.
        let _ = client.drain().await;
    }
    Ok(payload_max.map(|payload_max| Servers { payload_max }))
}

/// Whether a server says that the log takes no more: a frame so refused is not there later either.
fn has_no_room(error: &PublishError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.is_some_and(|error| error.error_code() == ErrorCode::STREAM_STORE_FAILED)
}

/// Whether another attempt brings nothing else.
fn is_final(kind: &ConnectErrorKind) -> bool {
    match kind {
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::Tls => true,
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => false,
    }
}

fn check_server(server: &str, info: &ServerInfo) -> Result<(), JoinError> {
    let ServerInfo { version, jetstream, max_payload, .. } = info;
    if version_of(version).is_none_or(|found| found < VERSION_MIN) {
        let (major, minor) = VERSION_MIN;
        return Err(JoinError(format!(
            "{server} has version {version} of nats-server, and {major}.{minor} or later is needed"
        )));
    }
    if !jetstream {
        return Err(JoinError(format!("{server} has no JetStream")));
    }
    if *max_payload < PAYLOAD_MIN {
        return Err(JoinError(format!(
            "{server} takes messages of {max_payload} bytes (max_payload), and {PAYLOAD_MIN} or more are needed"
        )));
    }
    Ok(())
}

fn version_of(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What the stream of the log is called.
pub(super) fn stream_name(config: &ClusterConfig) -> String {
    format!("{}_LOG", config.prefix)
}

/// Where nodes are asked for their state.
pub(super) fn status_subject(prefix: &str) -> String {
    format!("{prefix}.s")
}

/// Where a node is asked to do something.
pub(super) fn asked_subject(prefix: &str, node: &str) -> String {
    format!("{prefix}.d.{node}")
}

/// How the description of a node's consumer begins; the name of the node follows.
pub(super) const READER: &str = "sluice node ";

pub(super) async fn options(
    config: &ClusterConfig,
    what: &str,
) -> Result<ConnectOptions, JoinError> {
    let unreadable = |path: &std::path::Path, error: std::io::Error| {
        JoinError(format!("cannot use {}: {error}", path.display()))
    };
    let mut options = ConnectOptions::new()
        .name(format!("sluice {} {what}", config.node.as_deref().unwrap_or_default()))
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(TIMEOUT))
        .ping_interval(PING)
        .retain_servers_order()
        .ignore_discovered_servers()
        .no_echo()
        .client_capacity(256)
        // What they come to is said by `Health`, once.
        .event_callback(async |event| debug!(%event, "the connection to NATS"))
        .reconnect_delay_callback(|attempts| Duration::from_millis(50 * attempts.min(10) as u64));
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| unreadable(path, error))?;
    }
    if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
        let password = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        options = options.user_and_password(user.clone(), password.trim_end().to_owned());
    }
    if let Some(ca) = &config.ca {
        options = options.add_root_certificates(ca.clone());
    }
    Ok(options)
}

impl Nats {
    /// Connects to the first server that answers.
    pub async fn connect(config: &ClusterConfig) -> Result<Nats, JoinError> {
        let connect = async |what| {
            let options = options(config, what).await?;
            let connected = options.connect(config.servers()).await;
            connected.map_err(|error| JoinError(error.to_string()))
        };
        let (out, back) = (connect("out").await?, connect("back").await?);
        let context =
            |client: &Client| ContextBuilder::new().timeout(TIMEOUT).build(client.clone());
        Ok(Nats {
            to_log: context(&out),
            from_log: context(&back),
            out,
            back,
            servers: config.servers().to_vec(),
            moves: AtomicUsize::new(0),
            prefix: config.prefix.clone(),
            stream: stream_name(config),
            node: config.node.clone().unwrap_or_default(),
        })
    }

    /// The log is there, or is made. `Err(Ok(_))`: it cannot be used; `Err(Err(_))`: not now.
    pub async fn open_log(
        &self,
        config: &ClusterConfig,
    ) -> Result<(), Result<JoinError, EngineError>> {
        let wanted = self.stream_config(config);
        let opened = self.to_log.get_or_create_stream(wanted.clone()).await;
        let stream = opened.map_err(|error| Err(EngineError::of(error)))?;
        compare(&wanted, &stream.cached_info().config).map_err(Ok)
    }

    fn stream_config(&self, config: &ClusterConfig) -> StreamConfig {
        StreamConfig {
            name: self.stream.clone(),
            description: Some("messages of a cluster of sluice".to_owned()),
            subjects: vec![format!("{}.q", self.prefix)],
            retention: RetentionPolicy::Limits,
            // What a node has not applied is not thrown away for what is new.
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_bytes: i64::try_from(config.log_bytes_max.0).unwrap_or(i64::MAX),
            max_age: config.log_span.0,
            num_replicas: config.replicas.into(),
            duplicate_window: DUPLICATE_WINDOW,
            // Nothing is taken out of its middle; at its beginning nodes cut off what all have applied.
            deny_delete: true,
            deny_purge: false,
            ..StreamConfig::default()
        }
    }

    fn subject(&self, of: AsideSubject) -> String {
        let last = match of {
            AsideSubject::Messages => "0",
            AsideSubject::Claims => "k",
        };
        format!("{}.{last}", self.prefix)
    }

    /// Tells the other nodes that are there.
    pub async fn tell(&self, of: AsideSubject, frame: Bytes) -> Result<(), EngineError> {
        if self.back.connection_state() != State::Connected {
            return Err(EngineError("not connected".to_owned()));
        }
        self.back.publish(self.subject(of), frame).await.map_err(EngineError::of)
    }

    /// Those that ask for the state of this node.
    pub async fn questions(&self) -> Result<Subscriber, EngineError> {
        self.back.subscribe(status_subject(&self.prefix)).await.map_err(EngineError::of)
    }

    /// What this node is asked to do.
    pub async fn asked(&self) -> Result<Subscriber, EngineError> {
        let subject = asked_subject(&self.prefix, &self.node);
        self.back.subscribe(subject).await.map_err(EngineError::of)
    }

    /// Tells the other nodes how far this one has applied the log.
    pub async fn tell_applied(&self, told: Bytes) {
        if self.back.connection_state() == State::Connected {
            let _ = self.back.publish(format!("{}.a", self.prefix), told).await;
        }
    }

    /// How far nodes have applied the log, as they tell it.
    pub async fn applied(&self) -> Result<ToldFrames, EngineError> {
        let told = self.back.subscribe(format!("{}.a", self.prefix)).await;
        told.map(ToldFrames).map_err(EngineError::of)
    }

    /// Cuts off the frames of the log below `first`.
    pub async fn trim(&self, first: u64) -> Result<(), EngineError> {
        let stream = self.to_log.get_stream_no_info(&self.stream).await.map_err(EngineError::of)?;
        stream.purge().sequence(first).await.map(|_| ()).map_err(EngineError::of)
    }

    /// Answers one of them. The answer may be lost.
    pub async fn answer(&self, to: Subject, answer: Bytes) {
        if self.back.connection_state() == State::Connected {
            let _ = self.back.publish(to, answer).await;
        }
    }

    /// What the other nodes tell.
    pub async fn listen(&self, of: AsideSubject) -> Result<ToldFrames, EngineError> {
        self.back.subscribe(self.subject(of)).await.map(ToldFrames).map_err(EngineError::of)
    }
}

/// What other nodes tell.
pub(super) struct ToldFrames(Subscriber);

impl ToldFrames {
    /// The next frame; `None`: there will be no more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let message = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(message.map(|message| message.payload))
    }
}

/// Whether a log that is there does what the configuration says: what only costs room is said alone.
fn compare(wanted: &StreamConfig, found: &StreamConfig) -> Result<(), JoinError> {
    let name = &wanted.name;
    let is_usable = wanted.subjects == found.subjects
        && wanted.retention == found.retention
        && wanted.discard == found.discard
        && !found.deny_purge
        && wanted.storage == found.storage
        && found.max_messages <= 0
        && found.max_messages_per_subject <= 0
        && found.duplicate_window >= wanted.duplicate_window;
    if !is_usable {
        return Err(JoinError(format!(
            "the stream {name} is there, but not as the log of a cluster: remove it, or set another cluster.prefix"
        )));
    }
    let taken = [
        ("cluster.replicas", wanted.num_replicas as u128, found.num_replicas as u128),
        ("cluster.log_bytes_max", wanted.max_bytes as u128, found.max_bytes as u128),
        ("cluster.log_span", wanted.max_age.as_millis(), found.max_age.as_millis()),
    ];
    for (key, wanted, found) in taken {
        if wanted != found {
            warn!(
                key,
                wanted,
                found,
                stream = name,
                "the log is there already, with another value"
            );
        }
    }
    Ok(())
}

impl LogEngine for Nats {
    type Frames = FromLog;

    async fn append(&self, id: &str, frame: Bytes) -> Result<Appended, EngineError> {
        // It would be kept, and sent once for each attempt when there is a connection again.
        if self.out.connection_state() != State::Connected {
            return Err(EngineError("not connected".to_owned()));
        }
        let publish = PublishMessage::build().payload(frame).message_id(id);
        let publish = publish.expected_stream(&self.stream);
        let sent = self.to_log.send_publish(format!("{}.q", self.prefix), publish).await;
        match sent.map_err(EngineError::of)?.await {
            Ok(_) => Ok(Appended::There),
            Err(error) if has_no_room(&error) => Ok(Appended::Full),
            Err(error) => Err(EngineError::of(error)),
        }
    }

    async fn bounds(&self) -> Result<Bounds, EngineError> {
        let stream = self.to_log.get_stream(&self.stream).await.map_err(EngineError::of)?;
        let info = stream.cached_info();
        // A server that is alone tells what it has, which may not be all.
        if info.cluster.as_ref().is_some_and(|cluster| cluster.leader.is_none()) {
            return Err(EngineError("it has no leader".to_owned()));
        }
        let state = &info.state;
        let (first, last) = (state.first_sequence, state.last_sequence);
        let most = u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX);
        Ok(Bounds { first: first.max(1), last, bytes: (state.bytes, most) })
    }

    async fn read(&self, from: u64) -> Result<FromLog, EngineError> {
        let config = OrderedConfig {
            deliver_subject: self.back.new_inbox(),
            description: Some(format!("{READER}{}", self.node)),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ..OrderedConfig::default()
        };
        let made = self.from_log.create_consumer_on_stream(config, self.stream.as_str());
        let made = tokio::time::timeout(READER_TIMEOUT, made).await.map_err(EngineError::of)?;
        let consumer = made.map_err(EngineError::of)?;
        Ok(FromLog(consumer.messages().await.map_err(EngineError::of)?))
    }

    async fn move_on(&self) {
        if self.servers.len() < 2 {
            return;
        }
        let moves = self.moves.fetch_add(1, Ordering::Relaxed) + 1;
        let mut servers = self.servers.clone();
        servers.rotate_left(moves % self.servers.len());
        warn!(to = servers[0], "the cluster's log does not answer: another server is tried");
        for client in [&self.out, &self.back] {
            // A client that has ended is seen by what is asked of it.
            let _ = client.set_server_pool(servers.as_slice()).await;
            let _ = client.force_reconnect().await;
        }
    }
}

/// Frames of an ordered consumer, which is made anew when something is missed.
pub(super) struct FromLog(Ordered);

impl LogFrames for FromLog {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(u64, Bytes), EngineError>> {
        let next = ready!(Pin::new(&mut self.0).poll_next(cx));
        let message = match next {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Poll::Ready(Err(EngineError::of(error))),
            None => return Poll::Ready(Err(EngineError("it has ended".to_owned()))),
        };
        let sequence = message.info().map(|info| info.stream_sequence);
        let payload = message.message.payload.clone();
        Poll::Ready(sequence.map(|sequence| (sequence, payload)).map_err(EngineError::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_must_be_new_enough() {
        let info = |version: &str| ServerInfo {
            version: version.to_owned(),
            jetstream: true,
            max_payload: 1024 * 1024,
            ..ServerInfo::default()
        };
        for version in ["2.12.0", "2.15.1", "3.0.0-beta.1", "v2.12.3"] {
            assert!(check_server("nats://a", &info(version)).is_ok(), "{version}");
        }
        for version in ["2.9.21", "2.11.9", "1.4.1", "", "two"] {
            let error = check_server("nats://a", &info(version)).unwrap_err();
            assert!(error.0.contains("2.12 or later"), "{error}");
        }
        let plain = ServerInfo { jetstream: false, ..info("2.15.1") };
        assert!(check_server("nats://a", &plain).unwrap_err().0.contains("no JetStream"));
        let small = ServerInfo { max_payload: PAYLOAD_MIN - 1, ..info("2.15.1") };
        assert!(check_server("nats://a", &small).unwrap_err().0.contains("max_payload"));
    }
}
