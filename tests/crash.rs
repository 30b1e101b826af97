//! What was acknowledged is there after `kill -9`: on the real process, at any moment, again and
//! again. `CRASH=N` says how many rounds; `tools/test --crash N` sets it.

#[path = "crash/clients.rs"]
mod clients;
mod process;
mod wire;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clients::{Class, Publisher, Subscriber};
use process::{Process, Sluice};
use sluicemq::codec::{Ack, Packet, PacketId, Publish, QoS, Reason, Version};
use wire::Client;

/// Small segments and frequent checkpoints: so that a kill meets all there is to meet.
const CONFIG: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[queue]
messages_max = 1_000_000
bytes_max = '512MiB'

[store]
segment_bytes = '1MiB'
journal_bytes_max = '256MiB'
checkpoint_interval = '50ms'
";

/// Publishers of a round, and acknowledgements after which the broker may die.
const PUBLISHERS: usize = 10;
const ACKS_MIN: u64 = 2_000;
const ACKS_MAX: u64 = 6_000;

/// Messages that wait for an absent subscriber, and retained ones.
const WAITING: usize = 400;
const RETAINED: usize = 100;

#[test]
fn four_hundred_of_four_hundred_messages_wait_for_an_absent_client_after_a_kill() {
    let mut broker = Sluice::start(CONFIG);
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

#[test]
fn every_acknowledged_retained_message_is_there_after_a_kill() {
    let mut broker = Sluice::start(CONFIG);
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

#[test]
fn nothing_acknowledged_is_lost_or_doubled_however_often_the_broker_is_killed() {
    let rounds = std::env::var("CRASH").map_or(5, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("CRASH={rounds} SEED={seed}");
    let mut random = Random(seed);
    let mut broker = Sluice::start(CONFIG);
    let names = (0..PUBLISHERS).map(|number| format!("p{number}"));
    let mut publishers: Vec<Publisher> = names.map(Publisher::new).collect();
    let (mut live, mut absent) = (Subscriber::new("live"), Subscriber::new("absent"));
    drop(absent.connect(broker.address("tcp")).expect("a broker that lives"));
    for round in 0..rounds {
        let at = broker.address("tcp");
        let kill_after = ACKS_MIN + random.below(ACKS_MAX - ACKS_MIN);
        thread::scope(|scope| {
            let (acks, acked) = mpsc::channel();
            let (ready, are_ready) = mpsc::channel();
            let mut wire = live.connect(at).expect("a broker that lives");
            let live = &mut live;
            scope.spawn(move || live.take(&mut wire));
            for publisher in &mut publishers {
                let (ready, acks) = (ready.clone(), acks.clone());
                scope.spawn(move || publisher.publish(at, round, &ready, &acks));
            }
            for _ in 0..PUBLISHERS {
                are_ready.recv().expect("publishers that connect");
            }
            for _ in 0..kill_after {
                acked.recv().expect("publishers that publish");
            }
            broker.kill();
        });
        // Now and then it dies while it starts.
        while random.below(3) == 0 {
            broker.start_and_kill_after(Duration::from_millis(random.below(250)));
        }
        broker.start_again();
    }
    let at = broker.address("tcp");
    publishers.iter_mut().for_each(|publisher| publisher.finish(at));
    let mut last = Client::connect(at, Version::V5, "last");
    // At QoS 2: one of QoS 1 waits for nothing, and would overtake those.
    let end = Publish { qos: QoS::ExactlyOnce, ..wire::message("end", b"0") };
    last.send(&Packet::Publish(end));
    last.expect(|packet| matches!(packet, Packet::PubRec(_)).then_some(()));
    last.send(&Packet::PubRel(Ack::new(PacketId::MIN, Reason::Success)));
    last.expect(|packet| matches!(packet, Packet::PubComp(_)).then_some(()));
    for subscriber in [&mut live, &mut absent] {
        let mut wire = subscriber.connect(at).expect("a broker that lives");
        subscriber.take(&mut wire);
        for publisher in &publishers {
            all_came(subscriber, publisher, rounds);
        }
    }
    last.subscribe(&["retained/#"], QoS::AtLeastOnce);
    for _ in &publishers {
        let (topic, payload) = last.message();
        let is_its = |publisher: &&Publisher| Class::Retained.topic(&publisher.name) == topic;
        let publisher = publishers.iter().find(is_its).expect("a publisher of ours");
        let newest = publisher.next[Class::Retained as usize] - 1;
        assert_eq!(String::from_utf8_lossy(&payload), newest.to_string(), "{topic}");
    }
}

/// Every message came, those of `QoS` 2 once, and those of each topic in order; every Will once.
#[track_caller]
fn all_came(subscriber: &Subscriber, publisher: &Publisher, rounds: usize) {
    let wanted = |class: Class| (0..publisher.next[class as usize]).collect::<Vec<u64>>();
    let exactly = subscriber.numbers(&Class::Exactly.topic(&publisher.name));
    same(&exactly, &wanted(Class::Exactly), "QoS 2");
    let mut seen = 0;
    let mut once = subscriber.numbers(&Class::Once.topic(&publisher.name));
    once.retain(|number| {
        let first = *number >= seen;
        seen = seen.max(number + 1);
        first
    });
    same(&once, &wanted(Class::Once), "QoS 1");
    let mut wills = subscriber.numbers(&format!("will/{}", publisher.name));
    wills.sort_unstable();
    same(&wills, &(0..rounds as u64).collect::<Vec<_>>(), "Wills");
}

#[track_caller]
fn same(came: &[u64], wanted: &[u64], what: &str) {
    let differ = came.iter().zip(wanted).position(|(came, wanted)| came != wanted);
    let at = differ.unwrap_or(came.len().min(wanted.len()));
    let around = |all: &[u64]| all[at.saturating_sub(3)..all.len().min(at + 5)].to_vec();
    let (around_came, around_wanted) = (around(came), around(wanted));
    assert!(
        came == wanted,
        "{what}: {} came, {} were published; at {at}: {around_came:?}, not {around_wanted:?}",
        came.len(),
        wanted.len()
    );
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

/// A generator of its own: the same seed gives the same rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
