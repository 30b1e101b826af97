//! The disk of the real process fills up under load, and has room again: what its clients are told,
//! what still comes to them, and that nothing acknowledged is lost, also after a restart.

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use broker::{Broker, Started};
use clients::{Class, Fate, Publisher, Subscriber, Wrong};
use process::BUSY_STORE;
use sluicemq::codec::{Connect, Packet, PacketId, Properties, QoS, Reason, Unsubscribe, Version};
use wire::Client;

/// Room on the disk at first, and how much more it gets each time: a checkpoint wants twice what
/// waits for it, and that may be all the load of a slow second.
const ROOM: u64 = 24 << 20;
const MORE: [u64; 2] = [96 << 20, 1 << 30];

/// Publishers, of both versions in turn.
const PUBLISHERS: usize = 8;
const WINDOW: usize = 8;
const PAYLOAD: usize = 8000;

/// Answers to each publisher that show that it can publish.
const ENOUGH: usize = 50;

#[test]
fn a_full_disk_takes_nothing_new_goes_on_with_the_rest_and_recovers() {
    let mut full = Full::new();
    let at = full.broker.start().serves();
    let (mut live, mut late) =
        (Subscriber::new("live", Version::V5), Subscriber::new("late", Version::V311));
    let mut asleep = Subscriber::new("asleep", Version::V5);
    for subscriber in [&mut late, &mut asleep] {
        drop(subscriber.connect(at).expect("a broker that lives"));
    }
    let over = AtomicBool::new(false);
    let mut publishers = publishers();
    thread::scope(|scope| {
        let _ends = Ends(&over);
        let mut wire = live.connect(at).expect("a broker that lives");
        let live = &mut live;
        scope.spawn(move || live.take_all(&mut wire, 0));
        let told = publish(scope, &mut publishers, at, &over);
        let mut load = Load::new(told);
        for (cycle, more) in MORE.into_iter().enumerate() {
            load.until_refused(&mut full, "the disk is full");
            // What waits is delivered, and what is acknowledged deleted.
            let acknowledged = load.all(Fate::Acknowledged);
            let mut wire = late.connect(at).expect("a broker that lives");
            late.take(&mut wire, |taken| taken.count >= acknowledged);
            full.say(format!("a subscriber came and took {} messages", late.count));
            drop(wire);
            load.until_refused(&mut full, "still full");
            full.give(more);
            load.until_acknowledged(&mut full, format!("room again, cycle {cycle}"));
        }
        over.store(true, Ordering::Relaxed);
        load.until_the_end();
        clients::end(at, 0);
    });
    let mut wire = late.connect(at).expect("a broker that lives");
    late.take_all(&mut wire, 0);
    drop(wire);
    full.count(&publishers, &[&live, &late], "while it lives");
    full.broker.kill();
    let at = full.broker.start().serves();
    let mut wire = asleep.connect(at).expect("a broker that lives");
    asleep.take_all(&mut wire, 0);
    full.count(&publishers, &[&asleep], "after it was killed and started again");
    let retained = clients::retained(at, PUBLISHERS);
    for publisher in &publishers {
        let there = retained.get(&Class::Retained.topic(&publisher.name));
        assert_eq!(there, publisher.retained().as_ref(), "retained of {}", publisher.name);
    }
    full.print(&publishers);
}

#[test]
fn a_start_on_a_full_disk_serves_or_says_why_not_and_loses_nothing() {
    let mut full = Full::new();
    let at = full.broker.start().serves();
    let mut asleep = Subscriber::new("asleep", Version::V5);
    drop(asleep.connect(at).expect("a broker that lives"));
    let mut publishers = publishers();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&over);
        let told = publish(scope, &mut publishers, at, &over);
        Load::new(told).until_refused(&mut full, "the disk is full");
        full.broker.kill();
        over.store(true, Ordering::Relaxed);
    });
    full.take_all_room();
    let at = match full.broker.start() {
        Started::Serves(at) => {
            full.say("it serves on a full disk".to_owned());
            at
        }
        Started::Cut => panic!("no cut is due"),
        Started::Refused(why) => {
            full.say(format!("it does not start on a full disk: {why}"));
            assert!(why.contains(&*full.broker.disk().to_string_lossy()), "no place: {why}");
            assert!(why.contains("make room"), "not what to do: {why}");
            full.give(MORE[0]);
            full.broker.start().serves()
        }
    };
    full.give(MORE[0]);
    over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let _ends = Ends(&over);
        let told = publish(scope, &mut publishers, at, &over);
        let mut load = Load::new(told);
        load.until_acknowledged(&mut full, "room again".to_owned());
        over.store(true, Ordering::Relaxed);
        load.until_the_end();
        clients::end(at, 0);
    });
    let mut wire = asleep.connect(at).expect("a broker that lives");
    asleep.take_all(&mut wire, 0);
    full.count(&publishers, &[&asleep], "after a start on a full disk");
    full.print(&publishers);
}

