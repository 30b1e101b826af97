//! Frames: what a message of NATS carries, in the log and beside it. Pure.
//!
//! A frame, numbers big-endian:
//!
//! ```text
//! u8 version = 1 | u64 node | u64 run | u32 lane | u64 number | u16 count | records | u32 CRC-32 of all before
//! record: u8 kind | variable length | body
//!   1 message: u8 flags | u64 received, ns | u64 end, ns (0: none) | topic | client | [user] | properties | payload
//!              | [u64 session | [u16 packet]]
//!   2 run:     nothing: from here on frames of other runs of this node are void
//!   3 claim:   u8 clean start | u64 when, in nanoseconds | client
//!   4 to 8:    about Sessions: see `session_frame`
//!   9 gone:    u64 node: from here on frames of all its runs are void, until a new one begins
//! ```
//!
//! Texts and bytes have a variable length before them. Flags: 0x03 `QoS`, 0x04 RETAIN, 0x08 changes the retained
//! message, 0x10 has a user, 0x60 what is noted of a Session with it (0x20: packet received, 0x40: Will gone).
//! Records of other kinds are skipped.

use crate::broker::cluster_log::LogEntry;
use crate::codec::{PacketId, Properties, QoS};
use crate::message::{Parts, SessionId};
use crate::session::Op;
use crate::time::Time;
use crate::topic::{TopicLimits, TopicName};

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrameOrigin {
    /// The node: [`hash`] of its name.
    pub node: u64,
    /// The run of that node.
    pub run: u64,
    /// The lane.
    pub lane: u32,
    /// The number of the frame in its lane, from 1.
    pub number: u64,
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Where it comes from.
    pub origin: FrameOrigin,
    /// What is in it, but for records of unknown kinds.
    pub records: Vec<FrameRecord<'a>>,
}

/// A record of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FrameRecord<'a> {
    /// A message.
    Message(FrameMessage<'a>),
    /// The run of the node begins, and its other runs have ended.
    Run,
    /// A node does not come back: none of its runs adds to the log any more.
    Gone {
        /// It.
        node: u64,
    },
    /// A client has connected to the node.
    Claim {
        /// Its Client Identifier.
        client_id: &'a str,
        /// What the others keep of it ends.
        clean_start: bool,
        /// When it has.
        at: Time,
    },
    /// A record about a Session, which is read when it is needed.
    Session(RawRecord<'a>),
}

/// A record that is not read yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RawRecord<'a> {
    /// Its kind.
    pub kind: u8,
    /// Its fields.
    pub body: &'a [u8],
}

/// A message in a frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FrameMessage<'a> {
    /// Its fields.
    pub parts: Parts<'a>,
    /// It changes the retained message of its topic.
    pub retains: bool,
    /// What its node notes of a Session together with it.
    pub with: Option<(SessionId, SessionNote)>,
}

/// What may be noted of a Session together with a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SessionNote {
    /// The message was received under this identifier.
    Received(PacketId),
    /// The message was the Will.
    WillGone,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum FrameError {
    /// A later program wrote it.
    #[error(
        "it is of version {0}, and this program knows version 1: a node of the cluster is newer"
    )]
    Version(u8),
    /// What was written is not what is there.
    #[error("its checksum is wrong")]
    Checksum,
    /// It ends too early, or a field is not possible.
    #[error("{0} is not as it should be")]
    Field(&'static str),
}

/// The version of all frames.
const VERSION: u8 = 1;
/// Bytes before the records.
const HEAD: usize = 31;
/// Bytes after them.
const TAIL: usize = 4;
/// Bytes of a frame that are not records.
pub(super) const FRAME_OVERHEAD: usize = HEAD + TAIL;

const MESSAGE: u8 = 1;
const RUN: u8 = 2;
const CLAIM: u8 = 3;
pub(super) const OPENED: u8 = 4;
pub(super) const ENDED: u8 = 5;
pub(super) const WANTED: u8 = 6;
pub(super) const COPIES: u8 = 7;
pub(super) const MOVED: u8 = 8;
const GONE: u8 = 9;

