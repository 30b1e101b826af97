//! What a mailbox keeps of its receiver, beside its copies: the rules of its class, how it is shaped, and
//! its buckets while it is not connected.

use std::sync::Arc;
use std::time::Duration;

use super::{Mailbox, Pace};
use crate::broker::classes::Rules;
use crate::config::{self, QueuePolicy};
use crate::shape::{Intake, Shaper};

impl Mailbox {
    /// It has nothing that most mailboxes have not: no class, no buckets.
    pub fn is_ordinary(&self) -> bool {
        self.look().rare.is_none()
    }

    /// The class of its receiver is this one: its rules are in force from now on.
    pub fn set_rules(&self, rules: &Arc<Rules>) {
        let inner = &mut *self.lock();
        let conflates = rules.queue().policy == QueuePolicy::Conflate;
        let rules = (!rules.name().is_empty()).then(|| rules.clone());
        if rules.is_some() || inner.rare.is_some() {
            inner.rare.get_or_insert_default().rules = rules;
        }
        if !conflates {
            inner.waiting.stop_conflating();
        }
    }

    /// The class its receiver is in; empty for everybody.
    pub fn class(&self) -> Arc<str> {
        self.look().rules().map_or_else(Arc::default, |rules| rules.name().clone())
    }

    /// `QoS` 0 waits for its receiver, where `queue` holds for those in no class.
    pub fn keeps_qos0(&self, queue: &config::QueueConfig) -> bool {
        self.look().rules().map_or(queue.qos0_offline, |rules| rules.queue().qos0_offline)
    }

    /// What is reported of a copy that was taken from here and is lost: the receiver's name, and whether
    /// its queue asks for a dead letter.
    pub fn drop_label(&self, queue: &config::QueueConfig) -> (Arc<str>, bool) {
        let rules = self.look().rules();
        let queue = rules.as_ref().map_or(queue, |rules| rules.queue());
        (self.owner.name(), queue.dead_letters)
    }

    /// Its receiver is not shaped any more.
    pub fn forget_pace(&self) {
        self.lock().forget_pace();
    }

    /// How its receiver is shaped, if it is. Looking changes nothing.
    pub fn pace(&self) -> Option<Pace> {
        self.look().rare.as_ref().and_then(|rare| rare.pace.clone())
    }

    /// Keeps the buckets of a receiver that has left, for when it is back.
    pub fn keep_shaper(&self, shaper: Shaper) {
        self.lock().rare.get_or_insert_default().shaper = Some(shaper);
    }

    /// The buckets of its receiver when it was here last.
    pub fn take_shaper(&self) -> Option<Shaper> {
        self.lock().rare.as_mut()?.shaper.take()
    }

    /// Keeps how long its receiver has waited at buckets that it shares.
    pub fn keep_waited(&self, waited: Duration) {
        self.lock().rare.get_or_insert_default().waited = waited;
    }

    /// How long its receiver had waited there when it was here last.
    pub fn waited(&self) -> Duration {
        self.look().rare.as_ref().map(|rare| rare.waited).unwrap_or_default()
    }

    /// Keeps the ingress limits of a client that has left, for when it is back.
    pub fn keep_intake(&self, intake: Intake) {
        self.lock().rare.get_or_insert_default().intake = Some(Box::new(intake));
    }

    /// The ingress limits of its client when it was here last.
    pub fn take_intake(&self) -> Option<Intake> {
        self.lock().rare.as_mut()?.intake.take().map(|intake| *intake)
    }
}
