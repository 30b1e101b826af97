//! `mosquitto.db`, of format versions 2 to 6.
//!
//! ```text
//! 00 b5 00 "mosquitto db", 4 bytes without meaning, version of the format
//! each chunk: its kind, its length; 6 bytes until version 4, 8 since 5
//!   1 settings   2 message   3 copy of a client   4 retained message   5 subscription   6 client
//! ```
//!
//! Numbers are big-endian, but for those of messages and for times, which are as the machine has them.

use std::collections::BTreeMap;

/// All that a database says.
#[derive(Debug, Default)]
pub struct MosquittoDb {
    version: u32,
    messages: BTreeMap<u64, DbMessage>,
    clients: BTreeMap<String, DbClient>,
    retained: Vec<u64>,
    /// Chunks of kinds that are unknown.
    unknown: usize,
}

/// A message.
#[derive(Debug, Default)]
pub struct DbMessage {
    pub publisher: String,
    pub user: Option<String>,
    pub topic: String,
    pub payload: Vec<u8>,
    /// Properties, without their length.
    pub properties: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// Seconds since 1970; 0 is never.
    pub expires: u64,
}

/// A client with a Session.
#[derive(Debug, Default)]
pub struct DbClient {
    pub user: Option<String>,
    /// Session Expiry Interval.
    pub expiry: Option<u32>,
    /// When the Session ends, in seconds since 1970; 0 is unknown.
    pub ends: u64,
    pub subscriptions: Vec<DbSubscription>,
    pub copies: Vec<DbCopy>,
}

/// A Subscription.
#[derive(Debug)]
pub struct DbSubscription {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: u32,
}

/// A message on its way to a client, or from it.
#[derive(Debug)]
pub struct DbCopy {
    pub message: u64,
    pub packet_id: u16,
    pub qos: u8,
    pub retain: bool,
    pub from_client: bool,
    pub stage: DbStage,
    /// Properties, without their length.
    pub properties: Vec<u8>,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DbStage {
    /// It has not been sent.
    Waits,
    /// It may have been sent, and is not acknowledged.
    Sent,
    /// PUBREC has come.
    Released,
}

const MAGIC: &[u8] = b"\x00\xb5\x00mosquitto db";

impl MosquittoDb {
    /// Reads a database.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn read(bytes: &[u8]) -> Result<MosquittoDb, String> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("it is no database of mosquitto")?;
        let mut rest = DbChunk(rest);
        let head = rest.u32().and_then(|_| rest.u32());
        let version = head.ok_or("it ends in its head")?;
        if !(2..=6).contains(&version) {
            return Err(format!("version {version} of the format is unknown; 2 to 6 are known"));
        }
        let mut database = MosquittoDb { version, ..MosquittoDb::default() };
        while !rest.0.is_empty() {
            let at = bytes.len() - rest.0.len();
            let read =
                if version < 5 { database.old_chunk(&mut rest) } else { database.chunk(&mut rest) };
            read.ok_or_else(|| format!("the chunk at byte {at} is damaged or cut off"))?;
        }
        Ok(database)
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Messages by their numbers, which rise.
    pub fn messages(&self) -> &BTreeMap<u64, DbMessage> {
        &self.messages
    }

    /// RuleClients by their identifiers.
    pub fn clients(&self) -> &BTreeMap<String, DbClient> {
        &self.clients
    }

    /// The messages that are retained.
    pub fn retained(&self) -> &[u64] {
        &self.retained
    }

    /// How many chunks are of an unknown kind.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    fn chunk(&mut self, rest: &mut DbChunk<'_>) -> Option<()> {
        let (kind, len) = (rest.u32()?, rest.u32()?);
        let mut chunk = DbChunk(rest.take(len as usize)?);
        match kind {
            1 => {}
            2 => self.message(&mut chunk)?,
            3 => self.copy(&mut chunk)?,
            4 => self.retained.push(chunk.native()?),
            5 => self.subscription(&mut chunk)?,
            6 => self.client(&mut chunk)?,
            _ => self.unknown += 1,
        }
        Some(())
    }

    fn message(&mut self, chunk: &mut DbChunk<'_>) -> Option<()> {
        let (number, expires) = (chunk.native()?, chunk.native()?);
        let payload = chunk.u32()? as usize;
        chunk.u16()?;
        let [publisher, user, topic] = [chunk.u16()?, chunk.u16()?, chunk.u16()?].map(usize::from);
        chunk.u16()?;
        let (qos, retain) = (chunk.u8()?, chunk.u8()? != 0);
        let publisher = chunk.text(publisher)?;
        let user = chunk.text(user)?;
        let message = DbMessage {
            publisher,
            user: Some(user).filter(|user| !user.is_empty()),
            topic: chunk.text(topic)?,
            payload: chunk.take(payload)?.to_vec(),
            properties: chunk.properties()?,
            qos,
            retain,
            expires,
        };
        self.messages.insert(number, message);
        Some(())
    }

