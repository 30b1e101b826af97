//! SIGHUP: what can be read again while the broker runs.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{Reread, notify};
use crate::auth::{PasswordFile, Rights};
use crate::config::Config;
use crate::net::sampler;
use crate::net::serve::Shared;
use crate::net::tls::LiveTls;
use crate::time::{Clock, SystemClock};

/// What a reload changes, and what it goes by.
pub(super) struct Reloader<'a> {
    pub shared: Arc<Shared<SystemClock>>,
    /// In force: a key that needs a restart is as it was at the start.
    pub config: Config,
    pub tls: Vec<Arc<LiveTls>>,
    pub passwords: Option<Arc<PasswordFile>>,
    pub rights: Arc<Rights>,
    /// Feeds the overload controller.
    pub sampling: JoinHandle<()>,
    pub reread: &'a Reread<'a>,
}

impl Reloader<'_> {
    /// Reads the configuration again, and if nothing is wrong with it, certificates and passwords too;
    /// of those what cannot be read stays as it was. What is changed and needs a restart is named.
    pub fn reload(&mut self) {
        notify(&[sd_notify::NotifyState::Reloading]);
        match self.read() {
            Ok((config, left)) => {
                self.put_in_force(config);
                if !left.is_empty() {
                    warn!(keys = left.join(", "), "changed, and in force only after a restart");
                }
                self.reload_files();
            }
            Err(lines) => {
                for error in lines {
                    error!(error, "nothing reloaded: the configuration has a mistake");
                }
            }
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// What is to be in force, and the keys that are left to a restart.
    fn read(&self) -> Result<(Config, Vec<String>), Vec<String>> {
        let read = (self.reread)()?;
        let config = self.config.reloaded(&read);
        let left = config.differences(&read);
        config.check().map_err(|problems| {
            let left = left.join(", ");
            let beside = |problem| format!("{problem}, as long as a restart is due for {left}");
            problems.iter().map(beside).collect::<Vec<_>>()
        })?;
        Ok((config, left))
    }

    fn put_in_force(&mut self, config: Config) {
        let (broker, now) = (&self.shared.broker, self.shared.clock.now());
        broker.reload(&config, now);
        self.rights.set(&config.auth);
        if config.overload != self.config.overload {
            // What it looks at may be something else.
            self.sampling.abort();
            self.sampling = tokio::spawn(sampler::sample(self.shared.clone(), &config.overload));
        }
        let (classes, priorities) = (config.class.len(), config.priority.len());
        info!(classes, priorities, "rates, queues, classes, priorities and overload reloaded");
        self.config = config;
    }

    fn reload_files(&self) {
        for tls in &self.tls {
            match tls.reload() {
                Ok(()) => info!("certificates reloaded"),
                Err(error) => {
                    error!(%error, "certificates not reloaded, the old ones stay in force");
                }
            }
        }
        if let Some(passwords) = &self.passwords {
            match passwords.reload() {
                Ok(users) => info!(users, "passwords reloaded"),
                Err(error) => error!(%error, "passwords not reloaded, the old ones stay in force"),
            }
        }
    }
}
