//! Our codec beside two others: the fields beside mqttbytes (3.1.1), what is accepted beside
//! flowsdk in its strict mode (3.1.1 and 5). Where they disagree with reason, the exception below
//! says on which side the standard is.

mod arbitrary;

use std::collections::BTreeMap;

use arbitrary::{Random, frame_len, spoken};
use bytes::BytesMut;
use flowsdk::mqtt_serde::control_packet::MqttPacket;
use flowsdk::mqtt_serde::parser::ParseOk;
use mqttbytes::v4;
use sluicemq::codec::{
    DecodeError, DecodeLimits, Decoded, Packet, QoS, Reason, Sender, Version, connect_version,
    decode, encode,
};

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

fn ours(bytes: &[u8], version: Option<Version>, from: Sender) -> Option<Packet<'_>> {
    match decode(bytes, version, from, &DecodeLimits::NONE) {
        Ok(Decoded::Packet { packet, len }) if len == bytes.len() => Some(packet),
        _ => None,
    }
}

// mqttbytes, 3.1.1.

/// Faults of mqttbytes 0.6.0 that a correct packet runs into.
fn mqttbytes_cannot(packet: &Packet<'_>) -> bool {
    let Packet::Connect(connect) = packet else {
        return false;
    };
    // It reads a password as UTF-8, though it is binary [MQTT311-3.1.3.5], and takes an empty user
    // name for none.
    let password = connect.password.is_some_and(|it| std::str::from_utf8(it).is_err());
    let password_empty = connect.password.is_some_and(<[u8]>::is_empty);
    password || password_empty || connect.user_name == Some("")
}

#[test]
fn mqttbytes_reads_what_we_write_and_we_read_what_it_writes() {
    let mut random = Random::new(311);
    let mut compared = 0;
    for turn in 0..40_000 {
        let from = SENDERS[turn % 2];
        let packet = random.packet(Version::V311, from);
        if mqttbytes_cannot(&packet) {
            continue;
        }
        let mut written = Vec::new();
        encode(&packet, Version::V311, usize::MAX, &mut written).expect("it fits");
        let mut stream = BytesMut::from(&written[..]);
        let theirs = v4::read(&mut stream, usize::MAX)
            .unwrap_or_else(|error| panic!("{error:?} for {packet:?}"));
        assert!(stream.is_empty());
        assert!(same_fields(&packet, &theirs), "{packet:?} is {theirs:?}");

        let mut back = BytesMut::new();
        write(&theirs, &mut back);
        let again = ours(&back, spoken(&packet, Version::V311), from);
        assert_eq!(again.as_ref(), Some(&packet), "{theirs:?} as {back:02x?}");
        compared += 1;
    }
    assert!(compared > 30_000, "{compared}");
}

fn same_qos(ours: QoS, theirs: mqttbytes::QoS) -> bool {
    ours as u8 == theirs as u8
}

