//! A connected client: its Session and its ties, from CONNACK to the end of the connection.

use std::sync::Arc;
use std::task::Waker;

use thin_vec::ThinVec;
use tracing::info;

use super::Origin;
use super::attachment::{Attachment, FlowState, Held, Pause, Queue};
use crate::broker::mailbox::{Ask, Mailbox};
use crate::broker::metrics::Counter;
use crate::broker::ports::{Progress, Receipt, Refused};
use crate::broker::registry::Parked;
use crate::broker::router::{RouteChange, Subscriber, asks_for_clients};
use crate::broker::turn::{Answer, Due, Owed, Scratch, Turn};
use crate::codec::{self, ConnAck, Packet, PacketId, Publish, QoS, Reason, Version};
use crate::message::{ClientId, GroupId, Loss, SessionId};
use crate::session::{Action, Context, Input, Op, Session};
use crate::shape::Shaper;
use crate::time::Time;

/// A connected client: its Session, and what ties it to the broker.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) attachment: Attachment,
}

/// So many answers may wait for the store before nothing more is read: Receive Maximum counts PUBLISHes
/// alone, and what a client asks for besides is not bounded by it.
pub(super) const HELD_MAX: usize = 1024;

const _: () = assert!(size_of::<Live>() <= 232, "an idle client should stay small");

impl Live {
    pub fn new(
        session: Session,
        id: SessionId,
        mailbox: Arc<Mailbox>,
        newest: Option<Receipt>,
        (origin, flow): (Origin, Option<Box<FlowState>>),
        turn: &Turn<'_>,
    ) -> Live {
        let router = &turn.broker.0.router;
        let memberships: ThinVec<_> = session
            .subscriptions()
            .filter(|(filter, _)| filter.share().is_some())
            .filter_map(|(filter, subscription)| router.membership(id, filter, subscription))
            .collect();
        for membership in &memberships {
            membership.mailbox().join();
        }
        let mut attachment = Attachment {
            origin,
            mailbox,
            memberships,
            version: session.terms().version,
            packet_max: session.terms().packet_max,
            settled: [0, 0],
            queue: newest
                .map(|newest| Box::new(Queue { newest: Some(newest), ..Queue::default() })),
            pause: None,
            greeted: false,
            closing: None,
            goodbye: false,
            flow,
        };
        attachment.classify(turn);
        Live { session, attachment }
    }

    /// CONNACK; `false` if it does not fit the client's Maximum Packet Size.
    pub fn greet(&mut self, connack: &ConnAck<'_>, changed: bool, turn: &mut Turn<'_>) -> bool {
        let packet = Packet::ConnAck(Box::new(connack.clone()));
        if !changed && self.attachment.queue.is_none() {
            self.attachment.greeted = self.send(&packet, turn);
            return self.attachment.greeted;
        }
        let mut bytes = Vec::new();
        let max = self.attachment.packet_max as usize;
        if codec::encode(&packet, self.attachment.version, max, &mut bytes).is_err() {
            return false;
        }
        let what = Owed::Bytes(bytes.into_boxed_slice());
        turn.answers.push(Answer { due: Due::Newest, what });
        true
    }

    pub fn client_id(&self) -> &ClientId {
        &self.session.identity().client_id
    }

    pub fn in_flight(&self) -> Vec<Option<GroupId>> {
        self.session.in_flight()
    }

    pub fn owed(&self) -> usize {
        self.session.owed()
    }

    /// Silence until now was our doing.
    pub fn touch(&mut self, now: Time) {
        self.session.touch(now);
    }

    pub fn unreleased(&self) -> Vec<PacketId> {
        self.session.unreleased().collect()
    }

    pub fn closing(&self) -> Option<Reason> {
        self.attachment.closing
    }

    /// Whether CONNACK has left.
    pub fn greeted(&self) -> bool {
        self.attachment.greeted
    }

    pub fn said_goodbye(&self) -> bool {
        self.attachment.goodbye
    }

    /// Either of them.
    pub fn is_over(&self) -> bool {
        self.attachment.closing.is_some() || self.attachment.goodbye
    }

    /// When time alone will change something.
    #[inline]
    pub fn deadline(&self) -> Option<Time> {
        if self.attachment.pause.is_none() && self.attachment.flow.is_none() {
            return self.session.deadline();
        }
        self.earliest_deadline()
    }

