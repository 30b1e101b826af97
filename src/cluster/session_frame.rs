//! Records about Sessions in frames. Pure.
//!
//! ```text
//! 4 opened: u8 flags | client | [user]
//! 5 ended:  client
//! 6 wanted: client
//! 7 copies: client | u64 number of the move | copies
//! 8 moved:  client | u64 number of the move | u64 node | u64 frame | facts
//! copy:     variable length | u8 QoS, RETAIN | u8 band | identifiers | message as in a frame
//! fact:     u8 kind | variable length | body
//! ```
//!
//! Flags: 0x01 clean, 0x02 has a user. `identifiers` is their number, 16 bits, and 32 bits for each. Facts of other
//! kinds are skipped.

use std::sync::Arc;

use super::frame::{
    COPIES, ENDED, FrameError, MOVED, OPENED, Reader, WANTED, put_bytes, put_message_parts,
    read_message,
};
use crate::broker::cluster_log::{MovedCopy, MovedSession, SessionRecord};
use crate::codec::{PacketId, Properties, QoS, RetainHandling, SubscribeOptions};
use crate::message::{
    ClientId, Delivery, Draft, Identity, Lane, Message, Network, SubscriptionIds,
};
use crate::session::{Op, Owed, WillMessage};
use crate::time::Time;
use crate::topic::{TopicFilter, TopicLimits, TopicName};

const CLEAN: u8 = 0x01;
const HAS_USER: u8 = 0x02;

const SESSION: u8 = 1;
const PARKED: u8 = 2;
const SUBSCRIBED: u8 = 3;
const SENT: u8 = 4;
const RELEASED: u8 = 5;
const RECEIVED: u8 = 6;
const WILL: u8 = 7;

const ANY: TopicLimits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };

/// Makes the identity of a client of this name and user.
pub(super) type MakeIdentity<'a> = dyn FnMut(&str, Option<&str>) -> Arc<Identity> + 'a;

/// Appends a record about a Session.
pub(super) fn put_session_record(record: &SessionRecord, records: &mut Vec<u8>) {
    let mut body = Vec::new();
    let kind = match record {
        SessionRecord::Opened { client_id, user, clean } => {
            let clean = if *clean { CLEAN } else { 0 };
            body.push(clean | if user.is_some() { HAS_USER } else { 0 });
            put_bytes(client_id.as_str().as_bytes(), &mut body);
            user.iter().for_each(|user| put_bytes(user.as_bytes(), &mut body));
            OPENED
        }
        SessionRecord::Ended { client_id } => {
            put_bytes(client_id.as_str().as_bytes(), &mut body);
            ENDED
        }
        SessionRecord::Wanted { client_id } => {
            put_bytes(client_id.as_str().as_bytes(), &mut body);
            WANTED
        }
        SessionRecord::Copies { client_id, number, copies } => {
            put_bytes(client_id.as_str().as_bytes(), &mut body);
            body.extend(number.to_be_bytes());
            for copy in copies {
                put_copy(copy, &mut body);
            }
            COPIES
        }
        SessionRecord::Moved(moved) => {
            put_bytes(moved.client_id.as_str().as_bytes(), &mut body);
            for number in [moved.number, moved.to, moved.after] {
                body.extend(number.to_be_bytes());
            }
            moved.facts.iter().for_each(|fact| put_fact(fact, &mut body));
            MOVED
        }
    };
    records.push(kind);
    put_bytes(&body, records);
}

