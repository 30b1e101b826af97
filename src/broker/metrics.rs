//! Counters: many writers, summed when they are read. Every counter has its row in the `table` of
//! metrics.

mod histogram;
mod measure;
mod table;
mod timing;

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::dropped::RowsEnded;
use super::topic_ledger::{TopicClass, TopicLedger, Unrouted};
use crate::message::{Loss, RefusalKind};

pub use histogram::{Histogram, Spans};
pub(super) use measure::BrokerLoads;
pub use measure::all;
pub use table::{Metric, MetricKind, MetricUnit, MetricValue};
pub(super) use table::{counters, figures};
pub use timing::Timing;
pub(super) use timing::{Sampler, Timings};

counters! {
    Received "publish_received" Count "publish/messages/received" "PUBLISH packets received.";
    ReceivedAboveQos0 "publish_qos12_received" Count "publish/qos 1 and 2/received"
        "PUBLISH packets of QoS 1 and 2 received: the second law starts from these.";
    Sent "publish_sent" Count "publish/messages/sent" "PUBLISH packets sent.";
    PayloadReceived "payload_received" Bytes "publish/bytes/received"
        "Payload received in PUBLISH packets.";
    PayloadSent "payload_sent" Bytes "publish/bytes/sent" "Payload sent in PUBLISH packets.";
    BytesReceived "received" Bytes "bytes/received" "Read from clients.";
    BytesSent "sent" Bytes "bytes/sent" "Written to clients.";
    Accepted "publish_qos12_accepted" Count "publish/qos 1 and 2/accepted"
        "PUBLISHes of QoS 1 and 2 answered as accepted.";
    Refused "publish_qos12_refused" Count "publish/qos 1 and 2/refused"
        "PUBLISHes of QoS 1 and 2 answered with a refusing Reason Code or, on 3.1.1, accepted in name only.";
    Repeats "publish_qos12_repeats" Count "publish/qos 1 and 2/repeats"
        "PUBLISHes of QoS 1 and 2 absorbed as repeats: of QoS 2 by its Packet Identifier, and those that a rule of deduplication found.";
    LostWithConnection "publish_qos12_unanswered" Count "publish/qos 1 and 2/unanswered"
        "PUBLISHes of QoS 1 and 2 whose connection went before they were answered.";
    Connects "connects_accepted" Count "connects/accepted" "CONNECTs accepted.";
    ConnectsRefused "connects_refused" Count "connects/refused" "CONNECTs refused.";
    Panics "panics" Count "panics" "Panics, each of which has ended one connection at most.";
    SocketsOpened "connections_opened" Count "connects/opened" "Network Connections accepted.";
    Replayed "replay_read" Count "replay/read"
        "Messages of logs of kept messages that readers were given.";
    ReplayMissed "replay_missed" Count "replay/missed"
        "Messages of such logs that were trimmed before a reader came to them.";
    Routed "copies_routed" Count "copies/routed" "Copies of messages routed to receivers.";
    Packets "packets_written" Count "batch/packets" "Packets written to clients.";
    PacketsReceived "packets_received" Count "batch/packets received" "Packets received from clients.";
    Completed "copies_completed" Count "copies/completed"
        "Copies that reached their receivers; the others wait, are in flight or in the ledger.";
    // Those from here on are rare. Count them with `Metrics::add`: `Tally::add` panics on them. A counter
    // of something that every message or packet brings goes above.
    Unrouted "publish_unrouted" Count "publish/messages/unrouted"
        "PUBLISHes of QoS 0 and Wills not routed, of which nobody is told: topic, rights, memory, rate or load.";
    RateDropped "ingress_dropped" Count "ingress/dropped"
        "PUBLISHes of QoS 0 dropped for a rate; they are among those not routed.";
    RateRefused "ingress_refused" Count "ingress/refused"
        "PUBLISHes of QoS 1 and 2, and SUBSCRIBEs, refused for a rate.";
    RatePauses "ingress_pauses" Count "ingress/pauses"
        "Times that a client was not read from for a rate.";
    RateDisconnects "ingress_disconnects" Count "ingress/disconnects"
        "Clients disconnected for a rate.";
    RateConnects "ingress_connects" Count "ingress/connects"
        "CONNECTs refused because their Client Identifier came too often; they are among those refused.";
    TakeoversBraked "takeovers_braked" Count "connects/takeovers braked"
        "CONNECTs that waited because the Session of their Client Identifier was taken over too often.";
    RetainedRefused "retained_refused" Count "retained messages/refused"
        "Messages that were delivered and not retained, for want of room: their publishers cannot be told.";
    SessionsExpired "clients_expired" Count "clients/expired"
        "Sessions of disconnected clients that have ended because their time was over.";
    SessionsEndedForRoom "clients_ended_for_room" Count "clients/ended for room"
        "Sessions of disconnected clients without a verified user name that have ended to make room: their address had more than its share.";
    FiltersRefused "subscriptions_refused" Count "subscriptions/refused"
        "Filters of SUBSCRIBEs refused with 0x97 for want of room.";
    Duplicates "dedup_repeats" Count "dedup/repeats"
        "Messages that a rule of deduplication found to be repeats, of all QoS and Wills.";
    Unkeyed "dedup_without_key" Count "dedup/without key"
        "Messages that a rule of deduplication is for and that have no key: they are never repeats.";
    KeysEvicted "dedup_keys_evicted" Count "dedup/keys/evicted"
        "Keys of deduplication forgotten before their time, for want of room.";
    Writes "writes" Count "batch/writes" "Writes to clients, each of one packet or many.";
    Stored "messages_stored" Count "batch/messages" "Messages handed to the store.";
    ReliefDisconnects "overload_disconnects" Count "overload/disconnects"
        "Clients disconnected because the highest level of overload lasted and they held most of what waits.";
    HeldUp "overload_held_up" Count "overload/held up"
        "Times that a publisher was held up, the broker being pressed.";
    Shed "overload_shed" Count "overload/shed"
        "PUBLISHes of QoS 0 dropped, the broker being pressed; they are among those not routed.";
    PacketsLate "packets_late" Count "connects/closed/packet late"
        "Clients closed because a packet that had begun did not come whole within limits.packet_timeout.";
    RoomMade "connections_closed_for_room" Count "connects/closed/for room"
        "Clients closed because all connections together held more than totals.connection_bytes_max.";
    DelayedAccepted "delayed_accepted" Count "delayed/accepted"
        "Messages below $delayed/ that were taken; those that a start has found among them.";
    DelayedPublished "delayed_published" Count "delayed/published"
        "Delayed messages that were published when they were due.";
    DelayedRefused "delayed_refused" Count "delayed/refused"
        "Delayed messages that were not published when they were due: rights, memory, or the store cannot read them.";
    DelayedCancelled "delayed_cancelled" Count "delayed/cancelled"
        "Delayed messages that were cancelled by the API.";
    Letters "letters_published" Count "letters/published" "Dead letters published.";
    LettersLost "letters_lost" Count "letters/lost"
        "Dead letters that were wanted and could not be written.";
    GivenAway "queues_given_away" Count "queues/given away"
        "Messages of named queues that a consumer did not answer in time.";
    CompletedLate "queues_completed_late" Count "queues/completed late"
        "Messages of named queues that a consumer completed after its time.";
    Retried "queues_retried" Count "queues/retried"
        "Attempts at messages of named queues that have failed, each with another one to come.";
    MovedAway "copies_moved" Count "copies/moved"
        "Copies that went to another node of the cluster with their Session.";
    SpansExported "otel_spans_exported" Count "otel/exported"
        "Spans that the collector of OpenTelemetry has taken.";
    SpansDropped "otel_spans_dropped" Count "otel/dropped"
        "Spans for OpenTelemetry, and stages of messages for them, that had no room or that the collector did not take.";
}

