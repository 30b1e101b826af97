//! The quiet end of a round: every client comes back, takes and answers everything, and nothing is
//! left.

use std::collections::BTreeSet;
use std::time::Duration;

use sluicemq::broker::ClientView;
use sluicemq::broker::metrics::Counter;
use sluicemq::broker::overload::Pressure;
use sluicemq::codec::{Packet, Publish, QoS};
use sluicemq::config::Config;
use sluicemq::message::Loss;

use super::{ALWAYS, TOPICS, WILL, World};
use crate::check;
use crate::client::Client;
use crate::extras::QUEUE;
use crate::letters::Told;
use crate::plan::{EXPIRY_MAX, READER};

impl World {
    /// Everybody comes back, takes and answers everything: nothing may be left.
    pub(super) fn end_quietly(&mut self) {
        self.note("the quiet end");
        self.quiet = true;
        self.relieve();
        // No client is slowed down by a rate any more.
        self.broker.reload(&self.plan.without_rates(), self.now);
        let reader = self.reader();
        let left: Vec<_> = self.conns.keys().copied().filter(|id| Some(*id) != reader).collect();
        for id in left {
            let conn = self.conns.get_mut(&id).unwrap();
            conn.left = true;
            self.clients[conn.client].conn = None;
        }
        self.settle();
        // Clients with full Sessions may come first, and make room for the others.
        for _ in 0..2 {
            for client in 0..self.clients.len() {
                if self.usable(client).is_none() {
                    self.connect(client);
                }
            }
            self.settle();
            self.relieve();
            self.settle();
        }
        self.work_off();
        let view = self.broker.view();
        for session in &view.sessions {
            self.nothing_waits_for(session);
        }
        for conn in self.conns.values() {
            if !conn.link.in_flight().is_empty() {
                self.fail("still in flight");
            }
        }
        self.nothing_promised_is_missing();
        self.no_work_is_missing();
        self.all_letters_came();
        self.forget_everything();
        let [.., unread] = &self.broker.view().topics[..] else { return };
        if unread.reasons().any(|(_, count)| count > 0) {
            self.fail(&format!("never read: {unread:?}"));
        }
    }

    /// What is delayed becomes due, and the queue has consumers that take all it has.
    fn work_off(&mut self) {
        for client in 0..self.plan.clients {
            if let Some(conn) = self.usable(client).filter(|_| self.plan.extras.queue.is_some()) {
                self.consume(conn);
            }
        }
        for _ in 0..4 {
            self.settle();
            self.advance(Duration::from_secs(6));
        }
        self.settle();
    }

    /// The client of a Session is back, and nothing waits for it or is open.
    fn nothing_waits_for(&self, session: &ClientView) {
        let client = self.clients.iter().position(|c| c.name == session.client_id.as_str());
        let client = client.unwrap();
        if session.account.queued != [0, 0] {
            self.fail(&format!("c{client} still has {:?} waiting", session.account.queued));
        }
        if !session.connected {
            self.fail(&format!("c{client} did not come back"));
        }
        let it = &self.clients[client];
        if !it.out.is_empty() || !it.unreleased.is_empty() {
            self.fail(&format!("c{client} has {:?} and {:?} open", it.out, it.unreleased));
        }
        if self.plan.exact && client < self.plan.clients {
            self.nothing_is_missing(client, session);
        }
    }

    /// All that was routed to it came or is in its ledger, and nothing else came.
    fn nothing_is_missing(&self, client: usize, session: &ClientView) {
        let it = &self.clients[client];
        let ledger: u64 = session.account.ledger[1].iter().map(|n| u64::from(*n)).sum();
        let too_large = session.account.ledger[1][Loss::TooLarge as usize];
        let routed = self.oracle.above(client);
        let seen_lost = it.refused + u64::from(too_large);
        let seen: BTreeSet<u64> = it.seen.intersection(routed).copied().collect();
        let verdict = check::nothing_missing(routed, &seen, ledger, seen_lost);
        let lost = &session.account.ledger[1];
        let missing: Vec<_> = routed.difference(&it.seen).collect();
        let account = &session.account;
        self.demand(
            verdict,
            &format!(
                "c{client} without {missing:?}, ledger {lost:?}, {} of {:?} distinct, \
                 completed {:?}",
                routed.len(),
                account.routed,
                account.completed
            ),
        );
        if let Some(stray) = it.seen.difference(routed).find(|number| !self.oracle.shared(**number))
        {
            self.fail(&format!("c{client} got {stray}, which is not for it"));
        }
    }

    /// Where the broker died: what was acknowledged came, to everybody or to one of the group.
    fn nothing_promised_is_missing(&mut self) {
        if self.disk.is_none() {
            return;
        }
        for (message, topic) in &self.accepted {
            let wants = |client: &&Client| {
                let may = self.plan.rights.receives(&client.name, TOPICS[*topic]);
                may && client.since.is_some_and(|since| since < *message)
            };
            let mut who = self.clients.iter().filter(wants).peekable();
            let got = |client: &Client| client.got.contains(message);
            let came = match TOPICS[*topic] {
                name if name.starts_with("t/") => who.all(got),
                name if name.starts_with("g/a/") => {
                    self.ended || who.peek().is_none() || self.clients.iter().any(got)
                }
                _ => true,
            };
            if !came {
                let (name, seen) =
                    (TOPICS[*topic], self.clients.iter().map(|c| c.got.contains(message)));
                let seen: Vec<bool> = seen.collect();
                let lost = Loss::ALL.map(|loss| (loss, self.broker.metrics().lost(loss)));
                let lost: Vec<_> = lost.into_iter().filter(|(_, count)| *count > 0).collect();
                self.fail(&format!(
                    "message {message} on {name} was acknowledged; came: {seen:?}; {lost:?}"
                ));
            }
        }
    }

