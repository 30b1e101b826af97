//! The members of a group take turns, one copy each: see [`Turns`](super::turns::Turns).

use std::task::Waker;

use super::group::{SHARE_MAX, delivery_to, qos12_of};
use super::inner::Inner;
use super::lanes::MemberRoom;
use super::members::Puller;
use super::waiting::Limits;
use super::{Ask, Copy, Notices, Owner, Taken};
use crate::codec::QoS;
use crate::message::{Delivery, SessionId};
use crate::session::Room;

impl Inner {
    /// A member takes what its turns give it, as [`Mailbox::take_shared`](super::Mailbox::take_shared) does:
    /// one copy, and more as long as no other member can take.
    pub fn take_in_turn(
        &mut self,
        puller: Puller<'_>,
        ask: &Ask<'_>,
        owner: &Owner,
        out: &mut Vec<Delivery>,
        wakers: &mut Vec<Waker>,
    ) -> Taken {
        let member = puller.member;
        let session = member.session;
        let window = if member.qos == QoS::AtMostOnce { usize::MAX } else { ask.room.window };
        let before = out.len();
        let max = SHARE_MAX.min(ask.max);
        let mut set_aside = false;
        let mut room = Room { window, ..ask.room };
        self.members().forget(session);
        self.members().note_room(session, member_room(room));
        while self.has_turn(session) && out.len() - before < max && room.bytes > 0 {
            let limits = Limits { room, max: 1, share: ask.queue.lower_band_share };
            let deliver = |copy: Copy| delivery_to(member, copy, owner.group());
            let mut drained = self.waiting.take_allowed(limits, out, puller.may, deliver);
            if let Some((arrival, _)) = drained.barred
                && self.members().bar(session, arrival)
            {
                if owner.is_queue() {
                    self.set_aside(arrival);
                    set_aside = true;
                    continue;
                }
                // No member may have it: it is taken to be lost.
                drained.copies = self.take_first(limits, out, deliver);
            }
            if drained.copies == 0 {
                break;
            }
            self.members().unbar();
            let taken = &out[out.len() - 1];
            room.window = room.window.saturating_sub(qos12_of(std::slice::from_ref(taken)));
            room.bytes = room.bytes.saturating_sub(taken.message.bytes());
            self.members().note_room(session, member_room(room));
            self.pass_turn();
        }
        self.note_taken(out.len() - before);
        self.release_paused(ask.queue, wakers);
        if ask.room.bytes > 0 || self.waiting.has_nothing_to_take() {
            self.members().wait(session, ask.waker, room.window == 0);
        }
        self.end_turns(session, room, wakers).with_set_aside(set_aside)
    }

    /// A member has taken what its turns gave it, and has this room left.
    fn end_turns(&mut self, session: SessionId, room: Room, wakers: &mut Vec<Waker>) -> Taken {
        let fetches = self.has_turn(session) && room.window > 0 && self.waiting.first_is_cold();
        if self.has_turn(session) && !self.waiting.has_nothing_to_take() && !fetches {
            // It has had its share, or cannot take what is next.
            self.pass_turn();
        }
        let has_turn = self.has_turn(session);
        if !has_turn
            && !self.waiting.has_nothing_to_take()
            && let Some(holder) = self.members().turn_holder()
        {
            wakers.extend(self.members().next_of(holder, QoS::AtMostOnce));
        }
        // Without room it takes nothing, and looks again when it has some.
        let could = has_turn || room.bytes == 0;
        let more = could && !self.waiting.has_nothing_to_take() && !fetches;
        Taken::new(more, Notices::default(), fetches)
    }

    /// The turn goes on to a member that can take what waits.
    fn pass_turn(&mut self) {
        let (waiting, members) = self.shared_parts();
        let has_qos0 = waiting.qos0_totals().0 > 0;
        members.pass_turn(has_qos0);
    }

    fn has_turn(&mut self, session: SessionId) -> bool {
        self.members().turn_holder() == Some(session)
    }
}

/// What a member can take that has this room.
fn member_room(room: Room) -> MemberRoom {
    match room.window {
        _ if room.bytes == 0 => MemberRoom::Nothing,
        0 => MemberRoom::Qos0,
        _ => MemberRoom::All,
    }
}
