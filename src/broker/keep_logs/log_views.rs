//! Logs of kept messages as they are seen from outside, and an end to one of them.

use super::LogDefinition;
use crate::broker::Broker;
use crate::broker::QueueSource;
use crate::broker::mailbox::LogState;
use crate::broker::ports::Receipt;
use crate::broker::turn::{Scratch, Turn};
use crate::config::{Binding, KeepLimits};
use crate::sync::whole;
use crate::time::Time;
use crate::topic::TopicFilter;

/// One log at one moment.
#[derive(Clone, Debug)]
pub struct KeepView {
    name: String,
    source: QueueSource,
    definition: Option<LogDefinition>,
    state: LogState,
}

/// Why a log is not removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogNotRemoved {
    /// There is none of this name.
    Unknown,
    /// The configuration has it, or a named queue.
    Defined,
    /// It has so many messages: more than were named.
    Keeps(usize),
}

impl Broker {
    /// Logs by name: at most `max` of those behind `after`.
    pub fn keeps(&self, after: Option<&str>, max: usize) -> Vec<KeepView> {
        let logs = self.0.router.log_page(after, max);
        let definitions = whole(self.0.keep_logs.definitions.lock());
        let views = logs.into_iter().map(|(filter, mailbox)| {
            let name = filter.replay().unwrap_or_default().to_owned();
            let source = match &name {
                name if definitions.configured.contains_key(name) => QueueSource::Configuration,
                name if definitions.made.contains_key(name) => QueueSource::Made,
                _ => QueueSource::None,
            };
            let definition = definitions.of(&name).cloned();
            KeepView { name, source, definition, state: mailbox.log_state().unwrap_or_default() }
        });
        views.collect()
    }

    /// Removes a log that has no definition, and what it has: that ends as completed. Returns how many messages those
    /// were, and the receipt of what the store was told.
    ///
    /// # Errors
    ///
    /// Why it is not removed: above all, it has more than `discard` messages.
    pub fn remove_log(
        &self,
        name: &str,
        discard: usize,
        now: Time,
        scratch: &mut Scratch,
    ) -> Result<(usize, Option<Receipt>), LogNotRemoved> {
        let remove = |turn: &mut Turn<'_>| self.remove_log_in(name, discard, turn);
        let (removed, receipt) = self.in_turn(now, scratch, remove);
        removed.map(|discarded| (discarded, receipt))
    }

    fn remove_log_in(
        &self,
        name: &str,
        discard: usize,
        turn: &mut Turn<'_>,
    ) -> Result<usize, LogNotRemoved> {
        let definitions = whole(self.0.keep_logs.definitions.lock());
        let mailbox = self.0.router.group_of(&TopicFilter::of_log(name));
        let mailbox = mailbox.ok_or(LogNotRemoved::Unknown)?;
        if definitions.of(name).is_some() {
            return Err(LogNotRemoved::Defined);
        }
        let discarded = mailbox.drop_kept(discard, &mut turn.gone);
        let discarded = discarded.map_err(LogNotRemoved::Keeps)?;
        self.after_change(self.0.router.forget_lonely_queues(), turn);
        Ok(discarded)
    }
}

impl KeepView {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is defined.
    pub fn source(&self) -> QueueSource {
        self.source
    }

    /// What it collects, and how long that stays; none of a log that has left the configuration.
    pub fn definition(&self) -> Option<(&[Binding], &KeepLimits)> {
        self.definition.as_ref().map(|own| (&own.bindings[..], &own.limits))
    }

    /// What it has, and its readers.
    pub fn state(&self) -> &LogState {
        &self.state
    }
}
