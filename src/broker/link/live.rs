//! A connected client: carries out what its Session asks for, and feeds it from its mailbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use tracing::debug;

use super::OUT_MAX;
use crate::broker::Broker;
use crate::broker::mailbox::Mailbox;
use crate::broker::metrics::Counter;
use crate::broker::ports::{Durability, Receipt};
use crate::broker::registry::Parked;
use crate::broker::router::{Change, Membership, Subscriber};
use crate::broker::turn::{Answer, COPIES_MAX, Due, Owed, Turn};
use crate::codec::{self, ConnAck, Packet, PacketId, QoS, Reason, Version};
use crate::message::{ClientId, Delivery, Loss, SessionId};
use crate::session::{Action, Count, Input, Op, Room, Session};
use crate::time::Time;

/// A connected client: its Session, and what ties it to the broker.
#[derive(Debug)]
pub(super) struct Live {
    session: Session,
    ties: Ties,
}

/// What ties a Session to the broker while it is connected.
#[derive(Debug)]
struct Ties {
    id: SessionId,
    mailbox: Arc<Mailbox>,
    memberships: Vec<Membership>,
    version: Version,
    packet_max: usize,
    /// Copies completed since the mailbox was told, `QoS` 0 and above.
    settled: [u32; 2],
    /// What is owed to the client, first in first out.
    held: VecDeque<Held>,
    /// Of the last batch with anything of this Session in it.
    newest: Option<Receipt>,
    changes: Vec<Change>,
    back: Vec<Delivery>,
    pause: Option<Box<Pause>>,
    /// CONNACK has left: nothing goes before it.
    greeted: bool,
    closing: Option<Reason>,
    goodbye: bool,
    method: Option<Box<str>>,
}

/// An answer in its place, with what it waits for.
#[derive(Debug)]
struct Held {
    receipt: Option<Receipt>,
    what: Owed,
}

/// Receivers above half full that this publisher pauses for.
#[derive(Debug)]
struct Pause {
    until: Time,
    mailboxes: Vec<(Arc<Mailbox>, u64)>,
}

/// Copies taken from one mailbox in one go.
const TAKE_MAX: usize = 256;

impl Live {
    pub fn new(
        session: Session,
        id: SessionId,
        mailbox: Arc<Mailbox>,
        newest: Option<Receipt>,
        method: Option<Box<str>>,
        broker: &Broker,
    ) -> Live {
        let router = &broker.0.router;
        let memberships: Vec<_> = session
            .subscriptions()
            .filter(|(filter, _)| filter.share().is_some())
            .filter_map(|(filter, subscription)| router.membership(id, filter, subscription))
            .collect();
        for membership in &memberships {
            membership.mailbox.join();
        }
        let ties = Ties {
            id,
            mailbox,
            memberships,
            version: session.terms().version,
            packet_max: session.terms().packet_max,
            settled: [0, 0],
            held: VecDeque::new(),
            newest,
            changes: Vec::new(),
            back: Vec::new(),
            pause: None,
            greeted: false,
            closing: None,
            goodbye: false,
            method,
        };
        Live { session, ties }
    }

    /// CONNACK; `false` if it does not fit the client's Maximum Packet Size.
    pub fn greet(&mut self, connack: &ConnAck<'_>, changed: bool, turn: &mut Turn) -> bool {
        let packet = Packet::ConnAck(Box::new(connack.clone()));
        if !changed && self.ties.newest.is_none() {
            self.ties.greeted = self.send(&packet, turn);
            return self.ties.greeted;
        }
        let mut bytes = Vec::new();
        let max = self.ties.packet_max;
        if codec::encode(&packet, self.ties.version, max, &mut bytes).is_err() {
            return false;
        }
        let what = Owed::Bytes(bytes.into_boxed_slice());
        turn.answers.push(Answer { due: Due::Newest, what });
        true
    }

    pub fn client_id(&self) -> &ClientId {
        &self.session.identity().client_id
    }

