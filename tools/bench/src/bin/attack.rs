//! What strangers do to make others wait, over real sockets: for `tools/bench/attack`.
//!
//! - `attack park ADDRESS FILTERS none|all|deep`: parks so many filters, 1,000 a Session: of `{a,+}`, which
//!   match none or all of what `write` publishes, or of 31 levels of their own.
//! - `attack write ADDRESS`: writes 64 KiB of PUBLISHes that lead to all of them, in one go, on each of two
//!   connections; waits until the broker has handled them, and prints how long that took and how many they were.
//! - `attack ping ADDRESS SECONDS`: what a healthy client sees: a PINGREQ a millisecond after each answer.
//! - `attack retain ADDRESS COUNT`: retains so many messages.
//! - `attack seek ADDRESS CLIENTS SECONDS`: clients subscribe again and again to 128 filters that look through
//!   what is retained and find nothing; prints how many SUBSCRIBEs were answered.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sluicemq::codec::{
    Connect, Packet, PacketId, Properties, Publish, Subscribe, SubscribeOptions, Version, encode,
};

/// Levels that are `a` or `+`.
const DEPTH: usize = 18;
/// Filters of a Session, and of a SUBSCRIBE.
const EACH: usize = 1000;
const AT_ONCE: usize = 100;
/// Bytes of one write.
const WRITE: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    match args[..] {
        ["park", at, filters, last] => park(at, number(filters), last),
        ["write", at] => write_twice(at),
        ["ping", at, seconds] => healthy(at, number(seconds)),
        ["retain", at, count] => retain(at, number(count)),
        ["seek", at, clients, seconds] => seek(at, number(clients), number(seconds)),
        _ => panic!("park, write, ping, retain or seek"),
    }
}

fn park(at: &str, filters: usize, kind: &str) -> io::Result<()> {
    let filter = |number: usize| {
        if kind == "deep" {
            return format!("site{number}/{}+", "level/".repeat(29));
        }
        let level = |bit| if number >> bit & 1 == 0 { "a/" } else { "+/" };
        let last = if kind == "all" { "+" } else { "q" };
        (0..DEPTH).map(level).collect::<String>() + last
    };
    let all: Vec<String> = (0..filters).map(filter).collect();
    for (number, own) in all.chunks(EACH).enumerate() {
        let mut client = connect(at, &format!("parked{number}"), false)?;
        for some in own.chunks(AT_ONCE) {
            subscribe(&mut client, some)?;
        }
        client.write_all(&[0xE0, 0])?;
    }
    Ok(())
}

fn write_twice(at: &str) -> io::Result<()> {
    let begun = Instant::now();
    let handles: Vec<_> = (0..2)
        .map(|writer: usize| {
            let mut client = connect(at, &format!("writer{writer}"), true).expect("it connects");
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut count = 0;
                loop {
                    let topic = "a/".repeat(DEPTH) + &format!("z{writer}{count}");
                    let publish = Publish { topic: &topic, payload: b"x", ..Publish::default() };
                    let before = bytes.len();
                    append(&Packet::Publish(publish), &mut bytes);
                    if bytes.len() > WRITE {
                        bytes.truncate(before);
                        break;
                    }
                    count += 1;
                }
                client.write_all(&bytes).expect("it is written");
                ping(&mut client).expect("it is handled");
                count
            })
        })
        .collect();
    let count: usize = handles.into_iter().map(|handle| handle.join().expect("it ends")).sum();
    println!("{} PUBLISHes handled in {:?}", count, begun.elapsed());
    Ok(())
}

fn healthy(at: &str, seconds: usize) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let mut client = connect(at, "healthy", true)?;
    let mut took = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        ping(&mut client)?;
        took.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    took.sort();
    let part = |of: usize| took[(took.len() * of / 100).min(took.len() - 1)];
    println!(
        "{} pings: half {:?}, 99 % {:?}, most {:?}",
        took.len(),
        part(50),
        part(99),
        part(100)
    );
    Ok(())
}

fn retain(at: &str, count: usize) -> io::Result<()> {
    let mut client = connect(at, "retainer", true)?;
    for begin in (0..count).step_by(1000) {
        let mut bytes = Vec::new();
        for number in begin..count.min(begin + 1000) {
            let topic = format!("site{}/device{number}/state/x", number % 1000);
            let publish =
                Publish { topic: &topic, payload: b"x", retain: true, ..Publish::default() };
            append(&Packet::Publish(publish), &mut bytes);
        }
        client.write_all(&bytes)?;
        ping(&mut client)?;
    }
    Ok(())
}

fn seek(at: &str, clients: usize, seconds: usize) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let handles: Vec<_> = (0..clients)
        .map(|number| {
            let mut client = connect(at, &format!("seeker{number}"), true).expect("it connects");
            std::thread::spawn(move || {
                let filters: Vec<String> = (0..128).map(|i| format!("+/+/{i}/y")).collect();
                let mut answered = 0;
                while Instant::now() < end {
                    subscribe(&mut client, &filters).expect("it is answered");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let answered: usize = handles.into_iter().map(|handle| handle.join().expect("it ends")).sum();
    println!("{answered} SUBSCRIBEs answered");
    Ok(())
}

fn connect(at: &str, client_id: &str, clean_start: bool) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let connect = Connect { version: Version::V311, client_id, clean_start, ..Connect::default() };
    send(&mut stream, &Packet::Connect(Box::new(connect)))?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    assert_eq!(connack[3], 0, "refused");
    Ok(stream)
}

fn subscribe(stream: &mut TcpStream, filters: &[String]) -> io::Result<()> {
    let subscribe = Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: filters.iter().map(|f| (f.as_str(), SubscribeOptions::default())).collect(),
        rest: &[],
    };
    send(stream, &Packet::Subscribe(subscribe))?;
    let long = filters.len() + 2 > 127;
    let mut suback = vec![0; filters.len() + if long { 5 } else { 4 }];
    stream.read_exact(&mut suback)?;
    assert_eq!((suback[0], suback[suback.len() - 1]), (0x90, 0), "refused");
    Ok(())
}

/// Waits until all that was sent before is handled.
fn ping(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[0xC0, 0])?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer)
}

fn send(stream: &mut TcpStream, packet: &Packet<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    append(packet, &mut bytes);
    stream.write_all(&bytes)
}

fn append(packet: &Packet<'_>, bytes: &mut Vec<u8>) {
    encode(packet, Version::V311, usize::MAX, bytes).expect("it is well-formed");
}
