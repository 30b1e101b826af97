//! Commands to the link of a connected client.

use std::collections::BTreeSet;
use std::task::Waker;

use super::Broker;
use super::mailbox::{DroppedCopies, Mailbox, Notice};
use super::ports::{Progress, Receipt};
use super::registry::Whereabouts;
use super::turn::{Scratch, Turn};
use crate::codec::Reason;
use crate::message::{ClientId, Loss};
use crate::time::Time;

/// What has become of a Session that is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionEnd {
    /// It has ended, and that is safe when this is durable.
    Now(Option<Receipt>),
    /// Its link ends it within its next turn.
    Soon,
}

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

    /// Ends the Session of a client, with all that waits for it. One that is away ends at once; the link of one
    /// that is connected ends it within its next turn, as [`Broker::kick`] does with `reason`. Its Will is
    /// published.
    ///
    /// Returns what has become of it; `None` if there is no such Session.
    pub fn end_client(
        &self,
        client_id: &ClientId,
        reason: Reason,
        now: Time,
        scratch: &mut Scratch,
    ) -> Option<SessionEnd> {
        loop {
            match self.0.registry.look(client_id, |_| ()) {
                Whereabouts::Nowhere | Whereabouts::OnItsWay => return None,
                Whereabouts::Attached(mailbox) => {
                    if let Some(waker) = mailbox.notify(Notice::End(reason)) {
                        waker.wake();
                    }
                    return Some(SessionEnd::Soon);
                }
                Whereabouts::Parked(()) => {
                    let Some(parked) = self.0.registry.end_parked(client_id) else { continue };
                    let mut turn = self.turn(scratch, now);
                    self.end_session(*parked, Loss::SessionEnded, &mut turn);
                    return Some(SessionEnd::Now(turn.finish()));
                }
            }
        }
    }

    /// Empties the queue of a client: what waits for it is lost for [`Loss::Purged`]. What is in flight stays.
    ///
    /// Returns how many copies there were, and the receipt of what the store was told; `None` if there is no
    /// such Session.
    pub fn purge(
        &self,
        client_id: &ClientId,
        now: Time,
        scratch: &mut Scratch,
    ) -> Option<(usize, Option<Receipt>)> {
        let (mailbox, _) = self.0.registry.mailbox(client_id)?;
        let mut turn = self.turn(scratch, now);
        let purged = self.purge_mailbox(&mailbox, usize::MAX, &mut turn).unwrap_or_default();
        Some((purged, turn.finish()))
    }

    /// The same for a mailbox, unless more than `max` copies wait: then nothing is done, and the number of them
    /// is the error.
    pub(super) fn purge_mailbox(
        &self,
        mailbox: &Mailbox,
        max: usize,
        turn: &mut Turn<'_>,
    ) -> Result<usize, usize> {
        let (purged, wakers) = mailbox.purge(max)?;
        turn.wakers.extend(wakers);
        let count = purged.as_ref().map_or(0, DroppedCopies::count);
        self.lose_all(purged, turn);
        Ok(count)
    }

    /// How far what the store was told has come; while it is pending, `waker` is woken once when that changes.
    pub fn durability(&self, receipt: Receipt, waker: &Waker) -> Progress {
        self.0.ports.store.state(receipt, waker)
    }
}
