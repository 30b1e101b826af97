//! Requests to the broker, and their answers.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sluicemq::net::tls::use_cryptography;
use ureq::http::{Method, Request, Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, Timeout};

use super::failure::CtlFailure;
use super::feed::EventFeed;
use super::target::CtlTarget;
use super::visible::visible;

/// The API of one broker.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    target: CtlTarget,
}

/// Below this is the API.
const BASE: &str = "/api/v1";
/// Certificates of the system.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A connection is made within this time.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// An answer begins within this time, and goes on within it; a feed says something each ten seconds.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const ANSWER_MAX: u64 = 512 * 1024 * 1024;

impl Api {
    /// Of the broker at `target`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The certificates to trust cannot be read.
    pub fn new(target: CtlTarget) -> Result<Api, CtlFailure> {
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent("sluice-ctl")
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_recv_response(Some(ANSWER_TIME));
        if target.url.starts_with("https:") {
            use_cryptography();
            let file = target.ca.as_deref().unwrap_or(Path::new(SYSTEM_CA));
            let roots = RootCerts::from(authorities(file)?);
            builder = builder.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Api { agent: builder.build().into(), target })
    }

    /// The answer to a GET.
    ///
    /// # Errors
    ///
    /// The broker refuses, or is not reached.
    pub fn get(&self, path: &ApiPath) -> Result<Value, CtlFailure> {
        self.ask(Method::GET, path, None)
    }

    /// The answer to a request; none of a body is [`Value::Null`].
    ///
    /// # Errors
    ///
    /// As of [`Api::get`].
    pub fn ask(
        &self,
        method: Method,
        path: &ApiPath,
        body: Option<&Value>,
    ) -> Result<Value, CtlFailure> {
        let text = self.text(method, path, body)?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| self.no_broker())
    }

    /// The text of an answer.
    ///
    /// # Errors
    ///
    /// As of [`Api::get`].
    pub fn text(
        &self,
        method: Method,
        path: &ApiPath,
        body: Option<&Value>,
    ) -> Result<String, CtlFailure> {
        let said = match body {
            Some(json) => self.run(self.request(method, path, json.to_string())),
            None => self.run(self.request(method, path, ())),
        };
        let mut response = self.answer(said)?;
        self.body(&mut response)
    }

    /// A feed of events.
    ///
    /// # Errors
    ///
    /// As of [`Api::get`].
    pub fn feed(&self, path: &ApiPath) -> Result<EventFeed, CtlFailure> {
        let response = self.answer(self.run(self.request(Method::GET, path, ())))?;
        Ok(EventFeed::new(response.into_body().into_reader()))
    }

    /// What is said when a feed ends before its end.
    pub fn lost(&self, why: &str) -> CtlFailure {
        let url = &self.target.url;
        CtlFailure::Unreachable(format!("the connection to the broker at {url} has ended: {why}"))
    }

    fn request<S>(&self, method: Method, path: &ApiPath, body: S) -> Request<S> {
        Request::builder()
            .method(method)
            .uri(format!("{}{BASE}{}", self.target.url, path.0))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.target.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .expect("the URL and the token were looked at, and the path is encoded")
    }

    fn run(&self, request: Request<impl AsSendBody>) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.configure_request(request).timeout_per_read(Some(ANSWER_TIME));
        self.agent.run(request.build())
    }

    fn body(&self, response: &mut Response<Body>) -> Result<String, CtlFailure> {
        let body = response.body_mut().with_config().limit(ANSWER_MAX);
        body.read_to_string().map_err(|error| self.not_reached(&error))
    }

    /// An answer that is good, or why there is none.
    fn answer(
        &self,
        said: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, CtlFailure> {
        let mut response = said.map_err(|error| self.not_reached(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.body(&mut response)?;
        let detail = serde_json::from_str::<Value>(&text).ok();
        let detail = detail.as_ref().and_then(|problem| problem["detail"].as_str());
        let Some(detail) = detail.map(visible) else { return Err(self.no_broker()) };
        let CtlTarget { url, token_from, .. } = &self.target;
        Err(CtlFailure::Refused(match status {
            StatusCode::UNAUTHORIZED => {
                format!("the broker at {url} does not take the token of {token_from}: {detail}")
            }
            StatusCode::MISDIRECTED_REQUEST => format!(
                "{detail}: add it there, or name the broker by its address, as in --url https://127.0.0.1:18090"
            ),
            _ => detail,
        }))
    }

    fn no_broker(&self) -> CtlFailure {
        CtlFailure::Unreachable(format!(
            "what answers at {} is no broker of Sluice",
            self.target.url
        ))
    }

    fn not_reached(&self, error: &ureq::Error) -> CtlFailure {
        let CtlTarget { url, ca, start, .. } = &self.target;
        let hint = match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                match start {
                    Some(start) => format!(": no broker runs here; to start it: {start}"),
                    None => ": nothing listens there".to_owned(),
                }
            }
            ureq::Error::HostNotFound => ": there is no such name".to_owned(),
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                ": no answer comes from there".to_owned()
            }
            ureq::Error::Timeout(_) => ": it took the request, but does not answer".to_owned(),
            error if is_of_tls(error) => {
                let trusted = match ca {
                    Some(_) => "",
                    None => "; --ca FILE names the CA of its certificate",
                };
                format!(": {error}{trusted}; --url must have the name in the certificate")
            }
            ureq::Error::Io(error) if !is_cut(error) => format!(": {error}"),
            error => format!(": {error}; is it {} there?", other_scheme(url)),
        };
        CtlFailure::Unreachable(visible(&format!("cannot reach the broker at {url}{hint}")))
    }
}

/// Whether an error comes of TLS: what is not trusted, or not spoken there.
fn is_of_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        _ => false,
    }
}

/// Whether the other side has ended the connection.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn other_scheme(url: &str) -> &'static str {
    if url.starts_with("https:") { "http" } else { "https" }
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>, CtlFailure> {
    let wrong = |why: &dyn Display| CtlFailure::Usage(format!("--ca {}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| wrong(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(&error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(wrong(&"holds no certificate in PEM form")) } else { Ok(found) }
}

/// A path below the API, with a query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiPath(String);

impl ApiPath {
    /// This path.
    pub fn of(path: &str) -> ApiPath {
        ApiPath(path.to_owned())
    }

    /// With one more part at its end.
    pub fn part(mut self, part: &str) -> ApiPath {
        self.0.push('/');
        encode(part, &mut self.0);
        self
    }

    /// With one more name and value in its query.
    pub fn with(mut self, name: &str, value: impl Display) -> ApiPath {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        encode(&value.to_string(), &mut self.0);
        self
    }

    /// The same, if there is a value.
    pub fn with_some(self, name: &str, value: Option<impl Display>) -> ApiPath {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// Everything but letters, digits, `-` and `_` as `%` and digits: `+` and `.` mean something elsewhere.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_and_filter_can_be_asked_for() {
        let path =
            ApiPath::of("/clients").part("a/../b %ü").part("queue").with("filter", "+/#&x=1");
        assert_eq!(path.0, "/clients/a%2F%2E%2E%2Fb%20%25%C3%BC/queue?filter=%2B%2F%23%26x%3D1");
        let path = ApiPath::of("/why")
            .with("client", "..")
            .with_some("topic", None::<&str>)
            .with("limit", 3);
        assert_eq!(path.0, "/why?client=%2E%2E&limit=3");
    }
}
