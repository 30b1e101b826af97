//! How long a client takes to have its queue when its Session is at another node of the cluster, for
//! `tools/bench/cluster`.
//!
//! `roam HERE THERE`: Sessions are made at the node at HERE, messages wait for each, and one half of them comes back to
//! HERE, the other half to THERE, one after the other. Prints a line for each: how long the first message took from
//! CONNECT on, and how long all of them.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sluicemq::codec::{
    Ack, Connect, DecodeLimits, Decoded, Disconnect, Packet, PacketId, Properties, Publish, QoS,
    Reason, Sender, Subscribe, SubscribeOptions, Version, decode, encode,
};

/// Sessions, and messages for each.
const SESSIONS: usize = 60;
const MESSAGES: usize = 1000;
const PAYLOAD: [u8; 256] = [7; 256];
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A client.
struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

fn main() -> ExitCode {
    let places: Option<Vec<SocketAddr>> =
        std::env::args().skip(1).map(|place| place.parse().ok()).collect();
    let Some([here, there]) = places.as_deref() else {
        eprintln!("usage: roam HERE THERE");
        return ExitCode::from(2);
    };
    match measure(*here, *there) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(here: SocketAddr, there: SocketAddr) -> Outcome<()> {
    for session in 0..SESSIONS {
        let mut client = Client::connect(here, &name(session))?;
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        client.send(&Packet::Subscribe(Subscribe {
            rest: &[],
            packet_id: PacketId::MIN,
            subscription_id: None,
            user_properties: Properties::EMPTY,
            filters: [("roam", options)].into_iter().collect(),
        }))?;
        client.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))?;
        client.leave()?;
    }
    let mut publisher = Client::connect(here, "roam-publisher")?;
    for _ in 0..MESSAGES {
        publisher.send(&Packet::Publish(Publish {
            qos: QoS::AtLeastOnce,
            topic: "roam",
            packet_id: Some(PacketId::MIN),
            payload: &PAYLOAD,
            ..Publish::default()
        }))?;
        publisher.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))?;
    }
    let mut took = [("the same node", Vec::new()), ("another node", Vec::new())];
    for session in 0..SESSIONS {
        let at = if session % 2 == 0 { here } else { there };
        took[session % 2].1.push(come_back(at, &name(session))?);
    }
    for (place, took) in &took {
        let of = |which: fn(&[Duration; 2]) -> Duration| {
            let mut all: Vec<Duration> = took.iter().map(which).collect();
            all.sort();
            let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            format!("p50 {:.1} ms, p99 {:.1} ms", at(50), at(99))
        };
        println!(
            "{place}: first of {MESSAGES} messages {}; all {}",
            of(|[first, _]| *first),
            of(|[_, all]| *all)
        );
    }
    Ok(())
}

fn name(session: usize) -> String {
    format!("roam-{session}")
}

/// Takes what waits: when the first message came, and when the last.
fn come_back(at: SocketAddr, client_id: &str) -> Outcome<[Duration; 2]> {
    let begun = Instant::now();
    let mut client = Client::connect(at, client_id)?;
    let mut first = None;
    for _ in 0..MESSAGES {
        let packet_id = client.until(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id,
            _ => None,
        })?;
        first.get_or_insert_with(|| begun.elapsed());
        client.send(&Packet::PubAck(Ack {
            packet_id,
            reason: Reason::Success,
            reason_string: None,
            user_properties: Properties::EMPTY,
        }))?;
    }
    let all = begun.elapsed();
    client.leave()?;
    Ok([first.unwrap_or_default(), all])
}

impl Client {
    fn connect(at: SocketAddr, client_id: &str) -> Outcome<Client> {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { stream, unread: Vec::new() };
        client.send(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: false,
            session_expiry: 3600,
            client_id,
            ..Connect::default()
        })))?;
        let reason = client.until(|packet| match packet {
            Packet::ConnAck(connack) => Some(connack.reason),
            _ => None,
        })?;
        if reason == Reason::Success {
            Ok(client)
        } else {
            Err(format!("CONNACK {reason:?}").into())
        }
    }

    fn leave(mut self) -> Outcome<()> {
        self.send(&Packet::Disconnect(Disconnect::default()))
    }

    fn send(&mut self, packet: &Packet<'_>) -> Outcome<()> {
        let mut bytes = Vec::new();
        encode(packet, Version::V5, usize::MAX, &mut bytes)
            .map_err(|error| format!("{error:?}"))?;
        Ok(self.stream.write_all(&bytes)?)
    }

    /// Reads on until a packet `is_it`.
    fn until<T>(&mut self, is_it: impl Fn(&Packet<'_>) -> Option<T>) -> Outcome<T> {
        loop {
            while let Decoded::Packet { packet, len } =
                decode(&self.unread, Some(Version::V5), Sender::Server, &DecodeLimits::NONE)
                    .map_err(|error| format!("{error:?}"))?
            {
                let found = is_it(&packet);
                self.unread.drain(..len);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            let mut bytes = [0; 64 * 1024];
            let len = self.stream.read(&mut bytes)?;
            if len == 0 {
                return Err("the connection is over".into());
            }
            self.unread.extend_from_slice(&bytes[..len]);
        }
    }
}
