//! The end of a connection.

use super::Live;
use crate::broker::departures::Departure;
use crate::broker::link::attachment::Attachment;
use crate::broker::orphans::Kept;
use crate::broker::ports::Receipt;
use crate::broker::registry::{InFlight, Parked};
use crate::broker::turn::Turn;
use crate::codec::Reason;
use crate::fault;
use crate::message::{Identity, Loss};
use crate::session::Op;
use crate::time::Time;

impl Live {
    /// The connection is over: the Will is decided, the Session parked or ended.
    pub fn end(self: Box<Self>, reason: &str, turn: &mut Turn<'_>) {
        let panicked = &turn.broker.0.panicked;
        let counted = panicked.counts_any().then(|| self.client_id().clone());
        self.end_with(reason, None, turn);
        counted.iter().for_each(|client_id| panicked.forget(client_id));
    }

    /// The connection is over because its turn has panicked. If that has happened to its client too often
    /// in a row, its Session ends with it.
    pub fn end_with_panic(mut self: Box<Self>, turn: &mut Turn<'_>) {
        if turn.broker.0.panicked.is_too_often(self.client_id()) {
            self.session.end_with_connection();
        }
        self.end_with("a panic", None, turn);
    }

    /// The same as [`Live::end`] after a CONNECT that was refused late: the Will that stays with its Session
    /// is due at `will_left`.
    pub fn end_with(self: Box<Self>, reason: &str, will_left: Option<Time>, turn: &mut Turn<'_>) {
        turn.broker.metrics().disconnect();
        let mut kept = Kept::new(self);
        if let Some(limits) = kept.attachment.limits_mut() {
            limits.give_back(turn.now);
        }
        if kept.session.lasts()
            && let Some(queue) = &kept.attachment.queue
        {
            turn.broker.keep_awaited(kept.attachment.id(), &queue.held);
        }
        kept.drop_answers(turn);
        turn.pressed.clear();
        let identity = kept.session.identity().clone();
        let quiet = reason == Reason::SessionTakenOver.name()
            && turn.broker.0.registry.brakes(&identity.client_id);
        let peer = kept.attachment.peer().quiet(quiet);
        turn.broker.say_disconnected(&peer, reason, turn.now);
        let id = kept.attachment.id();
        for membership in &kept.attachment.memberships {
            turn.wakers.extend(membership.mailbox().part(id));
        }
        let filters = kept.session.replays().iter().map(|replay| &replay.filter);
        turn.broker.leave_logs(id, filters);
        fault::reach("end");
        let wanted =
            [Reason::ServerShuttingDown, Reason::AdministrativeAction, Reason::UseAnotherServer];
        let at_fault = !wanted.iter().any(|wanted| wanted.name() == reason);
        let mailbox = kept.attachment.mailbox.clone();
        let will_due = turn.broker.hang_up(&mailbox, &mut kept.session, at_fault, turn);
        let will_due = will_due.map(|due| will_left.unwrap_or(due));
        let lasts = kept.session.lasts();
        if turn.broker.0.remembers && lasts {
            let since = turn.now;
            turn.batch.ops.push((id, Op::Parked { since, crashed: false }));
        }
        let newest = kept.attachment.queue.as_ref().and_then(|queue| queue.newest);
        let newest = turn.commit().or(newest);
        if lasts {
            Live::park(kept, will_due, newest, turn);
        } else {
            Live::dissolve(kept, &identity, turn);
        }
    }

    /// Keeps the Session, and the levels of its buckets, for the next connection.
    fn park(
        mut kept: Kept<Box<Live>>,
        will_due: Option<Time>,
        newest: Option<Receipt>,
        turn: &mut Turn<'_>,
    ) {
        let (broker, now) = (turn.broker, turn.now);
        let attachment = &mut kept.attachment;
        let keep_qos0 = attachment.mailbox.keeps_qos0(turn.settings.queue());
        attachment.keep_flow(now);
        let (wakers, fallen) = attachment.mailbox.detach(&mut attachment.settled, keep_qos0);
        turn.wakers.extend(wakers);
        broker.lose_all(fallen, turn);
        let (id, store) = (attachment.id(), &broker.0.ports.store);
        kept.session.store_will(|| store.keeps_will(id));
        let expires = match kept.session.terms().expiry {
            u32::MAX => Time::NEVER,
            seconds => now.after(std::time::Duration::from_secs(seconds.into())),
        };
        let will_due = will_due.unwrap_or(Time::NEVER);
        let parked = Parked { will_due, expires, newest, ..kept.take().into() };
        turn.wakers.extend(broker.0.registry.park(parked));
        broker.session_moved(id, turn);
    }

    /// Ends the Session with its connection.
    fn dissolve(mut kept: Kept<Box<Live>>, identity: &Identity, turn: &mut Turn<'_>) {
        let Live { session, attachment } = &mut **kept;
        let (broker, id) = (turn.broker, attachment.id());
        turn.wakers.extend(attachment.mailbox.detach(&mut attachment.settled, true).0);
        broker.dissolve(id, session, &attachment.mailbox, false, Loss::SessionEnded, turn);
        let departure = Departure { at: turn.now, with_connection: true };
        broker.note_departure(&identity.client_id, departure);
        turn.wakers.extend(broker.0.registry.release(&identity.client_id));
        broker.session_moved(id, turn);
        kept.take();
    }
}

impl Attachment {
    /// The levels of its own buckets are kept in the mailbox, for the next connection.
    fn keep_flow(&mut self, now: Time) {
        let Some(flow) = &mut self.flow else { return };
        if let Some(shaper) = flow.shaper.take() {
            self.mailbox.keep_shaper(shaper);
        }
        if let Some(egress) = &flow.egress {
            self.mailbox.keep_waited(egress.waited(now));
        }
        if let Some(intake) = flow.limits.take().and_then(|limits| limits.into_own()) {
            self.mailbox.keep_intake(intake);
        }
    }
}

/// The Session of a link that is gone.
impl From<Box<Live>> for Parked {
    fn from(live: Box<Live>) -> Parked {
        let Live { session, attachment } = *live;
        Parked {
            id: attachment.id(),
            session,
            newest: attachment.queue.as_ref().and_then(|queue| queue.newest),
            mailbox: attachment.mailbox,
            will_due: Time::NEVER,
            expires: Time::NEVER,
            in_flight: InFlight::default(),
        }
    }
}
