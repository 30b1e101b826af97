//! Publishers race for the retained messages of a few topics, and the broker dies: what is retained
//! then is what was retained last, or something later than all that was acknowledged.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::ports::{Fact, Mark, Progress, Receipt, Store};
use sluicemq::broker::publish::{Publisher, Submission};
use sluicemq::broker::turn::{Scratch, Turn};
use sluicemq::broker::{Broker, Ports};
use sluicemq::codec::{Properties, QoS};
use sluicemq::config::Config;
use sluicemq::message::{ClientId, Draft, Identity, Meter};
use sluicemq::store::DurableStore;
use sluicemq::time::Time;
use sluicemq::topic::TopicName;

use super::random::Random;
use super::rows::Disk;

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// The value of a topic without a retained message.
const NOTHING: &str = "";

/// All that was ever retained for a topic, in order, and how much of it was acknowledged.
struct History {
    values: Vec<String>,
    /// When the last of them ends.
    expires: Time,
    acknowledged: usize,
}

impl History {
    fn new() -> History {
        History { values: Vec::new(), expires: Time::NEVER, acknowledged: 0 }
    }

    fn set(&mut self, value: String, expires: Time) {
        self.values.push(value);
        self.expires = expires;
    }

    fn last(&self) -> &str {
        self.values.last().map_or(NOTHING, String::as_str)
    }
}

struct Race<'a> {
    random: Random,
    disk: Disk,
    store: Arc<DurableStore<Disk>>,
    broker: &'a Broker,
    publisher: Arc<Identity>,
    /// For turns that are still to begin.
    memory: std::slice::IterMut<'a, Scratch>,
    /// A turn under way, and when it began.
    turns: [Option<(Turn<'a>, Time)>; 3],
    /// Of each turn under way, then of those that ended: how far each topic had come.
    begun: [Vec<(usize, usize)>; 3],
    ended: Vec<(Receipt, Vec<(usize, usize)>)>,
    histories: [History; 3],
    now: Time,
    number: usize,
}

/// Steps of a race.
const STEPS: usize = 150;

fn broker(store: &Arc<DurableStore<Disk>>, seed: u64) -> Broker {
    let ports = Ports {
        store: store.clone(),
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    let mut config = Config::default();
    config.broker.sys_interval = sluicemq::config::Span(Duration::ZERO);
    Broker::new(&config, ports, seed, START)
}

const START: Time = Time::from_secs(1);

impl<'a> Race<'a> {
    fn new(
        seed: u64,
        disk: Disk,
        store: Arc<DurableStore<Disk>>,
        broker: &'a Broker,
        memory: &'a mut [Scratch],
    ) -> Race<'a> {
        Race {
            random: Random::new(seed),
            disk,
            store,
            broker,
            publisher: Arc::new(Identity::new(ClientId::new("p"), None, Meter::forever())),
            memory: memory.iter_mut(),
            turns: Default::default(),
            begun: Default::default(),
            ended: Vec::new(),
            histories: std::array::from_fn(|_| History::new()),
            now: START,
            number: 0,
        }
    }

    fn step(&mut self) {
        let who = self.random.below(3);
        match self.random.below(10) {
            0..=4 => self.publish(who),
            5..=6 => self.end_turn(who),
            7 => drop(self.disk.write(self.random.below(4))),
            8 => self.expire(),
            _ => self.acknowledge(),
        }
    }

    fn publish(&mut self, who: usize) {
        let topic = self.random.below(TOPICS.len());
        self.number += 1;
        let clears = self.random.percent(30);
        let value = if clears { NOTHING.to_owned() } else { self.number.to_string() };
        let draft = Draft {
            topic: TopicName::trusted(TOPICS[topic]),
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry: (!clears && self.random.percent(20)).then_some(1),
            properties: Properties::EMPTY,
            payload: value.as_bytes(),
        };
        let (turn, since) = self.turns[who].get_or_insert_with(|| {
            let scratch = self.memory.next().expect("one for each step");
            (self.broker.turn(scratch, self.now), self.now)
        });
        let submission = Submission::new(&draft, Publisher::Client(&self.publisher));
        self.broker.publish(submission, turn);
        let after = |seconds: u32| since.after(Duration::from_secs(seconds.into()));
        let expires = draft.expiry.map_or(Time::NEVER, after);
        let history = &mut self.histories[topic];
        history.set(value, expires);
        self.begun[who].push((topic, history.values.len()));
    }

    fn end_turn(&mut self, who: usize) {
        let receipt = self.turns[who].take().and_then(|(turn, _)| turn.finish());
        let begun = std::mem::take(&mut self.begun[who]);
        assert_eq!(receipt.is_some(), !begun.is_empty());
        self.ended.extend(receipt.map(|receipt| (receipt, begun)));
    }

    /// Time passes: what has expired is retained no more.
    fn expire(&mut self) {
        self.now = self.now.after(Duration::from_secs(self.random.below(3) as u64));
        self.broker.tick(self.now, &mut Scratch::default());
        for history in &mut self.histories {
            if history.expires <= self.now {
                history.set(NOTHING.to_owned(), Time::NEVER);
            }
        }
        let retained = self.histories.iter().filter(|history| history.last() != NOTHING).count();
        assert_eq!(self.broker.view().retained.0, retained);
    }

    fn acknowledge(&mut self) {
        let Race { ended, store, histories, .. } = self;
        ended.retain(|(receipt, begun)| {
            let durable = store.state(*receipt, Waker::noop()) == Progress::Durable;
            for (topic, count) in begun.iter().filter(|_| durable) {
                let acknowledged = &mut histories[*topic].acknowledged;
                *acknowledged = (*acknowledged).max(*count);
            }
            !durable
        });
    }

    /// What a broker that starts now retains.
    fn restarted(&self) -> [String; 3] {
        let mut found: [String; 3] = Default::default();
        let replayed =
            self.disk.open().replay(Meter::forever(), &|_| Mark::default(), &mut |fact| {
                if let Fact::Retained(message) = fact {
                    let topic = TOPICS.iter().position(|name| *name == message.topic().as_str());
                    let value = std::str::from_utf8(message.payload()).unwrap();
                    found[topic.unwrap()] = value.to_owned();
                }
            });
        replayed.unwrap();
        found
    }
}

#[test]
fn the_last_retained_message_is_the_last_after_a_restart_too() {
    for seed in 0..1_000 {
        let disk = Disk::default();
        let store = Arc::new(disk.open());
        let broker = broker(&store, seed);
        let mut memory: Vec<_> = (0..STEPS).map(|_| Scratch::default()).collect();
        let mut race = Race::new(seed, disk, store, &broker, &mut memory);
        for _ in 0..STEPS {
            race.step();
            race.acknowledge();
            let found = race.restarted();
            for (history, found) in race.histories.iter().zip(&found) {
                let at = history.values.iter().rposition(|value| value == found);
                let came = at.map_or(0, |at| at + 1);
                assert!(
                    came >= history.acknowledged,
                    "seed {seed}: {found:?} after {:?}, of which {} are acknowledged",
                    history.values,
                    history.acknowledged
                );
            }
        }
        (0..3).for_each(|who| race.end_turn(who));
        race.disk.write(usize::MAX);
        for (history, found) in race.histories.iter().zip(race.restarted()) {
            assert_eq!(found, history.last(), "seed {seed}: {:?}", history.values);
        }
    }
}
