//! Copies that one turn has admitted and not yet pushed. A receiver's mailbox is locked once when the
//! turn first has something for it, for room, and once at the turn's end: not once a message.

use std::sync::Arc;

use super::mailbox::{Copy, Grant, Mailbox};
use super::router::{Key, Match};

/// What a turn has for its receivers, by receiver, in the order of routing.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Those in use, then those of earlier turns with the memory they had.
    open: Vec<Open>,
    used: usize,
    /// Those in use are in the order of their keys.
    sorted: bool,
}

/// One receiver of this turn.
#[derive(Debug)]
pub(super) struct Open {
    key: Key,
    pub mailbox: Arc<Mailbox>,
    /// Room that is promised and not yet used.
    pub grant: Grant,
    pub copies: Vec<Copy>,
}

/// So many are kept for later turns; the first few with room for many copies, the others for some.
const KEPT: usize = 1024;
const FEW: usize = 64;
const COPIES_FEW: usize = 128;
const COPIES_MANY: usize = 8;

impl Staged {
    /// How many receivers this turn has had so far: for [`Staged::of`].
    pub fn receivers(&self) -> usize {
        self.used
    }

    /// The place of a receiver. `before`: how many there were before its message; each message has
    /// its receivers once.
    pub fn of(&mut self, found: &Match, before: usize) -> &mut Open {
        let at = found.open.get() as usize;
        let known = self.open[..self.used].get(at).is_some_and(|open| open.key == found.key);
        let at = if known { at } else { self.place(found, before) };
        &mut self.open[at]
    }

    /// Empties it, receiver by receiver; `end` takes the copies out.
    pub fn drain(&mut self, mut end: impl FnMut(&mut Open)) {
        for (index, open) in self.open[..self.used].iter_mut().enumerate() {
            end(open);
            open.copies.clear();
            open.copies.shrink_to(if index < FEW { COPIES_FEW } else { COPIES_MANY });
        }
        self.used = 0;
        self.open.truncate(KEPT);
    }

    fn place(&mut self, found: &Match, before: usize) -> usize {
        let earlier = &self.open[..before];
        let same = if self.sorted {
            earlier.binary_search_by_key(&found.key, |open| open.key).ok()
        } else {
            earlier.iter().position(|open| open.key == found.key)
        };
        let at = same.unwrap_or_else(|| self.begin(found));
        found.open.set(u32::try_from(at).unwrap_or(u32::MAX));
        at
    }

    fn begin(&mut self, found: &Match) -> usize {
        let at = self.used;
        let last = self.open[..at].last();
        self.sorted = last.is_none_or(|last| self.sorted && last.key < found.key);
        match self.open.get_mut(at) {
            Some(open) => {
                open.key = found.key;
                open.mailbox.clone_from(&found.mailbox);
                open.grant = Grant::default();
            }
            None => self.open.push(Open {
                key: found.key,
                mailbox: found.mailbox.clone(),
                grant: Grant::default(),
                copies: Vec::new(),
            }),
        }
        self.used += 1;
        at
    }
}
