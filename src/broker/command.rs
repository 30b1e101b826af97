//! Commands to the link of a connected client.

use super::Broker;
use super::mailbox::Notice;
use crate::codec::Reason;
use crate::message::ClientId;

impl Broker {
    /// Disconnects a client: MQTT 5 clients are sent DISCONNECT with `reason`, others see the end of the
    /// Network Connection. It counts as lost: the Will is published, and a Session that lasts waits for
    /// its client. Its link closes within its next turn.
    ///
    /// Returns whether the client was connected.
    pub fn kick(&self, client_id: &ClientId, reason: Reason) -> bool {
        let Some((mailbox, connected)) = self.0.registry.mailbox(client_id) else { return false };
        if connected && let Some(waker) = mailbox.notify(Notice::Kick(reason)) {
            waker.wake();
        }
        connected
    }
}
