//! A server that says whether a client may come in.
//!
//! It fails closed: without a usable answer no client is let in, and none is told that its password is wrong.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

use super::super::file::PasswordFileError;
use super::super::means::ServerSays;
use super::super::names::{VALUES_MAX, groups, is_name, text_of};
use super::super::pool::{CheckPool, CheckTicket};
use super::super::successes::Successes;
use super::HttpClient;
use crate::broker::ports::{Accepted, AuthRequest, LoginDetails};
use crate::config::HttpConfig;
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// Asks the server, on threads of its own, so many at once as it has of them.
pub(in super::super) struct Callout {
    client: HttpClient,
    pool: CheckPool,
    breaker: Mutex<Breaker>,
    /// What was allowed lately.
    lately: Successes<AllowedLogin>,
    cache_time: Duration,
}

/// What was allowed, and until when it is without asking again.
#[derive(Clone)]
struct AllowedLogin {
    accepted: Accepted,
    until: Time,
}

/// Whether the server is asked at all.
#[derive(Debug)]
struct Breaker {
    /// Requests in a row without a usable answer.
    failures: u32,
    failures_max: u32,
    pause: Duration,
    /// Where they are too many: when it is asked again.
    again: Time,
}

/// What is asked.
#[derive(Serialize)]
struct LoginQuestion<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    /// Of a password that is not UTF-8.
    password_base64: Option<String>,
    client_id: &'a str,
    address: Option<String>,
    listener: Option<&'a str>,
    certificate: Option<&'a str>,
}

/// What is answered.
#[derive(Deserialize)]
struct LoginAnswer {
    result: AnswerWord,
    user: Option<String>,
    #[serde(default)]
    groups: Value,
    #[serde(default)]
    claims: Map<String, Value>,
    /// In seconds after 1970.
    expires: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnswerWord {
    Allow,
    Deny,
    Ignore,
}

/// Most that are kept of what was allowed: some 16 MiB.
const LATELY_MAX: usize = 16_384;

impl Callout {
    /// As configured; so many logins may wait for a request.
    pub fn new(config: &HttpConfig, queue_max: usize) -> Result<Callout, PasswordFileError> {
        let client = HttpClient::of(config)?;
        let threads = |error: std::io::Error| PasswordFileError::Http {
            from: config.url.clone(),
            problem: format!("no threads to ask it: {error}"),
        };
        let breaker = Breaker {
            failures: 0,
            failures_max: config.failures_max,
            pause: config.pause.0,
            again: Time::START,
        };
        Ok(Callout {
            client,
            pool: CheckPool::start(config.requests_max as usize, queue_max).map_err(threads)?,
            breaker: Mutex::new(breaker),
            lately: Successes::new(LATELY_MAX).map_err(PasswordFileError::Random)?,
            cache_time: config.cache_time.0,
        })
    }

    /// What it has allowed that client lately.
    pub fn known(&self, request: &AuthRequest<'_>) -> Option<Accepted> {
        let allowed = self.lately.find(&parts(request).each_ref().map(Vec::as_slice))?;
        (request.now < allowed.until).then_some(allowed.accepted)
    }

    /// Asks; `then` is told what it says.
    pub fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        request: &AuthRequest<'_>,
        then: impl FnOnce(ServerSays) -> T + Send + 'static,
    ) -> CheckTicket<T> {
        let (callout, now) = (self.clone(), request.now);
        let (question, parts) = (question(request), parts(request));
        let user = request.user_name.map(str::to_owned);
        self.pool.check(request.address, move || {
            if !whole(callout.breaker.lock()).permits(now) {
                return then(ServerSays::Nothing);
            }
            let said = callout.client.post(&question);
            let said = said.and_then(|bytes| read(&bytes, user, now));
            whole(callout.breaker.lock()).note(said.is_ok(), now);
            let said = said.unwrap_or_else(|error| {
                warn!(url = callout.client.url(), error, "no usable answer: login refused");
                ServerSays::Nothing
            });
            if let ServerSays::Allow(accepted) = &said {
                let until =
                    now.after(callout.cache_time).min(accepted.expires().unwrap_or(Time::NEVER));
                let allowed = AllowedLogin { accepted: accepted.clone(), until };
                if !callout.cache_time.is_zero() {
                    callout.lately.note(&parts.each_ref().map(Vec::as_slice), allowed);
                }
            }
            then(said)
        })
    }
}

impl std::fmt::Debug for Callout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callout").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Breaker {
    /// Whether a request may be made now. Where it failed too often, one may after each pause.
    fn permits(&mut self, now: Time) -> bool {
        if self.failures < self.failures_max {
            return true;
        }
        let permits = now >= self.again;
        if permits {
            self.again = now.after(self.pause);
        }
        permits
    }

    /// A request has been answered, or not.
    fn note(&mut self, answered: bool, now: Time) {
        if answered {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.again = self.again.max(now.after(self.pause));
        }
    }
}

