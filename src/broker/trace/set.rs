//! The traces that are on, as turns see them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::describe::describe;
use super::event::{TraceEvent, TraceKind, TraceRecord, TraceValue, text};
use super::following::{Followed, Following};
use super::order::{TooManyTraces, TraceOf, TraceOrder};
use super::parent::TraceParent;
use super::sampling::Sampling;
use crate::codec::{Packet, PacketId};
use crate::message::{Draft, GroupId};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::TopicName;

/// All traces of a broker.
#[derive(Debug, Default)]
pub struct Traces {
    /// Another one after each change; 0: no trace is on.
    version: AtomicU64,
    /// One is on that is of packets.
    shows_packets: AtomicBool,
    now: Mutex<Option<Arc<TraceSet>>>,
    /// The messages that they follow.
    pub following: Following,
}

/// The traces of one moment: at least one.
#[derive(Debug)]
pub struct TraceSet {
    traces: Vec<Arc<Trace>>,
    /// One of them is of packets.
    shows_packets: bool,
}

/// One trace.
#[derive(Debug)]
pub struct Trace {
    order: TraceOrder,
    queue: Mutex<TraceQueue>,
}

#[derive(Debug, Default)]
struct TraceQueue {
    events: VecDeque<TraceEvent>,
    bytes: usize,
    /// Events ever taken in.
    accepted: u64,
    missed: u64,
    /// One had no room: no other has, until what waits is taken.
    is_full: bool,
}

/// What was taken from a trace.
#[derive(Debug, Default)]
pub struct TakenEvents {
    /// The events, the oldest first.
    pub events: Vec<TraceEvent>,
    /// Events since the last time that there was no room for.
    pub missed: u64,
    /// It has had as many events as it was to have: no other comes.
    pub is_over: bool,
}

/// The traces as one turn sees them, and what of the turn they are to be told.
#[derive(Debug, Default)]
pub struct Traced {
    version: u64,
    set: Option<Arc<TraceSet>>,
    /// The client of the link in its turn.
    pub client: Option<Arc<str>>,
    /// The Packet Identifier of the PUBLISH that is being routed.
    pub packet_id: Option<PacketId>,
    /// The message that is being sent, if it is followed; and the group it comes from.
    pub in_hand: Option<(Followed, Option<GroupId>)>,
    /// The message that was routed last, if it is sampled.
    pub sampled: Option<Followed>,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// A packet that traces are shown.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub client: &'a str,
    pub direction: Direction,
    pub packet: &'a Packet<'a>,
    /// Of a PUBLISH, what its alias stands for.
    pub topic: Option<&'a str>,
    /// Its length.
    pub len: usize,
}

/// Events of one trace that wait, and their bytes.
pub const EVENTS_MAX: usize = 1024;
const BYTES_MAX: usize = 1024 * 1024;

/// Versions are unique over all brokers of the process: threads' memories outlive a broker.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

impl Traces {
    pub fn begin(&self, trace: Arc<Trace>, most: usize) -> Result<(), TooManyTraces> {
        let now = &mut *self.lock();
        let mut traces = now.as_ref().map_or_else(Vec::new, |set| set.traces.clone());
        let others = traces.iter().filter(|trace| trace.sampling().is_none()).count();
        if others >= most && trace.sampling().is_none() {
            return Err(TooManyTraces(others));
        }
        traces.push(trace);
        self.change(now, traces);
        Ok(())
    }

    pub fn end(&self, trace: &Arc<Trace>) {
        let now = &mut *self.lock();
        let mut traces = now.as_ref().map_or_else(Vec::new, |set| set.traces.clone());
        traces.retain(|other| !Arc::ptr_eq(other, trace));
        self.change(now, traces);
    }

