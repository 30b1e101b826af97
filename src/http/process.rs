//! What the HTTP listener asks of the process that it is part of.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{InForce, NamedQueue};
use crate::time::Time;

/// The process around the broker. `run` implements it; no call waits.
pub trait Process: Send + Sync {
    /// The present moment.
    fn now(&self) -> Time;

    /// The process has been told to end.
    fn is_stopping(&self) -> bool;

    /// How long the log of the cluster has not answered; `None`: it does, or there is no cluster.
    fn log_away(&self) -> Option<Duration>;

    /// The name of the machine.
    fn node(&self) -> String;

    /// Every key of the configuration as it is in force.
    fn config(&self) -> Vec<ConfigKey>;

    /// The named queue that JSON with the keys of `[[named_queue]]` describes.
    ///
    /// # Errors
    ///
    /// What is wrong with it, a line each.
    fn named_queue(&self, body: &serde_json::Value) -> Result<NamedQueue, Vec<String>>;

    /// The levels of the log in force; none if there is no log.
    fn log_levels(&self) -> Option<String>;

    /// Puts other levels in force, until the next reload or start.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words.
    fn set_log_levels(&self, levels: &str) -> Result<(), String>;

    /// Reads the configuration and the files that it names again, as at SIGHUP.
    fn reload(&self) -> Pin<Box<dyn Future<Output = ReloadEnd> + Send>>;

    /// The listeners, in the order of the configuration; then this one, if MQTT comes through it.
    fn listeners(&self) -> Vec<ListenerPlace>;

    /// Whether a peer may speak MQTT over WebSocket from this request on.
    ///
    /// # Errors
    ///
    /// The status code to answer with, and why not, which is noted.
    fn grant_websocket(
        &self,
        request: &Request<()>,
        address: SocketAddr,
    ) -> Result<WebSocketGrant, (u16, String)>;

    /// Serves a client of MQTT over WebSocket on `stream`, in a task of its own.
    fn serve_mqtt(&self, stream: BoxedStream, address: SocketAddr);
}

/// The bytes of a connection.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// The bytes of a connection of any kind.
pub type BoxedStream = Box<dyn ByteStream>;

/// What the answer to an upgrade says.
#[derive(Clone, Debug)]
pub struct WebSocketGrant {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    /// `Sec-WebSocket-Protocol`.
    pub protocol: &'static str,
}

/// A key of the configuration as it is in force.
#[derive(Clone, Debug)]
pub struct ConfigKey {
    /// Its full name, with numbers in lists.
    pub name: String,
    /// Its value; none if it is not set.
    pub value: Option<toml::Value>,
    /// Where the value came from.
    pub origin: String,
    /// When a change takes effect.
    pub reload: InForce,
}

/// How a reload has ended.
#[derive(Clone, Debug)]
pub enum ReloadEnd {
    /// Everything is in force but these keys, which need a restart.
    Reloaded(Vec<String>),
    /// Nothing is: these are the mistakes.
    Refused(Vec<String>),
    /// As many reloads wait as may, or the process ends.
    Busy,
}

/// Where a listener listens.
#[derive(Clone, Debug)]
pub struct ListenerPlace {
    /// Its name in logs.
    pub name: String,
    /// Address or file.
    pub place: String,
    /// What carries MQTT there.
    pub transport: &'static str,
    /// It wants TLS.
    pub tls: bool,
    /// Most connections at once.
    pub connections_max: u32,
}
