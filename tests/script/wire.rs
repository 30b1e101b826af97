//! Packets as a name and named fields, and to bytes; back is in `decode`.
//!
//! Written apart from the broker's codec on purpose: a test that decodes with the code it tests
//! cannot see a fault that both directions share. And a script must be able to send what no
//! honest encoder writes. Every value is kept as the bytes a script would write for it: numbers
//! in decimal, Reason Codes by name, strings and payloads as they are.

use sluicemq::codec::{Reason, Version};

/// A packet: its name and its fields in order; a field may come several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub name: &'static str,
    pub fields: Vec<(&'static str, Vec<u8>)>,
}

impl Packet {
    /// The first value of `key`.
    pub fn first(&self, key: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_slice())
    }

    /// Every value of `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.as_slice())
    }

    /// The first value of `key` as a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        std::str::from_utf8(self.first(key)?).ok()?.parse().ok()
    }

    /// As a line of a script.
    pub fn show(&self) -> String {
        let mut line = self.name.to_owned();
        for (key, value) in &self.fields {
            match value.split_last() {
                Some((options, filter)) if self.name == "SUBSCRIBE" && *key == "filter" => {
                    line.push_str(&format!(" {key}={}:{options:#04x}", show(filter)));
                }
                _ => line.push_str(&format!(" {key}={}", show(value))),
            }
        }
        line
    }
}

/// A value as a script writes it.
pub fn show(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() > 60 => format!("({} bytes)", text.len()),
        Ok("") => "\"\"".to_owned(),
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => text.to_owned(),
        Ok(text) => format!("{text:?}"),
        Err(_) if value.len() > 30 => format!("({} bytes)", value.len()),
        Err(_) => format!("hex:{}", hex(value)),
    }
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the value of a field is written in a script.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Up to this value.
    Number(u64),
    /// 0 or 1.
    Flag,
    /// A string, binary data or payload.
    Text,
    /// `name:value`.
    Pair,
    /// One Reason Code.
    Reason,
    /// Reason Codes with commas between.
    Reasons,
    /// Topic Filter and options.
    Filter,
}

/// One byte.
pub const BYTE: Form = Form::Number(255);
/// Two bytes.
pub const TWO: Form = Form::Number(65_535);
const FOUR: Form = Form::Number(4_294_967_295);
/// A Variable Byte Integer.
pub const INT: Form = Form::Number(268_435_455);

/// Every packet: name, type, the flags its fixed header must have.
pub const PACKETS: &[(&str, u8, u8)] = &[
    ("CONNECT", 1, 0),
    ("CONNACK", 2, 0),
    ("PUBLISH", 3, 0),
    ("PUBACK", 4, 0),
    ("PUBREC", 5, 0),
    ("PUBREL", 6, 2),
    ("PUBCOMP", 7, 0),
    ("SUBSCRIBE", 8, 2),
    ("SUBACK", 9, 0),
    ("UNSUBSCRIBE", 10, 2),
    ("UNSUBACK", 11, 0),
    ("PINGREQ", 12, 0),
    ("PINGRESP", 13, 0),
    ("DISCONNECT", 14, 0),
    ("AUTH", 15, 0),
];

/// Properties: identifier, key, form, the packets that may carry it (MQTT 5, 2.2.2.2).
pub const PROPERTIES: &[(u8, &str, Form, &str)] = &[
    (0x01, "pfi", BYTE, "PUBLISH"),
    (0x02, "expiry", FOUR, "PUBLISH"),
    (0x03, "content_type", Form::Text, "PUBLISH"),
    (0x08, "response_topic", Form::Text, "PUBLISH"),
    (0x09, "correlation", Form::Text, "PUBLISH"),
    (0x0B, "subid", INT, "PUBLISH SUBSCRIBE"),
    (0x11, "expiry", FOUR, "CONNECT CONNACK DISCONNECT"),
    (0x12, "assigned", Form::Text, "CONNACK"),
    (0x13, "server_keep_alive", TWO, "CONNACK"),
    (0x15, "method", Form::Text, "CONNECT CONNACK AUTH"),
    (0x16, "auth_data", Form::Text, "CONNECT CONNACK AUTH"),
    (0x17, "problem_info", BYTE, "CONNECT"),
    (0x19, "response_info", BYTE, "CONNECT"),
    (0x1A, "response_information", Form::Text, "CONNACK"),
    (0x1C, "server_reference", Form::Text, "CONNACK DISCONNECT"),
    (
        0x1F,
        "reason_string",
        Form::Text,
        "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH",
    ),
    (0x21, "receive_max", TWO, "CONNECT CONNACK"),
    (0x22, "alias_max", TWO, "CONNECT CONNACK"),
    (0x23, "alias", TWO, "PUBLISH"),
    (0x24, "max_qos", BYTE, "CONNACK"),
    (0x25, "retain_available", BYTE, "CONNACK"),
    (
        0x26,
        "user",
        Form::Pair,
        "CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK \
         DISCONNECT AUTH",
    ),
    (0x27, "max_packet", FOUR, "CONNECT CONNACK"),
    (0x28, "wildcard_available", BYTE, "CONNACK"),
    (0x29, "subid_available", BYTE, "CONNACK"),
    (0x2A, "shared_available", BYTE, "CONNACK"),
];

