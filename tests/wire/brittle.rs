//! A connection that may end at any byte: what is sent on it may never arrive.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sluicemq::codec::{Connect, Packet, Reason, Version};

use crate::wire::{decoded, encoded, frame};

/// How long an answer may take before a test fails: longer than any script waits.
const DEADLINE: Duration = Duration::from_secs(90);

/// A connection that was accepted.
pub struct Wire {
    stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Wire {
    /// Connects; whether the Session was there. None: the broker has gone.
    pub fn connect(at: SocketAddr, connect: &Connect<'_>) -> Option<(Wire, bool)> {
        let stream = TcpStream::connect(at).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_nodelay(true).ok()?;
        let (unread, unsent) = (Vec::new(), Vec::new());
        let mut wire = Wire { stream, version: connect.version, unread, unsent };
        wire.send(&Packet::Connect(Box::new(connect.clone())));
        let bytes = wire.next()?;
        match decoded(&bytes, wire.version) {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, Reason::Success, "{}", connect.client_id);
                let present = connack.session_present;
                Some((wire, present))
            }
            other => panic!("{}: not CONNACK: {other:?}", connect.client_id),
        }
    }

    /// Sends a packet, not later than when the next one is waited for.
    pub fn send(&mut self, packet: &Packet<'_>) {
        self.unsent.extend(encoded(packet, self.version));
    }

    /// The next packet. None: the broker has gone, in the middle of one or not.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = frame(&self.unread) {
                return Some(self.unread.drain(..len).collect());
            }
            self.flush();
            let mut buf = [0; 16 * 1024];
            match self.stream.read(&mut buf) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend_from_slice(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("no packet within {DEADLINE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends what is not sent yet.
    pub fn flush(&mut self) {
        // That the broker has gone is seen when reading.
        let _ = self.stream.write_all(&self.unsent);
        self.unsent.clear();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.flush();
    }
}