const RETAIN: u8 = 0x04;
const RETAINS: u8 = 0x08;
const HAS_USER: u8 = 0x10;
const RECEIVED: u8 = 0x20;
const WILL_GONE: u8 = 0x40;

/// As long as a topic can be; the codec of its node has checked the levels.
const ANY_TOPIC: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 65_536 };

/// A hash that stays the same from one program to the next: FNV-1a.
pub(super) fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    text.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}

/// Puts records into a frame.
pub(super) fn seal(origin: FrameOrigin, count: u16, records: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(records.len() + FRAME_OVERHEAD);
    frame.push(VERSION);
    frame.extend(origin.node.to_be_bytes());
    frame.extend(origin.run.to_be_bytes());
    frame.extend(origin.lane.to_be_bytes());
    frame.extend(origin.number.to_be_bytes());
    frame.extend(count.to_be_bytes());
    frame.extend_from_slice(records);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// Appends the record of a message.
pub(super) fn put_message(entry: &LogEntry, records: &mut Vec<u8>) {
    let with = entry.with.as_ref().and_then(|(id, op)| Some((*id, SessionNote::of(op)?)));
    put_parts(
        &FrameMessage { parts: entry.message.parts(), retains: entry.retains, with },
        records,
    );
}

/// Appends the record that a run begins.
pub(super) fn put_run(records: &mut Vec<u8>) {
    records.extend([RUN, 0]);
}

/// Appends the record that a node does not come back.
pub(super) fn put_gone(node: u64, records: &mut Vec<u8>) {
    records.extend([GONE, 8]);
    records.extend(node.to_be_bytes());
}

/// Appends the record of a claim.
pub(super) fn put_claim(client_id: &str, clean_start: bool, at: Time, records: &mut Vec<u8>) {
    records.push(CLAIM);
    put_len(9 + bytes_len(client_id.len()), records);
    records.push(u8::from(clean_start));
    records.extend(at.as_nanos().to_be_bytes());
    put_bytes(client_id.as_bytes(), records);
}

fn put_parts(message: &FrameMessage<'_>, records: &mut Vec<u8>) {
    let FrameMessage { parts, retains, with } = message;
    let mut flags = parts.qos as u8;
    flags |= if parts.retain { RETAIN } else { 0 };
    flags |= if *retains { RETAINS } else { 0 };
    flags |= if parts.user_name.is_some() { HAS_USER } else { 0 };
    let (with_flag, with_len) = match with {
        Some((_, SessionNote::Received(_))) => (RECEIVED, 10),
        Some((_, SessionNote::WillGone)) => (WILL_GONE, 8),
        None => (0, 0),
    };
    let properties = parts.properties.as_bytes();
    let texts = [parts.topic, parts.publisher].map(str::as_bytes);
    let user = parts.user_name.map(str::as_bytes);
    let fields = || texts.into_iter().chain(user).chain([properties, parts.payload]);
    records.push(MESSAGE);
    put_len(17 + with_len + fields().map(|field| bytes_len(field.len())).sum::<usize>(), records);
    records.push(flags | with_flag);
    records.extend(parts.received.as_nanos().to_be_bytes());
    let end = match parts.expires {
        Time::NEVER => 0,
        end => end.as_nanos().max(1),
    };
    records.extend(end.to_be_bytes());
    fields().for_each(|field| put_bytes(field, records));
    if let Some((id, noted)) = with {
        records.extend(id.get().to_be_bytes());
        if let SessionNote::Received(packet_id) = noted {
            records.extend(packet_id.get().to_be_bytes());
        }
    }
}

/// Appends the message, as a record that notes nothing with it.
pub(super) fn put_message_parts(parts: &Parts<'_>, records: &mut Vec<u8>) {
    put_parts(&FrameMessage { parts: *parts, retains: false, with: None }, records);
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    put_len(bytes.len(), into);
    into.extend_from_slice(bytes);
}

/// Seven bits a byte, the least first; the high bit says that more follow.
fn put_len(mut len: usize, into: &mut Vec<u8>) {
    while len > 0x7F {
        into.push(len as u8 | 0x80);
        len >>= 7;
    }
    into.push(len as u8);
}

/// Bytes that a field of `len` bytes takes with its length.
fn bytes_len(len: usize) -> usize {
    let bits = usize::BITS - len.max(1).leading_zeros();
    len + bits.div_ceil(7) as usize
}

/// Reads a frame. It takes no more memory than a small multiple of its bytes.
pub(super) fn open(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (body, crc) = bytes.split_last_chunk::<TAIL>().ok_or(FrameError::Field("its length"))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    let mut rest = Reader(body);
    match rest.u8("its version")? {
        VERSION => {}
        other => return Err(FrameError::Version(other)),
    }
    let origin = FrameOrigin {
        node: rest.u64("its node")?,
        run: rest.u64("its run")?,
        lane: u32::from_be_bytes(rest.array("its lane")?),
        number: rest.u64("its number")?,
    };
    let count = u16::from_be_bytes(rest.array("the number of its records")?);
    let mut records = Vec::new();
    for _ in 0..count {
        let kind = rest.u8("the kind of a record")?;
        let body = Reader(rest.bytes("the length of a record")?);
        records.extend(read_record(kind, body)?);
    }
    rest.end("what follows its records")?;
    Ok(Frame { origin, records })
}

/// Reads the body of a record; `None`: it is of an unknown kind.
fn read_record(kind: u8, mut body: Reader<'_>) -> Result<Option<FrameRecord<'_>>, FrameError> {
    let record = match kind {
        MESSAGE => FrameRecord::Message(read_message(&mut body)?),
        // More may be said of a run one day.
        RUN => return Ok(Some(FrameRecord::Run)),
        GONE => FrameRecord::Gone { node: body.u64("a node that is gone")? },
        CLAIM => {
            let clean_start = body.u8("a claim")? != 0;
            let at = Time::from_nanos(body.u64("a claim")?);
            FrameRecord::Claim { client_id: body.text("a claim")?, clean_start, at }
        }
        OPENED..=MOVED => {
            let body = std::mem::take(&mut body.0);
            FrameRecord::Session(RawRecord { kind, body })
        }
        _ => return Ok(None),
    };
    body.end("what follows the fields of a record")?;
    Ok(Some(record))
}

/// Reads the body of the record of a message.
pub(super) fn read_message<'a>(body: &mut Reader<'a>) -> Result<FrameMessage<'a>, FrameError> {
    let flags = body.u8("the flags of a message")?;
    let qos = QoS::from_bits(flags & 3).ok_or(FrameError::Field("the QoS of a message"))?;
    let received = Time::from_nanos(body.u64("the time of a message")?);
    let expires = match body.u64("the end of a message")? {
        0 => Time::NEVER,
        end => Time::from_nanos(end),
    };
    let topic = body.text("a topic")?;
    TopicName::parse(topic, &ANY_TOPIC).map_err(|_| FrameError::Field("a topic"))?;
    let publisher = body.text("the client of a message")?;
    let has_user = flags & HAS_USER != 0;
    let user_name = has_user.then(|| body.text("the user of a message")).transpose()?;
    let block = body.bytes("the properties of a message")?;
    let properties = Properties::trusted(block);
    if properties.forwarded_len() != block.len() {
        return Err(FrameError::Field("the properties of a message"));
    }
    let payload = body.bytes("the payload of a message")?;
    let with = read_with(flags & !(3 | RETAIN | RETAINS | HAS_USER), body)?;
    let retain = flags & RETAIN != 0;
    let parts =
        Parts { topic, properties, payload, publisher, user_name, qos, retain, received, expires };
    Ok(FrameMessage { parts, retains: flags & RETAINS != 0, with })
}