    pub fn in_flight(&self) -> Vec<Option<u64>> {
        self.session.in_flight()
    }

    pub fn owed(&self) -> usize {
        self.session.owed()
    }

    pub fn unreleased(&self) -> Vec<PacketId> {
        self.session.unreleased().collect()
    }

    pub fn closing(&self) -> Option<Reason> {
        self.ties.closing
    }

    /// Whether CONNACK has left.
    pub fn greeted(&self) -> bool {
        self.ties.greeted
    }

    pub fn said_goodbye(&self) -> bool {
        self.ties.goodbye
    }

    /// When time alone will change something.
    pub fn deadline(&self) -> Option<Time> {
        let pause = self.ties.pause.as_ref().map(|pause| pause.until);
        match (self.session.deadline(), pause) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the client's next packet may be looked at.
    pub fn wants_bytes(&self, turn: &Turn, broker: &Broker) -> bool {
        let owed_max = broker.policy().limits.owed_max as usize;
        self.ties.pause.is_none()
            && turn.pressed.is_empty()
            && (self.ties.version == Version::V5 || self.session.owed() < owed_max)
    }

    pub fn on_packet(
        &mut self,
        packet: Packet<'_>,
        len: usize,
        broker: &Broker,
        now: Time,
        turn: &mut Turn,
    ) {
        match &packet {
            Packet::Publish(publish) => {
                let metrics = broker.metrics();
                metrics.add(Counter::Received, 1);
                metrics.add(Counter::PayloadReceived, publish.payload.len() as u64);
                let above = publish.qos > QoS::AtMostOnce;
                metrics.add(Counter::ReceivedAboveQos0, u64::from(above));
            }
            // Re-authentication needs a method of the connection [MQTT5-4.12.0-7]; none can be
            // begun again yet, which is a failed one [MQTT5-4.12.1-2].
            Packet::Auth(auth) => {
                let ours = self.ties.method.is_some() && self.ties.method.as_deref() == auth.method;
                self.ties.closing =
                    Some(if ours { Reason::NotAuthorized } else { Reason::ProtocolError });
                return;
            }
            _ => {}
        }
        debug_assert!(len > 0);
        self.run(Input::Packet(packet), broker, now, turn);
        self.carry_out_changes(broker, now, turn);
        self.answer_at_once(broker, now, turn);
    }

    /// Writes a packet; `false` if it does not fit.
    pub fn send(&mut self, packet: &Packet<'_>, turn: &mut Turn) -> bool {
        self.ties.send(packet, turn)
    }

    /// The batch of this turn is on its way: the answers take their places behind it.
    pub fn after_flush(
        &mut self,
        receipt: Option<Receipt>,
        broker: &Broker,
        waker: Option<&Waker>,
        now: Time,
        turn: &mut Turn,
    ) {
        let ties = &mut self.ties;
        ties.newest = receipt.or(ties.newest);
        for Answer { due, what } in turn.answers.drain(..) {
            let receipt = match due {
                Due::Now => None,
                Due::ThisTurn => receipt,
                Due::Newest => ties.newest,
            };
            ties.held.push_back(Held { receipt, what });
        }
        ties.begin_pause(broker, now, turn);
        self.serve_held(broker, waker, now, turn);
    }

    /// Does what wakes and time allow; returns whether more could be taken with more room.
    pub fn poll(
        &mut self,
        broker: &Broker,
        waker: &Waker,
        now: Time,
        unwritten: usize,
        turn: &mut Turn,
    ) -> bool {
        if self.session.deadline().is_some_and(|deadline| deadline <= now) {
            if self.ties.pause.is_some() {
                self.session.touch(now);
            } else {
                self.run(Input::Tick, broker, now, turn);
            }
        }
        self.poll_pause(broker, waker, now);
        self.serve_held(broker, Some(waker), now, turn);
        if self.ties.closing.is_some() {
            return false;
        }
        if !self.ties.greeted {
            self.await_greeting(broker, waker, turn);
            return false;
        }
        self.deliver(broker, waker, now, unwritten, turn)
    }

    /// CONNACK waits for the store: nothing is taken, but another claimant is heard.
    fn await_greeting(&mut self, broker: &Broker, waker: &Waker, turn: &mut Turn) {
        let Turn { drained, wakers, .. } = turn;
        let ties = &mut self.ties;
        let (room, queue) = (Room::default(), &broker.0.queue);
        let taken = ties.mailbox.take(room, 0, &mut ties.settled, waker, drained, wakers, queue);
        if taken.kicked {
            ties.closing = Some(Reason::SessionTakenOver);
        }
    }

    /// Answers still owed are lost with the connection; the Session still learns what they were: a
    /// refused identifier is free again.
    pub fn drop_answers(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        let cx = broker.context(now);
        let held = self.ties.held.drain(..).map(|held| held.what);
        let answers = turn.answers.drain(..).map(|answer| answer.what);
        for what in held.chain(answers) {
            if let Owed::Published { packet_id, qos, reason } = what {
                broker.metrics().add(Counter::LostWithConnection, 1);
                let input = Input::Published { packet_id, qos, reason };
                self.session.handle(input, &cx, &mut |_| {});
            }
        }
    }

    /// The connection is over: the Will is decided, the Session parked or ended.
    pub fn end(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        self.drop_answers(broker, now, turn);
        turn.pressed.clear();
        broker.metrics().disconnect();
        let Live { session, ties } = self;
        for membership in &ties.memberships {
            turn.wakers.extend(membership.mailbox.part(ties.id));
        }
        let cx = broker.context(now);
        let groups = &broker.0.router;
        let identity = session.identity().clone();
        let mut will = None;
        let will_due = session.hang_up(
            &cx,
            |group| groups.group(group).is_some_and(|mailbox| mailbox.connected() > 0),
            &mut |action| match action {
                Action::Return(delivery) => ties.back.push(delivery),
                Action::WillDue(due) => will = Some(due),
                Action::Remember(op) => turn.batch.ops.push((ties.id, op)),
                _ => {}
            },
        );
        broker.give_back(std::mem::take(&mut ties.back), turn);
        if let Some(will) = will {
            broker.publish_will(&identity, &will, now, turn);
        }
        ties.newest = broker.flush(turn).or(ties.newest);
        let keep_qos0 = broker.0.queue.qos0_offline;
        let client_id = identity.client_id.clone();
        let placeholder = Session::new(identity, session.terms().clone(), now);
        let mut session = std::mem::replace(session, placeholder);
        if session.lasts() {
            let dropped = ties.mailbox.account().queued[0];
            turn.wakers.extend(ties.mailbox.detach(&mut ties.settled, keep_qos0));
            if !keep_qos0 {
                broker.metrics().lose(Loss::OfflineQos0, dropped);
            }
            let expiry = session.terms().expiry;
            let expires = match expiry {
                u32::MAX => Time::NEVER,
                seconds => now.after(std::time::Duration::from_secs(seconds.into())),
            };
            let parked = Parked {
                id: ties.id,
                session,
                mailbox: ties.mailbox.clone(),
                will_due: will_due.unwrap_or(Time::NEVER),
                expires,
                newest: ties.newest,
            };
            turn.wakers.extend(broker.0.registry.park(parked));
        } else {
            turn.wakers.extend(ties.mailbox.detach(&mut ties.settled, true));
            broker.dissolve(ties.id, &mut session, &ties.mailbox, false, Loss::SessionEnded, turn);
            turn.wakers.extend(broker.0.registry.release(&client_id));
        }
    }

    fn run(&mut self, input: Input<'_>, broker: &Broker, now: Time, turn: &mut Turn) {
        let Live { session, ties } = self;
        let cx = broker.context(now);
        let identity = session.identity().clone();
        session.handle(input, &cx, &mut |action| {
            ties.carry_out(action, broker, &identity, now, turn);
        });
    }

    /// Subscriptions of one packet enter the tree in one moment.
    fn carry_out_changes(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        if self.ties.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.ties.changes);
        let sys = changes.iter().any(
            |change| matches!(change, Change::Subscribe(f, _) if f.pattern().starts_with("$SYS")),
        );
        if sys {
            broker.say_sys(now, turn);
            broker.flush_copies(turn);
        }
        let subscriber = Subscriber {
            session: self.ties.id,
            mailbox: &self.ties.mailbox,
            lasts: self.session.lasts(),
            connected: true,
        };
        let memberships = &mut self.ties.memberships;
        let stamp = broker.0.router.change(&subscriber, changes, memberships, broker.metrics());
        self.run(Input::Subscribed { stamp }, broker, now, turn);
    }

