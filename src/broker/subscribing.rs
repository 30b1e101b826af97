//! Changes of the routes within a turn, and what comes of them.

use thin_vec::ThinVec;

use super::Broker;
use super::router::{Changed, Membership, RouteChange, Subscriber};
use super::turn::Turn;
use crate::session::RetainedMoment;

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
    pub(super) fn after_change(&self, changed: Changed, turn: &mut Turn<'_>) {
        let (lost, wakers, groups) = changed.into_parts();
        lost.iter().for_each(|fallen| self.lose_all(fallen, turn));
        turn.wakers.extend(wakers);
        if self.0.remembers {
            turn.batch.groups.extend(groups);
        }
    }
}
