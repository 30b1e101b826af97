//! Packets to bytes. Every body is written by one function, run twice: into a [`Measure`] to know
//! the length, then into the buffer, which is therefore never left with half a packet. Only
//! PUBLISH, the hot path, computes its length by itself.

use super::error::EncodeError;
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe, Will,
};
use super::property::{Properties, Property};
use super::reason::Reason;
use super::version3;
use super::wire::{Measure, Sink, VARIABLE_MAX, variable_bytes, variable_len};
use super::words::{QoS, Version};

/// Appends `packet` to `out` in the form of `version`; returns the bytes written.
///
/// What `version` lacks is left out or mapped. What a version 3 server cannot say writes nothing
/// and returns 0: AUTH, a CONNACK reason without a return code (such as that of a malformed
/// CONNECT), and a DISCONNECT with any reason but Success. A DISCONNECT with Success is a version
/// 3 client's goodbye, `E0 00`; a server never says it. A password without a user name, which 3.1.1
/// forbids, is left out `[MQTT311-3.1.2-22]`.
///
/// A reason code of an acknowledgement or of DISCONNECT always comes with its property length:
/// the shorter forms are legal, but common clients hang on them.
///
/// `max` is the receiver's Maximum Packet Size, whole packet: optional User Properties and then
/// Reason Strings (not the User Properties of a PUBLISH or Will) are left out first
/// `[MQTT5-3.2.2-19]`.
///
/// # Errors
///
/// [`EncodeError::TooLarge`] if it still does not fit or exceeds what a Remaining Length can say;
/// [`EncodeError::FieldTooLong`]. Then `out` is as it was.
///
/// # Panics
///
/// If a PUBLISH with `QoS` above 0 has no Packet Identifier.
#[inline]
pub fn encode(
    packet: &Packet<'_>,
    version: Version,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    match packet {
        Packet::Publish(publish) => put_publish(publish, version == Version::V5, max, out),
        other => put_other(other, version, max, out),
    }
}

/// An answer with nothing but its code, as nearly all are, needs no measuring.
fn is_bare(ack: &Ack<'_>, max: usize) -> bool {
    max >= 6 && ack.reason_string.is_none() && ack.user_properties.is_empty()
}

fn put_bare(first: u8, ack: &Ack<'_>, version: Version, out: &mut Vec<u8>) -> usize {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    if version != Version::V5 || ack.reason == Reason::Success {
        out.extend_from_slice(&[first, 2, high, low]);
        return 4;
    }
    out.extend_from_slice(&[first, 4, high, low, ack.reason as u8, 0]);
    6
}

fn put_publish(
    publish: &Publish<'_>,
    v5: bool,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let topic = publish.topic.as_bytes();
    if topic.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong);
    }
    let packet_id = match publish.qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => {
            Some(publish.packet_id.expect("a PUBLISH above QoS 0 has a Packet Identifier"))
        }
    };
    let forwarded_len = if v5 { publish.properties.forwarded_len() } else { 0 };
    let properties_len = if v5 { own_properties_len(publish) + forwarded_len } else { 0 };
    let body = 2
        + topic.len()
        + if packet_id.is_some() { 2 } else { 0 }
        + if v5 { variable_len(properties_len) + properties_len } else { 0 }
        + publish.payload.len();
    let len = packet_len(body, max)?;
    out.reserve(len);

    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    let [high, low] = (topic.len() as u16).to_be_bytes();
    // In one piece of known size: copying a few bytes of unknown number costs more than a branch.
    match variable_bytes(body) {
        ([length, ..], 1) => out.extend_from_slice(&[0x30 | flags, length, high, low]),
        ([first, second, ..], 2) => {
            out.extend_from_slice(&[0x30 | flags, first, second, high, low]);
        }
        (length, length_len) => {
            out.push(0x30 | flags);
            out.extend_from_slice(&length[..length_len]);
            out.extend_from_slice(&[high, low]);
        }
    }
    out.extend_from_slice(topic);
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    if v5 && properties_len == 0 {
        out.push(0);
    } else if v5 {
        out.variable(properties_len);
        put_own_properties(publish, out);
        if forwarded_len == publish.properties.as_bytes().len() {
            out.extend_from_slice(publish.properties.as_bytes()); // As always in a stored message.
        } else {
            publish.properties.forwarded(out);
        }
    }
    out.extend_from_slice(publish.payload);
    Ok(len)
}

