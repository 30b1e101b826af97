//! Whether there is room for a message, in memory and in the store: asked before anything is changed,
//! so that a refused message has changed nothing.

use super::Broker;
use super::ports::Refused;
use super::turn::Turn;
use crate::codec::{QoS, Reason};
use crate::message::Draft;

impl Broker {
    /// Room for a client's message in memory.
    pub(super) fn admit(&self, draft: &Draft<'_>, bytes: usize) -> Result<(), Reason> {
        let shared = &*self.0;
        if draft.retain && !draft.payload.is_empty() {
            let may = shared.router.retained().has_room(draft.topic, bytes, &shared.totals);
            if !may {
                return Err(Reason::QuotaExceeded);
            }
        }
        if shared.meter.about() + bytes as u64 > shared.totals.queued_bytes_max.0 {
            return Err(Reason::QuotaExceeded);
        }
        Ok(())
    }

    /// The same in the store, unless a link has asked before it looked at the PUBLISH. A store that
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
            Err(Refused::Failed) => Err(Reason::UnspecifiedError),
        }
    }
}
