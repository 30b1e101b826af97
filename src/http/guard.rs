//! What every request goes through: `Host`, `Origin`, token, rights, the size of the body; and the headers of every
//! answer, and the line in the log for each change.
//!
//! - `Host` must be an IP address, `localhost`, or one of `http.hosts`. A page of another site that has its own name
//!   lead here (DNS rebinding) sends that name.
//! - `Origin`, which browsers send, must be where the page itself comes from, or one of `http.origins`.
//! - A bearer token is wanted for every path but those of `is_open`. A method that changes something wants an
//!   operator's; a handler that shows payloads asks for one with [`Caller::shows_payloads`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::info;

use super::places::HttpPlace;
use super::problem::{HttpProblem, of_text};
use super::site::{Site, Terms};
use super::tokens::Token;
use crate::broker::{Peer, RefusalNote};
use crate::config::HttpRights;
use crate::message::{Grounds, RefusalKind};

/// The most bytes of a body.
const BODY_MAX: usize = 1024 * 1024;
/// A body must have come whole within this time.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What a browser may do with an answer: run and show what comes from here, ask nothing elsewhere, keep nothing, and
/// be in no frame.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// What a request was let in with: an extension of every request with a token.
#[derive(Clone, Debug)]
pub struct Caller {
    token: Token,
    /// Its answer shows payloads: it is in the audit log.
    shows: Arc<AtomicBool>,
}

impl Caller {
    /// What it may do.
    pub fn rights(&self) -> HttpRights {
        self.token.rights()
    }

    /// The name of its token.
    pub fn name(&self) -> &str {
        self.token.name()
    }