    /// What was dropped and what was read of it are the same.
    fn all_letters_came(&mut self) {
        let metrics = self.broker.metrics();
        let (published, lost) = (metrics.sum(Counter::Letters), metrics.sum(Counter::LettersLost));
        if !self.plan.letters {
            let attempts = metrics.lost(Loss::Attempts);
            assert_eq!(published + lost, attempts, "letters that nobody wants");
            return;
        }
        let view = self.broker.view();
        let reader = view.sessions.iter().find(|session| session.client_id.as_str() == READER);
        let reader = &reader.unwrap_or_else(|| self.fail("the reader has no Session")).account;
        let given_up = |loss: Loss| {
            reader.ledger.iter().map(|class| u64::from(class[loss as usize])).sum::<u64>()
        };
        let receivers = self.clients[..self.plan.clients].iter().map(|client| &*client.name);
        let told = Told {
            published,
            lost,
            ledger: Loss::ALL.map(|loss| metrics.lost(loss) - given_up(loss)),
            refused: given_up(Loss::QueueFull),
            given_up: Loss::ALL.into_iter().map(given_up).sum::<u64>() - given_up(Loss::QueueFull),
            everybody: receivers.chain(["$share", QUEUE]).all(|who| self.plan.wants_letters(who)),
        };
        self.demand(self.letters.check(&told, |who| self.plan.wants_letters(who)), "dead letters");
        self.reached.letters = self.letters.count();
        (self.reached.letters_lost, self.reached.letters_given_up) = (lost, told.given_up);
    }

    /// A client that may clears the retained message of each topic.
    fn clear_retained(&mut self) {
        for topic in TOPICS[..ALWAYS].iter().chain(&[WILL]) {
            let mut usable = (0..self.clients.len()).filter_map(|client| self.usable(client));
            let may = |id: &usize| {
                let client = &self.clients[self.conns[id].client].name;
                self.plan.rights.publishes(client, topic)
            };
            let id = usable.find(may);
            let id = id.unwrap_or_else(|| self.fail(&format!("no client can publish to {topic}")));
            self.conns.get_mut(&id).unwrap().send(&Packet::Publish(Publish {
                qos: QoS::AtMostOnce,
                retain: true,
                topic,
                ..Publish::default()
            }));
        }
        self.settle();
        // With room for one message in a queue each of them may have to wait for its receivers.
        for _ in TOPICS {
            if self.broker.view().retained != (0, 0) {
                self.settle();
            }
        }
        let view = self.broker.view();
        if view.retained != (0, 0) {
            self.fail(&format!("retained {:?}", view.retained));
        }
    }

    /// Retained messages are cleared, Sessions end: the broker is empty again.
    fn forget_everything(&mut self) {
        self.clear_retained();
        self.relieve();
        // A log or a queue that has nothing left goes with its definition.
        let without = self.plan.without_rates_and_logs();
        self.broker.reload(&without, self.now);
        // A Will may come to a log meanwhile.
        for _ in 0..3 {
            self.relieve();
            self.settle();
            if self.broker.view().groups.iter().all(|(_, account)| account.queued == [0, 0]) {
                break;
            }
        }
        for group in self.broker.groups(None, 9) {
            if group.account().queued != [0, 0] {
                self.fail(&format!(
                    "{} still waits: {:?}",
                    group.filter().as_str(),
                    group.account()
                ));
            }
        }
        let (keep, named_queue) = (Vec::new(), Vec::new());
        self.broker.reload(&Config { keep, named_queue, ..without }, self.now);
        self.relieve();
        self.settle();
        let view = self.broker.view();
        if view.message_bytes != 0 {
            self.fail(&format!("{} bytes of messages nobody waits for", view.message_bytes));
        }
        self.relieve();
        if self.broker.pressure() != Pressure::default() {
            self.fail("pressed by nothing");
        }
        for client in 0..self.clients.len() {
            if let Some(conn) = self.usable(client) {
                self.disconnect(conn);
            }
        }
        self.settle();
        self.advance(Duration::from_secs(u64::from(EXPIRY_MAX) + 1));
        self.settle();
        let view = self.broker.view();
        if !view.sessions.is_empty() || !view.groups.is_empty() || view.subscriptions != 0 {
            self.fail(&format!("left over: {view:?}"));
        }
        let retained_will = view.retained;
        if view.message_bytes != retained_will.1 {
            self.fail(&format!("{} bytes of messages at the end", view.message_bytes));
        }
        let unreleased = self.broker.metrics().connected();
        if unreleased != 0 {
            self.fail(&format!("{unreleased} clients counted as connected"));
        }
        if let Some(disk) = &self.disk
            && retained_will.0 == 0
            && !disk.rows().is_empty()
        {
            self.fail(&format!("rows left over, by their first bytes: {:?}", disk.rows()));
        }
    }
}
