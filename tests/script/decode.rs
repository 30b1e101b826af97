//! What a server sends, from bytes to named fields, and strictly.

use sluicemq::codec::Version;

use super::wire::{BYTE, Form, INT, PACKETS, PROPERTIES, Packet, RETURN_CODES, TWO, reason_text};

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
