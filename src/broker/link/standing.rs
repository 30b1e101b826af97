//! What let a client in, as long as it is connected: whether it still holds, and until when.

use super::attachment::Attachment;
use super::login::Login;
use crate::broker::Broker;
use crate::broker::ports::Standing;
use crate::time::Time;

impl Attachment {
    /// Whether its client would still be let in.
    pub fn stands(&self, broker: &Broker) -> bool {
        let flow = self.flow.as_deref();
        if flow.and_then(|flow| flow.voucher.as_ref()).is_some_and(|voucher| !voucher.stands()) {
            return false;
        }
        let Some(user_name) = self.identity().user_name.as_deref() else { return true };
        let listener = self.origin.listener().and_then(|id| broker.0.listeners.names(id));
        broker.0.ports.authenticator.stands(&Standing {
            user_name,
            certificate: flow.and_then(|flow| flow.certificate.as_deref()),
            listener: listener.as_ref().map(|names| names.name()),
            expires: self.expires(),
            is_lent: flow.is_some_and(|flow| flow.is_lent),
        })
    }

    /// When what let its client in ends, if that is known.
    pub fn expires(&self) -> Option<Time> {
        self.flow.as_ref()?.expires
    }

    /// Its enhanced authentication, if CONNECT named a method.
    pub fn login_mut(&mut self) -> Option<&mut Login> {
        self.flow.as_mut()?.login.as_mut()
    }
}
