//! Application Messages, who sent them, and a message on its way to one receiver.

mod ids;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::codec::{Properties, QoS};
use crate::time::Time;
use crate::topic::TopicName;

pub use ids::{GroupId, Mid, ReceiverId, ReceiverKind, SessionId};

/// A Client Identifier `[MQTT5-3.1.3-2]`: compared byte by byte. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Takes `text`, which the codec has checked.
    pub fn new(text: &str) -> ClientId {
        ClientId(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Client Identifiers come from strangers: no control characters in a log line.
        write!(f, "{}", self.0.escape_debug())
    }
}

/// Bytes of messages held in memory, each message counted once however many wait for it.
///
/// Threads note their own comings and goings and bring them in with [`Meter::settle`], once a turn:
/// one line of memory that all processors write for every message would cost more than the rest.
#[derive(Debug, Default)]
pub struct Meter(AtomicI64);

thread_local! {
    /// What this thread has not brought in yet, and to which meter.
    static UNSETTLED: Cell<(Option<&'static Meter>, i64)> = const { Cell::new((None, 0)) };
}

impl Meter {
    /// A meter that stays until the process ends, as does the broker it belongs to: a message is
    /// then counted without counting who counts.
    pub fn forever() -> &'static Meter {
        Box::leak(Box::default())
    }

    /// Bytes held now, as far as threads have settled; this one has.
    pub fn bytes(&'static self) -> u64 {
        self.settle();
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The same without settling: what other threads do in their turns now is not in it.
    pub fn about(&'static self) -> u64 {
        let unsettled = match UNSETTLED.get() {
            (Some(meter), bytes) if std::ptr::eq(meter, self) => bytes,
            _ => 0,
        };
        u64::try_from(self.0.load(Ordering::Relaxed) + unsettled).unwrap_or(0)
    }

    /// Brings in what this thread has noted.
    pub fn settle(&'static self) {
        if let (Some(meter), bytes) = UNSETTLED.get()
            && bytes != 0
        {
            meter.0.fetch_add(bytes, Ordering::Relaxed);
            UNSETTLED.set((Some(meter), 0));
        }
    }

    fn note(&'static self, bytes: i64) {
        let (meter, before) = UNSETTLED.get();
        if meter.is_some_and(|meter| std::ptr::eq(meter, self)) {
            UNSETTLED.set((meter, before + bytes));
        } else {
            self.settle();
            UNSETTLED.set((Some(self), bytes));
        }
    }
}

/// Who is connected under a Client Identifier, or published a message.
#[derive(Debug)]
pub struct Identity {
    /// The Client Identifier; empty for the broker itself.
    pub client_id: ClientId,
    /// The user name the Session was made under.
    pub user_name: Option<Arc<str>>,
    meter: &'static Meter,
}

impl Identity {
    /// An identity whose messages are counted by `meter`.
    pub fn new(
        client_id: ClientId,
        user_name: Option<Arc<str>>,
        meter: &'static Meter,
    ) -> Identity {
        Identity { client_id, user_name, meter }
    }

    /// The meter its messages are counted by.
    pub fn meter(&self) -> &'static Meter {
        self.meter
    }
}

/// A message before anybody wanted it: borrowed from the packet it came in.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Topic Name.
    pub topic: TopicName<'a>,
    /// Quality of service it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
    /// What is forwarded with it.
    pub properties: Properties<'a>,
    /// Application Message.
    pub payload: &'a [u8],
}

impl Draft<'_> {
    /// Bytes the message of `publisher` will hold in memory.
    pub fn bytes(&self, publisher: &Identity) -> usize {
        self.parts(publisher, Time::START).bytes()
    }

    /// Makes the owned message, received at `now`.
    pub fn into_message(&self, publisher: &Identity, now: Time) -> Message {
        Message::new(&self.parts(publisher, now), publisher.meter)
    }

    fn parts<'p>(&'p self, publisher: &'p Identity, now: Time) -> Parts<'p> {
        Parts {
            topic: self.topic.as_str(),
            properties: self.properties,
            payload: self.payload,
            publisher: publisher.client_id.as_str(),
            user_name: publisher.user_name.as_deref(),
            qos: self.qos,
            retain: self.retain,
            received: now,
            expires: match self.expiry {
                Some(seconds) => now.after(Duration::from_secs(seconds.into())),
                None => Time::NEVER,
            },
        }
    }
}

