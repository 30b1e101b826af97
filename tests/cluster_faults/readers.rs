//! Readers: each has a Session that lasts and gets all that is published, and counts what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Version};

use super::line::{Line, ack};
use super::process::DEADLINE;
use super::publishers::{Places, any};
use super::random::Random;
use super::wire::{Client, connect, decoded};

/// The last message of each publisher.
pub const END: &[u8] = b"end";

/// How long a reader waits for a message before it looks for something else to do.
const WAIT: Duration = Duration::from_millis(20);
/// How long nothing may come at the end before it is thought to be all.
const QUIET: Duration = Duration::from_secs(1);

/// A Session, and what has come to it.
pub struct Reader {
    pub client_id: String,
    version: Version,
    /// `QoS` 2: Packet Identifiers that are not released.
    unreleased: BTreeSet<PacketId>,
    pub seen: Seen,
}

/// What has come.
#[derive(Default)]
pub struct Seen {
    /// The number that is next, by topic.
    pub next: BTreeMap<String, u32>,
    /// How often each Will has come.
    pub wills: BTreeMap<String, u32>,
    pub ended: BTreeSet<String>,
    /// A number came before one below it: the topic, the one that was next, and the one that came.
    pub broken: Vec<(String, u32, u32)>,
    /// A number of `QoS` 2 came twice: the same.
    pub doubled: Vec<(String, u32, u32)>,
    /// The Session was not there any more.
    pub forgotten: u32,
}

impl Reader {
    /// A Session at the node at `at`, subscribed, with no connection.
    pub fn begin(client_id: &str, version: Version, at: SocketAddr) -> Reader {
        let reader = Reader {
            client_id: client_id.to_owned(),
            version,
            unreleased: BTreeSet::new(),
            seen: Seen::default(),
        };
        let mut client = Client::connect_with(at, &reader.connect());
        client.subscribe(&["load/#", "will/#"], QoS::ExactlyOnce);
        client.goodbye();
        reader
    }

    fn connect(&self) -> Connect<'_> {
        let session_expiry = if self.version == Version::V5 { 3600 } else { u32::MAX };
        Connect { clean_start: false, session_expiry, ..connect(self.version, &self.client_id) }
    }

    /// A visit to a node: it reads until `is_over`.
    fn visit(&mut self, at: SocketAddr, mut is_over: impl FnMut(&Seen) -> bool) -> Option<()> {
        let (mut line, is_there) = Line::open(at, &self.connect())?;
        self.seen.forgotten += u32::from(!is_there);
        while !is_over(&self.seen) {
            let Some(bytes) = line.poll(WAIT)? else { continue };
            match decoded(&bytes, self.version) {
                Packet::Publish(publish) => self.take(&mut line, &publish)?,
                Packet::PubRel(release) => {
                    self.unreleased.remove(&release.packet_id);
                    line.send(&Packet::PubComp(ack(release.packet_id)))?;
                }
                _ => {}
            }
        }
        // Half of the visits end in order.
        if self.seen.next.values().sum::<u32>().is_multiple_of(2) {
            line.send(&Packet::Disconnect(Default::default()))?;
        }
        Some(())
    }

    fn take(&mut self, line: &mut Line, publish: &Publish<'_>) -> Option<()> {
        let packet_id = publish.packet_id.expect("not of QoS 0");
        if publish.qos == QoS::AtLeastOnce {
            self.seen.note(publish);
            return line.send(&Packet::PubAck(ack(packet_id)));
        }
        if self.unreleased.insert(packet_id) {
            self.seen.note(publish);
        }
        line.send(&Packet::PubRec(ack(packet_id)))
    }

    /// Reads what waits, at this node, until `wanted` ends and Wills have come, and then for a while what should not.
    pub fn read_all(&mut self, places: &Places, wanted: (usize, usize)) {
        let end = Instant::now() + DEADLINE;
        let has_all = |seen: &Seen| seen.ended.len() >= wanted.0 && seen.wills.len() >= wanted.1;
        let mut random = Random::new(1);
        while !has_all(&self.seen) && Instant::now() < end {
            let at = any(places, &mut random);
            let _ = self.visit(at, |seen| has_all(seen) || Instant::now() > end);
        }
        let end = Instant::now() + QUIET;
        let _ = self.visit(any(places, &mut random), |_| Instant::now() > end);
    }
}

impl Seen {
    fn note(&mut self, publish: &Publish<'_>) {
        let topic = publish.topic.to_owned();
        if topic.starts_with("will/") {
            *self.wills.entry(topic).or_default() += 1;
            return;
        }
        if publish.payload == END {
            self.ended.insert(topic);
            return;
        }
        let number = std::str::from_utf8(publish.payload).ok().and_then(|text| text.parse().ok());
        let number: u32 = number.expect("a number");
        let next = self.next.entry(topic.clone()).or_default();
        let this = (topic, *next, number);
        *next = (*next).max(number + 1);
        // What was sent again because its answer was lost comes again, at QoS 1.
        if number > this.1 {
            self.broken.push(this);
        } else if number < this.1 && publish.qos == QoS::ExactlyOnce {
            self.doubled.push(this);
        }
    }
}

/// A reader that goes from node to node.
pub struct Roamer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Reader>,
}

impl Roamer {
    /// It has a Session, and begins to go.
    pub fn start(mut reader: Reader, seed: u64, places: &Places) -> Roamer {
        let stop = Arc::new(AtomicBool::new(false));
        let (own, places, mut random) = (stop.clone(), places.clone(), Random::new(seed));
        let thread = thread::spawn(move || {
            while !own.load(Ordering::Relaxed) {
                let at = any(&places, &mut random);
                let end = Instant::now() + Duration::from_millis(random.below_u64(500));
                let is_over = |_: &Seen| Instant::now() > end || own.load(Ordering::Relaxed);
                let _ = reader.visit(at, is_over);
            }
            reader
        });
        Roamer { stop, thread }
    }

    /// It stays where it is.
    pub fn end(self) -> Reader {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends")
    }
}