    /// To be called before payloads are shown: only an operator may see them, and the log says so.
    ///
    /// # Errors
    ///
    /// The token is a viewer's.
    pub fn shows_payloads(&self) -> Result<(), HttpProblem> {
        operator(&self.token)?;
        self.shows.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Lets a request through to its handler, or answers why not.
pub async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let page = other_page(&site.terms(), request.headers());
    let answered = match let_in(&site, request).await {
        Ok((request, _)) if page.is_some() && request.method() == Method::OPTIONS => preflight(),
        Ok((request, caller)) => answer(request, caller, next).await,
        Err(problem) => problem.into_response(),
    };
    let mut response = of_text(answered).await;
    if let Some(origin) = page {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The request with its whole body, and what it was let in with, if it needs anything.
async fn let_in(
    site: &Site,
    mut request: Request,
) -> Result<(Request, Option<Caller>), HttpProblem> {
    let terms = site.terms();
    let peer = request.extensions().get::<PeerAddress>().copied();
    let refused = |kind| move |problem| note(site, peer, kind, problem);
    let (uri, headers) = (request.uri(), request.headers());
    if !is_health(uri.path()) {
        check_host(&terms, uri, headers).map_err(refused(RefusalKind::HttpSite))?;
        check_origin(&terms, headers).map_err(refused(RefusalKind::HttpSite))?;
    }
    // Before a page of another site shows its token, its browser asks whether it may.
    let asks = request.method() == Method::OPTIONS && other_page(&terms, headers).is_some();
    let caller = match asks || is_open(&terms, uri.path()) {
        true => None,
        false => Some(caller(&terms, headers).map_err(refused(RefusalKind::HttpToken))?),
    };
    if let Some(caller) = &caller {
        if changes(request.method())
            && let Err(problem) = operator(&caller.token)
        {
            audit(&request_line(&request), &caller.token, StatusCode::FORBIDDEN);
            return Err(problem);
        }
        if let Some(place) = request.extensions().get::<Arc<HttpPlace>>() {
            place.keep();
        }
        request.extensions_mut().insert(caller.clone());
    }
    Ok((whole(request).await?, caller))
}

/// The answer of the handler, with a line in the log if it changes something or shows payloads.
async fn answer(request: Request, caller: Option<Caller>, next: Next) -> Response {
    let Some(caller) = caller else { return next.run(request).await };
    let line = request_line(&request);
    let is_change = changes(request.method());
    let response = next.run(request).await;
    if is_change || caller.shows.load(Ordering::Relaxed) {
        audit(&line, &caller.token, response.status());
    }
    response
}

/// Counts that a request is refused, and says so in the log unless that was said of its address lately.
fn note(
    site: &Site,
    peer: Option<PeerAddress>,
    kind: RefusalKind,
    problem: HttpProblem,
) -> HttpProblem {
    if let Some(PeerAddress(address)) = peer {
        let (note, text) = (RefusalNote::new(Grounds::new(kind)), address.to_string());
        let peer = Peer::at(&text, Some(address.ip()));
        site.broker().note_refusal(&note.why(&problem.detail()), &peer, site.process().now());
    }
    problem
}

/// The origin of a page of another site that may ask: one of `http.origins`.
fn other_page(terms: &Terms, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let mut listed = terms.settings.origins.iter().flatten();
    listed.any(|one| origin.as_bytes().eq_ignore_ascii_case(one.as_bytes())).then(|| origin.clone())
}

/// What a page of another site that may ask can ask for.
fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, POST, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// What is said of a request in the log: where from, what, on what.
fn request_line(request: &Request) -> (String, String, String) {
    let address = request.extensions().get::<PeerAddress>();
    let address = address.map_or_else(String::new, |peer| peer.0.to_string());
    (address, request.method().to_string(), request.uri().to_string())
}

fn audit((address, what, on): &(String, String, String), token: &Token, result: StatusCode) {
    let result = result.as_u16();
    info!(target: "audit", token = token.name(), address, what, on, result, "asked over HTTP");
}

/// Whether a method changes anything.
fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Probes ask for these by any name.
fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// Whether a path wants no token: health, the files of the page, which hold no data, `/mqtt`, which has logins of its
/// own, and `/metrics` where it is said.
fn is_open(terms: &Terms, path: &str) -> bool {
    is_health(path)
        || path == "/"
        || path.starts_with("/page/")
        || path == "/mqtt"
        || path == "/metrics" && terms.settings.metrics_public
}

fn caller(terms: &Terms, headers: &HeaderMap) -> Result<Caller, HttpProblem> {
    let refuse = |detail: &str| HttpProblem::new(StatusCode::UNAUTHORIZED, detail);
    let header = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let shown = header.and_then(|header| {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let Some(shown) = shown else {
        return Err(refuse(
            "a token is needed, in a header `Authorization: Bearer TOKEN`; the one of http.token_file is an operator's",
        ));
    };
    let token = terms.tokens.find(shown).ok_or_else(|| {
        refuse("this token is not good here; http.token_file has one, [[http.token]] lists others")
    })?;
    Ok(Caller { token, shows: Arc::default() })
}

fn operator(token: &Token) -> Result<(), HttpProblem> {
    if token.rights() >= HttpRights::Operator {
        return Ok(());
    }
    let (name, rights) = (token.name(), token.rights().name());
    Err(HttpProblem::forbidden(format!(
        "the token {name:?} is a {rights}'s; this wants an operator's"
    )))
}

fn check_host(terms: &Terms, uri: &Uri, headers: &HeaderMap) -> Result<(), HttpProblem> {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    // A request may say it in its first line too.
    let said: Vec<&str> = header.into_iter().chain(uri.authority().map(|a| a.as_str())).collect();
    if said.is_empty() {
        return Err(HttpProblem::bad_request("the header Host is missing"));
    }
    let is_ours = |host: &str| {
        let host = without_port(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut listed = terms.settings.hosts.iter().flatten();
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || listed.any(|listed| listed.eq_ignore_ascii_case(host))
    };
    match said.iter().find(|host| !is_ours(host)) {
        None => Ok(()),
        Some(host) => Err(HttpProblem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("the host {host:?} is not in http.hosts"),
        )),
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    }
}

fn check_origin(terms: &Terms, headers: &HeaderMap) -> Result<(), HttpProblem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    let own = origin.split_once("://").is_some_and(|(_, host)| {
        headers.get(HOST).is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    });
    if own || other_page(terms, headers).is_some() {
        return Ok(());
    }
    Err(HttpProblem::forbidden(format!("the origin {origin:?} is not in http.origins")))
}

/// The request with all of its body, so that no handler waits for a peer.
async fn whole(request: Request) -> Result<Request, HttpProblem> {
    let too_large = || {
        let detail = format!("the body has more than {BODY_MAX} bytes");
        HttpProblem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    let mut reading = Request::new(body);
    DefaultBodyLimit::max(BODY_MAX).apply(&mut reading);
    match tokio::time::timeout(BODY_TIME, Bytes::from_request(reading, &())).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(refused)) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(refused)) => Err(HttpProblem::bad_request(refused.body_text())),
        Err(_) => {
            Err(HttpProblem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpListener;
    use crate::http::HttpTokens;

    fn terms() -> Terms {
        let settings = HttpListener {
            hosts: Some(vec!["broker.example".to_owned()]),
            origins: Some(vec!["https://app.example".to_owned()]),
            ..HttpListener::default()
        };
        Terms { settings, tokens: HttpTokens::default() }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_host_is_an_address_localhost_or_listed() {
        let status = |uri: &str, host: &str| {
            let checked = check_host(&terms(), &uri.parse().unwrap(), &headers(&[(HOST, host)]));
            checked.map_err(|problem| problem.into_response().status().as_u16())
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:18090",
            "192.168.1.7:1",
            "[::1]:18090",
            "[::1]",
            "localhost",
            "LocalHost:18090",
            "broker.example:18090",
            "Broker.Example",
        ] {
            assert_eq!(status("/", host), Ok(()), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:18090", "a:b:1"]
        {
            assert_eq!(status("/", host), Err(421), "{host}");
        }
        assert_eq!(status("http://evil.example/", "localhost"), Err(421));
        assert!(check_host(&terms(), &"/".parse().unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn an_origin_is_the_own_one_or_listed() {
        let checked = |origin: &str| {
            let said = headers(&[(HOST, "localhost:18090"), (ORIGIN, origin)]);
            check_origin(&terms(), &said).is_ok()
        };
        for origin in ["http://localhost:18090", "https://LOCALHOST:18090", "https://app.example"] {
            assert!(checked(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:18091",
            "http://app.example",
            "localhost:18090",
        ] {
            assert!(!checked(origin), "{origin}");
        }
        assert!(check_origin(&terms(), &headers(&[(HOST, "localhost")])).is_ok());
    }
}
