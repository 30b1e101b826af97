//! Facts as rows: one table says of each kind of rows which key it stands under, which form its values
//! have, what a start notes of it and how it is told again. Every value begins with the version of its
//! form.
//!
//! | key | value |
//! |---|---|
//! | `01` Session | its client, its expiry; of a client without user name where it came from (form 2) |
//! | `02` Session | since when it is parked, or that it was connected when the broker stopped |
//! | `03` Session, filter | options, Subscription Identifier; retained messages that are owed (form 2) |
//! | `04` message | its receivers, each message once; what it says |
//! | `06` Session, Packet Identifier | a copy in flight |
//! | `07` Session, Packet Identifier | `QoS` 2 identifier of the client, not released |
//! | `08` topic | the retained message |
//! | `09` Session | its client, the Will |
//! | `0a` | numbers that may have been used |
//! | `0b` group | its filter |
//! | `0c` message, receiver | that receiver is done with a message that others still wait for |
//! | `0d` message, receiver | how often that named queue has tried the message, and when it does again |
//! | `0e` due time, number | a delayed message; where its publisher came from |
//! | `0f` hash, when its message came | a key of `[[dedup]]`: its rule, its publisher |
//! | `10` name | a named queue that was made at run time: its definition in JSON |
//! | `11` | how far this node has applied the log of its cluster |
//! | `12` Client Identifier | the node of the cluster that has its Session, and the user of that |
//!
//! Numbers in keys are big-endian, so that their order is the order of the rows.
//!
//! A new fact of a Session is an [`Op`] in `session/record.rs`, which says what it does to the record
//! of the Session, and in this file a [`RowKind`], its line in [`KINDS`] and its arm in [`write`].

mod attempt;
mod home;
mod key;
mod log_mark;
mod message;
mod numbers;
mod queue;
mod repeats;
mod subscription;
mod unread;
mod will;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use self::attempt::write_attempt;
pub use self::home::write_home;
pub use self::key::{RowKey, delayed_of, message_of, retained_key, subscription_key};
pub use self::log_mark::write_log_mark;
pub use self::message::{
    message, message_of_flight, read_delayed, read_delayed_owner, read_message, read_queued,
    read_received, retained,
};
pub use self::numbers::write_numbers;
pub use self::queue::write_queue;
pub use self::repeats::write_key;
use self::subscription::{OWES_FORM, put_subscription, tell_subscription};
pub use self::unread::Unread;
pub use self::will::read_will;
pub use super::bytes::Torn;
use super::bytes::{FORM, ValueReader, ValueWriter};
use super::engine::RowBatch;
use crate::broker::ports::Fact;
use crate::message::{
    ClientId, DelayKey, DelayedMessage, GroupId, Identity, Message, Meter, Mid, Network,
    ReceiverId, SessionId,
};
use crate::session::Op;
use crate::time::Time;
use crate::topic::TopicFilter;

/// The first byte of a key: what the row is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum RowKind {
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
    Attempt = 0x0d,
    Delayed = 0x0e,
    MessageKey = 0x0f,
    Queue = 0x10,
    LogMark = 0x11,
    Home = 0x12,
}

/// What holds of all rows of one kind.
pub struct Line {
    pub kind: RowKind,
    /// In words, for people.
    pub name: &'static str,
    /// The newest version of the form of its values; all from 1 on are read.
    newest_form: u8,
    /// Its rows belong to the Session in their keys: where that is not there, they are strays.
    pub of_session: bool,
    /// What a start notes of each row before anything is told.
    pub note: Note,
    pub replay: Replay,
}

/// Notes of one row, key and value, what the facts of others need.
pub type Note = fn(&mut Noted, &[u8], &[u8]) -> Result<(), Torn>;

/// How the rows of a kind become facts again.
#[derive(Clone, Copy)]
pub enum Replay {
    /// Each is a fact, in the order of keys.
    Told(Tell),
    /// Each is a fact, in the order in which they were written: the value says it first.
    InOrder(Tell),
    /// They are no facts by themselves, or are read again one by one when all else is told.
    Apart,
}

/// Makes a fact of a row.
pub type Tell = fn(&[u8], &[u8], &Source<'_>) -> Result<Fact, Unread>;

/// What facts are made with.
pub struct Source<'a> {
    /// Counts the messages.
    pub meter: &'static Meter,
    /// Finds a message that waits in the store.
    pub message: &'a dyn Fn(Mid) -> Result<Message, Unread>,
}