    /// Where nothing is remembered nothing waits: answers leave as they arise.
    fn answer_at_once(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        if broker.0.ports.store.remembers() {
            return;
        }
        while let Some(answer) = turn.answers.pop() {
            self.pay(answer.what, broker, now, turn);
        }
    }

    /// Serves the queue of answers from its front, as far as they are due.
    fn serve_held(&mut self, broker: &Broker, waker: Option<&Waker>, now: Time, turn: &mut Turn) {
        while let Some(held) = self.ties.held.front() {
            if let Some(receipt) = held.receipt {
                let Some(waker) = waker else { return };
                match broker.0.ports.store.state(receipt, waker) {
                    Durability::Pending => return,
                    Durability::Durable => {}
                    Durability::Failed => {
                        self.ties.closing = Some(Reason::UnspecifiedError);
                        return;
                    }
                }
            }
            let Some(held) = self.ties.held.pop_front() else { return };
            self.pay(held.what, broker, now, turn);
        }
        if self.ties.held.capacity() > 0 {
            self.ties.held = VecDeque::new();
        }
    }

    fn pay(&mut self, owed: Owed, broker: &Broker, now: Time, turn: &mut Turn) {
        match owed {
            Owed::Bytes(bytes) => {
                // CONNACK is the first of them.
                self.ties.greeted = true;
                turn.out.extend_from_slice(&bytes);
            }
            Owed::Published { packet_id, qos, reason } => {
                let counter = if reason.is_error() { Counter::Refused } else { Counter::Accepted };
                broker.metrics().add(counter, 1);
                self.run(Input::Published { packet_id, qos, reason }, broker, now, turn);
            }
        }
    }

