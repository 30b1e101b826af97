//! How receivers' queues are kept: what holds for all of them until a reload changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::dedup::rules::DedupRules;
use super::mailbox::{ORDINARY, Setting};
use super::priorities::Priorities;
use crate::codec::Properties;
use crate::config::{self, Config};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::{TextHash, TopicName};

/// The rules for the queues of all receivers. A turn uses the same ones from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct QueueSettings {
    /// Unique among all settings of the process; 0: of a turn that has not begun.
    number: u64,
    /// For receivers in no class.
    queue: config::QueueConfig,
    priorities: Option<Priorities>,
    /// Messages of one topic may be of different bands.
    lanes: bool,
    linger_max: Duration,
    dedup: Option<Arc<DedupRules>>,
    /// Messages are not applied as they come: there are rules of `[[dedup]]`, or a cluster.
    is_special: bool,
}

/// The settings in force.
#[derive(Debug)]
pub(super) struct CurrentQueueSettings {
    /// Their number, so that a turn need not take the lock to see that it has them.
    number: AtomicU64,
    current: Mutex<InForce>,
}

#[derive(Debug)]
struct InForce {
    settings: Arc<QueueSettings>,
    priority: Vec<config::Priority>,
    /// What waits may have been given its band by other rules than those of now.
    moved: bool,
    /// The broker is a node of a cluster, until it ends.
    is_node: bool,
}

/// The number of the next settings.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl QueueSettings {
    fn new(
        config: &Config,
        (moved, is_node): (bool, bool),
        dedup: Option<Arc<DedupRules>>,
    ) -> QueueSettings {
        let priorities = Priorities::new(&config.priority);
        let lanes = moved || priorities.as_ref().is_some_and(|rules| rules.by_property);
        QueueSettings {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            queue: config.queue.clone(),
            priorities,
            lanes,
            linger_max: config.broker.linger_max.0,
            is_special: is_node || dedup.is_some(),
            dedup,
        }
    }

    /// The rules for receivers in no class.
    #[inline]
    pub fn queue(&self) -> &config::QueueConfig {
        &self.queue
    }

    /// The longest time for which a link may gather messages before it writes.
    #[inline]
    pub fn linger_max(&self) -> Duration {
        self.linger_max
    }

    /// What mailboxes are told with what comes in at `now`; `hash` tells topics apart.
    #[inline]
    pub fn setting<'a>(&'a self, hash: &'a TextHash, now: Time) -> Setting<'a> {
        debug_assert_ne!(self.number, 0, "a turn begins with `Broker::turn`");
        Setting { queue: &self.queue, hash, now, lanes: self.lanes }
    }

    /// The rules that say which messages are taken once; none where there are none.
    #[inline]
    pub fn dedup(&self) -> Option<&Arc<DedupRules>> {
        self.dedup.as_ref()
    }

    /// Messages are not applied as they come.
    #[inline]
    pub fn is_special(&self) -> bool {
        self.is_special
    }

    /// Some messages overtake others.
    pub fn has_priorities(&self) -> bool {
        self.priorities.is_some()
    }

    /// The band of a message.
    #[inline]
    pub fn band(&self, topic: TopicName<'_>, properties: &Properties<'_>) -> u8 {
        match &self.priorities {
            None => ORDINARY,
            Some(priorities) => priorities.band(topic, properties),
        }
    }
}

impl CurrentQueueSettings {
    pub fn new(config: &Config, dedup: Option<Arc<DedupRules>>) -> CurrentQueueSettings {
        let is_node = config.cluster.is_on();
        let settings = Arc::new(QueueSettings::new(config, (false, is_node), dedup));
        let number = AtomicU64::new(settings.number);
        let priority = config.priority.clone();
        let current = InForce { settings, priority, moved: false, is_node };
        CurrentQueueSettings { number, current: Mutex::new(current) }
    }

    /// Puts another one in force, for turns that begin from now on.
    pub fn set(&self, config: &Config, dedup: Option<Arc<DedupRules>>) {
        let current = &mut *self.lock();
        // For good: what waits now may wait for long.
        current.moved |= current.priority != config.priority;
        let settings =
            Arc::new(QueueSettings::new(config, (current.moved, current.is_node), dedup));
        current.priority.clone_from(&config.priority);
        current.settings = settings.clone();
        self.number.store(settings.number, Ordering::Release);
    }

    /// Something waits in another band than what is published to its topic now: it is not overtaken.
    pub fn keep_lanes(&self) {
        let current = &mut *self.lock();
        current.moved = true;
        let old = &current.settings;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (linger_max, is_special) = (old.linger_max, old.is_special);
        current.settings = Arc::new(QueueSettings {
            number,
            queue: old.queue.clone(),
            priorities: Priorities::new(&current.priority),
            lanes: true,
            linger_max,
            dedup: old.dedup.clone(),
            is_special,
        });
        self.number.store(number, Ordering::Release);
    }

    /// Changes whenever a configuration is put in force.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Replaces what a turn `has`, if it is not in force any more.
    #[inline]
    pub fn renew(&self, has: &mut Arc<QueueSettings>) {
        if has.number != self.number() {
            self.replace(has);
        }
    }

    #[cold]
    fn replace(&self, has: &mut Arc<QueueSettings>) {
        *has = self.lock().settings.clone();
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        whole(self.current.lock())
    }
}
