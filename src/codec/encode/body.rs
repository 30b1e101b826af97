//! Bodies of all packets but PUBLISH. Each is written by one function, run twice: into a
//! [`Measure`] to know the length, then into the buffer.

use super::fields::{put_bytes, put_flag, put_text, put_u16, put_u32};
use crate::codec::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe, Will,
};
use crate::codec::property::{Properties, Property};
use crate::codec::reason::Reason;
use crate::codec::version3;
use crate::codec::wire::{Measure, Sink, VARIABLE_MAX};
use crate::codec::words::{BRIDGE, QoS, Version};

/// In which form a body is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    version: Version,
    /// With the User Properties of the packet itself.
    user_properties: bool,
    /// With the Reason String.
    reason_string: bool,
}

impl Form {
    /// With everything that `version` has.
    pub(super) fn new(version: Version) -> Form {
        Form { version, user_properties: true, reason_string: true }
    }

    /// Leaves out what is next to be left out; `false` if there is nothing.
    pub(super) fn shorten(&mut self) -> bool {
        if self.user_properties {
            self.user_properties = false;
            return true;
        }
        std::mem::take(&mut self.reason_string)
    }

    fn v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Writes the body of any packet but a PUBLISH.
    pub(super) fn body(&self, packet: &Packet<'_>, sink: &mut impl Sink) {
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
        let level = if connect.bridge && !self.v5() { level | BRIDGE } else { level };
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
        sink.put(subscribe.rest);
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
        sink.put(unsubscribe.rest);
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
