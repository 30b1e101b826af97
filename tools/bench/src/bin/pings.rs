//! How long a broker that is pressed takes to answer a ping, for `tools/bench/flow pings`.
//!
//! `pings ADDRESS SECONDS` subscribes to the broker's level, waits until it is 3, then sends a PINGREQ
//! ten milliseconds after each answer. What is answered while the level is another does not count.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use sluicemq::codec::{
    Connect, DecodeLimits, Decoded, Packet, PacketId, Properties, QoS, Reason, Sender, Subscribe,
    SubscribeOptions, Version, decode, encode,
};

/// Between an answer and the next question.
const REST: Duration = Duration::from_millis(10);
/// How long the level may take to rise, or an answer to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the broker says how hard it is pressed.
const SAID: &str = "$SYS/broker/overload/";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A client that listens to `$SYS/broker/overload/`.
struct Pinger {
    stream: TcpStream,
    unread: Vec<u8>,
    /// What was said last: `level`, `cause` and the rest.
    said: BTreeMap<String, String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seconds = args.get(1).and_then(|seconds| seconds.parse().ok());
    let (Some(address), Some(seconds), 2) = (args.first(), seconds, args.len()) else {
        eprintln!("pings: usage: pings ADDRESS SECONDS");
        return ExitCode::from(2);
    };
    match run(address, Duration::from_secs(seconds)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pings: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str, span: Duration) -> Outcome<String> {
    let mut pinger = Pinger::connect(address)?;
    let begun = Instant::now();
    while !pinger.is_pressed() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("level 3 did not come: {:?}", pinger.said).into());
        }
        pinger.ping()?;
        thread::sleep(REST);
    }
    let cause = pinger.said.get("cause").cloned().unwrap_or_default();
    let mut counted = Vec::new();
    let mut others = 0_usize;
    let begun = Instant::now();
    while begun.elapsed() < span {
        let pressed = pinger.is_pressed();
        let took = pinger.ping()?;
        if pressed && pinger.is_pressed() {
            counted.push(took);
        } else {
            others += 1;
        }
        thread::sleep(REST);
    }
    if counted.is_empty() {
        return Err(format!("none of {others} pings was answered at level 3").into());
    }
    counted.sort();
    let part = |of: usize| counted[(counted.len() * of / 100).min(counted.len() - 1)].as_micros();
    Ok(format!(
        "{} pings at level 3 by {cause} ({others} at others): half {} µs, 99 % {} µs, most {} µs",
        counted.len(),
        part(50),
        part(99),
        part(100),
    ))
}

impl Pinger {
    /// A client that is let in, and is told the level.
    fn connect(address: &str) -> Outcome<Pinger> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut pinger = Pinger { stream, unread: Vec::new(), said: BTreeMap::new() };
        pinger
            .send(&Packet::Connect(Box::new(Connect { keep_alive: 60, ..Connect::default() })))?;
        let reason = pinger.until(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.reason),
            _ => None,
        })?;
        if reason != Reason::Success {
            return Err(format!("refused: {reason:?}").into());
        }
        let filter = format!("{SAID}+");
        let options = SubscribeOptions { qos: QoS::AtMostOnce, ..SubscribeOptions::default() };
        pinger.send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: PacketId::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: vec![(&filter, options)],
        }))?;
        pinger.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))?;
        Ok(pinger)
    }

    /// From the question to the answer.
    fn ping(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        self.send(&Packet::PingReq)?;
        self.until(|packet| matches!(packet, Packet::PingResp).then_some(()))?;
        Ok(begun.elapsed())
    }

    fn send(&mut self, packet: &Packet<'_>) -> Outcome<()> {
        let mut bytes = Vec::new();
        encode(packet, Version::V5, usize::MAX, &mut bytes)?;
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Reads up to the packet that is `wanted`, and notes what is said meanwhile.
    fn until<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> Outcome<T> {
        loop {
            let mut used = 0;
            let mut found = None;
            while found.is_none() {
                let rest = &self.unread[used..];
                match decode(rest, Some(Version::V5), Sender::Server, &DecodeLimits::NONE)? {
                    Decoded::Packet { packet, len } => {
                        used += len;
                        found = wanted(&packet);
                        match &packet {
                            Packet::Publish(publish) => {
                                let name = publish.topic.strip_prefix(SAID).unwrap_or_default();
                                let value = String::from_utf8_lossy(publish.payload).into_owned();
                                self.said.insert(name.to_owned(), value);
                            }
                            Packet::Disconnect(disconnect) => {
                                return Err(format!("closed: {:?}", disconnect.reason).into());
                            }
                            _ => {}
                        }
                    }
                    Decoded::Need(_) => break,
                }
            }
            self.unread.drain(..used);
            if let Some(found) = found {
                return Ok(found);
            }
            let mut buf = [0; 4096];
            match self.stream.read(&mut buf)? {
                0 => return Err("closed".into()),
                n => self.unread.extend_from_slice(&buf[..n]),
            }
        }
    }

    fn is_pressed(&self) -> bool {
        self.said.get("level").is_some_and(|level| level == "3")
    }
}