fn read_with(
    flags: u8,
    body: &mut Reader<'_>,
) -> Result<Option<(SessionId, SessionNote)>, FrameError> {
    if flags == 0 {
        return Ok(None);
    }
    let wrong = FrameError::Field("what is noted with a message");
    let id = SessionId::checked(body.u64("the session of a message")?).ok_or(wrong.clone())?;
    let noted = match flags {
        RECEIVED => {
            let packet_id = u16::from_be_bytes(body.array("the packet of a message")?);
            SessionNote::Received(PacketId::new(packet_id).ok_or(wrong)?)
        }
        WILL_GONE => SessionNote::WillGone,
        _ => return Err(wrong),
    };
    Ok(Some((id, noted)))
}

impl SessionNote {
    fn of(op: &Op) -> Option<SessionNote> {
        match op {
            Op::Received { packet_id } => Some(SessionNote::Received(*packet_id)),
            Op::WillGone => Some(SessionNote::WillGone),
            // None of these goes with a message.
            Op::Session { .. }
            | Op::Parked { .. }
            | Op::Attached
            | Op::Ended
            | Op::Subscribed { .. }
            | Op::Unsubscribed { .. }
            | Op::Sent { .. }
            | Op::Released { .. }
            | Op::Done { .. }
            | Op::Forgotten { .. }
            | Op::Will(..) => None,
        }
    }

