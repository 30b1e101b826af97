//! Keys of rows: the kind, and numbers or texts behind it.

use super::RowKind;
use crate::codec::PacketId;
use crate::message::{DelayKey, GroupId, Mid, ReceiverId, SessionId};
use crate::store::bytes::{Torn, ValueReader};
use crate::time::Time;
use crate::topic::TopicFilter;

/// A key of numbers, up to three.
#[derive(Clone, Copy, Debug)]
pub struct RowKey {
    bytes: [u8; 17],
    len: usize,
}

impl RowKey {
    pub fn of(kind: RowKind) -> RowKey {
        let mut bytes = [0; 17];
        bytes[0] = kind as u8;
        RowKey { bytes, len: 1 }
    }

    /// Of a fact of a Session.
    pub fn session(kind: RowKind, session: SessionId) -> RowKey {
        RowKey::number(kind, session.get())
    }

    /// Of a group.
    pub fn group(group: GroupId) -> RowKey {
        RowKey::number(RowKind::Group, group.get())
    }

    /// Of a message.
    pub fn message(mid: Mid) -> RowKey {
        RowKey::number(RowKind::Message, mid.get())
    }

    /// Of a Session and a Packet Identifier.
    pub fn packet(kind: RowKind, session: SessionId, packet_id: PacketId) -> RowKey {
        let mut key = RowKey::session(kind, session);
        key.push(&packet_id.get().to_be_bytes());
        key
    }

    /// Of a receiver that is done with a message.
    pub fn done(mid: Mid, receiver: ReceiverId) -> RowKey {
        RowKey::copy(RowKind::Done, mid, receiver)
    }

    /// Of a named queue that has tried a message.
    pub fn attempt(mid: Mid, receiver: ReceiverId) -> RowKey {
        RowKey::copy(RowKind::Attempt, mid, receiver)
    }

    fn copy(kind: RowKind, mid: Mid, receiver: ReceiverId) -> RowKey {
        let mut key = RowKey::number(kind, mid.get());
        key.push(&receiver.to_bits().to_be_bytes());
        key
    }

    /// Of a delayed message: in the order in which they are due.
    pub fn delayed(place: DelayKey) -> RowKey {
        let mut key = RowKey::number(RowKind::Delayed, place.due().as_nanos());
        key.push(&place.number().to_be_bytes());
        key
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn number(kind: RowKind, number: u64) -> RowKey {
        let mut key = RowKey::of(kind);
        key.push(&number.to_be_bytes());
        key
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// The key of a Session's Subscription.
pub fn subscription_key(session: SessionId, filter: &TopicFilter) -> Vec<u8> {
    [RowKey::session(RowKind::Subscription, session).as_bytes(), filter.as_str().as_bytes()]
        .concat()
}

/// The key of a retained message.
pub fn retained_key(topic: &str) -> Vec<u8> {
    [&[RowKind::Retained as u8], topic.as_bytes()].concat()
}

/// The Session of a key, and what follows it.
pub fn session_of(key: &[u8]) -> Result<(SessionId, &[u8]), Torn> {
    let (number, rest) = number_of(key)?;
    Ok((SessionId::checked(number).ok_or(Torn)?, rest))
}

/// The group of a key.
pub fn group_of(key: &[u8]) -> Result<GroupId, Torn> {
    GroupId::checked(number_of(key)?.0).ok_or(Torn)
}

/// The message of a key.
pub fn message_of(key: &[u8]) -> Result<Mid, Torn> {
    Ok(Mid::new(number_of(key)?.0))
}

/// The number behind the kind, and what follows it.
fn number_of(key: &[u8]) -> Result<(u64, &[u8]), Torn> {
    let mut reader = ValueReader::new(key.get(1..).ok_or(Torn)?);
    Ok((reader.u64()?, reader.rest()))
}

/// The numbers of a Session and of a packet.
pub fn packet_of(key: &[u8]) -> Result<(SessionId, PacketId), Torn> {
    let (session, rest) = session_of(key)?;
    let packet_id = PacketId::new(ValueReader::new(rest).u16()?).ok_or(Torn)?;
    Ok((session, packet_id))
}

/// The place of a delayed message.
pub fn delayed_of(key: &[u8]) -> Result<DelayKey, Torn> {
    let (due, rest) = number_of(key)?;
    Ok(DelayKey::new(Time::from_nanos(due), ValueReader::new(rest).u64()?))
}

/// The numbers of a message and of its receiver.
pub fn copy_of(key: &[u8]) -> Result<(Mid, ReceiverId), Torn> {
    let (mid, rest) = number_of(key)?;
    Ok((Mid::new(mid), ReceiverId::from_bits(ValueReader::new(rest).u64()?)))
}
