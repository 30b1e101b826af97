//! Rates of what clients send and of what leaves for them.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, rows};
use super::units::{Size, Span};

/// Packets or messages a second, or at once.
const COUNT: std::ops::RangeInclusive<u32> = 0..=1_000_000_000;
/// Bytes a second, or at once.
const BYTES: std::ops::RangeInclusive<Size> = Size(0)..=Size::TIB;

rows! {
    /// What each client may send, limited by token buckets. `[listener.ingress]`,
    /// `[listener.ingress_per_address]` and `[class.ingress]` have the same keys.
    pub struct Ingress {
        /// PUBLISH packets a second; 0 is no limit.
        publishes_rate: u32 = key(Live, 0).range(COUNT);
        /// PUBLISH packets that may come at once after a pause; 0 means as many as `publishes_rate`
        /// admits in a second.
        publishes_burst: u32 = key(Live, 0).range(COUNT);
        /// Bytes of PUBLISH packets a second; `"0B"` is no limit.
        publish_bytes_rate: Size = key(Live, Size(0)).range(BYTES);
        /// Bytes that may come at once after a pause, plus one packet; `"0B"` means as many as
        /// `publish_bytes_rate` admits in a second.
        publish_bytes_burst: Size = key(Live, Size(0)).range(BYTES);
        /// SUBSCRIBE packets a second; 0 is no limit.
        subscribes_rate: u32 = key(Live, 0).range(COUNT);
        /// SUBSCRIBE packets that may come at once after a pause; 0 means as many as
        /// `subscribes_rate` admits in a second.
        subscribes_burst: u32 = key(Live, 0).range(COUNT);
        /// What happens to a packet beyond the rate. `"pause"`: the client is not read from until the
        /// rate admits the packet; nothing is lost, and pings are answered meanwhile. `"reject"`: a QoS
        /// 0 PUBLISH is dropped and counted; a QoS 1 or 2 PUBLISH and a SUBSCRIBE are answered with
        /// 0x97. MQTT 3.1.1 cannot refuse a PUBLISH, so there QoS 1 and 2 pause. `"disconnect"`: the
        /// client gets DISCONNECT 0x96; on 3.1.1 the connection closes.
        action: Excess = key(Live, Excess::Pause).words::<Excess>();
    }
}

rows! {
    /// How fast messages leave for all clients together: a leaky bucket that waiting clients share
    /// fairly. Messages that may not leave yet wait in the queues. If a listener has a rate too, its
    /// clients take turns at this one, one at a time. `[listener.egress]` has the same keys.
    pub struct Egress {
        /// Messages a second; 0 is no limit.
        messages_rate: u32 = key(Live, 0).range(COUNT);
        /// Messages that may leave at once after a pause; 0 means as many as `messages_rate` admits in
        /// a tenth of a second, at least one.
        messages_burst: u32 = key(Live, 0).range(COUNT);
        /// Bytes of PUBLISH packets a second; `"0B"` is no limit.
        bytes_rate: Size = key(Live, Size(0)).range(BYTES);
        /// Bytes that may leave at once after a pause, plus one packet; `"0B"` means as many as
        /// `bytes_rate` admits in a tenth of a second.
        bytes_burst: Size = key(Live, Size(0)).range(BYTES);
    }
}

rows! {
    /// How fast messages leave for each client: a leaky bucket. Messages that may not leave yet wait in
    /// the queue. Shaping never drops QoS 1 and 2, and it delays nothing but PUBLISH.
    pub struct Shaping {
        /// Messages a second; 0 is no limit.
        messages_rate: u32 = key(Live, 0).range(COUNT);
        /// Messages that may leave at once after a pause; 0 means as many as `messages_rate` admits in
        /// a tenth of a second, at least one.
        messages_burst: u32 = key(Live, 0).range(COUNT);
        /// Bytes of PUBLISH packets a second; `"0B"` is no limit.
        bytes_rate: Size = key(Live, Size(0)).range(BYTES);
        /// Bytes that may leave at once after a pause, plus one packet; `"0B"` means as many as
        /// `bytes_rate` admits in a tenth of a second.
        bytes_burst: Size = key(Live, Size(0)).range(BYTES);
        /// A QoS 0 message that has waited for longer is dropped; `"0s"` keeps it.
        qos0_age_max: Span = key(Live, Span::secs(0)).range(Span::secs(0)..=Span::secs(7 * 86_400));
    }
}

/// What happens to a packet beyond a rate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It waits, unread.
    #[default]
    Pause,
    /// It is refused, where it can be.
    Reject,
    /// Its sender is disconnected.
    Disconnect,
}

impl Ingress {
    /// Whether nothing is limited.
    pub fn is_free(&self) -> bool {
        self.publishes_rate == 0 && self.publish_bytes_rate.0 == 0 && self.subscribes_rate == 0
    }

    /// Adds what is wrong with it, apart from ranges; `at` is the section's name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        useful(at, "publishes", self.publishes_burst.into(), self.publishes_rate.into(), found);
        useful(at, "publish_bytes", self.publish_bytes_burst.0, self.publish_bytes_rate.0, found);
        useful(at, "subscribes", self.subscribes_burst.into(), self.subscribes_rate.into(), found);
    }
}

impl Egress {
    /// Adds what is wrong with it, apart from ranges; `at` is the section's name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        useful(at, "messages", self.messages_burst.into(), self.messages_rate.into(), found);
        useful(at, "bytes", self.bytes_burst.0, self.bytes_rate.0, found);
    }
}

impl Shaping {
    /// Adds what is wrong with it, apart from ranges; `at` is the section's name.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        useful(at, "messages", self.messages_burst.into(), self.messages_rate.into(), found);
        useful(at, "bytes", self.bytes_burst.0, self.bytes_rate.0, found);
    }
}

/// A burst needs the rate that fills its bucket.
fn useful(at: &str, name: &str, burst: u64, rate: u64, found: &mut Problems) {
    if burst > 0 && rate == 0 {
        found.add(format!("{at}.{name}_burst"), format!("is of no use without {name}_rate"));
    }
}