    fn poll_pause(&mut self, broker: &Broker, waker: &Waker, now: Time) {
        let Some(pause) = &mut self.ties.pause else { return };
        let queue = &broker.0.queue;
        pause.mailboxes.retain(|(mailbox, _)| !mailbox.pause_over(queue, waker));
        let expired = pause.until <= now;
        if expired {
            for (mailbox, taken) in &pause.mailboxes {
                mailbox.pause_expired(*taken);
            }
        }
        if expired || pause.mailboxes.is_empty() {
            self.ties.pause = None;
            // It was we who did not read.
            self.session.touch(now);
        }
    }

    /// Takes for the client what window and room allow: what awaits its resend, retained
    /// messages, its mailbox, its groups.
    fn deliver(
        &mut self,
        broker: &Broker,
        waker: &Waker,
        now: Time,
        unwritten: usize,
        turn: &mut Turn,
    ) -> bool {
        let mut copies = 0;
        loop {
            let bytes = OUT_MAX.saturating_sub(unwritten + turn.out.len());
            if self.session.resending() && bytes > 0 {
                self.resend(broker, now, turn);
            }
            let from_retained = self.take_retained(broker, bytes, now, turn);
            let mut drained = std::mem::take(&mut turn.drained);
            let max = if copies < COPIES_MAX { TAKE_MAX } else { 0 };
            let bytes = OUT_MAX.saturating_sub(unwritten + turn.out.len());
            let cx = broker.context(now);
            let room = self.session.room(&cx, bytes);
            let queue = &broker.0.queue;
            let ties = &mut self.ties;
            let taken = ties.mailbox.take(
                room,
                max,
                &mut ties.settled,
                waker,
                &mut drained,
                &mut turn.wakers,
                queue,
            );
            let mut more = taken.more || from_retained.is_some_and(|more| more);
            let above = drained.iter().filter(|d| d.qos > QoS::AtMostOnce).count();
            let mut room = room;
            room.window -= above;
            for membership in &ties.memberships {
                if max == 0 {
                    break;
                }
                let before = drained.len();
                let taken = membership.mailbox.take_shared(
                    &membership.member,
                    room,
                    waker,
                    &mut drained,
                    &mut turn.wakers,
                    queue,
                );
                let above = drained[before..].iter().filter(|d| d.qos > QoS::AtMostOnce).count();
                room.window = room.window.saturating_sub(above);
                more |= taken.more;
            }
            copies += drained.len();
            let progress = !drained.is_empty() || from_retained.is_some();
            for delivery in drained.drain(..) {
                self.run(Input::Deliver(delivery), broker, now, turn);
            }
            turn.drained = drained;
            // What was dropped on the way (expired, too large) has left its slot to the next one.
            more |= self.session.room(&broker.context(now), bytes).window > room.window;
            if taken.kicked {
                self.ties.closing = Some(Reason::SessionTakenOver);
                return false;
            }
            let full = unwritten + turn.out.len() >= OUT_MAX || copies >= COPIES_MAX;
            if full || !progress || !more {
                self.tell_settled();
                return more || (full && progress);
            }
        }
    }

