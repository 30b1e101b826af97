//! `$SYS/broker/…`: the broker's figures as retained topics, with mosquitto's names.
//!
//! Nothing is computed while no client subscribes; a topic is sent when its value has changed.

use std::collections::{BTreeMap, BTreeSet};

use super::Broker;
use super::metrics::{Metric, MetricValue};
use super::publish::{Publisher, Submission};
use super::turn::Turn;
use crate::codec::{Properties, QoS};
use crate::message::Draft;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Time;
use crate::topic::TopicName;

/// Single clients of which something is said, at most.
const CLIENTS_MAX: usize = 1000;

/// What was last said of each topic.
#[derive(Debug)]
pub struct Sys {
    said: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    values: BTreeMap<String, String>,
    next: Time,
}

impl Sys {
    /// Nothing said yet.
    pub fn new(now: Time) -> Sys {
        Sys { said: Mutex::new(Said { values: BTreeMap::new(), next: now }) }
    }
}

impl Broker {
    /// Publishes what has changed, if it is time and a client subscribes.
    pub(super) fn tick_sys(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let interval = self.0.settings.sys_interval.0;
        if interval.is_zero() || !self.0.router.sys_wanted() {
            return None;
        }
        let next = self.said().next;
        if turn.now < next {
            return Some(next);
        }
        self.say_sys(false, turn);
        Some(turn.now.after(interval))
    }

    /// Publishes what has changed, now: also called before a new Subscription to `$SYS`, so that
    /// its retained messages are there. `clients`: it asks for figures of single clients.
    pub(super) fn say_sys(&self, clients: bool, turn: &mut Turn<'_>) {
        if self.0.settings.sys_interval.0.is_zero() {
            return;
        }
        let mut values = self.sys_values(turn.now);
        if clients || self.0.router.sys_clients_wanted() {
            self.add_clients(&mut values);
        }
        let mut changed = Vec::new();
        {
            let mut said = self.said();
            said.next = turn.now.after(self.0.settings.sys_interval.0);
            // Of clients that are gone, or of no interest any more, nothing is said.
            let now: BTreeSet<&str> = values.iter().map(|(topic, _)| topic.as_str()).collect();
            let is_old = |topic: &&String| !now.contains(topic.as_str());
            let old: Vec<String> = said.values.keys().filter(is_old).cloned().collect();
            for topic in old {
                said.values.remove(&topic);
                changed.push((topic, String::new()));
            }
            for (topic, value) in values {
                if said.values.get(&topic) != Some(&value) {
                    said.values.insert(topic.clone(), value.clone());
                    changed.push((topic, value));
                }
            }
        }
        for (topic, value) in changed {
            let draft = Draft {
                topic: TopicName::trusted(&topic),
                qos: QoS::AtMostOnce,
                retain: true,
                expiry: None,
                properties: Properties::EMPTY,
                payload: value.as_bytes(),
            };
            self.publish(Submission::new(&draft, Publisher::System), turn);
        }
    }

    /// What has changed is worth saying at the next tick.
    pub(super) fn say_sys_soon(&self, now: Time) {
        self.said().next = now;
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
        self.0.sys.said.lock().expect("no code panics while it holds what was said")
    }

    fn sys_values(&self, now: Time) -> Vec<(String, String)> {
        let mut values = Vec::new();
        self.visit_metrics(now, &mut say(&mut values));
        values
    }
}

/// Adds what it is shown to `values`: the topic, and the value as text.
fn say(
    values: &mut Vec<(String, String)>,
) -> impl FnMut(&'static Metric, &[&str], MetricValue<'_>) + '_ {
    |metric, labels, value| values.push((metric.topic_of(labels), metric.text_of(value)))
}
