//! The attacker: a process of its own that does one thing as fast as it can until its time is over.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};

use crate::Outcome;

/// What an attacker does. The error is of a preparation.
pub type Act = fn(&Attacker) -> io::Result<()>;

/// What is attacked.
pub struct Target {
    /// Listener without TLS.
    pub plain: SocketAddr,
    /// Listener with TLS.
    pub tls: SocketAddr,
    /// Listener of HTTP.
    pub http: SocketAddr,
    /// Where `ca.pem` is.
    pub folder: PathBuf,
    /// Little of everything.
    pub small: bool,
}

pub struct Attacker {
    pub target: Target,
    end: Option<Instant>,
    /// Steps that went well.
    done: AtomicU64,
    /// Steps and connections that did not.
    refused: AtomicU64,
    /// Bytes written.
    bytes: AtomicU64,
}

/// Steps that are enough where little of everything is wanted.
const FEW: u64 = 20;
/// How long an attacker waits for an answer, or for room to write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does `act` for so long, and prints how much of it was done. What it still does then ends with the process,
/// and so do its connections.
pub fn strike(target: Target, act: Act, span: Duration) -> Outcome<()> {
    let end = Some(Instant::now() + span);
    let attacker = Attacker { end, ..Attacker::patient(target) };
    let attacker: &'static Attacker = Box::leak(Box::new(attacker));
    let striking = thread::spawn(move || act(attacker));
    while !attacker.is_over() {
        thread::sleep(Duration::from_millis(1));
    }
    if striking.is_finished() {
        striking.join().map_err(|_| "the attacker's thread ended")??;
    }
    let read = |count: &AtomicU64| count.load(Relaxed);
    let (done, refused, bytes) =
        (read(&attacker.done), read(&attacker.refused), read(&attacker.bytes));
    println!("{}", json!({ "done": done, "refused": refused, "bytes": bytes }));
    std::process::exit(0);
}

impl Attacker {
    /// An attacker without an end, for preparations.
    pub fn patient(target: Target) -> Attacker {
        let (done, refused, bytes) = Default::default();
        Attacker { target, end: None, done, refused, bytes }
    }

    pub fn is_over(&self) -> bool {
        let is_enough = self.target.small && self.done.load(Relaxed) >= FEW;
        self.end.is_some_and(|end| is_enough || Instant::now() >= end)
    }

    /// So many; where little of everything is wanted, few.
    pub fn amount(&self, full: usize) -> usize {
        if self.target.small { full.min(FEW as usize) } else { full }
    }

    /// In so many threads: opens something and takes steps with it until one fails, and so on. Each opening
    /// and each step has a number of its own. A step says how much it has done.
    pub fn again<C>(
        &self,
        threads: usize,
        open: impl Fn(usize) -> io::Result<C> + Sync,
        step: impl Fn(&mut C, usize) -> io::Result<usize> + Sync,
    ) -> io::Result<()> {
        let until_one_fails = |number: &mut usize| -> io::Result<()> {
            let mut opened = open(*number)?;
            while !self.is_over() {
                *number += threads;
                self.done.fetch_add(step(&mut opened, *number)? as u64, Relaxed);
            }
            Ok(())
        };
        let until_one_fails = &until_one_fails;
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut number = thread;
                    while !self.is_over() {
                        self.note(until_one_fails(&mut number));
                        number += threads;
                    }
                });
            }
        });
        Ok(())
    }

    /// In so many threads: the same step again and again.
    pub fn once(
        &self,
        threads: usize,
        step: impl Fn(usize) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        self.again(threads, |_| Ok(()), |(), number| step(number).map(|()| 1))
    }

    /// Opens so many, and keeps them.
    pub fn hold<C>(&self, most: usize, open: impl Fn(usize) -> io::Result<C>) -> Vec<C> {
        let mut held = Vec::new();
        let mut number = 0;
        while held.len() < self.amount(most) && !self.is_over() {
            if let Some(opened) = self.note(open(number)) {
                self.done.fetch_add(1, Relaxed);
                held.push(opened);
            }
            number += 1;
        }
        held
    }

    /// Waits until the time is over, so that what is held stays.
    pub fn rest(&self) {
        let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        thread::sleep(left.unwrap_or_default());
    }

    /// Counts it if it failed.
    pub fn note<T>(&self, outcome: io::Result<T>) -> Option<T> {
        if outcome.is_err() {
            self.refused.fetch_add(1, Relaxed);
        }
        outcome.ok()
    }

    pub fn wrote(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// So many more steps went well.
    pub fn did(&self, steps: usize) {
        self.done.fetch_add(steps as u64, Relaxed);
    }

    /// A connection to the listener without TLS.
    pub fn dial(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.target.plain).and_then(ready)
    }

    /// A connection to the listener with TLS.
    pub fn dial_tls(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.target.tls).and_then(ready)
    }

    /// A connection to the listener of HTTP.
    pub fn dial_http(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.target.http).and_then(ready)
    }

    /// A connection from one of some sixteen million addresses.
    pub fn dial_from(&self, number: usize) -> io::Result<TcpStream> {
        let [_, a, b, c] = (number as u32).wrapping_mul(0x9E37_79B1).to_be_bytes();
        let from = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&self.target.plain.into())?;
        ready(socket.into())
    }
}

/// It ends with RST.
pub fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn ready(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