/// Reads the body of a record about a Session.
pub(super) fn read_session_record(
    kind: u8,
    body: &[u8],
    make: &mut MakeIdentity<'_>,
) -> Result<SessionRecord, FrameError> {
    let mut body = Reader(body);
    let flags = if kind == OPENED { body.u8("the flags of a Session")? } else { 0 };
    let client_id = ClientId::new(body.text("the client of a Session")?);
    let record = match kind {
        OPENED => {
            let has_user = flags & HAS_USER != 0;
            let user = has_user.then(|| body.text("the user of a Session")).transpose()?;
            let (user, clean) = (user.map(Into::into), flags & CLEAN != 0);
            SessionRecord::Opened { client_id, user, clean }
        }
        ENDED => SessionRecord::Ended { client_id },
        WANTED => SessionRecord::Wanted { client_id },
        COPIES => {
            let number = body.u64("the number of a move")?;
            let mut copies = Vec::new();
            while !body.0.is_empty() {
                copies.push(read_copy(&mut body, make)?);
            }
            SessionRecord::Copies { client_id, number, copies }
        }
        _ => {
            let number = body.u64("the number of a move")?;
            let to = body.u64("the node of a Session")?;
            let after = body.u64("a place in the log")?;
            let identity = make(client_id.as_str(), None);
            let mut facts = Vec::new();
            while !body.0.is_empty() {
                let kind = body.u8("the kind of a fact")?;
                let fact = Reader(body.bytes("the length of a fact")?);
                facts.extend(read_fact(kind, fact, &identity, make)?);
            }
            let facts = with_identity(facts);
            SessionRecord::Moved(Box::new(MovedSession { client_id, number, to, after, facts }))
        }
    };
    body.end("what follows the fields of a Session")?;
    Ok(record)
}

/// The Will is of the same client as the Session.
fn with_identity(mut facts: Vec<Op>) -> Vec<Op> {
    let session = facts.iter().find_map(|fact| match fact {
        Op::Session { identity, .. } => Some(identity.clone()),
        _ => None,
    });
    for fact in &mut facts {
        if let (Op::Will(_, identity), Some(session)) = (fact, &session) {
            identity.clone_from(session);
        }
    }
    facts
}

fn put_copy(copy: &MovedCopy, into: &mut Vec<u8>) {
    let MovedCopy { message, qos, retain, ids, band } = copy;
    let mut body = Vec::new();
    put_delivery(message, (*qos, *retain, ids, *band), &mut body);
    put_bytes(&body, into);
}

fn put_delivery(
    message: &Message,
    (qos, retain, ids, band): (QoS, bool, &SubscriptionIds, u8),
    body: &mut Vec<u8>,
) {
    body.extend([qos as u8 | if retain { 4 } else { 0 }, band]);
    let ids = ids.as_slice();
    let count = ids.len().min(usize::from(u16::MAX));
    body.extend((count as u16).to_be_bytes());
    ids[..count].iter().for_each(|id| body.extend(id.to_be_bytes()));
    put_message_parts(&message.parts(), body);
}

fn read_copy(from: &mut Reader<'_>, make: &mut MakeIdentity<'_>) -> Result<MovedCopy, FrameError> {
    let mut body = Reader(from.bytes("the length of a copy")?);
    let copy = read_delivery(&mut body, make)?;
    body.end("what follows a copy")?;
    Ok(copy)
}

fn read_delivery(
    body: &mut Reader<'_>,
    make: &mut MakeIdentity<'_>,
) -> Result<MovedCopy, FrameError> {
    let flags = body.u8("the flags of a copy")?;
    let qos = QoS::from_bits(flags & 3).ok_or(FrameError::Field("the QoS of a copy"))?;
    let band = body.u8("the band of a copy")? & 3;
    let mut ids = SubscriptionIds::default();
    for _ in 0..u16::from_be_bytes(body.array("the identifiers of a copy")?) {
        ids.add(u32::from_be_bytes(body.array("the identifiers of a copy")?));
    }
    let _ = body.u8("the kind of a message")?;
    let mut message = Reader(body.bytes("the length of a message")?);
    let parts = read_message(&mut message)?.parts;
    let meter = make(parts.publisher, parts.user_name).meter();
    let message = Message::new(&parts, meter);
    Ok(MovedCopy { message, qos, retain: flags & 4 != 0, ids, band })
}

