//! SUBSCRIBE and UNSUBSCRIBE of a connected client, whole or in parts.

use std::task::Waker;

use super::Live;
use crate::broker::link::filters::FILTERS_A_TURN;
use crate::broker::link::pause::Pause;
use crate::broker::turn::Turn;
use crate::codec::Packet;
use crate::session::Input;

impl Live {
    /// Serves the filters that come next of a packet with many; after the last of them it is answered.
    pub(super) fn serve_filters(&mut self, waker: &Waker, turn: &mut Turn<'_>) {
        let version = self.attachment.version;
        let Some(Pause::Filters(left)) = self.attachment.pause.as_deref_mut() else { return };
        let (rest, over_rate) = (left.take_rest(), left.is_over_rate());
        let (packet, at) = left.next(&rest, version);
        self.subscribe(&packet, over_rate, turn);
        if self.attachment.closing.is_some() {
            // One of the filters closes: the packet has no answer.
            self.attachment.pause = None;
            return;
        }
        let Some(Pause::Filters(left)) = self.attachment.pause.as_deref_mut() else { return };
        if left.put_back(rest, at) {
            self.answer_filters(turn);
        } else {
            // The others are served first.
            waker.wake_by_ref();
        }
    }

    fn answer_filters(&mut self, turn: &mut Turn<'_>) {
        let Some(Pause::Filters(left)) = self.attachment.pause.take().map(|pause| *pause) else {
            return;
        };
        // The silence of the client was not its own: nothing was read from it.
        self.session.touch(turn.now);
        self.attachment.answer(&left.into_answer(), turn);
        self.answer_at_once(&turn.context(), turn);
    }

    /// Lets the Session look at a SUBSCRIBE or UNSUBSCRIBE, or a part of one, and carries out what comes of
    /// it.
    pub(super) fn subscribe(&mut self, packet: &Packet<'_>, over_rate: bool, turn: &mut Turn<'_>) {
        let mut cx = turn.broker.context_to_subscribe(self.session.identity(), turn.now);
        cx.over_rate = over_rate;
        cx.session = self.attachment.id();
        if let Some(Pause::Filters(left)) = self.attachment.pause.as_deref() {
            cx.filters_free = cx.filters_free.saturating_sub(left.served());
        }
        let filters = match packet {
            Packet::Subscribe(subscribe) => subscribe.filters.len(),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.len(),
            _ => 0,
        };
        self.run(Input::Packet(packet), &cx, turn);
        turn.work.add_share(filters, FILTERS_A_TURN);
        self.carry_out_changes(turn);
    }

    /// Bytes of the filters that are still to be served, and of the answers to the others.
    #[inline]
    pub(in crate::broker::link) fn filters_bytes(&self) -> usize {
        match self.attachment.pause.as_deref() {
            Some(Pause::Filters(left)) => left.bytes(),
            _ => 0,
        }
    }

    /// Whether filters of its last packet are still to be served.
    pub(in crate::broker::link) fn is_serving_filters(&self) -> bool {
        matches!(self.attachment.pause.as_deref(), Some(Pause::Filters(_)))
    }
}