    /// Whether a trace is on.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.version.load(Ordering::Relaxed) != 0
    }

    /// Whether a trace of packets is on.
    pub fn shows_packets(&self) -> bool {
        self.shows_packets.load(Ordering::Relaxed)
    }

    /// The traces that are on, for what is rare and has no turn at hand.
    pub fn current(&self) -> Option<Arc<TraceSet>> {
        self.lock().clone()
    }

    /// What a turn begins with: one look at a number, if nothing has changed.
    #[inline]
    pub fn renew(&self, traced: &mut Traced) {
        let version = self.version.load(Ordering::Relaxed);
        if version != traced.version {
            self.look(version, traced);
        }
    }

    #[cold]
    fn look(&self, version: u64, traced: &mut Traced) {
        *traced = Traced { version, set: self.lock().clone(), ..Traced::default() };
    }

    fn change(&self, now: &mut Option<Arc<TraceSet>>, traces: Vec<Arc<Trace>>) {
        if traces.is_empty() {
            self.following.forget();
        }
        let is_on = !traces.is_empty();
        let shows_packets = traces.iter().any(|trace| trace.sampling().is_none());
        self.shows_packets.store(shows_packets, Ordering::Relaxed);
        *now = is_on.then(|| Arc::new(TraceSet { traces, shows_packets }));
        let version = if is_on { VERSIONS.fetch_add(1, Ordering::Relaxed) } else { 0 };
        self.version.store(version, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<TraceSet>>> {
        whole(self.now.lock())
    }
}

impl Traced {
    /// A trace is on.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.set.is_some()
    }

    /// The traces that are on.
    pub fn set(&self) -> Option<&Arc<TraceSet>> {
        self.set.as_ref()
    }

    /// A trace of packets is on.
    pub fn shows_packets(&self) -> bool {
        self.set.as_ref().is_some_and(|set| set.shows_packets())
    }
}

impl TraceSet {
    /// Whether a trace follows the messages of this topic and publisher, or to this receiver.
    pub fn follows(&self, topic: TopicName<'_>, publisher: &str, receiver: Option<&str>) -> bool {
        self.traces.iter().any(|trace| trace.follows(topic, publisher, receiver))
    }

    /// One of them is of packets.
    pub fn shows_packets(&self) -> bool {
        self.shows_packets
    }

    /// The sample that is taken, if one is.
    pub fn sampling(&self) -> Option<&Sampling> {
        self.traces.iter().find_map(|trace| trace.sampling())
    }

    /// Whether a message of a client is sampled.
    pub fn samples(&self, draft: &Draft<'_>, publisher: &str, now: Time) -> bool {
        // What the broker itself publishes has no Client Identifier.
        let Some(sampling) = self.sampling().filter(|_| !publisher.is_empty()) else {
            return false;
        };
        let parent = TraceParent::text_of(&draft.properties).and_then(TraceParent::parse);
        sampling.chooses(parent, now)
    }

    /// Shows a packet to the traces that want it.
    pub fn show(&self, seen: &Seen<'_>, now: Time) {
        let topic = seen.topic.map(TopicName::trusted);
        let wants = |trace: &&Arc<Trace>| {
            (trace.is_of(seen.client) || topic.is_some_and(|topic| trace.fits(topic)))
                && trace.has_room()
        };
        let mut wanted = self.traces.iter().filter(wants).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let (name, fields) = describe(seen.packet, seen.topic);
        for trace in wanted {
            let mut fields = fields.clone();
            if let Packet::Publish(publish) = seen.packet {
                put_payload(publish.payload, trace.order.payload_max, &mut fields);
            }
            fields.push(("packet_bytes".into(), TraceValue::Number(seen.len as u64)));
            let fields = vec![
                ("client_id".into(), text(seen.client)),
                ("direction".into(), text(seen.direction.name())),
                ("packet".into(), text(name)),
                ("fields".into(), TraceValue::Record(fields)),
            ];
            trace.push(TraceEvent { kind: TraceKind::Packet, time: now, fields });
        }
    }

