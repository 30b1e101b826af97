//! `$SYS/broker/…`: the broker's figures as retained topics, with mosquitto's names.
//!
//! Nothing is computed while nobody subscribes; a topic is sent when its value changed.

use std::collections::{BTreeMap, BTreeSet};

use super::Broker;
use super::metrics::Counter;
use super::overload::Cause;
use super::turn::Turn;
use crate::codec::{Properties, QoS};
use crate::message::{Draft, Loss};
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
    /// Publishes what has changed, if it is time and somebody wants it.
    pub(super) fn tick_sys(&self, now: Time, turn: &mut Turn) -> Option<Time> {
        let interval = self.0.settings.sys_interval.0;
        if interval.is_zero() || !self.0.router.sys_wanted() {
            return None;
        }
        let next = self.said().next;
        if now < next {
            return Some(next);
        }
        self.say_sys(false, now, turn);
        Some(now.after(interval))
    }

    /// Publishes what has changed, now: also called before a new Subscription to `$SYS`, so that
    /// its retained messages are there. `clients`: it asks for figures of single clients.
    pub(super) fn say_sys(&self, clients: bool, now: Time, turn: &mut Turn) {
        if self.0.settings.sys_interval.0.is_zero() {
            return;
        }
        let mut values = self.sys_values(now);
        if clients || self.0.router.sys_clients_wanted() {
            self.add_clients(&mut values);
        }
        let mut changed = Vec::new();
        {
            let mut said = self.said();
            said.next = now.after(self.0.settings.sys_interval.0);
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
            self.publish(&draft, &self.0.system, None, now, turn);
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
            let id = client_id.as_str();
            let (account, pace) = (mailbox.account(), mailbox.pace());
            let lost = |loss: Loss| -> u32 {
                account.ledger.iter().map(|class| class[loss as usize]).sum()
            };
            let drops = Loss::ALL.into_iter().filter(|loss| loss.is_drop() && lost(*loss) > 0);
            let drops: Vec<_> = drops.collect();
            // Some identifiers are no part of a Topic Name.
            if (drops.is_empty() && pace.is_none()) || id.contains(['+', '#']) {
                continue;
            }
            clients += 1;
            if clients > CLIENTS_MAX {
                return;
            }
            let mut say = |topic: &str, value: String| {
                values.push((format!("$SYS/broker/clients/{id}/{topic}"), value));
            };
            let (messages, bytes) = mailbox.depth();
            say("queue/messages", messages.to_string());
            say("queue/bytes", bytes.to_string());
            for loss in drops {
                say(&format!("dropped/{}", loss.name()), lost(loss).to_string());
            }
            let class = mailbox.class();
            if let Some(pace) = pace {
                say("shaping/level/messages", pace.level.0.to_string());
                say("shaping/level/bytes", pace.level.1.to_string());
                say("shaping/delayed/ms", pace.delayed.as_millis().to_string());
                say("shaping/waited/ms", pace.waited.as_millis().to_string());
            }
            if !class.is_empty() {
                say("class", class.to_string());
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.sys.said.lock().expect("no code panics while it holds what was said")
    }

    fn sys_values(&self, now: Time) -> Vec<(String, String)> {
        let shared = &*self.0;
        let metrics = &shared.metrics;
        let connected = metrics.connected.load(std::sync::atomic::Ordering::Relaxed);
        let maximum = metrics.connected_max.load(std::sync::atomic::Ordering::Relaxed);
        let sessions = shared.registry.sessions();
        let (retained, retained_bytes) = shared.router.retained().totals();
        let mut values = Vec::new();
        let mut say = |topic: &str, value: String| {
            values.push((format!("$SYS/broker/{topic}"), value));
        };
        say("version", concat!("sluice ", env!("CARGO_PKG_VERSION")).to_owned());
        say("uptime", format!("{} seconds", now.since(shared.started).as_secs()));
        say("clients/connected", connected.to_string());
        say("clients/disconnected", sessions.saturating_sub(connected).to_string());
        say("clients/total", sessions.to_string());
        say("clients/maximum", maximum.to_string());
        for counter in Counter::ALL {
            say(counter.topic(), metrics.sum(counter).to_string());
        }
        say("messages/received", metrics.sum(Counter::Received).to_string());
        say("messages/sent", metrics.sum(Counter::Sent).to_string());
        say("publish/messages/dropped", metrics.dropped().to_string());
        say("retained messages/count", retained.to_string());
        say("retained messages/bytes", retained_bytes.to_string());
        say("subscriptions/count", shared.router.subscriptions().to_string());
        say("groups/count", shared.router.group_count().to_string());
        say("store/messages/bytes", shared.meter.bytes().to_string());
        say("letters/waiting", self.letters_waiting().to_string());
        let figures = shared.ports.store.figures();
        let batch = self.batching(&figures);
        let ratio = |of: u64, by: u64| format!("{:.2}", of as f64 / by.max(1) as f64);
        say("batch/packets per write", ratio(batch.packets, batch.writes));
        say("batch/messages per flush", ratio(batch.stored, batch.commits));
        for (name, value) in figures {
            say(&format!("store/{name}"), value.to_string());
        }
        let (cause, readings) = self.readings();
        let pressure = self.pressure();
        say("overload/level", pressure.level.to_string());
        say("overload/cap", pressure.cap.map_or("none".to_owned(), |cap| cap.to_string()));
        say("overload/cause", cause.map_or("none", Cause::name).to_owned());
        for reading in readings {
            say(&format!("overload/{}", reading.cause.name()), reading.value.to_string());
        }
        for loss in Loss::ALL {
            say(&format!("ledger/{}", loss.name()), metrics.lost(loss).to_string());
        }
        for losses in metrics.topics().losses() {
            for (reason, count) in losses.reasons().filter(|(_, count)| *count > 0) {
                say(&format!("ledger/topics/{}/{reason}", losses.class), count.to_string());
            }
        }
        values
    }
}
