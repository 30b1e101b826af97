//! Packets as a name and named fields, to bytes and back.
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
            line.push_str(&format!(" {key}={}", show(value)));
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

const BYTE: Form = Form::Number(255);
const TWO: Form = Form::Number(65_535);
const FOUR: Form = Form::Number(4_294_967_295);
const INT: Form = Form::Number(268_435_455);

/// Every packet: name, type, the flags its fixed header must have.
const PACKETS: &[(&str, u8, u8)] = &[
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
const PROPERTIES: &[(u8, &str, Form, &str)] = &[
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
const RETURN_CODES: [&str; 6] = [
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

/// Cuts one server's packet from the front of `bytes`: the packet and its length, or `None` if it
/// is not whole yet. What a server may not write is an error that names the statement.
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, String> {
    let mut whole = Reader(bytes);
    let Ok(first) = whole.byte() else { return Ok(None) };
    let len = match whole.int() {
        Ok(len) => len,
        Err(_) if bytes.len() < 5 => return Ok(None),
        Err(error) => return Err(error),
    };
    if whole.0.len() < len {
        return Ok(None);
    }
    let body = Reader(&whole.0[..len]);
    let taken = bytes.len() - whole.0.len() + len;
    let (kind, flags) = (first >> 4, first & 15);
    let Some(&(name, _, fixed)) = PACKETS.iter().find(|(_, code, _)| *code == kind) else {
        return Err("packet type 0".to_owned());
    };
    if kind != 3 && flags != fixed {
        return Err(format!("{name} has flags {flags:04b} [MQTT5-2.1.3-1]"));
    }
    let fields =
        decode_body(name, flags, body, version).map_err(|error| format!("{name}: {error}"))?;
    Ok(Some((Packet { name, fields }, taken)))
}

type Fields = Vec<(&'static str, Vec<u8>)>;

fn decode_body(
    name: &'static str,
    flags: u8,
    mut body: Reader<'_>,
    version: Version,
) -> Result<Fields, String> {
    let v5 = version == Version::V5;
    let mut fields: Fields = Vec::new();
    let number = |value: u64| value.to_string().into_bytes();
    match name {
        "CONNACK" => {
            let present = body.byte()?;
            if present > 1 {
                return Err("reserved acknowledge flags are set [MQTT5-3.2.2-1]".to_owned());
            }
            fields.push(("session_present", number(u64::from(present))));
            let code = body.byte()?;
            if v5 {
                fields.push(("reason", reason_text(code)));
                body.properties(name, &mut fields)?;
            } else {
                let known = RETURN_CODES.get(usize::from(code));
                let known = known.ok_or(format!("return code {code} [MQTT311-3.2.2-6]"))?;
                fields.push(("reason", known.as_bytes().to_vec()));
            }
        }
        "PUBLISH" => {
            let qos = flags >> 1 & 3;
            if qos == 3 {
                return Err("QoS 3 [MQTT5-3.3.1-4]".to_owned());
            }
            if qos == 0 && flags & 8 != 0 {
                return Err("QoS 0 with DUP 1 [MQTT5-3.3.1-2]".to_owned());
            }
            let topic = body.text("topic")?;
            if topic.iter().any(|byte| matches!(byte, b'#' | b'+')) {
                return Err("wildcard in the Topic Name [MQTT5-3.3.2-2]".to_owned());
            }
            if topic.is_empty() && !v5 {
                return Err("empty Topic Name [MQTT311-4.7.3-1]".to_owned());
            }
            fields.push(("dup", number(u64::from(flags >> 3))));
            fields.push(("qos", number(u64::from(qos))));
            fields.push(("retain", number(u64::from(flags & 1))));
            fields.push(("topic", topic.to_vec()));
            if qos > 0 {
                fields.push(("id", number(body.id()?)));
            }
            if v5 {
                body.properties(name, &mut fields)?;
            }
            fields.push(("payload", std::mem::take(&mut body.0).to_vec()));
        }
        "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => {
            fields.push(("id", number(body.id()?)));
            if v5 {
                body.reason_and_properties(name, &mut fields)?;
            }
        }
        "SUBACK" | "UNSUBACK" => {
            fields.push(("id", number(body.id()?)));
            if v5 {
                body.properties(name, &mut fields)?;
            }
            let codes = std::mem::take(&mut body.0);
            if !v5 && name == "SUBACK" && codes.iter().any(|code| !matches!(code, 0..=2 | 0x80)) {
                return Err("a code other than 00, 01, 02, 80 [MQTT311-3.9.3-2]".to_owned());
            }
            if !v5 && name == "UNSUBACK" && !codes.is_empty() {
                return Err("surplus bytes".to_owned());
            }
            if v5 || name == "SUBACK" {
                let names: Vec<Vec<u8>> = codes.iter().map(|code| reason_text(*code)).collect();
                fields.push(("reasons", names.join(&b',')));
            }
        }
        "PINGRESP" => {}
        "DISCONNECT" | "AUTH" if v5 => body.reason_and_properties(name, &mut fields)?,
        _ => return Err("no packet a server sends".to_owned()),
    }
    if !body.0.is_empty() {
        return Err(format!("{} surplus bytes", body.0.len()));
    }
    Ok(fields)
}

/// What is left of a packet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        if self.0.len() < len {
            return Err("ends too early".to_owned());
        }
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self, len: usize) -> Result<u64, String> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A Packet Identifier.
    fn id(&mut self) -> Result<u64, String> {
        match self.number(2)? {
            0 => Err("Packet Identifier 0 [MQTT5-2.2.1-4]".to_owned()),
            id => Ok(id),
        }
    }

    fn int(&mut self) -> Result<usize, String> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    return Err("an integer not in its shortest form [MQTT5-1.5.5-1]".to_owned());
                }
                return Ok(value);
            }
        }
        Err("an integer of more than four bytes".to_owned())
    }

    fn binary(&mut self) -> Result<&'a [u8], String> {
        let len = self.number(2)?;
        self.take(len as usize)
    }

    fn text(&mut self, what: &str) -> Result<&'a [u8], String> {
        let bytes = self.binary()?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(bytes),
            _ => Err(format!("{what} is not a well-formed string [MQTT5-1.5.4-1]")),
        }
    }

    fn reason_and_properties(
        &mut self,
        name: &'static str,
        fields: &mut Fields,
    ) -> Result<(), String> {
        let code = if self.0.is_empty() { 0 } else { self.byte()? };
        fields.push(("reason", reason_text(code)));
        if self.0.is_empty() { Ok(()) } else { self.properties(name, fields) }
    }

    fn properties(&mut self, name: &'static str, fields: &mut Fields) -> Result<(), String> {
        let len = self.int()?;
        let mut block = Reader(self.take(len)?);
        let mut seen = Vec::new();
        while !block.0.is_empty() {
            let id = block.byte()?;
            let known = PROPERTIES.iter().find(|(known, _, _, packets)| {
                *known == id && packets.split(' ').any(|one| one == name)
            });
            let &(_, key, form, _) =
                known.ok_or(format!("property {id:#04x} does not belong here"))?;
            if seen.contains(&id) && !matches!(id, 0x26 | 0x0B) {
                return Err(format!("{key} comes twice"));
            }
            seen.push(id);
            let value = match form {
                BYTE => block.number(1)?.to_string().into_bytes(),
                TWO => block.number(2)?.to_string().into_bytes(),
                INT => block.int()?.to_string().into_bytes(),
                Form::Number(_) => block.number(4)?.to_string().into_bytes(),
                Form::Pair => {
                    let name = block.text(key)?;
                    [name, block.text(key)?].join(&b':')
                }
                _ if matches!(key, "correlation" | "auth_data") => block.binary()?.to_vec(),
                _ => block.text(key)?.to_vec(),
            };
            fields.push((key, value));
        }
        Ok(())
    }
}

fn reason_text(byte: u8) -> Vec<u8> {
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
