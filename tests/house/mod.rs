//! A broker on virtual time with a store that outlasts it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::broker::mailbox::Account;
use sluicemq::broker::turn::Scratch;
use sluicemq::codec::QoS;
use sluicemq::time::Time;

use crate::rows::Disk;
use crate::virtual_time::{BEGIN, Got, Town};

const SECOND: Duration = Duration::from_secs(1);

/// A broker on a store that outlasts it.
pub struct House {
    pub disk: Disk,
    pub town: Town,
}

impl House {
    pub fn new(config: &str) -> House {
        let disk = Disk::default();
        let town = House::start(config, &disk, BEGIN);
        House { disk, town }
    }

    fn start(config: &str, disk: &Disk, now: Time) -> Town {
        let mut town = Town::with_store(config, Arc::new(disk.open()));
        town.now = now;
        town.broker.restore(town.now, &mut Scratch::default()).expect("rows that mean something");
        town.pass(Duration::ZERO);
        town
    }

    /// The store writes all that it was given, and the broker goes on.
    pub fn write(&mut self) {
        while self.disk.write(usize::MAX) {
            self.town.pass(Duration::ZERO);
        }
        self.town.pass(Duration::ZERO);
    }

    /// The broker ends as a crash ends it, and another one starts on its store a second later.
    pub fn restart(&mut self, config: &str) {
        self.restart_after(SECOND, config);
    }

    /// The same, so much later.
    pub fn restart_after(&mut self, span: Duration, config: &str) {
        let now = self.town.now.after(span);
        self.disk.crash();
        self.town = House::start(config, &self.disk, now);
    }

    pub fn publish(&mut self, topic: &str, payloads: Range<usize>, qos: QoS) {
        let publisher = self.town.client("p");
        for payload in payloads {
            self.town.publish(publisher, topic, &payload.to_string(), qos);
            self.write();
        }
        self.town.cut(publisher);
    }

    /// A consumer of a queue, at `QoS` 2.
    pub fn consumer(&mut self, client_id: &str, filter: &str) -> usize {
        let number = self.town.client(client_id);
        self.town.subscribe(number, filter, QoS::ExactlyOnce);
        self.write();
        number
    }

    /// Lets time pass; what is due then happens.
    pub fn pass(&mut self, span: Duration) {
        self.town.pass(span);
        self.settle();
    }

    /// What is due now happens, and is written.
    pub fn settle(&mut self) {
        // What a tick wakes has its turn with the next one.
        for _ in 0..3 {
            self.write();
        }
    }

    /// What a client was given since this was last asked.
    pub fn got(&mut self, number: usize) -> Vec<Got> {
        self.write();
        std::mem::take(&mut self.town.of(number).got)
    }

    /// The account of the only group there is.
    pub fn account(&self) -> Account {
        let groups = self.town.broker.view().groups;
        assert_eq!(groups.len(), 1, "{groups:?}");
        groups[0].1.clone()
    }

    pub fn waiting(&self) -> u64 {
        self.account().queued.iter().sum()
    }
}

pub fn numbers(got: &[Got]) -> Vec<usize> {
    got.iter().map(|got| got.payload.parse().expect("a number")).collect()
}