    fn earliest_deadline(&self) -> Option<Time> {
        let pause = match self.attachment.pause.as_deref() {
            Some(
                Pause::Receivers { until, .. } | Pause::Rate { until } | Pause::Overload { until },
            ) => Some(*until),
            Some(Pause::Store) | None => None,
        };
        let shaper = self.attachment.shaper().and_then(Shaper::deadline);
        let egress = self.attachment.egress().and_then(|egress| egress.until);
        let coalesce = self.coalesces_until();
        [self.session.deadline(), pause, shaper, egress, coalesce].into_iter().flatten().min()
    }

    /// Whether the client's next packet may be looked at.
    pub fn wants_bytes(&self, turn: &Turn<'_>) -> bool {
        turn.pressed.is_empty() && !self.is_left_unread(turn)
    }

    /// Whether what the client sends has to wait, for a pause or for answers that it is owed.
    fn is_left_unread(&self, turn: &Turn<'_>) -> bool {
        self.not_read(turn.broker, Some(turn)).is_some()
    }

    /// Whether the store has room for a PUBLISH of so many bytes: asked before it is looked at, so
    /// that one that must wait is left unread, and nothing has happened.
    pub fn has_room(&mut self, publish: &Publish<'_>, len: usize, turn: &mut Turn<'_>) -> bool {
        if !turn.broker.0.remembers || (publish.qos == QoS::AtMostOnce && !publish.retain) {
            return true;
        }
        let admitted = turn.broker.0.ports.store.admit(len);
        let waits = admitted.as_ref().is_err_and(|why| self.waits_for(*why));
        if waits {
            self.attachment.pause = Some(Box::new(Pause::Store));
        }
        turn.room_granted = admitted.is_ok();
        !waits
    }

    /// Whether the client is made to wait for room, or is told that there is none. An older one
    /// cannot be told.
    fn waits_for(&self, why: Refused) -> bool {
        match why {
            Refused::Slow => true,
            Refused::Full => self.attachment.version != Version::V5,
            Refused::Failed => false,
        }
    }

