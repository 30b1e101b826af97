//! A connected client: its Session and its attachment to the broker, from CONNACK to the end of the
//! connection.

mod admission;
mod answering;
mod answers;
mod end;
mod reauthenticate;
mod review;
mod subscribing;
mod timeouts;

use std::task::Waker;
use std::time::Duration;

use thin_vec::ThinVec;
pub(super) use timeouts::note_ack_timeout;

use super::attachment::{Attachment, ClientEnd, FlowState, Queue};
use super::awaited::Awaited;
use super::filters::FiltersLeft;
use super::pause::Pause;
use super::{Held, Origin};
use crate::broker::mailbox::{Ask, Notices};
use crate::broker::metrics::Counter;
use crate::broker::orphans::Kept;
use crate::broker::registry::Parked;
use crate::broker::router::{RouteChange, Subscriber};
use crate::broker::turn::{Owed, Scratch, Turn};
use crate::codec::{Packet, PacketId, QoS, Reason};
use crate::message::{ClientId, GroupId, RefusalKind};
use crate::session::{Action, Context, Cursor, Input, Session};
use crate::shape::{Load, Shaper};
use crate::time::Time;

/// A connected client: its Session, and its attachment to the broker.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) attachment: Attachment,
}

/// Retained topics looked at for one SUBSCRIBE, to find out whether it is owed any.
const LOOK_MAX: usize = 128;

/// So many answers may wait for the store before nothing more is read: Receive Maximum counts PUBLISHes
/// alone, and what a client asks for besides is not bounded by it.
pub(super) const HELD_MAX: usize = 1024;

/// What a change of the routes costs, in copies.
const CHANGE_COPIES: usize = 4;
/// So many looks count as one PUBLISH more in the rates of the publisher. They take some twenty
/// microseconds; where filters are not made to cost as much as they can, a PUBLISH takes some tens of looks.
const PUBLISH_LOOKS: usize = 4096;

const _: () = assert!(size_of::<Live>() <= 232, "an idle client should stay small");

impl Live {
    /// The client of a Session that is there, or new. It is made where it stays: it is too large to be moved
    /// often.
    pub fn new(
        session: impl Into<Parked>,
        (origin, flow): (Origin, Option<Box<FlowState>>),
        turn: &Turn<'_>,
    ) -> Box<Live> {
        let Parked { session, mailbox, newest, .. } = session.into();
        let attachment = Attachment {
            origin,
            mailbox,
            memberships: ThinVec::new(),
            version: session.terms().version,
            packet_max: session.terms().packet_max,
            settled: [0, 0],
            queue: newest
                .map(|newest| Box::new(Queue { newest: Some(newest), ..Queue::default() })),
            pause: None,
            greeted: false,
            closing: None,
            client_end: ClientEnd::Unsaid,
            flow,
        };
        let mut live = Kept::new(Box::new(Live { session, attachment }));
        if let Some(others) = turn.broker.take_awaited(live.attachment.id()) {
            let what = Owed::Nothing;
            let queue = live.attachment.queue.get_or_insert_default();
            queue.held.push_back(Held { receipt: None, others, what });
        }
        live.join_groups(turn);
        live.attachment.classify(turn);
        live.take()
    }

