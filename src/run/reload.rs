//! SIGHUP: reads again everything that can change while the broker runs.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::Reread;
use super::rules::{read_rules, rule_set};
use super::watch::{Task, Watch};
use crate::auth::{PasswordAuth, ReadRules, Rights};
use crate::config::Config;
use crate::logging;
use crate::net::sampler;
use crate::net::serve::ServeContext;
use crate::net::tls::LiveTls;
use crate::time::{Clock, SystemClock};

/// Carries out a reload.
pub(super) struct Reloader {
    shared: Arc<ServeContext<SystemClock>>,
    /// In force: a key that needs a restart is as it was at the start.
    config: Config,
    files: Files,
    rights: Arc<Rights>,
    /// Feeds the overload controller.
    sampling: Task,
}

/// What was read from files that the configuration names.
pub(super) struct Files {
    /// Certificates, of each listener with TLS.
    pub tls: Vec<Arc<LiveTls>>,
    /// How clients log in, with the password files.
    pub authenticator: Arc<PasswordAuth>,
}

/// What a reload has read: the configuration, the file of rules, and the changed keys that need a restart.
type ToPutInForce = (Config, Option<ReadRules>, Vec<String>);

impl Reloader {
    /// Starts what depends on reloads: the samples for the overload controller.
    pub fn start(
        shared: Arc<ServeContext<SystemClock>>,
        config: Config,
        files: Files,
        rights: Arc<Rights>,
        watch: &Watch,
    ) -> Reloader {
        let sampling = sample(&shared, &config, watch);
        Reloader { shared, config, files, rights, sampling }
    }

    /// Ends what [`Reloader::start`] started.
    pub fn stop(&self) {
        self.sampling.stop();
    }

    /// Reads the configuration again and, if nothing is wrong with it, certificates and passwords too. A
    /// file that cannot be read leaves the old one in force. The log names each changed key that needs a
    /// restart.
    pub fn reload(&mut self, reread: &Reread<'_>, watch: &Watch) {
        match self.read(reread) {
            Ok((config, rules, left)) => {
                self.put_in_force(config, rules.as_ref(), watch);
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
    }

    /// The configuration and the rules to put in force, and the changed keys that need a restart.
    fn read(&self, reread: &Reread<'_>) -> Result<ToPutInForce, Vec<String>> {
        let read = reread()?;
        let config = self.config.reloaded(&read);
        let left = config.differences(&read);
        config.check().map_err(|problems| {
            let left = left.join(", ");
            let beside = |problem| format!("{problem}, as long as a restart is due for {left}");
            problems.iter().map(beside).collect::<Vec<_>>()
        })?;
        let rules = read_rules(&config).map_err(|error| error.lines().to_vec())?;
        Ok((config, rules, left))
    }

    fn put_in_force(&mut self, config: Config, rules: Option<&ReadRules>, watch: &Watch) {
        let (broker, now) = (&self.shared.broker, self.shared.clock.now());
        // First: connected clients look at their Subscriptions again when they are told of the reload.
        self.rights.set(&rule_set(&config, rules));
        broker.reload(&config, now);
        self.files.authenticator.set(&config.auth);
        if let Err(error) = logging::reload(&config.log) {
            error!(%error, "the levels of the log stay as they are");
        }
        if config.overload != self.config.overload {
            // The sampler may have to look at other causes.
            self.sampling.stop();
            self.sampling = sample(&self.shared, &config, watch);
        }
        let (classes, priorities) = (config.class.len(), config.priority.len());
        let rules = self.rights.rules();
        info!(
            classes,
            priorities, rules, "rates, queues, classes, priorities and overload reloaded"
        );
        self.config = config;
    }

    fn reload_files(&self) {
        let mut fewer = false;
        for tls in &self.files.tls {
            match tls.reload() {
                Ok(others) => {
                    fewer |= others;
                    info!("certificates reloaded");
                }
                Err(error) => {
                    error!(%error, "certificates not reloaded, the old ones stay in force");
                }
            }
        }
        super::files::warn_of_open_secrets(&self.config);
        let auth = &self.config.auth;
        match self.files.authenticator.reload(auth) {
            Ok(reloaded) => {
                fewer |= reloaded.fewer;
                if auth.files().next().is_some() {
                    info!(users = reloaded.users, "passwords reloaded");
                }
            }
            Err(error) => error!(%error, "passwords not reloaded, the old ones stay in force"),
        }
        if fewer {
            // A client that would not be let in any more does not stay either.
            self.shared.broker.recheck_logins();
        }
    }
}

/// Samples for the overload controller, as long as they are wanted: else a task that only waits.
fn sample(shared: &Arc<ServeContext<SystemClock>>, config: &Config, watch: &Watch) -> Task {
    let samples = sampler::sample(shared.clone(), &config.overload);
    watch.start("overload samples", async move {
        samples.await;
        // It ends where the controller is off.
        std::future::pending::<()>().await;
    })
}
