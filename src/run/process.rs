//! What the HTTP listener asks of this process, answered.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::Request;
use tokio::sync::{mpsc, oneshot};

use super::listeners::Listening;
use crate::broker::{Peer, RefusalNote};
use crate::config::{Config, ConfigEntry, HTTP_NAME, InForce, Listener, NamedQueue, Transport};
use crate::http::{BoxedStream, ConfigKey, ListenerPlace, Process, ReloadEnd, WebSocketGrant};
use crate::logging;
use crate::message::Grounds;
use crate::net::listener::OpenListener;
use crate::net::serve::ServeContext;
use crate::net::tls::HandshakeError;
use crate::net::websocket::{GrantedUpgrade, Upgrade, WebSocketStream};
use crate::settings::Settings;
use crate::time::{Clock, SystemClock, Time};

/// This process, as HTTP sees it.
pub(super) struct ProcessEnd {
    shared: Arc<ServeContext<SystemClock>>,
    settings: ArcSwap<Settings>,
    listeners: Vec<ListenerPlace>,
    /// MQTT through the HTTP listener itself.
    mqtt: OnceLock<MqttEnd>,
    reloads: mpsc::Sender<AskedReload>,
    /// Of a node of a cluster.
    log_away: Option<LogAway>,
}

/// Where MQTT comes through the HTTP listener.
struct MqttEnd {
    place: ListenerPlace,
    listener: Mutex<OpenListener<SystemClock>>,
}

/// Reloads that are asked for.
pub(super) type Reloads = mpsc::Receiver<AskedReload>;

/// Where a reload that was asked for is told how it has ended.
pub(super) type AskedReload = oneshot::Sender<ReloadEnd>;

/// Tells since when the log of the cluster has not answered; `None`: it does.
pub(super) type LogAway = Box<dyn Fn() -> Option<Time> + Send + Sync>;

/// Reloads that wait; beyond them none is taken.
const RELOADS_MAX: usize = 4;

impl ProcessEnd {
    /// With `settings` in force and these listeners open, and the log of a cluster if it is a node of one; and the
    /// reloads that it asks for.
    pub fn new(
        shared: &Arc<ServeContext<SystemClock>>,
        settings: &Settings,
        listening: &[Listening],
        log_away: Option<LogAway>,
    ) -> (Arc<ProcessEnd>, Reloads) {
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        let listeners = listening.iter().zip(&settings.config().listener).map(place).collect();
        let settings = settings.reloaded(settings, settings.from_here(), &[]);
        let settings = ArcSwap::from_pointee(settings);
        let shared = shared.clone();
        let mqtt = OnceLock::new();
        let process = ProcessEnd { shared, settings, listeners, mqtt, reloads, log_away };
        (Arc::new(process), asked)
    }

    /// From now on MQTT may come through the HTTP listener, which is open at `address`.
    pub fn open_mqtt(&self, config: &Config, address: SocketAddr) {
        let (http, auth) = (&config.http, &config.auth);
        let listener = Listener {
            name: HTTP_NAME.to_owned(),
            address: address.to_string(),
            connections_max: http.connections_max,
            ..Listener::default()
        };
        // It is no wider a door than those that there are.
        let admits = |other: &Listener| {
            let is_named = other.requires_certificate() || other.names_users_by_peer();
            other.admits_anonymous(auth) && !is_named
        };
        let anonymous = address.ip().is_loopback() && config.listener.iter().any(admits);
        let open = OpenListener::new(&self.shared, &listener, HTTP_NAME, anonymous);
        let place = ListenerPlace {
            name: HTTP_NAME.to_owned(),
            place: listener.address,
            transport: Transport::WebSocket.name(),
            tls: http.tls.is_some(),
            connections_max: listener.connections_max,
        };
        let _ = self.mqtt.set(MqttEnd { place, listener: Mutex::new(open) });
    }

    /// Says in the log that something is refused to the peer at `address`.
    pub fn note_refusal(&self, note: RefusalNote<'_>, address: SocketAddr) {
        let peer = address.to_string();
        let peer = Peer::at(&peer, Some(address.ip()));
        self.shared.broker.note_refusal(&note, &peer, self.shared.clock.now());
    }

