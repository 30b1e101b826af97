//! Re-authentication on a live connection `[MQTT5-4.12.1-1]`: it runs beside the normal traffic.

use std::task::Waker;

use crate::broker::ports::{
    AuthRequest, AuthStep, Authenticator, Exchange, ExchangeState, Verdict,
};
use crate::codec::{Auth, Reason};

/// The method of enhanced authentication the connection was opened with, and what runs of it.
pub(super) struct Login {
    method: Box<str>,
    /// What binds it to the TLS channel.
    binding: Option<Box<[u8; 32]>>,
    exchange: Option<Box<dyn Exchange>>,
    verdict: Option<Verdict>,
}

impl Login {
    /// Nothing runs of `method`.
    pub fn new(method: Box<str>, binding: Option<Box<[u8; 32]>>) -> Login {
        Login { method, binding, exchange: None, verdict: None }
    }

    /// The method that CONNECT named.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// AUTH from the client: a new exchange, for `request`, or its next step. `false`: neither is possible
    /// now, which breaks the protocol.
    pub fn on_auth(
        &mut self,
        auth: &Auth<'_>,
        request: &AuthRequest<'_>,
        authenticator: &dyn Authenticator,
    ) -> bool {
        match (auth.reason, &mut self.exchange) {
            (Reason::ContinueAuthentication, Some(exchange)) => exchange.answer(auth.data),
            (Reason::Reauthenticate, None) => {
                let request = AuthRequest { binding: self.binding.as_deref(), ..*request };
                match authenticator.begin(&request) {
                    AuthStep::Verdict(verdict) => self.verdict = Some(verdict),
                    AuthStep::Exchange(exchange) => self.exchange = Some(exchange),
                }
            }
            // A second one while one runs, or an answer to nothing.
            _ => return false,
        }
        true
    }

    /// Goes on with the exchange; returns data of the authenticator that the client has to answer.
    pub fn poll(&mut self, waker: &Waker) -> Option<Vec<u8>> {
        match self.exchange.as_mut()?.poll(waker) {
            ExchangeState::Pending | ExchangeState::Waiting => None,
            ExchangeState::Challenge(data) => Some(data),
            ExchangeState::Verdict(verdict) => {
                self.verdict = Some(verdict);
                None
            }
        }
    }

    /// The verdict, once it is there: the exchange is over with it.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        let verdict = self.verdict.take()?;
        self.exchange = None;
        Some(verdict)
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("method", &self.method).finish_non_exhaustive()
    }
}