fn put_fact(fact: &Op, into: &mut Vec<u8>) {
    let mut body = Vec::new();
    let kind = match fact {
        Op::Session { identity, expiry } => {
            body.extend(expiry.to_be_bytes());
            body.extend(identity.network().to_bits().to_be_bytes());
            body.push(if identity.user_name.is_some() { HAS_USER } else { 0 });
            body.extend(identity.user_name.iter().flat_map(|user| user.bytes()));
            SESSION
        }
        Op::Parked { since, .. } => {
            body.extend(since.as_nanos().to_be_bytes());
            PARKED
        }
        Op::Subscribed { filter, options, id, owes } => {
            put_bytes(filter.as_str().as_bytes(), &mut body);
            body.push(options_to_bits(*options));
            body.extend(id.to_be_bytes());
            if let Some(owes) = owes {
                body.extend(owes.latest.as_nanos().to_be_bytes());
                body.extend(owes.after.iter().flat_map(|after| after.bytes()));
            }
            SUBSCRIBED
        }
        Op::Sent { packet_id, delivery } => {
            body.extend(packet_id.get().to_be_bytes());
            let Delivery { message, qos, retain, ids, .. } = delivery;
            put_delivery(message, (*qos, *retain, ids, 0), &mut body);
            SENT
        }
        Op::Released { packet_id, lost, .. } => {
            body.extend(packet_id.get().to_be_bytes());
            body.push(u8::from(*lost));
            RELEASED
        }
        Op::Received { packet_id } => {
            body.extend(packet_id.get().to_be_bytes());
            RECEIVED
        }
        Op::Will(will, _) => {
            put_will(will, &mut body);
            WILL
        }
        // No Session has these.
        Op::Attached
        | Op::Ended
        | Op::Unsubscribed { .. }
        | Op::Done { .. }
        | Op::Forgotten { .. }
        | Op::WillGone => return,
    };
    into.push(kind);
    put_bytes(&body, into);
}

fn read_fact(
    kind: u8,
    mut body: Reader<'_>,
    client: &Arc<Identity>,
    make: &mut MakeIdentity<'_>,
) -> Result<Option<Op>, FrameError> {
    let fact = match kind {
        SESSION => {
            let expiry = u32::from_be_bytes(body.array("an expiry")?);
            let network = Network::from_bits(body.u64("a network")?);
            let has_user = body.u8("a user")? & HAS_USER != 0;
            let user = body.rest_text("a user")?;
            let user = has_user.then(|| user.into());
            let identity = Identity::new(client.client_id.clone(), user, client.meter());
            Op::Session { identity: Arc::new(identity.at(network)), expiry }
        }
        PARKED => Op::Parked { since: Time::from_nanos(body.u64("a time")?), crashed: false },
        SUBSCRIBED => read_subscribed(&mut body)?,
        SENT => {
            let packet_id = read_packet_id(&mut body)?;
            let MovedCopy { message, qos, retain, ids, .. } = read_delivery(&mut body, make)?;
            let (group, lane, stored) = (None, Lane::NONE, false);
            let delivery = Delivery { message, qos, retain, ids, group, lane, stored };
            Op::Sent { packet_id, delivery }
        }
        RELEASED => {
            let packet_id = read_packet_id(&mut body)?;
            let lost = body.u8("a flight")? != 0;
            Op::Released { packet_id, group: None, mid: None, lost }
        }
        RECEIVED => Op::Received { packet_id: read_packet_id(&mut body)? },
        WILL => Op::Will(Arc::new(read_will(&mut body)?), client.clone()),
        _ => return Ok(None),
    };
    body.end("what follows the fields of a fact")?;
    Ok(Some(fact))
}

fn read_subscribed(body: &mut Reader<'_>) -> Result<Op, FrameError> {
    let unfit = FrameError::Field("a Subscription");
    let filter = TopicFilter::parse(body.text("a filter")?, &ANY).map_err(|_| unfit.clone())?;
    let options = options_of_bits(body.u8("the options of a Subscription")?).ok_or(unfit)?;
    let id = u32::from_be_bytes(body.array("an identifier")?);
    let owes = if body.0.is_empty() {
        None
    } else {
        let latest = Time::from_nanos(body.u64("a time")?);
        let after = body.rest_text("a topic")?;
        Some(Box::new(Owed { latest, after: (!after.is_empty()).then(|| after.to_owned()) }))
    };
    Ok(Op::Subscribed { filter, options, id, owes })
}

fn read_packet_id(body: &mut Reader<'_>) -> Result<PacketId, FrameError> {
    let number = u16::from_be_bytes(body.array("a packet identifier")?);
    PacketId::new(number).ok_or(FrameError::Field("a packet identifier"))
}

fn put_will(will: &WillMessage, body: &mut Vec<u8>) {
    let draft = will.draft();
    body.extend(will.delay.to_be_bytes());
    body.push(draft.qos as u8 | if draft.retain { 4 } else { 0 });
    body.push(u8::from(draft.expiry.is_some()));
    body.extend(draft.expiry.unwrap_or_default().to_be_bytes());
    put_bytes(draft.topic.as_str().as_bytes(), body);
    put_bytes(draft.properties.as_bytes(), body);
    put_bytes(draft.payload, body);
}

