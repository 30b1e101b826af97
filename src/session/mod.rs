//! The protocol of one client: it is told what happened, and answers with what should be done.
//!
//! A [`Session`] has exactly one owner, never waits, never fails: a broken rule is
//! [`Action::Close`]. After every input the owner carries out every action, in order. A Session reads
//! no clock and no socket: the time is in the [`Context`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use sluicemq::codec::{Connect, Packet, Publish, Reason};
//! use sluicemq::config::Config;
//! use sluicemq::message::{ClientId, Identity, Meter, SessionId};
//! use sluicemq::session::{
//!     Access, Action, Asked, Context, Decision, Groups, Input, Policy, Session, connect,
//! };
//! use sluicemq::time::Time;
//! use sluicemq::topic::TopicFilter;
//!
//! struct All;
//! impl Access for All {
//!     fn may(&self, _: &Identity, _: &Asked<'_>) -> Decision { Decision::ALLOWED }
//! }
//! impl Groups for All {
//!     fn exists(&self, _: &TopicFilter) -> bool { false }
//! }
//!
//! let config = Config::default();
//! let policy = Policy::new(&config.limits, &config.session);
//! let now = Time::from_secs(1_000);
//! let mut cx = Context {
//!     now,
//!     policy: &policy,
//!     access: &All,
//!     subscriptions_free: 10,
//!     filters_free: 10,
//!     groups_free: 10,
//!     groups: &All,
//!     remembers: false,
//!     over_rate: false,
//!     store_refuses: None,
//!     session: SessionId::new(1),
//! };
//! let connect = Connect { client_id: "c", keep_alive: 60, ..Connect::default() };
//! let terms = connect::negotiate(&connect, &policy).expect("nothing to refuse");
//! let identity = Identity::new(ClientId::new("c"), None, Meter::forever());
//! let mut session = Session::new(Arc::new(identity), terms, now);
//!
//! // A PUBLISH of QoS 0 is routed.
//! let publish = Packet::Publish(Publish { topic: "a/b", payload: b"hello", ..Publish::default() });
//! let mut routed = Vec::new();
//! session.handle(Input::Packet(&publish), &cx, &mut |action| {
//!     if let Action::Publish { draft, .. } = action {
//!         routed.push(draft.topic.as_str().to_owned());
//!     }
//! });
//! assert_eq!(routed, ["a/b"]);
//!
//! // Silence for one and a half Keep Alives: the deadline has come.
//! cx.now = session.deadline().expect("it has a Keep Alive");
//! let mut closed = None;
//! session.handle(Input::Tick, &cx, &mut |action| {
//!     if let Action::Close { reason, .. } = action {
//!         closed = Some(reason);
//!     }
//! });
//! assert_eq!(closed, Some(Reason::KeepAliveTimeout));
//! ```

mod access;
mod action;
pub mod alias;
pub mod connect;
mod context;
mod cursors;
mod ended;
mod ending;
mod inbound;
mod outbound;
pub mod record;
mod replay;
mod replaying;
mod review;
mod subscribe;
mod subscription;
mod subscriptions;
mod unreleased;
mod violation;
pub mod will;
mod will_meter;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Disconnect, Packet, PacketId, Properties, Reason, Version};
use crate::message::{GroupId, Identity};
use crate::time::Time;
use crate::topic::TopicFilter;

pub use access::{Access, Asked, Decision};
pub use action::{Action, Count, Input};
pub use connect::{Terms, is_bridge_state, reserved};
pub use context::{Context, Groups, Policy};
pub use cursors::{Cursor, Owed, RetainedMoment};
pub use ended::{CopyEnd, EndedCopy};
pub use ending::{End, Parting};
pub use record::{Op, Record};
pub use replay::{LogPlace, LogStart, Replay, ReplayPlace, log_of};
pub use subscription::Subscription;
pub use will::WillMessage;
pub use will_meter::WillMeter;

use violation::Violation;

type PacketResult = Result<(), Violation>;

