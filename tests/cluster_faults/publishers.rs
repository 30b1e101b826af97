//! Publishers that know what was acknowledged. Each publishes the numbers from 0 on to the topic of its name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluicemq::codec::{Connect, Packet, PacketId, Publish, QoS, Version};

use super::line::{Line, ack};
use super::process::DEADLINE;
use super::random::Random;
use super::wire::connect;

/// Where the nodes are now.
pub type Places = Arc<Mutex<Vec<SocketAddr>>>;

/// One of them, drawn.
pub fn any(places: &Places, random: &mut Random) -> SocketAddr {
    random.pick(&places.lock().unwrap())
}

/// One publisher.
pub struct Publisher {
    pub name: String,
    pub exactly_once: bool,
    told: Arc<Told>,
    thread: JoinHandle<()>,
}

/// What it tells while it runs.
struct Told {
    stop: AtomicBool,
    /// How many numbers were acknowledged: all below.
    acknowledged: AtomicU32,
    newest: Mutex<Instant>,
    /// Milliseconds.
    longest_pause: AtomicU64,
    /// How often its Session was not there any more.
    forgotten: AtomicU32,
}

/// What it has reached.
pub struct Reached {
    pub acknowledged: u32,
    pub forgotten: u32,
}

/// Between two messages of a publisher: the machine is for what fails, and queues hold all of it.
const REST: Duration = Duration::from_millis(3);
/// Each fourth message is retained, on a topic of its own.
pub const RETAINED_EVERY: u32 = 4;

impl Publisher {
    /// A publisher of `QoS` 1 at one node, one message at a time, each again until it is acknowledged.
    pub fn at_least_once(name: &str, node: usize, places: &Places) -> Publisher {
        let places = places.clone();
        Publisher::start(name, false, move |name, told| {
            let connect = connect(Version::V311, name);
            let at = places.lock().unwrap()[node];
            let Some((mut line, _)) = Line::open(at, &connect) else { return };
            while !told.stop.load(Ordering::Relaxed) {
                if publish_once(&mut line, name, told).is_none() {
                    return;
                }
            }
        })
    }

    /// A publisher of `QoS` 2 that goes from node to node, with a Session that lasts.
    pub fn exactly_once(name: &str, seed: u64, places: &Places) -> Publisher {
        let (places, mut random) = (places.clone(), Random::new(seed));
        let mut exchange = Exchange { is_begun: false, is_sent: false, is_received: false };
        Publisher::start(name, true, move |name, told| {
            let at = any(&places, &mut random);
            let steps = 1 + random.below(400);
            let _ = exchange.go_on(at, name, told, steps);
        })
    }

    fn start(
        name: &str,
        exactly_once: bool,
        mut connection: impl FnMut(&str, &Told) + Send + 'static,
    ) -> Publisher {
        let told = Arc::new(Told {
            stop: AtomicBool::new(false),
            acknowledged: AtomicU32::new(0),
            newest: Mutex::new(Instant::now()),
            longest_pause: AtomicU64::new(0),
            forgotten: AtomicU32::new(0),
        });
        let (own, of) = (told.clone(), name.to_owned());
        let thread = thread::spawn(move || {
            while !own.stop.load(Ordering::Relaxed) {
                connection(&of, &own);
                thread::yield_now();
            }
        });
        Publisher { name: name.to_owned(), exactly_once, told, thread }
    }

    /// From here on pauses are measured.
    pub fn begin_pause(&self) {
        *self.told.newest.lock().unwrap() = Instant::now();
        self.told.longest_pause.store(0, Ordering::Relaxed);
    }

    /// The longest time between two answers, in milliseconds.
    pub fn longest_pause(&self) -> u64 {
        self.told.longest_pause.load(Ordering::Relaxed)
    }

    /// Waits until it has more answers.
    pub fn goes_on(&self, fault: &str) {
        let acknowledged = || self.told.acknowledged.load(Ordering::Relaxed);
        let (before, end) = (acknowledged(), Instant::now() + DEADLINE);
        while acknowledged() < before + 50 {
            assert!(Instant::now() < end, "nothing of {} is acknowledged: {fault}", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it.
    pub fn end(self) -> Reached {
        self.told.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends");
        Reached {
            acknowledged: self.told.acknowledged.load(Ordering::Relaxed),
            forgotten: self.told.forgotten.load(Ordering::Relaxed),
        }
    }
}

impl Told {
    fn note(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut newest = self.newest.lock().unwrap();
        let pause = newest.elapsed().as_millis() as u64;
        self.longest_pause.fetch_max(pause, Ordering::Relaxed);
        *newest = Instant::now();
        drop(newest);
        thread::sleep(REST);
    }
}

/// `None`: the connection is over.
fn publish_once(line: &mut Line, name: &str, told: &Told) -> Option<()> {
    let number = told.acknowledged.load(Ordering::Relaxed);
    let payload = number.to_string();
    for retain in [false, true] {
        let topic = if retain { format!("state/{name}") } else { format!("load/{name}") };
        if retain && !number.is_multiple_of(RETAINED_EVERY) {
            continue;
        }
        line.send(&Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            retain,
            topic: &topic,
            payload: payload.as_bytes(),
            packet_id: Some(PacketId::MIN),
            ..Publish::default()
        }))?;
        line.answer(|packet| matches!(packet, Packet::PubAck(_)))?;
    }
    told.note();
    Some(())
}

/// How far a message of `QoS` 2 has come.
struct Exchange {
    /// There is a Session.
    is_begun: bool,
    /// PUBLISH was sent.
    is_sent: bool,
    /// PUBREC has come.
    is_received: bool,
}

impl Exchange {
    fn go_on(&mut self, at: SocketAddr, name: &str, told: &Told, steps: usize) -> Option<()> {
        let lasting = Connect {
            clean_start: false,
            session_expiry: u32::MAX,
            ..connect(Version::V311, name)
        };
        let (mut line, is_there) = Line::open(at, &lasting)?;
        told.forgotten.fetch_add(u32::from(self.is_begun && !is_there), Ordering::Relaxed);
        self.is_begun = true;
        for _ in 0..steps {
            if told.stop.load(Ordering::Relaxed) && !self.is_sent {
                return Some(());
            }
            self.step(&mut line, name, told)?;
        }
        // Half of the connections end in order, the others within an exchange.
        if steps.is_multiple_of(2) {
            line.send(&Packet::Disconnect(Default::default()))
        } else {
            None
        }
    }

    fn step(&mut self, line: &mut Line, name: &str, told: &Told) -> Option<()> {
        if self.is_received {
            line.send(&Packet::PubRel(ack(PacketId::MIN)))?;
            line.answer(|packet| matches!(packet, Packet::PubComp(_)))?;
            (self.is_sent, self.is_received) = (false, false);
            return Some(());
        }
        let number = told.acknowledged.load(Ordering::Relaxed);
        let dup = std::mem::replace(&mut self.is_sent, true);
        line.send(&Packet::Publish(Publish {
            dup,
            qos: QoS::ExactlyOnce,
            topic: &format!("load/{name}"),
            payload: number.to_string().as_bytes(),
            packet_id: Some(PacketId::MIN),
            ..Publish::default()
        }))?;
        line.answer(|packet| matches!(packet, Packet::PubRec(_)))?;
        self.is_received = true;
        told.note();
        Some(())
    }
}