    /// Tells the traces that follow a message of a stage of its journey: the name of the stage, its receiver if it
    /// has one, and more.
    pub fn tell(
        &self,
        followed: &Followed,
        (stage, receiver): (&'static str, Option<&str>),
        more: TraceRecord,
        now: Time,
    ) {
        let (topic, publisher) = (TopicName::trusted(&followed.topic), &*followed.publisher);
        let wants = |trace: &&Arc<Trace>| {
            (trace.samples(followed) || trace.follows(topic, publisher, receiver))
                && trace.has_room()
        };
        for trace in self.traces.iter().filter(wants) {
            trace.push(told(followed, (stage, receiver), more.clone(), now));
        }
    }

    /// The same as [`TraceSet::follows`] where the receivers are many.
    pub fn follows_one_of(
        &self,
        topic: TopicName<'_>,
        publisher: &str,
        is_receiver: impl Fn(&str) -> bool,
    ) -> bool {
        let follows = |trace: &Arc<Trace>| trace.follows_one_of(topic, publisher, &is_receiver);
        self.traces.iter().any(follows)
    }

    /// Tells the traces that follow a message, or one of its receivers, that it is published, with its payload if
    /// they show it.
    pub fn tell_published(
        &self,
        followed: &Followed,
        draft: &Draft<'_>,
        is_receiver: impl Fn(&str) -> bool,
        (more, now): (TraceRecord, Time),
    ) {
        let (topic, publisher) = (TopicName::trusted(&followed.topic), &*followed.publisher);
        let wants = |trace: &&Arc<Trace>| {
            (trace.samples(followed) || trace.follows_one_of(topic, publisher, &is_receiver))
                && trace.has_room()
        };
        for trace in self.traces.iter().filter(wants) {
            let mut event = told(followed, ("published", None), more.clone(), now);
            put_payload(draft.payload, trace.order.payload_max, &mut event.fields);
            if trace.sampling().is_some() {
                let parent = TraceParent::text_of(&draft.properties);
                event.fields.extend(parent.map(|parent| ("traceparent".into(), text(parent))));
            }
            trace.push(event);
        }
    }
}

fn told(
    followed: &Followed,
    (stage, receiver): (&'static str, Option<&str>),
    more: TraceRecord,
    now: Time,
) -> TraceEvent {
    let mut fields = vec![
        ("message".into(), followed.number.into()),
        ("topic".into(), text(&followed.topic)),
        ("stage".into(), text(stage)),
    ];
    fields.extend(receiver.map(|receiver| ("client_id".into(), text(receiver))));
    fields.extend(more);
    TraceEvent { kind: TraceKind::Journey, time: now, fields }
}

/// The payload, if the trace shows it, cut at a length.
fn put_payload(payload: &[u8], max: usize, fields: &mut TraceRecord) {
    if max == 0 {
        return;
    }
    let shown = &payload[..payload.len().min(max)];
    fields.push(("payload_base64".into(), TraceValue::Bytes(shown.to_vec())));
    if shown.len() < payload.len() {
        fields.push(("payload_is_cut".into(), true.into()));
    }
}

impl Trace {
    pub fn new(order: TraceOrder) -> Trace {
        Trace { order, queue: Mutex::default() }
    }

    /// Takes out what waits.
    pub fn take(&self) -> TakenEvents {
        let queue = &mut *self.lock();
        (queue.bytes, queue.is_full) = (0, false);
        TakenEvents {
            events: queue.events.drain(..).collect(),
            missed: std::mem::take(&mut queue.missed),
            is_over: queue.accepted >= self.order.events_max,
        }
    }

    /// Whether an event is worth making. One that would have no room is missed already.
    fn has_room(&self) -> bool {
        let queue = &mut *self.lock();
        let is_over = queue.accepted >= self.order.events_max;
        if queue.is_full && !is_over {
            queue.missed += 1;
        }
        !queue.is_full && !is_over
    }

    fn push(&self, event: TraceEvent) {
        let queue = &mut *self.lock();
        if queue.accepted >= self.order.events_max {
            return;
        }
        let bytes = event.bytes();
        queue.is_full = queue.is_full
            || queue.events.len() >= EVENTS_MAX
            || (queue.bytes + bytes > BYTES_MAX && !queue.events.is_empty());
        if queue.is_full {
            queue.missed += 1;
            return;
        }
        queue.accepted += 1;
        queue.bytes += bytes;
        queue.events.push_back(event);
    }

    fn sampling(&self) -> Option<&Sampling> {
        match &self.order.of {
            TraceOf::Sample(sampling) => Some(sampling),
            _ => None,
        }
    }

    fn samples(&self, followed: &Followed) -> bool {
        followed.is_sampled() && self.sampling().is_some()
    }

    fn is_of(&self, client: &str) -> bool {
        matches!(&self.order.of, TraceOf::Client(of) if **of == *client)
    }

    fn fits(&self, topic: TopicName<'_>) -> bool {
        matches!(&self.order.of, TraceOf::Filter(filter) if filter.matches(topic))
    }

    fn follows(&self, topic: TopicName<'_>, publisher: &str, receiver: Option<&str>) -> bool {
        match &self.order.of {
            TraceOf::Client(client) => **client == *publisher || receiver == Some(&**client),
            TraceOf::Filter(filter) => filter.matches(topic),
            TraceOf::Sample(_) => false,
        }
    }

    fn follows_one_of(
        &self,
        topic: TopicName<'_>,
        publisher: &str,
        is_receiver: &impl Fn(&str) -> bool,
    ) -> bool {
        let receives = matches!(&self.order.of, TraceOf::Client(client) if is_receiver(client));
        receives || self.follows(topic, publisher, None)
    }

    fn lock(&self) -> MutexGuard<'_, TraceQueue> {
        whole(self.queue.lock())
    }
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}