    /// Says in the log that a handshake with the peer at `address` has failed.
    pub fn note_handshake(&self, error: &HandshakeError, address: SocketAddr) {
        let note = RefusalNote::new(Grounds::new(error.kind));
        self.note_refusal(note.because(error.reason).why(&error.detail), address);
    }

    /// A reload has put `config` in force: what was `read` but for the keys `left`.
    pub fn reloaded(&self, read: &Settings, config: &Config, left: &[String]) {
        let settings = self.settings.load().reloaded(read, config.clone(), left);
        self.settings.store(Arc::new(settings));
    }
}

impl Process for ProcessEnd {
    fn now(&self) -> Time {
        self.shared.clock.now()
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    fn log_away(&self) -> Option<Duration> {
        let since = self.log_away.as_ref().and_then(|since| since())?;
        Some(self.now().since(since))
    }

    fn node(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn config(&self) -> Vec<ConfigKey> {
        let entries = Config::entries();
        let reload = |name: &str| {
            let name = with_zeros(name);
            let entry = entries.iter().find_map(|entry| match entry {
                ConfigEntry::Key(key) if key.name == name => Some(key.reload),
                _ => None,
            });
            entry.unwrap_or(InForce::Restart)
        };
        let keys = self.settings.load().effective().into_iter().map(|key| ConfigKey {
            reload: reload(&key.name),
            name: key.name,
            value: key.value,
            origin: key.origin,
        });
        keys.collect()
    }

    fn named_queue(&self, body: &serde_json::Value) -> Result<NamedQueue, Vec<String>> {
        self.settings.load().named_queue(body)
    }

    fn log_levels(&self) -> Option<String> {
        logging::levels()
    }

    fn set_log_levels(&self, levels: &str) -> Result<(), String> {
        logging::set_levels(levels).map_err(|error| error.to_string())
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = ReloadEnd> + Send>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.reloads.try_send(answer);
        Box::pin(async move {
            match asked {
                Ok(()) => answered.await.unwrap_or(ReloadEnd::Busy),
                Err(_) => ReloadEnd::Busy,
            }
        })
    }

    fn listeners(&self) -> Vec<ListenerPlace> {
        let own = self.mqtt.get().map(|mqtt| &mqtt.place);
        self.listeners.iter().chain(own).cloned().collect()
    }

    fn grant_websocket(
        &self,
        request: &Request<()>,
        address: SocketAddr,
    ) -> Result<WebSocketGrant, (u16, String)> {
        if self.mqtt.get().is_none() {
            return Err((404, "http.mqtt is false: no MQTT comes this way".to_owned()));
        }
        match Upgrade::grant(request) {
            Ok(GrantedUpgrade { accept, protocol }) => Ok(WebSocketGrant { accept, protocol }),
            Err((status, error)) => {
                self.note_handshake(&error, address);
                Err((status, format!("{} {}", error.reason, error.detail).trim().to_owned()))
            }
        }
    }

    fn serve_mqtt(&self, stream: BoxedStream, address: SocketAddr) {
        let Some(mqtt) = self.mqtt.get() else { return };
        let admitted = {
            let mut listener = mqtt.listener.lock().unwrap_or_else(PoisonError::into_inner);
            listener.admit(address.to_string(), Some(address.ip()))
        };
        if let Some(admitted) = admitted {
            admitted.serve(WebSocketStream::new(stream));
        }
    }
}

fn place((listening, settings): (&Listening, &Listener)) -> ListenerPlace {
    ListenerPlace {
        name: listening.name.clone(),
        place: listening.place.to_string(),
        transport: listening.transport.name(),
        tls: listening.tls,
        connections_max: settings.connections_max,
    }
}

/// A name as the table of keys has it: 0 for each number in a list.
fn with_zeros(name: &str) -> String {
    let part = |part| if str::parse::<usize>(part).is_ok() { "0" } else { part };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}
