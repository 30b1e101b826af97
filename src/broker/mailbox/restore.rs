//! What outlasts a restart or a reload: the copies that wait, and what is known of their topics.

use super::waiting::ByTopic;
use super::{Mailbox, Setting};
use crate::broker::ports::{Queued, StoredCopy};
use crate::config::{self, QueuePolicy};

impl Mailbox {
    /// Adds a copy that waited in the store when the broker started: they come in the order of their
    /// numbers. With [`Setting::lanes`] it waits in its band, or that of its topic, else nothing overtakes
    /// anything. Returns the band.
    pub fn restore(&self, queued: &Queued, copy: &StoredCopy, setting: &Setting<'_>) -> u8 {
        if self.owner.is_log() {
            self.restore_kept(queued);
            return queued.mark.band;
        }
        let inner = &mut *self.lock();
        let before = inner.counted();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| rules.queue());
        inner.routed[1] += 1;
        let conflate = queue.policy == QueuePolicy::Conflate;
        let by = ByTopic { hash: setting.hash, one_band: setting.lanes, conflate };
        let band = inner.waiting.push_stored(queued, copy, by);
        inner.count_for(&self.owner, before);
        band
    }

    /// Other rules may be in force: older messages of a topic wait beside the newest one, unless the
    /// policy still conflates. `queue` holds for receivers in no class.
    pub fn forget_topics(&self, queue: &config::QueueConfig) {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| rules.queue());
        if queue.policy != QueuePolicy::Conflate {
            inner.waiting.stop_conflating();
        }
    }
}