/// What a client may be sent now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Room {
    /// `QoS` 1 and 2 messages; `QoS` 0 needs no slot.
    pub window: usize,
    /// Bytes, about.
    pub bytes: usize,
}

/// One client's Session: Subscriptions, what is in flight both ways, the Will.
#[derive(Debug)]
pub struct Session {
    identity: Arc<Identity>,
    terms: Terms,
    /// When the last whole packet came in.
    heard: Time,
    /// When its connection began, in seconds since the epoch.
    since_s: u32,
    subscriptions: subscriptions::Subscriptions,
    window: window::Window,
    /// `QoS` 2 identifiers received and not yet released.
    received: unreleased::Unreleased,
    /// PUBLISHes of `QoS` 1 that still await their PUBACK.
    owed_qos1: u32,
    /// PUBLISHes of `QoS` 2 that still await their PUBREC.
    owed_qos2: u32,
    /// Made when the first Topic Alias is.
    aliases: Option<Box<alias::Aliases>>,
    cursors: cursors::Cursors,
    will: Option<Arc<WillMessage>>,
    end: End,
    /// The store knows of it.
    remembered: bool,
    /// It was restored, and something may wait because of a Subscription that was revoked before.
    restored: bool,
}

impl Session {
    /// A new Session under `terms`.
    pub fn new(identity: Arc<Identity>, terms: Terms, now: Time) -> Session {
        Session {
            identity,
            terms,
            heard: now,
            since_s: seconds(now),
            subscriptions: subscriptions::Subscriptions::default(),
            window: window::Window::default(),
            received: unreleased::Unreleased::default(),
            owed_qos1: 0,
            owed_qos2: 0,
            aliases: None,
            cursors: cursors::Cursors::default(),
            will: None,
            end: End::Abrupt,
            remembered: false,
            restored: false,
        }
    }

    /// A Session as it was when the broker stopped, without a connection.
    pub fn restore(record: Record) -> Session {
        let Record {
            identity, expiry, parked, subscriptions, owed, flights, received, will, ..
        } = record;
        let mut session = Session::new(identity, Terms::parked(expiry), Time::START);
        for (filter, subscription) in subscriptions {
            if filter.replay().is_some() {
                let owed = owed.iter().find(|(owing, _)| *owing == filter);
                let behind = owed.and_then(|(_, owed)| owed.after.as_deref());
                let replay = replay::Replay::restore(&filter, &subscription, behind);
                replay.into_iter().for_each(|replay| session.cursors.set_replay(replay));
            }
            session.subscriptions.insert(filter, subscription);
        }
        for (filter, owed) in owed {
            if filter.replay().is_none()
                && let Some(Subscription { options, id }) = session.subscriptions.get(&filter)
            {
                let parked = parked.is_some();
                session.cursors.open(Cursor::restore(filter, options.qos, id, owed, parked));
            }
        }
        session.window = window::Window::restore(flights);
        session.received = received.into_iter().collect();
        session.will = will;
        session.remembered = true;
        session.restored = true;
        session
    }

    /// Remembers the Session's expiry, if the store has another one: `before`.
    pub fn remember_expiry(
        &mut self,
        before: u32,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let expiry = self.terms.expiry;
        if cx.remembers && expiry != before {
            self.remembered = true;
            let identity = self.identity.clone();
            out(Action::Remember(Op::Session { identity, expiry }));
        }
    }

    /// The Session goes on with a new connection under new terms `[MQTT5-3.1.2-5]`. Aliases and
    /// windows of the old connection are gone, what is in flight awaits its resend
    /// `[MQTT5-4.4.0-1]`.
    pub fn resume(&mut self, terms: Terms, now: Time) {
        self.terms = terms;
        self.heard = now;
        self.since_s = seconds(now);
        self.window.reconnect();
        self.owed_qos1 = 0;
        self.owed_qos2 = 0;
        self.aliases = None;
        self.end = End::Abrupt;
    }

