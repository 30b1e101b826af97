//! A packet in words and numbers. No password, no authentication data and no payload is in it.

use super::event::{TraceRecord, TraceValue, text};
use crate::codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Properties, Property, Publish, Reason,
    ShownValue, SubAck, Subscribe, Unsubscribe, Version, Will,
};

/// Filters, Reason Codes, properties of one packet that are shown; of more only the number.
const LIST_MAX: usize = 32;

/// The packet's name, and its fields by the names of the API. `topic`: of a PUBLISH, where an alias stands for it.
pub fn describe(packet: &Packet<'_>, topic: Option<&str>) -> (&'static str, TraceRecord) {
    let mut fields = Fields(Vec::new());
    let name = match packet {
        Packet::Connect(connect) => fields.connect(connect),
        Packet::ConnAck(connack) => fields.connack(connack),
        Packet::Publish(publish) => fields.publish(publish, topic),
        Packet::PubAck(ack) => fields.ack("PUBACK", ack),
        Packet::PubRec(ack) => fields.ack("PUBREC", ack),
        Packet::PubRel(ack) => fields.ack("PUBREL", ack),
        Packet::PubComp(ack) => fields.ack("PUBCOMP", ack),
        Packet::Subscribe(subscribe) => fields.subscribe(subscribe),
        Packet::SubAck(suback) => fields.suback("SUBACK", suback),
        Packet::Unsubscribe(unsubscribe) => fields.unsubscribe(unsubscribe),
        Packet::UnsubAck(suback) => fields.suback("UNSUBACK", suback),
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(disconnect) => fields.disconnect(disconnect),
        Packet::Auth(auth) => fields.auth(auth),
    };
    (name, fields.0)
}

struct Fields(TraceRecord);

impl Fields {
    fn put(&mut self, name: &'static str, value: impl Into<TraceValue>) {
        self.0.push((name.into(), value.into()));
    }