    /// Its parts in the groups of its Subscriptions.
    fn join_groups(&mut self, turn: &Turn<'_>) {
        let (router, id) = (&turn.broker.0.router, self.attachment.id());
        let shared = self.session.subscriptions().filter(|(filter, _)| filter.is_shared());
        let memberships: ThinVec<_> = shared
            .filter_map(|(filter, subscription)| router.membership(id, filter, subscription))
            .collect();
        for membership in &memberships {
            membership.mailbox().join(id, self.client_id());
        }
        self.attachment.memberships = memberships;
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

    /// The silence of the client until now does not count: nothing was read from it.
    pub fn touch(&mut self, now: Time) {
        self.session.touch(now);
    }

    pub fn unreleased(&self) -> Vec<PacketId> {
        self.session.unreleased().collect()
    }

    pub fn closing(&self) -> Option<Reason> {
        self.attachment.closing
    }

    /// What the client did to be closed, where the Reason Code does not say it.
    pub fn refused(&self) -> Option<RefusalKind> {
        match self.attachment.client_end {
            ClientEnd::Refused(kind) => Some(kind),
            ClientEnd::Unsaid | ClientEnd::Goodbye => None,
        }
    }

    /// Whether CONNACK has left.
    pub fn greeted(&self) -> bool {
        self.attachment.greeted
    }

    pub fn said_goodbye(&self) -> bool {
        self.attachment.client_end == ClientEnd::Goodbye
    }

    /// Either of them.
    pub fn is_over(&self) -> bool {
        self.attachment.closing.is_some() || self.said_goodbye()
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
                Pause::Receivers { until, .. }
                | Pause::Rate { until }
                | Pause::Overload { until }
                | Pause::Greeting { until, .. },
            ) => Some(*until),
            Some(Pause::Store | Pause::Filters(_)) | None => None,
        };
        let shaper = self.attachment.shaper().and_then(Shaper::deadline);
        let egress = self.attachment.egress().and_then(|egress| egress.until);
        let coalesce = self.attachment.flow.as_ref().and_then(|flow| flow.coalesce.until());
        let expires = self.attachment.expires();
        let awaited = self.attachment.awaited().and_then(Awaited::deadline);
        let all = [self.session.deadline(), pause, shaper, egress, coalesce, expires, awaited];
        all.into_iter().flatten().min()
    }

    /// Whether the client's next packet may be looked at.
    pub fn wants_bytes(&self, turn: &Turn<'_>) -> bool {
        turn.pressed.is_empty() && !self.is_left_unread(turn)
    }

    /// Whether what the client sends has to wait, for a pause or for answers that it is owed.
    fn is_left_unread(&self, turn: &Turn<'_>) -> bool {
        self.not_read(turn.broker, Some(turn)).is_some()
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
                turn.tally.add(Counter::Received, 1);
                turn.tally.add(Counter::PayloadReceived, publish.payload.len() as u64);
                if publish.qos > QoS::AtMostOnce {
                    turn.tally.add(Counter::ReceivedAboveQos0, 1);
                }
            }
            Packet::Auth(auth) => {
                self.session.touch(turn.now);
                return self.on_auth(auth, turn);
            }
            _ => {}
        }
        debug_assert!(len > 0);
        if matches!(packet, Packet::Publish(_) | Packet::Subscribe(_))
            && let Some(limits) = self.attachment.limits_mut()
        {
            limits.use_up();
        }
        let cx = Context { over_rate, ..turn.context() };
        if let Packet::Subscribe(_) | Packet::Unsubscribe(_) = packet {
            if let Some(left) = FiltersLeft::of(packet, over_rate) {
                self.attachment.pause = Some(Box::new(Pause::Filters(left)));
            }
            self.subscribe(packet, over_rate, turn);
        } else {
            let before = turn.work.looks();
            self.run(Input::Packet(packet), &cx, turn);
            let looks = turn.work.looks() - before;
            if looks >= PUBLISH_LOOKS {
                self.charge(Load::Publish(0), looks / PUBLISH_LOOKS, turn.now);
            }
        }
        self.answer_at_once(&cx, turn);
    }

    /// What a packet of the client cost beyond an ordinary one counts in its rates, if it has any.
    #[cold]
    pub(super) fn charge(&mut self, load: Load, packets: usize, now: Time) {
        if let Some(limits) = self.attachment.limits_mut() {
            limits.charge(load, packets as u64, now);
        }
    }

    /// Writes a packet; `false` if it does not fit.
    pub fn send(&mut self, packet: &Packet<'_>, scratch: &mut Scratch) -> bool {
        self.attachment.send(packet, scratch)
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
        if self.attachment.awaited().is_some() {
            self.give_overdue_away(turn);
        }
        let coalesce = turn.settings.linger_max();
        if self.coalesces(coalesce, turn.now) {
            return false;
        }
        if self.has_nothing_to_take() {
            self.session.forget_revoked();
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

    /// Whether what waits for the client waits a little longer, so that one write takes more.
    fn coalesces(&mut self, most: Duration, now: Time) -> bool {
        if most.is_zero() {
            return false;
        }
        self.attachment.flow.get_or_insert_default().coalesce.coalesces(most, now)
    }

    /// The client was given something. Where its window is full, more of it than the next write waits
    /// already.
    fn note_given(&mut self, most: Duration, turn: &Turn<'_>) {
        if most.is_zero() {
            return;
        }
        let room = self.session.room(&turn.context(), turn.pressure.level(), 1);
        if room.window > 0 {
            self.attachment.flow.get_or_insert_default().coalesce.note_given(turn.now);
        }
    }

    /// CONNACK waits for the store: nothing is taken, but another claimant is heard. After
    /// `limits.connect_timeout` CONNECT is refused.
    fn await_greeting(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        if let Some(Pause::Greeting { until, .. }) = self.attachment.pause.as_deref()
            && *until <= turn.now
        {
            self.attachment.closing = Some(Reason::ServerBusy);
        }
        let Scratch { drained, wakers, settings, .. } = &mut *turn.scratch;
        let attachment = &mut self.attachment;
        let queue = settings.queue();
        let ask = Ask::nothing(waker, queue);
        let taken = attachment.mailbox.take(&ask, &mut attachment.settled, drained, wakers);
        let notices = taken.notices();
        if let Some(reason) = notices.kick() {
            self.kicked(reason, notices);
        }
        if notices.reclassify() {
            self.look_again(turn);
        }
        if notices.asks() {
            self.answer_enquiries(turn);
        }
    }

    /// It is told to close; its Session ends with it, if that is said too.
    pub(super) fn kicked(&mut self, reason: Reason, notices: Notices) {
        self.attachment.closing = Some(reason);
        if notices.ends() {
            self.session.end_with_connection();
        }
    }

    pub(super) fn run(&mut self, input: Input<'_>, cx: &Context<'_>, turn: &mut Turn<'_>) {
        let Live { session, attachment } = self;
        session.handle(input, cx, &mut |action| attachment.carry_out(action, turn));
    }

    /// Subscriptions of one packet enter the tree in one moment.
    pub(super) fn carry_out_changes(&mut self, turn: &mut Turn<'_>) {
        if turn.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut turn.changes);
        turn.work.add(changes.len() * CHANGE_COPIES, 0);
        let subscriptions = || changes.iter().filter_map(RouteChange::subscription);
        let filters = subscriptions().map(|(filter, ..)| filter.pattern());
        let own: Vec<_> = filters.filter(|filter| filter.starts_with("$SYS")).collect();
        let of_sys = !own.is_empty();
        if of_sys {
            turn.broker.refresh_sys(&own, turn);
            // What is retained is there before the Subscription looks; and nothing is pushed before
            // the store has it.
            let receipt = turn.commit();
            self.after_flush(receipt, None, turn);
        }
        let subscriber = Subscriber::new(self.attachment.id(), &self.attachment.mailbox);
        let subscriber = subscriber.lasting(self.session.lasts()).connected(true);
        let gone = changes.iter().filter_map(RouteChange::unsubscribed);
        turn.broker.leave_logs(self.attachment.id(), gone);
        let memberships = &mut self.attachment.memberships;
        let moment = turn.broker.change_routes(&subscriber, &changes, memberships, turn);
        let (cx, now) = (turn.context(), turn.now);
        let retained = turn.broker.0.router.retained();
        let Live { session, attachment } = self;
        let mut steps = LOOK_MAX;
        let look = |cursor: &mut Cursor| retained.is_at_end(cursor, &mut steps, now);
        let out = &mut |action: Action<'_>| attachment.carry_out(action, turn);
        session.subscribed(subscriptions(), moment, &cx, look, out);
        if !self.session.replays().is_empty() {
            self.begin_replays(turn);
        }
        turn.keep_changes(changes);
        if of_sys && !turn.batch.is_empty() {
            // SUBACK promises this too.
            let receipt = turn.commit();
            self.note_newest(receipt);
            if let Some(queue) = &mut self.attachment.queue {
                queue.last_waits_for(receipt);
            }
        }
    }
}
