//! Spans for OpenTelemetry.

use std::path::PathBuf;

use super::http::{HttpConfig, url_problem};
use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::units::Span;

rows! {
    /// Spans of sampled messages for OpenTelemetry, sent to a collector (docs/otel.md): when a message came in, when the
    /// store had it, when each receiver was sent it and when it acknowledged. Nothing of a message is changed, a User
    /// Property `traceparent` neither.
    pub struct OtelConfig {
        /// Where the collector takes traces by OTLP over HTTP, as JSON. Not set: no message is sampled. No redirect is
        /// followed, and no proxy is used. It needs a program with the feature `otel`.
        endpoint: Option<String> = key(Live, None).example(Some("http://127.0.0.1:4318/v1/traces".to_owned()));
        /// The share of the messages of clients that is sampled: `1.0` is all.
        sample: f64 = key(Live, 0.01).range(0.0..=1.0);
        /// A message with a User Property `traceparent` in which its publisher says that it has sampled the trace is
        /// sampled too, up to so many a second of all clients together. Beyond that it is one of the others.
        flagged_max: u32 = key(Live, 100).range(0..=100_000);
        /// How long a request may take, from looking up the name to the end of the answer.
        timeout: Span = key(Live, Span::secs(3)).range(Span::millis(100)..=Span::secs(60));
        /// File with a token that goes with each request, as `Authorization: Bearer …`. SIGHUP reads it again.
        token_file: Option<PathBuf> = key(Live, None).example(Some("token".into())).names_file();
        /// Certificates that one of the collector must descend from, PEM. SIGHUP reads it again.
        ca: PathBuf = key(Live, "/etc/ssl/certs/ca-certificates.crt".into()).names_file();
    }
}

impl OtelConfig {
    /// The collector as a server that is asked over HTTP; `None` if there is none.
    pub fn server(&self) -> Option<HttpConfig> {
        Some(HttpConfig {
            url: self.endpoint.clone()?,
            token_file: self.token_file.clone(),
            ca: self.ca.clone(),
            timeout: self.timeout,
            requests_max: 1,
            ..HttpConfig::default()
        })
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, found: &mut Problems) {
        let Some(endpoint) = &self.endpoint else { return };
        if !cfg!(feature = "otel") {
            found.add("otel.endpoint", "this program was built without the feature otel");
        }
        if let Some(problem) = url_problem(endpoint, "http://127.0.0.1:4318/v1/traces") {
            found.add("otel.endpoint", problem);
        }
    }
}