/// What a full disk keeps back is not used up by a client that subscribes and unsubscribes for ever: the others
/// are still served from it.
#[test]
fn subscriptions_do_not_use_up_what_a_full_disk_keeps_back() {
    /// Filters of a SUBSCRIBE, and their bytes: rounds that are refused whole would fill what is kept back.
    const FILTERS: usize = 30;
    const BYTES: usize = 900;
    const ENOUGH: usize = 200;
    let mut full = Full::new();
    let at = full.broker.start().serves();
    let mut asleep = Subscriber::new("asleep", Version::V5);
    drop(asleep.connect(at).expect("a broker that lives"));
    let lasting = |client_id| Connect {
        clean_start: false,
        session_expiry: 3600,
        ..wire::connect(Version::V5, client_id)
    };
    let mut eager = Client::connect_with(at, &lasting("eager"));
    let mut device = Client::connect_with(at, &lasting("device"));
    let mut publishers = publishers();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&over);
        let told = publish(scope, &mut publishers, at, &over);
        Load::new(told).until_refused(&mut full, "the disk is full");
        let filters: Vec<String> =
            (0..FILTERS).map(|number| format!("{number}/{}", "z".repeat(BYTES))).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut refused = 0;
        while refused < ENOUGH {
            let reasons = eager.subscribe(&filters, QoS::AtLeastOnce);
            let whole = reasons.iter().all(|reason| *reason == Reason::QuotaExceeded);
            refused = if whole { refused + 1 } else { 0 };
            unsubscribe(&mut eager, &filters);
        }
        full.say(format!("{refused} SUBSCRIBEs were refused"));
        device.subscribe(&["command"], QoS::AtLeastOnce);
        device.ping();
        // The Session is there.
        drop(asleep.connect(at).expect("a broker that lives"));
        let mut new = Client::open(at, Version::V5);
        new.send(&Packet::Connect(Box::new(lasting("new"))));
        assert_eq!(new.connack(), Reason::QuotaExceeded);
        over.store(true, Ordering::Relaxed);
        // Publishers of 3.1.1 wait for room.
        full.give(MORE[1]);
    });
}

fn unsubscribe(client: &mut Client, filters: &[&str]) {
    let packet_id = PacketId::new(1).expect("it is not 0");
    let (user_properties, rest) = (Properties::EMPTY, &[][..]);
    let filters = filters.to_vec();
    client.send(&Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters, rest }));
    client.expect(|packet| matches!(packet, Packet::UnsubAck(_)).then_some(()));
}

/// A broker on a disk that fills up.
struct Full {
    broker: Broker,
    room: u64,
    begun: Instant,
}

impl Full {
    fn new() -> Full {
        let mut broker = Broker::new(BUSY_STORE);
        let file = broker.file("room").to_string_lossy().into_owned();
        broker.shim_says.push(("SHIM_ROOM", file));
        let mut full = Full { broker, room: 0, begun: Instant::now() };
        full.give(ROOM);
        full
    }

    /// Gives the disk so much more room.
    fn give(&mut self, bytes: u64) {
        self.room += bytes;
        self.set_room(self.room);
        self.say(format!("the disk has {} MiB more room", bytes >> 20));
    }

    /// The next life begins with none.
    fn take_all_room(&mut self) {
        self.room = 0;
        self.set_room(0);
        self.say("the disk has no room".to_owned());
    }

    fn set_room(&self, bytes: u64) {
        let (file, unfinished) = (self.broker.file("room"), self.broker.file("room.tmp"));
        std::fs::write(&unfinished, bytes.to_string()).expect("a file");
        std::fs::rename(unfinished, file).expect("a file");
    }

