//! Logs of kept messages: each is a group with a mailbox from which nothing is taken, made by the configuration, or
//! with a named queue at run time. What they collect is in the tree of Subscriptions, as that of a named queue is.

mod log_views;

pub use log_views::{KeepView, LogNotRemoved};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Broker;
use super::classes::Rules;
use super::mailbox::Notice;
use super::turn::Turn;
use crate::config::{Binding, Config, KeepLimits, NamedQueue, Retry};
use crate::message::{ClientId, SessionId};
use crate::session::log_of;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TopicFilter;

/// The definitions in force.
#[derive(Debug)]
pub(super) struct KeepLogs {
    definitions: Mutex<LogDefinitions>,
    /// Held from the moment when the store is given messages of a log until they are in the log, so that they
    /// stand there in the order of their numbers in the store.
    order: Mutex<()>,
}

#[derive(Debug)]
struct LogDefinitions {
    /// Those of the configuration, by name.
    configured: BTreeMap<String, LogDefinition>,
    /// Those of named queues that were made at run time, by name: other names.
    made: BTreeMap<String, LogDefinition>,
    /// When the logs are trimmed next.
    due: Time,
    /// That a reader has missed messages is not said before.
    told: Time,
}

#[derive(Clone, Debug)]
struct LogDefinition {
    bindings: Vec<Binding>,
    limits: KeepLimits,
}

/// That a reader has missed messages is said at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Logs are trimmed so often, where nothing comes.
const TRIM_EVERY: Duration = Duration::from_secs(1);

impl KeepLogs {
    pub fn new(config: &Config) -> KeepLogs {
        KeepLogs { definitions: Mutex::new(LogDefinitions::new(config)), order: Mutex::new(()) }
    }
}

impl LogDefinitions {
    fn new(config: &Config) -> LogDefinitions {
        let alone = config.keep.iter().map(|keep| {
            let definition =
                LogDefinition { bindings: keep.bindings.clone(), limits: keep.limits() };
            (keep.name.clone(), definition)
        });
        let of_queues = config.named_queue.iter().filter_map(LogDefinition::of_queue);
        LogDefinitions {
            configured: alone.chain(of_queues).collect(),
            made: BTreeMap::new(),
            due: Time::START,
            told: Time::START,
        }
    }
}

impl LogDefinitions {
    fn all(&self) -> impl Iterator<Item = (&String, &LogDefinition)> {
        self.made.iter().chain(&self.configured)
    }

    fn of(&self, name: &str) -> Option<&LogDefinition> {
        self.configured.get(name).or_else(|| self.made.get(name))
    }
}

impl LogDefinition {
    /// Of the log of a named queue, if it has one, with its name.
    fn of_queue(queue: &NamedQueue) -> Option<(String, LogDefinition)> {
        let limits = queue.keep.clone()?;
        Some((queue.name.clone(), LogDefinition { bindings: queue.bindings.clone(), limits }))
    }
}

impl Broker {
    /// Puts other definitions in force, and says which logs have none any more.
    pub(super) fn set_keep_logs(&self, config: &Config, turn: &mut Turn<'_>) {
        {
            let definitions = &mut *whole(self.0.keep_logs.definitions.lock());
            let made = std::mem::take(&mut definitions.made);
            *definitions = LogDefinitions { made, ..LogDefinitions::new(config) };
        }
        self.define_logs(turn);
        self.name_left_logs();
    }

    /// Makes the logs what their definitions say. A log without a definition collects nothing more.
    pub(super) fn define_logs(&self, turn: &mut Turn<'_>) {
        let definitions = whole(self.0.keep_logs.definitions.lock());
        for (name, definition) in definitions.all() {
            self.define_log(name, Some(definition), turn);
        }
        for (filter, _, defined) in self.0.router.logs() {
            let name = filter.replay().unwrap_or_default();
            if defined && definitions.of(name).is_none() {
                self.define_log(name, None, turn);
            }
        }
    }

