//! The topics with subscribers, each under a number.

use std::collections::HashMap;
use std::rc::Rc;

/// Topic by name and by number; a topic lives as long as it has receivers.
#[derive(Default)]
pub struct Topics {
    numbers: HashMap<Rc<[u8]>, u32>,
    topics: Vec<Topic>,
    free: Vec<u32>,
}

/// A filter with subscribers.
struct Topic {
    name: Rc<[u8]>,
    /// Clients by index, each with the `QoS` of its subscription.
    receivers: Vec<(u32, u8)>,
}

impl Topics {
    /// The number of the topic `name`, if it has receivers.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The clients that receive `topic`, by index, each with the `QoS` of its subscription.
    pub fn receivers(&self, topic: u32) -> &[(u32, u8)] {
        &self.topics[topic as usize].receivers
    }

    /// Makes `client` a receiver of the topic `name`; returns the topic's number.
    pub fn join(&mut self, name: &[u8], client: u32, qos: u8) -> u32 {
        let topic = self.find(name).unwrap_or_else(|| self.insert(name.into()));
        let receivers = &mut self.topics[topic as usize].receivers;
        if receivers.is_empty() {
            receivers.reserve_exact(1);
        }
        receivers.push((client, qos));
        topic
    }

    /// Takes `client` out of the receivers of `topic`; the last one takes the topic with it.
    pub fn leave(&mut self, client: u32, topic: u32) {
        let known = &mut self.topics[topic as usize];
        known.receivers.retain(|(other, _)| *other != client);
        if known.receivers.is_empty() {
            self.numbers.remove(&known.name);
            *known = Topic::default();
            self.free.push(topic);
        }
    }

    fn insert(&mut self, name: Rc<[u8]>) -> u32 {
        let topic = self.free.pop().unwrap_or_else(|| {
            self.topics.push(Topic::default());
            self.topics.len() as u32 - 1
        });
        self.topics[topic as usize].name = name.clone();
        self.numbers.insert(name, topic);
        topic
    }
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { name: Rc::new([]), receivers: Vec::new() }
    }
}
