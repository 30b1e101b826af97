//! A store with damaged files is refused by the name of the file, or serves every message it held: on
//! the real process, counted by what its clients receive. `DAMAGE=N` is the number of places of the
//! table's files that are damaged, `SEED=N` the seed; `tools/test --damage N` sets the places.

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

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::{Broker, Started};
use clients::{Class, Publisher, Subscriber, Wrong};
use random::Random;
use sluicemq::codec::Version;

/// A table that gets all, and later one that gets nothing: so that the journal has something too.
const OFTEN: &str = "50ms";
const NEVER: &str = "1h";

fn config(checkpoint_interval: &str) -> String {
    format!(
        "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'

[queue]
messages_max = 1_000_000
bytes_max = '512MiB'

[store]
segment_bytes = '1MiB'
journal_bytes_max = '64MiB'
checkpoint_interval = '{checkpoint_interval}'
"
    )
}

const PUBLISHERS: usize = 6;
const MESSAGES: usize = 120;
const SUBSCRIBERS: usize = 4;

#[test]
fn a_damaged_store_is_refused_by_name_or_serves_every_message() {
    let places = number("DAMAGE").unwrap_or(30);
    let first = number("SEED").unwrap_or(1);
    println!("DAMAGE={places} SEED={first}");
    let known = Known::new();
    let data = known.broker.disk().join("data");
    let files_below = |folder: &str| {
        let mut files = Vec::new();
        list(&data.join(folder), &mut files);
        files.sort();
        files
    };
    let (table, journal) = (files_below("table"), files_below("journal"));
    let marker = vec![data.join("STORE")];
    // What is not damaged is served: else what follows would show nothing.
    let mut broker = known.broker_with(&data);
    assert_eq!(known.count(broker.start().serves()), Wrong::default());
    let mut figures = Figures::default();
    for place in 0..places {
        known.damage(&table, &mut Random::new(first + place), &mut figures);
    }
    println!("the table's files: {figures}");
    assert!(figures.refused > 0, "a test that cannot fail");
    for (name, files, places) in [("journal", &journal, places / 3), ("marker", &marker, 5)] {
        let mut figures = Figures::default();
        for place in 0..places {
            known.damage(files, &mut Random::new(first + place), &mut figures);
        }
        println!("the files of the {name}: {figures}");
    }
}

/// A store, and the clients that know what is in it.
struct Known {
    broker: Broker,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

impl Known {
    fn new() -> Known {
        let mut broker = Broker::on_a_plain_disk(&config(OFTEN));
        let at = broker.start().serves();
        let versions = [Version::V5, Version::V311];
        let mut publishers: Vec<Publisher> = (0..PUBLISHERS)
            .map(|number| Publisher::new(&format!("p{number}"), versions[number % 2], 200))
            .collect();
        let mut subscribers: Vec<Subscriber> = (0..SUBSCRIBERS)
            .map(|number| Subscriber::new(&format!("s{number}"), versions[number % 2]))
            .collect();
        for subscriber in &mut subscribers {
            drop(subscriber.connect(at).expect("a broker that lives"));
        }
        publish(&mut publishers, at);
        // Two have taken part of it, and have some more on the way, in whatever state.
        for subscriber in &mut subscribers[..2] {
            let mut wire = subscriber.connect(at).expect("a broker that lives");
            subscriber.take(&mut wire, |taken| taken.count > MESSAGES);
        }
        broker.stop();
        drop(process::sluice(&broker.file(""), &config(NEVER)));
        let at = broker.start().serves();
        publish(&mut publishers, at);
        let subscriber = &mut subscribers[1];
        let mut wire = subscriber.connect(at).expect("a broker that lives");
        subscriber.take(&mut wire, |taken| taken.count > MESSAGES * 2);
        broker.kill();
        Known { broker, publishers, subscribers }
    }

    /// A broker with a copy of the store.
    fn broker_with(&self, data: &Path) -> Broker {
        let broker = Broker::on_a_plain_disk(&config(NEVER));
        copy_all(data, &broker.disk().join("data"));
        broker
    }

