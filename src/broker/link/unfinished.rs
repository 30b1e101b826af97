//! A connection that is closed for what it holds: a packet that does not come whole, bytes that are
//! not taken.

use tracing::info;

use super::{Link, Phase};
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::codec::Reason;
use crate::time::Time;

/// Why a connection is closed for what it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfinished {
    /// A packet that has begun has not come whole in time: `limits.packet_timeout`.
    Packet,
    /// All connections together hold too much, and this one has stood still for longest:
    /// `totals.connection_bytes_max`.
    Memory,
}

impl Link {
    /// A good part of a long packet has come: its sender is not silent, though the packet is not whole.
    pub fn hear_part(&mut self, now: Time) {
        if let Phase::Live(live) = &mut self.state.phase {
            live.touch(now);
        }
    }

    /// Closes the connection for what it holds, which are `held` bytes; the Session stays, if it lasts.
    pub fn close_unfinished(
        &mut self,
        why: Unfinished,
        held: usize,
        now: Time,
        scratch: &mut Scratch,
    ) {
        let (reason, counter, key, limit) = self.terms_of(why);
        let address: &dyn std::fmt::Display = match &self.state.phase {
            Phase::Connect(peer, _) => &peer.address,
            Phase::Opening(opening) => opening.origin(),
            Phase::Live(live) => &live.attachment.origin,
            Phase::Closed => return,
        };
        let client = self.state.live().map_or("", |live| live.client_id().as_str());
        info!(client, %address, reason = reason.name(), held, limit, key, "closed for what it holds");
        self.broker.metrics().add(counter, 1);
        self.close(reason, now, scratch);
    }

    fn terms_of(&self, why: Unfinished) -> (Reason, Counter, &'static str, String) {
        let broker = &self.broker;
        match why {
            Unfinished::Packet => {
                let limit = broker.policy().limits.packet_timeout.to_string();
                // The nearest word there is: it has been silent within a packet.
                (Reason::KeepAliveTimeout, Counter::PacketsLate, "limits.packet_timeout", limit)
            }
            Unfinished::Memory => {
                let limit = broker.buffers().max().to_string();
                (Reason::QuotaExceeded, Counter::RoomMade, "totals.connection_bytes_max", limit)
            }
        }
    }
}
