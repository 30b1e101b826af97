//! What was acknowledged is there after `kill -9`: on the real process, at any moment, again and
//! again. `CRASH=N` says how many rounds; `tools/test --crash N` sets it.

#[path = "wire/brittle.rs"]
mod brittle;
#[path = "crash/broker.rs"]
mod broker;
#[path = "crash/came.rs"]
mod came;
#[path = "crash/clients.rs"]
mod clients;
#[path = "crash/delayed.rs"]
mod delayed;
#[path = "crash/due.rs"]
mod due;
#[path = "crash/faults.rs"]
mod faults;
mod installed;
#[path = "crash/kept.rs"]
mod kept;
#[path = "crash/outbox.rs"]
mod outbox;
mod process;
#[path = "../src/random.rs"]
mod random;
#[path = "crash/streams.rs"]
mod streams;
#[path = "crash/watch.rs"]
mod watch;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use broker::Broker;
use came::Came;
use clients::{Class, Publisher, Subscriber, WillKind};
use process::{BUSY_STORE, Process, Sluice};
use random::Random;
use sluicemq::codec::{Packet, QoS, Version};
use streams::Tally;
use watch::Watch;
use wire::Client;

/// Publishers, and what there is to be at a kill.
const PUBLISHERS: usize = 50;
const ACKS_MIN: u64 = 2_000;
const IN_FLIGHT_MIN: u64 = 50;

/// About how long it takes to take over what a store remembers, in microseconds.
const TAKING_OVER_US: u64 = 20_000;

/// Subscribers that miss all but one in so many rounds. Those from `MEMBERS` on are a group.
const SELDOM: Range<usize> = 2..5;
const SELDOM_IN: u64 = 3;

/// After so many rounds all that waits is taken, or it would only grow.
const SETTLE_EVERY: u64 = 10;
const MEMBERS: usize = 4;
/// Two consumers of a named queue, one for what is delayed or has keys, and one that reads a log.
const CONSUMERS: usize = 6;
const WORKER: usize = 8;
const READER: usize = 9;

/// The queue, the keys and the log.
const WORK: &str = "
[[named_queue]]
name = 'crew'
bindings = ['load/#']
messages_max = 10_000_000
attempts_max = 1000
backoff = '20ms..100ms'
[[dedup]]
filter = 'keyed/#'
key = 'payload'
window = '7d'
keys_total_max = 10_000_000
[[keep]]
name = 'past'
bindings = ['load/2/#']
messages = 100_000
bytes = '128MiB'
";

/// Messages that wait for an absent subscriber, and retained ones.
const WAITING: usize = 400;
const RETAINED: usize = 100;

/// Kills, each right after the CONNACK of a client with a Will.
const WILL_ROUNDS: usize = 8;

