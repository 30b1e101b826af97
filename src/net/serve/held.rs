//! What a connection holds between its turns: how much, and since when it has stood still.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use thin_vec::ThinVec;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{CARRY, Connection, Memory, READ, StreamStage};
use crate::broker::buffers::Holding;
use crate::broker::turn::Scratch;
use crate::broker::{ENOUGH_UNWRITTEN, Unfinished};
use crate::codec;
use crate::time::{Clock, Time};

/// Since when something stands still, if it is there: in steps of 17 ms, and good for two years.
///
/// What moves by [`PACE`] bytes within a timeout is never overdue. What moves faster is not credited for
/// it: a peer that sends much and then nothing stands still from then on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Still(u32);

/// What the broker knows of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AccountState {
    /// Nothing: it has had no turn.
    Not,
    /// How to wake it.
    Here,
    /// Also what it holds.
    Counted,
    /// Also that the packet that has begun comes in whole: there is room for it, and it is kept.
    Reserved,
}

/// So many bytes make up for a timeout.
const PACE: u64 = PART as u64;
/// So much of a packet is a sign of life.
const PART: usize = 4096;
/// Time is kept in steps of 2 to this power, in nanoseconds.
const STEP: u32 = 24;

/// How soon a connection that waits for room looks again.
pub(super) const RETRY: Duration = Duration::from_millis(250);

impl Still {
    /// It is not there.
    pub const NONE: Still = Still(0);

    /// It is there from `now` on.
    pub fn from(now: Time) -> Still {
        Still(steps(now).max(1))
    }

    /// It is there.
    pub fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Since when it stands still, as of `now`.
    pub fn since(self, now: Time) -> Option<Time> {
        let age = Duration::from_nanos(u64::from(steps(now).wrapping_sub(self.0)) << STEP);
        self.is_some().then(|| now.before(age))
    }

    /// It has moved by `n` bytes.
    pub fn advance(&mut self, n: usize, timeout: Duration, now: Time) {
        if !self.is_some() {
            return;
        }
        let nanos = timeout.as_nanos() * (n as u128) / u128::from(PACE);
        let steps_on = u32::try_from(nanos >> STEP).unwrap_or(u32::MAX);
        let age = steps(now).wrapping_sub(self.0);
        let on = self.0.wrapping_add(steps_on.min(age));
        self.0 = on.max(1);
    }
}

