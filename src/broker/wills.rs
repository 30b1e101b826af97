//! Wills: whether there is room for one, and what is done when one is due.

use std::sync::Arc;

use tracing::error;

use super::Broker;
use super::orphans::{Publishing, WillInHand};
use super::peer_log::{Peer, RefusalNote};
use super::publish::{Publisher, Submission};
use super::turn::Turn;
use crate::fault;
use crate::message::{ClientId, Grounds, Identity, OwnerName, RefusalKind, SessionId};
use crate::session::{WillMessage, WillMeter};

impl Broker {
    /// Counts the Will of a CONNECT.
    ///
    /// # Errors
    ///
    /// The limit that it is beyond.
    pub(super) fn admit_will(
        &self,
        client_id: &ClientId,
        owner: OwnerName,
        will: WillMessage,
    ) -> Result<WillMessage, Grounds> {
        let (bytes, shared) = (will.bytes(), &*self.0);
        let refused = |kind, max| Grounds::limit(kind, max, bytes as u64);
        let max = shared.policy.limits.will_bytes_max;
        if bytes > max.len() {
            return Err(refused(RefusalKind::WillBytes, max.0));
        }
        let max = shared.totals.will_bytes_max;
        // What a client has left behind already it may leave again.
        let has_room = || shared.wills.has_room(bytes, max.0);
        let left = || shared.registry.parked_will(client_id) >= bytes;
        if !has_room() && !left() {
            return Err(refused(RefusalKind::TotalWillBytes, max.0));
        }
        let owner = shared.owners.of(owner);
        match WillMeter::room_of(&owner, bytes) {
            Err(grounds) if !left() => Err(grounds),
            _ => Ok(will.counted(shared.wills, owner)),
        }
    }

    /// Publishes a Will of Session `id` that is due. `false`: it is in the store and cannot be read.
    pub(crate) fn publish_will(
        &self,
        id: SessionId,
        identity: &Arc<Identity>,
        will: &Arc<WillMessage>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let in_hand = WillInHand { id, identity: identity.clone(), will: will.clone() };
        let _publishing = Publishing(in_hand);
        fault::reach("will");
        if !will.is_stored() {
            self.publish_whole_will(identity, will.clone(), turn);
            return true;
        }
        match self.0.ports.store.will(id) {
            Ok(will) => {
                self.publish_whole_will(identity, Arc::new(will), turn);
                true
            }
            Err(error) => {
                error!(client = %identity.client_id, error, "a Will is due and cannot be read");
                false
            }
        }
    }

    /// The Will of Session `id`, read from the store if it is there only; `None` if it cannot be read.
    pub(super) fn whole_will(
        &self,
        id: SessionId,
        client: &Identity,
        will: Arc<WillMessage>,
    ) -> Option<Arc<WillMessage>> {
        if !will.is_stored() {
            return Some(will);
        }
        let owner = self.0.owners.of_client(client);
        match self.0.ports.store.will(id) {
            Ok(will) => Some(Arc::new(will.counted(self.0.wills, owner.clone()))),
            Err(error) => {
                error!(session = %id, error, "a Will that is to be kept cannot be read");
                None
            }
        }
    }

    /// Publishes a Will, if its Session may.
    pub(super) fn publish_whole_will(
        &self,
        identity: &Arc<Identity>,
        will: Arc<WillMessage>,
        turn: &mut Turn<'_>,
    ) {
        if self.is_node() {
            return self.publish_will_to_cluster(identity, &will, turn);
        }
        let draft = will.draft();
        let submission = Submission::new(&draft, Publisher::Will(identity));
        self.publish_untold(submission, identity, "its Will", turn);
    }

    /// Publishes what was accepted before, as `what`. Whether it is refused: its publisher cannot be told.
    pub(super) fn publish_untold(
        &self,
        submission: Submission<'_>,
        identity: &Identity,
        what: &str,
        turn: &mut Turn<'_>,
    ) -> bool {
        let draft = submission.draft;
        let unrouted = self.publish(submission, turn).why_unrouted();
        // No answer waits for the first of a repeat.
        turn.waits_for.clear();
        if let Some(why) = unrouted {
            self.note_unrouted(Some(draft.topic), why);
        }
        if let Some(grounds) = turn.refused.take() {
            let topic = draft.topic.as_str();
            self.note_refused_publish(identity, topic, grounds.kind(), &mut turn.gone);
            let (client, user) = (identity.client_id.as_str(), identity.user_name.as_deref());
            let note = RefusalNote::new(grounds).why(&what).topic(topic);
            self.note_refusal(&note, &Peer::default().client(client).user(user), turn.now);
        }
        unrouted.is_some()
    }
}
