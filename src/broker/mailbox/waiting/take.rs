//! Taking copies for a receiver: one loop, over one band or over all.

use super::band::Band;
use super::entry::{Entry, Place};
use super::priority::{Bands, Choice};
use crate::broker::mailbox::copy::Copy;
use crate::message::{Delivery, Message};
use crate::session::Room;

/// How much is taken at most.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker::mailbox) struct Limits {
    /// The receiver's window and bytes. The last copy may go above the bytes.
    pub room: Room,
    /// Copies.
    pub max: usize,
    /// The share of a lower band while a higher one has copies, in hundredths.
    pub share: u8,
}

impl Limits {
    /// What is left of them when so much was taken, all of it above `QoS` 0.
    pub fn without(self, taken: &Drained) -> Limits {
        let Room { window, bytes } = self.room;
        let window = window.saturating_sub(taken.copies);
        let bytes = bytes.saturating_sub(taken.bytes as usize);
        Limits { room: Room { window, bytes }, max: self.max - taken.copies, ..self }
    }
}

/// What was taken.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker::mailbox) struct Drained {
    /// How many.
    pub copies: usize,
    /// More copies could be taken with more bytes or a higher maximum.
    pub more: bool,
    pub bytes: u64,
    /// The arrival of the next copy, which the receiver may not have, and whether it needs a slot of the
    /// window.
    pub barred: Option<(u64, bool)>,
}

/// Where copies are taken from, in its order.
pub(super) trait Source {
    /// The next copy.
    type Choice: std::marker::Copy;

    /// The next copy that `window` allows and whose message is in memory.
    fn next(&mut self, window: usize) -> Option<Self::Choice>;

    /// It is of `QoS` 0, and needs no slot of the window.
    fn is_qos0(choice: Self::Choice) -> bool;

    /// The copy of a choice, left where it is.
    fn peek(&self, choice: Self::Choice) -> Option<&Entry>;

    fn pop(&mut self, choice: Self::Choice) -> Option<Copy>;
}

/// Nothing overtakes anything.
impl Source for Band {
    type Choice = bool;

    #[inline]
    fn next(&mut self, window: usize) -> Option<bool> {
        self.next_is_qos0(window)
    }

    #[inline]
    fn is_qos0(choice: bool) -> bool {
        choice
    }

    fn peek(&self, choice: bool) -> Option<&Entry> {
        if choice { self.qos0.front() } else { self.qos12.first() }
    }

    #[inline]
    fn pop(&mut self, choice: bool) -> Option<Copy> {
        Band::pop(self, choice).map(Entry::into_copy)
    }
}

/// All bands of a mailbox: higher ones overtake.
pub(super) struct Banded<'a> {
    pub ordinary: &'a mut Band,
    pub bands: &'a mut Bands,
    pub share: u32,
    /// What arrived at this number or later overtakes no copy of `QoS` 1 or 2 that came before.
    pub barrier: u64,
}

impl Source for Banded<'_> {
    type Choice = Choice;

    fn next(&mut self, window: usize) -> Option<Choice> {
        self.bands.choose(self.ordinary, window, self.share, self.barrier)
    }

    fn is_qos0(choice: Choice) -> bool {
        choice.is_qos0()
    }

    fn peek(&self, choice: Choice) -> Option<&Entry> {
        self.bands.of(self.ordinary, choice.band().into()).peek(choice.is_qos0())
    }

    fn pop(&mut self, choice: Choice) -> Option<Copy> {
        self.bands.charge(choice, self.share);
        let band = self.bands.of_mut(self.ordinary, choice.band());
        Source::pop(band, choice.is_qos0())
    }
}

/// Takes what `limits` allow into `out`, as `deliver` makes it, up to the first copy that the receiver may
/// not have.
#[inline]
pub(super) fn drain<S: Source>(
    source: &mut S,
    limits: Limits,
    out: &mut Vec<Delivery>,
    may: impl Fn(&Message) -> bool,
    deliver: impl Fn(Copy) -> Delivery,
) -> Drained {
    let Limits { room: Room { mut window, bytes: mut left }, max, .. } = limits;
    let mut drained = Drained::default();
    while let Some(choice) = source.next(window) {
        if drained.copies == max || left == 0 {
            drained.more = true;
            break;
        }
        if let Some(entry) = source.peek(choice)
            && let Place::Warm(message) = &entry.message
            && !may(message)
        {
            drained.barred = Some((entry.arrival, !S::is_qos0(choice)));
            break;
        }
        let Some(copy) = source.pop(choice) else { break };
        window -= usize::from(!S::is_qos0(choice));
        let size = copy.message.bytes();
        drained.bytes += size as u64;
        drained.copies += 1;
        left = left.saturating_sub(size);
        out.push(deliver(copy));
    }
    drained
}
