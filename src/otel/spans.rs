//! Spans from the stages of sampled messages.
//!
//! A message that comes in is a span `receive`, a child of its publisher's span if it brings a valid `traceparent`,
//! else the first of a new trace. Its children are `commit` (until the store has it) and for each receiver `deliver`
//! (from the queue until it is sent); a child of that is `acknowledge` (until the client has acknowledged it). The time
//! of a stage is that of its turn: what takes no turn in between takes no time, as `receive` does.
//!
//! What is remembered of messages has a bound; the oldest are forgotten, and what becomes of them later is no span.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use crate::broker::trace::{TraceEvent, TraceParent, TraceValue, mixed};
use crate::time::Time;

/// A span that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelSpan {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// It.
    pub span_id: [u8; 8],
    /// The span above it.
    pub parent: Option<[u8; 8]>,
    /// What was done.
    pub name: &'static str,
    /// Which side of what was done it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: Time,
    /// When it was over.
    pub end: Time,
    /// What is said of it, by the names of OpenTelemetry.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// Why it has failed.
    pub error: Option<String>,
}

/// Which side of what was done a span is; the numbers are those of OTLP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpanKind {
    /// Within the broker.
    Internal = 1,
    /// The broker waits for an answer.
    Client = 3,
    /// The broker sends.
    Producer = 4,
    /// The broker receives.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AttributeValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

/// Makes spans.
#[derive(Debug)]
pub struct SpanMaker {
    seed: u64,
    messages: BTreeMap<u64, SpannedMessage>,
    /// Their numbers, the oldest first.
    order: VecDeque<u64>,
    /// Copies of all messages together.
    copies: usize,
}

/// A sampled message.
#[derive(Debug)]
struct SpannedMessage {
    trace_id: [u8; 16],
    parent: Option<[u8; 8]>,
    receive: [u8; 8],
    received: Time,
    topic: String,
    /// By receiver.
    copies: BTreeMap<CopyOf, SpannedCopy>,
}

/// The receiver of a copy.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum CopyOf {
    Client(String),
    Group(String),
}

/// A copy on its way.
#[derive(Debug)]
struct SpannedCopy {
    /// When it was queued, or sent if it was.
    since: Time,
    /// The span of its delivery, once it was sent.
    deliver: Option<[u8; 8]>,
}

/// Messages that are remembered.
const MESSAGES_MAX: usize = 4096;
/// Copies of theirs, all together.
const COPIES_MAX: usize = 16_384;

impl SpanMaker {
    /// The numbers of new traces and of spans come from `seed`.
    pub fn new(seed: u64) -> SpanMaker {
        SpanMaker { seed, messages: BTreeMap::new(), order: VecDeque::new(), copies: 0 }
    }

    /// A stage of a sampled message: adds the spans that are over with it.
    pub fn take(&mut self, event: &TraceEvent, spans: &mut Vec<OtelSpan>) {
        let (Some(number), Some(stage)) = (number(event, "message"), text(event, "stage")) else {
            return;
        };
        if stage == "published" {
            return self.publish(number, event, spans);
        }
        let span_id = self.span_id();
        let Some(message) = self.messages.get_mut(&number) else { return };
        let before = message.copies.len();
        match stage {
            "committed" => spans.push(message.commit(span_id, event)),
            "queued" => message.queue(event),
            "sent" => spans.extend(message.send(span_id, event)),
            "acknowledged" => spans.extend(message.acknowledge(span_id, event)),
            "lost" => spans.push(message.lose(span_id, event)),
            _ => {}
        }
        self.copies = self.copies + message.copies.len() - before;
        self.forget_oldest();
    }

    fn publish(&mut self, number: u64, event: &TraceEvent, spans: &mut Vec<OtelSpan>) {
        let parent = text(event, "traceparent").and_then(TraceParent::parse);
        let trace_id = parent.map_or_else(|| self.trace_id(), |parent| parent.trace_id);
        let message = SpannedMessage {
            trace_id,
            parent: parent.map(|parent| parent.span_id),
            receive: self.span_id(),
            received: event.time,
            topic: text(event, "topic").unwrap_or_default().to_owned(),
            copies: BTreeMap::new(),
        };
        let mut span = message.span(message.receive, message.parent, event);
        span.is("receive", SpanKind::Consumer, Some("receive"));
        span.copy_of(event);
        if let Some(bytes) = self::number(event, "payload_bytes") {
            span.attributes.push(("messaging.message.body.size", AttributeValue::Number(bytes)));
        }
        if let Some(TraceValue::Flag(retain)) = event.field("retain") {
            span.attributes.push(("messaging.mqtt.retain", AttributeValue::Flag(*retain)));
        }
        spans.push(span);
        if let Some(old) = self.messages.insert(number, message) {
            self.copies -= old.copies.len();
        } else {
            self.order.push_back(number);
        }
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        while self.messages.len() > MESSAGES_MAX || self.copies > COPIES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(old) = self.messages.remove(&oldest) {
                self.copies -= old.copies.len();
            }
        }
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        // All zeros are no number.
        mixed(self.seed).max(1)
    }

    fn span_id(&mut self) -> [u8; 8] {
        self.random().to_be_bytes()
    }

    fn trace_id(&mut self) -> [u8; 16] {
        (u128::from(self.random()) << 64 | u128::from(self.random())).to_be_bytes()
    }
}

impl SpannedMessage {
    fn commit(&self, span_id: [u8; 8], event: &TraceEvent) -> OtelSpan {
        let mut span = self.span(span_id, Some(self.receive), event);
        span.start = self.received;
        span.is("commit", SpanKind::Internal, None);
        span
    }

