//! Servers that are asked over HTTP: whether a client may come in, and which keys sign tokens.

mod callout;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

pub(super) use self::callout::Callout;
use super::file::PasswordFileError;
use crate::config::HttpConfig;

/// A client of one server. Its requests block the thread that makes them.
pub(crate) struct HttpClient {
    agent: Agent,
    url: String,
    /// The header `Authorization`.
    token: Option<String>,
}

/// Most of an answer that is read.
const ANSWER_MAX: u64 = 256 * 1024;

impl HttpClient {
    /// A client as configured, with the token and the certificates that the configuration names.
    pub fn of(config: &HttpConfig) -> Result<HttpClient, PasswordFileError> {
        let timeout = Some(config.timeout.0);
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("sluice")
            .timeout_global(timeout)
            .max_idle_connections(config.requests_max as usize)
            .max_idle_connections_per_host(config.requests_max as usize)
            .max_idle_age(IDLE);
        if config.url.starts_with("https:") {
            let roots = RootCerts::from(authorities(&config.ca)?);
            builder = builder.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let token = token(config)?.map(|token| format!("Bearer {token}"));
        Ok(HttpClient { agent: builder.build().into(), url: config.url.clone(), token })
    }

    /// The answer to a POST of this JSON.
    ///
    /// # Errors
    ///
    /// Why there is none of use: one with another status than 200, too. It holds nothing of what was sent.
    pub fn post(&self, json: &[u8]) -> Result<Vec<u8>, String> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        answer(request.send(json))
    }

    #[cfg_attr(not(feature = "jwt"), expect(dead_code, reason = "no keys are fetched"))]
    /// The answer to a GET.
    ///
    /// # Errors
    ///
    /// As of [`HttpClient::post`].
    pub fn get(&self) -> Result<Vec<u8>, String> {
        let mut request = self.agent.get(&self.url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        answer(request.call())
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("url", &self.url).finish_non_exhaustive()
    }
}

fn answer(said: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Vec<u8>, String> {
    let mut response = said.map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("the answer is {}", response.status()));
    }
    let body = response.body_mut().with_config().limit(ANSWER_MAX);
    body.read_to_vec().map_err(|error| error.to_string())
}

/// The token in a file or in the environment.
fn token(config: &HttpConfig) -> Result<Option<String>, PasswordFileError> {
    let wrong =
        |from: String, problem: &str| PasswordFileError::Http { from, problem: problem.to_owned() };
    let (from, bytes) = match (&config.token_file, &config.token_env) {
        (Some(path), _) => (format!("{}:1:1", path.display()), read("read the token in", path)?),
        (None, Some(name)) => {
            let from = format!("environment {name}");
            match std::env::var_os(name) {
                Some(text) => (from, text.into_encoded_bytes()),
                None => return Err(wrong(from, "the token is not set")),
            }
        }
        (None, None) => return Ok(None),
    };
    let token = String::from_utf8(bytes).unwrap_or_default();
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(from, "the token is empty, or not a word of printable ASCII"));
    }
    Ok(Some(token.to_owned()))
}

fn authorities(path: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>, PasswordFileError> {
    let bytes = read("read the certificates in", path)?;
    let items = parse_pem(&bytes).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let wrong = |problem: String| {
        let (line, column) = crate::place::pem_damage(&bytes);
        let from = format!("{}:{line}:{column}", path.display());
        PasswordFileError::Http { from, problem }
    };
    let found: Result<Vec<_>, _> = items.collect();
    let found = found.map_err(|error| wrong(format!("is damaged PEM: {error}")))?;
    if found.is_empty() {
        return Err(wrong("holds no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

fn read(verb: &'static str, path: &Path) -> Result<Vec<u8>, PasswordFileError> {
    let path = path.to_owned();
    fs::read(&path).map_err(|source| PasswordFileError::File { verb, path, source })
}
