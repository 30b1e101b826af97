//! A connection that is closed for what it holds: a packet that does not come whole, bytes that are
//! not taken.

use super::live::Live;
use super::{Link, Phase};
use crate::broker::RefusalNote;
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::codec::Reason;
use crate::message::{Grounds, RefusalKind};
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

/// Topic Aliases of up to so many bytes are not counted: a client that rests may keep them.
const ALIASES_FREE: usize = 4096;

impl Link {
    /// A good part of a long packet has come: its sender is not silent, though the packet is not whole.
    pub fn hear_part(&mut self, now: Time) {
        if let Phase::Live(live) = &mut self.state.phase {
            live.touch(now);
        }
    }

    /// Bytes that it holds of a packet which is served in more than one turn.
    #[inline]
    pub fn served_bytes(&self) -> usize {
        self.state.live().map_or(0, Live::filters_bytes)
    }

    /// Bytes of the topics of its Topic Aliases, if they are many.
    #[inline]
    pub fn alias_bytes(&self) -> usize {
        let bytes = self.state.live().map_or(0, |live| live.session.alias_bytes());
        if bytes > ALIASES_FREE { bytes } else { 0 }
    }

    /// Whether it may be turned away when all hold too much: before its CONNECT, and when it has many
    /// Topic Aliases. Another one waits with its packet until there is room.
    pub fn may_be_turned_away(&self) -> bool {
        self.state.live().is_none() || self.alias_bytes() > 0
    }

    /// Closes the connection for what it holds, which are `held` bytes; the Session stays, if it lasts.
    pub fn close_unfinished(
        &mut self,
        why: Unfinished,
        held: usize,
        now: Time,
        scratch: &mut Scratch,
    ) {
        if self.is_closed() {
            return;
        }
        let (reason, counter, grounds) = self.terms_of(why, held);
        let held = format!("{held} bytes are held");
        self.note_refusal(&RefusalNote::new(grounds).why(&held), now);
        self.broker.metrics().add(counter, 1);
        self.close(reason, now, scratch);
    }

    /// Says that something is refused to its peer, by what carries its bytes.
    pub fn note_refusal(&self, note: &RefusalNote<'_>, now: Time) {
        let peer = match &self.state.phase {
            Phase::Connect(peer, _) => peer.peer(),
            Phase::Opening(opening) => opening.peer(),
            Phase::Live(live) => live.attachment.peer(),
            Phase::Closed => return,
        };
        self.broker.note_refusal(note, &peer, now);
    }

    fn terms_of(&self, why: Unfinished, held: usize) -> (Reason, Counter, Grounds) {
        let broker = &self.broker;
        match why {
            Unfinished::Packet => {
                let limit = broker.policy().limits.packet_timeout.0.as_secs();
                let grounds = Grounds::limit(RefusalKind::PacketTimeout, limit, limit);
                // The nearest word there is: it has been silent within a packet.
                (Reason::KeepAliveTimeout, Counter::PacketsLate, grounds)
            }
            Unfinished::Memory => {
                let (max, held) = (broker.buffers().max(), held as u64);
                let grounds = Grounds::limit(RefusalKind::ConnectionBytes, max, held);
                (Reason::QuotaExceeded, Counter::RoomMade, grounds)
            }
        }
    }
}
