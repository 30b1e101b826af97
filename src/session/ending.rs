//! The end of a connection, with the Will that it publishes or leaves behind, and the end of the
//! Session.

use std::sync::Arc;
use std::time::Duration;

use super::window::{FlightStage, Window};
use super::{Action, Context, CopyEnd, EndedCopy, Op, Session, WillMessage};
use crate::message::{GroupId, Loss};
use crate::time::Time;

/// How a Network Connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// DISCONNECT 0x00: the Will is deleted `[MQTT5-3.14.4-3]`.
    Normal,
    /// DISCONNECT with another reason: the Will is published, now or after its delay `[MQTT5-3.1.2-8]`.
    WithWill,
    /// Anything else: so is the Will, and what a named queue has sent and is not answered has failed.
    Abrupt,
}

/// What becomes of a message of a group that a member has not acknowledged when its connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parting {
    /// It stays with the Session, if that lasts.
    Stays,
    /// It is given back to the group.
    Back,
    /// This attempt at it has failed.
    Failed,
}

impl Session {
    /// Sets the Will of this connection, or that it has none: an older one is gone
    /// `[MQTT5-3.1.2-7]`.
    pub fn set_will(
        &mut self,
        will: Option<WillMessage>,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let had = self.will.is_some();
        self.will = will.map(Arc::new);
        match &self.will {
            Some(will) => {
                let op = Op::Will(will.clone(), self.identity.clone());
                self.remember_will(cx, out, op);
            }
            None if had => self.remember_will(cx, out, Op::WillGone),
            None => {}
        }
    }

    /// What the Will says is in the store, and stays there alone: its client is away. `false`: it has none
    /// that is worth it.
    pub fn store_will(&mut self, is_kept: impl FnOnce() -> bool) -> bool {
        let worth = self.will.as_ref().filter(|will| will.is_worth_storing());
        let stored = worth.filter(|_| is_kept()).map(|will| Arc::new(will.stored()));
        let is_stored = stored.is_some();
        if is_stored {
            self.will = stored;
        }
        is_stored
    }

    /// Takes the Will out; the caller publishes it.
    pub fn take_will(&mut self) -> Option<Arc<WillMessage>> {
        self.will.take()
    }

    /// Forgets the Will without publishing it.
    pub fn forget_will(&mut self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>)) {
        if self.will.take().is_some() {
            self.remember_will(cx, out, Op::WillGone);
        }
    }

    /// Its Will.
    pub fn will(&self) -> Option<&Arc<WillMessage>> {
        self.will.as_ref()
    }

    /// Bytes of its Will, wherever they are; 0 without one.
    pub fn will_bytes(&self) -> usize {
        self.will.as_ref().map_or(0, |will| will.bytes())
    }

    /// Whether a Will is kept.
    pub fn has_will(&self) -> bool {
        self.will.is_some()
    }

    /// CONNECT is refused after all: the Session has the Will and the Session Expiry Interval again that it
    /// had before.
    pub fn put_back(
        &mut self,
        will: Option<Arc<WillMessage>>,
        expiry: u32,
        cx: &Context<'_>,
        out: &mut impl FnMut(Action<'_>),
    ) {
        let refused = std::mem::replace(&mut self.terms.expiry, expiry);
        self.remember_expiry(refused, cx, out);
        let Some(will) = will else { return self.forget_will(cx, out) };
        self.will = Some(will.clone());
        let op = Op::Will(will, self.identity.clone());
        self.remember_will(cx, out, op);
    }

    /// The Session does not outlive its connection any more.
    pub fn end_with_connection(&mut self) {
        self.terms.expiry = 0;
    }

    /// The connection is gone: the Will is published now, or kept for later, or deleted. Returns
    /// when a kept Will is due.
    ///
    /// - `left`: what becomes of what this member of a group was sent on this connection (or not yet) and has not
    ///   acknowledged.
    pub fn hang_up(
        &mut self,
        cx: &Context<'_>,
        mut left: impl FnMut(GroupId, bool) -> Parting,
        out: &mut impl FnMut(Action<'_>),
    ) -> Option<Time> {
        // They end with the connection [MQTT5-3.3.2-7]; a Session without one may stay for long.
        self.aliases = None;
        let ends = self.terms.expiry == 0;
        if !ends {
            self.note_places(cx, out);
        }
        let abrupt = self.end == End::Abrupt;
        let back = self.window.take_shared(|group, sent| match left(group, sent && abrupt) {
            Parting::Stays if !ends => None,
            left => Some(left == Parting::Failed),
        });
        for (packet_id, delivery, failed) in back {
            self.remember(cx, out, || Op::Done { packet_id });
            match failed {
                false => out(Action::Return(delivery)),
                true => {
                    let copy = EndedCopy::new(&delivery);
                    out(Action::Ended { copy, end: CopyEnd::Unanswered });
                }
            }
        }
        if self.end == End::Normal {
            self.forget_will(cx, out);
            return None;
        }
        let delay = self.will.as_ref()?.delay.min(self.terms.expiry);
        if delay == 0 {
            if let Some(will) = self.will.take() {
                out(Action::WillDue(will));
            }
            self.remember_will(cx, out, Op::WillGone);
            return None;
        }
        Some(cx.now.after(Duration::from_secs(delay.into())))
    }

    /// The Session itself ends: everything in flight is lost for the reason `loss`, and every
    /// remembered fact is deleted.
    pub fn end(&mut self, loss: Loss, out: &mut impl FnMut(Action<'_>)) {
        if self.remembered {
            for flight in self.window.flights() {
                out(Action::Remember(Op::Done { packet_id: flight.packet_id }));
            }
            for packet_id in self.received.iter() {
                out(Action::Remember(Op::Forgotten { packet_id }));
            }
            for (filter, _) in self.subscriptions.iter() {
                out(Action::Remember(Op::Unsubscribed { filter: filter.clone() }));
            }
            out(Action::Remember(Op::Ended));
        }
        for (_, delivery, ()) in self.window.take_shared(|_, _| Some(())) {
            out(Action::Return(delivery));
        }
        for flight in self.window.flights() {
            let copy = match &flight.state {
                FlightStage::Sent(delivery) => EndedCopy::new(delivery),
                FlightStage::Released { lost: true, .. } | FlightStage::GivenAway(..) => continue,
                FlightStage::Released { group, mid, lost: false } => {
                    EndedCopy::released(*group, *mid)
                }
            };
            out(Action::Ended { copy, end: CopyEnd::Lost(loss) });
        }
        self.window = Window::default();
    }

    /// Remembers a Will, or that it is gone, also of a Session that does not last: a crash ends all
    /// connections abruptly, and their Wills are due then.
    fn remember_will(&self, cx: &Context<'_>, out: &mut impl FnMut(Action<'_>), op: Op) {
        if cx.remembers {
            out(Action::Remember(op));
        }
    }
}
