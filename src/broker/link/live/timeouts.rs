//! Answers that do not come in time: the message goes back to its queue, if another consumer is there for it.

use std::time::Duration;

use super::Live;
use crate::broker::link::attachment::{Attachment, FlowState};
use crate::broker::link::awaited::Awaited;
use crate::broker::turn::Turn;
use crate::codec::PacketId;
use crate::message::GroupId;
use crate::session::Session;
use crate::time::Time;

/// Messages that are looked at in one turn.
const OVERDUE_MAX: usize = 256;

/// How long the client has for the messages of `queue`: what it has of them already counts from now.
pub(in crate::broker::link) fn note_ack_timeout(
    (session, flow): (&Session, &mut Option<Box<FlowState>>),
    queue: Option<GroupId>,
    timeout: Option<Duration>,
    now: Time,
) {
    let awaits = flow.as_ref().is_some_and(|flow| flow.awaited.is_some());
    let Some(queue) = queue.filter(|_| awaits || timeout.is_some()) else { return };
    let awaited = flow.get_or_insert_default().awaited.get_or_insert_default();
    if awaited.set(queue, timeout)
        && let Some(timeout) = timeout
    {
        session.awaiting_puback(queue).for_each(|id| awaited.expect(id, now.after(timeout)));
    }
}

impl Attachment {
    /// The answers that it owes within a time.
    pub(in crate::broker::link) fn awaited(&self) -> Option<&Awaited> {
        self.flow.as_ref()?.awaited.as_deref()
    }

    fn awaited_mut(&mut self) -> Option<&mut Awaited> {
        self.flow.as_mut()?.awaited.as_deref_mut()
    }
}

impl Live {
    /// A message was handed over that came from `queue`, and `before` was put in flight last then: if it was sent
    /// and the answer has a time, that begins.
    pub(in crate::broker::link) fn expect_answer(
        &mut self,
        (queue, before): (Option<GroupId>, Option<PacketId>),
        now: Time,
    ) {
        let Live { session, attachment } = self;
        let Some((awaited, queue)) = attachment.awaited_mut().zip(queue) else { return };
        let newest = session.newest_flight().filter(|newest| Some(*newest) != before);
        if let Some((timeout, packet_id)) = awaited.timeout(queue).zip(newest) {
            awaited.expect(packet_id, now.after(timeout));
        }
    }

    /// What the client has not answered in time goes back to its queue. Where no other consumer can have it, it
    /// stays with this one, which has as long again. At most so many in one turn.
    pub(super) fn give_overdue_away(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Live { session, attachment } = self;
        if attachment.awaited().and_then(Awaited::deadline).is_none_or(|due| due > now) {
            return;
        }
        let id = attachment.id();
        for _ in 0..OVERDUE_MAX {
            let Some(awaited) = attachment.awaited_mut() else { return };
            let awaits = |packet_id| session.awaits_puback(packet_id).is_some();
            let Some((packet_id, is_awaited)) = awaited.take_first(now, awaits) else { return };
            let group = session.awaits_puback(packet_id).filter(|_| is_awaited);
            let Some((queue, lane)) = group else { continue };
            let Some(mailbox) = turn.broker.0.router.group(queue) else { continue };
            // None: the queue sets no time any more.
            let timeout = mailbox.retry().and_then(|retry| retry.ack_timeout);
            let Some(timeout) = timeout else { continue };
            if mailbox.has_other(id, lane) {
                let cx = turn.context();
                session.give_away(packet_id, &cx, &mut |action| attachment.carry_out(action, turn));
            } else {
                awaited.expect(packet_id, now.after(timeout));
            }
        }
    }
}