/// Bytes `publish` takes on the wire in the form of `version`, fixed header included.
pub fn publish_len(publish: &Publish<'_>, version: Version) -> usize {
    let properties_len = own_properties_len(publish) + publish.properties.forwarded_len();
    let body = 2
        + publish.topic.len()
        + if publish.qos > QoS::AtMostOnce { 2 } else { 0 }
        + if version == Version::V5 { variable_len(properties_len) + properties_len } else { 0 }
        + publish.payload.len();
    1 + variable_len(body) + body
}

/// Bytes that [`put_own_properties`] writes.
#[inline]
fn own_properties_len(publish: &Publish<'_>) -> usize {
    let ids = publish.subscription_ids.iter().map(|id| 1 + variable_len(*id as usize));
    publish.topic_alias.map_or(0, |_| 3) + publish.expiry.map_or(0, |_| 5) + ids.sum::<usize>()
}

/// Writes the properties that stand in fields of the packet.
fn put_own_properties(publish: &Publish<'_>, out: &mut Vec<u8>) {
    put_u16(out, Property::TopicAlias, publish.topic_alias.map(|alias| alias.get()));
    put_u32(out, Property::MessageExpiryInterval, publish.expiry);
    for id in publish.subscription_ids {
        out.push(Property::SubscriptionIdentifier as u8);
        out.variable(*id as usize);
    }
}

/// The length of a packet with a body of `body` bytes, if it may be sent.
#[inline]
fn packet_len(body: usize, max: usize) -> Result<usize, EncodeError> {
    let len = 1 + variable_len(body) + body;
    if body > VARIABLE_MAX || len > max {
        return Err(EncodeError::TooLarge { len, max: max.min(VARIABLE_MAX + 5) });
    }
    Ok(len)
}

#[inline(never)]
fn put_other(
    packet: &Packet<'_>,
    version: Version,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let Some(first) = first_byte(packet, version) else {
        return Ok(0);
    };
    if let Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) =
        packet
        && is_bare(ack, max)
    {
        return Ok(put_bare(first, ack, version, out));
    }
    let mut form = Form { version, user_properties: true, reason_string: true };
    let (len, body) = loop {
        let mut measure = Measure::default();
        form.body(packet, &mut measure);
        if measure.field_too_long {
            return Err(EncodeError::FieldTooLong);
        }
        match packet_len(measure.len, max) {
            Ok(len) => break (len, measure.len),
            Err(_) if form.user_properties => form.user_properties = false,
            Err(_) if form.reason_string => form.reason_string = false,
            Err(error) => return Err(error),
        }
    };
    out.reserve(len);
    out.push(first);
    out.variable(body);
    form.body(packet, out);
    Ok(len)
}

/// Packet type and flags, if `version` has such a packet at all.
fn first_byte(packet: &Packet<'_>, version: Version) -> Option<u8> {
    let v5 = version == Version::V5;
    let byte = match packet {
        Packet::Connect(_) => 0x10,
        Packet::ConnAck(connack) => {
            if !v5 {
                version3::return_code(connack.reason)?;
            }
            0x20
        }
        Packet::Publish(_) => 0x30,
        Packet::PubAck(_) => 0x40,
        Packet::PubRec(_) => 0x50,
        Packet::PubRel(_) => 0x62,
        Packet::PubComp(_) => 0x70,
        Packet::Subscribe(_) => 0x82,
        Packet::SubAck(_) => 0x90,
        Packet::Unsubscribe(_) => 0xA2,
        Packet::UnsubAck(_) => 0xB0,
        Packet::PingReq => 0xC0,
        Packet::PingResp => 0xD0,
        Packet::Disconnect(disconnect) => {
            (v5 || disconnect.reason == Reason::Success).then_some(0xE0)?
        }
        Packet::Auth(_) => v5.then_some(0xF0)?,
    };
    Some(byte)
}

/// In which form a body is written.
#[derive(Clone, Copy)]
struct Form {
    version: Version,
    /// With the User Properties of the packet itself.
    user_properties: bool,
    /// With the Reason String.
    reason_string: bool,
}

impl Form {
    fn v5(&self) -> bool {
        self.version == Version::V5
    }