/// All that a message says: for stores, which write it down and make it again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts<'a> {
    /// Topic Name.
    pub topic: &'a str,
    /// What is forwarded with it, in order.
    pub properties: Properties<'a>,
    /// Application Message.
    pub payload: &'a [u8],
    /// Client Identifier of its publisher.
    pub publisher: &'a str,
    /// User name of its publisher.
    pub user_name: Option<&'a str>,
    /// Quality of service it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// When the broker received it.
    pub received: Time,
    /// When it ends.
    pub expires: Time,
}

impl Parts<'_> {
    /// Bytes that a message of these parts holds in memory.
    pub fn bytes(&self) -> usize {
        OVERHEAD + self.texts_len() + self.body_len()
    }

    fn texts_len(&self) -> usize {
        self.topic.len() + self.publisher.len() + self.user_name.map_or(0, str::len)
    }

    fn body_len(&self) -> usize {
        self.properties.as_bytes().len() + self.payload.len()
    }
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).expect("a packet is below 256 MiB")
}

/// An Application Message somebody wants, shared by all who want it: topic, properties, payload and
/// who published it. It refers to nothing that its publisher's thread counts.
///
/// The last one who drops a small one leaves its memory to the next message its thread makes.
#[derive(Clone, Debug)]
pub struct Message(
    /// `None` only while it is dropped.
    Option<Arc<Written>>,
);

#[derive(Debug, Default)]
struct Written {
    head: Head,
    /// Topic, publisher and its user name: apart from what need not be text, so that nobody has to
    /// make sure again that this is.
    texts: String,
    /// Properties and payload.
    body: Vec<u8>,
}

/// What is said of a message beside its texts.
#[derive(Debug, Default)]
pub struct Head {
    publisher_at: u32,
    /// `u32::MAX`: its publisher had no user name.
    user_at: u32,
    payload_at: u32,
    bytes: u32,
    /// Quality of service it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// When the broker received it.
    pub received: Time,
    /// When it ends; [`Time::NEVER`] without a Message Expiry Interval.
    pub expires: Time,
    /// 0: the store does not have it, or not under a number.
    mid: AtomicU64,
    /// `None`: not counted (any more).
    meter: Option<&'static Meter>,
}

/// Bytes a message takes beside its texts, with the two counters of those who share it.
const OVERHEAD: usize = size_of::<Written>() + 2 * size_of::<usize>();

/// A thread keeps the memory of so many messages, with texts of so many bytes each at most.
const SPARE_MAX: usize = 256;
const SPARE_BYTES: usize = 512;

thread_local! {
    static SPARE: RefCell<Vec<Arc<Written>>> = const { RefCell::new(Vec::new()) };
}

impl Deref for Message {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.written().head
    }
}

impl Message {
    /// A message of `parts`, counted by `meter`.
    pub fn new(parts: &Parts<'_>, meter: &'static Meter) -> Message {
        let (texts_len, body_len) = (parts.texts_len(), parts.body_len());
        let small = texts_len.max(body_len) <= SPARE_BYTES;
        let spare = if small { SPARE.with_borrow_mut(Vec::pop) } else { None };
        let mut shared = spare.unwrap_or_default();
        let written = Arc::get_mut(&mut shared).expect("nobody shares it yet");
        let Written { head, texts, body } = written;
        texts.clear();
        texts.reserve_exact(texts_len);
        texts.push_str(parts.topic);
        texts.push_str(parts.publisher);
        texts.push_str(parts.user_name.unwrap_or(""));
        body.clear();
        body.reserve_exact(body_len);
        parts.properties.forwarded(body);
        let payload_at = u32_of(body.len());
        body.extend_from_slice(parts.payload);
        let user_at = parts.topic.len() + parts.publisher.len();
        let bytes = u32_of(texts.len() + body.len() + OVERHEAD);
        *head = Head {
            publisher_at: u32_of(parts.topic.len()),
            user_at: parts.user_name.map_or(u32::MAX, |_| u32_of(user_at)),
            payload_at,
            bytes,
            qos: parts.qos,
            retain: parts.retain,
            received: parts.received,
            expires: parts.expires,
            mid: AtomicU64::new(0),
            meter: Some(meter),
        };
        meter.note(bytes.into());
        Message(Some(shared))
    }

