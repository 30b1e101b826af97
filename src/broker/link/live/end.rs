//! The end of a connection.

use std::sync::Arc;

use super::Live;
use crate::broker::ports::Receipt;
use crate::broker::registry::Parked;
use crate::broker::turn::Turn;
use crate::codec::Reason;
use crate::message::{Identity, Loss};
use crate::session::{Action, Op};
use crate::time::Time;

impl Live {
    /// The connection is over: the Will is decided, the Session parked or ended.
    pub fn end(self, reason: &str, turn: &mut Turn<'_>) {
        self.end_with(reason, None, turn);
    }

    /// The same after a CONNECT that was refused late: the Will that stays with its Session is due at
    /// `will_left`.
    pub fn end_with(mut self, reason: &str, will_left: Option<Time>, turn: &mut Turn<'_>) {
        self.drop_answers(turn);
        turn.pressed.clear();
        turn.broker.metrics().disconnect();
        let identity = self.session.identity().clone();
        let attachment = &mut self.attachment;
        let quiet = reason == Reason::SessionTakenOver.name()
            && turn.broker.0.registry.brakes(&identity.client_id);
        let peer = attachment.peer().quiet(quiet);
        turn.broker.say_disconnected(&peer, reason, turn.now);
        let id = attachment.id();
        for membership in &attachment.memberships {
            turn.wakers.extend(membership.mailbox().part(id));
        }
        let will_due = self.hang_up(&identity, turn).map(|due| will_left.unwrap_or(due));
        let lasts = self.session.lasts();
        if turn.broker.0.remembers && lasts {
            let since = turn.now;
            turn.batch.ops.push((id, Op::Parked { since }));
        }
        let attachment = &mut self.attachment;
        let newest = attachment.queue.as_ref().and_then(|queue| queue.newest);
        let newest = turn.commit().or(newest);
        if let Some(limits) = attachment.limits_mut() {
            limits.give_back(turn.now);
        }
        if lasts {
            self.park(will_due, newest, turn);
        } else {
            self.dissolve(&identity, turn);
        }
    }

    /// The Session gives back what is in flight, and decides of its Will; returns when a Will that is
    /// delayed is due.
    fn hang_up(&mut self, identity: &Arc<Identity>, turn: &mut Turn<'_>) -> Option<Time> {
        let (broker, cx) = (turn.broker, turn.context());
        let (id, groups) = (self.attachment.id(), &broker.0.router);
        let mut will = None;
        let mut back = Vec::new();
        let will_due = self.session.hang_up(
            &cx,
            |group| groups.group(group).is_some_and(|mailbox| mailbox.connected() > 0),
            &mut |action| match action {
                Action::Return(delivery) => back.push(delivery),
                Action::WillDue(due) => will = Some(due),
                Action::Remember(op) => turn.batch.ops.push((id, op)),
                _ => {}
            },
        );
        broker.give_back(back, turn);
        if let Some(will) = will {
            broker.publish_will(id, identity, &will, turn);
        }
        will_due
    }

    /// Keeps the Session, and the levels of its buckets, for the next connection.
    fn park(self, will_due: Option<Time>, newest: Option<Receipt>, turn: &mut Turn<'_>) {
        let Live { mut session, mut attachment } = self;
        let (broker, now) = (turn.broker, turn.now);
        let keep_qos0 = attachment.mailbox.keeps_qos0(turn.settings.queue());
        attachment.keep_flow(now);
        let (wakers, fallen) = attachment.mailbox.detach(&mut attachment.settled, keep_qos0);
        turn.wakers.extend(wakers);
        broker.lose_all(&fallen, turn);
        let store = &broker.0.ports.store;
        session.store_will(|| store.keeps_will(attachment.id()));
        let expires = match session.terms().expiry {
            u32::MAX => Time::NEVER,
            seconds => now.after(std::time::Duration::from_secs(seconds.into())),
        };
        let parked = Parked {
            id: attachment.id(),
            session,
            mailbox: attachment.mailbox,
            will_due: will_due.unwrap_or(Time::NEVER),
            expires,
            newest,
        };
        turn.wakers.extend(broker.0.registry.park(parked));
    }

    /// Ends the Session with its connection.
    fn dissolve(self, identity: &Identity, turn: &mut Turn<'_>) {
        let Live { mut session, mut attachment } = self;
        let (broker, id) = (turn.broker, attachment.id());
        turn.wakers.extend(attachment.mailbox.detach(&mut attachment.settled, true).0);
        broker.dissolve(id, &mut session, &attachment.mailbox, false, Loss::SessionEnded, turn);
        turn.wakers.extend(broker.0.registry.release(&identity.client_id));
    }
}
