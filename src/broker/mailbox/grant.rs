//! Room that a mailbox has promised to a turn.

use crate::codec::QoS;

/// Room that a mailbox has promised to one turn: it takes as much without being asked again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    messages: u32,
    bytes: u64,
    /// All that was promised, used or not, as the mailbox counts it.
    promised: (u32, u64),
    qos0: bool,
    durable: bool,
    pressed: bool,
}

impl Grant {
    /// Uses room for one copy; `false` if there is none left.
    #[inline]
    pub fn spend(&mut self, qos: QoS, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let fits = self.messages > 0 && self.bytes >= bytes;
        if !fits || (qos == QoS::AtMostOnce && !self.qos0) {
            return false;
        }
        self.messages -= 1;
        self.bytes -= bytes;
        true
    }

    /// What goes in at `QoS` 1 or 2 is to be stored first.
    #[inline]
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// The mailbox is above half full and its receiver is draining it: the publisher should pause.
    #[inline]
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// Adds room for `messages` copies of `bytes` in all; `promised` is what the mailbox counts for it.
    pub(super) fn add(&mut self, messages: u32, bytes: u64, promised: (u32, u64)) {
        self.messages += messages;
        self.bytes += bytes;
        self.promised.0 += promised.0;
        self.promised.1 += promised.1;
    }

    /// Sets what holds for all copies: `qos0`: `QoS` 0 may come; `durable`: what is above is stored.
    pub(super) fn set_kinds(&mut self, qos0: bool, durable: bool) {
        (self.qos0, self.durable) = (qos0, durable);
    }

    pub(super) fn set_pressed(&mut self, pressed: bool) {
        self.pressed = pressed;
    }

    /// Ends it: messages and bytes that the mailbox counts for it no longer.
    #[inline]
    pub(super) fn end(&mut self) -> (u32, u64) {
        std::mem::take(self).promised
    }
}
