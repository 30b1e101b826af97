//! A client that is held up: what stands behind the packet that waits.
//!
//! Packets are handled in the order of sending, so what is behind one that waits, waits too. But a client
//! whose ping is not answered hangs up, comes back and sends everything again. So a little is read on,
//! and framed, nothing more: each PINGREQ there is answered ahead of its turn. That is allowed: the
//! standard orders acknowledgements among themselves [MQTT5-4.6.0-2], and PINGRESP with nothing. What
//! else is there, right or wrong, is judged in its turn.

use super::{Link, Phase, State};
use crate::broker::Broker;
use crate::broker::turn::Scratch;
use crate::codec::{self, Glance, Packet};

/// While less than this waits behind the packet that is held up, more is read; so a ping behind no more
/// than this is answered.
const AHEAD_LOW: usize = 8 * 1024;
/// So much waits there at most. One read is as much, so a connection that is held up owns no more than
/// it did when it was.
const AHEAD_MAX: usize = 16 * 1024;

impl Link {
    /// How many bytes more may be read while the link is held up and `waiting` is not consumed. `None`
    /// where it does not look ahead: then only [`Link::poll`] says when to read.
    pub fn room_ahead(&self, waiting: &[u8]) -> Option<usize> {
        if !self.state.looks_ahead() {
            return None;
        }
        let front = self.state.glances(waiting, &self.broker).next().map_or(0, |(_, len)| len);
        let behind = waiting.len() - front;
        Some(if behind < AHEAD_LOW { AHEAD_MAX - behind } else { 0 })
    }

    /// Looks over `waiting` and answers each PINGREQ that has no answer yet. `false` if it does not look
    /// ahead.
    pub fn look_ahead(&mut self, waiting: &[u8], scratch: &mut Scratch) -> bool {
        if !self.state.looks_ahead() {
            return false;
        }
        self.state.unread |= !waiting.is_empty();
        // Nothing behind its DISCONNECT is answered.
        let heard = self
            .state
            .glances(waiting, &self.broker)
            .take_while(|(glance, _)| *glance != Glance::Disconnect);
        let pings = heard.filter(|(glance, _)| *glance == Glance::PingReq).count();
        let pings = u32::try_from(pings).unwrap_or(u32::MAX);
        let Phase::Live(live) = &mut self.state.phase else { return false };
        for _ in self.state.answered_ahead..pings {
            live.send(&Packet::PingResp, scratch);
        }
        self.state.answered_ahead = self.state.answered_ahead.max(pings);
        true
    }

    /// The stream has ended while the link is held up, in order or `broken`: whether what waits is still
    /// to be handled. The end comes after what was sent before it, and so does the Will. But a broken
    /// connection ends at once, if its client had not said goodbye: what it sent was not acknowledged.
    pub fn outlives(&mut self, waiting: &[u8], broken: bool) -> bool {
        let counts = |glance| match glance {
            Glance::PingReq => false,
            Glance::Disconnect => true,
            Glance::Other => !broken,
        };
        let outlives = self.state.glances(waiting, &self.broker).any(|(glance, _)| counts(glance));
        self.state.unread |= outlives;
        let is_serving =
            matches!(&self.state.phase, Phase::Live(live) if live.is_serving_filters());
        outlives || (is_serving && !broken)
    }
}

impl State {
    /// Whole packets at the front of `waiting`, up to the first that is seen to be wrong.
    fn glances<'w>(
        &self,
        waiting: &'w [u8],
        broker: &Broker,
    ) -> impl Iterator<Item = (Glance, usize)> + use<'w> {
        let version = self.version;
        let packet_max = self.limits(broker).packet_max;
        let mut rest = waiting;
        std::iter::from_fn(move || {
            let (glance, len) = codec::glance(rest, version, packet_max)?;
            rest = &rest[len..];
            Some((glance, len))
        })
    }

    /// Whether CONNACK has left: nothing goes before it. While CONNECT is checked elsewhere, only the end of
    /// the connection is looked for.
    fn looks_ahead(&self) -> bool {
        match &self.phase {
            Phase::Live(live) => live.greeted(),
            Phase::Opening(opening) => opening.is_checked(),
            Phase::Connect(..) | Phase::Closed => false,
        }
    }
}