    /// What the store is told.
    pub fn op(self) -> Op {
        match self {
            SessionNote::Received(packet_id) => Op::Received { packet_id },
            SessionNote::WillGone => Op::WillGone,
        }
    }
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(FrameError::Field(field))?;
        self.0 = rest;
        Ok(*array)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A length, and as many bytes.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], FrameError> {
        let mut len = 0usize;
        for shift in (0..28).step_by(7) {
            let byte = self.u8(field)?;
            len |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                let taken = self.0.split_at_checked(len).ok_or(FrameError::Field(field))?;
                self.0 = taken.1;
                return Ok(taken.0);
            }
        }
        Err(FrameError::Field(field))
    }

    pub fn text(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| FrameError::Field(field))
    }

    /// All that is left, as a text.
    pub fn rest_text(&mut self, field: &'static str) -> Result<&'a str, FrameError> {
        let rest = std::mem::take(&mut self.0);
        std::str::from_utf8(rest).map_err(|_| FrameError::Field(field))
    }

    pub fn end(&self, field: &'static str) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::Field(field)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::property::put_user_property;
    use crate::random::Random;

    const ORIGIN: FrameOrigin = FrameOrigin { node: 1, run: 2, lane: 3, number: 4 };

    fn text(random: &mut Random, least: usize, most: usize) -> String {
        let len = least + random.below(most - least + 1);
        (0..len).map(|_| random.pick(&['a', 'ü', '/', '𝄞', ' '])).collect()
    }

    /// A frame of some messages, with what is in it by hand.
    fn check_round_trip(random: &mut Random) -> Vec<u8> {
        let count = random.below(5);
        let mut kept = Vec::new();
        for _ in 0..count {
            let mut block = Vec::new();
            for _ in 0..random.below(3) {
                put_user_property(&mut block, &text(random, 0, 9), &text(random, 0, 200));
            }
            let payload: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
            let user = random.chance().then(|| text(random, 0, 9));
            kept.push((text(random, 1, 30), text(random, 0, 9), user, block, payload));
        }
        let mut records = Vec::new();
        let mut messages = Vec::new();
        for (topic, publisher, user, block, payload) in &kept {
            let id = SessionId::new(random.next() >> 1);
            let packet_id = PacketId::new(random.next() as u16 | 1).unwrap();
            let expires = Time::from_nanos(random.next() | 1);
            let parts = Parts {
                topic,
                properties: Properties::trusted(block),
                payload,
                publisher,
                user_name: user.as_deref(),
                qos: random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
                retain: random.chance(),
                received: Time::from_nanos(random.next()),
                expires: if random.chance() { Time::NEVER } else { expires },
            };
            let noted = [None, Some(SessionNote::WillGone), Some(SessionNote::Received(packet_id))];
            let with = random.pick(&noted).map(|noted| (id, noted));
            let message = FrameMessage { parts, retains: random.chance(), with };
            put_parts(&message, &mut records);
            messages.push(FrameRecord::Message(message));
        }
        let at = Time::from_secs(7);
        put_claim("c", true, at, &mut records);
        messages.push(FrameRecord::Claim { client_id: "c", clean_start: true, at });
        put_run(&mut records);
        messages.push(FrameRecord::Run);
        let frame = seal(ORIGIN, messages.len() as u16, &records);
        let read = open(&frame).unwrap();
        assert_eq!((read.origin, &read.records), (ORIGIN, &messages));
        frame
    }

    #[test]
    fn what_is_put_in_comes_out() {
        for seed in 0..300 {
            check_round_trip(&mut Random::new(seed));
        }
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_is_none() {
        for seed in 0..5 {
            let frame = check_round_trip(&mut Random::new(seed));
            for len in 0..frame.len() {
                assert!(open(&frame[..len]).is_err(), "seed {seed}, {len} bytes");
            }
            for at in 0..frame.len() {
                let mut changed = frame.clone();
                changed[at] ^= 1 << (at % 8);
                assert_eq!(open(&changed).unwrap_err(), FrameError::Checksum);
            }
        }
    }

    #[test]
    fn no_bytes_behind_a_right_checksum_are_a_panic() {
        for seed in 0..3000 {
            let mut random = Random::new(seed);
            let mut frame = check_round_trip(&mut random);
            frame.truncate(frame.len() - TAIL);
            for _ in 0..1 + random.below(4) {
                let at = random.below(frame.len());
                frame[at] = random.pick(&[0, 1, 0x7F, 0x80, 0xFF, random.clone().next() as u8]);
            }
            if random.chance() {
                frame.truncate(random.below(frame.len()));
            }
            frame.extend(crc32fast::hash(&frame).to_be_bytes());
            // Whatever it says, it is read to an end.
            let _ = open(&frame).map(|frame| frame.records.len());
        }
    }

    #[test]
    fn records_of_other_kinds_are_skipped_and_other_versions_named() {
        let mut records = vec![77, 3, 1, 2, 3];
        put_run(&mut records);
        let mut frame = seal(ORIGIN, 2, &records);
        assert_eq!(open(&frame).unwrap().records, [FrameRecord::Run]);
        frame.truncate(frame.len() - TAIL);
        frame[0] = 2;
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        assert_eq!(open(&frame).unwrap_err(), FrameError::Version(2));
    }

    #[test]
    fn version_1_stays_as_it_is() {
        let mut block = Vec::new();
        put_user_property(&mut block, "k", "v");
        let parts = Parts {
            topic: "a/b",
            properties: Properties::trusted(&block),
            payload: b"hi",
            publisher: "c",
            user_name: Some("u"),
            qos: QoS::ExactlyOnce,
            retain: true,
            received: Time::from_nanos(0x0102),
            expires: Time::from_nanos(0x0304),
        };
        let received = SessionNote::Received(PacketId::new(9).unwrap());
        let with = Some((SessionId::new(7), received));
        let mut records = Vec::new();
        put_parts(&FrameMessage { parts, retains: true, with }, &mut records);
        put_run(&mut records);
        let frame = seal(ORIGIN, 2, &records);
        let mut golden = vec![1];
        golden.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        golden.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 2]);
        golden.extend([1, 46, 0x3E, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4]);
        golden.extend(b"\x03a/b\x01c\x01u\x07\x26\0\x01k\0\x01v\x02hi");
        golden.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 9, 2, 0]);
        golden.extend(crc32fast::hash(&golden).to_be_bytes());
        assert_eq!(frame, golden);
        assert_eq!(hash("node-1"), 0xE696_ECC2_2078_79C3);
    }

    #[test]
    fn lengths_take_the_bytes_that_are_counted() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::new();
            put_len(len, &mut out);
            assert_eq!(out.len() + len, bytes_len(len));
        }
    }
}
