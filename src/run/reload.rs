//! SIGHUP: reads again everything that can change while the broker runs.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::Reread;
use super::files::refuse_open_secrets;
use super::http::HttpEnd;
use super::otel::{Collector, Exporter};
use super::rules::{read_rules, rule_set};
use super::watch::{Task, Watch};
use crate::auth::{AuthReadAgain, PasswordAuth, ReadRules, Rights};
use crate::codec::Reason;
use crate::config::Config;
use crate::http::{HttpTokens, ReloadEnd};
use crate::logging;
use crate::net::sampler;
use crate::net::serve::ServeContext;
use crate::net::tls::{LiveTls, TlsReadAgain};
use crate::settings::Settings;
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
    /// Sends spans to a collector, if one is configured.
    exporter: Option<Exporter>,
}

/// What was read from files that the configuration names.
pub(super) struct Files {
    /// Certificates, of each listener with TLS.
    pub tls: Vec<Arc<LiveTls>>,
    /// How clients log in, with the password files.
    pub authenticator: Arc<PasswordAuth>,
    /// The HTTP listener, with its tokens.
    pub http: Option<HttpEnd>,
    /// Where spans are to go at the start.
    pub collector: Option<Collector>,
}

/// What a reload has read.
struct ToPutInForce {
    settings: Settings,
    config: Config,
    /// What belongs to the rules.
    rules: ReadRules,
    /// Changed keys that need a restart.
    left: Vec<String>,
    /// Of each listener with TLS.
    tls: Vec<TlsReadAgain>,
    auth: AuthReadAgain,
    /// Of the HTTP listener.
    tokens: Option<HttpTokens>,
    collector: Option<Collector>,
}

impl Reloader {
    /// Starts what depends on reloads: the samples for the overload controller, and the export of spans.
    pub fn start(
        shared: Arc<ServeContext<SystemClock>>,
        config: Config,
        mut files: Files,
        rights: Arc<Rights>,
        watch: &Watch,
    ) -> Reloader {
        let sampling = sample(&shared, &config, watch);
        let collector = files.collector.take();
        let mut reloader = Reloader { shared, config, files, rights, sampling, exporter: None };
        reloader.export_to(collector);
        reloader
    }

    /// Ends what [`Reloader::start`] started.
    pub fn stop(&self) {
        self.sampling.stop();
    }

    /// Ends the export of spans, once the last ones are sent.
    pub async fn finish_export(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }

    /// Reads the configuration and the files that it names again, and puts all of it in force or, if anything is
    /// wrong with any of it, nothing. The log names each mistake, and each changed key that needs a restart, and
    /// so does the result.
    pub fn reload(&mut self, reread: &Reread<'_>, watch: &Watch) -> ReloadEnd {
        match self.read(reread) {
            Ok(read) => {
                let left = read.left.clone();
                self.put_in_force(read, watch);
                ReloadEnd::Reloaded(left)
            }
            Err(texts) => {
                let lines = texts.iter().flat_map(|text| text.lines()).map(str::to_owned);
                let lines: Vec<String> = lines.collect();
                for error in &lines {
                    error!(error, "nothing reloaded: what was in force stays");
                }
                ReloadEnd::Refused(lines)
            }
        }
    }

    fn read(&self, reread: &Reread<'_>) -> Result<ToPutInForce, Vec<String>> {
        let settings = reread()?;
        let read = settings.from_here();
        let config = self.config.reloaded(&read);
        let left = config.differences(&read);
        config.check().map_err(|problems| {
            let left = left.join(", ");
            let beside = |problem| format!("{problem}, as long as a restart is due for {left}");
            problems.iter().map(beside).collect::<Vec<_>>()
        })?;
        let mut wrong: Vec<String> = refuse_open_secrets(&config).collect();
        wrong.extend(self.shared.broker.queues_in_both(&config));
        let rules = read_rules(&config, &settings);
        wrong.extend(rules.as_ref().err().map(ToString::to_string));
        let mut tls = Vec::new();
        for live in &self.files.tls {
            match live.read_again() {
                Ok(read) => tls.push(read),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        let auth = self.files.authenticator.read_again(&config.auth);
        wrong.extend(auth.as_ref().err().map(ToString::to_string));
        let tokens = self.files.http.as_ref().map(|http| http.read_again(&config)).transpose();
        wrong.extend(tokens.as_ref().err().map(ToString::to_string));
        let collector = Collector::of(&config.otel);
        wrong.extend(collector.as_ref().err().map(ToString::to_string));
        match (rules, auth, tokens, collector) {
            (Ok(rules), Ok(auth), Ok(tokens), Ok(collector)) if wrong.is_empty() => {
                Ok(ToPutInForce { settings, config, rules, left, tls, auth, tokens, collector })
            }
            _ => Err(wrong),
        }
    }

    fn put_in_force(&mut self, read: ToPutInForce, watch: &Watch) {
        let ToPutInForce { settings, config, rules, left, tls, auth, tokens, collector } = read;
        let (broker, now) = (&self.shared.broker, self.shared.clock.now());
        // First: connected clients look at their Subscriptions again when they are told of the reload.
        self.rights.set(&rule_set(&config, &rules));
        broker.reload(&config, now);
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
        if !left.is_empty() {
            warn!(keys = left.join(", "), "changed, and in force only after a restart");
        }
        if let Some((http, tokens)) = self.files.http.as_ref().zip(tokens) {
            http.put_in_force(&config, &settings, &left, tokens);
        }
        self.export_to(collector);
        self.config = config;
        self.put_files_in_force(tls, auth);
    }

    /// Spans go to this collector from now on, and what was not sent to the one before is its last.
    fn export_to(&mut self, collector: Option<Collector>) {
        self.exporter = None;
        match collector.map(|collector| collector.start(&self.shared.broker)).transpose() {
            Ok(exporter) => self.exporter = exporter,
            Err(error) => error!(%error, "no spans are exported"),
        }
    }

    fn put_files_in_force(&self, tls: Vec<TlsReadAgain>, read: AuthReadAgain) {
        let mut fewer = false;
        for (live, read) in self.files.tls.iter().zip(tls) {
            fewer |= live.put_in_force(read);
            info!("certificates reloaded");
        }
        let auth = &self.config.auth;
        let reloaded = self.files.authenticator.put_in_force(auth, read);
        fewer |= reloaded.fewer;
        if auth.files().next().is_some() {
            info!(users = reloaded.users, "passwords reloaded");
        }
        self.shared.broker.look_who_is_verified();
        let others = &reloaded.other_passwords;
        let disconnected = self.shared.broker.kick_users(others, Reason::NotAuthorized);
        if disconnected > 0 {
            info!(
                users = others.len(),
                disconnected, "users with another password are disconnected"
            );
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