    pub fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        len: usize,
        over_rate: bool,
        turn: &mut Turn<'_>,
    ) {
        match packet {
            Packet::Publish(publish) => {
                let above = publish.qos > QoS::AtMostOnce;
                turn.tally.add(Counter::Received, 1);
                turn.tally.add(Counter::PayloadReceived, publish.payload.len() as u64);
                turn.tally.add(Counter::ReceivedAboveQos0, u64::from(above));
            }
            Packet::Auth(auth) => {
                self.session.touch(turn.now);
                return self.on_auth(auth, turn.broker);
            }
            _ => {}
        }
        debug_assert!(len > 0);
        let mut cx = match packet {
            Packet::Subscribe(_) => turn.broker.context_to_subscribe(turn.now),
            _ => turn.context(),
        };
        cx.over_rate = over_rate;
        if matches!(packet, Packet::Publish(_) | Packet::Subscribe(_))
            && let Some(limits) = self.attachment.limits_mut()
        {
            limits.use_up();
        }
        self.run(Input::Packet(packet), &cx, turn);
        self.carry_out_changes(turn);
        self.answer_at_once(turn);
    }

    /// Writes a packet; `false` if it does not fit.
    pub fn send(&mut self, packet: &Packet<'_>, scratch: &mut Scratch) -> bool {
        self.attachment.send(packet, scratch)
    }

    /// The batch of this turn is on its way: the answers take their places behind it.
    pub fn after_flush(
        &mut self,
        receipt: Option<Receipt>,
        waker: Option<&Waker>,
        turn: &mut Turn<'_>,
    ) {
        let attachment = &mut self.attachment;
        if receipt.is_none() && attachment.queue.is_none() && turn.answers.is_empty() {
            if !turn.pressed.is_empty() {
                attachment.begin_pause(turn);
            }
            return;
        }
        if receipt.is_some() || !turn.answers.is_empty() {
            let queue = attachment.queue.get_or_insert_default();
            queue.newest = receipt.or(queue.newest);
            for Answer { due, what } in turn.answers.drain(..) {
                let receipt = match due {
                    Due::Now => None,
                    Due::ThisTurn => receipt,
                    Due::Newest => queue.newest,
                };
                queue.held.push_back(Held { receipt, what });
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

    /// Does what wakes and time allow; returns whether more could be taken with more room.
    pub fn poll(&mut self, waker: &Waker, unwritten: usize, turn: &mut Turn<'_>) -> bool {
        if self.session.deadline().is_some_and(|deadline| deadline <= turn.now) {
            if self.is_left_unread(turn) {
                self.session.touch(turn.now);
            } else {
                self.run(Input::Tick, &turn.context(), turn);
            }
        }
        if turn.pressure.cap().is_none() {
            self.lift_overload_limit();
        }
        self.poll_pause(waker, turn);
        self.serve_held(Some(waker), turn);
        self.poll_login(waker, turn);
        if self.attachment.closing.is_some() {
            return false;
        }
        if !self.attachment.greeted {
            self.await_greeting(waker, turn);
            return false;
        }
        let coalesce = turn.settings.linger_max();
        if self.coalesces(coalesce, turn.now) {
            return false;
        }
        if self.has_nothing_to_take() {
            self.tell_settled();
            return false;
        }
        let before = turn.out.len();
        let more = self.deliver(waker, unwritten, turn);
        if turn.out.len() > before {
            self.note_given(coalesce, turn);
        }
        more
    }

    /// CONNACK waits for the store: nothing is taken, but another claimant is heard.
    fn await_greeting(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let Scratch { drained, wakers, settings, .. } = &mut *turn.scratch;
        let attachment = &mut self.attachment;
        let queue = settings.queue();
        let ask = Ask::nothing(waker, queue);
        let taken = attachment.mailbox.take(&ask, &mut attachment.settled, drained, wakers);
        if let Some(reason) = taken.notices().kick() {
            attachment.closing = Some(reason);
        }
        if taken.notices().reclassify() {
            attachment.classify(turn);
        }
    }

    /// Answers still owed are lost with the connection; the Session still learns what they were: a
    /// refused identifier is free again.
    pub fn drop_answers(&mut self, turn: &mut Turn<'_>) {
        let (cx, metrics) = (turn.context(), turn.broker.metrics());
        let held = self.attachment.queue.as_mut().map(|queue| std::mem::take(&mut queue.held));
        let held = held.into_iter().flatten().map(|held| held.what);
        let answers = turn.answers.drain(..).map(|answer| answer.what);
        for what in held.chain(answers) {
            if let Owed::Published { packet_id, qos, reason, over_rate } = what {
                metrics.add(Counter::LostWithConnection, 1);
                let input = Input::Published { packet_id, qos, reason, over_rate };
                self.session.handle(input, &cx, &mut |_| {});
            }
        }
    }

    /// The connection is over: the Will is decided, the Session parked or ended.
    pub fn end(mut self, reason: &str, turn: &mut Turn<'_>) {
        self.drop_answers(turn);
        turn.pressed.clear();
        let (broker, now) = (turn.broker, turn.now);
        broker.metrics().disconnect();
        let Live { mut session, mut attachment } = self;
        let identity = session.identity().clone();
        let client_id = &identity.client_id;
        info!(client = %client_id, address = %attachment.origin, reason, "disconnected");
        let id = attachment.id();
        for membership in &attachment.memberships {
            turn.wakers.extend(membership.mailbox().part(id));
        }
        let cx = turn.context();
        let groups = &broker.0.router;
        let mut will = None;
        let mut back = Vec::new();
        let will_due = session.hang_up(
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
            broker.publish_will(&identity, &will, turn);
        }
        if broker.0.remembers && session.lasts() {
            turn.batch.ops.push((id, Op::Parked { since: now }));
        }
        let newest = attachment.queue.as_ref().and_then(|queue| queue.newest);
        let newest = turn.commit().or(newest);
        let keep_qos0 = attachment.mailbox.keeps_qos0(turn.settings.queue());
        if let Some(limits) = attachment.limits_mut() {
            limits.give_back(now);
        }
        if session.lasts() {
            if let Some(shaper) = attachment.flow.as_mut().and_then(|flow| flow.shaper.take()) {
                attachment.mailbox.keep_shaper(shaper);
            }
            if let Some(egress) = attachment.egress() {
                attachment.mailbox.keep_waited(egress.waited(now));
            }
            let limits = attachment.flow.as_mut().and_then(|flow| flow.limits.take());
            if let Some(intake) = limits.and_then(|limits| limits.into_own()) {
                attachment.mailbox.keep_intake(intake);
            }
            let (wakers, fallen) = attachment.mailbox.detach(&mut attachment.settled, keep_qos0);
            turn.wakers.extend(wakers);
            broker.lose_all(&fallen, turn);
            let expiry = session.terms().expiry;
            let expires = match expiry {
                u32::MAX => Time::NEVER,
                seconds => now.after(std::time::Duration::from_secs(seconds.into())),
            };
            let parked = Parked {
                id,
                session,
                mailbox: attachment.mailbox.clone(),
                will_due: will_due.unwrap_or(Time::NEVER),
                expires,
                newest,
            };
            turn.wakers.extend(broker.0.registry.park(parked));
        } else {
            turn.wakers.extend(attachment.mailbox.detach(&mut attachment.settled, true).0);
            broker.dissolve(id, &mut session, &attachment.mailbox, false, Loss::SessionEnded, turn);
            turn.wakers.extend(broker.0.registry.release(client_id));
        }
    }

    pub(super) fn run(&mut self, input: Input<'_>, cx: &Context<'_>, turn: &mut Turn<'_>) {
        let Live { session, attachment } = self;
        session.handle(input, cx, &mut |action| attachment.carry_out(action, turn));
    }

    /// Subscriptions of one packet enter the tree in one moment.
    fn carry_out_changes(&mut self, turn: &mut Turn<'_>) {
        if turn.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut turn.changes);
        let filters = || {
            changes.iter().filter_map(|change| match change {
                RouteChange::Subscribe(filter, _) => Some(filter.pattern()),
                RouteChange::Unsubscribe(_) => None,
            })
        };
        if filters().any(|filter| filter.starts_with("$SYS")) {
            turn.broker.say_sys(filters().any(asks_for_clients), turn);
            // What is retained is there before the Subscription looks; and nothing is pushed before
            // the store has it.
            let receipt = turn.commit();
            self.after_flush(receipt, None, turn);
        }
        let subscriber = Subscriber::new(self.attachment.id(), &self.attachment.mailbox);
        let subscriber = subscriber.lasting(self.session.lasts()).connected(true);
        let memberships = &mut self.attachment.memberships;
        let stamp = turn.broker.change_routes(&subscriber, changes, memberships, turn);
        self.run(Input::Subscribed { stamp }, &turn.context(), turn);
    }

    /// Where nothing is remembered nothing waits: answers leave as they arise.
    fn answer_at_once(&mut self, turn: &mut Turn<'_>) {
        if turn.broker.0.remembers {
            return;
        }
        while let Some(answer) = turn.answers.pop() {
            self.pay(answer.what, turn);
        }
    }

    /// Serves the queue of answers from its front, as far as they are due.
    pub fn serve_held(&mut self, waker: Option<&Waker>, turn: &mut Turn<'_>) {
        while let Some(queue) = &mut self.attachment.queue {
            let Some(held) = queue.held.front() else { break };
            if let Some(receipt) = held.receipt {
                let Some(waker) = waker else { return };
                match turn.broker.0.ports.store.state(receipt, waker) {
                    Progress::Pending => return,
                    Progress::Durable => {}
                    Progress::Failed => {
                        self.attachment.closing = Some(Reason::UnspecifiedError);
                        return;
                    }
                }
            }
            let Some(held) = queue.held.pop_front() else { return };
            self.pay(held.what, turn);
        }
    }

    fn pay(&mut self, owed: Owed, turn: &mut Turn<'_>) {
        match owed {
            Owed::Bytes(bytes) => {
                // CONNACK is the first of them.
                self.attachment.greeted = true;
                turn.tally.add(Counter::Packets, 1);
                turn.out.extend_from_slice(&bytes);
            }
            Owed::Published { packet_id, qos, reason, over_rate } => {
                let counter = if reason.is_error() { Counter::Refused } else { Counter::Accepted };
                turn.tally.add(counter, 1);
                let published = Input::Published { packet_id, qos, reason, over_rate };
                self.run(published, &turn.context(), turn);
            }
        }
    }

    fn poll_pause(&mut self, waker: &Waker, turn: &Turn<'_>) {
        let over = match self.attachment.pause.as_deref_mut() {
            None => return,
            Some(Pause::Store) => {
                let room = turn.broker.0.ports.store.room(waker);
                !room.is_err_and(|why| self.waits_for(why))
            }
            Some(Pause::Rate { until } | Pause::Overload { until }) => *until <= turn.now,
            Some(Pause::Receivers { until, mailboxes }) => {
                let queue = turn.settings.queue();
                mailboxes.retain(|(mailbox, _)| !mailbox.pause_over(queue, waker));
                let expired = *until <= turn.now;
                if expired {
                    for (mailbox, taken) in &*mailboxes {
                        mailbox.pause_expired(*taken);
                    }
                }
                expired || mailboxes.is_empty()
            }
        };
        if over {
            self.attachment.pause = None;
            // It was we who did not read.
            self.session.touch(turn.now);
        }
    }
}
