//! Changes of the routes within a turn, and what comes of them.

use thin_vec::ThinVec;

use super::Broker;
use super::peer_log::{Peer, RefusalNote};
use super::router::{ChangeEffects, Changed, Eviction, Membership, RouteChange, Subscriber};
use super::turn::Turn;
use crate::message::{Grounds, RefusalKind};
use crate::session::{Op, RetainedMoment};

impl Broker {
    /// Carries out in one moment what a Session asks of the routes. Returns how far the retained messages
    /// had come; `None` if there were none.
    pub(super) fn change_routes(
        &self,
        subscriber: &Subscriber<'_>,
        changes: &[RouteChange],
        memberships: &mut ThinVec<Membership>,
        turn: &mut Turn<'_>,
    ) -> Option<RetainedMoment> {
        let before = std::mem::take(memberships);
        let mut changed = self.0.router.change(subscriber, changes, before);
        *memberships = changed.take_memberships();
        let moment = changed.moment();
        self.after_change(changed, turn);
        moment
    }

    /// What has come of a change is counted, given to the store and woken with the turn.
    #[inline]
    pub(super) fn after_change(&self, changed: Changed, turn: &mut Turn<'_>) {
        if let Some(effects) = changed.into_effects() {
            self.carry_out(*effects, turn);
        }
    }

    fn carry_out(&self, effects: ChangeEffects, turn: &mut Turn<'_>) {
        let ChangeEffects { lost, wakers, groups, evicted } = effects;
        for eviction in evicted {
            self.on_evicted(eviction, turn);
        }
        lost.iter().for_each(|fallen| self.lose_some(fallen, turn));
        turn.wakers.extend(wakers);
        if self.0.remembers {
            turn.batch.groups.extend(groups);
        }
    }

    /// A Session was away for too long to keep an exclusive Subscription. If its client is connecting just now,
    /// it finds that out itself.
    fn on_evicted(&self, eviction: Eviction, turn: &mut Turn<'_>) {
        let Eviction { filter, session, identity } = eviction;
        let note =
            RefusalNote::new(Grounds::new(RefusalKind::ExclusiveEnded)).topic(filter.as_str());
        let user = identity.user_name.as_deref();
        let peer = Peer::default().client(identity.client_id.as_str()).user(user);
        self.note_refusal(&note, &peer, turn.now);
        self.0.registry.lose(&identity.client_id, session, &filter);
        if self.0.remembers {
            turn.batch.ops.push((session, Op::Unsubscribed { filter }));
        }
    }
}
