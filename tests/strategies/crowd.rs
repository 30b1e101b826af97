//! A group of clients on virtual time, and what its members were sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::turn::Scratch;
use sluicemq::codec::QoS;

use super::rows::Disk;
use super::virtual_time::{Got, Town, connect};

pub const NONE: Duration = Duration::ZERO;
pub const ONCE: QoS = QoS::AtLeastOnce;

/// A group, what its members were sent first, and whether anything of a key came out of order.
pub struct Crowd {
    pub town: Town,
    /// Where it keeps what waits, if that outlasts it.
    disk: Option<Disk>,
    /// What its members subscribe to.
    filter: &'static str,
    pub publisher: usize,
    /// Client Identifier, and number of its connection.
    pub members: Vec<(String, usize)>,
    /// How many messages of each key were published.
    pub published: BTreeMap<String, usize>,
    /// The next message of each key that no member has seen.
    pub next: BTreeMap<String, usize>,
    /// Which member had the key last.
    pub holders: BTreeMap<String, String>,
    /// Messages that were sent the first time, by member.
    pub counts: BTreeMap<String, usize>,
    pub broken: usize,
    pub repeats: usize,
}

impl Crowd {
    pub fn new(config: &str, members: &[&str]) -> Crowd {
        let town = Town::new(config);
        let mut crowd = Crowd::in_town(town, None, "$share/g/k/#");
        members.iter().for_each(|client_id| crowd.come(client_id));
        crowd
    }

    /// On a store that outlasts the broker.
    pub fn kept(config: &str, filter: &'static str) -> Crowd {
        let disk = Disk::default();
        Crowd::in_town(Crowd::start(config, &disk), Some(disk), filter)
    }

    fn in_town(mut town: Town, disk: Option<Disk>, filter: &'static str) -> Crowd {
        let publisher = town.client("p");
        Crowd {
            town,
            disk,
            filter,
            publisher,
            members: Vec::new(),
            published: BTreeMap::new(),
            next: BTreeMap::new(),
            holders: BTreeMap::new(),
            counts: BTreeMap::new(),
            broken: 0,
            repeats: 0,
        }
    }

    fn start(config: &str, disk: &Disk) -> Town {
        let town = Town::with_store(config, Arc::new(disk.open()));
        town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
        town
    }

    /// The broker ends as a crash ends it, and another one starts on its store.
    pub fn restart(&mut self, config: &str) {
        self.pass();
        self.see();
        let disk = self.disk.as_ref().expect("it is kept");
        disk.crash();
        self.town = Crowd::start(config, disk);
        self.publisher = self.town.client("p");
        self.members.clear();
    }

    /// The store writes all that it was given, and everybody does what they can.
    pub fn pass(&mut self) {
        self.town.pass(NONE);
        while self.disk.as_ref().is_some_and(|disk| disk.write(usize::MAX)) {
            self.town.pass(NONE);
        }
        self.town.pass(NONE);
    }

    pub fn come(&mut self, client_id: &str) {
        let number = self.town.arrive(&connect(client_id, false, 3600), "test");
        self.pass();
        self.town.subscribe(number, self.filter, QoS::ExactlyOnce);
        self.pass();
        self.members.push((client_id.to_owned(), number));
    }

    pub fn of(&self, client_id: &str) -> usize {
        self.members.iter().find(|(id, _)| id == client_id).expect("it is connected").1
    }

    pub fn go(&mut self, client_id: &str) {
        let number = self.of(client_id);
        self.see();
        self.town.cut(number);
        self.pass();
        self.members.retain(|(id, _)| id != client_id);
    }

    pub fn publish(&mut self, key: &str) {
        self.publish_as(key, ONCE);
    }

    pub fn publish_as(&mut self, key: &str, qos: QoS) {
        let number = self.published.entry(key.to_owned()).or_default();
        let (payload, topic) = (number.to_string(), format!("k/{key}"));
        *number += 1;
        self.town.publish(self.publisher, &topic, &payload, qos);
    }

    /// Looks at what the members were sent.
    pub fn see(&mut self) {
        for (client_id, number) in &self.members {
            for Got { topic, payload, .. } in std::mem::take(&mut self.town.of(*number).got) {
                let key = topic.strip_prefix("k/").expect("a key").to_owned();
                let number: usize = payload.parse().expect("a number");
                let next = self.next.entry(key.clone()).or_default();
                if number < *next {
                    self.repeats += 1;
                    continue;
                }
                self.broken += usize::from(number > *next);
                *next = number + 1;
                self.holders.insert(key, client_id.clone());
                *self.counts.entry(client_id.clone()).or_default() += 1;
            }
        }
    }

    pub fn set_acknowledges(&mut self, acknowledges: bool) {
        for (_, number) in self.members.clone() {
            self.town.of(number).acknowledges = acknowledges;
        }
    }

    /// Every member acknowledges what it has, and the rest comes.
    pub fn settle(&mut self) {
        self.set_acknowledges(true);
        for _ in 0..100_000 {
            let mut open = 0;
            for (_, number) in self.members.clone() {
                let client = self.town.of(number);
                open += client.unacknowledged.len();
                let all = client.unacknowledged.len();
                client.acknowledge(all);
            }
            self.pass();
            self.see();
            if open == 0 {
                return;
            }
        }
        panic!("it never ends");
    }

    pub fn assert_all_came(&mut self) {
        self.settle();
        assert_eq!(self.published, self.next, "each message came");
        assert_eq!(self.broken, 0, "no key came out of order");
    }
}