    fn body(&self, packet: &Packet<'_>, sink: &mut impl Sink) {
        match packet {
            Packet::Connect(connect) => self.connect(connect, sink),
            Packet::ConnAck(connack) => self.connack(connack, sink),
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => self.ack(ack, sink),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe, sink),
            Packet::SubAck(suback) => self.suback(suback, sink),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe, sink),
            Packet::UnsubAck(unsuback) => self.unsuback(unsuback, sink),
            Packet::Disconnect(disconnect) => self.disconnect(disconnect, sink),
            Packet::Auth(auth) => self.auth(auth, sink),
            Packet::Publish(_) | Packet::PingReq | Packet::PingResp => {}
        }
    }

    fn connect(&self, connect: &Connect<'_>, sink: &mut impl Sink) {
        let (name, level) = match self.version {
            Version::V31 => ("MQIsdp", 3),
            Version::V311 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        let password = connect.password.filter(|_| self.v5() || connect.user_name.is_some());
        let mut flags = u8::from(connect.clean_start) << 1
            | u8::from(password.is_some()) << 6
            | u8::from(connect.user_name.is_some()) << 7;
        if let Some(will) = &connect.will {
            flags |= 1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
        }
        sink.field(name.as_bytes());
        sink.put(&[level, flags]);
        sink.put(&connect.keep_alive.to_be_bytes());
        if self.v5() {
            put_block(sink, &|sink| self.connect_properties(connect, sink));
        }
        sink.field(connect.client_id.as_bytes());
        if let Some(will) = &connect.will {
            if self.v5() {
                put_block(sink, &|sink| will_properties(will, sink));
            }
            sink.field(will.topic.as_bytes());
            sink.field(will.payload);
        }
        if let Some(user_name) = connect.user_name {
            sink.field(user_name.as_bytes());
        }
        if let Some(password) = password {
            sink.field(password);
        }
    }

    fn connect_properties(&self, connect: &Connect<'_>, sink: &mut dyn Sink) {
        let unless = |value: u16, default: u16| (value != default).then_some(value);
        let expiry = Some(connect.session_expiry).filter(|expiry| *expiry != 0);
        put_u32(sink, Property::SessionExpiryInterval, expiry);
        let receive_maximum = unless(connect.receive_maximum.get(), u16::MAX);
        put_u16(sink, Property::ReceiveMaximum, receive_maximum);
        let packet_max = connect.maximum_packet_size.map(|size| size.get());
        put_u32(sink, Property::MaximumPacketSize, packet_max);
        put_u16(sink, Property::TopicAliasMaximum, unless(connect.topic_alias_maximum, 0));
        let response = connect.request_response_information.then_some(true);
        put_flag(sink, Property::RequestResponseInformation, response);
        let problem = (!connect.request_problem_information).then_some(false);
        put_flag(sink, Property::RequestProblemInformation, problem);
        put_text(sink, Property::AuthenticationMethod, connect.authentication_method);
        put_bytes(sink, Property::AuthenticationData, connect.authentication_data);
        self.diagnostics(None, &connect.user_properties, sink);
    }

    fn connack(&self, connack: &ConnAck<'_>, sink: &mut impl Sink) {
        let session_present = u8::from(connack.session_present);
        if self.v5() {
            sink.put(&[session_present, connack.reason as u8]);
            return put_block(sink, &|sink| self.connack_properties(connack, sink));
        }
        let code = version3::return_code(connack.reason).unwrap_or_default();
        // 3.1 has no Session Present: the byte is reserved.
        let known = self.version == Version::V311;
        sink.put(&[if known { session_present } else { 0 }, code]);
    }

    fn connack_properties(&self, connack: &ConnAck<'_>, sink: &mut dyn Sink) {
        put_u32(sink, Property::SessionExpiryInterval, connack.session_expiry);
        let receive_maximum = connack.receive_maximum.map(|maximum| maximum.get());
        put_u16(sink, Property::ReceiveMaximum, receive_maximum);
        let above_0 = connack.maximum_qos.map(|qos| qos != QoS::AtMostOnce);
        put_flag(sink, Property::MaximumQoS, above_0);
        put_flag(sink, Property::RetainAvailable, connack.retain_available);
        let packet_max = connack.maximum_packet_size.map(|size| size.get());
        put_u32(sink, Property::MaximumPacketSize, packet_max);
        put_text(sink, Property::AssignedClientIdentifier, connack.assigned_client_id);
        put_u16(sink, Property::TopicAliasMaximum, connack.topic_alias_maximum);
        put_flag(sink, Property::WildcardSubscriptionAvailable, connack.wildcard_available);
        let ids = connack.subscription_ids_available;
        put_flag(sink, Property::SubscriptionIdentifiersAvailable, ids);
        put_flag(sink, Property::SharedSubscriptionAvailable, connack.shared_available);
        put_u16(sink, Property::ServerKeepAlive, connack.server_keep_alive);
        put_text(sink, Property::ResponseInformation, connack.response_information);
        put_text(sink, Property::ServerReference, connack.server_reference);
        put_text(sink, Property::AuthenticationMethod, connack.authentication_method);
        put_bytes(sink, Property::AuthenticationData, connack.authentication_data);
        self.diagnostics(connack.reason_string, &connack.user_properties, sink);
    }

    fn ack(&self, ack: &Ack<'_>, sink: &mut impl Sink) {
        sink.put(&ack.packet_id.get().to_be_bytes());
        let bare = self.is_bare(ack.reason_string, &ack.user_properties);
        if !self.v5() || (ack.reason == Reason::Success && bare) {
            return;
        }
        sink.put(&[ack.reason as u8]);
        put_block(sink, &|sink| self.diagnostics(ack.reason_string, &ack.user_properties, sink));
    }

    fn subscribe(&self, subscribe: &Subscribe<'_>, sink: &mut impl Sink) {
        sink.put(&subscribe.packet_id.get().to_be_bytes());
        if self.v5() {
            put_block(sink, &|sink| {
                if let Some(id) = subscribe.subscription_id {
                    sink.put(&[Property::SubscriptionIdentifier as u8]);
                    sink.variable(id.get() as usize);
                }
                self.diagnostics(None, &subscribe.user_properties, sink);
            });
        }
        for (filter, options) in &subscribe.filters {
            sink.field(filter.as_bytes());
            sink.put(&[self.subscribe_options(options)]);
        }
    }

    fn subscribe_options(&self, options: &SubscribeOptions) -> u8 {
        if !self.v5() {
            return options.qos as u8;
        }
        options.qos as u8
            | u8::from(options.no_local) << 2
            | u8::from(options.retain_as_published) << 3
            | (options.retain_handling as u8) << 4
    }

    fn suback(&self, suback: &SubAck<'_>, sink: &mut impl Sink) {
        if self.v5() {
            return self.reasons(suback, sink);
        }
        sink.put(&suback.packet_id.get().to_be_bytes());
        for reason in &suback.reasons {
            sink.put(&[version3::suback_code(*reason)]);
        }
    }

    fn unsubscribe(&self, unsubscribe: &Unsubscribe<'_>, sink: &mut impl Sink) {
        sink.put(&unsubscribe.packet_id.get().to_be_bytes());
        if self.v5() {
            put_block(sink, &|sink| self.diagnostics(None, &unsubscribe.user_properties, sink));
        }
        for filter in &unsubscribe.filters {
            sink.field(filter.as_bytes());
        }
    }

    fn unsuback(&self, unsuback: &SubAck<'_>, sink: &mut impl Sink) {
        if self.v5() {
            return self.reasons(unsuback, sink);
        }
        sink.put(&unsuback.packet_id.get().to_be_bytes());
    }

    /// SUBACK and UNSUBACK of version 5.
    fn reasons(&self, suback: &SubAck<'_>, sink: &mut impl Sink) {
        sink.put(&suback.packet_id.get().to_be_bytes());
        put_block(sink, &|sink| {
            self.diagnostics(suback.reason_string, &suback.user_properties, sink);
        });
        for reason in &suback.reasons {
            sink.put(&[*reason as u8]);
        }
    }

    fn disconnect(&self, disconnect: &Disconnect<'_>, sink: &mut impl Sink) {
        if !self.v5() {
            return;
        }
        sink.put(&[disconnect.reason as u8]);
        put_block(sink, &|sink| {
            put_u32(sink, Property::SessionExpiryInterval, disconnect.session_expiry);
            put_text(sink, Property::ServerReference, disconnect.server_reference);
            self.diagnostics(disconnect.reason_string, &disconnect.user_properties, sink);
        });
    }

    fn auth(&self, auth: &Auth<'_>, sink: &mut impl Sink) {
        let bare = auth.method.is_none() && auth.data.is_none();
        let bare = bare && self.is_bare(auth.reason_string, &auth.user_properties);
        if auth.reason == Reason::Success && bare {
            return; // The AUTH of length 0.
        }
        sink.put(&[auth.reason as u8]);
        put_block(sink, &|sink| {
            put_text(sink, Property::AuthenticationMethod, auth.method);
            put_bytes(sink, Property::AuthenticationData, auth.data);
            self.diagnostics(auth.reason_string, &auth.user_properties, sink);
        });
    }

    /// Whether [`Form::diagnostics`] writes nothing.
    fn is_bare(&self, reason_string: Option<&str>, user_properties: &Properties<'_>) -> bool {
        (reason_string.is_none() || !self.reason_string)
            && (user_properties.is_empty() || !self.user_properties)
    }

    /// What is left out first if the packet is too large.
    fn diagnostics(
        &self,
        reason_string: Option<&str>,
        user_properties: &Properties<'_>,
        sink: &mut dyn Sink,
    ) {
        put_text(sink, Property::ReasonString, reason_string.filter(|_| self.reason_string));
        if self.user_properties {
            user_properties.put_users(sink);
        }
    }
}

