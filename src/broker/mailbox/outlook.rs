//! What would become of a copy that came now: what admission asks, in the same order, and nothing is changed.

use super::Mailbox;
use super::ask::{Offer, Setting};
use super::inner::Inner;
use super::overflow::loss_of_newcomer;
use super::owner::Owner;
use crate::codec::QoS;
use crate::config::{QueueConfig, QueuePolicy};
use crate::message::{Loss, Total};

/// What would become of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outlook {
    /// There is room for it.
    Waits,
    /// Another one makes room for it, and is lost for this reason.
    Replaces(Loss),
    /// It is lost for this reason.
    Lost(Loss),
}

impl Mailbox {
    /// What would become of a copy that came now, and the rules of the queue. Looking changes nothing.
    pub fn outlook(&self, offer: Offer<'_>, setting: &Setting<'_>) -> (Outlook, QueueConfig) {
        let inner = &mut *self.look();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| rules.queue());
        let outlook = match inner.closed {
            _ if offer.qos == QoS::AtMostOnce && !inner.attached && !queue.qos0_offline => {
                Outlook::Lost(Loss::OfflineQos0)
            }
            Some(loss) => Outlook::Lost(loss),
            None => inner.outlook(offer, setting, (&self.owner, queue)),
        };
        (outlook, queue.clone())
    }
}

impl Inner {
    fn outlook(
        &mut self,
        offer: Offer<'_>,
        setting: &Setting<'_>,
        (owner, queue): (&Owner, &QueueConfig),
    ) -> Outlook {
        let bytes = offer.bytes as u64;
        let newcomer = Outlook::Lost(loss_of_newcomer(offer.qos, queue));
        let older = Outlook::Replaces(Loss::DroppedOldest);
        let share = owner.holdings().map_or(Ok(()), |of| of.room(Total::WaitingBytes, bytes));
        if !self.attached && share.is_err() {
            let makes_room =
                matches!(queue.policy, QueuePolicy::DropOldest | QueuePolicy::Conflate);
            return if makes_room { older } else { newcomer };
        }
        // What has expired goes first.
        let (gone, gone_bytes) = self.waiting.expired(setting.now);
        let (messages, held) = self.held();
        let held = (messages - gone, held - gone_bytes);
        let has_room = Inner::fits(held, queue, offer.bytes);
        match queue.policy {
            QueuePolicy::DropOldest if has_room => Outlook::Waits,
            QueuePolicy::DropOldest => older,
            QueuePolicy::Conflate => {
                let mut waits = false;
                // It is asked only whether one waits: nothing is promised.
                self.waiting.promise(offer.topic, setting.hash, |newest, _| {
                    waits = newest.is_some();
                    false
                });
                match (waits, has_room) {
                    (true, _) => Outlook::Replaces(Loss::Conflated),
                    (false, true) => Outlook::Waits,
                    (false, false) => Outlook::Lost(Loss::QueueFull),
                }
            }
            _ if has_room => Outlook::Waits,
            QueuePolicy::DropQos0First if self.qos0_would_do(queue, offer.bytes) => {
                Outlook::Replaces(Loss::DroppedQos0)
            }
            _ => newcomer,
        }
    }
}
