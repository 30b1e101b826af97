//! Facts as rows: what stands under which key. Every value begins with the version of its form.
//!
//! | key | value |
//! |---|---|
//! | `01` Session | whose it is, its expiry |
//! | `02` Session | since when it is parked |
//! | `03` Session, filter | options, Subscription Identifier |
//! | `04` message | its receivers, each message once; what it says |
//! | `06` Session, Packet Identifier | a copy in flight |
//! | `07` Session, Packet Identifier | `QoS` 2 identifier of the client, not released |
//! | `08` topic | the retained message |
//! | `09` Session | the Will, and whose it is |
//! | `0a` | numbers that may have been used |
//! | `0b` group | its filter |
//! | `0c` message, receiver | that receiver is done with a message that others still wait for |
//!
//! Numbers in keys are big-endian, so that their order is the order of the rows.

pub use super::bytes::Torn;
use super::bytes::{Reader, Writer};
use crate::broker::ports::{FlightState, Marker, Queued, StoredCopy};
use crate::codec::{PacketId, Properties, QoS, RetainHandling, SubscribeOptions};
use crate::message::{
    ClientId, Delivery, Draft, GroupId, Identity, Message, Meter, Mid, Parts, ReceiverId,
    SessionId, SubscriptionIds,
};
use crate::session::{Subscription, WillMessage};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicName};

/// The first byte of a key: what the row is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    Session = 0x01,
    Parked = 0x02,
    Subscription = 0x03,
    Message = 0x04,
    Flight = 0x06,
    Received = 0x07,
    Retained = 0x08,
    Will = 0x09,
    Numbers = 0x0a,
    Group = 0x0b,
    Done = 0x0c,
}

impl Kind {
    /// What the row under `key` is about.
    pub fn of(key: &[u8]) -> Result<Kind, Torn> {
        let all = [
            Kind::Session,
            Kind::Parked,
            Kind::Subscription,
            Kind::Message,
            Kind::Flight,
            Kind::Received,
            Kind::Retained,
            Kind::Will,
            Kind::Numbers,
            Kind::Group,
            Kind::Done,
        ];
        let first = key.first().ok_or(Torn)?;
        all.into_iter().find(|kind| *kind as u8 == *first).ok_or(Torn)
    }
}

/// What rows whose keys begin with `prefix` are about, in words.
pub fn row_name(prefix: u8) -> &'static str {
    match Kind::of(&[prefix]) {
        Ok(Kind::Session) => "sessions",
        Ok(Kind::Parked) => "parked",
        Ok(Kind::Subscription) => "subscriptions",
        Ok(Kind::Message) => "messages",
        Ok(Kind::Flight) => "in flight",
        Ok(Kind::Received) => "received ids",
        Ok(Kind::Retained) => "retained",
        Ok(Kind::Will) => "wills",
        Ok(Kind::Numbers) => "numbers",
        Ok(Kind::Group) => "groups",
        Ok(Kind::Done) => "copies done",
        Err(Torn) => "unknown",
    }
}

/// The version of every value's form so far, but of copies in flight.
const FORM: u8 = 1;

/// The version of the form of a value under `key`, if it is not one that is read here.
pub fn other_form(key: &[u8], value: &[u8]) -> Option<u8> {
    let newest = if Kind::of(key).ok()? == Kind::Flight { FLIGHT_FORM } else { FORM };
    value.first().copied().filter(|form| !(FORM..=newest).contains(form))
}

/// A key of numbers, up to three.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    bytes: [u8; 17],
    len: usize,
}

impl Key {
    pub fn of(kind: Kind) -> Key {
        let mut bytes = [0; 17];
        bytes[0] = kind as u8;
        Key { bytes, len: 1 }
    }

    /// Of a fact of a Session.
    pub fn session(kind: Kind, session: SessionId) -> Key {
        Key::number(kind, session.get())
    }