fn read_will(body: &mut Reader<'_>) -> Result<WillMessage, FrameError> {
    let unfit = FrameError::Field("a Will");
    let delay = u32::from_be_bytes(body.array("a Will")?);
    let flags = body.u8("a Will")?;
    let qos = QoS::from_bits(flags & 3).ok_or_else(|| unfit.clone())?;
    let expires = body.u8("a Will")? != 0;
    let expiry = u32::from_be_bytes(body.array("a Will")?);
    let topic = TopicName::parse(body.text("a Will")?, &ANY).map_err(|_| unfit.clone())?;
    let block = body.bytes("a Will")?;
    let properties = Properties::trusted(block);
    if properties.forwarded_len() != block.len() {
        return Err(unfit);
    }
    let (payload, retain) = (body.bytes("a Will")?, flags & 4 != 0);
    let expiry = expires.then_some(expiry);
    let draft = Draft { topic, qos, retain, expiry, properties, payload };
    Ok(WillMessage::restore(&draft, delay))
}

fn options_to_bits(options: SubscribeOptions) -> u8 {
    let SubscribeOptions { qos, no_local, retain_as_published, retain_handling } = options;
    let flags = u8::from(no_local) << 2 | u8::from(retain_as_published) << 3;
    qos as u8 | flags | (retain_handling as u8) << 4
}