    fn resend(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        let Live { session, ties } = self;
        let cx = broker.context(now);
        let identity = session.identity().clone();
        session.resend(&cx, &mut |action| ties.carry_out(action, broker, &identity, now, turn));
    }

    /// Pulls retained messages for the first open cursor. `None`: nothing came of it; else whether
    /// there may be more.
    fn take_retained(
        &mut self,
        broker: &Broker,
        bytes: usize,
        now: Time,
        turn: &mut Turn,
    ) -> Option<bool> {
        if !self.session.has_cursor() || bytes == 0 {
            return None;
        }
        let cx = broker.context(now);
        let room = self.session.room(&cx, bytes);
        let mut drained = std::mem::take(&mut turn.drained);
        let cursor = self.session.cursor()?;
        let before = cursor.after.clone();
        let done = broker.0.router.pull(cursor, room, TAKE_MAX, now, &mut drained);
        let moved = done || cursor.after != before;
        if done {
            self.session.close_cursor();
        }
        for delivery in drained.drain(..) {
            let above = usize::from(delivery.qos > QoS::AtMostOnce);
            // Routed here and now: the account of the receiver knows of it.
            self.ties.mailbox.count_routed(above);
            broker.metrics().add(Counter::Routed, 1);
            self.run(Input::Deliver(delivery), broker, now, turn);
        }
        turn.drained = drained;
        moved.then(|| self.session.has_cursor())
    }

    /// What was completed is told to the mailbox's account.
    fn tell_settled(&mut self) {
        self.ties.mailbox.settle_many(&mut self.ties.settled);
    }
}

