//! Counters: many writers, summed when somebody reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::topic_ledger::{TopicClass, TopicLedger, Unrouted};
use crate::message::Loss;

/// What is counted. PUBLISH packets are those on the wire, clients' and ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Counter {
    /// PUBLISH packets received.
    Received,
    /// PUBLISH packets of `QoS` 1 and 2 received: the second law starts from these.
    ReceivedAboveQos0,
    /// PUBLISH packets sent.
    Sent,
    /// Payload bytes received in them.
    PayloadReceived,
    /// Payload bytes sent in them.
    PayloadSent,
    /// Bytes read from clients.
    BytesReceived,
    /// Bytes written to clients.
    BytesSent,
    /// `QoS` 1 and 2 PUBLISHes answered as accepted.
    Accepted,
    /// `QoS` 1 and 2 PUBLISHes answered with a refusing Reason Code, or, on 3.1.1, accepted in name only.
    Refused,
    /// `QoS` 2 PUBLISHes absorbed as repeats.
    Repeats,
    /// `QoS` 1 and 2 PUBLISHes whose connection went before they were answered.
    LostWithConnection,
    /// CONNECTs accepted.
    Connects,
    /// CONNECTs refused.
    ConnectsRefused,
    /// Network Connections accepted.
    SocketsOpened,
    /// Copies routed to receivers.
    Routed,
    /// Packets written to clients.
    Packets,
    /// Copies completed.
    Completed,
    // Those from here on are seldom: a turn does not gather them.
    /// PUBLISHes of `QoS` 0 and Wills not routed, of which nobody is told: topic, rights, memory, rate
    /// or load.
    Unrouted,
    /// PUBLISHes of `QoS` 0 dropped for a rate; they are among those not routed.
    RateDropped,
    /// PUBLISHes of `QoS` 1 and 2, and SUBSCRIBEs, refused for a rate.
    RateRefused,
    /// Times that a client was not read from for a rate.
    RatePauses,
    /// Clients disconnected for a rate.
    RateDisconnects,
    /// CONNECTs refused because their Client Identifier came too often; they are among those refused.
    RateConnects,
    /// Writes to clients: each of one packet or many.
    Writes,
    /// Messages handed to the store.
    Stored,
    /// Times that a publisher was held up, the broker being pressed.
    HeldUp,
    /// PUBLISHes of `QoS` 0 dropped, the broker being pressed; they are among those not routed.
    Shed,
    /// Dead letters published.
    Letters,
    /// Dead letters that were wanted and could not be written.
    LettersLost,
}

impl Counter {
    /// Every counter, in the order of its number.
    pub const ALL: [Counter; COUNTERS] = [
        Counter::Received,
        Counter::ReceivedAboveQos0,
        Counter::Sent,
        Counter::PayloadReceived,
        Counter::PayloadSent,
        Counter::BytesReceived,
        Counter::BytesSent,
        Counter::Accepted,
        Counter::Refused,
        Counter::Repeats,
        Counter::LostWithConnection,
        Counter::Connects,
        Counter::ConnectsRefused,
        Counter::SocketsOpened,
        Counter::Routed,
        Counter::Packets,
        Counter::Completed,
        Counter::Unrouted,
        Counter::RateDropped,
        Counter::RateRefused,
        Counter::RatePauses,
        Counter::RateDisconnects,
        Counter::RateConnects,
        Counter::Writes,
        Counter::Stored,
        Counter::HeldUp,
        Counter::Shed,
        Counter::Letters,
        Counter::LettersLost,
    ];

    /// Its topic below `$SYS/broker/`.
    pub const fn topic(self) -> &'static str {
        match self {
            Counter::Received => "publish/messages/received",
            Counter::ReceivedAboveQos0 => "publish/qos 1 and 2/received",
            Counter::Sent => "publish/messages/sent",
            Counter::PayloadReceived => "publish/bytes/received",
            Counter::PayloadSent => "publish/bytes/sent",
            Counter::BytesReceived => "bytes/received",
            Counter::BytesSent => "bytes/sent",
            Counter::Accepted => "publish/qos 1 and 2/accepted",
            Counter::Refused => "publish/qos 1 and 2/refused",
            Counter::Repeats => "publish/qos 1 and 2/repeats",
            Counter::LostWithConnection => "publish/qos 1 and 2/unanswered",
            Counter::Connects => "connects/accepted",
            Counter::ConnectsRefused => "connects/refused",
            Counter::SocketsOpened => "connects/opened",
            Counter::Routed => "copies/routed",
            Counter::Packets => "batch/packets",
            Counter::Completed => "copies/completed",
            Counter::Unrouted => "publish/messages/unrouted",
            Counter::RateDropped => "ingress/dropped",
            Counter::RateRefused => "ingress/refused",
            Counter::RatePauses => "ingress/pauses",
            Counter::RateDisconnects => "ingress/disconnects",
            Counter::RateConnects => "ingress/connects",
            Counter::Writes => "batch/writes",
            Counter::Stored => "batch/messages",
            Counter::HeldUp => "overload/held up",
            Counter::Shed => "overload/shed",
            Counter::Letters => "letters/published",
            Counter::LettersLost => "letters/lost",
        }
    }
}

