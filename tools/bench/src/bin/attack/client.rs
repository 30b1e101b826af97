//! A client of the attacker's, and the packets that it sends.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use sluicemq::codec::{
    Connect, Packet, PacketId, Properties, Publish, QoS, Subscribe, SubscribeOptions, Unsubscribe,
    Version, encode, packet_len,
};

use crate::attacker::Attacker;

/// Kinds of packets, as the first byte has them.
pub const CONNACK: u8 = 2;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const SUBACK: u8 = 9;
pub const UNSUBACK: u8 = 11;
pub const PINGRESP: u8 = 13;

pub const PINGREQ: [u8; 2] = [0xC0, 0];
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The longest Session Expiry Interval that the broker grants.
pub const WEEK_S: u32 = 7 * 86_400;

/// A client of version 5 over any stream.
pub struct Client<'a, S = TcpStream> {
    pub attacker: &'a Attacker,
    pub stream: S,
    unread: Vec<u8>,
}

impl<'a> Client<'a> {
    /// One that is let in.
    pub fn open(attacker: &'a Attacker, connect: Connect<'_>) -> io::Result<Client<'a>> {
        Client::over(attacker, attacker.dial()?, connect)
    }

    /// One that is let in; its Session ends with the connection.
    pub fn named(attacker: &'a Attacker, client_id: &str) -> io::Result<Client<'a>> {
        Client::open(attacker, Connect { client_id, ..Connect::default() })
    }

    /// One that is let in; its Session outlives the connection.
    pub fn lasting(attacker: &'a Attacker, client_id: &str) -> io::Result<Client<'a>> {
        let session_expiry = WEEK_S;
        Client::open(attacker, Connect { client_id, session_expiry, ..Connect::default() })
    }
}

impl<'a, S: Read + Write> Client<'a, S> {
    /// One that is let in over this stream.
    pub fn over(
        attacker: &'a Attacker,
        stream: S,
        connect: Connect<'_>,
    ) -> io::Result<Client<'a, S>> {
        let mut client = Client { attacker, stream, unread: Vec::new() };
        client.write(&bytes(&Packet::Connect(Box::new(connect))))?;
        match client.until(CONNACK)?.get(3) {
            Some(0) => Ok(client),
            _ => Err(io::Error::other("refused")),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.attacker.wrote(bytes.len());
        Ok(())
    }

    /// The next packet of this kind; others before it are thrown away.
    pub fn until(&mut self, kind: u8) -> io::Result<Vec<u8>> {
        loop {
            let len = packet_len(&self.unread).unwrap_or(usize::MAX);
            if self.unread.len() >= len {
                let packet: Vec<u8> = self.unread.drain(..len).collect();
                if packet[0] >> 4 == kind {
                    return Ok(packet);
                }
                continue;
            }
            self.read()?;
        }
    }

    /// Reads some of what has come, at most 64 KiB.
    pub fn read(&mut self) -> io::Result<usize> {
        let before = self.unread.len();
        self.unread.resize(before + 64 * 1024, 0);
        let read = self.stream.read(&mut self.unread[before..]);
        self.unread.truncate(before + read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Waits until all that was sent before is handled.
    pub fn ping(&mut self) -> io::Result<()> {
        self.write(&PINGREQ)?;
        self.until(PINGRESP).map(|_| ())
    }

    /// The Reason Code of the last filter is not looked at.
    pub fn subscribe(&mut self, qos: QoS, filters: &[String]) -> io::Result<()> {
        self.write(&subscribe(qos, filters))?;
        self.until(SUBACK).map(|_| ())
    }
}

pub fn connect(connect: Connect<'_>) -> Vec<u8> {
    bytes(&Packet::Connect(Box::new(connect)))
}

pub fn publish(publish: Publish<'_>) -> Vec<u8> {
    bytes(&Packet::Publish(publish))
}

pub fn subscribe(qos: QoS, filters: &[String]) -> Vec<u8> {
    let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
    bytes(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: Properties::EMPTY,
        filters: filters.iter().map(|filter| (filter.as_str(), options)).collect(),
        rest: &[],
    }))
}

pub fn unsubscribe(filters: &[String]) -> Vec<u8> {
    bytes(&Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        user_properties: Properties::EMPTY,
        filters: filters.iter().map(String::as_str).collect(),
        rest: &[],
    }))
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, Version::V5, usize::MAX, &mut bytes).expect("fields are short enough");
    bytes
}
