//! What every packet from the broker is checked for, whatever the script asks.

use std::collections::{BTreeMap, BTreeSet};

use sluicemq::codec::{Reason, Version, reason::carrier};

use super::wire::Packet;

/// Watches one connection.
#[derive(Debug)]
pub struct Witness {
    version: Version,
    connected: bool,
    over: bool,
    receive_max: u64,
    alias_max: u64,
    max_packet: u64,
    problem_info: bool,
    aliases: BTreeMap<u64, Vec<u8>>,
    /// `QoS` 1 and 2 messages from the broker that the client has not finished.
    open: BTreeSet<u64>,
}

impl Witness {
    pub fn new(version: Version) -> Witness {
        Witness {
            version,
            connected: false,
            over: false,
            receive_max: 65_535,
            alias_max: 0,
            max_packet: u64::MAX,
            problem_info: true,
            aliases: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// Whether CONNACK said Success.
    pub fn connected(&self) -> bool {
        self.connected && !self.over
    }

    /// Notes what the client promised and finished.
    pub fn sent(&mut self, packet: &Packet) {
        let id = packet.number("id").unwrap_or(0);
        let failed = packet.first("reason").is_some_and(is_error);
        match packet.name {
            "CONNECT" if self.version == Version::V5 && !self.connected => {
                self.receive_max = packet.number("receive_max").unwrap_or(65_535);
                self.alias_max = packet.number("alias_max").unwrap_or(0);
                self.max_packet = packet.number("max_packet").unwrap_or(u64::MAX);
                self.problem_info = packet.number("problem_info") != Some(0);
            }
            "PUBACK" | "PUBCOMP" => {
                self.open.remove(&id);
            }
            "PUBREC" if failed => {
                self.open.remove(&id);
            }
            _ => {}
        }
    }

    /// Checks a packet of `len` bytes; puts the full Topic Name where an alias stands for it.
    pub fn received(&mut self, packet: &mut Packet, len: usize) -> Result<(), String> {
        if self.over {
            return Err("a packet after the last one [MQTT5-3.14.4-1]".to_owned());
        }
        if len as u64 > self.max_packet {
            return Err(format!(
                "{len} bytes, the client takes {} [MQTT5-3.1.2-24]",
                self.max_packet
            ));
        }
        if self.version == Version::V5 {
            self.check_words(packet)?;
        }
        match packet.name {
            "CONNACK" => {
                if self.connected {
                    return Err("a second CONNACK [MQTT5-3.2.0-2]".to_owned());
                }
                let success = packet.first("reason") == Some(b"Success");
                if !success && packet.number("session_present") == Some(1) {
                    return Err("Session Present 1 with a refusal [MQTT5-3.2.2-6]".to_owned());
                }
                self.connected = success;
                self.over = !success;
            }
            "AUTH" => {}
            _ if !self.connected => {
                let clause =
                    if packet.name == "DISCONNECT" { "MQTT5-3.14.0-1" } else { "MQTT5-3.2.0-1" };
                return Err(format!("{} before CONNACK [{clause}]", packet.name));
            }
            "PUBLISH" => self.publish(packet)?,
            "PUBREL" => {
                self.open.insert(packet.number("id").unwrap_or(0));
            }
            "DISCONNECT" => {
                if packet.first("expiry").is_some() {
                    return Err("Session Expiry Interval from a server [MQTT5-3.14.2-2]".to_owned());
                }
                self.over = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Each Reason Code is allowed in its packet; no Reason String for a client that wants none.
    fn check_words(&self, packet: &Packet) -> Result<(), String> {
        let carrier = match packet.name {
            "CONNACK" => carrier::CONNACK,
            "PUBACK" => carrier::PUBACK,
            "PUBREC" => carrier::PUBREC,
            "PUBREL" => carrier::PUBREL,
            "PUBCOMP" => carrier::PUBCOMP,
            "SUBACK" => carrier::SUBACK,
            "UNSUBACK" => carrier::UNSUBACK,
            "DISCONNECT" => carrier::DISCONNECT_SERVER,
            "AUTH" => carrier::AUTH,
            _ => return Ok(()),
        };
        let codes = packet.all("reason").chain(packet.all("reasons"));
        for code in codes.flat_map(|codes| codes.split(|byte| *byte == b',')) {
            let known = Reason::ALL.iter().find(|reason| reason.name().as_bytes() == code);
            if !known.is_some_and(|reason| reason.allowed_in(carrier)) {
                let code = String::from_utf8_lossy(code);
                return Err(format!("{} does not belong into {}", code, packet.name));
            }
        }
        let silent = !self.problem_info && !matches!(packet.name, "CONNACK" | "DISCONNECT");
        if silent && (packet.first("reason_string").is_some() || packet.first("user").is_some()) {
            return Err(format!("{} with words nobody asked for [MQTT5-3.1.2-29]", packet.name));
        }
        Ok(())
    }

    fn publish(&mut self, packet: &mut Packet) -> Result<(), String> {
        if let Some(id) = packet.number("id") {
            if !self.open.insert(id) {
                return Err(format!("Packet Identifier {id} is in use [MQTT5-2.2.1-4]"));
            }
            if self.open.len() as u64 > self.receive_max {
                return Err(format!("more than {} in flight [MQTT5-3.3.4-9]", self.receive_max));
            }
        }
        if self.version != Version::V5 {
            return Ok(());
        }
        let topic = packet.first("topic").unwrap_or(b"").to_vec();
        let mut meant = topic.clone();
        if let Some(alias) = packet.number("alias") {
            if alias == 0 || alias > self.alias_max {
                return Err(format!("Topic Alias {alias} [MQTT5-3.1.2-26]"));
            }
            if topic.is_empty() {
                let known = self.aliases.get(&alias);
                meant = known
                    .ok_or(format!("Topic Alias {alias} stands for nothing [MQTT5-3.3.2-7]"))?
                    .clone();
            } else {
                self.aliases.insert(alias, topic.clone());
            }
        }
        if meant.is_empty() {
            return Err("neither Topic Name nor Topic Alias [MQTT5-4.7.3-1]".to_owned());
        }
        packet.fields.retain(|(key, _)| *key != "topic");
        packet.fields.insert(0, ("topic", meant));
        packet.fields.push(("wire_topic", topic));
        Ok(())
    }
}

fn is_error(reason: &[u8]) -> bool {
    Reason::ALL.iter().any(|known| known.is_error() && known.name().as_bytes() == reason)
}