fn same_fields(ours: &Packet<'_>, theirs: &v4::Packet) -> bool {
    match (ours, theirs) {
        (Packet::Connect(ours), v4::Packet::Connect(theirs)) => {
            let login = theirs.login.as_ref();
            let password = login.map_or("", |login| login.password.as_str()).as_bytes();
            let will = match (&ours.will, &theirs.last_will) {
                (None, None) => true,
                (Some(ours), Some(theirs)) => {
                    ours.topic == theirs.topic
                        && ours.payload == &theirs.message[..]
                        && same_qos(ours.qos, theirs.qos)
                        && ours.retain == theirs.retain
                }
                _ => false,
            };
            ours.keep_alive == theirs.keep_alive
                && ours.client_id == theirs.client_id
                && ours.clean_start == theirs.clean_session
                && ours.user_name.unwrap_or("") == login.map_or("", |login| &login.username)
                && ours.password.unwrap_or(b"") == password
                && will
        }
        (Packet::ConnAck(ours), v4::Packet::ConnAck(theirs)) => {
            let code = match ours.reason {
                Reason::Success => 0,
                Reason::UnsupportedProtocolVersion => 1,
                Reason::ClientIdentifierNotValid => 2,
                Reason::ServerUnavailable => 3,
                Reason::BadUserNameOrPassword => 4,
                _ => 5,
            };
            ours.session_present == theirs.session_present && code == theirs.code as u8
        }
        (Packet::Publish(ours), v4::Packet::Publish(theirs)) => {
            ours.dup == theirs.dup
                && same_qos(ours.qos, theirs.qos)
                && ours.retain == theirs.retain
                && ours.topic == theirs.topic
                && ours.packet_id.map_or(0, |id| id.get()) == theirs.pkid
                && ours.payload == &theirs.payload[..]
        }
        (Packet::PubAck(ours), v4::Packet::PubAck(theirs)) => ours.packet_id.get() == theirs.pkid,
        (Packet::PubRec(ours), v4::Packet::PubRec(theirs)) => ours.packet_id.get() == theirs.pkid,
        (Packet::PubRel(ours), v4::Packet::PubRel(theirs)) => ours.packet_id.get() == theirs.pkid,
        (Packet::PubComp(ours), v4::Packet::PubComp(theirs)) => ours.packet_id.get() == theirs.pkid,
        (Packet::Subscribe(ours), v4::Packet::Subscribe(theirs)) => {
            let same = |((filter, options), their): (&(&str, _), &v4::SubscribeFilter)| {
                let options: &sluicemq::codec::SubscribeOptions = options;
                *filter == their.path && same_qos(options.qos, their.qos)
            };
            ours.packet_id.get() == theirs.pkid
                && ours.filters.len() == theirs.filters.len()
                && ours.filters.iter().zip(&theirs.filters).all(same)
        }
        (Packet::SubAck(ours), v4::Packet::SubAck(theirs)) => {
            let codes = theirs.return_codes.iter().map(|code| match code {
                v4::SubscribeReasonCode::Success(qos) => *qos as u8,
                v4::SubscribeReasonCode::Failure => 0x80,
            });
            ours.packet_id.get() == theirs.pkid
                && ours.reasons.iter().map(|reason| *reason as u8).eq(codes)
        }
        (Packet::Unsubscribe(ours), v4::Packet::Unsubscribe(theirs)) => {
            ours.packet_id.get() == theirs.pkid && ours.filters == theirs.topics
        }
        (Packet::UnsubAck(ours), v4::Packet::UnsubAck(theirs)) => {
            ours.packet_id.get() == theirs.pkid
        }
        (Packet::PingReq, v4::Packet::PingReq)
        | (Packet::PingResp, v4::Packet::PingResp)
        | (Packet::Disconnect(_), v4::Packet::Disconnect) => true,
        _ => false,
    }
}

fn write(packet: &v4::Packet, out: &mut BytesMut) {
    let written = match packet {
        v4::Packet::Connect(packet) => packet.write(out),
        v4::Packet::ConnAck(packet) => packet.write(out),
        v4::Packet::Publish(packet) => packet.write(out),
        v4::Packet::PubAck(packet) => packet.write(out),
        v4::Packet::PubRec(packet) => packet.write(out),
        v4::Packet::PubRel(packet) => packet.write(out),
        v4::Packet::PubComp(packet) => packet.write(out),
        v4::Packet::Subscribe(packet) => packet.write(out),
        v4::Packet::SubAck(packet) => packet.write(out),
        v4::Packet::Unsubscribe(packet) => packet.write(out),
        v4::Packet::UnsubAck(packet) => packet.write(out),
        v4::Packet::PingReq => v4::PingReq.write(out),
        v4::Packet::PingResp => v4::PingResp.write(out),
        v4::Packet::Disconnect => v4::Disconnect.write(out),
    };
    written.expect("mqttbytes writes what it read");
}

// flowsdk, 3.1.1 and 5.

/// Whether flowsdk takes the frame: "continue" on a complete frame is a refusal.
fn flowsdk_accepts(bytes: &[u8], version: Version) -> bool {
    let level = if version == Version::V5 { 5 } else { 4 };
    match MqttPacket::from_bytes_with_version(bytes, level) {
        Ok(ParseOk::Packet(_, len)) => len == bytes.len(),
        Ok(ParseOk::Continue(..) | ParseOk::TopicName(..)) | Err(_) => false,
    }
}

/// Topic Filters have a form that our topic floor checks, and flowsdk's codec.
fn filters_are_well_formed(packet: &Packet<'_>, version: Version) -> bool {
    let well_formed = |filter: &str| {
        let mut levels = filter.split('/').peekable();
        if version == Version::V5 && levels.peek() == Some(&"$share") {
            levels.next();
            let name = levels.next().unwrap_or("");
            if name.is_empty() || name.contains(['+', '#']) || levels.peek().is_none() {
                return false;
            }
            if filter.len() == "$share/".len() + name.len() + 1 {
                return false;
            }
        }
        while let Some(level) = levels.next() {
            let wild = level.contains(['+', '#']);
            if (wild && level.len() > 1) || (level == "#" && levels.peek().is_some()) {
                return false;
            }
        }
        true
    };
    match packet {
        Packet::Subscribe(subscribe) => subscribe.filters.iter().all(|(it, _)| well_formed(it)),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.iter().all(|it| well_formed(it)),
        _ => true,
    }
}