    fn put_some(&mut self, name: &'static str, value: Option<impl Into<TraceValue>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Values in order, up to a number.
    fn put_list(&mut self, name: &'static str, values: impl ExactSizeIterator<Item = TraceValue>) {
        let more = values.len().saturating_sub(LIST_MAX);
        self.0.push((name.into(), TraceValue::List(values.take(LIST_MAX).collect())));
        if more > 0 {
            self.0.push((format!("more_{name}").into(), TraceValue::Number(more as u64)));
        }
    }

    fn reason(&mut self, reason: Reason) {
        self.put("reason_code", reason as u8);
        self.put("reason", reason.name());
    }

    fn connect(&mut self, connect: &Connect<'_>) -> &'static str {
        let version = match connect.version {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        };
        self.put("version", version);
        self.put("client_id", connect.client_id);
        self.put("clean_start", connect.clean_start);
        self.put("keep_alive_seconds", connect.keep_alive);
        self.put("session_expiry_seconds", connect.session_expiry);
        self.put("receive_maximum", connect.receive_maximum);
        self.put_some("maximum_packet_bytes", connect.maximum_packet_size);
        self.put("topic_alias_maximum", connect.topic_alias_maximum);
        self.put("request_response_information", connect.request_response_information);
        self.put("request_problem_information", connect.request_problem_information);
        self.put_some("user_name", connect.user_name);
        self.put("has_password", connect.password.is_some());
        self.put_some("authentication_method", connect.authentication_method);
        if let Some(will) = &connect.will {
            self.0.push(("will".into(), will_of(will)));
        }
        self.users(&connect.user_properties);
        "CONNECT"
    }

    fn connack(&mut self, connack: &ConnAck<'_>) -> &'static str {
        self.reason(connack.reason);
        self.put("session_present", connack.session_present);
        self.put_some("session_expiry_seconds", connack.session_expiry);
        self.put_some("receive_maximum", connack.receive_maximum);
        self.put_some("maximum_qos", connack.maximum_qos.map(|qos| qos as u8));
        self.put_some("retain_available", connack.retain_available);
        self.put_some("maximum_packet_bytes", connack.maximum_packet_size);
        self.put_some("assigned_client_id", connack.assigned_client_id);
        self.put_some("topic_alias_maximum", connack.topic_alias_maximum);
        self.put_some("reason_string", connack.reason_string);
        self.put_some("wildcard_available", connack.wildcard_available);
        self.put_some("subscription_ids_available", connack.subscription_ids_available);
        self.put_some("shared_available", connack.shared_available);
        self.put_some("server_keep_alive_seconds", connack.server_keep_alive);
        self.put_some("response_information", connack.response_information);
        self.put_some("server_reference", connack.server_reference);
        self.put_some("authentication_method", connack.authentication_method);
        self.users(&connack.user_properties);
        "CONNACK"
    }

    fn publish(&mut self, publish: &Publish<'_>, topic: Option<&str>) -> &'static str {
        self.put_some("packet_id", publish.packet_id);
        self.put("qos", publish.qos as u8);
        self.put("dup", publish.dup);
        self.put("retain", publish.retain);
        self.put("topic", topic.unwrap_or(publish.topic));
        self.put("payload_bytes", publish.payload.len() as u64);
        self.properties(&publish.properties);
        "PUBLISH"
    }

    fn ack(&mut self, name: &'static str, ack: &Ack<'_>) -> &'static str {
        self.put("packet_id", ack.packet_id);
        self.reason(ack.reason);
        self.put_some("reason_string", ack.reason_string);
        self.users(&ack.user_properties);
        name
    }

    fn subscribe(&mut self, subscribe: &Subscribe<'_>) -> &'static str {
        self.put("packet_id", subscribe.packet_id);
        self.put_some("subscription_id", subscribe.subscription_id);
        let filters = subscribe.filters.iter().map(|(filter, options)| {
            let mut fields = Fields(Vec::new());
            fields.put("filter", *filter);
            fields.put("qos", options.qos as u8);
            fields.put("no_local", options.no_local);
            fields.put("retain_as_published", options.retain_as_published);
            fields.put("retain_handling", options.retain_handling as u8);
            TraceValue::Record(fields.0)
        });
        self.put_list("filters", filters);
        self.rest(subscribe.rest);
        self.users(&subscribe.user_properties);
        "SUBSCRIBE"
    }

    fn suback(&mut self, name: &'static str, suback: &SubAck<'_>) -> &'static str {
        self.put("packet_id", suback.packet_id);
        let codes = suback.reasons.iter().map(|reason| TraceValue::Number(*reason as u64));
        self.put_list("reason_codes", codes);
        self.put_some("reason_string", suback.reason_string);
        self.users(&suback.user_properties);
        name
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> &'static str {
        self.put("packet_id", unsubscribe.packet_id);
        self.put_list("filters", unsubscribe.filters.iter().map(|filter| text(filter)));
        self.rest(unsubscribe.rest);
        self.users(&unsubscribe.user_properties);
        "UNSUBSCRIBE"
    }

    /// Filters that are not decoded yet.
    fn rest(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.put("more_filters_bytes", rest.len() as u64);
        }
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>) -> &'static str {
        self.reason(disconnect.reason);
        self.put_some("session_expiry_seconds", disconnect.session_expiry);
        self.put_some("reason_string", disconnect.reason_string);
        self.put_some("server_reference", disconnect.server_reference);
        self.users(&disconnect.user_properties);
        "DISCONNECT"
    }

    fn auth(&mut self, auth: &Auth<'_>) -> &'static str {
        self.reason(auth.reason);
        self.put_some("authentication_method", auth.method);
        self.put("has_data", auth.data.is_some());
        self.put_some("reason_string", auth.reason_string);
        self.users(&auth.user_properties);
        "AUTH"
    }

    /// The properties of a message.
    fn properties(&mut self, properties: &Properties<'_>) {
        let ids = properties.subscription_ids();
        if !ids.is_empty() {
            self.put_list("subscription_ids", ids.into_iter().map(TraceValue::from));
        }
        for (property, value) in properties.shown() {
            let name = || property.name().to_lowercase().replace(' ', "_");
            let (name, value) = match value {
                // They have names of their own.
                _ if matches!(
                    property,
                    Property::SubscriptionIdentifier | Property::WillDelayInterval
                ) =>
                {
                    continue;
                }
                ShownValue::Flag(flag) => (name(), flag.into()),
                ShownValue::Number(number) => (name(), number.into()),
                ShownValue::Text(value) => (name(), text(value)),
                ShownValue::Binary(bytes) => {
                    (name() + "_bytes", TraceValue::Number(bytes.len() as u64))
                }
                ShownValue::Pair(..) => continue,
            };
            self.0.push((name.into(), value));
        }
        self.users(properties);
    }

    /// The User Properties of a block, each a list of name and value.
    fn users(&mut self, properties: &Properties<'_>) {
        let users = properties.user_properties();
        if !users.is_empty() {
            let pair =
                |(name, value): (&str, &str)| TraceValue::List(vec![text(name), text(value)]);
            self.put_list("user_properties", users.into_iter().map(pair));
        }
    }
}

fn will_of(will: &Will<'_>) -> TraceValue {
    let mut fields = Fields(Vec::new());
    fields.put("topic", will.topic);
    fields.put("qos", will.qos as u8);
    fields.put("retain", will.retain);
    fields.put("delay_seconds", will.delay);
    fields.put("payload_bytes", will.payload.len() as u64);
    fields.properties(&will.properties);
    TraceValue::Record(fields.0)
}