fn will_properties(will: &Will<'_>, sink: &mut dyn Sink) {
    put_u32(sink, Property::WillDelayInterval, Some(will.delay).filter(|delay| *delay != 0));
    put_u32(sink, Property::MessageExpiryInterval, will.expiry);
    will.properties.put_forwarded(sink);
}

/// The Property Length, and the properties that `properties` writes.
fn put_block(sink: &mut impl Sink, properties: &dyn Fn(&mut dyn Sink)) {
    let mut measure = Measure::default();
    properties(&mut measure);
    sink.variable(measure.len.min(VARIABLE_MAX));
    properties(sink);
}

fn put_flag(sink: &mut dyn Sink, property: Property, value: Option<bool>) {
    if let Some(value) = value {
        sink.put(&[property as u8, u8::from(value)]);
    }
}

fn put_u16(sink: &mut dyn Sink, property: Property, value: Option<u16>) {
    if let Some(value) = value {
        let [high, low] = value.to_be_bytes();
        sink.put(&[property as u8, high, low]);
    }
}

fn put_u32(sink: &mut dyn Sink, property: Property, value: Option<u32>) {
    if let Some(value) = value {
        sink.put(&[property as u8]);
        sink.put(&value.to_be_bytes());
    }
}

fn put_text(sink: &mut dyn Sink, property: Property, value: Option<&str>) {
    put_bytes(sink, property, value.map(str::as_bytes));
}

