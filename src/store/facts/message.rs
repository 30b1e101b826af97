//! Messages in rows: those that wait, with their receivers; those in flight; retained ones.

use super::{Source, Unread};
use crate::broker::ports::{Fact, Marker, Queued, StoredCopy};
use crate::codec::{Properties, QoS};
use crate::message::{
    DelayedMessage, Delivery, GroupId, Lane, Message, Meter, Mid, Network, OwnerName, Parts,
    ReceiverId, SubscriptionIds,
};
use crate::session::Op;
use crate::store::bytes::{FORM, Torn, ValueReader, ValueWriter};
use crate::time::Time;
use crate::topic::TopicName;

/// A message and its receivers. The receivers come in the order of their numbers, as distances; what
/// they were granted is said once for all that were granted the same.
pub fn message(parts: &Parts<'_>, copies: &mut [StoredCopy], out: &mut Vec<u8>) {
    let mut value = ValueWriter::begin(FORM, out);
    let room = parts.topic.len() + parts.payload.len() + parts.publisher.len();
    value.reserve(64 + room + copies.len() * 2);
    match copies {
        [copy] => {
            value.varint(1);
            put_grant(copy, &mut value);
            value.varint(1);
            value.varint(copy.receiver.to_bits());
        }
        _ => put_copies(copies, &mut value),
    }
    put_parts(parts, &mut value);
}

/// The receivers of a message, and what is needed of it until it is fetched.
pub fn read_queued(mid: Mid, value: &[u8], mark: &Marker<'_>) -> Result<Queued, Torn> {
    let mut value = ValueReader::begin(FORM, value)?;
    let copies = read_copies(&mut value)?;
    let parts = read_parts(&mut value)?;
    let mark = mark(TopicName::trusted(parts.topic));
    let Parts { received, expires, .. } = parts;
    Ok(Queued { mid, mark, bytes: parts.bytes(), received, expires, copies })
}

/// When a message was received.
pub fn read_received(value: &[u8]) -> Result<Time, Torn> {
    let mut value = ValueReader::begin(FORM, value)?;
    read_copies(&mut value)?;
    Ok(read_parts(&mut value)?.received)
}

pub fn read_message(value: &[u8], meter: &'static Meter) -> Result<Message, Torn> {
    let mut value = ValueReader::begin(FORM, value)?;
    read_copies(&mut value)?;
    Ok(Message::new(&read_parts(&mut value)?, meter))
}

pub fn retained(parts: &Parts<'_>, out: &mut Vec<u8>) {
    let mut value = ValueWriter::begin(FORM, out);
    put_parts(parts, &mut value);
}

pub fn tell_retained(_: &[u8], value: &[u8], source: &Source<'_>) -> Result<Fact, Unread> {
    let parts = read_parts(&mut ValueReader::begin(FORM, value)?)?;
    Ok(Fact::Retained(Message::new(&parts, source.meter)))
}

/// A delayed message, and where its publisher came from.
pub fn delayed(delayed: &DelayedMessage, out: &mut Vec<u8>) {
    let mut value = ValueWriter::begin(FORM, out);
    value.u64(delayed.network.to_bits());
    put_parts(&delayed.message.parts(), &mut value);
}

fn read_delayed_parts(value: &[u8]) -> Result<(Network, Parts<'_>), Torn> {
    let mut value = ValueReader::begin(FORM, value)?;
    Ok((Network::from_bits(value.u64()?), read_parts(&mut value)?))
}

/// When a delayed message was received.
pub fn read_delayed_received(value: &[u8]) -> Result<Time, Torn> {
    Ok(read_delayed_parts(value)?.1.received)
}

/// The owner of a delayed message, and the bytes that it is counted with.
pub fn read_delayed_owner(value: &[u8]) -> Result<(OwnerName, usize), Torn> {
    let (network, parts) = read_delayed_parts(value)?;
    Ok((OwnerName::of(parts.user_name.map(Into::into), network), parts.bytes()))
}

pub fn read_delayed(value: &[u8], meter: &'static Meter) -> Result<DelayedMessage, Torn> {
    let (network, parts) = read_delayed_parts(value)?;
    Ok(DelayedMessage { message: Message::new(&parts, meter), network })
}