/// Properties of a Will, in CONNECT.
const WILL_PROPERTIES: &[(u8, &str, Form)] = &[
    (0x18, "will_delay", FOUR),
    (0x01, "will_pfi", BYTE),
    (0x02, "will_expiry", FOUR),
    (0x03, "will_content_type", Form::Text),
    (0x08, "will_response_topic", Form::Text),
    (0x09, "will_correlation", Form::Text),
    (0x26, "will_user", Form::Pair),
];

/// Everything else a packet is made of: packets, key, form, and whether only version 5 has it.
const FIELDS: &[(&str, &str, Form, bool)] = &[
    ("CONNECT", "version", Form::Text, false),
    ("CONNECT", "protocol", Form::Text, false),
    ("CONNECT", "level", BYTE, false),
    ("CONNECT", "connect_flags", BYTE, false),
    ("CONNECT", "clean", Form::Flag, false),
    ("CONNECT", "keep_alive", TWO, false),
    ("CONNECT", "client", Form::Text, false),
    ("CONNECT", "will_topic", Form::Text, false),
    ("CONNECT", "will_payload", Form::Text, false),
    ("CONNECT", "will_qos", BYTE, false),
    ("CONNECT", "will_retain", Form::Flag, false),
    ("CONNECT", "user_name", Form::Text, false),
    ("CONNECT", "password", Form::Text, false),
    ("CONNECT", "will_props", Form::Text, true),
    ("CONNACK", "session_present", Form::Flag, false),
    ("CONNACK", "reason", Form::Reason, false),
    ("PUBLISH", "dup", Form::Flag, false),
    ("PUBLISH", "qos", BYTE, false),
    ("PUBLISH", "retain", Form::Flag, false),
    ("PUBLISH", "topic", Form::Text, false),
    ("PUBLISH", "wire_topic", Form::Text, true),
    ("PUBLISH", "payload", Form::Text, false),
    ("PUBLISH PUBACK PUBREC PUBREL PUBCOMP", "id", TWO, false),
    ("SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK", "id", TWO, false),
    ("PUBACK PUBREC PUBREL PUBCOMP DISCONNECT AUTH", "reason", Form::Reason, true),
    ("SUBSCRIBE", "filter", Form::Filter, false),
    ("UNSUBSCRIBE", "filter", Form::Text, false),
    ("SUBACK", "reasons", Form::Reasons, false),
    ("UNSUBACK", "reasons", Form::Reasons, true),
];

/// Fields that bend a packet out of shape: only for sending, on every packet.
const BENDS: &[(&str, Form, bool)] = &[
    ("flags", BYTE, false),
    ("cut", TWO, false),
    ("tail", Form::Text, false),
    ("props", Form::Text, true),
];

/// The static name of a packet.
pub fn packet_name(name: &str) -> Option<&'static str> {
    PACKETS.iter().map(|(known, ..)| *known).find(|known| *known == name)
}

