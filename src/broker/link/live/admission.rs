//! Whether the client's next packet may be looked at, and the end of a pause.

use std::task::Waker;

use super::Live;
use crate::broker::link::limits::{Admission, NotAdmitted};
use crate::broker::link::pause::Pause;
use crate::broker::metrics::Counter;
use crate::broker::ports::Refused;
use crate::broker::turn::Turn;
use crate::codec::{Packet, Publish, QoS, Version};
use crate::shape::Load;

impl Live {
    /// What becomes of the client's next packet, of `len` bytes: its rate, what it may bring in while the
    /// broker is pressed, and room in the store.
    #[inline]
    pub fn admission(&mut self, packet: &Packet<'_>, len: usize, turn: &mut Turn<'_>) -> Admission {
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
                // At `QoS` 0 `Broker::publish` knows the topic, and counts that it is dropped.
                metrics.add(Counter::RateRefused, u64::from(!qos0));
                Admission::Refuse
            }
            Err(NotAdmitted::Close) => {
                metrics.add(Counter::RateDisconnects, 1);
                Admission::Disconnect
            }
        }
    }

    /// Whether the store has room for a PUBLISH of so many bytes: asked before it is looked at, so
    /// that one that must wait is left unread, and nothing has happened.
    fn has_room(&mut self, publish: &Publish<'_>, len: usize, turn: &mut Turn<'_>) -> bool {
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
            Refused::Full | Refused::Trouble => self.attachment.version != Version::V5,
            Refused::Failed => false,
        }
    }

    /// Ends a pause that has no reason any more.
    pub(super) fn poll_pause(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let over = match self.attachment.pause.as_deref_mut() {
            None => return,
            Some(Pause::Filters(_)) => return self.serve_filters(waker, turn),
            Some(Pause::Store) => {
                let room = turn.broker.0.ports.store.room(waker);
                !room.is_err_and(|why| self.waits_for(why))
            }
            Some(Pause::Rate { until } | Pause::Overload { until }) => *until <= turn.now,
            // It ends with CONNACK.
            Some(Pause::Greeting { .. }) => false,
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
            // The silence of the client was not its own: nothing was read from it.
            self.session.touch(turn.now);
        }
    }
}