fn put_bytes(sink: &mut dyn Sink, property: Property, value: Option<&[u8]>) {
    if let Some(value) = value {
        sink.put(&[property as u8]);
        sink.field(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::property::put_user_property;
    use crate::codec::words::PacketId;

    /// What `packet` is on the wire, if it fits into `max` bytes.
    fn check(packet: Packet<'_>, version: Version, max: usize, expected: &[u8]) {
        let mut out = Vec::new();
        let written = encode(&packet, version, max, &mut out);
        assert_eq!(out, expected, "{packet:?} gives {out:02x?}");
        assert_eq!(written, Ok(expected.len()));
    }

    fn ack(reason: Reason) -> Ack<'static> {
        Ack::new(PacketId::new(10).unwrap(), reason)
    }

    #[test]
    fn an_acknowledgement_is_two_bytes_or_has_a_property_length() {
        let all = usize::MAX;
        check(Packet::PubAck(ack(Reason::Success)), Version::V5, all, &[0x40, 2, 0, 10]);
        let found_none = Packet::PubAck(ack(Reason::NoMatchingSubscribers));
        check(found_none.clone(), Version::V5, all, &[0x40, 4, 0, 10, 0x10, 0]);
        check(found_none, Version::V311, all, &[0x40, 2, 0, 10]);
        let unknown = Packet::PubRel(ack(Reason::PacketIdentifierNotFound));
        check(unknown, Version::V5, all, &[0x62, 4, 0, 10, 0x92, 0]);
    }

    #[test]
    fn disconnect_is_never_short_on_version_5_and_only_a_goodbye_on_version_3() {
        for (reason, old) in [(Reason::Success, &[0xE0, 0][..]), (Reason::ServerShuttingDown, &[])]
        {
            let packet = Packet::Disconnect(Disconnect { reason, ..Disconnect::default() });
            check(packet.clone(), Version::V5, usize::MAX, &[0xE0, 2, reason as u8, 0]);
            check(packet.clone(), Version::V311, usize::MAX, old);
            check(packet, Version::V31, usize::MAX, old);
        }
    }

    #[test]
    fn version_3_says_what_it_can_of_a_refused_connect() {
        for (reason, code) in [
            (Reason::Success, Some(0)),
            (Reason::UnsupportedProtocolVersion, Some(1)),
            (Reason::ClientIdentifierNotValid, Some(2)),
            (Reason::ServerUnavailable, Some(3)),
            (Reason::ServerBusy, Some(3)),
            (Reason::QuotaExceeded, Some(3)),
            (Reason::ConnectionRateExceeded, Some(3)),
            (Reason::BadUserNameOrPassword, Some(4)),
            (Reason::NotAuthorized, Some(5)),
            (Reason::Banned, Some(5)),
            (Reason::BadAuthenticationMethod, Some(5)),
            (Reason::MalformedPacket, None),
            (Reason::ProtocolError, None),
            (Reason::TopicNameInvalid, None),
        ] {
            let connack = || Packet::ConnAck(Box::new(ConnAck { reason, ..ConnAck::default() }));
            let expected = code.map(|code| vec![0x20, 2, 0, code]).unwrap_or_default();
            check(connack(), Version::V311, usize::MAX, &expected);
            check(connack(), Version::V5, usize::MAX, &[0x20, 3, 0, reason as u8, 0]);
        }
    }

    #[test]
    fn user_properties_go_before_the_reason_string_and_then_nothing_is_written() {
        let mut block = Vec::new();
        put_user_property(&mut block, "k", "v");
        let user_properties = Properties::trusted(&block);
        let reason_string = Some("no");
        let packet =
            Packet::PubAck(Ack { reason_string, user_properties, ..ack(Reason::NotAuthorized) });
        let whole = [
            &[0x40, 16, 0, 10, 0x87, 12, 0x1F, 0, 2, b'n', b'o'][..],
            &[0x26, 0, 1, b'k', 0, 1, b'v'],
        ]
        .concat();
        check(packet.clone(), Version::V5, 18, &whole);
        let without = [0x40, 9, 0, 10, 0x87, 5, 0x1F, 0, 2, b'n', b'o'];
        check(packet.clone(), Version::V5, 17, &without);
        check(packet.clone(), Version::V5, 10, &[0x40, 4, 0, 10, 0x87, 0]);
        let mut out = vec![1];
        let error = encode(&packet, Version::V5, 5, &mut out);
        assert_eq!(error, Err(EncodeError::TooLarge { len: 6, max: 5 }));
        assert_eq!(out, [1]);
    }

    #[test]
    fn the_user_properties_of_a_message_are_never_left_out() {
        let mut block = Vec::new();
        put_user_property(&mut block, "k", "v");
        let properties = Properties::trusted(&block);
        let packet = Packet::Publish(Publish { topic: "t", properties, ..Publish::default() });
        let mut out = Vec::new();
        let error = encode(&packet, Version::V5, 12, &mut out);
        assert_eq!(error, Err(EncodeError::TooLarge { len: 13, max: 12 }));
        check(packet, Version::V311, 12, &[0x30, 3, 0, 1, b't']);
    }

    #[test]
    fn what_belongs_to_the_senders_hop_is_replaced_by_our_own() {
        // Topic Alias 9, Message Expiry 5, Subscription Identifier 3 as they came in.
        let block = [0x23, 0, 9, 0x01, 1, 0x02, 0, 0, 0, 5, 0x0B, 3];
        let packet = Packet::Publish(Publish {
            topic: "t",
            expiry: Some(4),
            subscription_ids: &[128],
            properties: Properties::trusted(&block),
            ..Publish::default()
        });
        let expected = [0x30, 14, 0, 1, b't', 10, 0x02, 0, 0, 0, 4, 0x0B, 0x80, 0x01, 0x01, 1];
        check(packet, Version::V5, usize::MAX, &expected);
    }

    #[test]
    fn a_string_above_65535_bytes_is_no_packet() {
        let long = "x".repeat(65_536);
        let publish = Packet::Publish(Publish { topic: &long, ..Publish::default() });
        let ack = Packet::PubAck(Ack { reason_string: Some(&long), ..ack(Reason::NotAuthorized) });
        for packet in [publish, ack] {
            let mut out = vec![7];
            let error = encode(&packet, Version::V5, usize::MAX, &mut out);
            assert_eq!((error, out), (Err(EncodeError::FieldTooLong), vec![7]));
        }
    }
}