fn options_of_bits(bits: u8) -> Option<SubscribeOptions> {
    let handling = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
    Some(SubscribeOptions {
        qos: QoS::from_bits(bits & 3)?,
        no_local: bits & 4 != 0,
        retain_as_published: bits & 8 != 0,
        retain_handling: *handling.get(usize::from(bits >> 4))?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameOrigin, FrameRecord, open, seal};
    use super::*;
    use crate::message::{Meter, Parts};

    fn identity(client_id: &str, user: Option<&str>) -> Arc<Identity> {
        let user = user.map(Into::into);
        Arc::new(Identity::new(ClientId::new(client_id), user, Meter::forever()))
    }

    fn message(payload: &[u8]) -> Message {
        let parts = Parts {
            topic: "a/b",
            properties: Properties::EMPTY,
            payload,
            publisher: "p",
            user_name: Some("u"),
            qos: QoS::ExactlyOnce,
            retain: true,
            received: Time::from_secs(5),
            expires: Time::NEVER,
        };
        Message::new(&parts, Meter::forever())
    }

    fn facts() -> Vec<Op> {
        let client = identity("c", Some("anna"));
        let id = |number| PacketId::new(number).unwrap();
        let mut ids = SubscriptionIds::new(7);
        ids.add(8);
        let delivery = Delivery {
            message: message(b"sent"),
            qos: QoS::AtLeastOnce,
            retain: true,
            ids,
            group: None,
            lane: Lane::NONE,
            stored: false,
        };
        let draft = Draft {
            topic: TopicName::parse("will", &ANY).unwrap(),
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry: Some(9),
            properties: Properties::EMPTY,
            payload: b"gone",
        };
        let filter = |text| TopicFilter::parse(text, &ANY).unwrap();
        let options = |bits| options_of_bits(bits).unwrap();
        let owes = Some(Box::new(Owed { latest: Time::from_secs(3), after: Some("a".to_owned()) }));
        let owing =
            |id, owes| Op::Subscribed { filter: filter("a/#"), options: options(0x1E), id, owes };
        vec![
            Op::Session { identity: client.clone(), expiry: 100 },
            Op::Parked { since: Time::from_secs(4), crashed: false },
            owing(1, owes),
            owing(0, Some(Box::new(Owed { latest: Time::from_secs(3), after: None }))),
            Op::Subscribed { filter: filter("+"), options: options(0x21), id: 0, owes: None },
            Op::Sent { packet_id: id(1), delivery },
            Op::Released { packet_id: id(2), group: None, mid: None, lost: true },
            Op::Received { packet_id: id(3) },
            Op::Will(Arc::new(WillMessage::restore(&draft, 60)), client),
        ]
    }

    fn records() -> Vec<SessionRecord> {
        let client_id = ClientId::new("c");
        let copy = |payload: &[u8], band| MovedCopy {
            message: message(payload),
            qos: QoS::ExactlyOnce,
            retain: band == 0,
            ids: SubscriptionIds::new(u32::from(band)),
            band,
        };
        let (id, facts) = (client_id.clone(), facts());
        let moved = MovedSession { client_id: id, number: 11, to: 12, after: 13, facts };
        let copies = vec![copy(b"", 0), copy(b"waits", 3)];
        vec![
            SessionRecord::Opened { client_id: client_id.clone(), user: None, clean: true },
            SessionRecord::Opened {
                client_id: client_id.clone(),
                user: Some("anna".into()),
                clean: false,
            },
            SessionRecord::Ended { client_id: client_id.clone() },
            SessionRecord::Wanted { client_id: client_id.clone() },
            SessionRecord::Copies { client_id, number: 11, copies },
            SessionRecord::Moved(Box::new(moved)),
        ]
    }

    fn bytes_of(record: &SessionRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_session_record(record, &mut bytes);
        bytes
    }

    /// Reads the record as a node does that gets it.
    fn again(bytes: &[u8]) -> Result<SessionRecord, FrameError> {
        let origin = FrameOrigin { node: 1, run: 2, lane: 3, number: 4 };
        let frame = seal(origin, 1, bytes);
        let frame = open(&frame)?;
        let [FrameRecord::Session(raw)] = frame.records[..] else { panic!("{frame:?}") };
        read_session_record(raw.kind, raw.body, &mut |client_id, user| identity(client_id, user))
    }

    #[test]
    fn what_is_said_of_a_session_comes_as_it_went() {
        for record in records() {
            let bytes = bytes_of(&record);
            let read = again(&bytes).unwrap();
            assert_eq!(bytes_of(&read), bytes, "{record:?}");
            assert_eq!(format!("{:?}", read.client_id()), format!("{:?}", record.client_id()));
        }
        let moved = again(&bytes_of(&records()[5])).unwrap();
        let SessionRecord::Moved(moved) = moved else { panic!("{moved:?}") };
        assert_eq!((moved.number, moved.to, moved.after), (11, 12, 13));
        assert_eq!(moved.facts.len(), facts().len());
        for fact in &moved.facts {
            if let Op::Session { identity, .. } | Op::Will(_, identity) = fact {
                assert_eq!(identity.user_name.as_deref(), Some("anna"));
            }
        }
    }

    #[test]
    fn records_of_sessions_stay_as_they_are() {
        let golden: [&[u8]; 4] = [
            &[4, 3, 1, 1, b'c'],
            &[4, 8, 2, 1, b'c', 4, b'a', b'n', b'n', b'a'],
            &[5, 2, 1, b'c'],
            &[6, 2, 1, b'c'],
        ];
        for (record, golden) in records().iter().zip(golden) {
            assert_eq!(bytes_of(record), golden);
        }
        let sums: Vec<_> =
            records()[4..].iter().map(|record| crc32fast::hash(&bytes_of(record))).collect();
        assert_eq!(sums, [1_529_259_995, 359_515_864]);
    }

    #[test]
    fn no_bytes_are_a_panic() {
        for record in records() {
            let bytes = bytes_of(&record);
            for at in 0..bytes.len() {
                for with in [0, 1, 3, 0x7F, 0x80, 0xFF] {
                    let mut changed = bytes.clone();
                    changed[at] = with;
                    if (OPENED..=MOVED).contains(&changed[0]) {
                        let body = &changed[2.min(changed.len())..];
                        let make =
                            &mut |client_id: &str, user: Option<&str>| identity(client_id, user);
                        let _ = read_session_record(changed[0], body, make);
                    }
                }
            }
        }
    }

    #[test]
    fn facts_of_other_kinds_are_skipped() {
        let mut body = vec![1, b'c'];
        body.extend([0; 24]);
        body.extend([99, 2, 1, 2, RECEIVED, 2, 0, 5]);
        let make = &mut |client_id: &str, user: Option<&str>| identity(client_id, user);
        let read = read_session_record(MOVED, &body, make).unwrap();
        let SessionRecord::Moved(moved) = read else { panic!("{read:?}") };
        assert!(matches!(moved.facts[..], [Op::Received { .. }]), "{moved:?}");
    }
}
