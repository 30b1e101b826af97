//! A message in memory: one allocation of texts and one of bytes, shared by all copies.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ids::Mid;
use super::meter::Meter;
use crate::codec::property::put_user_property;
use crate::codec::{Properties, QoS};
use crate::time::Time;
use crate::topic::TopicName;

/// All fields of a message: for stores, which write them and make the message again.
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
    /// Bytes that a message of these parts takes in memory.
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

/// An Application Message, shared by all its receivers: topic, properties, payload and publisher. It
/// refers to nothing that the publisher's thread counts references of.
///
/// When the last reference to a small message is dropped, the thread keeps its memory for the next
/// message that it makes.
#[derive(Clone, Debug)]
pub struct Message(
    /// `None` only while it is dropped.
    Option<Arc<Written>>,
);

#[derive(Debug, Default)]
struct Written {
    head: Head,
    /// Topic, publisher and its user name: apart from the bytes, so that they need not be checked again
    /// to be text.
    texts: String,
    /// Properties and payload.
    body: Vec<u8>,
}

/// The fields of a message of fixed size.
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
    /// Attempts of this copy that have failed: see [`Message::tried`].
    pub attempts: u16,
    /// The number that traces follow it by; 0: none does. It is where the fields around it leave room.
    follow: AtomicU32,
    /// When the broker received it.
    pub received: Time,
    /// When it ends; [`Time::NEVER`] without a Message Expiry Interval.
    pub expires: Time,
    /// 0: the store does not have it, or not under a number.
    mid: AtomicU64,
    /// `None`: not counted (any more).
    meter: Option<&'static Meter>,
}

const _: () = assert!(size_of::<Head>() <= 56, "a message in memory should stay small");

/// The User Property that has the number of an attempt, from the second one on.
pub const ATTEMPT: &str = "sluice-attempt";

/// Bytes a message takes beside its texts and body, with the two reference counters.
const OVERHEAD: usize = size_of::<Written>() + 2 * size_of::<usize>();

/// Most messages that a thread keeps the memory of, and most bytes of their texts and body each.
const SPARE_MAX: usize = 256;
const SPARE_BYTES: usize = 512;

thread_local! {
    static SPARE: RefCell<Vec<Arc<Written>>> = const { RefCell::new(Vec::new()) };
}

/// Uses the spare memory of this thread. `None`: the thread ends and has none any more; what its other
/// thread-locals still hold of messages is dropped after that.
fn with_spare<R>(use_it: impl FnOnce(&mut Vec<Arc<Written>>) -> R) -> Option<R> {
    SPARE.try_with(|spare| use_it(&mut spare.borrow_mut())).ok()
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
        let spare = if small { with_spare(Vec::pop).flatten() } else { None };
        let mut shared = spare.unwrap_or_default();
        let written = Arc::get_mut(&mut shared).expect("no other reference exists yet");
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
            attempts: 0,
            follow: AtomicU32::new(0),
            received: parts.received,
            expires: parts.expires,
            mid: AtomicU64::new(0),
            meter: Some(meter),
        };
        meter.note_made(bytes);
        Message(Some(shared))
    }

    /// The same message for another attempt, after so many that have failed: with the number of the next one as
    /// the User Property [`ATTEMPT`], in place of any of that name.
    pub fn tried(&self, attempts: u16) -> Message {
        let mut block = Vec::new();
        self.properties().forwarded_without(ATTEMPT, &mut block);
        put_user_property(&mut block, ATTEMPT, &(u32::from(attempts) + 1).to_string());
        let parts = Parts { properties: Properties::trusted(&block), ..self.parts() };
        let mut tried =
            Message::new(&parts, self.meter.expect("it is counted until it is dropped"));
        if let Some(mid) = self.mid() {
            tried.set_mid(mid);
        }
        tried.follow(self.follow_number());
        let written = tried.0.as_mut().and_then(Arc::get_mut);
        written.expect("no other reference exists yet").head.attempts = attempts;
        tried
    }

    /// All its fields.
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

    /// Sets its number in the store: before any receiver gets a copy.
    pub fn set_mid(&self, mid: Mid) {
        self.mid.store(mid.get(), Ordering::Relaxed);
    }

    /// The number that traces follow it by; 0 if none does.
    pub fn follow_number(&self) -> u32 {
        self.follow.load(Ordering::Relaxed)
    }

    /// Traces follow it by this number.
    pub fn follow(&self, number: u32) {
        self.follow.store(number, Ordering::Relaxed);
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
    /// Bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whole seconds left at `now`, rounded up; `None` if it never expires, `Some(0)` if it has
    /// `[MQTT5-3.3.2-6]`. Never more than it came with: `now` may be earlier than its reception, by
    /// the clock of another thread.
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
    /// Counts its bytes out of the meter.
    fn settle(&mut self) {
        if let Some(meter) = self.head.meter.take() {
            meter.note_freed(self.head.bytes);
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
            with_spare(|spare| {
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