    /// Of a group.
    pub fn group(group: GroupId) -> Key {
        Key::number(Kind::Group, group.get())
    }

    /// Of a message.
    pub fn message(mid: Mid) -> Key {
        Key::number(Kind::Message, mid.get())
    }

    /// Of a Session and a Packet Identifier.
    pub fn packet(kind: Kind, session: SessionId, packet_id: PacketId) -> Key {
        let mut key = Key::session(kind, session);
        key.push(&packet_id.get().to_be_bytes());
        key
    }

    pub fn done(mid: Mid, receiver: ReceiverId) -> Key {
        let mut key = Key::number(Kind::Done, mid.get());
        key.push(&receiver.to_bits().to_be_bytes());
        key
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn number(kind: Kind, number: u64) -> Key {
        let mut key = Key::of(kind);
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
    [Key::session(Kind::Subscription, session).as_bytes(), filter.as_str().as_bytes()].concat()
}

/// The key of a retained message.
pub fn retained_key(topic: &str) -> Vec<u8> {
    [&[Kind::Retained as u8], topic.as_bytes()].concat()
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
    let mut reader = Reader::new(key.get(1..).ok_or(Torn)?);
    Ok((reader.u64()?, reader.rest()))
}

/// The numbers of a Session and of a packet.
pub fn packet_of(key: &[u8]) -> Result<(SessionId, PacketId), Torn> {
    let (session, rest) = session_of(key)?;
    let packet_id = PacketId::new(Reader::new(rest).u16()?).ok_or(Torn)?;
    Ok((session, packet_id))
}

/// The numbers of a message and of a receiver that is done with it.
pub fn done_of(key: &[u8]) -> Result<(Mid, ReceiverId), Torn> {
    let (mid, rest) = number_of(key)?;
    Ok((Mid::new(mid), ReceiverId::from_bits(Reader::new(rest).u64()?)))
}

pub fn session(identity: &Identity, expiry: u32, out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    value.u32(expiry);
    put_identity(identity, &mut value);
}

pub fn read_session(value: &[u8], meter: &'static Meter) -> Result<(Identity, u32), Torn> {
    let mut value = begin(value)?;
    let expiry = value.u32()?;
    let identity = read_identity(&mut value, meter)?;
    value.end()?;
    Ok((identity, expiry))
}

pub fn time(time: Time, out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    value.u64(time.as_nanos());
}

pub fn read_time(value: &[u8]) -> Result<Time, Torn> {
    Ok(Time::from_nanos(begin(value)?.u64()?))
}

pub fn subscription(options: SubscribeOptions, id: u32, out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    value.u8(options.qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4);
    value.u32(id);
}

pub fn read_subscription(value: &[u8]) -> Result<Subscription, Torn> {
    let mut value = begin(value)?;
    let bits = value.u8()?;
    let retain_handling = match bits >> 4 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(Torn),
    };
    let options = SubscribeOptions {
        qos: QoS::from_bits(bits & 3).ok_or(Torn)?,
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling,
    };
    Ok(Subscription { options, id: value.u32()? })
}

pub fn will(will: &WillMessage, identity: &Identity, out: &mut Vec<u8>) {
    let draft = will.draft();
    let mut value = Writer::begin(FORM, out);
    put_identity(identity, &mut value);
    value.u32(will.delay);
    value.u8(draft.qos as u8 | u8::from(draft.retain) << 2 | u8::from(draft.expiry.is_some()) << 3);
    value.u32(draft.expiry.unwrap_or(0));
    value.block(draft.topic.as_str().as_bytes());
    value.block(draft.properties.as_bytes());
    value.rest(draft.payload);
}

pub fn read_will(value: &[u8], meter: &'static Meter) -> Result<(Identity, WillMessage), Torn> {
    let mut value = begin(value)?;
    let identity = read_identity(&mut value, meter)?;
    let delay = value.u32()?;
    let bits = value.u8()?;
    let expiry = value.u32()?;
    let draft = Draft {
        qos: QoS::from_bits(bits & 3).ok_or(Torn)?,
        retain: bits & 4 != 0,
        expiry: (bits & 8 != 0).then_some(expiry),
        topic: TopicName::trusted(value.text()?),
        properties: Properties::trusted(value.block()?),
        payload: value.rest(),
    };
    Ok((identity, WillMessage::restore(&draft, delay)))
}

/// The numbers that may have been used: of Sessions, groups, messages.
pub fn numbers(numbers: [u64; 3], out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    numbers.iter().for_each(|number| value.u64(*number));
}

pub fn read_numbers(value: &[u8]) -> Result<[u64; 3], Torn> {
    let mut value = begin(value)?;
    Ok([value.u64()?, value.u64()?, value.u64()?])
}

pub fn filter(filter: &TopicFilter, out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    value.rest(filter.as_str().as_bytes());
}

pub fn read_filter(value: &[u8]) -> Result<TopicFilter, Torn> {
    filter_of(begin(value)?.rest())
}

/// A filter that was checked when it was subscribed to.
pub fn filter_of(text: &[u8]) -> Result<TopicFilter, Torn> {
    let text = std::str::from_utf8(text).map_err(|_| Torn)?;
    let limits = crate::topic::Limits { bytes_max: usize::MAX, levels_max: usize::MAX };
    TopicFilter::parse(text, &limits).map_err(|_| Torn)
}

/// A value that says nothing but that it is there.
pub const MARK: [u8; 1] = [FORM];

/// A message and its receivers. The receivers come in the order of their numbers, as distances; what
/// they were granted is said once for all that were granted the same.
pub fn message(parts: &Parts<'_>, copies: &mut [StoredCopy], out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
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
    let mut value = begin(value)?;
    let copies = read_copies(&mut value)?;
    let parts = read_parts(&mut value)?;
    let mark = mark(TopicName::trusted(parts.topic));
    Ok(Queued { mid, mark, bytes: parts.bytes(), expires: parts.expires, copies })
}

/// When a message was received.
pub fn read_received(value: &[u8]) -> Result<Time, Torn> {
    let mut value = begin(value)?;
    read_copies(&mut value)?;
    Ok(read_parts(&mut value)?.received)
}

pub fn read_message(value: &[u8], meter: &'static Meter) -> Result<Message, Torn> {
    let mut value = begin(value)?;
    read_copies(&mut value)?;
    Ok(Message::new(&read_parts(&mut value)?, meter))
}

pub fn retained(parts: &Parts<'_>, out: &mut Vec<u8>) {
    let mut value = Writer::begin(FORM, out);
    put_parts(parts, &mut value);
}

pub fn read_retained(value: &[u8], meter: &'static Meter) -> Result<Message, Torn> {
    Ok(Message::new(&read_parts(&mut begin(value)?)?, meter))
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

/// Reads a copy in flight, and its order; `fetch` finds the message of a number.
pub fn read_flight(
    value: &[u8],
    meter: &'static Meter,
    fetch: impl FnOnce(Mid) -> Result<Message, String>,
) -> Result<(u64, FlightState), String> {
    let torn = |_: Torn| "it is torn".to_owned();
    let (flight, mut value) = begin_flight(value).map_err(torn)?;
    let Flight { order, state, mid, group } = flight;
    match (state, mid) {
        (RELEASED | RELEASED_LOST, mid) => {
            Ok((order, FlightState::Released { group, mid, lost: state == RELEASED_LOST }))
        }
        (SENT, Some(_)) | (SENT_WHOLE, None) => {
            let bits = value.u8().map_err(torn)?;
            let qos = QoS::from_bits(bits & 3).ok_or_else(|| torn(Torn))?;
            let ids = read_ids(&mut value).map_err(torn)?;
            let message = match mid {
                Some(mid) => {
                    let message = fetch(mid)?;
                    message.set_mid(mid);
                    message
                }
                None => Message::new(&read_parts(&mut value).map_err(torn)?, meter),
            };
            let delivery =
                Delivery { message, qos, retain: bits & 4 != 0, ids, group, stored: mid.is_some() };
            Ok((order, FlightState::Sent(delivery)))
        }
        _ => Err(torn(Torn)),
    }
}

/// What every copy in flight says first.
struct Flight {
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
) -> Writer<'_> {
    let mut value = Writer::begin(FLIGHT_FORM, out);
    value.varint(order);
    value.u8(state);
    value.varint(mid.map_or(0, Mid::get));
    value.varint(group.map_or(0, GroupId::get));
    value
}

fn begin_flight<'v>(value: &'v [u8]) -> Result<(Flight, Reader<'v>), Torn> {
    let mut value = Reader::new(value);
    let number: fn(&mut Reader<'v>) -> Result<u64, Torn> = match value.u8()? {
        FORM => Reader::u64,
        FLIGHT_FORM => Reader::varint,
        _ => return Err(Torn),
    };
    let order = number(&mut value)?;
    let state = value.u8()?;
    let mut some = || number(&mut value).map(|number| (number > 0).then_some(number));
    let (mid, group) = (some()?.map(Mid::new), some()?);
    let group = group.map(|number| GroupId::checked(number).ok_or(Torn)).transpose()?;
    Ok((Flight { order, state, mid, group }, value))
}