    fn copy(&mut self, chunk: &mut DbChunk<'_>) -> Option<()> {
        let (message, packet_id, id) = (chunk.native()?, chunk.u16()?, chunk.u16()?);
        let (qos, state, retain_dup, direction) =
            (chunk.u8()?, chunk.u8()?, chunk.u8()?, chunk.u8()?);
        let id = chunk.text(id.into())?;
        let copy = DbCopy {
            message,
            packet_id,
            qos,
            retain: retain_dup >> 4 != 0,
            from_client: direction == 0,
            stage: stage(state, packet_id),
            properties: chunk.properties()?,
        };
        self.clients.entry(id).or_default().copies.push(copy);
        Some(())
    }

    fn subscription(&mut self, chunk: &mut DbChunk<'_>) -> Option<()> {
        let (number, id, filter) = (chunk.u32()?, chunk.u16()?, chunk.u16()?);
        let (qos, options) = (chunk.u8()?, chunk.u8()?);
        chunk.take(2)?;
        let id = chunk.text(id.into())?;
        let subscription = DbSubscription {
            filter: chunk.text(filter.into())?,
            qos: qos & 3,
            no_local: options & 4 != 0,
            retain_as_published: options & 8 != 0,
            id: number,
        };
        self.clients.entry(id).or_default().subscriptions.push(subscription);
        Some(())
    }

    fn client(&mut self, chunk: &mut DbChunk<'_>) -> Option<()> {
        let ends = chunk.native()?;
        let expiry = chunk.u32()?;
        chunk.u16()?;
        let id = chunk.u16()?;
        let user = if self.version < 6 {
            0
        } else {
            chunk.u16()?;
            let len = chunk.u16()?;
            // The rest of the last eight bytes.
            chunk.take(4)?;
            len
        };
        let id = chunk.text(id.into())?;
        let user = chunk.text(user.into())?;
        let client = self.clients.entry(id).or_default();
        (client.ends, client.expiry) = (ends, Some(expiry));
        client.user = Some(user).filter(|user| !user.is_empty());
        Some(())
    }

    /// A chunk until version 4: its texts have their lengths in front, and its length is not to be relied on.
    fn old_chunk(&mut self, rest: &mut DbChunk<'_>) -> Option<()> {
        let (kind, len) = (rest.u16()?, rest.u32()? as usize);
        match kind {
            1 => drop(rest.take(10)?),
            2 => self.old_message(rest)?,
            3 => self.old_copy(rest)?,
            4 => self.retained.push(rest.native()?),
            5 => {
                let id = rest.long_text()?;
                let (filter, qos) = (rest.long_text()?, rest.u8()? & 3);
                let (no_local, retain_as_published) = (false, false);
                let subscription =
                    DbSubscription { filter, qos, no_local, retain_as_published, id: 0 };
                self.clients.entry(id).or_default().subscriptions.push(subscription);
            }
            6 => {
                let id = rest.long_text()?;
                rest.u16()?;
                // When it was last seen, in as many bytes as the machine has for a time.
                rest.take(if self.version == 2 { 0 } else { len.checked_sub(id.len() + 4)? })?;
                self.clients.entry(id).or_default();
            }
            _ => {
                rest.take(len)?;
                self.unknown += 1;
            }
        }
        Some(())
    }

    fn old_message(&mut self, rest: &mut DbChunk<'_>) -> Option<()> {
        let number = rest.native()?;
        let publisher = rest.long_text()?;
        let mut user = String::new();
        if self.version == 4 {
            user = rest.long_text()?;
            rest.u16()?;
        }
        rest.take(4)?;
        let topic = rest.long_text()?;
        let (qos, retain) = (rest.u8()?, rest.u8()? != 0);
        let len = rest.u32()? as usize;
        let message = DbMessage {
            publisher,
            user: Some(user).filter(|user| !user.is_empty()),
            topic,
            payload: rest.take(len)?.to_vec(),
            qos,
            retain,
            ..DbMessage::default()
        };
        self.messages.insert(number, message);
        Some(())
    }

