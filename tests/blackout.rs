//! What was acknowledged is there after a power cut of the real process under load: what it had
//! not flushed is lost, torn, or there before what was written earlier. `POWER=N` says how many
//! rounds, `SEED=N` where chance begins; `tools/test --power N` sets the rounds.

#[path = "wire/brittle.rs"]
mod brittle;
#[path = "power/broker.rs"]
mod broker;
#[path = "power/clients.rs"]
mod clients;
mod process;
#[path = "../src/random.rs"]
mod random;
#[path = "power/shim.rs"]
mod shim;
mod wire;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use broker::{Broker, Started};
use clients::{Publisher, Subscriber, Wrong};
use process::BUSY_STORE;
use random::Random;
use sluicemq::codec::{Packet, QoS, Version};

/// Publishers of a round, messages each has on the way, acknowledgements after which the power may
/// go.
const PUBLISHERS: usize = 50;
const WINDOW: usize = 8;
const ACKS_MIN: usize = 2_000;
const ACKS_MAX: usize = 4_000;

#[test]
fn nothing_acknowledged_is_lost_or_doubled_however_often_the_power_is_cut() {
    let rounds = number("POWER").unwrap_or(3);
    let seed = number("SEED").unwrap_or(1);
    println!("POWER={rounds} SEED={seed}");
    let mut blackout = Blackout::new(seed, None);
    for round in 0..rounds {
        let wrong = blackout.round(round).expect("a start");
        println!("{}: {}", blackout.told, said(&wrong));
        assert_eq!(wrong, Wrong::default());
    }
    let wrong = blackout.last(rounds);
    println!("after all {rounds} rounds, who was never there: {}", said(&wrong));
    assert_eq!(wrong, Wrong::default());
}

#[test]
fn a_flush_of_the_journal_that_is_left_out_is_caught() {
    let seed = number("SEED").unwrap_or(1);
    let caught = (0..5).any(|more| {
        // What a segment is called until it is made, and so is opened as.
        let mut blackout = Blackout::new(seed + more, Some("unfinished"));
        (0..3).any(|round| {
            let ended = catch_unwind(AssertUnwindSafe(|| blackout.round(round)));
            println!("without flushes of the journal, round {round}: {ended:?}");
            match ended {
                Ok(Ok(wrong)) => wrong != Wrong::default(),
                Ok(Err(why)) => why.contains("damaged"),
                // A client that misses its Session.
                Err(panic) => panic.downcast::<String>().is_ok_and(|said| said.contains("gone")),
            }
        })
    });
    assert!(caught, "nobody noticed that the journal was not flushed");
}

/// A broker and its clients, through all rounds.
struct Blackout {
    random: Random,
    broker: Broker,
    at: SocketAddr,
    publishers: Vec<Publisher>,
    /// There under load.
    live: Subscriber,
    /// Comes after each cut.
    absent: Subscriber,
    /// Comes when all is over.
    asleep: Subscriber,
    /// What happened in the last round.
    told: String,
}

impl Blackout {
    fn new(seed: u64, lie: Option<&str>) -> Blackout {
        let mut broker = Broker::new(BUSY_STORE);
        broker.shim_says.extend(lie.map(|lie| ("SHIM_LIE", lie.to_owned())));
        let at = broker.start().serves();
        let versions = [Version::V5, Version::V311];
        let publishers = (0..PUBLISHERS)
            .map(|number| Publisher::new(&format!("p{number}"), versions[number % 2], 0))
            .collect();
        let mut asleep = Subscriber::new("asleep", Version::V5);
        let mut absent = Subscriber::new("absent", Version::V311);
        let live = Subscriber::new("live", Version::V5);
        for subscriber in [&mut absent, &mut asleep] {
            drop(subscriber.connect(at).expect("a broker that lives"));
        }
        let (random, told) = (Random::new(seed), String::new());
        Blackout { random, broker, at, publishers, live, absent, asleep, told }
    }

