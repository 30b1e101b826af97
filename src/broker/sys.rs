//! `$SYS/broker/…`: the broker's figures as retained topics, with mosquitto's names.
//!
//! While no client subscribes only the moving averages are reckoned, once an interval. While one does, each
//! topic is sent when its value has changed. A SUBSCRIBE has the topics that it matches looked up anew, and
//! no others: they are retained for it, and the other subscribers hear of them with the next interval.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Broker;
use super::mailbox::Account;
use super::metrics::{self, BrokerLoads, Metric, MetricValue};
use super::overload::Cause;
use super::publish::{Publisher, Submission};
use super::registry::PageStart;
use super::router::{Retain, Retaining, asks_for_clients};
use super::turn::Turn;
use crate::codec::{Properties, QoS};
use crate::message::{ClientId, Draft};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::TopicName;

/// What Sessions are walked for, below `$SYS/broker/`.
const IN_FLIGHT: &str = "messages/inflight";
/// Single clients of which something is said, at most.
const CLIENTS_MAX: usize = 1000;
/// Filters of one SUBSCRIBE that are told apart; for more of them everything is looked up.
const FILTERS_MAX: usize = 16;
/// A SUBSCRIBE to more metrics than these has all of them looked up; a family of metrics counts as many.
const METRICS_MAX: usize = 32;
const FAMILY: usize = 8;
/// SUBSCRIBEs make all metrics, and figures of all clients, be looked up once in so long, however many
/// clients ask.
const ALL_EVERY: Duration = Duration::from_secs(1);
/// Sessions looked at in one go to count what is in flight.
const WALK: usize = 1024;

/// What was last said of each topic, and what is known for the next time.
#[derive(Debug)]
pub struct Sys {
    said: Mutex<Said>,
    /// Copies in flight when they were last counted.
    in_flight: AtomicU64,
    heap_max: AtomicU64,
    built: OnceLock<String>,
}

#[derive(Debug)]
struct Said {
    values: BTreeMap<String, SaidValue>,
    next: Time,
    /// No SUBSCRIBE makes all metrics be looked up before this.
    all_next: Time,
    /// No SUBSCRIBE makes clients be looked at before this.
    clients_next: Time,
    loads: BrokerLoads,
    walk: Option<InFlightWalk>,
}

#[derive(Debug)]
struct SaidValue {
    text: String,
    /// Subscribers have heard it.
    told: bool,
}

/// Sessions are looked at page by page; `copies` are in flight in those before `from`.
#[derive(Debug, Default)]
struct InFlightWalk {
    from: PageStart,
    copies: u64,
}

impl Sys {
    /// Nothing said yet.
    pub fn new(now: Time) -> Sys {
        let said = Said {
            values: BTreeMap::new(),
            next: now,
            all_next: now,
            clients_next: now,
            loads: BrokerLoads::new(now),
            walk: None,
        };
        Sys {
            said: Mutex::new(said),
            in_flight: AtomicU64::new(0),
            heap_max: AtomicU64::new(0),
            built: OnceLock::new(),
        }
    }

    /// Copies of `QoS` 1 and 2 in flight, as last counted.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The moving averages as they stand.
    pub(super) fn loads(&self) -> BrokerLoads {
        self.lock().loads.clone()
    }

    /// When the program was built, if that is known.
    pub(super) fn built(&self) -> Option<&str> {
        self.built.get().map(String::as_str)
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("no code panics while it holds what was said")
    }
}

impl Broker {
    /// Makes `$SYS/broker/timestamp` say when the running program was built. Only the first call counts.
    pub fn say_built(&self, text: &str) {
        self.0.sys.built.get_or_init(|| text.to_owned());
    }

    /// Reckons the averages and, if a client subscribes, publishes what has changed; once an interval.
    pub(super) fn tick_sys(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let interval = self.0.settings.sys_interval.0;
        if interval.is_zero() {
            return None;
        }
        let next = self.said().next;
        if turn.now >= next {
            self.begin_interval(turn.now);
            if self.0.router.sys_wanted() {
                self.say_sys(turn);
            }
        }
        if self.walk_on() { Some(turn.now) } else { Some(self.said().next) }
    }

    fn begin_interval(&self, now: Time) {
        let counts = self.load_counts();
        self.heap();
        let counted = TopicName::trusted("$SYS/broker/messages/inflight");
        let walks = self.0.router.sys_wanted() && self.0.router.is_wanted(counted);
        let mut said = self.said();
        said.loads.step(counts, now);
        said.next = now.after(self.0.settings.sys_interval.0);
        said.walk = walks.then(InFlightWalk::default);
    }

    /// Counts what is in flight in the next Sessions. Whether there are more.
    fn walk_on(&self) -> bool {
        let Some(InFlightWalk { from, mut copies }) = self.said().walk.take() else {
            return false;
        };
        let (found, next) = self.0.registry.page(from, WALK);
        copies += found.iter().map(|(_, mailbox, _)| in_flight(&mailbox.account())).sum::<u64>();
        if let Some(from) = next {
            self.said().walk = Some(InFlightWalk { from, copies });
            return true;
        }
        let groups = self.0.router.groups();
        copies += groups.iter().map(|(_, mailbox)| in_flight(&mailbox.account())).sum::<u64>();
        self.0.sys.in_flight.store(copies, Ordering::Relaxed);
        false
    }