impl Ties {
    fn carry_out(
        &mut self,
        action: Action<'_>,
        broker: &Broker,
        identity: &Arc<crate::message::Identity>,
        now: Time,
        turn: &mut Turn,
    ) {
        match action {
            Action::Send { packet, after_ops } if after_ops && self.must_wait(broker, turn) => {
                let mut bytes = Vec::new();
                match codec::encode(&packet, self.version, self.packet_max, &mut bytes) {
                    Ok(_) => {
                        let what = Owed::Bytes(bytes.into_boxed_slice());
                        turn.answers.push(Answer { due: Due::Newest, what });
                    }
                    Err(error) => debug!(%error, "packet not written"),
                }
            }
            Action::Send { packet, .. } => {
                self.send(&packet, turn);
            }
            Action::Publish { draft, packet_id, with } => {
                let with = with.map(|op| (self.id, op));
                let received = with.is_some();
                let published = broker.publish(&draft, identity, with, now, turn);
                let refused = published.reason.is_error() && self.version == Version::V5;
                match packet_id {
                    Some(packet_id) => {
                        if published.reason == Reason::UnspecifiedError {
                            // The store has failed: this can be neither kept nor, on 3.1.1, refused.
                            self.closing = Some(Reason::UnspecifiedError);
                        }
                        if received && published.stored && refused {
                            // The refusal frees the identifier, in the same batch: else a crash
                            // between the two would let it absorb another message.
                            turn.batch.ops.push((self.id, Op::Forgotten { packet_id }));
                        }
                        let qos = draft.qos;
                        let due = if published.stored { Due::ThisTurn } else { Due::Now };
                        let what = Owed::Published { packet_id, qos, reason: published.reason };
                        turn.answers.push(Answer { due, what });
                    }
                    None if published.reason.is_error() && published.refused == 0 => {
                        broker.metrics().add(Counter::RefusedQos0, 1);
                    }
                    None => {}
                }
            }
            Action::Subscribe { filter, subscription } => {
                self.changes.push(Change::Subscribe(filter.clone(), subscription));
            }
            Action::Unsubscribe { filter } => {
                self.changes.push(Change::Unsubscribe(filter.clone()))
            }
            Action::Remember(op) => turn.batch.ops.push((self.id, op)),
            Action::Settle { above_qos0, group: None, loss: None } => {
                self.settled[usize::from(above_qos0)] += 1;
                broker.metrics().add(Counter::Completed, 1);
            }
            Action::Settle { above_qos0, group, loss } => {
                broker.settle(&self.mailbox, above_qos0, group, loss);
            }
            Action::Count(count) => count_in(broker, count),
            Action::Return(delivery) => self.back.push(delivery),
            Action::Close(reason) => self.closing = Some(reason),
            Action::Goodbye => self.goodbye = true,
            Action::WillDue(_) => unreachable!("only the end of a connection publishes a Will"),
        }
    }

    fn send(&mut self, packet: &Packet<'_>, turn: &mut Turn) -> bool {
        match codec::encode(packet, self.version, self.packet_max, &mut turn.out) {
            Ok(_) => true,
            Err(error) => {
                debug!(%error, "packet not written");
                false
            }
        }
    }

    /// Whether a promise made now must wait: for this turn's Ops, or older ones not yet durable.
    fn must_wait(&self, broker: &Broker, turn: &Turn) -> bool {
        broker.0.ports.store.remembers()
            && (!turn.batch.is_empty()
                || self.newest.is_some()
                || !turn.answers.is_empty()
                || !self.held.is_empty())
    }

    /// Receivers above half full pause their publisher, for a bounded time.
    fn begin_pause(&mut self, broker: &Broker, now: Time, turn: &mut Turn) {
        if turn.pressed.is_empty() {
            return;
        }
        let pressed = turn.pressed.drain(..).filter(|m| !Arc::ptr_eq(m, &self.mailbox));
        let mailboxes: Vec<_> = pressed.map(|mailbox| (mailbox.clone(), mailbox.taken())).collect();
        if mailboxes.is_empty() || self.pause.is_some() {
            return;
        }
        let until = now.after(broker.0.queue.pause_max.0);
        self.pause = Some(Box::new(Pause { until, mailboxes }));
    }
}

fn count_in(broker: &Broker, count: Count) {
    let metrics = broker.metrics();
    match count {
        Count::Sent { bytes } => {
            metrics.add(Counter::Sent, 1);
            metrics.add(Counter::PayloadSent, bytes as u64);
        }
        Count::Repeat => metrics.add(Counter::Repeats, 1),
        Count::Refused { above_qos0: true } => metrics.add(Counter::Refused, 1),
        Count::Refused { above_qos0: false } => metrics.add(Counter::RefusedQos0, 1),
    }
}