impl Counter {
    /// Its topic below `$SYS/broker/`.
    pub fn topic(self) -> &'static str {
        self.metric().topic()
    }
}

const COUNTERS: usize = Counter::ALL.len();
/// Counters that a turn gathers.
const TALLIED: usize = Counter::Completed as usize + 1;
const SHARDS: usize = 8;
const _: () = assert!(TALLIED <= 32, "a turn notes in 32 bits which counters it has added to");

/// One thread's counters, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    counters: [AtomicU64; COUNTERS],
    ledger: [AtomicU64; Loss::ALL.len()],
}

impl Default for Shard {
    fn default() -> Shard {
        let zero = |_| AtomicU64::new(0);
        Shard { counters: array::from_fn(zero), ledger: array::from_fn(zero) }
    }
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
#[derive(Debug)]
pub struct Metrics {
    shards: [Shard; SHARDS],
    topics: TopicLedger,
    timings: Timings,
    /// Refusals to peers, by [`RefusalKind`].
    refused: [AtomicU64; RefusalKind::ALL.len()],
    connected: AtomicUsize,
    connected_max: AtomicUsize,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new(TopicLedger::default())
    }
}

/// Lines of this process's log that could not be written.
pub static LOG_LINES_LOST: AtomicU64 = AtomicU64::new(0);

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

impl Metrics {
    /// Counters at zero, and a ledger of these classes of topics.
    pub fn new(topics: TopicLedger) -> Metrics {
        Metrics {
            shards: Default::default(),
            topics,
            timings: Timings::default(),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            connected: AtomicUsize::new(0),
            connected_max: AtomicUsize::new(0),
        }
    }

    /// Counts refusals to peers.
    pub fn refuse(&self, kind: RefusalKind, n: u64) {
        self.refused[kind as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Refusals of one kind.
    pub fn refused(&self, kind: RefusalKind) -> u64 {
        self.refused[kind as usize].load(Ordering::Relaxed)
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
            let counter = some.trailing_zeros() as usize;
            some &= some - 1;
            let Some(n) = tally.counters.get_mut(counter) else { break };
            shard.counters[counter].fetch_add(std::mem::take(n), Ordering::Relaxed);
        }
    }

    /// Adds copies of messages of a class of topics to the ledger: the only way into it. `rows` proves
    /// that the store does not keep them for ever.
    pub(super) fn lose(&self, class: TopicClass, loss: Loss, rows: RowsEnded) {
        let copies = rows.copies();
        if copies > 0 {
            self.shard().ledger[loss as usize].fetch_add(copies, Ordering::Relaxed);
            self.topics.lose(class, loss, copies);
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

    /// Clients connected now.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Most clients ever connected at once.
    pub fn connected_max(&self) -> usize {
        self.connected_max.load(Ordering::Relaxed)
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

    /// How long what the broker itself times takes.
    pub(super) fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Copies dropped by the policy of a queue or because the memory was full: what mosquitto counts.
    pub fn dropped(&self) -> u64 {
        let reasons = [
            Loss::QueueFull,
            Loss::MemoryFull,
            Loss::DroppedOldest,
            Loss::DroppedNewest,
            Loss::DroppedQos0,
            Loss::Conflated,
        ];
        reasons.into_iter().map(|loss| self.lost(loss)).sum()
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
    fn counters_are_numbered_in_order_and_metrics_have_names_and_topics_of_their_own() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
        let of = |what: fn(&Metric) -> &'static str| all().map(what).collect::<BTreeSet<_>>();
        let (names, topics) = (of(Metric::name), of(Metric::topic));
        assert_eq!((names.len(), topics.len()), (all().count(), all().count()));
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