    fn old_copy(&mut self, rest: &mut DbChunk<'_>) -> Option<()> {
        let id = rest.long_text()?;
        let (message, packet_id) = (rest.native()?, rest.u16()?);
        let (qos, retain) = (rest.u8()?, rest.u8()? != 0);
        let (direction, state) = (rest.u8()?, rest.u8()?);
        rest.u8()?;
        let copy = DbCopy {
            message,
            packet_id,
            qos,
            retain,
            from_client: direction == 0,
            stage: stage(state, packet_id),
            properties: Vec::new(),
        };
        self.clients.entry(id).or_default().copies.push(copy);
        Some(())
    }
}

/// What mosquitto's states of a message mean here.
fn stage(state: u8, packet_id: u16) -> DbStage {
    match state {
        // To be sent again: PUBREL; PUBCOMP is awaited.
        6 | 9 => DbStage::Released,
        // To be sent at QoS 1 and 2, their answers awaited.
        2..=5 if packet_id > 0 => DbStage::Sent,
        _ => DbStage::Waits,
    }
}

/// Bytes that are still to be read.
struct DbChunk<'a>(&'a [u8]);

impl<'a> DbChunk<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// As the machine has it.
    fn native(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn text(&mut self, len: usize) -> Option<String> {
        String::from_utf8(self.take(len)?.to_vec()).ok()
    }

    fn long_text(&mut self) -> Option<String> {
        let len = self.u16()?;
        self.text(len.into())
    }

    /// All that is left: properties behind their length, or nothing.
    fn properties(&mut self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let mut len = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        self.take(len).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of version 4: settings, one message of otto's, a client that has it in flight, its Subscription, the
    /// message retained, and a chunk of a kind that is unknown.
    fn old(version: u8) -> Vec<u8> {
        let mut bytes = [MAGIC, &[0; 4], &[0, 0, 0, version]].concat();
        let mut chunk = |kind: u8, body: &[u8]| {
            let len = u32::try_from(body.len()).unwrap();
            bytes.extend([&[0, kind][..], &len.to_be_bytes(), body].concat());
        };
        let number = 7_u64.to_le_bytes();
        chunk(1, &[&[1, 8][..], &number].concat());
        let user: &[u8] = if version == 4 { b"\0\x04otto\x07\x5b" } else { b"" };
        let head = [&number[..], b"\0\x03pub", user, b"\0\x01\0\0"].concat();
        chunk(2, &[&head[..], b"\0\x03a/b\x01\x01\0\0\0\x02hi"].concat());
        let seen: &[u8] = if version == 2 { b"" } else { &[0; 8] };
        chunk(6, &[b"\0\x03sub\0\x05", seen].concat());
        chunk(3, &[b"\0\x03sub", &number[..], b"\0\x05\x01\x00\x01\x03\x01"].concat());
        chunk(4, &number);
        chunk(5, b"\0\x03sub\0\x03a/#\x02");
        chunk(9, b"later");
        bytes
    }

    #[test]
    fn old_formats_are_read() {
        for version in 2..=4 {
            let database = MosquittoDb::read(&old(version)).unwrap();
            assert_eq!(database.version(), u32::from(version));
            let message = &database.messages()[&7];
            assert_eq!((&*message.topic, &*message.payload), ("a/b", &b"hi"[..]));
            assert_eq!((&*message.publisher, message.qos, message.retain), ("pub", 1, true));
            assert_eq!(message.user.as_deref(), (version == 4).then_some("otto"));
            let client = &database.clients()["sub"];
            assert_eq!((&*client.subscriptions[0].filter, client.subscriptions[0].qos), ("a/#", 2));
            let copy = &client.copies[0];
            assert_eq!((copy.message, copy.packet_id, copy.stage), (7, 5, DbStage::Sent));
            assert!(!copy.from_client && !copy.retain);
            assert_eq!((database.retained(), database.unknown()), (&[7][..], 1));
        }
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_is_refused() {
        let whole = old(4);
        let said = |bytes: &[u8]| MosquittoDb::read(bytes).err().unwrap_or_default();
        assert_eq!(said(b"SQLite"), "it is no database of mosquitto");
        assert_eq!(said(&old(7)), "version 7 of the format is unknown; 2 to 6 are known");
        let cut = (0..whole.len()).filter(|len| MosquittoDb::read(&whole[..*len]).is_ok()).count();
        // Where one chunk ends and the next begins.
        assert_eq!(cut, 7);
        assert_eq!(said(&whole[..30]), "the chunk at byte 23 is damaged or cut off");
    }
}
