//! What a client is owed: CONNACK, and the answers that wait for the store.

use std::task::Waker;

use thin_vec::ThinVec;

use super::Live;
use crate::broker::RefusalNote;
use crate::broker::link::attachment::Held;
use crate::broker::link::pause::{Before, Pause};
use crate::broker::metrics::Counter;
use crate::broker::ports::{Progress, Receipt};
use crate::broker::turn::{Answer, Due, Owed, Turn};
use crate::codec::{self, ConnAck, Packet, Reason};
use crate::message::{Grounds, RefusalKind};
use crate::session::{Action, Context, Input};
use crate::time::Time;

impl Live {
    /// CONNACK; `false` if it does not fit the client's Maximum Packet Size. While it waits for the store
    /// nothing is read: what follows a refused CONNECT is not processed `[MQTT5-3.1.4-6]`.
    ///
    /// - `begun`: when CONNECT came.
    /// - `before`: what its Session was, if CONNECT has changed what the store remembers.
    pub fn greet(
        &mut self,
        connack: &ConnAck<'_>,
        (begun, before): (Time, Option<Before>),
        turn: &mut Turn<'_>,
    ) -> bool {
        let packet = Packet::ConnAck(Box::new(connack.clone()));
        if before.is_none() && self.attachment.queue.is_none() {
            self.attachment.greeted = self.send(&packet, turn);
            if self.attachment.greeted
                && let Some(timings) = turn.broker.timings()
            {
                timings.connack.note(turn.now.since(begun));
            }
            return self.attachment.greeted;
        }
        let mut bytes = Vec::new();
        let max = self.attachment.packet_max as usize;
        if codec::encode(&packet, self.attachment.version, max, &mut bytes).is_err() {
            return false;
        }
        let what = Owed::Bytes(bytes.into_boxed_slice());
        turn.answers.push(Answer { due: Due::Newest, what });
        let until = turn.now.after(turn.broker.policy().limits.connect_timeout.0);
        self.attachment.pause = Some(Box::new(Pause::Greeting { until, begun, before }));
        true
    }

    /// The batch of this turn is on its way: the answers take their places behind it.
    #[inline]
    pub fn after_flush(
        &mut self,
        receipt: Option<Receipt>,
        waker: Option<&Waker>,
        turn: &mut Turn<'_>,
    ) {
        let nothing_owed =
            receipt.is_none() && self.attachment.queue.is_none() && turn.answers.is_empty();
        if !nothing_owed {
            self.take_places(receipt, waker, turn);
        } else if !turn.pressed.is_empty() {
            self.attachment.begin_pause(turn);
        }
    }

    #[inline(never)]
    fn take_places(
        &mut self,
        receipt: Option<Receipt>,
        waker: Option<&Waker>,
        turn: &mut Turn<'_>,
    ) {
        let attachment = &mut self.attachment;
        if receipt.is_some() || !turn.answers.is_empty() {
            let queue = attachment.queue.get_or_insert_default();
            queue.newest = receipt.or(queue.newest);
            for Answer { due, what } in turn.answers.drain(..) {
                let (receipt, others) = match due {
                    Due::Now => (None, ThinVec::new()),
                    Due::ThisTurn => (receipt, ThinVec::new()),
                    Due::Others(others) => (receipt, others),
                    Due::Newest => (queue.newest, ThinVec::new()),
                };
                queue.held.push_back(Held { receipt, others, what });
            }
        }
        attachment.begin_pause(turn);
        self.serve_held(waker, turn);
    }

    /// Of what this Session has changed so much is on its way to the store.
    pub fn note_newest(&mut self, receipt: Option<Receipt>) {
        if receipt.is_some() {
            self.attachment.queue.get_or_insert_default().newest = receipt;
        }
    }

    /// Serves the queue of answers from its front, as far as they are due.
    #[inline(always)]
    pub fn serve_held(&mut self, waker: Option<&Waker>, turn: &mut Turn<'_>) {
        if self.attachment.queue.is_some() {
            self.serve_queue(waker, turn);
        }
    }

    fn serve_queue(&mut self, waker: Option<&Waker>, turn: &mut Turn<'_>) {
        while let Some(queue) = &mut self.attachment.queue {
            let Some(held) = queue.held.front_mut() else { break };
            if !held.waits_for_nothing() {
                let Some(waker) = waker else { return };
                match held.progress(&*turn.broker.0.ports.store, waker) {
                    Progress::Pending => return,
                    Progress::Durable => {}
                    Progress::Failed => {
                        let greeted = self.attachment.greeted;
                        let reason =
                            if greeted { Reason::UnspecifiedError } else { Reason::ServerBusy };
                        self.attachment.closing = Some(reason);
                        return;
                    }
                }
            }
            let Some(held) = queue.held.pop_front() else { return };
            self.pay(held.what, &turn.context(), turn);
        }
    }

