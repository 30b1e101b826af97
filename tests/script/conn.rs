//! The client's end of one connection: what came, checked and cut into packets.

use std::collections::VecDeque;

use sluicemq::codec::{self, Decoded, Version};

use super::decode::decode;
use super::driver::{Came, Driver};
use super::wire::{self, Packet};
use super::witness::Witness;

/// One connection.
pub struct Conn {
    pub number: usize,
    pub version: Version,
    pub unread: Vec<u8>,
    pub inbox: VecDeque<Packet>,
    /// A packet the broker may not send.
    pub fault: Option<String>,
    pub ended: bool,
    pub cut: bool,
    /// Sent something that the broker may not have read yet.
    pub unsure: bool,
    pub witness: Witness,
    pub ids: Ids,
}

/// Packet Identifiers that go without saying.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    pub subscribe: Option<u64>,
    pub unsubscribe: Option<u64>,
    pub publish: Option<u64>,
    pub pubrel: Option<u64>,
    pub pubrec: Option<u64>,
    /// Of what the broker sent.
    pub came_publish: Option<u64>,
    pub came_pubrel: Option<u64>,
}

impl Conn {
    /// A connection just opened, under the driver's `number`.
    pub fn new(number: usize, version: Version, ids: Ids) -> Conn {
        Conn {
            number,
            version,
            unread: Vec::new(),
            inbox: VecDeque::new(),
            fault: None,
            ended: false,
            cut: false,
            unsure: false,
            witness: Witness::new(version),
            ids,
        }
    }

    /// Reads what came; whether anything did.
    pub fn read(&mut self, driver: &mut dyn Driver) -> bool {
        if self.ended || self.cut {
            return false;
        }
        match driver.read(self.number) {
            Came::Nothing => false,
            Came::End => {
                self.ended = true;
                false
            }
            Came::Bytes(bytes) => {
                self.unread.extend_from_slice(&bytes);
                self.unpack();
                true
            }
        }
    }

    /// Cuts whole packets from what came and checks each.
    fn unpack(&mut self) {
        let mut used = 0;
        while self.fault.is_none() {
            let unread = &self.unread[used..];
            match decode(unread, self.version) {
                Ok(None) => break,
                Ok(Some((mut packet, len))) => {
                    let agreed = same_as_codec(&unread[..len], self.version);
                    used += len;
                    self.fault = agreed.and(self.witness.received(&mut packet, len)).err();
                    self.inbox.push_back(packet);
                }
                Err(fault) => {
                    let bytes = wire::hex(&unread[..unread.len().min(40)]);
                    self.fault = Some(format!("{fault}\n  in {bytes}"));
                }
            }
        }
        self.unread.drain(..used);
    }

    /// One PINGREQ and its answer, unseen by the script.
    pub fn ping(&mut self, driver: &mut dyn Driver) {
        self.unsure = false;
        if self.cut || self.ended || self.fault.is_some() || !self.witness.connected() {
            return;
        }
        driver.send(self.number, &[0xC0, 0]);
        loop {
            if let Some(at) = self.inbox.iter().position(|packet| packet.name == "PINGRESP") {
                self.inbox.remove(at);
                return;
            }
            if !self.read(driver) || self.fault.is_some() {
                return;
            }
        }
    }
}

/// The broker's own decoder, as a second opinion on what the broker sent.
fn same_as_codec(bytes: &[u8], version: Version) -> Result<(), String> {
    match codec::decode(bytes, Some(version), codec::Sender::Server, &codec::DecodeLimits::NONE) {
        Ok(Decoded::Packet { len, .. }) if len == bytes.len() => Ok(()),
        other => Err(format!("the codec disagrees about {}: {other:?}", wire::hex(bytes))),
    }
}