    fn say(&mut self, what: String) {
        // At once, so that the output of a test that hangs shows how far it came.
        println!("{:7.2} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    fn count(&mut self, publishers: &[Publisher], subscribers: &[&Subscriber], when: &str) {
        let mut wrong = Wrong::default();
        for publisher in publishers {
            subscribers.iter().for_each(|subscriber| wrong.compare(subscriber, publisher, 0));
        }
        let told: usize = publishers.iter().map(|publisher| publisher.acknowledged.len()).sum();
        self.say(format!("{when}: {told} were acknowledged; {wrong:?}"));
        assert_eq!(wrong, Wrong::default(), "{when}");
    }

    /// What everybody saw.
    fn print(&self, publishers: &[Publisher]) {
        for publisher in publishers {
            let Publisher { name, version, answers, .. } = publisher;
            let turns = answers.len();
            let answers: Vec<String> = answers
                .iter()
                .take(12)
                .map(|(reason, count)| format!("{:#04x} × {count}", *reason as u8))
                .collect();
            let refused = publisher.refused.len();
            let acknowledged = publisher.acknowledged.len();
            println!(
                "{name} ({version:?}): {acknowledged} acknowledged, {refused} refused, in {turns} \
                 turns: {} …",
                answers.join(", ")
            );
        }
    }
}

fn publishers() -> Vec<Publisher> {
    let versions = [Version::V5, Version::V311];
    (0..PUBLISHERS)
        .map(|number| Publisher::new(&format!("p{number}"), versions[number % 2], PAYLOAD))
        .collect()
}

/// The load ends with its test, also with one that fails: or it would be waited for for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Which publisher was told what.
type Told = (usize, Fate);

/// Publishes until it is over: each publisher in a thread, that tells what became of each message.
fn publish<'scope>(
    scope: &'scope Scope<'scope, '_>,
    publishers: &'scope mut [Publisher],
    at: SocketAddr,
    over: &'scope AtomicBool,
) -> Receiver<Told> {
    let (sender, told) = mpsc::channel();
    for (index, publisher) in publishers.iter_mut().enumerate() {
        let sender: Sender<Told> = sender.clone();
        scope.spawn(move || {
            let goes_on = |fate| {
                let _ = sender.send((index, fate));
                if fate == Fate::Refused {
                    // Like a client that was told to: it tries again, but not at once.
                    thread::sleep(Duration::from_millis(20));
                }
                !over.load(Ordering::Relaxed)
            };
            // A client that loses its connection comes back, as long as there is something to do.
            loop {
                let Some(mut wire) = publisher.connect(at, None) else { return };
                let window = if over.load(Ordering::Relaxed) { 0 } else { WINDOW };
                if publisher.publish(&mut wire, window, goes_on) {
                    return;
                }
            }
        });
    }
    told
}

/// What all publishers were told so far.
struct Load {
    told: Receiver<Told>,
    acknowledged: [usize; PUBLISHERS],
    refused: [usize; PUBLISHERS],
}

impl Load {
    fn new(told: Receiver<Told>) -> Load {
        Load { told, acknowledged: [0; PUBLISHERS], refused: [0; PUBLISHERS] }
    }

    fn next(&mut self) -> Option<Told> {
        let (index, fate) = self.told.recv().ok()?;
        match fate {
            Fate::Acknowledged => self.acknowledged[index] += 1,
            Fate::Refused => self.refused[index] += 1,
        }
        Some((index, fate))
    }

    fn all(&self, fate: Fate) -> usize {
        match fate {
            Fate::Acknowledged => self.acknowledged.iter().sum(),
            Fate::Refused => self.refused.iter().sum(),
        }
    }

    /// Waits until the publishers of version 5 were refused, a few times in a row.
    fn until_refused(&mut self, full: &mut Full, what: &str) {
        let mut in_a_row = 0;
        while in_a_row < 5 * PUBLISHERS {
            match self.next().expect("publishers that publish") {
                (_, Fate::Refused) => in_a_row += 1,
                (_, Fate::Acknowledged) => in_a_row = 0,
            }
        }
        self.say(full, what);
    }

    /// Waits until everybody was told often enough that what it published is safe.
    fn until_acknowledged(&mut self, full: &mut Full, what: String) {
        let before = self.acknowledged;
        let enough = |now: &[usize; PUBLISHERS]| {
            now.iter().zip(&before).all(|(now, before)| now - before >= ENOUGH)
        };
        while !enough(&self.acknowledged) {
            self.next().expect("publishers that publish");
        }
        self.say(full, &what);
    }

    fn until_the_end(&mut self) {
        while self.next().is_some() {}
    }

    fn say(&self, full: &mut Full, what: &str) {
        let (acknowledged, refused) = (self.all(Fate::Acknowledged), self.all(Fate::Refused));
        full.say(format!("{what}: {acknowledged} acknowledged so far, {refused} refused (0x97)"));
    }
}
