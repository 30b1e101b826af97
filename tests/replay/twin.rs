//! Logs and their readers against a naive twin, on seeded random events.

use std::time::Duration;

use sluicemq::codec::QoS;

use crate::house::{House, numbers};
use crate::random::Random;
use crate::{KEEP, lasting, limited};

/// Three readers, and what each is to be given next: the naive twin is a number.
struct Twin {
    house: House,
    random: Random,
    config: String,
    /// Messages that the log keeps.
    max: usize,
    published: usize,
    next: [Option<usize>; 3],
    clients: [Option<usize>; 3],
}

impl Twin {
    fn new(seed: u64) -> Twin {
        let mut random = Random::new(seed);
        let max = 20 + random.below(40);
        let config = limited(&format!("messages = {max}"));
        let house = House::new(&config);
        Twin { house, random, config, max, published: 0, next: [None; 3], clients: [None; 3] }
    }

    fn step(&mut self) {
        let which = self.random.below(3);
        match self.random.below(12) {
            0..6 => {
                let more = self.published + 1 + self.random.below(6);
                self.house.publish("a", self.published..more, QoS::AtLeastOnce);
                self.published = more;
            }
            6..9 if self.clients[which].is_none() => self.come(which),
            9..11 => {
                if let Some(client) = self.clients[which].take() {
                    self.house.town.cut(client);
                }
            }
            11 => {
                self.house.write();
                self.house.restart(&self.config);
                self.clients = [None; 3];
            }
            _ => {}
        }
        self.check();
    }

    fn come(&mut self, which: usize) {
        let client = lasting(&mut self.house.town, &format!("r{which}"), false);
        self.clients[which] = Some(client);
        if self.next[which].is_none() {
            let last = self.random.below(30);
            let filter = format!("$replay/log/last-{last}");
            self.house.town.subscribe(client, &filter, QoS::AtLeastOnce);
            self.next[which] = Some(self.published.saturating_sub(last));
        }
    }

    /// Each reader that is here was given what came behind its last message, or what is left of it.
    fn check(&mut self) {
        let (published, oldest) = (self.published, self.published.saturating_sub(self.max));
        for (client, next) in self.clients.iter().zip(&mut self.next) {
            if let (Some(client), Some(next)) = (client, next) {
                let got = numbers(&self.house.got(*client));
                assert_eq!(got, ((*next).max(oldest)..published).collect::<Vec<_>>());
                *next = published;
            }
        }
        assert!(self.house.account().queued[1] <= self.max as u64);
    }
}

/// Readers come, go and come back while publishers publish, the broker stops, and the log is trimmed.
#[test]
fn none_is_missed_and_none_comes_twice_whatever_happens() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut twin = Twin::new(seed);
        (0..150).for_each(|_| twin.step());
        for which in 0..3 {
            if twin.clients[which].is_none() {
                twin.come(which);
            }
        }
        twin.check();
        assert!(twin.published > 150);
    }
}

/// The same with a crash at any moment: what the store was not given comes again, and nothing is missed.
#[test]
fn none_is_missed_whenever_the_broker_crashes() {
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let mut house = House::new(KEEP);
        let (mut published, mut seen) = (0, 0);
        for _ in 0..20 {
            let publisher = house.town.client("p");
            let reader = lasting(&mut house.town, "r", false);
            if published == 0 {
                house.town.subscribe(reader, "$replay/log/all", QoS::AtLeastOnce);
                house.write();
            }
            for _ in 0..random.below(20) {
                house.town.publish(publisher, "a", &published.to_string(), QoS::AtLeastOnce);
                published += 1;
                house.disk.write(random.below(3));
                house.town.pass(Duration::ZERO);
            }
            let got = numbers(&std::mem::take(&mut house.town.of(reader).got));
            for number in got {
                assert!(number <= seen, "seed {seed}: {number} after {seen}");
                seen = seen.max(number + 1);
            }
            house.restart(KEEP);
            // What was not written had no receipt: it is published again.
            published = published.min(house.account().queued[1] as usize);
            seen = seen.min(published);
        }
        assert!(seen > 20, "seed {seed}: {seen}");
    }
}
