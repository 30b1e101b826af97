//! What holds for all receivers until a reload changes it, and the reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mailbox::{Mailbox, ORDINARY, Setting};
use super::priorities::Priorities;
use super::turn::Turn;
use super::{Broker, classes};
use crate::codec::Properties;
use crate::config::{self, Config};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::TopicName;

/// What holds for all receivers. A turn looks at one and the same from its beginning to its end.
#[derive(Debug, Default)]
pub(super) struct Regime {
    /// No other, of this broker or another one, has it; 0: of a turn that has not begun.
    number: u64,
    /// For those in no class.
    pub queue: config::QueueConfig,
    priorities: Option<Priorities>,
    /// Messages of one topic may be of different bands.
    lanes: bool,
    /// As configured.
    pub linger_max: Duration,
}

/// The one in force.
#[derive(Debug)]
pub(super) struct Regimes {
    /// Its number, so that a turn need not take the lock to see that it has it.
    number: AtomicU64,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    regime: Arc<Regime>,
    priority: Vec<config::Priority>,
    /// What waits may have been given its band by other rules than those of now.
    moved: bool,
}

/// The next number.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Regime {
    fn new(config: &Config, moved: bool) -> Regime {
        let priorities = Priorities::new(&config.priority);
        let lanes = moved || priorities.as_ref().is_some_and(|rules| rules.by_property);
        Regime {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            queue: config.queue.clone(),
            priorities,
            lanes,
            linger_max: config.broker.linger_max.0,
        }
    }

    /// Some messages overtake others.
    pub fn has_priorities(&self) -> bool {
        self.priorities.is_some()
    }

    /// The band of a message.
    #[inline]
    pub fn band(&self, topic: TopicName<'_>, properties: &Properties<'_>) -> u8 {
        let priorities = self.priorities.as_ref();
        priorities.map_or(ORDINARY, |priorities| priorities.band(topic, properties))
    }
}

impl Regimes {
    pub fn new(config: &Config) -> Regimes {
        let regime = Arc::new(Regime::new(config, false));
        let number = AtomicU64::new(regime.number);
        let current = Current { regime, priority: config.priority.clone(), moved: false };
        Regimes { number, current: Mutex::new(current) }
    }

    /// Puts another one in force, for turns that begin from now on.
    fn set(&self, config: &Config) {
        let current = &mut *self.lock();
        // For good: what waits now may wait for long.
        current.moved |= current.priority != config.priority;
        let regime = Arc::new(Regime::new(config, current.moved));
        current.priority.clone_from(&config.priority);
        current.regime = regime.clone();
        self.number.store(regime.number, Ordering::Release);
    }

    /// Something waits in another band than what is published to its topic now: it is not overtaken.
    pub fn keep_lanes(&self) {
        let current = &mut *self.lock();
        current.moved = true;
        let old = &current.regime;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (queue, linger_max) = (old.queue.clone(), old.linger_max);
        let priorities = Priorities::new(&current.priority);
        current.regime = Arc::new(Regime { number, queue, priorities, lanes: true, linger_max });
        self.number.store(number, Ordering::Release);
    }

    #[inline]
    fn renew(&self, turn: &mut Turn) {
        if turn.regime.number != self.number.load(Ordering::Acquire) {
            turn.regime = self.lock().regime.clone();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().expect("no code panics while it holds the regime")
    }
}

impl Broker {
    /// Begins a turn: with the rules of now, which it keeps to its end.
    #[inline]
    pub fn begin(&self, turn: &mut Turn) {
        turn.pressure = self.pressure();
        self.0.regimes.renew(turn);
    }

    /// What mailboxes are told with what comes in.
    pub(super) fn setting<'a>(&'a self, regime: &'a Regime, now: Time) -> Setting<'a> {
        debug_assert_ne!(regime.number, 0, "a turn begins with `Broker::begin`");
        let (queue, lanes) = (&regime.queue, regime.lanes);
        Setting { queue, hash: self.0.router.topic_hash(), now, lanes }
    }

    /// Puts in force what of another configuration concerns the broker, for clients that are connected
    /// too. What waits stays, in the band that it has; the rest of a turn that has begun is of the
    /// rules before.
    pub fn reload(&self, config: &Config, now: Time) {
        self.0.regimes.set(config);
        self.0.classes.set(config);
        self.0.pools.set(config, now);
        self.reload_overload(config, now);
        for (_, mailbox, connected) in self.0.registry.mailboxes() {
            if !connected {
                self.classify_absent(&mailbox);
            }
            mailbox.forget_topics(&config.queue);
            if let Some(waker) = mailbox.reclassify() {
                waker.wake();
            }
        }
        for (_, group) in self.0.router.groups() {
            group.forget_topics(&config.queue);
        }
    }

    /// The rules for a client that is not there.
    pub(super) fn classify_absent(&self, mailbox: &Mailbox) {
        let Some(identity) = mailbox.owner.identity() else { return };
        let who = classes::Who {
            client_id: identity.client_id.as_str(),
            user: identity.user_name.as_deref(),
            ..classes::Who::default()
        };
        mailbox.set_rules(&self.0.classes.of_absent(&mailbox.class(), who));
    }
}