/// What a start notes of all rows before anything is told.
#[derive(Debug, Default)]
pub struct Noted {
    /// Numbers that may have been used: by [`SESSIONS`], [`GROUPS`], [`MESSAGES`].
    pub numbers: [u64; 3],
    /// Highest order of what is in flight.
    pub order: u64,
    /// Latest moment in any row.
    pub newest: Time,
    /// Receivers that are done with messages that others still wait for.
    pub done: HashMap<Mid, Vec<ReceiverId>>,
    /// Copies that have failed.
    pub tried: BTreeSet<(Mid, ReceiverId)>,
}

/// The places of [`Noted::numbers`], and of the row that keeps them.
pub const SESSIONS: usize = 0;
pub const GROUPS: usize = 1;
pub const MESSAGES: usize = 2;

/// All kinds, in the order in which a start tells them.
pub const KINDS: [Line; 17] = [
    Line {
        note: |noted, key, value| {
            noted.uses(MESSAGES, message_of(key)?.get());
            noted.newest = noted.newest.max(read_received(value)?);
            Ok(())
        },
        ..line(RowKind::Message, "messages", Replay::Apart)
    },
    Line {
        newest_form: NETWORK_FORM,
        note: |noted, key, _| noted.uses_session(key),
        ..line(RowKind::Session, "sessions", Replay::Told(tell_session))
    },
    Line {
        of_session: true,
        newest_form: CRASHED_FORM,
        note: |noted, _, value| {
            noted.newest = noted.newest.max(read_parked(value)?.0);
            Ok(())
        },
        ..line(RowKind::Parked, "parked", Replay::Told(tell_parked))
    },
    Line {
        newest_form: OWES_FORM,
        of_session: true,
        ..line(RowKind::Subscription, "subscriptions", Replay::Told(tell_subscription))
    },
    Line {
        // It may be of a Session that did not last.
        note: |noted, key, _| noted.uses_session(key),
        ..line(RowKind::Will, "wills", Replay::Told(will::tell_will))
    },
    Line {
        of_session: true,
        ..line(RowKind::Received, "received ids", Replay::Told(tell_received))
    },
    Line {
        note: |noted, key, _| {
            noted.uses(GROUPS, key::group_of(key)?.get());
            Ok(())
        },
        ..line(RowKind::Group, "groups", Replay::Told(tell_group))
    },
    line(RowKind::Queue, "named queues", Replay::Told(queue::tell_queue)),
    line(RowKind::LogMark, "log of the cluster", Replay::Told(log_mark::tell_log_mark)),
    line(RowKind::Home, "homes of sessions", Replay::Told(home::tell_home)),
    line(RowKind::Retained, "retained", Replay::Told(message::tell_retained)),
    Line {
        newest_form: message::FLIGHT_FORM,
        of_session: true,
        note: |noted, _, value| {
            noted.order = noted.order.max(order_of(value)?);
            Ok(())
        },
        ..line(RowKind::Flight, "in flight", Replay::InOrder(message::tell_flight))
    },
    Line {
        note: |noted, _, value| {
            for (which, number) in numbers::read_numbers(value)?.into_iter().enumerate() {
                noted.uses(which, number);
            }
            Ok(())
        },
        ..line(RowKind::Numbers, "numbers", Replay::Apart)
    },
    Line {
        note: |noted, key, _| {
            let (mid, receiver) = key::copy_of(key)?;
            noted.done.entry(mid).or_default().push(receiver);
            Ok(())
        },
        ..line(RowKind::Done, "copies done", Replay::Apart)
    },
    Line {
        note: |noted, key, _| {
            noted.tried.insert(key::copy_of(key)?);
            Ok(())
        },
        ..line(RowKind::Attempt, "attempts", Replay::Told(attempt::tell_attempt))
    },
    Line {
        note: |noted, _, value| {
            noted.newest = noted.newest.max(message::read_delayed_received(value)?);
            Ok(())
        },
        ..line(RowKind::Delayed, "delayed messages", Replay::Apart)
    },
    Line {
        note: |noted, key, _| {
            noted.newest = noted.newest.max(repeats::since_of(key)?);
            Ok(())
        },
        ..line(RowKind::MessageKey, "keys of messages", Replay::Told(repeats::tell_key))
    },
];

