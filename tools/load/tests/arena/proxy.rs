//! A proxy that understands as much of MQTT as it takes to spoil one delivered PUBLISH.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// A proxy in front of a broker.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    plot: Arc<Plot>,
}

/// What is done to one PUBLISH on its way to a subscriber.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing: every byte passes.
    None,
    /// It does not arrive.
    Drop,
    /// It arrives twice in a row.
    Duplicate,
    /// It arrives behind the one that follows it.
    Reorder,
    /// The last bit of its payload is another.
    Corrupt,
    /// It arrives under a topic that it was not published to.
    Misroute,
}

impl Proxy {
    /// In front of `broker`; does `fault` to PUBLISH number `number` (from 0) that is delivered.
    pub fn start(broker: SocketAddr, fault: Fault, number: u32) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let plot = Arc::new(Plot {
            fault,
            number,
            seen: AtomicU32::new(0),
            planted: AtomicU32::new(0),
            streams: Mutex::default(),
        });
        let shared = plot.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A broker that is gone shows by a connection that ends at once.
                let Ok(broker) = TcpStream::connect(broker) else { continue };
                shared.connect(client, broker).expect("sockets that can be cloned");
            }
        });
        Proxy { address, plot }
    }

    /// How often the fault was planted.
    pub fn planted(&self) -> u32 {
        self.plot.planted.load(Ordering::SeqCst)
    }

    /// Ends every connection that is open now.
    pub fn cut(&self) {
        for stream in locked(&self.plot.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

struct Plot {
    fault: Fault,
    number: u32,
    seen: AtomicU32,
    planted: AtomicU32,
    streams: Mutex<Vec<TcpStream>>,
}

impl Plot {
    fn connect(self: &Arc<Plot>, client: TcpStream, broker: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (mut up_from, mut up_to) = (client.try_clone()?, broker.try_clone()?);
        let streams = [client.try_clone()?, broker.try_clone()?];
        locked(&self.streams).extend(streams);
        thread::spawn(move || {
            let _ = io::copy(&mut up_from, &mut up_to);
            let _ = up_to.shutdown(Shutdown::Write);
        });
        let plot = self.clone();
        thread::spawn(move || {
            let _ = plot.deliver(broker, &client);
            let _ = client.shutdown(Shutdown::Write);
        });
        Ok(())
    }

    /// Hands packets on from the broker to a client until one of them ends.
    fn deliver(&self, mut broker: TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut scratch = [0; 65_536];
        let mut held = None;
        loop {
            let len = broker.read(&mut scratch)?;
            if len == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&scratch[..len]);
            let mut out = Vec::new();
            while let Some(len) = packet_len(&bytes) {
                let packet: Vec<u8> = bytes.drain(..len).collect();
                self.pass(packet, &mut held, &mut out);
            }
            client.write_all(&out)?;
        }
    }

    fn pass(&self, mut packet: Vec<u8>, held: &mut Option<Vec<u8>>, out: &mut Vec<u8>) {
        if packet[0] >> 4 != PUBLISH {
            out.append(&mut packet);
            return;
        }
        let chosen = self.seen.fetch_add(1, Ordering::SeqCst) == self.number;
        if !chosen || self.fault == Fault::None {
            out.append(&mut packet);
            out.extend(held.take().into_iter().flatten());
            return;
        }
        self.planted.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::None | Fault::Drop => {}
            Fault::Duplicate => {
                out.extend_from_slice(&packet);
                out.append(&mut packet);
            }
            Fault::Reorder => *held = Some(packet),
            Fault::Corrupt => {
                *packet.last_mut().expect("a header at least") ^= 1;
                out.append(&mut packet);
            }
            Fault::Misroute => {
                // The last letter of the topic, which follows its length of two bytes.
                let topic = packet_len_bytes(&packet) + 1;
                let len = usize::from(u16::from_be_bytes([packet[topic], packet[topic + 1]]));
                packet[topic + 1 + len] ^= 1;
                out.append(&mut packet);
            }
        }
    }
}

/// The length of the first packet in `bytes`, if all of it is there.
fn packet_len(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.get(1..)?;
    let count = digits.iter().position(|digit| digit & 0x80 == 0)? + 1;
    let value = |(place, digit): (usize, &u8)| usize::from(digit & 0x7f) << (7 * place);
    let remaining: usize = digits[..count].iter().enumerate().map(value).sum();
    (bytes.len() > count + remaining).then_some(1 + count + remaining)
}

/// How many bytes the Remaining Length of a packet takes.
fn packet_len_bytes(packet: &[u8]) -> usize {
    packet[1..].iter().take_while(|digit| *digit & 0x80 != 0).count() + 1
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with it")
}

/// Packet type.
const PUBLISH: u8 = 3;
