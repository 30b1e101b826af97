//! Whether there is room for a message, in memory and in the store: asked before anything is changed,
//! so that a refused message has changed nothing.

use super::Broker;
use super::ports::Refused;
use super::turn::Turn;
use crate::codec::{QoS, Reason};
use crate::message::{Draft, Grounds, RefusalKind};

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
    pub(super) fn admit_retained(&self, draft: &Draft<'_>, bytes: usize) -> Result<(), Grounds> {
        if !draft.retain || draft.payload.is_empty() {
            return Ok(());
        }
        self.0.router.retained().room(draft.topic, bytes, &self.0.totals)
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
        if !kept {
            return Ok(());
        }
        if std::mem::take(&mut turn.room_granted) {
            return Ok(());
        }
        match shared.ports.store.admit(bytes) {
            Ok(()) | Err(Refused::Slow) => Ok(()),
            Err(Refused::Full) => Err(Reason::QuotaExceeded),
            Err(Refused::Trouble | Refused::Failed) => Err(Reason::UnspecifiedError),
        }
    }
}