/// A copy in flight, the `order`th of all that were sent. What the store does not keep for its
/// receiver anyway (a retained message, say) is written down with it.
pub fn sent(order: u64, delivery: &Delivery, out: &mut Vec<u8>) {
    let mid = delivery.mid();
    let state = if mid.is_some() { SENT } else { SENT_WHOLE };
    let mut value = put_flight(order, state, mid, delivery.group, out);
    value.u8(delivery.qos as u8 | u8::from(delivery.retain) << 2);
    put_ids(&delivery.ids, &mut value);
    if mid.is_none() {
        put_parts(&delivery.message.parts(), &mut value);
    }
}

pub fn released(
    order: u64,
    group: Option<GroupId>,
    mid: Option<Mid>,
    lost: bool,
    out: &mut Vec<u8>,
) {
    put_flight(order, if lost { RELEASED_LOST } else { RELEASED }, mid, group, out);
}

/// The order of a copy in flight.
pub fn read_order(value: &[u8]) -> Result<u64, Torn> {
    Ok(begin_flight(value)?.0.order)
}

/// The message that a copy in flight cannot be without.
pub fn message_of_flight(value: &[u8]) -> Result<Option<Mid>, Torn> {
    let (flight, _) = begin_flight(value)?;
    Ok((flight.state == SENT).then_some(flight.mid.unwrap_or(Mid::new(0))))
}

pub fn tell_flight(key: &[u8], value: &[u8], source: &Source<'_>) -> Result<Fact, Unread> {
    let (session, packet_id) = super::key::packet_of(key)?;
    let (flight, mut value) = begin_flight(value)?;
    let FlightHead { state, mid, group, .. } = flight;
    let op = match (state, mid) {
        (RELEASED | RELEASED_LOST, mid) => {
            Op::Released { packet_id, group, mid, lost: state == RELEASED_LOST }
        }
        (SENT, Some(_)) | (SENT_WHOLE, None) => {
            let bits = value.u8()?;
            let qos = QoS::from_bits(bits & 3).ok_or(Torn)?;
            let ids = read_ids(&mut value)?;
            let message = match mid {
                Some(mid) => {
                    let unread = |unread: Unread| match group {
                        Some(_) => unread.of_group(),
                        None => unread,
                    };
                    let message = (source.message)(mid).map_err(unread)?;
                    message.set_mid(mid);
                    message
                }
                None => Message::new(&read_parts(&mut value)?, source.meter),
            };
            let retain = bits & 4 != 0;
            let delivery = Delivery {
                message,
                qos,
                retain,
                ids,
                group,
                lane: Lane::NONE,
                stored: mid.is_some(),
            };
            Op::Sent { packet_id, delivery }
        }
        _ => return Err(Unread::Torn),
    };
    Ok(Fact::Session(session, op))
}

/// What every copy in flight says first.
struct FlightHead {
    order: u64,
    state: u8,
    mid: Option<Mid>,
    group: Option<GroupId>,
}

/// There are two such rows for each message that is delivered, put and deleted: short ones, that need
/// no memory of their own, are worth a form.
fn put_flight(
    order: u64,
    state: u8,
    mid: Option<Mid>,
    group: Option<GroupId>,
    out: &mut Vec<u8>,
) -> ValueWriter<'_> {
    let mut value = ValueWriter::begin(FLIGHT_FORM, out);
    value.varint(order);
    value.u8(state);
    value.varint(mid.map_or(0, Mid::get));
    value.varint(group.map_or(0, GroupId::get));
    value
}

fn begin_flight<'v>(value: &'v [u8]) -> Result<(FlightHead, ValueReader<'v>), Torn> {
    let mut value = ValueReader::new(value);
    let number: fn(&mut ValueReader<'v>) -> Result<u64, Torn> = match value.u8()? {
        FORM => ValueReader::u64,
        FLIGHT_FORM => ValueReader::varint,
        _ => return Err(Torn),
    };
    let order = number(&mut value)?;
    let state = value.u8()?;
    let mut some = || number(&mut value).map(|number| (number > 0).then_some(number));
    let (mid, group) = (some()?.map(Mid::new), some()?);
    let group = group.map(|number| GroupId::checked(number).ok_or(Torn)).transpose()?;
    Ok((FlightHead { order, state, mid, group }, value))
}

/// The form of a copy in flight: its numbers are as short as they can be. In the first they were not.
pub const FLIGHT_FORM: u8 = 2;
const SENT: u8 = 0;
const SENT_WHOLE: u8 = 1;
const RELEASED: u8 = 2;
const RELEASED_LOST: u8 = 3;