/// A kind of rows with values of the first form, of which a start notes nothing.
const fn line(kind: RowKind, name: &'static str, replay: Replay) -> Line {
    Line { kind, name, newest_form: FORM, of_session: false, note: |_, _, _| Ok(()), replay }
}

impl Line {
    /// What holds of the row under `key`.
    pub fn of(key: &[u8]) -> Result<&'static Line, Torn> {
        const ALL: &[Line] = &KINDS;
        let first = key.first().ok_or(Torn)?;
        ALL.iter().find(|line| line.kind as u8 == *first).ok_or(Torn)
    }
}

impl RowKind {
    /// What the row under `key` is about.
    pub fn of(key: &[u8]) -> Result<RowKind, Torn> {
        Line::of(key).map(|line| line.kind)
    }
}

impl Noted {
    fn uses(&mut self, which: usize, number: u64) {
        self.numbers[which] = self.numbers[which].max(number);
    }

    fn uses_session(&mut self, key: &[u8]) -> Result<(), Torn> {
        self.uses(SESSIONS, key::session_of(key)?.0.get());
        Ok(())
    }
}

/// What rows with keys that begin with `prefix` are about, in words.
pub fn row_name(prefix: u8) -> &'static str {
    Line::of(&[prefix]).map_or("unknown", |line| line.name)
}

/// The version of the form of a value under `key`, if it is not one that is read here.
pub fn other_form(key: &[u8], value: &[u8]) -> Option<u8> {
    let newest = Line::of(key).ok()?.newest_form;
    value.first().copied().filter(|form| !(FORM..=newest).contains(form))
}

/// The order of a row of a kind that is told [in order](Replay::InOrder).
pub fn order_of(value: &[u8]) -> Result<u64, Torn> {
    message::read_order(value)
}

/// Whether this may be the first row of its Session: its number is to be among those reserved.
pub fn may_be_first(op: &Op) -> bool {
    matches!(op, Op::Session { .. } | Op::Will(..))
}

/// Adds the change of the rows of Session `id` that an Op states. `order` gives what is in flight its
/// place.
pub fn write(id: SessionId, op: &Op, order: impl FnOnce() -> u64, rows: &mut RowBatch) {
    let own = |kind| RowKey::session(kind, id);
    let packet = |kind, packet_id| RowKey::packet(kind, id, packet_id);
    match op {
        Op::Session { identity, expiry } => {
            let key = own(RowKind::Session);
            rows.put_with(key.as_bytes(), |out| put_session(identity, *expiry, out));
        }
        Op::Parked { since, crashed } => {
            let form = if *crashed { CRASHED_FORM } else { FORM };
            rows.put_with(own(RowKind::Parked).as_bytes(), |out| put_time(*since, form, out));
        }
        Op::Attached => rows.delete(own(RowKind::Parked).as_bytes()),
        Op::Ended => {
            for kind in [RowKind::Session, RowKind::Parked, RowKind::Will] {
                rows.delete(own(kind).as_bytes());
            }
        }
        Op::Subscribed { filter, options, id: number, owes } => {
            let key = subscription_key(id, filter);
            rows.put_with(&key, |out| put_subscription(*options, *number, owes.as_deref(), out));
        }
        Op::Unsubscribed { filter } => rows.delete(&subscription_key(id, filter)),
        Op::Sent { packet_id, delivery } => {
            let key = packet(RowKind::Flight, *packet_id);
            rows.put_with(key.as_bytes(), |out| message::sent(order(), delivery, out));
        }
        Op::Released { packet_id, group, mid, lost } => {
            let key = packet(RowKind::Flight, *packet_id);
            rows.put_with(key.as_bytes(), |out| {
                message::released(order(), *group, *mid, *lost, out);
            });
        }
        Op::Done { packet_id } => rows.delete(packet(RowKind::Flight, *packet_id).as_bytes()),
        Op::Received { packet_id } => {
            rows.put(packet(RowKind::Received, *packet_id).as_bytes(), &MARK);
        }
        Op::Forgotten { packet_id } => {
            rows.delete(packet(RowKind::Received, *packet_id).as_bytes());
        }
        Op::Will(will, identity) => {
            let key = own(RowKind::Will);
            rows.put_with(key.as_bytes(), |out| will::put_will(will, identity, out));
        }
        Op::WillGone => rows.delete(own(RowKind::Will).as_bytes()),
    }
}

