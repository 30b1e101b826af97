//! What the HTTP listener asks of this process, answered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::listeners::Listening;
use crate::config::{Config, ConfigEntry, InForce, Listener};
use crate::http::{ConfigKey, ListenerPlace, Process, ReloadEnd};
use crate::logging;
use crate::net::serve::ServeContext;
use crate::settings::Settings;
use crate::time::{Clock, SystemClock, Time};

/// This process, as HTTP sees it.
pub(super) struct ProcessEnd {
    shared: Arc<ServeContext<SystemClock>>,
    settings: ArcSwap<Settings>,
    listeners: Vec<ListenerPlace>,
    reloads: mpsc::Sender<AskedReload>,
}

/// Reloads that are asked for.
pub(super) type Reloads = mpsc::Receiver<AskedReload>;

/// Where a reload that was asked for is told how it has ended.
pub(super) type AskedReload = oneshot::Sender<ReloadEnd>;

/// Reloads that wait; beyond them none is taken.
const RELOADS_MAX: usize = 4;

impl ProcessEnd {
    /// With `settings` in force and these listeners open; and the reloads that it asks for.
    pub fn new(
        shared: &Arc<ServeContext<SystemClock>>,
        settings: &Settings,
        listening: &[Listening],
    ) -> (Arc<ProcessEnd>, Reloads) {
        let (reloads, asked) = mpsc::channel(RELOADS_MAX);
        let listeners = listening.iter().zip(&settings.config().listener).map(place).collect();
        let settings = settings.reloaded(settings, settings.from_here(), &[]);
        let settings = ArcSwap::from_pointee(settings);
        let shared = shared.clone();
        (Arc::new(ProcessEnd { shared, settings, listeners, reloads }), asked)
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

    fn node(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn config(&self) -> Vec<ConfigKey> {
        let entries = Config::entries();
        let reload = |name: &str| {
            let entry = entries.iter().find_map(|entry| match entry {
                ConfigEntry::Key(key) if key.name == with_zeros(name) => Some(key.reload),
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
        self.listeners.clone()
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
