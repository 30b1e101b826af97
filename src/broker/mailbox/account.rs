//! A receiver's account: the first law.

use super::inner::Inner;
use super::waiting::Waiting;
use crate::message::Loss;

/// What a receiver's account says: the first law is `routed = completed + in flight + queued +
/// ledger`, each by class: `QoS` 0, and `QoS` 1 and 2.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// Copies routed here: admitted or refused.
    pub routed: [u64; 2],
    /// Copies that reached the client, and were answered if they ask for it.
    pub completed: [u64; 2],
    /// Copies waiting.
    pub queued: [u64; 2],
    /// Copies lost, by [`Loss`].
    pub ledger: [[u32; Loss::ALL.len()]; 2],
}

impl Account {
    /// Copies that were taken from here and have not ended.
    pub fn in_flight(&self) -> u64 {
        let lost: u64 = self.ledger.iter().flatten().map(|count| u64::from(*count)).sum();
        let sum = |counts: [u64; 2]| counts[0] + counts[1];
        sum(self.routed).saturating_sub(sum(self.completed) + sum(self.queued) + lost)
    }
}

impl Inner {
    pub fn account(&self) -> Account {
        Account {
            routed: self.routed,
            completed: self.completed,
            queued: match self.rare.as_ref().and_then(|rare| rare.log.as_ref()) {
                Some(log) => log.queued(),
                None => self.waiting.queued().map(|count| count as u64),
            },
            ledger: self.rare.as_ref().map_or_else(Default::default, |rare| rare.ledger),
        }
    }

    pub fn lose(&mut self, class: usize, loss: Loss, count: usize) {
        if count > 0 {
            self.rare.get_or_insert_default().ledger[class][loss as usize] += count as u32;
        }
    }

    /// All that waits is lost for this reason. Returns it.
    pub fn lose_waiting(&mut self, loss: Loss) -> Waiting {
        for (class, count) in self.waiting.queued().into_iter().enumerate() {
            self.lose(class, loss, count);
        }
        self.waiting.take_all()
    }

    pub fn settle(&mut self, settled: &mut [u32; 2]) {
        for (completed, settled) in self.completed.iter_mut().zip(settled) {
            *completed += u64::from(std::mem::take(settled));
        }
    }
}