fn put_ids(ids: &SubscriptionIds, value: &mut ValueWriter<'_>) {
    let ids = ids.as_slice();
    value.varint(ids.len() as u64);
    ids.iter().for_each(|id| value.varint((*id).into()));
}

fn read_ids(value: &mut ValueReader<'_>) -> Result<SubscriptionIds, Torn> {
    let mut ids = SubscriptionIds::default();
    for _ in 0..value.varint()? {
        ids.add(u32::try_from(value.varint()?).map_err(|_| Torn)?);
    }
    Ok(ids)
}

fn put_parts(parts: &Parts<'_>, value: &mut ValueWriter<'_>) {
    value.u8(parts.qos as u8
        | u8::from(parts.retain) << 2
        | u8::from(parts.user_name.is_some()) << 3);
    value.u64(parts.received.as_nanos());
    value.u64(parts.expires.as_nanos());
    value.block(parts.topic.as_bytes());
    value.block(parts.publisher.as_bytes());
    value.block(parts.user_name.unwrap_or("").as_bytes());
    value.block(parts.properties.as_bytes());
    value.rest(parts.payload);
}

fn read_parts<'a>(value: &mut ValueReader<'a>) -> Result<Parts<'a>, Torn> {
    let bits = value.u8()?;
    let received = Time::from_nanos(value.u64()?);
    let expires = Time::from_nanos(value.u64()?);
    let topic = value.text()?;
    let publisher = value.text()?;
    let user_name = value.text()?;
    Ok(Parts {
        topic,
        properties: Properties::trusted(value.block()?),
        payload: value.rest(),
        publisher,
        user_name: (bits & 8 != 0).then_some(user_name),
        qos: QoS::from_bits(bits & 3).ok_or(Torn)?,
        retain: bits & 4 != 0,
        received,
        expires,
    })
}

fn put_copies(copies: &mut [StoredCopy], value: &mut ValueWriter<'_>) {
    copies.sort_by_key(|copy| copy.receiver);
    let mut grants: Vec<&StoredCopy> = Vec::new();
    let same = |a: &StoredCopy, b: &StoredCopy| {
        (a.qos, a.retain, &a.ids, a.band) == (b.qos, b.retain, &b.ids, b.band)
    };
    let granted: Vec<usize> = copies
        .iter()
        .map(|copy| {
            grants.iter().position(|grant| same(grant, copy)).unwrap_or_else(|| {
                grants.push(copy);
                grants.len() - 1
            })
        })
        .collect();
    value.varint(grants.len() as u64);
    grants.iter().for_each(|grant| put_grant(grant, value));
    value.varint(copies.len() as u64);
    let mut before = 0;
    for (copy, grant) in copies.iter().zip(&granted) {
        let receiver = copy.receiver.to_bits();
        value.varint(receiver - before);
        before = receiver;
        if grants.len() > 1 {
            value.varint(*grant as u64);
        }
    }
}

/// The band of what no rule speaks of.
const ORDINARY_BAND: u8 = 1;

fn put_grant(copy: &StoredCopy, value: &mut ValueWriter<'_>) {
    // The ordinary band is written as nothing, as it was before there were others.
    let band = copy.band ^ ORDINARY_BAND;
    value.u8(copy.qos as u8 | u8::from(copy.retain) << 2 | band << 3);
    put_ids(&copy.ids, value);
}

fn read_copies(value: &mut ValueReader<'_>) -> Result<Vec<StoredCopy>, Torn> {
    let mut grants = Vec::new();
    for _ in 0..value.varint()? {
        let bits = value.u8()?;
        let qos = QoS::from_bits(bits & 3).ok_or(Torn)?;
        let band = (bits >> 3 & 3) ^ ORDINARY_BAND;
        grants.push((qos, bits & 4 != 0, read_ids(value)?, band));
    }
    let mut copies = Vec::new();
    let mut receiver = 0u64;
    for _ in 0..value.varint()? {
        receiver = receiver.checked_add(value.varint()?).ok_or(Torn)?;
        let grant = if grants.len() > 1 { value.varint()? } else { 0 };
        let grant = grants.get(usize::try_from(grant).map_err(|_| Torn)?).ok_or(Torn)?;
        let (qos, retain, ids, band) = grant.clone();
        let receiver = ReceiverId::from_bits(receiver);
        copies.push(StoredCopy { receiver, qos, retain, ids, band });
    }
    Ok(copies)
}
