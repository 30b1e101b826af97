//! SIGHUP: reads again everything that can change while the broker runs.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{Reread, notify};
use crate::auth::{PasswordFile, Rights};
use crate::config::Config;
use crate::net::sampler;
use crate::net::serve::ServeContext;
use crate::net::tls::LiveTls;
use crate::time::{Clock, SystemClock};

/// Carries out a reload.
pub(super) struct Reloader<'a> {
    shared: Arc<ServeContext<SystemClock>>,
    /// In force: a key that needs a restart is as it was at the start.
    config: Config,
    files: Files,
    rights: Arc<Rights>,
    /// Feeds the overload controller.
    sampling: JoinHandle<()>,
    reread: &'a Reread<'a>,
}

/// What was read from files that the configuration names.
pub(super) struct Files {
    /// Certificates, of each listener with TLS.
    pub tls: Vec<Arc<LiveTls>>,
    /// Users and passwords, if there is a password file.
    pub passwords: Option<Arc<PasswordFile>>,
}

impl<'a> Reloader<'a> {
    /// Starts what depends on reloads: the samples for the overload controller.
    pub fn start(
        shared: Arc<ServeContext<SystemClock>>,
        config: Config,
        files: Files,
        rights: Arc<Rights>,
        reread: &'a Reread<'a>,
    ) -> Reloader<'a> {
        let sampling = tokio::spawn(sampler::sample(shared.clone(), &config.overload));
        Reloader { shared, config, files, rights, sampling, reread }
    }

    /// Ends what [`Reloader::start`] started.
    pub fn stop(&self) {
        self.sampling.abort();
    }

    /// Reads the configuration again and, if nothing is wrong with it, certificates and passwords too. A
    /// file that cannot be read leaves the old one in force. The log names each changed key that needs a
    /// restart.
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

    /// The configuration to put in force, and the changed keys that need a restart.
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
            // The sampler may have to look at other causes.
            self.sampling.abort();
            self.sampling = tokio::spawn(sampler::sample(self.shared.clone(), &config.overload));
        }
        let (classes, priorities) = (config.class.len(), config.priority.len());
        info!(classes, priorities, "rates, queues, classes, priorities and overload reloaded");
        self.config = config;
    }

    fn reload_files(&self) {
        for tls in &self.files.tls {
            match tls.reload() {
                Ok(()) => info!("certificates reloaded"),
                Err(error) => {
                    error!(%error, "certificates not reloaded, the old ones stay in force");
                }
            }
        }
        if let Some(passwords) = &self.files.passwords {
            match passwords.reload() {
                Ok(users) => info!(users, "passwords reloaded"),
                Err(error) => error!(%error, "passwords not reloaded, the old ones stay in force"),
            }
        }
    }
}
