//! Named queues as they are seen from outside.

use crate::broker::routes_view::MEMBERS_MAX;
use crate::broker::{Broker, GroupView};
use crate::config::{NamedQueue, QueueConfig};
use crate::sync::whole;
use crate::time::Time;

/// Where a named queue is defined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QueueSource {
    /// In the configuration.
    Configuration,
    /// It was made at run time.
    Made,
    /// Nowhere any more: it drains.
    None,
}

/// One named queue at one moment.
#[derive(Clone, Debug)]
pub struct QueueView {
    name: String,
    group: GroupView,
    definition: Option<(NamedQueue, QueueConfig)>,
    source: QueueSource,
    set_aside: usize,
    postponed: usize,
    oldest: Option<Time>,
}

impl Broker {
    /// Named queues by name: at most `max` of those behind `after`.
    pub fn queues(&self, after: Option<&str>, max: usize) -> Vec<QueueView> {
        let queues = self.0.router.queue_page(after, max, MEMBERS_MAX);
        let definitions = whole(self.0.named_queues.0.lock());
        let views = queues.into_iter().map(|found| {
            let (set_aside, oldest) = (found.2.set_aside_count(), found.2.oldest());
            let postponed = found.2.postponed();
            let group = GroupView::of(found);
            let name = group.filter().queue().unwrap_or_default().to_owned();
            let source = definitions.source(&name);
            let own = definitions.configured.get(&name).or_else(|| definitions.made.get(&name));
            let definition = own.map(|own| (own.clone(), own.over(&definitions.queue)));
            QueueView { name, group, definition, source, set_aside, postponed, oldest }
        });
        views.collect()
    }
}

impl QueueView {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its consumers, and what was routed to it and became of that.
    pub fn group(&self) -> &GroupView {
        &self.group
    }

    /// What it is made of, and the limits that follow from it; none of a queue that drains.
    pub fn definition(&self) -> Option<(&NamedQueue, &QueueConfig)> {
        self.definition.as_ref().map(|(own, limits)| (own, limits))
    }

    /// Where it is defined.
    pub fn source(&self) -> QueueSource {
        self.source
    }

    /// Messages that no connected consumer may receive.
    pub fn set_aside(&self) -> usize {
        self.set_aside
    }

    /// Messages that have failed and wait for another attempt.
    pub fn postponed(&self) -> usize {
        self.postponed
    }

    /// When what waits first was received; `None` if nothing waits, or only the store has it.
    pub fn oldest(&self) -> Option<Time> {
        self.oldest
    }
}
