//! Commands to the link of a connected client.

use std::collections::BTreeSet;

use super::Broker;
use super::mailbox::{Mailbox, Notice};
use crate::codec::Reason;
use crate::message::ClientId;

impl Broker {
    /// Has each connected client looked at again: one that would not be let in any more is disconnected with
    /// 0x87. To be called after users were taken away, or certificates revoked.
    pub fn recheck_logins(&self) {
        for (_, mailbox, connected) in self.0.registry.mailboxes() {
            if connected && let Some(waker) = mailbox.notify(Notice::Reclassify) {
                waker.wake();
            }
        }
    }

    /// Disconnects each client of these verified users, as [`Broker::kick`] does. Returns how many.
    pub fn kick_users(&self, users: &[String], reason: Reason) -> usize {
        if users.is_empty() {
            return 0;
        }
        let users: BTreeSet<&str> = users.iter().map(String::as_str).collect();
        let is_of_them = |mailbox: &Mailbox| {
            let user = mailbox.owner().identity().and_then(|owner| owner.user_name.as_deref());
            user.is_some_and(|user| users.contains(user))
        };
        let all = self.0.registry.mailboxes().into_iter();
        all.filter(|(client_id, mailbox, connected)| {
            *connected && is_of_them(mailbox) && self.kick(client_id, reason)
        })
        .count()
    }

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