    /// Makes a log what its definition says.
    fn define_log(&self, name: &str, definition: Option<&LogDefinition>, turn: &mut Turn<'_>) {
        let (router, filter) = (&self.0.router, TopicFilter::of_log(name));
        let rules = Rules::of_queue(&filter, turn.settings.queue().clone(), Retry::default());
        let rules = Arc::new(rules);
        let made = definition.map(|own| (&rules, &own.bindings[..], None));
        self.after_change(router.define_queue(&filter, made), turn);
        if let Some(mailbox) = router.group_of(&filter) {
            mailbox.set_keep_limits(definition.map(|own| own.limits.clone()));
        }
    }

    /// The log of a named queue that is made at run time collects from now on, if that has one; with `None` the log
    /// of the queue of this name collects nothing more.
    pub(super) fn set_made_log(&self, name: &str, queue: Option<&NamedQueue>, turn: &mut Turn<'_>) {
        let definitions = &mut *whole(self.0.keep_logs.definitions.lock());
        let definition = queue.and_then(LogDefinition::of_queue).map(|(_, definition)| definition);
        if definition.is_some() || definitions.made.contains_key(name) {
            self.define_log(name, definition.as_ref(), turn);
        }
        definitions.made.remove(name);
        definitions.made.extend(definition.map(|definition| (name.to_owned(), definition)));
    }

    /// Names of logs that are of the configuration and of a named queue that was made at run time.
    pub(super) fn logs_in_both(&self) -> Vec<String> {
        let definitions = whole(self.0.keep_logs.definitions.lock());
        let names = definitions.made.keys();
        names.filter(|name| definitions.configured.contains_key(*name)).cloned().collect()
    }

    /// Takes over the logs of the named queues that the store has defined.
    pub(super) fn restore_made_logs(&self, queues: &[NamedQueue]) {
        let made = queues.iter().filter_map(LogDefinition::of_queue).collect();
        whole(self.0.keep_logs.definitions.lock()).made = made;
    }

    /// Names the logs that have messages and no definition.
    pub(super) fn name_left_logs(&self) {
        for (filter, mailbox, defined) in self.0.router.logs() {
            let messages = mailbox.depth().0;
            if !defined && messages > 0 {
                warn!(
                    log = filter.replay().unwrap_or_default(),
                    messages,
                    "a log of kept messages is not configured any more: it collects nothing, and keeps what it has"
                );
            }
        }
    }

    /// Trims the logs, as much as is done in one go. Returns when they are to be trimmed next.
    pub(super) fn tick_logs(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let definitions = &mut *whole(self.0.keep_logs.definitions.lock());
        definitions.all().next()?;
        if definitions.due <= turn.now {
            let now = turn.now;
            let more =
                self.0.router.logs().iter().fold(false, |more, (_, mailbox, _)| {
                    mailbox.trim_log(now, &mut turn.gone) | more
                });
            definitions.due = if more { now } else { now.after(TRIM_EVERY) };
        }
        Some(definitions.due)
    }

    /// Says, not too often, that a reader has missed what was trimmed before it came to it.
    #[cold]
    pub(super) fn say_missed(
        &self,
        client: &ClientId,
        filter: &TopicFilter,
        missed: u64,
        now: Time,
    ) {
        let definitions = &mut *whole(self.0.keep_logs.definitions.lock());
        if definitions.told <= now {
            definitions.told = now.after(TELL_EVERY);
            info!(%client, filter = filter.as_str(), missed, "kept messages were trimmed before they were read");
        }
    }

    /// The logs of these Subscriptions wake their reader no more.
    pub(super) fn leave_logs<'a>(
        &self,
        reader: SessionId,
        filters: impl Iterator<Item = &'a TopicFilter>,
    ) {
        for log in filters.filter_map(log_of) {
            if let Some(mailbox) = self.0.router.group_of(&log) {
                mailbox.leave_log(reader);
            }
        }
    }

    /// Clients that are subscribed to a log that was not there look whether it is.
    pub(super) fn wake_readers(&self) {
        for (_, mailbox, connected) in self.0.registry.mailboxes() {
            if connected && let Some(waker) = mailbox.notify(Notice::Reclassify) {
                waker.wake();
            }
        }
    }

    /// To be held from before the store is given what a turn has for logs until they have it.
    pub(super) fn order_of_logs(&self) -> MutexGuard<'_, ()> {
        whole(self.0.keep_logs.order.lock())
    }
}
