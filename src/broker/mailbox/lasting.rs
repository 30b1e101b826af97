//! What outlasts a restart or a reload: the copies that wait, and what is known of their topics.

use super::lists::{Entry, Place};
use super::{Mailbox, ORDINARY, Setting};
use crate::broker::ports::{Queued, StoredCopy};
use crate::config::{self, QueuePolicy};

impl Mailbox {
    /// A copy that waited in the store when the broker started. In the order of the numbers; with
    /// [`Setting::lanes`] it waits in its band, or that of its topic, else nothing overtakes anything.
    /// Where its topic matters, it is kept. Returns the band.
    pub fn restore(&self, queued: &Queued, copy: &StoredCopy, setting: &Setting<'_>) -> u8 {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(setting.queue, |rules| &rules.queue);
        inner.routed[1] += 1;
        let entry = Entry {
            message: Place::cold(queued.mid, queued.bytes, queued.expires),
            ids: copy.ids.clone(),
            arrival: inner.arrival,
            qos: copy.qos,
            retain: copy.retain,
            stored: true,
        };
        let topic = queued.mark.hash;
        let band = match setting.lanes {
            true => inner.restored_lane(topic, copy.band, setting.hash),
            false => ORDINARY,
        };
        inner.put_entry(entry, band);
        if queue.policy == QueuePolicy::Conflate {
            inner.note_restored(topic, setting.hash);
        }
        band
    }

    /// Where each topic waits is of no use any more, unless only the newest message of it may. `queue`
    /// holds for those in no class.
    pub fn forget_topics(&self, queue: &config::QueueConfig) {
        let inner = &mut *self.lock();
        let rules = inner.rules();
        let queue = rules.as_ref().map_or(queue, |rules| &rules.queue);
        if let Some(rare) = &mut inner.rare
            && queue.policy != QueuePolicy::Conflate
        {
            rare.topics = None;
        }
    }
}