/// The static name of a field of `packet`, its form, and whether only version 5 has it.
pub fn field(packet: &str, key: &str, sending: bool) -> Option<(&'static str, Form, bool)> {
    let carries = |packets: &str| packets.split(' ').any(|name| name == packet);
    let own = FIELDS.iter().find(|(packets, name, ..)| *name == key && carries(packets));
    if let Some((_, name, form, only5)) = own {
        return Some((name, *form, *only5));
    }
    let property = PROPERTIES.iter().find(|(_, name, _, packets)| *name == key && carries(packets));
    if let Some((_, name, form, _)) = property {
        return Some((name, *form, true));
    }
    let will = WILL_PROPERTIES.iter().find(|(_, name, _)| *name == key && packet == "CONNECT");
    if let Some((_, name, form)) = will {
        return Some((name, *form, true));
    }
    let bend = BENDS.iter().find(|(name, ..)| *name == key && sending);
    bend.map(|(name, form, only5)| (*name, *form, *only5))
}

/// Canonical text of a Reason Code given by name or as `0x..`.
pub fn reason(text: &str) -> Option<Vec<u8>> {
    let known = Reason::ALL.iter().find(|reason| reason.name() == text);
    if let Some(reason) = known {
        return Some(reason.name().as_bytes().to_vec());
    }
    let byte = u8::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    Some(reason_text(byte))
}

/// CONNACK return codes of version 3.1.1, under the names of version 5.
pub const RETURN_CODES: [&str; 6] = [
    "Success",
    "UnsupportedProtocolVersion",
    "ClientIdentifierNotValid",
    "ServerUnavailable",
    "BadUserNameOrPassword",
    "NotAuthorized",
];

/// What a 3.1.1 CONNACK says for `reason`; `None` where it has no word and the server just closes.
pub fn return_code_text(reason: &str) -> Option<Vec<u8>> {
    let said = match reason {
        "ServerBusy" | "QuotaExceeded" => "ServerUnavailable",
        "Banned" => "NotAuthorized",
        known => known,
    };
    RETURN_CODES.contains(&said).then(|| said.as_bytes().to_vec())
}

/// Writes a client's packet. Nothing is checked but that it can be written at all.
pub fn encode(packet: &Packet, version: Version) -> Result<Vec<u8>, String> {
    let &(_, kind, mut flags) =
        PACKETS.iter().find(|(name, ..)| *name == packet.name).ok_or("unknown packet")?;
    let v5 = version == Version::V5;
    let mut body = Vec::new();
    match packet.name {
        "CONNECT" => connect(packet, version, &mut body)?,
        "PUBLISH" => {
            let number = |key| packet.number(key).unwrap_or(0) as u8;
            let qos = number("qos");
            flags = number("dup") << 3 | qos << 1 | number("retain");
            text(&mut body, packet.first("topic").unwrap_or(b""))?;
            if qos > 0 {
                two(&mut body, packet, "id", 1);
            }
            if v5 {
                properties(packet, &mut body)?;
            }
            body.extend_from_slice(packet.first("payload").unwrap_or(b""));
        }
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            two(&mut body, packet, "id", 1);
            if v5 {
                properties(packet, &mut body)?;
            }
            for filter in packet.all("filter") {
                let Some((options, filter)) = filter.split_last().filter(|_| kind == 8) else {
                    text(&mut body, filter)?;
                    continue;
                };
                text(&mut body, filter)?;
                body.push(*options);
            }
        }
        "PINGREQ" | "PINGRESP" => {}
        _ => {
            if !matches!(packet.name, "DISCONNECT" | "AUTH" | "CONNACK") {
                two(&mut body, packet, "id", 1);
            }
            if v5 {
                reason_and_properties(packet, &mut body)?;
            }
        }
    }
    let keep = body.len().saturating_sub(packet.number("cut").unwrap_or(0) as usize);
    body.truncate(keep);
    body.extend_from_slice(packet.first("tail").unwrap_or(b""));
    if let Some(bent) = packet.number("flags") {
        flags = bent as u8;
    }
    let mut out = vec![kind << 4 | flags];
    int(&mut out, body.len());
    out.append(&mut body);
    Ok(out)
}