    /// Load, a cut, a start that may be cut as well, and the count.
    fn round(&mut self, round: usize) -> Result<Wrong, String> {
        let acks = ACKS_MIN + self.random.below(ACKS_MAX - ACKS_MIN);
        let acknowledged = self.load(round, acks);
        let in_flight: usize = self.publishers.iter().map(Publisher::in_flight).sum();
        let mut cuts = vec![self.broker.last_cut()];
        while self.random.percent(40) && cuts.len() < 4 {
            // In the middle of a start, or soon after it.
            self.set_chance(1 + self.random.clone().below(250));
            match self.broker.start() {
                Started::Serves(at) => {
                    until_it_ends(at);
                    self.broker.until_cut();
                }
                Started::Cut => {}
                Started::Refused(why) => return Err(why),
            }
            cuts.push(self.broker.last_cut());
        }
        self.set_chance(0);
        self.at = match self.broker.start() {
            Started::Serves(at) => at,
            Started::Cut => panic!("no cut is due"),
            Started::Refused(why) => return Err(why),
        };
        let mut wrong = Wrong::default();
        self.finish(round);
        for subscriber in [&mut self.live, &mut self.absent] {
            let mut wire = subscriber.connect(self.at).expect("a broker that lives");
            subscriber.take_all(&mut wire, round);
            for publisher in &self.publishers {
                wrong.compare(subscriber, publisher, round + 1);
            }
        }
        self.told = format!(
            "round {round}: {acknowledged} acknowledged, {in_flight} in flight; cut {}",
            cuts.join(", then ")
        );
        Ok(wrong)
    }

    /// What came to the client that was offline since the first round, and the retained messages.
    fn last(&mut self, rounds: usize) -> Wrong {
        let mut wrong = Wrong::default();
        let mut wire = self.asleep.connect(self.at).expect("a broker that lives");
        self.asleep.take_all(&mut wire, rounds - 1);
        for publisher in &self.publishers {
            wrong.compare(&self.asleep, publisher, rounds);
        }
        let retained = clients::retained(self.at, self.publishers.len());
        for publisher in &self.publishers {
            let there = retained.get(&clients::Class::Retained.topic(&publisher.name));
            assert_eq!(there, publisher.retained().as_ref(), "retained of {}", publisher.name);
        }
        wrong
    }

    /// Load until the power goes; how much was acknowledged.
    fn load(&mut self, round: usize, acks_wanted: usize) -> usize {
        let events = 1 + self.random.below(150);
        let (at, broker) = (self.at, &self.broker);
        let (acks, acked) = mpsc::channel();
        let acknowledged = thread::scope(|scope| {
            let live = &mut self.live;
            let mut wire = live.connect(at).expect("a broker that lives");
            scope.spawn(move || live.take(&mut wire, |_| false));
            let (ready, are_ready) = mpsc::channel();
            for publisher in &mut self.publishers {
                let (acks, ready) = (acks.clone(), ready.clone());
                scope.spawn(move || {
                    let mut wire = publisher.connect(at, Some(round)).expect("a broker that lives");
                    ready.send(()).expect("somebody counts");
                    publisher.publish(&mut wire, WINDOW, |_| acks.send(()).is_ok());
                });
            }
            drop(acks);
            (0..PUBLISHERS).for_each(|_| are_ready.recv().expect("publishers that connect"));
            (0..acks_wanted).for_each(|_| acked.recv().expect("publishers that publish"));
            broker.cut_after(events);
            acks_wanted + acked.iter().count()
        });
        self.broker.until_cut();
        acknowledged
    }

    /// What was not answered is sent again until it is; then the round is at its end.
    fn finish(&mut self, round: usize) {
        let at = self.at;
        thread::scope(|scope| {
            for publisher in &mut self.publishers {
                scope.spawn(move || {
                    let mut wire = publisher.connect(at, None).expect("a broker that lives");
                    assert!(publisher.publish(&mut wire, 0, |_| true), "the broker has gone");
                    wire.send(&Packet::Disconnect(Default::default()));
                });
            }
        });
        clients::end(at, round);
    }

    /// Chance of the next life's cut, due at event `cut`; 0: only when it is told to.
    fn set_chance(&mut self, cut: usize) {
        let says = &mut self.broker.shim_says;
        says.retain(|(name, _)| *name == "SHIM_LIE");
        says.push(("SHIM_CUT_AT", cut.to_string()));
        says.push(("SHIM_KEEP", self.random.pick(&[0, 20, 50, 90, 100]).to_string()));
        says.push(("SHIM_SEED", self.random.below(1_000_000).to_string()));
    }
}

/// Gives the broker something to write until it is gone.
fn until_it_ends(at: SocketAddr) {
    let Some((mut wire, _)) = clients::connect(at, Version::V5, "nudge", None) else {
        return;
    };
    loop {
        let message = sluicemq::codec::Publish {
            retain: true,
            qos: QoS::AtLeastOnce,
            ..wire::message("nudge", b"once more")
        };
        wire.send(&Packet::Publish(message));
        if wire.next().is_none() {
            return;
        }
    }
}

fn said(wrong: &Wrong) -> String {
    let Wrong { lost, doubled, disordered, refused, wills } = wrong;
    let wills = format!("wrong Wills {wills}");
    assert_eq!(*refused, 0, "nothing was refused");
    format!("lost {lost}, doubled at QoS 2 {doubled}, out of order {disordered}, {wills}")
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
