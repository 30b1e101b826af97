//! Members that take turns, one copy each, in the order in which they came or as it is drawn. A member that
//! cannot take is passed over; where none can, the first that can again has the turn.

use super::lanes::{ConnectedMember, MemberRoom};
use crate::config::Strategy;
use crate::topic::TextHash;

/// Which member has the turn.
#[derive(Debug)]
pub(super) struct Turns {
    /// By which members are drawn; `None`: they come one after the other.
    draw: Option<TextHash>,
    /// Turns that were passed on.
    passed: u64,
    /// The place of the member that has the turn.
    holder: Option<usize>,
    /// The place that is next in the ring.
    next: usize,
}

impl Turns {
    /// No member's turn yet; `hash` draws, where the strategy draws.
    pub fn new(strategy: Strategy, hash: &TextHash) -> Turns {
        let draw = (strategy == Strategy::Random).then(|| hash.clone());
        Turns { draw, passed: 0, holder: None, next: 0 }
    }

    /// The place of the member that has the turn.
    pub fn holder(&self) -> Option<usize> {
        self.holder
    }

    /// The member at `place` can take: it is its turn, if it is that of no member that can.
    pub fn claim(&mut self, place: usize, members: &[ConnectedMember]) {
        let can = |place: usize| members.get(place).is_some_and(|m| m.room != MemberRoom::Nothing);
        if can(place) && !self.holder.is_some_and(can) {
            self.holder = Some(place);
            self.next = place + 1;
        }
    }

    /// It is the turn of the next member that fits, if one does.
    pub fn pass(&mut self, members: &[ConnectedMember], fits: impl Fn(&ConnectedMember) -> bool) {
        let fitting: Vec<_> = (0..members.len()).filter(|place| fits(&members[*place])).collect();
        self.passed += 1;
        let found = match &self.draw {
            None => fitting.iter().find(|place| **place >= self.next).or(fitting.first()),
            Some(hash) => {
                let drawn = (hash.of(&self.passed.to_le_bytes()) >> 32) as usize;
                fitting.get(drawn % fitting.len().max(1))
            }
        };
        self.holder = found.copied();
        self.next = self.holder.map_or(self.next, |place| place + 1);
    }

    /// The member at `place` has left.
    pub fn left(&mut self, place: usize) {
        self.next -= usize::from(self.next > place);
        let holder = self.holder.filter(|holder| *holder != place);
        self.holder = holder.map(|holder| holder - usize::from(holder > place));
    }
}