fn connect(packet: &Packet, version: Version, body: &mut Vec<u8>) -> Result<(), String> {
    let (name, level): (&[u8], u8) = match version {
        Version::V31 => (b"MQIsdp", 3),
        Version::V311 => (b"MQTT", 4),
        Version::V5 => (b"MQTT", 5),
    };
    let number = |key, default| packet.number(key).unwrap_or(default) as u8;
    let will = packet.fields.iter().any(|(key, _)| key.starts_with("will_"));
    let named = |key| u8::from(packet.first(key).is_some());
    let flags = number("clean", 1) << 1
        | u8::from(will) << 2
        | number("will_qos", 0) << 3
        | number("will_retain", 0) << 5
        | named("password") << 6
        | named("user_name") << 7;
    text(body, packet.first("protocol").unwrap_or(name))?;
    body.push(number("level", u64::from(level)));
    body.push(number("connect_flags", u64::from(flags)));
    two(body, packet, "keep_alive", 60);
    if version == Version::V5 {
        properties(packet, body)?;
    }
    text(body, packet.first("client").unwrap_or(b""))?;
    if will {
        if version == Version::V5 {
            let mut block = Vec::new();
            for (key, value) in &packet.fields {
                if let Some((id, _, form)) = WILL_PROPERTIES.iter().find(|(_, name, _)| name == key)
                {
                    property(*id, *form, value, &mut block)?;
                }
            }
            block.extend_from_slice(packet.first("will_props").unwrap_or(b""));
            int(body, block.len());
            body.append(&mut block);
        }
        text(body, packet.first("will_topic").unwrap_or(b""))?;
        text(body, packet.first("will_payload").unwrap_or(b""))?;
    }
    for key in ["user_name", "password"] {
        if let Some(value) = packet.first(key) {
            text(body, value)?;
        }
    }
    Ok(())
}

/// The shortest of the legal forms: no code if none was named, no length if nothing follows.
fn reason_and_properties(packet: &Packet, body: &mut Vec<u8>) -> Result<(), String> {
    let mut block = Vec::new();
    properties(packet, &mut block)?;
    let empty = block == [0] && packet.first("props").is_none();
    match packet.first("reason") {
        None if empty => return Ok(()),
        None => body.push(0),
        Some(reason) => body.push(reason_byte(reason).ok_or("no such reason")?),
    }
    if !empty {
        body.append(&mut block);
    }
    Ok(())
}

/// Length and block of the properties of `packet`, in the order they were written.
fn properties(packet: &Packet, out: &mut Vec<u8>) -> Result<(), String> {
    let mut block = Vec::new();
    for (key, value) in &packet.fields {
        let known = PROPERTIES.iter().find(|(_, name, _, packets)| {
            name == key && packets.split(' ').any(|carrier| carrier == packet.name)
        });
        if let Some((id, _, form, _)) = known {
            property(*id, *form, value, &mut block)?;
        }
    }
    block.extend_from_slice(packet.first("props").unwrap_or(b""));
    int(out, block.len());
    out.append(&mut block);
    Ok(())
}

fn property(id: u8, form: Form, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.push(id);
    let number = || -> Result<u64, String> {
        let text = std::str::from_utf8(value).map_err(|_| "not a number")?;
        text.parse().map_err(|_| format!("not a number: {text}"))
    };
    match form {
        BYTE => out.push(number()? as u8),
        TWO => out.extend_from_slice(&(number()? as u16).to_be_bytes()),
        INT => int(out, number()? as usize),
        Form::Number(_) => out.extend_from_slice(&(number()? as u32).to_be_bytes()),
        Form::Pair => {
            let colon =
                value.iter().position(|byte| *byte == b':').ok_or("a pair is name:value")?;
            text(out, &value[..colon])?;
            text(out, &value[colon + 1..])?;
        }
        Form::Text => text(out, value)?,
        Form::Flag | Form::Reason | Form::Reasons | Form::Filter => {
            return Err("no property".to_owned());
        }
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, value: &[u8]) -> Result<(), String> {
    let len = u16::try_from(value.len()).map_err(|_| "a string is at most 65535 bytes")?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

fn two(out: &mut Vec<u8>, packet: &Packet, key: &str, default: u16) {
    let value = packet.number(key).map_or(default, |value| value as u16);
    out.extend_from_slice(&value.to_be_bytes());
}

fn int(out: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The name of a Reason Code, or its number if it has none.
pub fn reason_text(byte: u8) -> Vec<u8> {
    match Reason::from_byte(byte) {
        Some(reason) => reason.name().as_bytes().to_vec(),
        None => format!("{byte:#04x}").into_bytes(),
    }
}

fn reason_byte(text: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(text).ok()?;
    match Reason::ALL.iter().find(|reason| reason.name() == text) {
        Some(reason) => Some(*reason as u8),
        None => u8::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
    }
}