/// The form of a copy in flight: its numbers are as short as they can be. In the first they were not.
const FLIGHT_FORM: u8 = 2;
const SENT: u8 = 0;
const SENT_WHOLE: u8 = 1;
const RELEASED: u8 = 2;
const RELEASED_LOST: u8 = 3;

fn begin(value: &[u8]) -> Result<Reader<'_>, Torn> {
    let mut reader = Reader::new(value);
    if reader.u8()? == FORM { Ok(reader) } else { Err(Torn) }
}

fn put_identity(identity: &Identity, value: &mut Writer<'_>) {
    value.block(identity.client_id.as_str().as_bytes());
    value.u8(u8::from(identity.user_name.is_some()));
    value.block(identity.user_name.as_deref().unwrap_or("").as_bytes());
}

fn read_identity(value: &mut Reader<'_>, meter: &'static Meter) -> Result<Identity, Torn> {
    let client_id = ClientId::new(value.text()?);
    let named = value.u8()? != 0;
    let user_name = value.text()?;
    Ok(Identity::new(client_id, named.then(|| user_name.into()), meter))
}

fn put_ids(ids: &SubscriptionIds, value: &mut Writer<'_>) {
    let ids = ids.as_slice();
    value.varint(ids.len() as u64);
    ids.iter().for_each(|id| value.varint((*id).into()));
}

fn read_ids(value: &mut Reader<'_>) -> Result<SubscriptionIds, Torn> {
    let mut ids = SubscriptionIds::default();
    for _ in 0..value.varint()? {
        ids.add(u32::try_from(value.varint()?).map_err(|_| Torn)?);
    }
    Ok(ids)
}

fn put_parts(parts: &Parts<'_>, value: &mut Writer<'_>) {
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

fn read_parts<'a>(value: &mut Reader<'a>) -> Result<Parts<'a>, Torn> {
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

fn put_copies(copies: &mut [StoredCopy], value: &mut Writer<'_>) {
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

fn put_grant(copy: &StoredCopy, value: &mut Writer<'_>) {
    // The ordinary band is written as nothing, as it was before there were others.
    let band = copy.band ^ ORDINARY_BAND;
    value.u8(copy.qos as u8 | u8::from(copy.retain) << 2 | band << 3);
    put_ids(&copy.ids, value);
}

fn read_copies(value: &mut Reader<'_>) -> Result<Vec<StoredCopy>, Torn> {
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
