//! The end of a Session: it leaves everything it was in; what waits for it, or is in flight, is lost or
//! goes back to its group.

use std::collections::BTreeMap;
use std::sync::Arc;

use thin_vec::ThinVec;

use super::Broker;
use super::departures::Departure;
use super::mailbox::Mailbox;
use super::metrics::Counter;
use super::orphans::Kept;
use super::registry::Parked;
use super::router::{RouteChange, Subscriber};
use super::turn::Turn;
use crate::fault;
use crate::message::{Delivery, GroupId, Loss, SessionId};
use crate::session::{Action, Parting, Session};
use crate::time::Time;

impl Broker {
    /// A parked Session is over: its Will is due, what waits goes to the ledger.
    pub(crate) fn end_session(&self, parked: Parked, loss: Loss, turn: &mut Turn<'_>) {
        let mut kept = Kept::new(parked);
        kept.session.end_with_connection();
        let (id, mailbox) = (kept.id, kept.mailbox.clone());
        if let Some(will) = kept.session.take_will() {
            self.publish_will(id, &kept.session.identity().clone(), &will, turn);
        }
        let departure = Departure { at: turn.now, with_connection: false };
        self.note_departure(&kept.session.identity().client_id, departure);
        fault::reach("end session");
        self.dissolve(id, &mut kept.session, &mailbox, false, loss, turn);
        kept.take();
    }

    /// A parked Session of an unverified client is over because its owner has more than its share of the total `key`.
    pub(crate) fn end_for_room(&self, parked: Parked, key: &'static str, turn: &mut Turn<'_>) {
        self.say_ended_for_room(parked.session.identity(), parked.id, key, turn.now);
        self.0.metrics.add(Counter::SessionsEndedForRoom, 1);
        self.end_session(parked, Loss::SessionEnded, turn);
    }

    /// The connection of a Session is over: it gives back what is in flight, and its Will is published if it
    /// is due now. Returns when a Will that is delayed is due.
    ///
    /// - `mailbox`: the Session's.
    /// - `at_fault`: the connection did not end because the broker or an operator wanted that: what a named queue has
    ///   sent on it and what is not answered has failed.
    pub(crate) fn hang_up(
        &self,
        mailbox: &Mailbox,
        session: &mut Session,
        at_fault: bool,
        turn: &mut Turn<'_>,
    ) -> Option<Time> {
        let (cx, groups) = (turn.context(), &self.0.router);
        let id = mailbox.owner().session().unwrap_or_default();
        if groups.has_exclusives() {
            let filters = session.subscriptions().map(|(filter, _)| filter);
            groups.leave_exclusives(filters.filter(|filter| filter.is_exclusive()), id, turn.now);
        }
        let (mut will, mut back) = (None, Vec::new());
        let will_due = session.hang_up(
            &cx,
            |group, unanswered| match groups.group(group) {
                Some(queue) if unanswered && at_fault && queue.owner().is_queue() => {
                    Parting::Failed
                }
                Some(group) if group.takes_back() => Parting::Back,
                _ => Parting::Stays,
            },
            &mut |action| match action {
                Action::Return(delivery) => back.push(delivery),
                Action::Ended { copy, end } => self.end_copy(mailbox, &copy, end, turn),
                Action::WillDue(due) => will = Some(due),
                Action::Remember(op) => turn.batch.ops.push((id, op)),
                _ => {}
            },
        );
        self.give_back(back, turn);
        if let Some(will) = will {
            let identity = session.identity().clone();
            self.publish_will(id, &identity, &will, turn);
        }
        will_due
    }

    /// Takes an ended Session out of everything.
    pub(crate) fn dissolve(
        &self,
        id: SessionId,
        session: &mut Session,
        mailbox: &Arc<Mailbox>,
        connected: bool,
        loss: Loss,
        turn: &mut Turn<'_>,
    ) {
        let shared = &*self.0;
        self.say_ended(&session.identity().client_id);
        let mut back = Vec::new();
        session.end(loss, &mut |action| match action {
            Action::Return(delivery) => back.push(delivery),
            Action::Ended { copy, end } => self.end_copy(mailbox, &copy, end, turn),
            Action::Remember(op) if shared.remembers => {
                turn.batch.ops.push((id, op));
            }
            _ => {}
        });
        self.give_back(back, turn);
        let mut changes = std::mem::take(&mut turn.changes);
        changes.extend(
            session.subscriptions().map(|(filter, _)| RouteChange::Unsubscribe(filter.clone())),
        );
        if !changes.is_empty() {
            let subscriber = Subscriber::new(id, mailbox).connected(connected);
            self.change_routes(&subscriber, &changes, &mut ThinVec::new(), turn);
        }
        turn.keep_changes(changes);
        self.lose_all(mailbox.close(loss, &mut [0, 0]), turn);
    }

    /// Unacknowledged messages of a departed member go back to the heads of their groups; if a
    /// group is no more, to the ledger.
    pub(crate) fn give_back(&self, back: Vec<Delivery>, turn: &mut Turn<'_>) {
        if back.is_empty() {
            return;
        }
        let mut by_group = BTreeMap::<GroupId, Vec<_>>::new();
        for delivery in back {
            by_group.entry(delivery.group.unwrap_or_default()).or_default().push(delivery);
        }
        for (group, deliveries) in by_group {
            let given_back = match self.0.router.group(group) {
                None => Err(deliveries),
                Some(mailbox) => mailbox.give_back(deliveries, |message| {
                    turn.settings.band(message.topic(), &message.properties())
                }),
            };
            match given_back {
                Ok(wakers) => turn.wakers.extend(wakers),
                Err(lost) => self.lose_returned(group, &lost, turn),
            }
        }
    }
}
