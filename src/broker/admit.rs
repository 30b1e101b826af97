//! Whether there is room for a message, a Session or a Subscription, in memory and in the store: asked
//! before anything is changed, so that what is refused has changed nothing.

use super::Broker;
use super::ports::Refused;
use super::turn::Turn;
use crate::codec::{QoS, Reason};
use crate::message::{ClientId, Draft, Grounds, Identity, RefusalKind};
use crate::session::{Terms, WillMessage};

impl Broker {
    /// Room for a client's message in memory.
    ///
    /// # Errors
    ///
    /// The total that it would exceed.
    pub(super) fn admit(&self, bytes: usize) -> Result<(), Grounds> {
        let shared = &*self.0;
        let max = shared.totals.queued_bytes_max.0;
        let queued = shared.meter.about() + bytes as u64;
        if queued > max {
            return Err(Grounds::limit(RefusalKind::QueuedBytes, max, queued));
        }
        Ok(())
    }

    /// Room for it among the retained messages, if it is to be one.
    ///
    /// # Errors
    ///
    /// The total that it would exceed.
    #[inline(always)]
    pub(super) fn admit_retained(
        &self,
        draft: &Draft<'_>,
        bytes: usize,
        publisher: &Identity,
    ) -> Result<(), Grounds> {
        if !draft.retain || draft.payload.is_empty() {
            return Ok(());
        }
        let owner = Some(self.0.owners.of_client(publisher));
        self.0.router.retained().room(draft.topic, bytes, &self.0.totals, owner)
    }

    /// Room for it in the store, unless a link has asked before it looked at the PUBLISH. A store that
    /// has become slow since takes it nevertheless.
    pub(super) fn admit_to_store(
        &self,
        draft: &Draft<'_>,
        bytes: usize,
        turn: &mut Turn<'_>,
    ) -> Result<(), Reason> {
        let shared = &*self.0;
        let kept = shared.remembers && (draft.qos > QoS::AtMostOnce || draft.retain);
        if kept { self.admit_kept(bytes, turn) } else { Ok(()) }
    }

    /// The same for what the store keeps in any case.
    pub(super) fn admit_kept(&self, bytes: usize, turn: &mut Turn<'_>) -> Result<(), Reason> {
        let shared = &*self.0;
        if !shared.remembers || std::mem::take(&mut turn.room_granted) {
            return Ok(());
        }
        match shared.ports.store.admit(bytes) {
            Ok(()) | Err(Refused::Slow) => Ok(()),
            Err(Refused::Full) => Err(Reason::QuotaExceeded),
            Err(Refused::Trouble | Refused::Failed) => Err(Reason::UnspecifiedError),
        }
    }

    /// Whether the store takes no message that it would have to keep.
    pub(super) fn no_room_for_messages(&self) -> bool {
        let shared = &*self.0;
        let full = |why: &Refused| *why != Refused::Slow;
        shared.remembers && shared.ports.store.admit(0).is_err_and(|why| full(&why))
    }

    /// Room in the store for what a CONNECT wants kept. A store that is slow takes it, and CONNACK waits.
    ///
    /// # Errors
    ///
    /// The Reason Code of CONNACK, and why.
    pub(super) fn admit_connect(
        &self,
        client_id: &ClientId,
        clean_start: bool,
        terms: &Terms,
        will: Option<&WillMessage>,
    ) -> Result<(), (Reason, Grounds)> {
        let shared = &*self.0;
        if !shared.remembers || (terms.expiry == 0 && will.is_none()) {
            return Ok(());
        }
        let why = match shared.ports.store.admit(will.map_or(0, WillMessage::bytes)) {
            Ok(()) | Err(Refused::Slow) => return Ok(()),
            Err(why) => why,
        };
        // A Session that is there goes on: its client takes what waits for it, and that makes room.
        if will.is_none() && !clean_start && shared.registry.keeps(client_id) {
            return Ok(());
        }
        Err(match why {
            Refused::Full => (Reason::QuotaExceeded, Grounds::new(RefusalKind::StoreFull)),
            _ => (Reason::ServerBusy, Grounds::new(RefusalKind::StoreFailed)),
        })
    }

    /// Why the store takes no Subscription; `None` if it takes one. A store that is slow does, and one that
    /// has failed closes the connections of all that wait for it.
    pub(super) fn no_room_to_subscribe(&self) -> Option<RefusalKind> {
        let shared = &*self.0;
        if !shared.remembers {
            return None;
        }
        match shared.ports.store.admit(0) {
            Ok(()) | Err(Refused::Slow | Refused::Failed) => None,
            Err(Refused::Full) => Some(RefusalKind::StoreFull),
            Err(Refused::Trouble) => Some(RefusalKind::StoreFailed),
        }
    }
}
