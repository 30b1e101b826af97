//! Re-authentication on a live connection `[MQTT5-4.12.1-1]`: it runs beside the normal traffic.

use std::task::Waker;

use super::live::Live;
use crate::broker::Broker;
use crate::broker::ports::{AuthRequest, AuthStep, Exchange, ExchangeState, Verdict};
use crate::broker::turn::Turn;
use crate::codec::{Auth, Packet, Properties, Reason};

/// The method of enhanced authentication the connection was opened with, and what runs of it.
pub(super) struct Login {
    pub method: Box<str>,
    exchange: Option<Box<dyn Exchange>>,
    verdict: Option<Verdict>,
}

impl Login {
    pub fn new(method: Box<str>) -> Login {
        Login { method, exchange: None, verdict: None }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Live {
    /// AUTH from the client: a new exchange, or its next step.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, broker: &Broker) {
        let identity = self.session.identity().clone();
        let attachment = &mut self.attachment;
        // Without a method in CONNECT there is no AUTH [MQTT5-4.12.0-7], and no other method.
        let login = attachment.flow.as_mut().and_then(|flow| flow.login.as_mut());
        let login = login.filter(|login| auth.method == Some(&*login.method));
        let Some(login) = login else {
            attachment.closing = Some(Reason::ProtocolError);
            return;
        };
        match (auth.reason, &mut login.exchange) {
            (Reason::ContinueAuthentication, Some(exchange)) => exchange.answer(auth.data),
            (Reason::Reauthenticate, None) => {
                let request = AuthRequest {
                    client_id: identity.client_id.as_str(),
                    user_name: identity.user_name.as_deref(),
                    password: None,
                    method: Some((&login.method, auth.data)),
                    certificate: None,
                    anonymous: false,
                };
                match broker.0.ports.authenticator.begin(&request) {
                    AuthStep::Verdict(verdict) => login.verdict = Some(verdict),
                    AuthStep::Exchange(exchange) => login.exchange = Some(exchange),
                }
            }
            // A second one while one runs, or an answer to nothing.
            _ => attachment.closing = Some(Reason::ProtocolError),
        }
    }

    /// Goes on with a re-authentication.
    pub(super) fn poll_login(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Some(login) = self.login() else { return };
        let mut challenge = None;
        if let Some(exchange) = &mut login.exchange {
            match exchange.poll(waker) {
                ExchangeState::Pending | ExchangeState::Waiting => {}
                ExchangeState::Challenge(data) => challenge = Some(data),
                ExchangeState::Verdict(verdict) => login.verdict = Some(verdict),
            }
        }
        if let Some(data) = challenge {
            self.send_auth(Reason::ContinueAuthentication, Some(&data), turn);
        }
        let Some(login) = self.login() else { return };
        let Some(verdict) = login.verdict.take() else { return };
        login.exchange = None;
        match verdict {
            Verdict::Accept { user_name, data }
                if user_name == self.session.identity().user_name =>
            {
                self.send_auth(Reason::Success, data.as_deref(), turn);
            }
            // Another user does not inherit the Session.
            Verdict::Accept { .. } | Verdict::Refuse(_) => {
                self.attachment.closing = Some(Reason::NotAuthorized); // [MQTT5-4.12.1-2]
            }
        }
    }

    fn send_auth(&mut self, reason: Reason, data: Option<&[u8]>, turn: &mut Turn<'_>) {
        let method = self.login().map(|login| login.method.clone());
        let packet = Packet::Auth(Auth {
            reason,
            method: method.as_deref(),
            data,
            reason_string: None,
            user_properties: Properties::EMPTY,
        });
        self.send(&packet, turn);
    }

    fn login(&mut self) -> Option<&mut Login> {
        self.attachment.flow.as_mut()?.login.as_mut()
    }
}