    /// Damages a copy of one of `files`, and starts a broker with it.
    fn damage(&self, files: &[PathBuf], random: &mut Random, figures: &mut Figures) {
        let file = &files[random.below(files.len())];
        let bytes = fs::read(file).expect("a file");
        let (damaged, what) = damage(bytes, random);
        let data = self.broker.disk().join("data");
        let name = file.strip_prefix(&data).expect("a file of the store");
        let what = format!("{what} of {}", name.display());
        let with_it = || {
            let broker = self.broker_with(&data);
            let copy = broker.disk().join("data");
            match &damaged {
                Some(bytes) => fs::write(copy.join(name), bytes).expect("a copy"),
                None => fs::remove_file(copy.join(name)).expect("a copy"),
            }
            broker
        };
        let (mut broker, mut other) = (with_it(), with_it());
        let begun = Instant::now();
        let (started, (is_well, checked)) = std::thread::scope(|scope| {
            let check = scope.spawn(|| other.check());
            (broker.start(), check.join().expect("a check that ends"))
        });
        figures.longest = figures.longest.max(begun.elapsed());
        match started {
            Started::Serves(at) => {
                println!("{what}: it serves; the check finds it well: {is_well}");
                let wrong = self.count(at);
                assert_eq!(wrong, Wrong::default(), "silent loss: {what}");
                figures.served += 1;
            }
            Started::Refused(why) => {
                println!("{what}: {}", why.replace(&*broker.disk().to_string_lossy(), ""));
                let data = broker.disk().join("data");
                assert!(why.contains(&*data.to_string_lossy()), "{what}: no place: {why}");
                assert!(why.contains("store salvage"), "{what}: not what to do: {why}");
                assert!(!is_well, "{what}: refused, and the check finds nothing: {checked}");
                figures.refused += 1;
            }
            Started::Cut => panic!("it ended without a word"),
        }
    }

    /// Messages that do not come to the client that they wait for.
    fn count(&self, at: std::net::SocketAddr) -> Wrong {
        let mut wrong = Wrong::default();
        clients::end(at, 0);
        for subscriber in &self.subscribers {
            let mut subscriber = subscriber.clone();
            let mut wire = subscriber.connect(at).expect("a broker that lives");
            subscriber.take_all(&mut wire, 0);
            for publisher in &self.publishers {
                wrong.compare(&subscriber, publisher, 0);
            }
        }
        let retained = clients::retained(at, PUBLISHERS);
        for publisher in &self.publishers {
            let there = retained.get(&Class::Retained.topic(&publisher.name));
            wrong.lost += usize::from(there != publisher.retained().as_ref());
        }
        wrong
    }
}

#[derive(Default)]
struct Figures {
    refused: usize,
    served: usize,
    longest: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { refused, served, longest } = self;
        write!(f, "{refused} refused by name, {served} served whole, 0 lost in silence; ")?;
        write!(f, "the longest start or check took {:.1} s", longest.as_secs_f64())
    }
}

fn publish(publishers: &mut [Publisher], at: std::net::SocketAddr) {
    for publisher in publishers {
        let mut wire = publisher.connect(at, None).expect("a broker that lives");
        let mut left = MESSAGES;
        let goes_on = |_| {
            left -= 1;
            left > 0
        };
        assert!(publisher.publish(&mut wire, 4, goes_on), "the broker has gone");
    }
}

/// Changes a byte, clears a sector, cuts the end off, or takes the file away.
fn damage(mut bytes: Vec<u8>, random: &mut Random) -> (Option<Vec<u8>>, String) {
    // As often where something was written as anywhere.
    let written = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |last| last + 1);
    let end = if random.percent(50) { written } else { bytes.len() };
    let at = random.below(end);
    match random.pick(&[0, 0, 1, 2, 3, 3, 3, 3, 3, 3]) {
        0 => {
            bytes.truncate(at);
            (Some(bytes), format!("all from byte {at}"))
        }
        1 => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            (Some(bytes), format!("512 bytes from {at}"))
        }
        2 => (None, "the whole".to_owned()),
        _ => {
            bytes[at] ^= 1 << random.below(8);
            (Some(bytes), format!("a bit of byte {at}"))
        }
    }
}

/// Files that are not empty.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(&path, files);
        } else if fs::metadata(&path).expect("a file").len() > 0 {
            files.push(path);
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
