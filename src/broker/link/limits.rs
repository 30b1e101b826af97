//! Ingress limits of one client: whether its next packet may be looked at, by its own rate and by
//! those it shares with others.
//!
//! Asked before a packet is looked at: what must wait is left unread, so nothing has happened. Only
//! PUBLISH and SUBSCRIBE are limited: whatever comes before them is handled.

use std::sync::Arc;

use crate::broker::pools::Pool;
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

    /// The packet that waits gives its tokens back: it asks again, or is lost with its connection. A
    /// packet that has its tokens keeps them.
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

    /// A packet was handled that cost as much as so many more.
    pub fn charge(&mut self, load: Load, packets: u64, now: Time) {
        self.own.iter_mut().for_each(|own| own.charge(load, packets, now));
        self.shared.iter().for_each(|pool| pool.charge(load, packets, now));
    }

    /// The packet that had its tokens is handled.
    pub fn use_up(&mut self) {
        self.booked = None;
    }

    /// Whether a packet may be looked at, and if not, from when on. The strictest that is asked for
    /// happens; but what can only wait takes its place in every queue.
    pub fn ask(&mut self, load: Load, refusable: bool, now: Time) -> Result<(), NotAdmitted> {
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
pub(super) enum NotAdmitted {
    Wait { until: Time, new: bool },
    Refuse,
    Close,
}
