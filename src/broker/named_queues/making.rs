//! Named queues that are made and removed at run time. Their definitions are in the store.

use std::fmt::{self, Display};

use super::QueueSource;
use crate::broker::Broker;
use crate::broker::ports::Receipt;
use crate::broker::turn::{Scratch, Turn};
use crate::config::{Config, NamedQueue};
use crate::sync::whole;
use crate::time::Time;
use crate::topic::TopicFilter;

/// Why a named queue is not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueNotMade {
    /// There is one of this name, in the configuration or made at run time.
    Exists(QueueSource),
    /// There are `totals.queues_max` already: as many as this.
    TooMany(u32),
    /// A node of a cluster has none.
    InCluster,
    /// The store has no room.
    NoRoom,
}

/// Why a named queue is not removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueNotRemoved {
    /// There is none of this name.
    Unknown,
    /// The configuration has it.
    Configured,
    /// So many messages wait in it: more than were named.
    Waiting(usize),
}

impl Broker {
    /// Makes a named queue that a configuration could have. It collects from now on, and after a restart too
    /// if there is a store, which has it when the receipt is durable. A queue of this name that has no definition
    /// is taken up with what waits in it.
    ///
    /// # Errors
    ///
    /// Why it is not made.
    pub fn make_queue(
        &self,
        queue: NamedQueue,
        now: Time,
        scratch: &mut Scratch,
    ) -> Result<Option<Receipt>, QueueNotMade> {
        let has_log = queue.keep.is_some();
        let (made, receipt) = self.in_turn(now, scratch, |turn| self.make_queue_in(queue, turn));
        made?;
        if has_log {
            self.wake_readers();
        }
        Ok(receipt)
    }

    fn make_queue_in(&self, queue: NamedQueue, turn: &mut Turn<'_>) -> Result<(), QueueNotMade> {
        let definitions = &mut *whole(self.0.named_queues.0.lock());
        let (source, max) = (definitions.source(&queue.name), self.0.totals.queues_max);
        if source != QueueSource::None {
            return Err(QueueNotMade::Exists(source));
        }
        if definitions.made.len() >= max as usize {
            return Err(QueueNotMade::TooMany(max));
        }
        if self.is_node() {
            return Err(QueueNotMade::InCluster);
        }
        if self.no_room_to_subscribe().is_some() {
            return Err(QueueNotMade::NoRoom);
        }
        self.define_queue(&queue, &definitions.queue, turn);
        self.set_made_log(&queue.name, Some(&queue), turn);
        if self.0.remembers {
            turn.batch.rare().queues.push((queue.name.clone(), Some(Box::new(queue.clone()))));
        }
        definitions.made.insert(queue.name.clone(), queue);
        Ok(())
    }

    /// Takes the definition of a named queue away and drops what waits in it, for [`Loss::Purged`]. What consumers
    /// have in flight stays with them; the queue itself goes when no consumer is subscribed and nothing is in
    /// flight. Returns how many messages were dropped, and the receipt of what the store was told.
    ///
    /// # Errors
    ///
    /// Why it is not removed: above all, more than `discard` messages wait.
    ///
    /// [`Loss::Purged`]: crate::message::Loss::Purged
    pub fn remove_queue(
        &self,
        name: &str,
        discard: usize,
        now: Time,
        scratch: &mut Scratch,
    ) -> Result<(usize, Option<Receipt>), QueueNotRemoved> {
        let remove = |turn: &mut Turn<'_>| self.remove_queue_in(name, discard, turn);
        let (removed, receipt) = self.in_turn(now, scratch, remove);
        removed.map(|discarded| (discarded, receipt))
    }

    fn remove_queue_in(
        &self,
        name: &str,
        discard: usize,
        turn: &mut Turn<'_>,
    ) -> Result<usize, QueueNotRemoved> {
        let filter = TopicFilter::of_queue(name);
        let definitions = &mut *whole(self.0.named_queues.0.lock());
        if definitions.configured.contains_key(name) {
            return Err(QueueNotRemoved::Configured);
        }
        let mailbox = self.0.router.group_of(&filter).ok_or(QueueNotRemoved::Unknown)?;
        let discarded = self.purge_mailbox(&mailbox, discard, turn);
        let discarded = discarded.map_err(QueueNotRemoved::Waiting)?;
        // What comes before this waits until it is consumed, or removed too.
        self.after_change(self.0.router.define_queue(&filter, None), turn);
        self.after_change(self.0.router.forget_lonely_queues(), turn);
        if definitions.made.remove(name).is_some() {
            self.set_made_log(name, None, turn);
            if self.0.remembers {
                turn.batch.rare().queues.push((name.to_owned(), None));
            }
        }
        Ok(discarded)
    }

    /// Takes over the definitions that the store has.
    pub(in crate::broker) fn restore_definitions(&self, queues: Vec<NamedQueue>) {
        self.restore_made_logs(&queues);
        let definitions = &mut *whole(self.0.named_queues.0.lock());
        definitions.made = queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect();
    }

    /// Whether each queue, and each log, is defined in one place.
    ///
    /// # Errors
    ///
    /// Those that the configuration and the store both define, in words.
    pub(in crate::broker) fn check_definitions(&self) -> Result<(), String> {
        let definitions = whole(self.0.named_queues.0.lock());
        let both =
            definitions.configured.keys().filter(|name| definitions.made.contains_key(*name));
        let mut both: Vec<_> =
            both.map(|name| TwoDefinitions("named_queue", name).to_string()).collect();
        let logs = self.logs_in_both().into_iter();
        let logs = logs.filter(|name| !definitions.configured.contains_key(name));
        both.extend(logs.map(|name| TwoDefinitions("keep", &name).to_string()));
        if both.is_empty() { Ok(()) } else { Err(both.join("; ")) }
    }

    /// What is wrong with `config` beside the named queues that were made at run time: a line for each name that
    /// both have.
    pub fn queues_in_both(&self, config: &Config) -> Vec<String> {
        let definitions = whole(self.0.named_queues.0.lock());
        let names = config.named_queue.iter().map(|queue| &queue.name);
        let both = names.filter(|name| definitions.made.contains_key(*name));
        let has_log =
            |name: &&String| definitions.made.get(*name).is_some_and(|queue| queue.keep.is_some());
        let logs = config.keep.iter().map(|keep| &keep.name).filter(has_log);
        both.map(|name| TwoDefinitions("named_queue", name).to_string())
            .chain(logs.map(|name| TwoDefinitions("keep", name).to_string()))
            .collect()
    }
}

/// One name in the configuration and in the store.
struct TwoDefinitions<'a>(&'static str, &'a str);

impl Display for TwoDefinitions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TwoDefinitions(section, name) = self;
        write!(
            f,
            "{section}: {name:?} is in the configuration, and was made by the HTTP API too: give it another name in \
             the configuration, or remove the other one first (DELETE /api/v1/queues/{name})"
        )
    }
}