fn steps(now: Time) -> u32 {
    (now.as_nanos() >> STEP) as u32
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Clock> Connection<S, C> {
    /// One turn, and the account of what it leaves.
    pub(super) fn counted_turn(
        &mut self,
        cx: &mut Context<'_>,
        memory: &mut Memory,
    ) -> Poll<io::Result<()>> {
        let now = self.shared.clock.now();
        let before = self.holding(now);
        let result = self.turn(cx, now, memory);
        if result.is_ready() {
            self.partial = ThinVec::new();
            self.unwritten = None;
        }
        let after = self.holding(now);
        if before != after || (self.is_counted() && after == Holding::NOTHING) {
            self.shared.broker.buffers().set(self.ticket.number(), after);
            if after == Holding::NOTHING {
                self.known = AccountState::Here;
            } else if self.known == AccountState::Here {
                self.known = AccountState::Counted;
            }
        }
        if self.is_counted() && self.shared.broker.buffers().is_full() {
            self.make_room(0, now);
            let number = self.ticket.number();
            if after.is_above(&before)
                && self.link.may_be_turned_away()
                && self.shared.broker.buffers().turn_away(number)
            {
                // At once, because those that are woken wait for their turns, and hold it until then.
                return self.counted_turn(cx, memory);
            }
        }
        result
    }

    /// The connection is over, within a turn or not.
    pub(super) fn let_go(&mut self) {
        if self.is_counted() {
            self.shared.broker.buffers().set(self.ticket.number(), Holding::NOTHING);
            self.known = AccountState::Here;
        }
    }

    fn is_counted(&self) -> bool {
        matches!(self.known, AccountState::Counted | AccountState::Reserved)
    }

    /// What it holds beyond its turn.
    fn holding(&self, now: Time) -> Holding {
        let more = self.link.served_bytes() + self.link.alias_bytes();
        if self.partial.is_empty() && self.unwritten.is_none() && more == 0 {
            return Holding::NOTHING;
        }
        let unwritten = self.unwritten.as_ref();
        let bytes = self.partial_bytes() + unwritten.map_or(0, |u| u.bytes.capacity()) + more;
        let taken = unwritten.and_then(|unwritten| unwritten.taken.since(now));
        let since = [self.packet.since(now), taken].into_iter().flatten().min();
        Holding::new(bytes, since.unwrap_or(now)).waiting(self.waits_for_room())
    }

    /// What the partial packet takes, or is to take.
    fn partial_bytes(&self) -> usize {
        let whole = if self.known == AccountState::Reserved {
            codec::packet_len(&self.partial)
        } else {
            None
        };
        self.partial.capacity().max(whole.unwrap_or(0))
    }

    /// Whether more of a long packet may be read: as it comes while there is much room, else once there is
    /// room for all of it.
    pub(super) fn may_grow(&mut self, now: Time) -> bool {
        let buffers = self.shared.broker.buffers();
        if self.known == AccountState::Reserved || buffers.is_easy() {
            return true;
        }
        let before = std::mem::replace(&mut self.known, AccountState::Reserved);
        let holding = self.holding(now);
        if buffers.ask(self.ticket.number(), holding) {
            return true;
        }
        let more = self.partial_bytes() - self.partial.capacity();
        self.known = before;
        self.make_room(more, now);
        false
    }

    /// Whether nothing more of a packet is read because there is no room for all of it.
    fn waits_for_room(&self) -> bool {
        self.stage == StreamStage::Open
            && self.read
            && !self.unread
            && self.partial.len() > CARRY
            && self.known != AccountState::Reserved
            && !self.shared.broker.buffers().is_easy()
    }

    /// So many bytes of the partial packet are dealt with.
    pub(super) fn note_used(&mut self, used: usize) {
        if used > 0 {
            self.packet = Still::NONE;
            if self.known == AccountState::Reserved {
                self.known = AccountState::Counted;
            }
        }
    }

    /// Tells those to close that have stood still for longest, if there is no room for `more`.
    fn make_room(&self, more: usize, now: Time) {
        for number in self.shared.broker.buffers().make_room(more, now) {
            self.shared.wheel.wake(number);
        }
    }

    /// What the link is told of the bytes not written: where all hold too much, one that holds some gets no
    /// more.
    pub(super) fn said_unwritten(&self, unwritten: usize) -> usize {
        if unwritten > CARRY && self.shared.broker.buffers().is_full() {
            return unwritten.max(ENOUGH_UNWRITTEN);
        }
        unwritten
    }

    /// Notes whether a packet has begun and not ended, and closes the connection if it is time.
    #[inline]
    pub(super) fn note_packet(&mut self, now: Time, scratch: &mut Scratch) {
        if self.partial.is_empty() && self.unwritten.is_none() && !self.is_counted() {
            self.packet = Still::NONE;
        } else {
            self.judge_packet(now, scratch);
        }
    }

    #[inline(never)]
    fn judge_packet(&mut self, now: Time, scratch: &mut Scratch) {
        let begun = self.read && !self.unread && !self.partial.is_empty();
        if !begun {
            self.packet = Still::NONE;
        } else if !self.packet.is_some() {
            self.packet = Still::from(now);
        }
        let held = self.partial.capacity()
            + self.unwritten.as_ref().map_or(0, |unwritten| unwritten.bytes.capacity());
        let due = self.packet_due(now);
        if due.is_some_and(|due| due <= now) {
            self.link.close_unfinished(Unfinished::Packet, held, now, scratch);
        } else if self.shared.broker.buffers().leaves(self.ticket.number()) {
            self.link.close_unfinished(Unfinished::Memory, held, now, scratch);
        }
    }

    /// `n` bytes have come behind `carry` of a packet. The standard asks for whole packets as signs of life
    /// `[MQTT5-3.1.2-22]`; each 4 KiB of a long one count as such, a byte now and then does not.
    #[inline]
    pub(super) fn note_part(&mut self, carry: usize, n: usize, now: Time) {
        if carry / PART != (carry + n) / PART {
            self.link.hear_part(now);
        }
    }

    /// When the packet that has begun is to be whole.
    pub(super) fn packet_due(&self, now: Time) -> Option<Time> {
        let timeout = self.shared.broker.policy().limits.packet_timeout.0;
        self.packet.since(now).map(|since| since.after(timeout))
    }

    /// When it looks again whether there is room to read on.
    pub(super) fn retry(&self, now: Time) -> Option<Time> {
        self.waits_for_room().then(|| now.after(RETRY))
    }

    /// Makes room for another read behind the partial packet: by a quarter more at least, not by twice as
    /// much.
    pub(super) fn grow_partial(&mut self) {
        let len = self.partial.len();
        if self.partial.capacity() < len + READ {
            self.partial.reserve_exact(READ.max(len / 4));
        }
        self.partial.resize(len + READ, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(120);

    fn at(seconds: u64) -> Time {
        Time::from_secs(1_800_000_000 + seconds)
    }

    fn age(still: Still, now: Time) -> u64 {
        now.since(still.since(now).expect("it is there")).as_secs()
    }

    #[test]
    fn what_moves_at_its_pace_is_never_overdue() {
        let mut still = Still::from(at(0));
        for second in (60..100_000).step_by(60) {
            still.advance(2048, TIMEOUT, at(second));
            assert!(age(still, at(second)) <= 60, "{second}");
        }
        // At half the pace it falls behind by half a second each second.
        let mut still = Still::from(at(0));
        for second in (0..=100).step_by(4) {
            still.advance(4 * 17, TIMEOUT, at(second));
        }
        assert!((48..=53).contains(&age(still, at(100))), "{}", age(still, at(100)));
    }

    #[test]
    fn what_comes_in_one_go_is_no_credit_for_later() {
        let mut still = Still::from(at(0));
        still.advance(1 << 20, TIMEOUT, at(10));
        assert_eq!(age(still, at(10)), 0);
        assert!((119..=120).contains(&age(still, at(130))));
        assert_eq!(Still::NONE.since(at(130)), None);
    }

    #[test]
    fn the_steps_wrap_around_without_a_jump() {
        let wrap = Time::from_nanos(1 << (STEP + 32));
        let before = wrap.before(Duration::from_secs(30));
        let mut still = Still::from(before);
        let after = wrap.after(Duration::from_secs(30));
        assert!((59..=61).contains(&age(still, after)));
        still.advance(2048, TIMEOUT, after);
        assert!(age(still, after) <= 1);
    }
}
