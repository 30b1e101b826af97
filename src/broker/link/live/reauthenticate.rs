//! AUTH on a live connection: what its steps and its verdict do to the client.

use std::task::Waker;

use super::Live;
use crate::broker::link::attachment::ClientEnd;
use crate::broker::link::login::Login;
use crate::broker::ports::{AuthRequest, Verdict};
use crate::broker::turn::Turn;
use crate::codec::{Auth, Packet, Properties, Reason};
use crate::message::RefusalKind;

impl Live {
    /// AUTH from the client: a new exchange, or its next step.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, turn: &Turn<'_>) {
        let Live { session, attachment } = self;
        let authenticator = &*turn.broker.0.ports.authenticator;
        let listener = attachment.origin.listener();
        let listener = listener.and_then(|id| turn.broker.0.listeners.names(id));
        let identity = session.identity();
        let request = AuthRequest {
            client_id: identity.client_id.as_str(),
            user_name: identity.user_name.as_deref(),
            password: None,
            method: auth.method.map(|method| (method, auth.data)),
            certificate: None,
            anonymous: false,
            listener: listener.as_ref().map(|names| names.name()),
            address: attachment.origin.address(),
            binding: None,
            now: turn.now,
        };
        // Without a method in CONNECT there is no AUTH [MQTT5-4.12.0-7], and no other method.
        let login = attachment.login_mut().filter(|login| auth.method == Some(login.method()));
        let goes_on = login.is_some_and(|login| login.on_auth(auth, &request, authenticator));
        if !goes_on {
            attachment.closing = Some(Reason::ProtocolError);
        }
    }

    /// Goes on with a re-authentication; ends the connection where what let its client in has ended.
    pub(super) fn poll_login(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        if self.attachment.expires().is_some_and(|end| end <= turn.now) {
            self.end_login();
        }
        let Some(login) = self.attachment.login_mut() else { return };
        if let Some(data) = login.poll(waker) {
            self.send_auth(Reason::ContinueAuthentication, Some(&data), turn);
        }
        match self.attachment.login_mut().and_then(Login::take_verdict) {
            None => {}
            Some(Verdict::Accept(mut accepted))
                if accepted.user_name == self.session.identity().user_name =>
            {
                if let Some(flow) = &mut self.attachment.flow {
                    flow.expires = accepted.expires();
                    flow.is_lent = accepted.is_lent();
                }
                let data = accepted.take_data();
                self.set_standing(accepted.details, turn);
                self.send_auth(Reason::Success, data.as_deref(), turn);
                self.review(turn);
            }
            // Another user does not inherit the Session.
            Some(Verdict::Accept(_) | Verdict::Refuse(_)) => {
                self.attachment.closing = Some(Reason::NotAuthorized); // [MQTT5-4.12.1-2]
            }
        }
    }

    /// Other rules are in force: its class, and whether it may stay.
    pub(in crate::broker::link) fn reconsider(&mut self, turn: &Turn<'_>) {
        self.attachment.classify(turn);
        if !self.attachment.stands(turn.broker) {
            self.end_login();
        }
    }

    /// What let the client in does not hold any more.
    fn end_login(&mut self) {
        self.attachment.closing = Some(Reason::NotAuthorized);
        self.attachment.client_end = ClientEnd::Refused(RefusalKind::LoginEnded);
    }

    fn send_auth(&mut self, reason: Reason, data: Option<&[u8]>, turn: &mut Turn<'_>) {
        let method = self.attachment.login_mut().map(|login| login.method().to_owned());
        let packet = Packet::Auth(Auth {
            reason,
            method: method.as_deref(),
            data,
            reason_string: None,
            user_properties: Properties::EMPTY,
        });
        self.send(&packet, turn);
    }
}
