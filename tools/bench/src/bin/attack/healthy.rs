//! The healthy client: it pings, and notes how long each answer took.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluicemq::codec::Connect;

use crate::Outcome;
use crate::client;
use crate::victim::{PASSWORD, USER};

/// Between an answer and the next ping.
const REST: Duration = Duration::from_millis(2);
/// A ping without an answer for so long is missed.
const MISSED: Duration = Duration::from_secs(1);
/// How long it waits for an answer before it connects again.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Healthy {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Pings>,
}

/// What it saw.
#[derive(Default)]
pub struct Pings {
    /// How long the answers took.
    took: Vec<Duration>,
    /// Those that came too late or never, and connections that ended.
    pub missed: usize,
}

impl Healthy {
    /// One that is let in, and begins to ping.
    pub fn start(at: SocketAddr) -> Outcome<Healthy> {
        let mut stream = connect(at)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut pings = Pings::default();
            while !stopped.load(Relaxed) {
                let begun = Instant::now();
                let answered = ping(&mut stream);
                pings.took.push(begun.elapsed());
                if answered.is_err() || begun.elapsed() > MISSED {
                    pings.missed += 1;
                }
                if answered.is_err()
                    && let Ok(again) = connect(at)
                {
                    stream = again;
                }
                thread::sleep(REST);
            }
            pings
        });
        Ok(Healthy { stop, thread })
    }

    pub fn stop(self) -> Outcome<Pings> {
        self.stop.store(true, Relaxed);
        let mut pings = self.thread.join().map_err(|_| "the healthy client ended")?;
        pings.took.sort();
        Ok(pings)
    }
}

impl Pings {
    /// How long at most so many of a hundred took.
    pub fn part(&self, percent: usize) -> Duration {
        let place = self.took.len() * percent / 100;
        let last = self.took.len().saturating_sub(1);
        self.took.get(place.min(last)).copied().unwrap_or_default()
    }
}

fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&client::connect(Connect {
        client_id: "healthy",
        user_name: Some(USER),
        password: Some(PASSWORD.as_bytes()),
        ..Connect::default()
    }))?;
    let mut front = [0; 5];
    stream.read_exact(&mut front)?;
    if front[3] != 0 {
        return Err(io::Error::other(format!("refused: {:#x}", front[3])));
    }
    // The properties of the CONNACK.
    stream.read_exact(&mut vec![0; usize::from(front[1]) - 3])?;
    Ok(stream)
}

fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&client::PINGREQ)?;
    stream.read_exact(&mut [0; 2])
}
