//! The broker's authentication port, over a password file.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::file::PasswordFile;
use crate::broker::ports::{
    AuthRequest, AuthStep, Authenticator, Exchange, ExchangeState, Verdict,
};
use crate::codec::Reason;

/// Admits a client with the identity of a certificate, with a right password or, where anonymous clients
/// are allowed, without a user name.
///
/// A user name that neither a certificate nor a password stands for is not believed: the client is
/// anonymous, whatever it calls itself.
#[derive(Debug)]
pub struct PasswordAuth {
    passwords: Option<Arc<PasswordFile>>,
    /// Certificates of some listener name users.
    certificates: bool,
}

/// A check of more iterations than this (about 0.4 µs each) runs beside the workers.
const INLINE_ITERATIONS: u32 = 1_000;

impl PasswordAuth {
    /// Checks against `passwords`; without them user names of CONNECT are not believed.
    pub fn new(passwords: Option<Arc<PasswordFile>>) -> PasswordAuth {
        PasswordAuth { passwords, certificates: false }
    }

    /// The same, where `certificates` of clients name users too.
    #[must_use]
    pub fn with_certificates(self, certificates: bool) -> PasswordAuth {
        PasswordAuth { certificates, ..self }
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
            // The receiver is gone if the client has gone.
            let _ = answer.send(verdict(right, &user));
        });
        AuthStep::Exchange(Box::new(Beside { answered }))
    }
}

impl Authenticator for PasswordAuth {
    fn checks_names(&self) -> bool {
        self.passwords.is_some() || self.certificates
    }

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
            // Nothing has checked the name.
            _ if request.anonymous => AuthStep::Verdict(accept(None)),
            _ => AuthStep::Verdict(Verdict::Refuse(Reason::NotAuthorized)),
        }
    }
}

/// A password check that runs on a thread beside the workers.
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