    /// Memory of the process now, and the most there was when it was looked at.
    pub(super) fn heap(&self) -> (u64, u64) {
        let (_, readings) = self.readings();
        let memory = readings.iter().find(|reading| reading.cause() == Cause::Memory);
        let now = memory.map_or(0, |reading| reading.value());
        (now, self.0.sys.heap_max.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Publishes what has changed.
    fn say_sys(&self, turn: &mut Turn<'_>) {
        let mut values = Vec::new();
        self.visit_metrics(turn.now, &mut say(&mut values));
        if self.0.router.sys_clients_wanted() {
            self.add_clients(&mut values);
        }
        let mut changed = Vec::new();
        {
            let mut said = self.said();
            // Of clients that are gone, or of no interest any more, nothing is said.
            said.take_out_old(&values, |_| true, &mut changed);
            for (topic, text) in values {
                if said.values.get(&topic).is_none_or(|said| !said.told || said.text != text) {
                    said.values.insert(topic.clone(), SaidValue { text: text.clone(), told: true });
                    changed.push((topic, text));
                }
            }
        }
        self.publish_sys(&changed, turn);
    }

    /// Makes the retained messages of the topics that a SUBSCRIBE to these `filters` matches say what is so
    /// now, or of many topics what was so a second ago. The other subscribers are told at the next tick: so
    /// a SUBSCRIBE costs nothing for each of them.
    pub(super) fn refresh_sys(&self, filters: &[&str], turn: &mut Turn<'_>) {
        if self.0.settings.sys_interval.0.is_zero() {
            return;
        }
        let all = asks_for_many(filters);
        let may_look = !all || self.may_look_at_all(turn.now);
        let wants = |metric: &Metric| {
            may_look && (all || filters.iter().any(|filter| may_match(filter, metric.topic())))
        };
        if may_look && (all || filters.iter().any(|filter| may_match(filter, IN_FLIGHT))) {
            self.count_few_in_flight(turn);
        }
        let mut values = Vec::new();
        if may_look {
            self.visit_wanted(turn.now, &wants, &mut say(&mut values));
        }
        let mut all_clients = false;
        for filter in filters.iter().filter(|filter| asks_for_clients(filter)) {
            match client_of(filter) {
                Some(client_id) => self.add_client(client_id, &mut values),
                None => all_clients = true,
            }
        }
        let clients = all_clients && self.may_look_at_clients(turn.now);
        if clients {
            self.add_clients(&mut values);
        }
        turn.work.add(values.len(), 0);
        let (mut changed, mut old) = (Vec::new(), Vec::new());
        {
            let mut said = self.said();
            if clients {
                said.take_out_old(&values, asks_for_clients, &mut old);
            }
            if may_look {
                let all = if all { &[ALL][..] } else { filters };
                said.take_out_old(&values, |topic| was_looked_for(topic, all), &mut old);
            }
            for (topic, text) in values {
                if said.values.get(&topic).is_none_or(|said| said.text != text) {
                    said.values
                        .insert(topic.clone(), SaidValue { text: text.clone(), told: false });
                    changed.push((topic, text));
                }
            }
        }
        self.retain_sys(&changed, turn);
        self.publish_sys(&old, turn);
    }

    /// Makes retained messages say what has changed, without telling the subscribers there are.
    fn retain_sys(&self, changed: &[(String, String)], turn: &mut Turn<'_>) {
        let (router, mut told) = (&self.0.router, Vec::new());
        for (topic, text) in changed {
            let draft = draft_of(topic, text);
            let message = draft.into_message(&self.0.system, turn.now);
            let retaining = Retaining { what: Retain::Set(message), kept: false, owner: None };
            router.retained().change(draft.topic, retaining);
            if !router.is_wanted(draft.topic) {
                told.push(topic);
            }
        }
        // No other client is left to be told of these.
        let mut said = self.said();
        for topic in told {
            said.values.entry(topic.clone()).and_modify(|said| said.told = true);
        }
    }

    /// Where one look is enough nothing waits for the next interval.
    fn count_few_in_flight(&self, turn: &mut Turn<'_>) {
        let (sessions, groups) = (self.0.registry.sessions(), self.0.router.group_count());
        if sessions <= WALK / 2 && groups <= WALK {
            turn.work.add(sessions + groups, 0);
            self.said().walk = Some(InFlightWalk::default());
            while self.walk_on() {}
        }
    }

    fn may_look_at_all(&self, now: Time) -> bool {
        may_again(&mut self.said().all_next, now)
    }

    fn may_look_at_clients(&self, now: Time) -> bool {
        may_again(&mut self.said().clients_next, now)
    }

    fn publish_sys(&self, changed: &[(String, String)], turn: &mut Turn<'_>) {
        for (topic, text) in changed {
            self.publish(Submission::new(&draft_of(topic, text), Publisher::System), turn);
        }
    }

    /// What has changed is worth saying at the next tick.
    pub(super) fn say_sys_soon(&self, now: Time) {
        self.said().next = now;
    }

    /// What is known of one client.
    fn add_client(&self, client_id: &str, values: &mut Vec<(String, String)>) {
        if let Some((mailbox, _)) = self.0.registry.mailbox(&ClientId::new(client_id)) {
            Broker::visit_client(client_id, &mailbox, &mut say(values));
        }
    }

    /// What is known of single clients: of those that are shaped, or lost something.
    fn add_clients(&self, values: &mut Vec<(String, String)>) {
        let mut clients = 0;
        for (client_id, mailbox, _) in self.0.registry.mailboxes() {
            // Some identifiers are no part of a Topic Name.
            if client_id.as_str().contains(['+', '#']) {
                continue;
            }
            let shown = Broker::visit_client(client_id.as_str(), &mailbox, &mut say(values));
            clients += usize::from(shown);
            if clients >= CLIENTS_MAX {
                return;
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.sys.lock()
    }
}

impl Said {
    /// Takes out what is not among `values` and among those topics that `known` names, and adds it to `old`
    /// with no value.
    fn take_out_old(
        &mut self,
        values: &[(String, String)],
        known: impl Fn(&str) -> bool,
        old: &mut Vec<(String, String)>,
    ) {
        let now: BTreeSet<&str> = values.iter().map(|(topic, _)| topic.as_str()).collect();
        self.values.retain(|topic, _| {
            let stays = now.contains(topic.as_str()) || !known(topic);
            if !stays {
                old.push((topic.clone(), String::new()));
            }
            stays
        });
    }
}

fn draft_of<'a>(topic: &'a str, text: &'a str) -> Draft<'a> {
    Draft {
        topic: TopicName::trusted(topic),
        qos: QoS::AtMostOnce,
        retain: true,
        expiry: None,
        properties: Properties::EMPTY,
        payload: text.as_bytes(),
    }
}

/// Whether it is time for what is done once in [`ALL_EVERY`].
fn may_again(next: &mut Time, now: Time) -> bool {
    let may = *next <= now;
    if may {
        *next = now.after(ALL_EVERY);
    }
    may
}

/// Whether filters match so much that everything is looked up, once for all clients that ask.
fn asks_for_many(filters: &[&str]) -> bool {
    // Those of single clients are looked up apart.
    let matched = metrics::all().map(Metric::topic).filter(|topic| {
        let asked = || filters.iter().take(FILTERS_MAX).any(|filter| may_match(filter, topic));
        !topic.starts_with("clients/<") && asked()
    });
    let costs = matched.map(|topic| if topic.contains('<') { FAMILY } else { 1 });
    filters.len() > FILTERS_MAX || costs.sum::<usize>() > METRICS_MAX
}

/// The client that a filter below `$SYS/broker/clients/` asks for, if it names one.
fn client_of(filter: &str) -> Option<&str> {
    let (client_id, _) = filter.strip_prefix("$SYS/broker/clients/")?.split_once('/')?;
    (client_id != "+").then_some(client_id)
}

/// Copies of `QoS` 1 and 2 that the receiver has not acknowledged.
fn in_flight(account: &Account) -> u64 {
    let lost: u64 = account.ledger[1].iter().map(|copies| u64::from(*copies)).sum();
    let ended = account.completed[1] + account.queued[1] + lost;
    account.routed[1].saturating_sub(ended)
}

/// Whether `filter` may match a topic below `$SYS/broker/`, of which a level in angle brackets may be any.
fn may_match(filter: &str, topic: &str) -> bool {
    let mut levels = ["$SYS", "broker"].into_iter().chain(topic.split('/'));
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == "+" || level == part || level.starts_with('<') => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether what `topic` says was looked up for one of `filters`: if it was not found, it says nothing any
/// more.
fn was_looked_for(topic: &str, filters: &[&str]) -> bool {
    let below = topic.strip_prefix("$SYS/broker/").unwrap_or(topic);
    !asks_for_clients(topic) && filters.iter().any(|filter| may_match(filter, below))
}

const ALL: &str = "#";

/// Adds what it is shown to `values`: the topic, and the value as text.
fn say(
    values: &mut Vec<(String, String)>,
) -> impl FnMut(&'static Metric, &[&str], MetricValue<'_>) + '_ {
    |metric, labels, value| values.push((metric.topic_of(labels), metric.text_of(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_compared_with_a_family_of_topics() {
        for (filter, topic, wanted) in [
            ("$SYS/#", "version", true),
            ("$SYS/broker/version", "version", true),
            ("$SYS/broker/version/#", "version", true),
            ("$SYS/broker/version", "uptime", false),
            ("$SYS/broker/+", "clients/total", false),
            ("$SYS/+/clients/+", "clients/total", true),
            ("$SYS/broker/ledger/expired", "ledger/<reason>", true),
            ("$SYS/broker/load/+/+/1min", "load/bytes/sent/<span>", true),
            ("$SYS/broker", "version", false),
            ("$SYS/other/#", "version", false),
        ] {
            assert_eq!(may_match(filter, topic), wanted, "{filter} {topic}");
        }
    }
}