    fn queue(&mut self, event: &TraceEvent) {
        if let Some(receiver) = CopyOf::of(event) {
            self.copies.insert(receiver, SpannedCopy { since: event.time, deliver: None });
        }
    }

    fn send(&mut self, span_id: [u8; 8], event: &TraceEvent) -> Option<OtelSpan> {
        let client = CopyOf::Client(text(event, "client_id")?.to_owned());
        // One of a group was queued for the group; what is retained, or sent again, was not queued for it.
        let group = text(event, "group").map(|group| CopyOf::Group(group.to_owned()));
        let queued = self.copies.remove(group.as_ref().unwrap_or(&client));
        let queued = queued.filter(|copy| copy.deliver.is_none());
        let mut span = self.span(span_id, Some(self.receive), event);
        span.start = queued.map_or(event.time, |copy| copy.since);
        span.is("deliver", SpanKind::Producer, Some("send"));
        span.copy_of(event);
        if number(event, "packet_id").is_some() {
            self.copies.insert(client, SpannedCopy { since: event.time, deliver: Some(span_id) });
        }
        Some(span)
    }

    fn acknowledge(&mut self, span_id: [u8; 8], event: &TraceEvent) -> Option<OtelSpan> {
        let client = CopyOf::of(event)?;
        let code = number(event, "reason_code").unwrap_or_default();
        let is_refused = code >= 0x80;
        // At QoS 2 it is over with PUBCOMP.
        if text(event, "by") == Some("PUBREC") && !is_refused {
            return None;
        }
        let copy = self.copies.remove(&client)?;
        let mut span = self.span(span_id, Some(copy.deliver.unwrap_or(self.receive)), event);
        span.start = copy.since;
        span.is("acknowledge", SpanKind::Client, Some("settle"));
        span.copy_of(event);
        span.attributes.push(("messaging.mqtt.reason_code", AttributeValue::Number(code)));
        if is_refused {
            span.fail(text(event, "reason").unwrap_or_default());
        }
        Some(span)
    }

    /// The end of a copy, or of the message itself if it may not come in.
    fn lose(&mut self, span_id: [u8; 8], event: &TraceEvent) -> OtelSpan {
        let copy = CopyOf::of(event).and_then(|receiver| self.copies.remove(&receiver));
        let deliver = copy.as_ref().and_then(|copy| copy.deliver);
        let mut span = self.span(span_id, Some(deliver.unwrap_or(self.receive)), event);
        span.start = copy.map_or(event.time, |copy| copy.since);
        match (CopyOf::of(event), deliver) {
            (None, _) => span.is("refuse", SpanKind::Internal, None),
            (Some(_), None) => span.is("deliver", SpanKind::Producer, Some("send")),
            (Some(_), Some(_)) => span.is("acknowledge", SpanKind::Client, Some("settle")),
        }
        span.copy_of(event);
        span.fail(text(event, "reason").unwrap_or_default());
        span
    }

    fn span(&self, span_id: [u8; 8], parent: Option<[u8; 8]>, event: &TraceEvent) -> OtelSpan {
        OtelSpan {
            trace_id: self.trace_id,
            span_id,
            parent,
            name: "",
            kind: SpanKind::Internal,
            start: event.time,
            end: event.time,
            attributes: vec![
                ("messaging.system", AttributeValue::Text("mqtt".into())),
                ("messaging.destination.name", AttributeValue::Text(self.topic.clone().into())),
            ],
            error: None,
        }
    }
}

impl OtelSpan {
    fn is(&mut self, name: &'static str, kind: SpanKind, operation: Option<&'static str>) {
        (self.name, self.kind) = (name, kind);
        self.attributes.push(("messaging.operation.name", AttributeValue::Text(name.into())));
        let operation = operation.map(|operation| AttributeValue::Text(operation.into()));
        self.attributes.extend(operation.map(|value| ("messaging.operation.type", value)));
    }

    /// What a stage says of the client and of the copy.
    fn copy_of(&mut self, event: &TraceEvent) {
        let texts =
            [("client_id", "messaging.client.id"), ("group", "messaging.consumer.group.name")];
        for (field, name) in texts {
            let value =
                text(event, field).map(|value| AttributeValue::Text(value.to_owned().into()));
            self.attributes.extend(value.map(|value| (name, value)));
        }
        let qos = number(event, "qos").map(AttributeValue::Number);
        self.attributes.extend(qos.map(|qos| ("messaging.mqtt.qos", qos)));
        if let Some(TraceValue::Flag(true)) = event.field("dup") {
            self.attributes.push(("messaging.mqtt.dup", AttributeValue::Flag(true)));
        }
    }

    fn fail(&mut self, why: &str) {
        self.attributes.push(("error.type", AttributeValue::Text(why.to_owned().into())));
        self.error = Some(why.to_owned());
    }
}

impl CopyOf {
    /// The receiver that a stage names.
    fn of(event: &TraceEvent) -> Option<CopyOf> {
        let client = text(event, "client_id").map(|client| CopyOf::Client(client.to_owned()));
        client.or_else(|| text(event, "group").map(|group| CopyOf::Group(group.to_owned())))
    }
}

fn text<'e>(event: &'e TraceEvent, name: &str) -> Option<&'e str> {
    match event.field(name) {
        Some(TraceValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn number(event: &TraceEvent, name: &str) -> Option<u64> {
    match event.field(name) {
        Some(TraceValue::Number(number)) => Some(*number),
        _ => None,
    }
}
