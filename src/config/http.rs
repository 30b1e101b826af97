//! A server that is asked over HTTP.

use std::path::PathBuf;

use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::units::Span;

rows! {
    /// The server that the step above it asks over HTTP. A step of kind `"http"` sends a POST for each login, a step
    /// of kind `"jwt"` fetches its keys (JWKS) with GET. No redirect is followed, and no proxy is used.
    pub struct HttpConfig {
        /// Where the server is: `https://…`, or, within one machine or a network that is trusted, `http://…`.
        url: String = key(Live, String::new()).required("https://id.example.com/mqtt".to_owned());
        /// File with a token that goes with each request, as `Authorization: Bearer …`. SIGHUP reads it again.
        token_file: Option<PathBuf> = key(Live, None).example(Some("token".into())).names_file();
        /// Environment variable that has this token, instead of a file.
        token_env: Option<String> = key(Live, None).example(Some("LOGIN_TOKEN".to_owned()));
        /// Certificates that the server's must descend from, PEM. SIGHUP reads it again.
        ca: PathBuf = key(Live, "/etc/ssl/certs/ca-certificates.crt".into()).names_file();
        /// How long a request may take, from looking up the name to the end of the answer.
        timeout: Span = key(Live, Span::secs(3)).range(Span::millis(100)..=Span::secs(60));
        /// Requests at once, each on a thread of its own; `auth.queue_max` logins may wait for one. Of keys there is
        /// one request at a time.
        requests_max: u32 = key(Live, 8).range(1..=256);
        /// How long what was allowed is allowed again without a request, or until it expires, if that comes first:
        /// to the same client with the same password. `"0s"`: never. For keys: how long they are used until they are
        /// fetched again. If that fails, those that there are stay.
        cache_time: Span = key(Live, Span::secs(60)).range(Span::secs(0)..=Span::secs(86_400));
        /// After so many requests in a row without a usable answer none is sent for `pause`: each login is refused
        /// at once, with 0x88.
        failures_max: u32 = key(Live, 5).range(1..=1000);
        /// How long that lasts. Then one login is asked for, to see.
        pause: Span = key(Live, Span::secs(10)).range(Span::millis(100)..=Span::secs(3600));
    }
}

impl HttpConfig {
    /// Adds what is wrong with it.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        if let Some(problem) = url_problem(&self.url, "https://id.example.com/mqtt") {
            found.add(format!("{at}.url"), problem);
        }
        if self.token_file.is_some() && self.token_env.is_some() {
            found.add(format!("{at}.token_env"), "is set, and so is token_file: keep one");
        }
    }
}

/// What is wrong with the URL of a server, if anything; `example`: one that would do.
pub(super) fn url_problem(url: &str, example: &str) -> Option<String> {
    let rest = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    match rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default()) {
        Some(host) if host.contains('@') => Some(
            "has a user or a password in it, which everything shows: use token_file".to_owned(),
        ),
        Some(host) if !host.is_empty() && !host.starts_with(':') => None,
        _ => Some(format!("is no URL with a host, such as {example:?}")),
    }
}