#[test]
fn four_hundred_of_four_hundred_messages_wait_for_an_absent_client_after_a_kill() {
    if !installed::all(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let mut broker = Sluice::start(BUSY_STORE);
    let port = broker.address("tcp").port().to_string();
    let absent = ["-i", "absent", "-c", "-q", "1", "-t", "jobs/#"];
    let (code, _) = mosquitto("mosquitto_sub", &port, &[&absent[..], &["-E"]].concat(), "");
    assert_eq!(code, Some(0));
    let jobs: Vec<String> = (0..WAITING).map(|number| format!("job {number}")).collect();
    let publish = ["-t", "jobs/now", "-q", "1", "-l"];
    let (code, _) = mosquitto("mosquitto_pub", &port, &publish, &jobs.join("\n"));
    assert_eq!(code, Some(0));
    broker.kill_and_start_again();
    let port = broker.address("tcp").port().to_string();
    let count = WAITING.to_string();
    let take = [&absent[..], &["-C", &count, "-W", "30"]].concat();
    let (code, came) = mosquitto("mosquitto_sub", &port, &take, "");
    assert_eq!((code, came), (Some(0), jobs));
}

/// No consumer has ever been there. Consumers of both versions take some of it, and between them the broker is
/// killed: what was not acknowledged, or not durably, comes again, if later than what follows it, and nothing is
/// left out.
#[test]
fn four_hundred_of_four_hundred_messages_wait_in_a_named_queue_after_a_kill() {
    if !installed::all(&["mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let queue = "[[named_queue]]\nname = 'jobs'\nbindings = ['jobs/#']\n";
    let mut broker = Sluice::start(&format!("{BUSY_STORE}\n{queue}"));
    let jobs: Vec<String> = (0..WAITING).map(|number| format!("job {number}")).collect();
    let publish = ["-t", "jobs/now", "-q", "1", "-l"];
    let port = broker.address("tcp").port().to_string();
    let (code, _) = mosquitto("mosquitto_pub", &port, &publish, &jobs.join("\n"));
    assert_eq!(code, Some(0));
    let mut seen = BTreeSet::new();
    for version in ["311", "5"] {
        broker.kill_and_start_again();
        let port = broker.address("tcp").port().to_string();
        let take = ["-V", version, "-q", "1", "-t", "$queue/jobs", "-C", "100", "-W", "30"];
        let (code, came) = mosquitto("mosquitto_sub", &port, &take, "");
        assert_eq!(code, Some(0), "{came:?}");
        seen.extend(came);
    }
    broker.kill_and_start_again();
    let mut rest = Client::connect(broker.address("tcp"), Version::V5, "rest");
    rest.subscribe(&["$queue/jobs"], QoS::AtMostOnce);
    // What a consumer had not answered when its connection broke comes after its time.
    while !jobs.iter().all(|job| seen.contains(job)) {
        seen.insert(String::from_utf8(rest.message().1).expect("a job"));
    }
    assert_eq!(seen.len(), jobs.len());
}

#[test]
fn every_acknowledged_retained_message_is_there_after_a_kill() {
    let mut broker = Sluice::start(BUSY_STORE);
    let mut publisher = Client::connect(broker.address("tcp"), Version::V5, "p");
    for number in 0..RETAINED {
        let topic = format!("state/{number}");
        let mut message = wire::message(&topic, b"on");
        message.retain = true;
        publisher.send(&Packet::Publish(message));
        assert!(!publisher.puback().is_error());
    }
    broker.kill_and_start_again();
    let mut subscriber = Client::connect(broker.address("tcp"), Version::V5, "s");
    subscriber.subscribe(&["state/#"], QoS::AtLeastOnce);
    let mut topics: Vec<String> = (0..RETAINED).map(|_| subscriber.message().0).collect();
    topics.sort();
    let mut wanted: Vec<String> = (0..RETAINED).map(|number| format!("state/{number}")).collect();
    wanted.sort();
    assert_eq!(topics, wanted);
}

// proves MQTT5-3.1.2-7
#[test]
fn the_will_of_every_client_that_had_its_connack_is_published_after_a_kill() {
    let mut broker = Sluice::start(BUSY_STORE);
    let mut wanted = Vec::new();
    for round in 0..WILL_ROUNDS {
        let versions = [Version::V5, Version::V311].into_iter().cycle();
        // No Session here outlives its connection, and the kill follows the CONNACK at once.
        let connected: Vec<Client> = versions
            .take(1 + round)
            .enumerate()
            .map(|(number, version)| {
                let (client, topic) = (format!("w{number}"), format!("wills/{round}/{number}"));
                let mut connect = wire::connect_with_will(version, &client, &topic);
                if let Some(will) = &mut connect.will {
                    will.retain = true;
                }
                let connected = Client::connect_with(broker.address("tcp"), &connect);
                wanted.push(topic);
                connected
            })
            .collect();
        broker.kill_and_start_again();
        drop(connected);
    }
    let mut subscriber = Client::connect(broker.address("tcp"), Version::V5, "s");
    subscriber.subscribe(&["wills/#"], QoS::AtLeastOnce);
    let mut topics: Vec<String> = wanted.iter().map(|_| subscriber.message().0).collect();
    topics.sort();
    wanted.sort();
    assert_eq!(topics, wanted);
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_however_often_the_broker_is_killed() {
    let rounds = std::env::var("CRASH").map_or(5, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("CRASH={rounds} SEED={seed}");
    let mut crash = Crash::begin(seed);
    while crash.round < rounds || crash.figures.want_more(rounds) {
        assert!(crash.round < 2 * rounds + 10, "kills do not come where they are to");
        crash.one_round();
        if crash.round.is_multiple_of(SETTLE_EVERY) && crash.round < rounds {
            let came = crash.settle();
            say(&format!("crash: {} rounds so far: {}; {came}", crash.round, crash.figures));
        }
    }
    let came = crash.settle();
    say(&format!("crash: {} rounds, SEED={seed}: {}; {came}", crash.round, crash.figures));
}

/// Says something that is seen even if the test passes.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("a standard error");
}

/// A broker, its clients, and what has become of them so far.
struct Crash {
    random: Random,
    watch: Arc<Watch>,
    broker: Broker,
    publishers: Vec<Publisher>,
    /// See [`MEMBERS`] and what follows it.
    subscribers: Vec<Subscriber>,
    /// The last start, which took so long.
    start: Duration,
    round: u64,
    figures: Figures,
}

impl Crash {
    fn begin(seed: u64) -> Crash {
        let mut random = Random::new(seed);
        let watch = Arc::<Watch>::default();
        // One checkpoint after the other, and the store says when.
        let config = BUSY_STORE.replace("50ms", "10ms");
        let config = format!("{config}\n{WORK}[log]\nlevel = 'warn,sluicemq::store=debug'\n");
        let broker = Broker::start(&config, watch.clone());
        let publishers = (0..PUBLISHERS).map(|number| {
            let version = if number % 2 == 0 { Version::V5 } else { Version::V311 };
            let will = match number % 10 {
                8 => WillKind::Late,
                0..4 => WillKind::Retained,
                _ => WillKind::Plain,
            };
            let window = 2 + random.below_u64(15) as usize;
            Publisher::new(format!("p{number}"), version, will, window)
        });
        let publishers = publishers.collect();
        let all = &["load/#", "will/#"];
        let (group, queue) = (&["$share/crew/load/#"], &["$queue/crew"]);
        let mut subscribers = vec![
            Subscriber::new("live 5", Version::V5, QoS::ExactlyOnce, all),
            Subscriber::new("live 3.1.1", Version::V311, QoS::AtLeastOnce, all),
            Subscriber::new("seldom 5", Version::V5, QoS::AtLeastOnce, all),
            Subscriber::new("seldom 3.1.1", Version::V311, QoS::ExactlyOnce, all),
            Subscriber::new("member 5", Version::V5, QoS::ExactlyOnce, group),
            Subscriber::new("member 3.1.1", Version::V311, QoS::ExactlyOnce, group),
            Subscriber::new("consumer 5", Version::V5, QoS::ExactlyOnce, queue),
            Subscriber::new("consumer 3.1.1", Version::V311, QoS::ExactlyOnce, queue),
            Subscriber::new("work", Version::V5, QoS::ExactlyOnce, &["late/#", "keyed/#"]),
            Subscriber::new("reader", Version::V5, QoS::ExactlyOnce, &["$replay/past/all"]),
        ];
        for first in [MEMBERS, CONSUMERS] {
            subscribers[first + 1].streams = subscribers[first].streams.clone();
        }
        subscribers[CONSUMERS].refuses = true;
        for subscriber in &mut subscribers {
            drop(subscriber.connect(broker.address()));
        }
        clients::publish(broker.address(), clients::MARK, true);
        let (start, figures) = (Duration::from_millis(100), Figures::default());
        Crash { random, watch, broker, publishers, subscribers, start, round: 0, figures }
    }

    /// Load, a kill in the midst of it, perhaps kills while it starts, and a start.
    fn one_round(&mut self) {
        let at = self.broker.address();
        let Crash { random, watch, broker, publishers, subscribers, round, .. } = self;
        let (round, watch) = (*round, &**watch);
        let goal = ACKS_MIN + random.below_u64(ACKS_MIN);
        // Inside a checkpoint, between two, or anywhere.
        let place = match random.below_u64(3) {
            _ if self.figures.few_in_a_checkpoint(round) => Some(true),
            0 => None,
            place => Some(place == 1),
        };
        watch.note(|state| (state.connected, state.acknowledged, state.in_flight) = (0, 0, 0));
        let mut clients = publishers.len();
        let missed = AtomicU64::new(0);
        let reached = thread::scope(|scope| {
            for publisher in publishers {
                scope.spawn(move || publisher.publish(at, round, watch));
            }
            for (index, subscriber) in subscribers.iter_mut().enumerate() {
                // Those come back late that were there when the broker died; the others seldom.
                let after = random.below_u64(ACKS_MIN / 2);
                if SELDOM.contains(&index) && random.below_u64(SELDOM_IN) > 0 {
                    continue;
                }
                clients += 1;
                let missed = &missed;
                scope.spawn(move || {
                    let seen = |acknowledged| (acknowledged >= after).then_some(acknowledged);
                    let seen = watch.until(|state| seen(state.acknowledged));
                    missed.fetch_max(seen.unwrap_or(0), Ordering::Relaxed);
                    let mut wire = subscriber.connect(at);
                    watch.note(|state| state.connected += 1);
                    subscriber.take(&mut wire, watch);
                });
            }
            let reached = watch.until(|state| {
                let placed = place.is_none_or(|inside| inside == state.life.checkpoint);
                let loaded = state.acknowledged >= goal && state.in_flight >= IN_FLIGHT_MIN;
                let ready = state.connected == clients && loaded && placed;
                ready.then_some((state.acknowledged, state.in_flight))
            });
            // Whatever has become of it: those threads end only then.
            let life = broker.kill();
            reached.map(|reached| (reached, life))
        });
        let ((acknowledged, in_flight), life) =
            reached.expect("the load that the round is to have");
        self.figures.acknowledged.push(acknowledged);
        self.figures.in_flight.push(in_flight);
        self.figures.missed += missed.into_inner();
        self.start_again(life.checkpoint);
        self.round += 1;
        self.look_at_what_is_retained();
    }

    /// Starts it, and kills it while it starts, now and then more than once.
    fn start_again(&mut self, in_a_checkpoint: bool) {
        let mut kills = u64::from(self.figures.few_in_a_start(self.round));
        while self.random.below_u64(3) == 0 {
            kills += 1;
        }
        let mut repaired = None;
        while kills > 0 {
            self.broker.start_again();
            let within = match self.random.below_u64(4) {
                0 => {
                    self.broker.until_ready();
                    0
                }
                1 => {
                    self.broker.until_taking_over();
                    TAKING_OVER_US
                }
                _ => self.start.as_micros() as u64,
            };
            // Not to wait for anything: anywhere within that time.
            thread::sleep(Duration::from_micros(self.random.below_u64(within + 1)));
            let life = self.broker.kill();
            repaired = repaired.or(life.repaired);
            if life.ready.is_none() {
                self.figures.in_a_start += 1;
                kills -= 1;
            } else {
                self.figures.before_anybody += 1;
            }
        }
        self.broker.start_again();
        self.start = self.broker.until_ready();
        self.figures.starts.push(self.start.as_millis() as u64);
        let now = self.watch.until(|state| state.life.repaired);
        let repaired = repaired.or(now).expect("a start reads its journal");
        // What the files say counts, not what the process came to say.
        self.figures.in_a_checkpoint += u64::from(repaired && in_a_checkpoint);
    }

    /// A new subscriber is told the newest of what was acknowledged, or something newer that was
    /// on its way; and of each client that was connected the Will.
    fn look_at_what_is_retained(&mut self) {
        let mut found = clients::retained(self.broker.address(), &["state/#", "will/#"]);
        for publisher in &self.publishers {
            for class in Class::ALL.into_iter().filter(|class| class.retained()) {
                let topic = class.topic(&publisher.name);
                let acknowledged = publisher.acknowledged[class as usize];
                let may_be = acknowledged.saturating_sub(1)..publisher.next[class as usize];
                let fine = match found.remove(&topic) {
                    Some(number) => may_be.contains(&number) && !class.deletes(number),
                    None => acknowledged == 0 || may_be.clone().any(|number| class.deletes(number)),
                };
                assert!(fine, "{topic}: one of {may_be:?} is retained");
                self.figures.retained += 1;
            }
            if publisher.will == WillKind::Retained {
                let will = found.remove(&publisher.will_topic());
                assert_eq!(will, Some(self.round - 1), "the Will of {}", publisher.name);
            }
        }
        assert!(found.is_empty(), "retained by nobody: {found:?}");
    }

    /// Lets everything be acknowledged and taken; what came must be what was published.
    fn settle(&mut self) -> Came {
        let at = self.broker.address();
        let watch = &*self.watch;
        watch.note(|state| state.in_flight = 0);
        self.publishers.iter_mut().for_each(|publisher| publisher.finish(at, watch));
        let loads = self.published(Class::is_load);
        let works = self.published(Class::is_work);
        let kept = self.published(|class| class == Class::Exactly);
        let wills = self.publishers.iter().filter(|publisher| publisher.will != WillKind::Late);
        let wills = wills.map(|publisher| (publisher.will_topic(), self.round));
        let wills = wills.collect::<BTreeMap<_, _>>();
        let wills_due = wills.values().sum();
        let both = loads.clone().into_iter().chain(wills).collect::<BTreeMap<_, _>>();
        let load: u64 = loads.values().sum();
        let work = works.values().chain(kept.values()).sum::<u64>();
        let all = 2 * load + (load + wills_due) * MEMBERS as u64 + work;
        thread::scope(|scope| {
            for subscriber in &mut self.subscribers {
                scope.spawn(move || {
                    let mut wire = subscriber.connect(at);
                    subscriber.take(&mut wire, watch);
                });
            }
            let mut seen = 0;
            while seen < all {
                let more = |received: u64| (received > seen).then_some(received);
                let Some(received) = watch.until(|state| more(state.received)) else { break };
                seen = received;
            }
            // If something is missing it is counted below.
            clients::publish(at, "end", false);
        });
        let mut came = Came { wills_due, ..Came::default() };
        came.groups = self.subscribers[MEMBERS].streams.tally(loads.clone());
        came.queue = self.subscribers[CONSUMERS].streams.tally(loads);
        came.work = self.subscribers[WORKER].streams.tally(works);
        came.log = self.subscribers[READER].streams.tally(kept);
        came.refused = self.subscribers[CONSUMERS].refused;
        came.due = self.watch.due.lateness();
        came.wills = self.subscribers[0].streams.came_on("will/");
        for subscriber in &self.subscribers[..MEMBERS] {
            came.tally += subscriber.streams.tally(both.clone());
        }
        for publisher in &self.publishers {
            came.again += publisher.again;
        }
        self.look_at_what_is_retained();
        let Tally { came: _, repeated: _, lost, doubled, late, strange } = came.tally;
        let said = format!("{} rounds: {came}", self.round);
        assert_eq!((lost, doubled, late, strange), (0, 0, 0, 0), "{said}");
        for tally in [came.groups, came.queue, came.work, came.log] {
            assert_eq!([tally.lost, tally.doubled, tally.strange], [0; 3], "{said}");
        }
        assert_eq!((came.log.late, came.due.early), (0, 0), "{said}");
        assert_eq!(came.wills, came.wills_due, "{said}");
        came
    }

    /// How many messages were published on each topic.
    fn published(&self, wanted: impl Fn(Class) -> bool) -> BTreeMap<String, u64> {
        let publishers = self.publishers.iter();
        let classes = Class::ALL.into_iter().filter(|class| wanted(*class)).collect::<Vec<_>>();
        publishers
            .flat_map(|publisher| {
                let of =
                    |class: &Class| (class.topic(&publisher.name), publisher.next[*class as usize]);
                classes.iter().map(of).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// What is told of all rounds.
#[derive(Default)]
struct Figures {
    /// By round.
    acknowledged: Vec<u64>,
    in_flight: Vec<u64>,
    /// Acknowledged between a start and the return of a subscriber.
    missed: u64,
    /// In milliseconds.
    starts: Vec<u64>,
    /// Kills.
    in_a_checkpoint: u64,
    in_a_start: u64,
    before_anybody: u64,
    /// Retained messages, or their absence, that were compared.
    retained: u64,
}

impl Figures {
    /// One kill in ten is to be inside a checkpoint, and one in ten inside a start.
    fn few_in_a_checkpoint(&self, rounds: u64) -> bool {
        self.in_a_checkpoint * 10 < rounds + 10
    }

    fn few_in_a_start(&self, rounds: u64) -> bool {
        self.in_a_start * 10 < rounds + 10
    }

    /// There were not enough of both after so many rounds.
    fn want_more(&self, rounds: u64) -> bool {
        self.in_a_checkpoint * 10 < rounds || self.in_a_start * 10 < rounds
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least_and_median = |all: &[u64]| {
            let mut all = all.to_vec();
            all.sort_unstable();
            (all[0], all[all.len() / 2], all[all.len() - 1])
        };
        let (least, median, most) = least_and_median(&self.acknowledged);
        write!(f, "acknowledged in a round {least} to {most}, median {median}; ")?;
        let (least, median, most) = least_and_median(&self.in_flight);
        write!(f, "in flight at the kill {least} to {most}, median {median}; ")?;
        write!(f, "{} while a subscriber was not back; ", self.missed)?;
        write!(f, "{} killed inside a checkpoint, ", self.in_a_checkpoint)?;
        write!(f, "{} more while they started, ", self.in_a_start)?;
        write!(f, "{} before anybody connected; ", self.before_anybody)?;
        let (_, median, most) = least_and_median(&self.starts);
        write!(f, "ready after {median} ms, {most} at most; {} retained right", self.retained)
    }
}

/// Runs one of mosquitto's clients to its end.
fn mosquitto(
    tool: &str,
    port: &str,
    arguments: &[&str],
    input: &str,
) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(tool);
    command.args(["-p", port]).args(arguments).stdin(Stdio::null());
    if input.is_empty() {
        return Process::start(&mut command).end();
    }
    let mut file = tempfile::tempfile().expect("a file");
    writeln!(file, "{input}").expect("room on the disk");
    std::io::Seek::rewind(&mut file).expect("a file");
    Process::start(command.stdin(file)).end()
}