    /// All that it says.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            topic: self.topic().as_str(),
            properties: self.properties(),
            payload: self.payload(),
            publisher: self.publisher(),
            user_name: self.user_name(),
            qos: self.qos,
            retain: self.retain,
            received: self.received,
            expires: self.expires,
        }
    }

    /// Its number in the store, if it has one.
    pub fn mid(&self) -> Option<Mid> {
        Some(self.mid.load(Ordering::Relaxed)).filter(|mid| *mid > 0).map(Mid::new)
    }

    /// The store has taken it under this number: said before anybody is given a copy.
    pub fn set_mid(&self, mid: Mid) {
        self.mid.store(mid.get(), Ordering::Relaxed);
    }

    /// Topic Name.
    pub fn topic(&self) -> TopicName<'_> {
        TopicName::trusted(&self.written().texts[..self.publisher_at as usize])
    }

    /// What is forwarded with it, in order.
    pub fn properties(&self) -> Properties<'_> {
        Properties::trusted(&self.written().body[..self.payload_at as usize])
    }

    /// Application Message.
    pub fn payload(&self) -> &[u8] {
        &self.written().body[self.payload_at as usize..]
    }

    /// Client Identifier of its publisher; empty for the broker itself.
    pub fn publisher(&self) -> &str {
        let texts = &self.written().texts;
        let end = texts.len().min(self.user_at as usize);
        &texts[self.publisher_at as usize..end]
    }

    /// User name of its publisher.
    pub fn user_name(&self) -> Option<&str> {
        self.written().texts.get(self.user_at as usize..)
    }

    fn written(&self) -> &Written {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Head {
    /// Bytes it holds in memory.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whole seconds left at `now`, rounded up; `None` if it never expires, `Some(0)` if it has
    /// `[MQTT5-3.3.2-6]`. Never more than it came with: who sends it may have looked at the clock
    /// before it was received.
    pub fn expiry_left(&self, now: Time) -> Option<u32> {
        if self.expires == Time::NEVER {
            return None;
        }
        let left = self.expires.since(now.max(self.received));
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Whether its time is over at `now`.
    pub fn expired(&self, now: Time) -> bool {
        self.expires <= now
    }
}

impl Written {
    /// Its bytes are free again.
    fn settle(&mut self) {
        if let Some(meter) = self.head.meter.take() {
            meter.note(-i64::from(self.head.bytes));
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let Some(mut shared) = self.0.take() else { return };
        if Arc::strong_count(&shared) > 1 {
            return;
        }
        let Some(written) = Arc::get_mut(&mut shared) else { return };
        if written.texts.capacity().max(written.body.capacity()) <= SPARE_BYTES {
            written.settle();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(shared);
                }
            });
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Subscription Identifiers of one delivery: mostly none or one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SubscriptionIds {
    /// The only one, 0 if there is none; unused if `more` is there.
    one: u32,
    #[allow(clippy::box_collection)] // A thin pointer: a queued entry stays at 32 bytes.
    more: Option<Box<Vec<u32>>>,
}

impl SubscriptionIds {
    /// No identifier if `id` is 0, else that one.
    pub fn new(id: u32) -> SubscriptionIds {
        SubscriptionIds { one: id, more: None }
    }

    /// Adds another subscription's identifier; 0 adds nothing. Equal ones stay twice
    /// `[MQTT5-3.3.4-4]`.
    pub fn add(&mut self, id: u32) {
        match (&mut self.more, self.one) {
            (_, _) if id == 0 => {}
            (Some(more), _) => more.push(id),
            (None, 0) => self.one = id,
            (None, one) => self.more = Some(Box::new(vec![one, id])),
        }
    }

    /// All of them, in the order added.
    pub fn as_slice(&self) -> &[u32] {
        match (&self.more, self.one) {
            (Some(more), _) => more,
            (None, 0) => &[],
            (None, _) => std::slice::from_ref(&self.one),
        }
    }
}

/// One message for one receiver.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The lower of published and granted `[MQTT5-3.8.4-8]`.
    pub qos: QoS,
    /// RETAIN flag to send.
    pub retain: bool,
    /// Subscription Identifiers to send.
    pub ids: SubscriptionIds,
    /// The group it was pulled from.
    pub group: Option<GroupId>,
    /// The store keeps this copy for its receiver until it is settled.
    pub stored: bool,
}

impl Delivery {
    /// What is to be settled with the store when this copy has come to its end.
    pub fn mid(&self) -> Option<Mid> {
        if self.stored { self.message.mid() } else { None }
    }

    /// Whether the receiver's account counts it as `QoS` above 0. A group counts by the message,
    /// since each member may have granted another `QoS`.
    pub fn counts_above_qos0(&self) -> bool {
        let qos = if self.group.is_some() { self.message.qos } else { self.qos };
        qos > QoS::AtMostOnce
    }
}

/// Why a copy of a message was not delivered: the ledger's reasons.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Loss {
    /// The receiver's queue was full (messages or bytes).
    QueueFull,
    /// All queues together held too many bytes.
    MemoryFull,
    /// The message expired before it was sent.
    Expired,
    /// Larger than the receiver's Maximum Packet Size.
    TooLarge,
    /// The receiver may not read this topic.
    NotAuthorized,
    /// The receiver answered with a Reason Code of 0x80 or above.
    RefusedByReceiver,
    /// The Session ended with the message queued or in flight.
    SessionEnded,
    /// The Session was replaced by a Clean Start.
    TakenClean,
    /// The last member of the group left.
    GroupGone,
    /// `QoS` 0 for a Session that is not connected: counted, not called dropped.
    OfflineQos0,
    /// The store could not read it back.
    Unreadable,
    /// `QoS` 0 that waited for longer than the receiver's class allows.
    TooOld,
    /// It had waited longest when the receiver's queue was full.
    DroppedOldest,
    /// It came when the receiver's queue was full.
    DroppedNewest,
    /// `QoS` 0, when the receiver's queue was full.
    DroppedQos0,
    /// A newer message of its topic came for the same receiver.
    Conflated,
}

impl Loss {
    /// Every reason, in the order of its number.
    pub const ALL: [Loss; 16] = [
        Loss::QueueFull,
        Loss::MemoryFull,
        Loss::Expired,
        Loss::TooLarge,
        Loss::NotAuthorized,
        Loss::RefusedByReceiver,
        Loss::SessionEnded,
        Loss::TakenClean,
        Loss::GroupGone,
        Loss::OfflineQos0,
        Loss::Unreadable,
        Loss::TooOld,
        Loss::DroppedOldest,
        Loss::DroppedNewest,
        Loss::DroppedQos0,
        Loss::Conflated,
    ];

    /// Whether a publisher is refused for it: what a policy drops was accepted.
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Loss::OfflineQos0 | Loss::DroppedNewest | Loss::DroppedQos0)
    }

    /// Whether a copy that was wanted is gone although its receiver is not: such losses are logged,
    /// and have dead letters.
    pub const fn is_drop(self) -> bool {
        match self {
            Loss::QueueFull
            | Loss::MemoryFull
            | Loss::Expired
            | Loss::TooLarge
            | Loss::RefusedByReceiver
            | Loss::TooOld
            | Loss::DroppedOldest
            | Loss::DroppedNewest
            | Loss::DroppedQos0
            | Loss::Conflated => true,
            Loss::NotAuthorized
            | Loss::SessionEnded
            | Loss::TakenClean
            | Loss::GroupGone
            | Loss::OfflineQos0
            | Loss::Unreadable => false,
        }
    }

    /// The name in `$SYS`, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::QueueFull => "queue_full",
            Loss::MemoryFull => "memory_full",
            Loss::Expired => "expired",
            Loss::TooLarge => "too_large",
            Loss::NotAuthorized => "not_authorized",
            Loss::RefusedByReceiver => "refused_by_receiver",
            Loss::SessionEnded => "session_ended",
            Loss::TakenClean => "taken_clean",
            Loss::GroupGone => "group_gone",
            Loss::OfflineQos0 => "offline_qos0",
            Loss::Unreadable => "unreadable",
            Loss::TooOld => "too_old",
            Loss::DroppedOldest => "dropped_oldest",
            Loss::DroppedNewest => "dropped_newest",
            Loss::DroppedQos0 => "dropped_qos0",
            Loss::Conflated => "conflated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new(ClientId::new("c"), None, Meter::forever())
    }

    fn draft(expiry: Option<u32>) -> Draft<'static> {
        Draft {
            topic: TopicName::trusted("a/b"),
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry,
            properties: Properties::EMPTY,
            payload: b"hello",
        }
    }

    #[test]
    fn a_message_keeps_its_parts_and_is_counted_once() {
        let publisher = identity();
        let message = draft(None).into_message(&publisher, Time::from_secs(1));
        assert_eq!(message.topic().as_str(), "a/b");
        assert_eq!(message.payload(), b"hello");
        assert!(message.properties().is_empty());
        assert_eq!((message.publisher(), message.user_name()), ("c", None));
        let again = message.clone();
        assert_eq!(publisher.meter().bytes(), message.bytes() as u64);
        drop((message, again));
        assert_eq!(publisher.meter().bytes(), 0);
    }

    #[test]
    fn a_message_knows_its_publisher() {
        for user in ["", "ann"] {
            let publisher = Identity::new(ClientId::new("c"), Some(user.into()), Meter::forever());
            let message = draft(None).into_message(&publisher, Time::from_secs(1));
            assert_eq!((message.publisher(), message.user_name()), ("c", Some(user)));
            assert_eq!(message.payload(), b"hello");
            assert_eq!(message.bytes(), draft(None).bytes(&publisher));
        }
    }

    #[test]
    fn bytes_of_two_brokers_are_counted_apart() {
        let publishers = [identity(), identity()];
        let make = |index: usize| draft(None).into_message(&publishers[index], Time::from_secs(1));
        let (first, second) = (make(0), make(1));
        assert_eq!(publishers[0].meter().bytes(), first.bytes() as u64);
        drop((first, make(0), second));
        assert_eq!(publishers[0].meter().bytes(), 0);
        assert_eq!(publishers[1].meter().bytes(), 0);
    }

    #[test]
    fn seconds_left_are_rounded_up_and_zero_means_over() {
        let message = draft(Some(10)).into_message(&identity(), Time::from_secs(100));
        assert_eq!(message.expiry_left(Time::from_secs(100)), Some(10));
        assert_eq!(message.expiry_left(Time::from_nanos(99_999_999_999)), Some(10));
        assert_eq!(message.expiry_left(Time::from_nanos(100_500_000_000)), Some(10));
        assert_eq!(message.expiry_left(Time::from_secs(103)), Some(7));
        assert_eq!(message.expiry_left(Time::from_secs(110)), Some(0));
        assert!(message.expired(Time::from_secs(110)));
        assert!(!message.expired(Time::from_secs(109)));
        let unlimited = draft(None).into_message(&identity(), Time::from_secs(100));
        assert_eq!(unlimited.expiry_left(Time::from_secs(200)), None);
    }

    #[test]
    fn subscription_identifiers_keep_order_and_repeats() {
        let mut ids = SubscriptionIds::default();
        assert!(ids.as_slice().is_empty());
        ids.add(0);
        ids.add(5);
        assert_eq!(ids.as_slice(), [5]);
        ids.add(5);
        ids.add(7);
        assert_eq!(ids.as_slice(), [5, 5, 7]);
    }

    #[test]
    fn ledger_reasons_are_numbered_in_order() {
        for (index, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, index);
        }
    }
}