const COUNTERS: usize = Counter::LettersLost as usize + 1;
/// Counters that a turn gathers.
const TALLIED: usize = Counter::Completed as usize + 1;
const SHARDS: usize = 8;
const _: () = assert!(TALLIED <= 32, "a turn notes in 32 bits which counters it has added to");

/// One thread's counters, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counters: [AtomicU64; COUNTERS],
    ledger: [AtomicU64; Loss::ALL.len()],
}

/// Counts of one turn, added to the counters at its end.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counters: [u64; TALLIED],
    /// Those that were added to, a bit each.
    some: u32,
}

impl Tally {
    /// Adds `n` to a counter.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.counters[counter as usize] += n;
        self.some |= 1 << counter as u32;
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.some == 0
    }
}

/// All counters of a broker.
#[derive(Debug, Default)]
pub struct Metrics {
    shards: [Shard; SHARDS],
    topics: TopicLedger,
    /// Clients connected now.
    pub connected: AtomicUsize,
    /// Most clients ever connected at once.
    pub connected_max: AtomicUsize,
}

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

impl Metrics {
    /// Counters at zero, and a ledger of these classes of topics.
    pub fn new(topics: TopicLedger) -> Metrics {
        Metrics { topics, ..Metrics::default() }
    }

    /// Adds `n` to a counter.
    pub fn add(&self, counter: Counter, n: u64) {
        if n > 0 {
            self.shard().counters[counter as usize].fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Adds a turn's counts, and empties it.
    pub fn add_all(&self, tally: &mut Tally) {
        let mut some = std::mem::take(&mut tally.some);
        if some == 0 {
            return;
        }
        let shard = self.shard();
        while some != 0 {
            let counter = some.trailing_zeros() as usize % TALLIED;
            let n = std::mem::take(&mut tally.counters[counter]);
            shard.counters[counter].fetch_add(n, Ordering::Relaxed);
            some &= some - 1;
        }
    }

    /// Adds `n` copies of messages of a class of topics to the ledger: the only way into it.
    pub fn lose(&self, class: TopicClass, loss: Loss, n: u64) {
        if n > 0 {
            self.shard().ledger[loss as usize].fetch_add(n, Ordering::Relaxed);
            self.topics.lose(class, loss, n);
        }
    }

    /// The class of a copy that is in the ledger as [`TopicClass::UNREAD`] is known now.
    pub fn read(&self, class: TopicClass, loss: Loss) {
        self.topics.read(class, loss);
    }

    /// A PUBLISH of `QoS` 0 or a Will was dropped before it was routed.
    pub fn drop_unrouted(&self, class: TopicClass, why: Unrouted) {
        self.add(Counter::Unrouted, 1);
        match why {
            Unrouted::Shed => self.add(Counter::Shed, 1),
            Unrouted::OverRate => self.add(Counter::RateDropped, 1),
            Unrouted::Refused => {}
        }
        self.topics.drop_unrouted(class, why);
    }

    /// A client is connected.
    pub fn connect(&self) {
        self.add(Counter::Connects, 1);
        let now = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.connected_max.fetch_max(now, Ordering::Relaxed);
    }

    /// A client is gone.
    pub fn disconnect(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// The sum of a counter.
    pub fn sum(&self, counter: Counter) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.counters[counter as usize].load(Ordering::Relaxed)).sum()
    }

    /// Copies in the ledger for one reason.
    pub fn lost(&self, loss: Loss) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.ledger[loss as usize].load(Ordering::Relaxed)).sum()
    }

    /// The ledger by class of topics.
    pub fn topics(&self) -> &TopicLedger {
        &self.topics
    }

    /// Copies dropped: the ledger without `QoS` 0 for parked Sessions.
    pub fn dropped(&self) -> u64 {
        let reasons = Loss::ALL.into_iter().filter(|loss| *loss != Loss::OfflineQos0);
        reasons.map(|loss| self.lost(loss)).sum()
    }

    fn shard(&self) -> &Shard {
        &self.shards[SHARD.with(|shard| *shard)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn counters_are_numbered_in_order_and_have_topics_of_their_own() {
        let topics: BTreeSet<_> = Counter::ALL.into_iter().map(Counter::topic).collect();
        assert_eq!(topics.len(), Counter::ALL.len());
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }

    #[test]
    fn what_is_not_routed_is_counted_once_whatever_for() {
        let metrics = Metrics::default();
        for (why, times) in Unrouted::ALL.into_iter().zip([2, 3, 5]) {
            (0..times).for_each(|_| metrics.drop_unrouted(TopicClass::OTHER, why));
        }
        let counters = [Counter::Shed, Counter::RateDropped, Counter::Unrouted];
        assert_eq!(counters.map(|counter| metrics.sum(counter)), [2, 3, 10]);
    }
}
