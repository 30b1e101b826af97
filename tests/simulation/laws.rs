//! Both laws over all receivers and publishers, what the oracle foretells, and what a round reached.

use std::collections::BTreeMap;

use sluicemq::broker::View;
use sluicemq::broker::metrics::Counter;
use sluicemq::message::{GroupId, Loss, SessionId};

use super::World;
use crate::check::{self, Answers, Copies};
use crate::letters::Of;
use crate::plan::READER;

impl World {
    pub(super) fn session_of(&self, client: usize) -> Option<SessionId> {
        let name = &self.clients[client].name;
        let sessions = self.broker.view().sessions;
        sessions.iter().find(|session| session.client_id.as_str() == name).map(|s| s.id)
    }

    /// Both laws, and what the oracle foretells.
    pub(super) fn audit(&mut self) {
        let view = self.broker.view();
        if self.disk.as_ref().is_some_and(|disk| disk.is_idle()) {
            self.work.jobs.written();
        }
        let owed = self.conns.values().map(|conn| conn.link.owed() as u64).sum();
        let (own, of_group) = self.in_flight();
        let in_flight = own.values().chain(of_group.values()).sum();
        let mut queued = 0;
        for session in &view.sessions {
            let name = session.client_id.as_str();
            let flying = own.get(name).copied().unwrap_or_default();
            self.demand(check::first_law(&session.account, flying), name);
            if self.plan.letters && name != READER {
                self.letters.account(Of::Session(session.id), name, &session.account);
            }
            queued += session.account.queued.iter().sum::<u64>();
        }
        for (group, account) in &view.groups {
            let flying = of_group.get(group).copied().unwrap_or_default();
            self.demand(check::first_law(account, flying), &format!("group {group}"));
            if self.plan.letters {
                self.letters.account(Of::Group(*group), "$share", account);
            }
            queued += account.queued.iter().sum::<u64>();
        }
        let metrics = self.broker.metrics();
        let copies = Copies {
            routed: metrics.sum(Counter::Routed),
            completed: metrics.sum(Counter::Completed),
            in_flight,
            queued,
            ledger: Loss::ALL.into_iter().map(|loss| metrics.lost(loss)).sum(),
        };
        self.demand(copies.check(), "all receivers");
        if !self.plan.config.topic_class.is_empty() {
            let verdict = check::classes_add_up(&view.topics, metrics);
            self.demand(verdict, "all classes of topics");
            let unread = view.topics.last().map_or(0, |class| class.ledger.iter().sum());
            self.reached.read_late = self.reached.read_late.max(unread);
        }
        let answers = Answers {
            received: metrics.sum(Counter::ReceivedAboveQos0),
            accepted: metrics.sum(Counter::Accepted),
            refused: metrics.sum(Counter::Refused),
            repeats: metrics.sum(Counter::Repeats),
            owed,
            lost: metrics.sum(Counter::LostWithConnection),
        };
        self.demand(answers.check(), "all publishers");
        self.foretold(&view);
    }

    /// Copies in flight, by client and by group.
    fn in_flight(&self) -> (BTreeMap<String, u64>, BTreeMap<GroupId, u64>) {
        let live = self.conns.values();
        let live = live.map(|conn| (self.clients[conn.client].name.clone(), conn.link.in_flight()));
        let parked = self.broker.parked_in_flight();
        let parked =
            parked.into_iter().map(|(client, groups)| (client.as_str().to_owned(), groups));
        let (mut own, mut of_group) = (BTreeMap::new(), BTreeMap::new());
        for (client, groups) in live.chain(parked) {
            for group in groups {
                match group {
                    None => *own.entry(client.clone()).or_default() += 1,
                    Some(group) => *of_group.entry(group).or_default() += 1,
                }
            }
        }
        (own, of_group)
    }

    /// Copies that were routed, as many as the oracle foretells.
    fn foretold(&mut self, view: &View) {
        for client in 0..self.clients.len() {
            let name = &self.clients[client].name;
            let session = view.sessions.iter().find(|s| s.client_id.as_str() == name);
            self.oracle.session(client, session.map(|session| session.id));
            if let Some(session) = session.filter(|_| self.plan.exact && name != READER) {
                let routed = self.oracle.routed(client);
                if routed != session.account.routed {
                    self.fail(&format!(
                        "c{client}: {routed:?} foretold, {:?} routed",
                        session.account.routed
                    ));
                }
            }
        }
    }

    pub(super) fn count(&mut self) {
        let metrics = self.broker.metrics();
        self.reached.accepted = metrics.sum(Counter::Accepted);
        self.reached.refused = metrics.sum(Counter::Refused);
        self.reached.repeats = metrics.sum(Counter::Repeats);
        self.reached.rate_pauses = metrics.sum(Counter::RatePauses);
        self.reached.rate_refused = metrics.sum(Counter::RateRefused);
        self.reached.rate_dropped = metrics.sum(Counter::RateDropped);
        self.reached.rate_disconnects = metrics.sum(Counter::RateDisconnects);
        self.reached.shed = metrics.sum(Counter::Shed);
        self.reached.held_up = metrics.sum(Counter::HeldUp);
        self.reached.lost_with_connection = metrics.sum(Counter::LostWithConnection);
        for loss in Loss::ALL {
            self.reached.ledger[loss as usize] = metrics.lost(loss);
        }
        for (entries, class) in self.reached.classes.iter_mut().zip(metrics.topics().losses()) {
            *entries = class.reasons().map(|(_, count)| count).sum();
        }
        self.reached.retried = metrics.sum(Counter::Retried);
        self.reached.given_away = metrics.sum(Counter::GivenAway);
        self.reached.completed_late = metrics.sum(Counter::CompletedLate);
        self.reached.duplicates = metrics.sum(Counter::Duplicates);
        (self.reached.delayed, self.reached.read) = (self.work.late, self.work.read);
        if let Some(store) = &self.store {
            self.reached.full_store = store.refusals();
            [self.reached.slow_for_a_while, self.reached.full_for_a_while] = store.waits();
            self.reached.failed_store = u64::from(store.failed());
        }
    }
}
