//! The named queues among the groups: a definition makes one, and what it collects are its routes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::bindings::Bindings;
use super::groups::GroupFound;
use super::route::{Route, RouteKey};
use super::{Changed, Router, Routes};
use crate::broker::classes::Rules;
use crate::broker::mailbox::Mailbox;
use crate::config::{Binding, Sharing};
use crate::topic::TopicFilter;

impl Router {
    /// Gives the named queue or log of `filter` a definition: its rules, what it collects, and how its
    /// consumers share, if it has any; makes it if there is none. `None` takes the definition away: it
    /// collects nothing more, and goes when nothing waits in it.
    pub fn define_queue(
        &self,
        filter: &TopicFilter,
        definition: Option<(&Arc<Rules>, &[Binding], Option<&Sharing>)>,
    ) -> Changed {
        let mut changed = Changed::default();
        let Routes { tree, groups, .. } = &mut *self.write();
        if definition.is_some() && !groups.contains(filter) {
            let id = groups.make_queue(filter);
            self.counts.undefined_queues.fetch_add(1, Ordering::Relaxed);
            changed.effects().groups.push((id, Some(filter.clone())));
        }
        let bindings = definition.map(|(_, bindings, _)| bindings);
        let Some((id, mailbox, before)) = groups.set_bindings(filter, bindings) else {
            return changed;
        };
        let undefined = groups.queues().filter(|(.., defined)| !defined).count();
        self.counts.undefined_queues.store(undefined, Ordering::Relaxed);
        let key = RouteKey::of_group(id);
        for (filter, _) in before.filters() {
            tree.remove(filter, key);
        }
        if let Some((rules, _, sharing)) = definition {
            mailbox.set_rules(rules);
            let wakers = sharing.map(|sharing| groups.share_by(&mailbox, sharing));
            changed.effects().wakers.extend(wakers.into_iter().flatten());
        }
        for (filter, number) in groups.bindings(id).into_iter().flat_map(Bindings::filters) {
            tree.insert(filter, key, Route::to_queue(mailbox.clone(), number));
        }
        self.renew_version();
        changed
    }

    /// The named queues, each with its mailbox and whether it has a definition.
    pub fn queues(&self) -> Vec<(TopicFilter, Arc<Mailbox>, bool)> {
        self.defined(|filter| filter.queue().is_some())
    }

    /// The logs of kept messages, each with its mailbox and whether it has a definition.
    pub fn logs(&self) -> Vec<(TopicFilter, Arc<Mailbox>, bool)> {
        self.defined(|filter| filter.replay().is_some())
    }

    /// Those of them whose filters are `of` interest.
    pub(super) fn defined(
        &self,
        of: fn(&TopicFilter) -> bool,
    ) -> Vec<(TopicFilter, Arc<Mailbox>, bool)> {
        let routes = self.read();
        let queues = routes.groups.queues().filter(|(filter, ..)| of(filter));
        queues
            .map(|(filter, mailbox, defined)| (filter.clone(), mailbox.clone(), defined))
            .collect()
    }

    /// Named queues by name, at most `max` of those behind the name `after`, each with so many of its members at
    /// most.
    pub fn queue_page(
        &self,
        after: Option<&str>,
        max: usize,
        members_max: usize,
    ) -> Vec<GroupFound> {
        let after = after.map(TopicFilter::of_queue);
        self.read().groups.queue_page(after.as_ref(), max, members_max)
    }

    /// Logs of kept messages by name, at most `max` of those behind the name `after`.
    pub fn log_page(&self, after: Option<&str>, max: usize) -> Vec<(TopicFilter, Arc<Mailbox>)> {
        let after = after.map(TopicFilter::of_log);
        self.read().groups.log_page(after.as_ref(), max)
    }

    /// Ends the named queues that nothing holds any more.
    pub fn forget_lonely_queues(&self) -> Changed {
        let mut changed = Changed::default();
        let has_lonely = !self.read().groups.lonely_queues().is_empty();
        if has_lonely {
            let routes = &mut *self.write();
            let lonely = routes.groups.lonely_queues();
            let ended = lonely.iter().filter_map(|filter| routes.groups.remove(filter));
            self.on_ended(&mut routes.tree, ended.collect::<Vec<_>>(), &mut changed);
        }
        changed
    }

    /// Whether there is a named queue without a definition.
    pub fn has_undefined_queues(&self) -> bool {
        self.counts.undefined_queues.load(Ordering::Relaxed) > 0
    }
}