/// Adds the change of a group's row.
pub fn write_group(group: GroupId, filter: Option<&TopicFilter>, rows: &mut RowBatch) {
    let key = RowKey::group(group);
    match filter {
        Some(filter) => rows.put_with(key.as_bytes(), |out| {
            ValueWriter::begin(FORM, out).rest(filter.as_str().as_bytes());
        }),
        None => rows.delete(key.as_bytes()),
    }
}

/// Adds the change of the row of a delayed message.
pub fn write_delayed(place: DelayKey, message: Option<&DelayedMessage>, rows: &mut RowBatch) {
    let key = RowKey::delayed(place);
    match message {
        Some(message) => rows.put_with(key.as_bytes(), |out| message::delayed(message, out)),
        None => rows.delete(key.as_bytes()),
    }
}

/// The form of the values of Sessions of a client that has no user name and is known by where it came from.
const NETWORK_FORM: u8 = 2;

fn put_session(identity: &Identity, expiry: u32, out: &mut Vec<u8>) {
    let network = identity.network();
    let placed = network != Network::default();
    let mut value = ValueWriter::begin(if placed { NETWORK_FORM } else { FORM }, out);
    value.u32(expiry);
    put_identity(identity, &mut value);
    if placed {
        value.u64(network.to_bits());
    }
}

fn tell_session(key: &[u8], value: &[u8], source: &Source<'_>) -> Result<Fact, Unread> {
    let form = if value.first() == Some(&NETWORK_FORM) { NETWORK_FORM } else { FORM };
    let mut value = ValueReader::begin(form, value)?;
    let expiry = value.u32()?;
    let mut identity = read_identity(&mut value, source.meter)?;
    if form == NETWORK_FORM {
        identity = identity.at(Network::from_bits(value.u64()?));
    }
    value.end()?;
    let identity = Arc::new(identity);
    Ok(Fact::Session(key::session_of(key)?.0, Op::Session { identity, expiry }))
}

/// The form of the value of a Session that was connected when the broker stopped.
const CRASHED_FORM: u8 = 2;

fn put_time(time: Time, form: u8, out: &mut Vec<u8>) {
    ValueWriter::begin(form, out).u64(time.as_nanos());
}

/// Since when, and whether the broker stopped before.
fn read_parked(value: &[u8]) -> Result<(Time, bool), Torn> {
    let crashed = value.first() == Some(&CRASHED_FORM);
    let form = if crashed { CRASHED_FORM } else { FORM };
    Ok((Time::from_nanos(ValueReader::begin(form, value)?.u64()?), crashed))
}

fn tell_parked(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let (since, crashed) = read_parked(value)?;
    Ok(Fact::Session(key::session_of(key)?.0, Op::Parked { since, crashed }))
}

fn tell_received(key: &[u8], _: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let (session, packet_id) = key::packet_of(key)?;
    Ok(Fact::Session(session, Op::Received { packet_id }))
}

fn tell_group(key: &[u8], value: &[u8], _: &Source<'_>) -> Result<Fact, Unread> {
    let filter = filter_of(ValueReader::begin(FORM, value)?.rest())?;
    Ok(Fact::Group(key::group_of(key)?, filter))
}

/// A filter that was checked when it was subscribed to.
fn filter_of(text: &[u8]) -> Result<TopicFilter, Torn> {
    let text = std::str::from_utf8(text).map_err(|_| Torn)?;
    let limits = crate::topic::TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };
    TopicFilter::parse(text, &limits).map_err(|_| Torn)
}

fn put_identity(identity: &Identity, value: &mut ValueWriter<'_>) {
    value.block(identity.client_id.as_str().as_bytes());
    value.u8(u8::from(identity.user_name.is_some()));
    value.block(identity.user_name.as_deref().unwrap_or("").as_bytes());
}

fn skip_identity(value: &mut ValueReader<'_>) -> Result<(), Torn> {
    value.text()?;
    value.u8()?;
    value.text()?;
    Ok(())
}

fn read_identity(value: &mut ValueReader<'_>, meter: &'static Meter) -> Result<Identity, Torn> {
    let client_id = ClientId::new(value.text()?);
    let named = value.u8()? != 0;
    let user_name = value.text()?;
    Ok(Identity::new(client_id, named.then(|| user_name.into()), meter))
}

/// A value that says nothing but that it is there.
pub const MARK: [u8; 1] = [FORM];
