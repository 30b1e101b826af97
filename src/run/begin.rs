//! What is there before a listener opens: the broker with what its store remembers, and with what its cluster has.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{ClusterNode, ClusterServers};
use super::rules::{read_rules, rule_set};
use super::{Life, RunError, TICK, built, files, seed};
use crate::auth::{PasswordAuth, Rights};
use crate::broker::ports::Store;
use crate::broker::restore::Restored;
use crate::broker::turn::Scratch;
use crate::broker::{Broker, Ports};
use crate::config::{Config, Listener};
use crate::net::tls::use_cryptography;
use crate::store::engine::{Engine, Report};
use crate::store::{DurableStore, MemoryStore};
use crate::time::{Clock, SystemClock, Time};

/// A broker that can serve.
pub(super) struct Begun {
    pub authenticator: Arc<PasswordAuth>,
    pub rights: Arc<Rights>,
    pub broker: Broker,
    /// What the store has given back, how long it took, and what it says of its files.
    pub taken: Option<(Restored, Duration, Report)>,
    /// This node of the cluster.
    pub member: Option<ClusterNode>,
}

impl Life<'_> {
    /// Makes the broker; `None`: a signal has asked for the end before.
    pub(super) async fn begin(
        &self,
        durable: &Option<Arc<DurableStore<Engine>>>,
        report: Option<Report>,
        clock: &SystemClock,
    ) -> Result<Option<Begun>, RunError> {
        let config = self.config;
        let certificates = config.listener.iter().any(Listener::names_users);
        use_cryptography();
        let authenticator = Arc::new(PasswordAuth::open(&config.auth, certificates)?);
        files::warn_of_no_users(&authenticator);
        let rules = read_rules(config, self.settings)?;
        let rights = Arc::new(Rights::new(&rule_set(config, &rules)));
        if config.cluster.is_on() {
            self.manager.status("looking for the servers of the cluster");
        }
        let connecting = ClusterServers::connect(config, clock);
        let Some(servers) = self.unless_over(connecting).await? else { return Ok(None) };
        let limited = match &servers {
            Some(servers) => servers.limit(config),
            None => Cow::Borrowed(config),
        };
        let broker = broker(&limited, durable, &authenticator, &rights, clock.now());
        if self.is_over() {
            return Ok(None);
        }
        self.manager.status("taking over what the store remembers");
        let (restored, time) = restore(&broker, clock)?;
        let taken = report.map(|report| (restored, report.time + time, report));
        let mut member = None;
        if let Some(servers) = servers {
            self.manager.status("joining the cluster");
            let joining = servers.join(config, &broker);
            let Some(joined) = self.unless_over(joining).await? else { return Ok(None) };
            member = Some(joined);
        }
        Ok(Some(Begun { authenticator, rights, broker, taken, member }))
    }

    /// Waits for this; `None`: a signal has asked for the end before.
    async fn unless_over<T>(
        &self,
        coming: impl Future<Output = Result<T, RunError>>,
    ) -> Result<Option<T>, RunError> {
        let mut coming = std::pin::pin!(coming);
        loop {
            tokio::select! {
                come = &mut coming => return come.map(Some),
                () = tokio::time::sleep(TICK) => {}
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }
}

/// A broker of these parts, with nothing in it yet.
fn broker(
    config: &Config,
    durable: &Option<Arc<DurableStore<Engine>>>,
    authenticator: &Arc<PasswordAuth>,
    rights: &Arc<Rights>,
    now: Time,
) -> Broker {
    let store: Arc<dyn Store> = match durable.clone() {
        Some(durable) => durable,
        None => Arc::new(MemoryStore),
    };
    let ports = Ports { store, authenticator: authenticator.clone(), access: rights.clone() };
    let broker = Broker::new(config, ports, seed(), now);
    built::built().iter().for_each(|built| broker.say_built(built));
    broker
}

/// Takes over what the store remembers, and says how long that took.
fn restore(broker: &Broker, clock: &SystemClock) -> Result<(Restored, Duration), RunError> {
    let before = clock.now();
    let restored = broker.restore(before, &mut Scratch::default()).map_err(RunError::Restore)?;
    Ok((restored, clock.now().since(before)))
}