    /// Handles one input; `out` gets each action, in order.
    pub fn handle(&mut self, input: Input<'_>, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        let outcome = match input {
            Input::Packet(packet) => self.on_packet(packet, cx, out),
            Input::Deliver(delivery) => {
                self.on_deliver(delivery, cx, out);
                Ok(())
            }
            Input::Published { packet_id, qos, reason, why } => {
                self.on_published(packet_id, qos, reason, why, out);
                Ok(())
            }
            Input::Tick => self.on_tick(cx),
        };
        if let Err(Violation { reason, kind }) = outcome {
            out(Action::Close { reason, kind });
        }
    }

    /// Sends again, in order, what was in flight when the last connection ended: as much as the window
    /// allows, and at most `max` flights. Returns true when all is sent.
    pub fn resend(
        &mut self,
        max: usize,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> bool {
        self.on_resend(max, cx, out)
    }

    /// For each message in flight the group that it came from, if any.
    pub fn in_flight(&self) -> Vec<Option<GroupId>> {
        let group = |flight: &window::Flight| match &flight.state {
            window::FlightStage::Sent(delivery) => Some(delivery.group),
            window::FlightStage::Released { group, lost: false, .. } => Some(*group),
            window::FlightStage::Released { lost: true, .. }
            | window::FlightStage::GivenAway(..) => None,
        };
        self.window.flights().filter_map(group).collect()
    }

    /// Bytes of the messages in flight that are not released.
    pub fn in_flight_bytes(&self) -> u64 {
        let bytes = |flight: &window::Flight| match &flight.state {
            window::FlightStage::Sent(delivery) => delivery.message.bytes() as u64,
            window::FlightStage::Released { .. } | window::FlightStage::GivenAway(..) => 0,
        };
        self.window.flights().map(bytes).sum()
    }

    /// When [`Input::Tick`] is next needed, if ever.
    pub fn deadline(&self) -> Option<Time> {
        // One and a half times the Keep Alive [MQTT5-3.1.2-22].
        let keep_alive = Duration::from_secs(self.terms.keep_alive.into());
        (!keep_alive.is_zero()).then(|| self.heard.after(keep_alive * 3 / 2))
    }

    /// What may be taken for the client now.
    ///
    /// - `halved`: how often the window is halved, to 1 at least; what is in flight stays so.
    /// - `bytes`: how many may be written.
    pub fn room(&self, cx: &Context<'_>, halved: u8, bytes: usize) -> Room {
        Room { window: self.window.free(self.window_size(cx, halved)), bytes }
    }

    /// `QoS` 1 and 2 messages that may be in flight at once, where the window is halved so often.
    #[inline]
    pub fn window_size(&self, cx: &Context<'_>, halved: u8) -> u16 {
        (self.window_max(cx) >> halved).max(1)
    }

    /// When its connection began, to the second; of one that is away, the last one.
    pub fn connected_since(&self) -> Time {
        Time::from_secs(self.since_s.into())
    }

    /// Restarts the Keep Alive at `now`: the broker did not read until then.
    pub fn touch(&mut self, now: Time) {
        self.heard = self.heard.max(now);
    }

    /// Acknowledgements owed to the client for its PUBLISHes.
    pub fn owed(&self) -> usize {
        (self.owed_qos1 + self.owed_qos2) as usize
    }

    /// Whether the client has as many PUBLISHes open as `receive_maximum`, and the broker owes it an answer:
    /// once that has left, there may be room for the next one.
    #[inline]
    pub fn quota_is_owed(&self, receive_maximum: u16) -> bool {
        self.owed() > 0 && self.unanswered() >= receive_maximum.into()
    }

    /// Bytes of the topics of its Topic Aliases, both ways.
    #[inline]
    pub fn alias_bytes(&self) -> usize {
        self.aliases.as_ref().map_or(0, |aliases| aliases.bytes())
    }

    /// Whether something in flight still awaits its resend.
    pub fn resending(&self) -> bool {
        self.window.resending()
    }

    /// How much in flight still awaits its resend.
    pub fn awaiting_resend(&self) -> usize {
        self.window.awaiting_resend()
    }

    /// Its client.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What CONNECT agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Its Subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        self.subscriptions.iter()
    }

    /// Those behind the filter `after`, sorted by filter; all of them at `None`.
    pub fn subscriptions_after(
        &self,
        after: Option<&TopicFilter>,
    ) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        self.subscriptions.after(after)
    }

    /// How many there are.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// What is in flight to the client.
    pub fn window(&self) -> &window::Window {
        &self.window
    }

    /// `QoS` 2 identifiers received and not yet released.
    pub fn unreleased(&self) -> impl Iterator<Item = PacketId> {
        self.received.iter()
    }

    /// Whether it outlives its connection.
    pub fn lasts(&self) -> bool {
        self.terms.expiry > 0
    }

    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        self.heard = cx.now;
        match packet {
            Packet::Publish(publish) => {
                let outcome = self.on_publish(publish, cx, out);
                if outcome.is_err() {
                    out(Action::Count(Count::refused(publish, None)));
                }
                outcome
            }
            Packet::PubAck(ack) => self.on_puback(ack, cx, out),
            Packet::PubRec(ack) => self.on_pubrec(ack, cx, out),
            Packet::PubRel(ack) => {
                self.on_pubrel(ack, cx, out);
                Ok(())
            }
            Packet::PubComp(ack) => self.on_pubcomp(ack, cx, out),
            Packet::Subscribe(subscribe) => {
                self.on_subscribe(subscribe, cx, out);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe, cx, out),
            Packet::PingReq => {
                out(Action::Send { packet: &Packet::PingResp, after_ops: false });
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.on_disconnect(disconnect, cx, out),
            // A second CONNECT [MQTT5-3.1.0-2]; AUTH is the link's; the rest only servers send.
            Packet::Connect(_)
            | Packet::Auth(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => Err(Violation::of(Reason::ProtocolError)),
        }
    }

    fn on_disconnect(
        &mut self,
        disconnect: &Disconnect<'_>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) -> PacketResult {
        if let Some(expiry) = disconnect.session_expiry {
            // From nothing there is no way back [MQTT5-3.14.2.2.2].
            if self.terms.asked_expiry == 0 && expiry != 0 {
                return Err(Violation::of(Reason::ProtocolError));
            }
            let expiry = connect::capped_expiry(expiry, cx.policy);
            let before = std::mem::replace(&mut self.terms.expiry, expiry);
            self.remember_expiry(before, cx, out);
        }
        let normal = disconnect.reason == Reason::Success;
        self.end = if normal { End::Normal } else { End::WithWill };
        out(Action::Goodbye);
        Ok(())
    }

    fn on_tick(&self, cx: &Context<'_>) -> PacketResult {
        match self.deadline() {
            Some(deadline) if deadline <= cx.now => Err(Violation::of(Reason::KeepAliveTimeout)),
            _ => Ok(()),
        }
    }

    /// The window towards the client: the lower of its Receive Maximum and ours.
    fn window_max(&self, cx: &Context<'_>) -> u16 {
        self.terms.receive_maximum.min(cx.policy.session.inflight_max)
    }

    /// Remembers a fact, if the Session lasts and the store remembers. A Session that does not last
    /// any more may still have remembered facts, and their end is remembered too.
    fn remember(
        &self,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
        op: impl FnOnce() -> Op,
    ) {
        if cx.remembers && (self.lasts() || self.remembered) {
            out(Action::Remember(op()));
        }
    }

    /// The text of a refusal, if the client wants to know `[MQTT5-3.1.2-29]`.
    fn reason_string<'t>(&self, text: &'t str) -> Option<&'t str> {
        (self.terms.version == Version::V5 && self.terms.problem_information).then_some(text)
    }
}

/// Seconds since the epoch: enough until the year 2106.
fn seconds(time: Time) -> u32 {
    u32::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// An answer to an identifier with nothing but its code.
fn answer<'a>(packet_id: PacketId, reason: Reason, text: Option<&'a str>) -> crate::codec::Ack<'a> {
    crate::codec::Ack { packet_id, reason, reason_string: text, user_properties: Properties::EMPTY }
}
