//! AUTH on a live connection: what its steps and its verdict do to the client.

use std::task::Waker;

use super::Live;
use crate::broker::link::login::Login;
use crate::broker::ports::Verdict;
use crate::broker::turn::Turn;
use crate::codec::{Auth, Packet, Properties, Reason};

impl Live {
    /// AUTH from the client: a new exchange, or its next step.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, turn: &Turn<'_>) {
        let Live { session, attachment } = self;
        let authenticator = &*turn.broker.0.ports.authenticator;
        // Without a method in CONNECT there is no AUTH [MQTT5-4.12.0-7], and no other method.
        let login = attachment.login_mut().filter(|login| auth.method == Some(login.method()));
        let goes_on =
            login.is_some_and(|login| login.on_auth(auth, session.identity(), authenticator));
        if !goes_on {
            attachment.closing = Some(Reason::ProtocolError);
        }
    }

    /// Goes on with a re-authentication.
    pub(super) fn poll_login(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Some(login) = self.attachment.login_mut() else { return };
        if let Some(data) = login.poll(waker) {
            self.send_auth(Reason::ContinueAuthentication, Some(&data), turn);
        }
        match self.attachment.login_mut().and_then(Login::take_verdict) {
            None => {}
            Some(Verdict::Accept { user_name, data })
                if user_name == self.session.identity().user_name =>
            {
                self.send_auth(Reason::Success, data.as_deref(), turn);
            }
            // Another user does not inherit the Session.
            Some(Verdict::Accept { .. } | Verdict::Refuse(_)) => {
                self.attachment.closing = Some(Reason::NotAuthorized); // [MQTT5-4.12.1-2]
            }
        }
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
