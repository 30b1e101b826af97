//! The broker's authentication port over a password file.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::file::PasswordFile;
use crate::broker::classes::matches;
use crate::broker::ports::{
    AuthRequest, AuthStep, Authenticator, Exchange, ExchangeState, Verdict,
};
use crate::codec::Reason;
use crate::config;
use crate::message::Identity;
use crate::session::Access;
use crate::sync::RwLock;
use crate::topic::{TopicFilter, TopicName};

/// Lets in who has a certificate's identity, a right password, or, where that is allowed, no name.
#[derive(Debug)]
pub struct Gate {
    passwords: Option<Arc<PasswordFile>>,
}

/// A check of more iterations than this (about 0.4 µs each) runs beside the workers.
const INLINE_ITERATIONS: u32 = 1_000;

impl Gate {
    /// A gate; without a password file user names are not checked.
    pub fn new(passwords: Option<Arc<PasswordFile>>) -> Gate {
        Gate { passwords }
    }

    fn check(&self, passwords: &Arc<PasswordFile>, user: &str, password: &[u8]) -> AuthStep {
        if passwords.iterations(user) <= INLINE_ITERATIONS {
            return AuthStep::Verdict(verdict(passwords.check(user, password), user));
        }
        let (answer, answered) = oneshot::channel();
        let (passwords, user) = (passwords.clone(), user.to_owned());
        let password = password.to_vec();
        tokio::task::spawn_blocking(move || {
            let right = passwords.check(&user, &password);
            // Nobody listens any more if the client has gone.
            let _ = answer.send(verdict(right, &user));
        });
        AuthStep::Exchange(Box::new(Beside { answered }))
    }
}

impl Authenticator for Gate {
    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep {
        if request.method.is_some() {
            // No method of enhanced authentication is served [MQTT5-4.12.0-1].
            return AuthStep::Verdict(Verdict::Refuse(Reason::BadAuthenticationMethod));
        }
        if let Some(name) = request.certificate {
            return AuthStep::Verdict(accept(Some(name)));
        }
        match (&self.passwords, request.user_name) {
            (Some(passwords), Some(user)) => {
                self.check(passwords, user, request.password.unwrap_or_default())
            }
            (Some(_), None) if request.password.is_some() => {
                AuthStep::Verdict(Verdict::Refuse(Reason::BadUserNameOrPassword))
            }
            (_, user) if request.anonymous => AuthStep::Verdict(accept(user)),
            _ => AuthStep::Verdict(Verdict::Refuse(Reason::NotAuthorized)),
        }
    }
}

/// A password check running beside the workers.
struct Beside {
    answered: oneshot::Receiver<Verdict>,
}

impl Exchange for Beside {
    fn poll(&mut self, waker: &Waker) -> ExchangeState {
        let mut cx = Context::from_waker(waker);
        match std::future::Future::poll(std::pin::Pin::new(&mut self.answered), &mut cx) {
            Poll::Pending => ExchangeState::Pending,
            Poll::Ready(Ok(verdict)) => ExchangeState::Verdict(verdict),
            Poll::Ready(Err(_)) => {
                ExchangeState::Verdict(Verdict::Refuse(Reason::ServerUnavailable))
            }
        }
    }

    fn answer(&mut self, _data: Option<&[u8]>) {}
}

fn verdict(right: bool, user: &str) -> Verdict {
    if right { accept(Some(user)) } else { Verdict::Refuse(Reason::BadUserNameOrPassword) }
}

fn accept(user: Option<&str>) -> Verdict {
    Verdict::Accept { user_name: user.map(Into::into), data: None }
}

/// Everybody may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct PermitAll;

impl Access for PermitAll {
    fn may_publish(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&self, _who: &Identity, _filter: &TopicFilter) -> bool {
        true
    }

    fn may_receive(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }
}

/// Everybody may do everything, but read dead letters: they say what others were sent.
#[derive(Debug, Default)]
pub struct Rights {
    dead_letter_users: RwLock<Option<String>>,
}

impl Rights {
    /// The rights under `[auth]`.
    pub fn new(auth: &config::Auth) -> Rights {
        Rights { dead_letter_users: RwLock::new(auth.dead_letter_users.clone()) }
    }

    /// Puts the rights under another `[auth]` in force: for what is subscribed to and received from now
    /// on.
    pub fn set(&self, auth: &config::Auth) {
        let mut users = self.dead_letter_users.write().expect("no code panics with it");
        users.clone_from(&auth.dead_letter_users);
    }

    fn may_read(&self, who: &Identity, topic: &str) -> bool {
        let dead = topic.strip_prefix("$dead");
        let dead = dead.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !dead {
            return true;
        }
        let pattern = self.dead_letter_users.read().expect("no code panics with it");
        match (&*pattern, &who.user_name) {
            (Some(pattern), Some(user)) => matches(pattern.as_bytes(), user),
            _ => false,
        }
    }
}

impl Access for Rights {
    fn may_publish(&self, _who: &Identity, _topic: TopicName<'_>) -> bool {
        true
    }

    fn may_subscribe(&self, who: &Identity, filter: &TopicFilter) -> bool {
        self.may_read(who, filter.pattern())
    }

    fn may_receive(&self, who: &Identity, topic: TopicName<'_>) -> bool {
        self.may_read(who, topic.as_str())
    }
}