    /// Where nothing is remembered nothing waits: answers leave as they arise.
    #[inline(always)]
    pub(super) fn answer_at_once(&mut self, cx: &Context<'_>, turn: &mut Turn<'_>) {
        if turn.broker.0.remembers {
            return;
        }
        while let Some(answer) = turn.answers.pop() {
            self.pay(answer.what, cx, turn);
        }
    }

    /// Gives the client an answer that is due.
    pub(super) fn pay(&mut self, owed: Owed, cx: &Context<'_>, turn: &mut Turn<'_>) {
        match owed {
            Owed::Bytes(bytes) => {
                if !self.attachment.greeted {
                    self.note_greeted(turn);
                }
                turn.tally.add(Counter::Packets, 1);
                turn.out.extend_from_slice(&bytes);
            }
            Owed::Nothing => {}
            Owed::Published { packet_id, qos, reason, why, repeat } => {
                let counter = match (reason.is_error(), repeat) {
                    (false, false) => Counter::Accepted,
                    (_, true) => Counter::Repeats,
                    (true, false) => Counter::Refused,
                };
                turn.tally.add(counter, 1);
                if turn.traced.is_on() {
                    let key = (self.attachment.id(), packet_id);
                    turn.broker.trace_answered(key, (&turn.traced, turn.now));
                }
                let published = Input::Published { packet_id, qos, reason, why };
                self.run(published, cx, turn);
            }
        }
    }

    /// CONNACK has left: it is the first of the answers. From now on its client is read.
    #[cold]
    fn note_greeted(&mut self, turn: &Turn<'_>) {
        let now = turn.now;
        self.attachment.greeted = true;
        let pause = self.attachment.pause.take();
        if let Some(Pause::Greeting { begun, .. }) = pause.as_deref()
            && let Some(timings) = turn.broker.timings()
        {
            timings.connack.note(now.since(*begun));
        }
        self.session.touch(now);
    }

    /// CONNECT is refused although its Session was claimed: its Will is withdrawn, a Session that is new
    /// ends with the connection, and any other has the Will and the expiry that it had.
    /// Returns when that Will is due.
    pub fn withdraw(&mut self, turn: &mut Turn<'_>) -> Option<Time> {
        let limit = turn.broker.policy().limits.connect_timeout.0.as_secs();
        let late = matches!(self.attachment.pause.as_deref(),
            Some(Pause::Greeting { until, .. }) if *until <= turn.now);
        let grounds = match late {
            true => Grounds::limit(RefusalKind::ConnackTimeout, limit, limit),
            false => Grounds::new(RefusalKind::StoreFailed),
        };
        let note = RefusalNote::new(grounds);
        turn.broker.note_refusal(&note, &self.attachment.peer(), turn.now);
        let (id, cx) = (self.attachment.id(), turn.context());
        let mut remember = |action: Action<'_>| {
            if let Action::Remember(op) = action {
                turn.batch.ops.push((id, op));
            }
        };
        let session = &mut self.session;
        match self.attachment.pause.as_deref_mut() {
            Some(Pause::Greeting { before: Some(Before::Parked(left)), .. }) => {
                session.put_back(left.will.take(), left.expiry, &cx, &mut remember);
                return Some(left.will_due);
            }
            Some(Pause::Greeting { before: Some(Before::Nothing), .. }) => {
                session.forget_will(&cx, &mut remember);
                session.end_with_connection();
            }
            _ => session.forget_will(&cx, &mut remember),
        }
        None
    }

    /// Answers still owed are lost with the connection; the Session still learns what they were: a
    /// refused identifier is free again.
    pub fn drop_answers(&mut self, turn: &mut Turn<'_>) {
        let (cx, metrics) = (turn.context(), turn.broker.metrics());
        let held = self.attachment.queue.as_mut().map(|queue| std::mem::take(&mut queue.held));
        let held = held.into_iter().flatten().map(|held| held.what);
        let answers = turn.answers.drain(..).map(|answer| answer.what);
        for what in held.chain(answers) {
            if let Owed::Published { packet_id, qos, reason, why, .. } = what {
                metrics.add(Counter::LostWithConnection, 1);
                let input = Input::Published { packet_id, qos, reason, why };
                self.session.handle(input, &cx, &mut |_| {});
            }
        }
    }
}
