//! A connection that may end at any moment.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sluicemq::codec::{Ack, Connect, Packet, PacketId, Properties, Reason, Version};

use super::wire::{decoded, encoded, frame};

/// How long an answer may take: a node that is frozen gives none.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection, if it lasts.
pub struct Line {
    stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
}

impl Line {
    /// A connection that a node has let in, and whether it had the Session.
    pub fn open(at: SocketAddr, connect: &Connect<'_>) -> Option<(Line, bool)> {
        let stream = TcpStream::connect(at).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut line = Line { stream, version: connect.version, unread: Vec::new() };
        line.send(&Packet::Connect(Box::new(connect.clone())))?;
        let bytes = line.next()?;
        match decoded(&bytes, connect.version) {
            Packet::ConnAck(connack) if connack.reason == Reason::Success => {
                Some((line, connack.session_present))
            }
            _ => None,
        }
    }

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet<'_>) -> Option<()> {
        self.stream.write_all(&encoded(packet, self.version)).ok()
    }

    /// The next packet.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.poll(ANSWER).flatten()
    }

    /// The next packet, if one comes within `wait`; `None`: the connection is over.
    pub fn poll(&mut self, wait: Duration) -> Option<Option<Vec<u8>>> {
        self.stream.set_read_timeout(Some(wait)).ok()?;
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(Some(self.unread.drain(..len).collect()));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Some(None);
                }
                Err(_) => return None,
            }
        }
    }

    /// Waits for an answer; `None`: the next packet is another one.
    pub fn answer(&mut self, is_it: impl Fn(&Packet<'_>) -> bool) -> Option<()> {
        let bytes = self.next()?;
        is_it(&decoded(&bytes, self.version)).then_some(())
    }
}

/// An answer about a message.
pub fn ack(packet_id: PacketId) -> Ack<'static> {
    Ack {
        packet_id,
        reason: Reason::Success,
        reason_string: None,
        user_properties: Properties::EMPTY,
    }
}