/// All that an answer depends on.
fn parts(request: &AuthRequest<'_>) -> [Vec<u8>; 6] {
    // What is not there is not the same as what is empty.
    let part = |part: Option<&[u8]>| match part {
        Some(part) => [b"+", part].concat(),
        None => Vec::new(),
    };
    let address = request.address.map(|address| address.to_string());
    [
        part(request.user_name.map(str::as_bytes)),
        part(request.password),
        part(Some(request.client_id.as_bytes())),
        part(address.as_ref().map(String::as_bytes)),
        part(request.listener.map(str::as_bytes)),
        part(request.certificate.map(str::as_bytes)),
    ]
}

fn question(request: &AuthRequest<'_>) -> Vec<u8> {
    let text = request.password.map(std::str::from_utf8);
    let question = LoginQuestion {
        user: request.user_name,
        password: text.and_then(Result::ok),
        password_base64: request
            .password
            .filter(|_| text.is_some_and(|text| text.is_err()))
            .map(|bytes| BASE64.encode(bytes)),
        client_id: request.client_id,
        address: request.address.map(|address| address.to_string()),
        listener: request.listener,
        certificate: request.certificate,
    };
    serde_json::to_vec(&question).expect("texts can be written as JSON")
}

/// What an answer says of a client that calls itself `user`.
fn read(bytes: &[u8], user: Option<String>, now: Time) -> Result<ServerSays, String> {
    let answer: LoginAnswer = serde_json::from_slice(bytes).map_err(|error| {
        // Its text would have parts of the answer, and those may be secret.
        let (line, column) = (error.line(), error.column());
        format!("the answer is not as it should be, at line {line}, column {column}")
    })?;
    let expires = answer.expires.map(Time::from_secs);
    Ok(match answer.result {
        AnswerWord::Deny => ServerSays::Deny,
        AnswerWord::Ignore => ServerSays::Ignore,
        AnswerWord::Allow if expires.is_some_and(|expires| expires <= now) => ServerSays::Deny,
        AnswerWord::Allow => {
            let user = answer.user.or(user);
            if user.as_deref().is_some_and(|user| !is_name(user)) {
                return Err("the answer has a user name that is blank or cannot be seen".to_owned());
            }
            let claims = answer.claims.iter();
            let claims =
                claims.filter_map(|(name, value)| Some((name.as_str().into(), text_of(value)?)));
            let details = LoginDetails {
                data: None,
                groups: groups(Some(&answer.groups)),
                claims: claims.take(VALUES_MAX).collect(),
                expires,
                is_lent: true,
            };
            let user_name = user.map(Into::into);
            ServerSays::Allow(Accepted { user_name, details: Some(Box::new(details)) })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_is_asked_once_in_a_pause() {
        let at = Time::from_secs;
        let pause = Duration::from_secs(10);
        let mut breaker = Breaker { failures: 0, failures_max: 2, pause, again: Time::START };
        for now in [100, 101] {
            assert!(breaker.permits(at(now)));
            breaker.note(false, at(now));
        }
        assert!(!breaker.permits(at(101)) && !breaker.permits(at(110)));
        assert!(breaker.permits(at(111)) && !breaker.permits(at(111)), "one, to see");
        breaker.note(false, at(111));
        assert!(!breaker.permits(at(120)) && breaker.permits(at(121)));
        breaker.note(true, at(121));
        assert!(breaker.permits(at(121)) && breaker.permits(at(121)));
        // A failure in between does not count to the next ones.
        breaker.note(false, at(122));
        breaker.note(true, at(123));
        breaker.note(false, at(124));
        assert!(breaker.permits(at(124)));
    }

    #[test]
    fn an_answer_is_one_of_three_words_with_what_belongs_to_it() {
        let now = Time::from_secs(1000);
        let read = |text: &str| read(text.as_bytes(), Some("ann".to_owned()), now);
        let allowed = |text: &str| match read(text) {
            Ok(ServerSays::Allow(accepted)) => accepted,
            _ => panic!("{text}"),
        };
        let plain = allowed(r#"{"result": "allow", "other": 1}"#);
        let wanted = LoginDetails { is_lent: true, ..LoginDetails::default() };
        let wanted = Accepted::with("ann", wanted);
        assert_eq!(plain, wanted);
        let text = r#"{"result": "allow", "user": "bob", "groups": ["a", 1, ""], "expires": 1001,
                       "claims": {"n": 1, "t": "x", "b": true, "o": {}, "u": "\u200b"}}"#;
        let wanted = LoginDetails {
            data: None,
            groups: vec!["a".into()],
            claims: [("b", "true"), ("n", "1"), ("t", "x")]
                .map(|(n, v)| (n.into(), v.into()))
                .into(),
            expires: Some(Time::from_secs(1001)),
            is_lent: true,
        };
        assert_eq!(allowed(text), Accepted::with("bob", wanted));
        assert!(matches!(read(r#"{"result": "deny"}"#), Ok(ServerSays::Deny)));
        assert!(matches!(read(r#"{"result": "ignore"}"#), Ok(ServerSays::Ignore)));
        assert!(matches!(read(r#"{"result": "allow", "expires": 1000}"#), Ok(ServerSays::Deny)));
        for wrong in
            ["", "{}", "[]", r#"{"result": "yes"}"#, r#"{"result": "allow", "user": " "}"#, "allow"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
