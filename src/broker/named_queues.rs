//! Named queues: groups with a mailbox that needs no member, made by the configuration or at run time. What they
//! collect is in the tree of Subscriptions; here is what they are made of, and how they come and go.

mod making;
mod queue_views;

pub use making::{QueueNotMade, QueueNotRemoved};
pub use queue_views::{QueueSource, QueueView};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::Broker;
use super::classes::Rules;
use super::mailbox::{Effects, Mailbox};
use super::turn::{Scratch, Turn};
use crate::config::{Config, NamedQueue, QueueConfig};
use crate::sync::{Mutex, whole};
use crate::time::Time;
use crate::topic::TopicFilter;

/// The definitions in force.
#[derive(Debug)]
pub(super) struct NamedQueues(Mutex<Definitions>);

#[derive(Debug)]
struct Definitions {
    /// For keys that a definition leaves out.
    queue: QueueConfig,
    /// Those of the configuration, by name.
    configured: BTreeMap<String, NamedQueue>,
    /// Those that were made at run time, by name: other names.
    made: BTreeMap<String, NamedQueue>,
    /// When the queues are looked at next.
    due: Time,
    /// When it may be said next that no consumer may have a message.
    silent_until: Time,
}

/// Queues that may be over, or have copies that may, are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Copies that end in one look at all queues.
const EXPIRED_MAX: usize = 1024;
/// That no consumer may have a message is said so often at most.
const SAY_EVERY: Duration = Duration::from_secs(10);

impl NamedQueues {
    pub fn new(config: &Config) -> NamedQueues {
        NamedQueues(Mutex::new(Definitions::new(config)))
    }
}

impl Definitions {
    fn new(config: &Config) -> Definitions {
        let named = config.named_queue.iter();
        let configured = named.map(|queue| (queue.name.clone(), queue.clone())).collect();
        Definitions {
            queue: config.queue.clone(),
            configured,
            made: BTreeMap::new(),
            due: Time::START,
            silent_until: Time::START,
        }
    }

    /// All there are.
    fn all(&self) -> impl Iterator<Item = &NamedQueue> {
        self.made.values().chain(self.configured.values())
    }

    /// Where the queue of this name is defined.
    fn source(&self, name: &str) -> QueueSource {
        match name {
            _ if self.configured.contains_key(name) => QueueSource::Configuration,
            _ if self.made.contains_key(name) => QueueSource::Made,
            _ => QueueSource::None,
        }
    }
}

impl Broker {
    /// Puts other definitions in force, and says which queues have none any more.
    pub(super) fn set_named_queues(&self, config: &Config, turn: &mut Turn<'_>) {
        {
            let definitions = &mut *whole(self.0.named_queues.0.lock());
            let made = std::mem::take(&mut definitions.made);
            *definitions = Definitions::new(config);
            definitions.made = made;
        }
        self.define_queues(turn);
        self.name_drained_queues();
    }

    /// Makes the queues what their definitions say. A queue without a definition collects nothing more.
    pub(super) fn define_queues(&self, turn: &mut Turn<'_>) {
        let definitions = whole(self.0.named_queues.0.lock());
        definitions.all().for_each(|queue| self.define_queue(queue, &definitions.queue, turn));
        for (filter, mailbox, defined) in self.0.router.queues() {
            turn.wakers.extend(mailbox.look_again());
            let source = definitions.source(filter.queue().unwrap_or_default());
            if defined && source == QueueSource::None {
                self.after_change(self.0.router.define_queue(&filter, None), turn);
            }
        }
    }

    /// Makes a queue what its definition says; keys that it leaves out are as in `over`.
    fn define_queue(&self, queue: &NamedQueue, over: &QueueConfig, turn: &mut Turn<'_>) {
        let filter = TopicFilter::of_queue(&queue.name);
        let rules = Arc::new(Rules::of_queue(&filter, queue.over(over), queue.retry()));
        let definition = (&rules, &queue.bindings[..], Some(&queue.sharing()));
        let changed = self.0.router.define_queue(&filter, Some(definition));
        self.after_change(changed, turn);
        if let Some(mailbox) = self.0.router.group_of(&filter) {
            mailbox.set_ttl(queue.ttl.map(|ttl| ttl.0));
        }
    }

    /// At the start: ends the groups from the store that nothing holds, and names the queues that only their
    /// messages hold.
    pub(super) fn forget_lonely_groups(&self, turn: &mut Turn<'_>) {
        self.after_change(self.0.router.forget_lonely_groups(), turn);
        self.name_drained_queues();
        self.name_left_logs();
    }

    /// Names the queues that have messages and no definition.
    fn name_drained_queues(&self) {
        for (filter, mailbox, defined) in self.0.router.queues() {
            let messages = mailbox.depth().0;
            if !defined && messages > 0 {
                warn!(
                    queue = filter.queue().unwrap_or_default(),
                    messages,
                    "a named queue is not configured any more: it collects nothing, and goes when it is empty"
                );
            }
        }
    }

    /// Ends the queues that have no definition and nothing left, and the copies that have waited for too long.
    /// Returns when it is to be looked at again.
    pub(super) fn tick_queues(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let now = turn.now;
        let aging: Vec<_> = {
            let definitions = &mut *whole(self.0.named_queues.0.lock());
            let aging = definitions.all().filter(|queue| queue.ttl.is_some());
            let mut aging: Vec<_> = aging.map(|queue| TopicFilter::of_queue(&queue.name)).collect();
            let drains = self.0.router.has_undefined_queues();
            if aging.is_empty() && !drains {
                return None;
            }
            if definitions.due > now {
                return Some(definitions.due);
            }
            definitions.due = now.after(LOOK_EVERY);
            if drains {
                // What waits there ends as it would have.
                let undefined = self.0.router.queues().into_iter().filter(|(.., defined)| !defined);
                aging.extend(undefined.map(|(filter, ..)| filter));
            }
            aging
        };
        self.after_change(self.0.router.forget_lonely_queues(), turn);
        let mut left = EXPIRED_MAX;
        let Scratch { settings, wakers, gone, .. } = &mut *turn.scratch;
        let effects = &mut Effects { wakers, gone };
        for mailbox in aging.iter().filter_map(|filter| self.0.router.group_of(filter)) {
            left -= mailbox.expire_front(now, left, settings.queue(), effects);
        }
        if left == 0 {
            // There may be more.
            whole(self.0.named_queues.0.lock()).due = now;
            return Some(now);
        }
        Some(now.after(LOOK_EVERY))
    }

    /// A copy waits that no connected consumer of its queue may have.
    #[cold]
    pub(super) fn say_set_aside(&self, mailbox: &Mailbox, now: Time) {
        {
            let definitions = &mut *whole(self.0.named_queues.0.lock());
            if definitions.silent_until > now {
                return;
            }
            definitions.silent_until = now.after(SAY_EVERY);
        }
        warn!(
            queue = %mailbox.owner().name(),
            messages = mailbox.set_aside_count(),
            "no connected consumer of a named queue may receive some of its messages: they wait, and those behind \
             them do not"
        );
    }
}