/// Why we are right to accept what flowsdk refuses.
fn flowsdk_is_too_strict(
    bytes: &[u8],
    packet: &Packet<'_>,
    version: Version,
) -> Option<&'static str> {
    if version != Version::V5 && bytes[1] >= 0x80 && frame_is_longer_than_needed(bytes) {
        return Some("3.1.1, 2.2.3 has no shortest form for the Remaining Length");
    }
    match packet {
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            if connect.password == Some(b"") {
                return Some("5, 3.1.3.6: a password has 0 to 65,535 bytes");
            }
            if connect.user_name == Some("") {
                return Some("5, 1.5.4: a string, so a user name, may be empty");
            }
            will.filter(|will| will.payload.is_empty())
                .map(|_| "5, 3.1.3.4: a Will Payload is Binary Data and may be empty")
        }
        Packet::ConnAck(connack) => connack
            .assigned_client_id
            .filter(|id| id.is_empty())
            .map(|_| "5, 3.2.2.3.7 leaves the form of an Assigned Client Identifier open"),
        Packet::Disconnect(disconnect) => (disconnect.reason == Reason::BadAuthenticationMethod)
            .then_some("5, table 2-6 gives DISCONNECT the code 0x8C; table 3-10 forgets it"),
        _ => None,
    }
}

fn frame_is_longer_than_needed(bytes: &[u8]) -> bool {
    let last = bytes[1..].iter().position(|byte| *byte < 0x80).expect("a complete frame");
    bytes[1 + last] == 0
}

/// Why we are right to refuse what flowsdk accepts; the errors are those for each sender.
fn flowsdk_is_too_lenient(client: DecodeError, server: DecodeError) -> Option<&'static str> {
    if matches!(client, DecodeError::UnsupportedVersion { .. }) {
        return Some("flowsdk is told the version and does not look at the Protocol Level");
    }
    let one_sided = |error: DecodeError| {
        let text = error.to_string();
        ["this packet may not carry", "from a client", "from a server"]
            .iter()
            .any(|part| text.contains(part))
    };
    (client != server && one_sided(client) && one_sided(server))
        .then_some("flowsdk does not know who sends: no sender may send this mix")
}

#[test]
fn we_accept_what_flowsdk_accepts() {
    let mut random = Random::new(5);
    let mut compared = 0;
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    for turn in 0..200_000 {
        let nominal = [Version::V311, Version::V5, Version::V5][turn % 3];
        let from = SENDERS[turn / 3 % 2];
        let packet = random.packet(nominal, from);
        let mut bytes = Vec::new();
        encode(&packet, nominal, usize::MAX, &mut bytes).expect("it fits");
        if turn % 10 != 0 {
            random.mutate(&mut bytes);
        }
        if frame_len(&bytes) != Some(bytes.len()) {
            continue;
        }
        let version = connect_version(&bytes).unwrap_or(nominal);
        let spoken = (bytes[0] >> 4 != 1).then_some(version);
        let theirs = flowsdk_accepts(&bytes, version);
        compared += 1;
        // flowsdk does not ask which side sends.
        let why = match SENDERS.map(|from| decode(&bytes, spoken, from, &DecodeLimits::NONE)) {
            [Ok(Decoded::Packet { packet, .. }), _] | [_, Ok(Decoded::Packet { packet, .. })] => {
                if theirs == filters_are_well_formed(&packet, version) {
                    continue;
                }
                flowsdk_is_too_strict(&bytes, &packet, version)
            }
            [Err(_), Err(_)] if !theirs => continue,
            [Err(client), Err(server)] => flowsdk_is_too_lenient(client, server),
            needs => panic!("{needs:?} for the complete {bytes:02x?}"),
        };
        let why = why.unwrap_or_else(|| {
            let we = SENDERS.map(|from| decode(&bytes, spoken, from, &DecodeLimits::NONE));
            panic!("turn {turn}: flowsdk accepts: {theirs}; we: {we:?}; {bytes:02x?}")
        });
        *excused.entry(why).or_default() += 1;
    }
    println!("compared {compared}, excused {excused:#?}");
    assert!(compared > 150_000, "{compared}");
    let total: usize = excused.values().sum();
    assert!(total < compared / 100, "too many excuses: {excused:#?}");
}
