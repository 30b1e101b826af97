//! Whether the clients that have published what is retained may still publish it.

use std::fmt;
use std::sync::Arc;

use crate::message::{ClientId, Identity, Message, Meter, Standing};
use crate::session::{Access, Asked};

/// Publishers of retained messages that were asked for lately: what rules say of them need not be found anew.
#[derive(Default)]
pub(super) struct Sources {
    lately: Box<[Option<Arc<Identity>>]>,
}

/// Publishers that are kept.
const PLACES: usize = 64;

impl Sources {
    /// Whether the publisher of a retained message may still publish it. What the broker has published itself
    /// is always sent.
    pub fn may_publish(
        &mut self,
        message: &Message,
        access: &dyn Access,
        meter: &'static Meter,
    ) -> bool {
        if message.publisher().is_empty() {
            return true;
        }
        let (topic, bytes) = (message.topic(), message.payload().len());
        let asked = Asked::Publish { topic, qos: message.qos, retain: true, bytes };
        access.may(self.identity(message, meter), &asked).is_allowed()
    }

    fn identity(&mut self, message: &Message, meter: &'static Meter) -> &Identity {
        let (client, user) = (message.publisher(), message.user_name());
        if self.lately.is_empty() {
            self.lately = vec![None; PLACES].into();
        }
        // Two of one place take turns.
        let sum = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        let place = &mut self.lately[client.bytes().fold(0, sum) % PLACES];
        let same = |known: &Arc<Identity>| {
            known.client_id.as_str() == client && known.user_name.as_deref() == user
        };
        if !place.as_ref().is_some_and(same) {
            let identity = Identity::new(ClientId::new(client), user.map(Into::into), meter);
            identity.set_standing(Standing::Past);
            *place = Some(Arc::new(identity));
        }
        place.as_deref().expect("it is there, at the latest now")
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}
