//! Ingress limits of one client: whether its next packet may be looked at, by its own rate and by
//! those it shares with others.
//!
//! Asked before a packet is looked at: what must wait is left unread, so nothing has happened. Only
//! PUBLISH and SUBSCRIBE are limited: whatever comes before them is handled.

use std::sync::Arc;

use super::attachment::Pause;
use super::live::Live;
use crate::broker::metrics::Counter;
use crate::broker::pools::Pool;
use crate::broker::turn::Turn;
use crate::codec::{Packet, QoS, Version};
use crate::config::{Excess, Ingress};
use crate::shape::{Intake, Load};
use crate::time::Time;

/// The limits of one client.
#[derive(Debug, Default)]
pub(super) struct Limits {
    own: Option<Intake>,
    /// Those of its listener and of its address.
    shared: Vec<Arc<Pool>>,
    /// The packet that is next has its tokens, those that are to come too.
    booked: Option<Booking>,
}

/// Tokens that were taken for a packet, and when the last of them will have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Booking {
    load: Load,
    due: Time,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It is handled.
    Admit,
    /// It is handled as one beyond the rate.
    Refuse,
    /// It waits, unread.
    Wait,
    /// Its sender is disconnected.
    Disconnect,
}

impl Limits {
    /// None where nothing is limited. `kept` are buckets it had before, `booked` what the packet that is
    /// next has taken from them.
    pub fn new(
        ingress: &Ingress,
        shared: Vec<Arc<Pool>>,
        kept: Option<Intake>,
        booked: Option<Booking>,
        now: Time,
    ) -> Option<Box<Limits>> {
        let own = match (kept, Intake::new(ingress)) {
            (Some(mut kept), Some(_)) => {
                kept.set(ingress, now);
                Some(kept)
            }
            (_, fresh) => fresh,
        };
        let some = own.is_some() || !shared.is_empty();
        some.then(|| Box::new(Limits { own, shared, booked }))
    }

    /// Its own buckets, to be kept.
    pub fn into_own(self) -> Option<Intake> {
        self.own
    }

    /// The packet that waits gives its tokens back: it asks again, or is lost with its connection. One
    /// whose tokens have come keeps them.
    pub fn give_back(&mut self, now: Time) {
        let Some(Booking { load, .. }) = self.booked.take_if(|booked| booked.due > now) else {
            return;
        };
        self.own.iter_mut().for_each(|own| own.give_back(load));
        self.shared.iter().for_each(|pool| pool.give_back(load));
    }

    /// What the packet that is next has taken.
    pub fn booked(&self) -> Option<Booking> {
        self.booked
    }

    /// The packet that had its tokens is handled.
    pub fn use_up(&mut self) {
        self.booked = None;
    }

    /// Whether a packet may be looked at, and if not, from when on. The strictest that is asked for
    /// happens; but what can only wait takes its place in every queue.
    fn ask(&mut self, load: Load, refusable: bool, now: Time) -> Result<(), NotAdmitted> {
        let due = match self.booked {
            Some(Booking { due, .. }) => due,
            None => {
                self.judge(load, refusable, now)?;
                let own = self.own.as_mut().map(|own| own.book(load, now));
                let shared = self.shared.iter().map(|pool| pool.book(load, now)).max();
                let due = own.max(shared).unwrap_or(Time::START);
                self.booked = Some(Booking { load, due });
                if due > now {
                    return Err(NotAdmitted::Wait { until: due, new: true });
                }
                due
            }
        };
        if due > now { Err(NotAdmitted::Wait { until: due, new: false }) } else { Ok(()) }
    }

    fn judge(&self, load: Load, refusable: bool, now: Time) -> Result<(), NotAdmitted> {
        let own = self.own.as_ref().filter(|own| own.is_over(load, now)).map(Intake::action);
        let shared = self.shared.iter().filter_map(|pool| pool.excess(load, now));
        let mut refused = false;
        for action in own.into_iter().chain(shared) {
            match action {
                Excess::Disconnect => return Err(NotAdmitted::Close),
                Excess::Reject => refused |= refusable,
                Excess::Pause => {}
            }
        }
        if refused { Err(NotAdmitted::Refuse) } else { Ok(()) }
    }
}

/// Why a packet is not looked at.
enum NotAdmitted {
    Wait { until: Time, new: bool },
    Refuse,
    Close,
}

impl Live {
    /// What becomes of the client's next packet, of `len` bytes: its rate, what it may bring in while the
    /// broker is pressed, and room in the store.
    #[inline]
    pub(super) fn admission(
        &mut self,
        packet: &Packet<'_>,
        len: usize,
        turn: &mut Turn<'_>,
    ) -> Admission {
        let load = match packet {
            Packet::Publish(_) => Load::Publish(len),
            Packet::Subscribe(_) => Load::Subscribe,
            _ => return Admission::Admit,
        };
        match self.by_rate(packet, load, turn) {
            Admission::Admit => {}
            closed => return closed,
        }
        let Packet::Publish(publish) = packet else { return Admission::Admit };
        if self.is_over_overload_limit(turn) || !self.has_room(publish, len, turn) {
            return Admission::Wait;
        }
        self.count_for_overload_limit(len, turn);
        Admission::Admit
    }

    #[inline]
    fn by_rate(&mut self, packet: &Packet<'_>, load: Load, turn: &Turn<'_>) -> Admission {
        if self.attachment.flow.is_none() {
            return Admission::Admit;
        }
        self.ask_rate(packet, load, turn)
    }

    fn ask_rate(&mut self, packet: &Packet<'_>, load: Load, turn: &Turn<'_>) -> Admission {
        let (metrics, now) = (turn.broker.metrics(), turn.now);
        let v5 = self.attachment.version == Version::V5;
        let Some(limits) = self.attachment.limits_mut() else { return Admission::Admit };
        let qos0 = matches!(packet, Packet::Publish(publish) if publish.qos == QoS::AtMostOnce);
        // An older client can be refused a Subscription, but no PUBLISH [MQTT311-3.3.5-2].
        let refusable = v5 || qos0 || load == Load::Subscribe;
        match limits.ask(load, refusable, now) {
            Ok(()) => Admission::Admit,
            Err(NotAdmitted::Wait { until, new }) => {
                metrics.add(Counter::RatePauses, u64::from(new));
                self.attachment.pause = Some(Box::new(Pause::Rate { until }));
                Admission::Wait
            }
            Err(NotAdmitted::Refuse) => {
                // At `QoS` 0 the Session knows the topic, and says that it is dropped.
                metrics.add(Counter::RateRefused, u64::from(!qos0));
                Admission::Refuse
            }
            Err(NotAdmitted::Close) => {
                metrics.add(Counter::RateDisconnects, 1);
                Admission::Disconnect
            }
        }
    }
}
