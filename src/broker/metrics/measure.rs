//! Every metric with its value: what `$SYS` says, and what an exporter shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::table::{Metric, MetricValue, metrics};
use super::{Counter, LOG_LINES_LOST, MetricKind, MetricUnit};
use crate::broker::Broker;
use crate::broker::loads::{Loads, SPANS};
use crate::broker::mailbox::Mailbox;
use crate::broker::overload::Cause;
use crate::broker::ports::StoreFigures;
use crate::message::{ClientId, Loss, RefusalKind, Total};
use crate::time::Time;
use crate::topic::TopicFilter;

metrics! {
    VERSION "version" Text Various "version" "Version of the broker.";
    UPTIME "uptime" Gauge Seconds "uptime" "Time since the start.";
    CONNECTED "clients_connected" Gauge Count "clients/connected" "Clients connected.";
    ACTIVE "clients_active" Gauge Count "clients/active" "The same: mosquitto has both names.";
    DISCONNECTED "clients_disconnected" Gauge Count "clients/disconnected"
        "Sessions whose clients are not connected.";
    INACTIVE "clients_inactive" Gauge Count "clients/inactive" "The same: mosquitto has both names.";
    SESSIONS "sessions" Gauge Count "clients/total" "Sessions, of connected clients and of others.";
    CONNECTED_MAX "clients_max" Gauge Count "clients/maximum"
        "Most clients that were connected at once.";
    ALSO_RECEIVED "messages_received" Counter Count "messages/received"
        "Packets received, of all types.";
    ALSO_SENT "messages_sent" Counter Count "messages/sent"
        "Packets sent, of all types: the same as batch/packets.";
    DROPPED "publish_dropped" Counter Count "publish/messages/dropped"
        "Copies dropped because a queue or the memory was full: of the ledger queue_full, memory_full and dropped_….";
    RETAINED "retained_messages" Gauge Count "retained messages/count" "Retained messages.";
    RETAINED_BYTES "retained" Gauge Bytes "retained messages/bytes"
        "Memory that retained messages take.";
    SUBSCRIPTIONS "subscriptions" Gauge Count "subscriptions/count"
        "Subscriptions, but shared ones.";
    SHARED_SUBSCRIPTIONS "shared_subscriptions" Gauge Count "shared_subscriptions/count"
        "Shared Subscriptions: members of groups.";
    GROUPS "groups" Gauge Count "groups/count" "Groups of Shared Subscriptions.";
    STORED "messages_held" Gauge Count "store/messages/count"
        "Messages in memory, each counted once: retained ones and those that wait or are in flight.";
    ALSO_STORED "messages_kept" Gauge Count "messages/stored" "The same: mosquitto has both names.";
    IN_FLIGHT "messages_inflight" Gauge Count "messages/inflight"
        "Copies of QoS 1 and 2 sent and not yet acknowledged.";
    LOAD_MESSAGES_RECEIVED "load_messages_received" Gauge PerMinute "load/messages/received/<span>"
        "Packets received a minute, a moving average over 1min, 5min or 15min.";
    LOAD_MESSAGES_SENT "load_messages_sent" Gauge PerMinute "load/messages/sent/<span>"
        "Packets sent a minute, a moving average.";
    LOAD_DROPPED "load_publish_dropped" Gauge PerMinute "load/publish/dropped/<span>"
        "What publish/messages/dropped counts, a minute, a moving average.";
    LOAD_RECEIVED "load_publish_received" Gauge PerMinute "load/publish/received/<span>"
        "PUBLISH packets received a minute, a moving average.";
    LOAD_SENT "load_publish_sent" Gauge PerMinute "load/publish/sent/<span>"
        "PUBLISH packets sent a minute, a moving average.";
    LOAD_BYTES_RECEIVED "load_bytes_received" Gauge BytesPerMinute "load/bytes/received/<span>"
        "Bytes read from clients a minute, a moving average.";
    LOAD_BYTES_SENT "load_bytes_sent" Gauge BytesPerMinute "load/bytes/sent/<span>"
        "Bytes written to clients a minute, a moving average.";
    LOAD_SOCKETS "load_sockets" Gauge PerMinute "load/sockets/<span>"
        "Network Connections accepted a minute, a moving average.";
    LOAD_CONNECTIONS "load_connections" Gauge PerMinute "load/connections/<span>"
        "CONNECTs a minute, a moving average.";
    HEAP "heap" Gauge Bytes "heap/current" "Memory of the process, as last measured.";
    HEAP_MAX "heap_max" Gauge Bytes "heap/maximum"
        "The most that heap/current was when it was looked at.";
    TIMESTAMP "timestamp" Text Various "timestamp" "When the running program was built.";
    MESSAGE_BYTES "messages" Gauge Bytes "store/messages/bytes" "Memory that messages take.";
    WILLS "wills" Gauge Count "wills/count"
        "Wills of connected clients, and those that clients left behind, in memory or in the store only.";
    WILL_BYTES "will_bytes" Gauge Bytes "wills/bytes" "Their bytes.";
    DELAYS_WAITING "delayed_messages" Gauge Count "delayed/waiting" "Delayed messages that wait.";
    DELAYS_BYTES "delayed" Gauge Bytes "delayed/bytes" "Their bytes.";
    QUEUES "named_queues" Gauge Count "queues/count" "Named queues, those that drain among them.";
    QUEUES_MESSAGES "named_queues_messages" Gauge Count "queues/messages" "Messages that wait in named queues.";
    QUEUES_BYTES "named_queues_waiting" Gauge Bytes "queues/bytes" "Their bytes.";
    QUEUES_POSTPONED "named_queues_postponed" Gauge Count "queues/postponed"
        "Those of them that have failed, and wait for another attempt.";
    LOGS "kept_logs" Gauge Count "replay/logs" "Logs of kept messages.";
    LOGS_MESSAGES "kept_messages" Gauge Count "replay/kept" "Messages that they have.";
    LOGS_BYTES "kept" Gauge Bytes "replay/bytes" "Their bytes, as they are counted in memory.";
    BUFFERED "connection_bytes" Gauge Bytes "store/connections/bytes"
        "Memory that connections hold and that is in no queue: packets begun, bytes not taken yet.";
    LETTERS_WAITING "letters_waiting" Gauge Count "letters/waiting"
        "Dead letters that wait for their message from the store.";
    PACKETS_PER_WRITE "packets_per_write" Gauge Ratio "batch/packets per write"
        "Packets to clients in one write.";
    MESSAGES_PER_FLUSH "messages_per_flush" Gauge Ratio "batch/messages per flush"
        "Messages in one commit of the store.";
    LEVEL "overload_level" Gauge Count "overload/level" "How hard the broker is pressed: 0 to 3.";
    CAP "overload_cap" Gauge BytesPerSecond "overload/cap"
        "What each publisher may bring in; none: what it likes.";
    CAUSE "overload_cause" Text Various "overload/cause" "The cause of the level, or none.";
    LAG "overload_lag" Gauge Micros "overload/lag" "How late tasks are woken.";
    MEMORY "overload_memory" Gauge Bytes "overload/memory" "Memory of the process.";
    COMMIT "overload_commit" Gauge Micros "overload/commit"
        "Time until what is handed to the store is durable.";
    QUEUED "overload_queued" Gauge Bytes "overload/queued"
        "Memory that messages take, as last measured.";
    UNWRITTEN "overload_unwritten" Gauge Bytes "overload/unwritten"
        "Bytes that the store has not written, as last measured.";
    LEDGER "copies_lost" Counter Count "ledger/<reason>" "Copies lost, by reason.";
    DEDUP_KEYS "dedup_keys" Gauge Count "dedup/keys/count" "Keys that deduplication remembers.";
    LOG_LOST "log_lines_lost" Counter Count "log/lines lost"
        "Lines of the log that could not be written.";
    REFUSED "refused" Counter Count "refused/<reason>"
        "What was refused to peers, by reason: see docs/refusals.md.";
    TOPIC_LEDGER "topic_class_lost" Counter Count "ledger/topics/<class>/<reason>"
        "The same by [[topic_class]]; shed, over_rate and refused are of QoS 0 and Wills not routed.";
    QUEUE_MESSAGES "client_queue_messages" Gauge Count "clients/<client_id>/queue/messages"
        "Copies that wait for the client.";
    QUEUE_BYTES "client_queue" Gauge Bytes "clients/<client_id>/queue/bytes" "Their bytes.";
    CLIENT_DROPPED "client_dropped" Counter Count "clients/<client_id>/dropped/<reason>"
        "Copies for the client that were lost, by reason.";
    BUCKET_MESSAGES "client_shaping_level_messages" Gauge Count "clients/<client_id>/shaping/level/messages"
        "Messages in the client's bucket.";
    BUCKET_BYTES "client_shaping_level_bytes" Gauge Bytes "clients/<client_id>/shaping/level/bytes"
        "Bytes in the client's bucket.";
    DELAYED "client_shaping_delayed" Counter Millis "clients/<client_id>/shaping/delayed/ms"
        "How long something for the client waited at its own bucket.";
    WAITED "client_shaping_waited" Counter Millis "clients/<client_id>/shaping/waited/ms"
        "How long something for the client waited at buckets that it shares.";
    CLASS "client_class" Text Various "clients/<client_id>/class" "The [[class]] of the client.";
}

/// Takes a metric, the values of its labels in order, and its value.
pub type MetricVisitor<'a> = dyn FnMut(&'static Metric, &[&str], MetricValue<'_>) + 'a;

/// Every metric there is: the rows of `docs/sys-topics.md`.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let counters = Counter::ALL.iter().map(|counter| counter.metric());
    ROWS.iter().copied().chain(counters).chain(StoreFigures::metrics())
}

impl Broker {
    /// Shows every metric with its value at `now`, but those of single clients; of a family each
    /// member. If the store has no figures, the broker shows none of the store.
    pub fn visit_metrics(&self, now: Time, visit: &mut MetricVisitor<'_>) {
        self.visit_wanted(now, &|_| true, visit);
    }

    /// The same of the metrics that `wants` names: the others are not looked up.
    pub(in crate::broker) fn visit_wanted(
        &self,
        now: Time,
        wants: &dyn Fn(&Metric) -> bool,
        visit: &mut MetricVisitor<'_>,
    ) {
        let mut show = |metric: &'static Metric, labels: &[&str], value: MetricValue<'_>| {
            if wants(metric) {
                visit(metric, labels, value);
            }
        };
        let visit: &mut MetricVisitor<'_> = &mut show;
        visit(
            &VERSION,
            &[],
            MetricValue::Text(concat!("sluice version ", env!("CARGO_PKG_VERSION"))),
        );
        visit(&UPTIME, &[], MetricValue::Number(now.since(self.0.started).as_secs()));
        self.visit_clients(visit);
        let metrics = &self.0.metrics;
        for counter in Counter::ALL.iter().filter(|counter| wants(counter.metric())) {
            visit(counter.metric(), &[], MetricValue::Number(metrics.sum(*counter)));
        }
        self.visit_as_mosquitto(visit);
        if [&RETAINED, &RETAINED_BYTES].into_iter().any(wants) {
            self.visit_retained(visit);
        }
        self.visit_state(visit);
        if StoreFigures::metrics()
            .iter()
            .chain([&PACKETS_PER_WRITE, &MESSAGES_PER_FLUSH])
            .any(wants)
        {
            self.visit_store(visit);
        }
        if OVERLOAD.into_iter().any(wants) {
            self.visit_overload(visit);
        }
        if [&QUEUES, &QUEUES_MESSAGES, &QUEUES_BYTES].into_iter().any(wants) {
            self.visit_queues(visit);
        }
        if wants(&LEDGER) {
            for loss in Loss::ALL {
                visit(&LEDGER, &[loss.name()], MetricValue::Number(metrics.lost(loss)));
            }
        }
        if wants(&REFUSED) {
            for kind in RefusalKind::ALL {
                visit(&REFUSED, &[kind.name()], MetricValue::Number(metrics.refused(*kind)));
            }
        }
        if wants(&TOPIC_LEDGER) {
            for losses in metrics.topics().losses() {
                for (reason, count) in losses.reasons().filter(|(_, count)| *count > 0) {
                    visit(&TOPIC_LEDGER, &[&losses.class, reason], MetricValue::Number(count));
                }
            }
        }
    }

    fn visit_clients(&self, visit: &mut MetricVisitor<'_>) {
        let metrics = &self.0.metrics;
        let connected = metrics.connected();
        let sessions = self.0.registry.sessions();
        let connected_max = metrics.connected_max();
        let disconnected = sessions.saturating_sub(connected);
        for (metric, count) in [
            (&CONNECTED, connected),
            (&ACTIVE, connected),
            (&DISCONNECTED, disconnected),
            (&INACTIVE, disconnected),
            (&SESSIONS, sessions),
            (&CONNECTED_MAX, connected_max),
        ] {
            visit(metric, &[], MetricValue::Number(count as u64));
        }
    }

    /// What the broker knows under another name, and mosquitto says.
    fn visit_as_mosquitto(&self, visit: &mut MetricVisitor<'_>) {
        let (metrics, sys) = (&self.0.metrics, &self.0.sys);
        for (metric, counter) in
            [(&ALSO_RECEIVED, Counter::PacketsReceived), (&ALSO_SENT, Counter::Packets)]
        {
            visit(metric, &[], MetricValue::Number(metrics.sum(counter)));
        }
        visit(&DROPPED, &[], MetricValue::Number(metrics.dropped()));
        visit(&IN_FLIGHT, &[], MetricValue::Number(sys.in_flight()));
        let heap = self.heap();
        visit(&HEAP, &[], MetricValue::Number(heap.0));
        visit(&HEAP_MAX, &[], MetricValue::Number(heap.1));
        if let Some(built) = sys.built() {
            visit(&TIMESTAMP, &[], MetricValue::Text(built));
        }
        let loads = sys.loads();
        for (metric, averages) in LOADS.into_iter().zip(loads.averages()) {
            for (average, (_, span)) in averages.iter().zip(SPANS) {
                visit(metric, &[span], MetricValue::Ratio(*average));
            }
        }
    }

    /// What the moving averages are of, in their order.
    pub(in crate::broker) fn load_counts(&self) -> [u64; LOAD_COUNT] {
        let metrics = &self.0.metrics;
        let sum = |counter| metrics.sum(counter);
        [
            sum(Counter::PacketsReceived),
            sum(Counter::Packets),
            metrics.dropped(),
            sum(Counter::Received),
            sum(Counter::Sent),
            sum(Counter::BytesReceived),
            sum(Counter::BytesSent),
            sum(Counter::SocketsOpened),
            sum(Counter::Connects) + sum(Counter::ConnectsRefused),
        ]
    }

    fn visit_retained(&self, visit: &mut MetricVisitor<'_>) {
        let (retained, bytes) = self.0.router.retained().totals();
        visit(&RETAINED, &[], MetricValue::Number(retained as u64));
        visit(&RETAINED_BYTES, &[], MetricValue::Number(bytes));
    }

    fn visit_queues(&self, visit: &mut MetricVisitor<'_>) {
        let queues = self.0.router.queues();
        let logs = self.0.router.logs();
        let depth = |all: &[(TopicFilter, Arc<Mailbox>, bool)]| {
            all.iter().fold((0, 0), |(messages, bytes), (_, mailbox, _)| {
                let (more, more_bytes) = mailbox.depth();
                (messages + more as u64, bytes + more_bytes)
            })
        };
        let ((waiting, bytes), (kept, kept_bytes)) = (depth(&queues), depth(&logs));
        let postponed = queues.iter().map(|(_, mailbox, _)| mailbox.postponed() as u64).sum();
        for (metric, value) in [
            (&QUEUES, queues.len() as u64),
            (&QUEUES_MESSAGES, waiting),
            (&QUEUES_BYTES, bytes),
            (&QUEUES_POSTPONED, postponed),
            (&LOGS, logs.len() as u64),
            (&LOGS_MESSAGES, kept),
            (&LOGS_BYTES, kept_bytes),
        ] {
            visit(metric, &[], MetricValue::Number(value));
        }
    }

    fn visit_state(&self, visit: &mut MetricVisitor<'_>) {
        let shared = &*self.0;
        let shared_subscriptions = shared.router.shared_subscriptions();
        let plain = shared.router.subscriptions().saturating_sub(shared_subscriptions);
        let messages = shared.meter.messages();
        for (metric, value) in [
            (&SUBSCRIPTIONS, plain as u64),
            (&SHARED_SUBSCRIPTIONS, shared_subscriptions as u64),
            (&GROUPS, shared.router.group_count() as u64),
            (&STORED, messages),
            (&ALSO_STORED, messages),
            (&MESSAGE_BYTES, shared.meter.bytes()),
            (&WILLS, shared.wills.count()),
            (&WILL_BYTES, shared.wills.bytes()),
            (&DELAYS_WAITING, shared.delays.len() as u64),
            (&DELAYS_BYTES, shared.owners.all().amount(Total::DelayedBytes)),
            (&BUFFERED, shared.buffers.bytes()),
            (&LETTERS_WAITING, self.0.dead_letters.len() as u64),
            (&DEDUP_KEYS, self.0.dedup.len() as u64),
            (&LOG_LOST, LOG_LINES_LOST.load(Ordering::Relaxed)),
        ] {
            visit(metric, &[], MetricValue::Number(value));
        }
    }

    fn visit_store(&self, visit: &mut MetricVisitor<'_>) {
        let figures = self.0.ports.store.figures();
        let batch = self.batching(figures.as_ref());
        visit(&PACKETS_PER_WRITE, &[], MetricValue::Ratio(batch.packets_per_write()));
        visit(&MESSAGES_PER_FLUSH, &[], MetricValue::Ratio(batch.messages_per_commit()));
        if let Some(figures) = figures {
            for (metric, value) in StoreFigures::metrics().iter().zip(figures.values()) {
                visit(metric, &[], MetricValue::Number(value));
            }
        }
    }

    fn visit_overload(&self, visit: &mut MetricVisitor<'_>) {
        let (cause, readings) = self.readings();
        let pressure = self.pressure();
        visit(&LEVEL, &[], MetricValue::Number(pressure.level().into()));
        let cap = pressure.cap().map_or(MetricValue::None, |cap| MetricValue::Number(cap.get()));
        visit(&CAP, &[], cap);
        visit(
            &CAUSE,
            &[],
            cause.map_or(MetricValue::None, |cause| MetricValue::Text(cause.name())),
        );
        for reading in readings {
            visit(of_cause(reading.cause()), &[], MetricValue::Number(reading.value()));
        }
    }

    /// Shows the metrics of one client, if there is anything to say: it has lost something, or is
    /// shaped. Returns whether there was.
    pub(in crate::broker) fn visit_client(
        id: &str,
        mailbox: &Mailbox,
        visit: &mut MetricVisitor<'_>,
    ) -> bool {
        let drops = drops_of(mailbox);
        let shown = !drops.is_empty() || mailbox.pace().is_some();
        if shown {
            Broker::show_client(id, mailbox, &drops, visit);
        }
        shown
    }

    /// Shows the metrics of those of these clients that have a Session.
    pub fn visit_clients_named(&self, client_ids: &[String], visit: &mut MetricVisitor<'_>) {
        for id in client_ids {
            if let Some((mailbox, _)) = self.0.registry.mailbox(&ClientId::new(id)) {
                Broker::show_client(id, &mailbox, &drops_of(&mailbox), visit);
            }
        }
    }

    fn show_client(
        id: &str,
        mailbox: &Mailbox,
        drops: &[(Loss, u64)],
        visit: &mut MetricVisitor<'_>,
    ) {
        let (messages, bytes) = mailbox.depth();
        visit(&QUEUE_MESSAGES, &[id], MetricValue::Number(messages as u64));
        visit(&QUEUE_BYTES, &[id], MetricValue::Number(bytes));
        for (loss, copies) in drops {
            visit(&CLIENT_DROPPED, &[id, loss.name()], MetricValue::Number(*copies));
        }
        if let Some(pace) = mailbox.pace() {
            let millis = |span: std::time::Duration| {
                MetricValue::Number(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
            };
            visit(&BUCKET_MESSAGES, &[id], MetricValue::Number(pace.level.0));
            visit(&BUCKET_BYTES, &[id], MetricValue::Number(pace.level.1));
            visit(&DELAYED, &[id], millis(pace.delayed));
            visit(&WAITED, &[id], millis(pace.waited));
        }
        let class = mailbox.class();
        if !class.is_empty() {
            visit(&CLASS, &[id], MetricValue::Text(&class));
        }
    }
}

/// The copies that a client has lost and would have wanted, by reason.
fn drops_of(mailbox: &Mailbox) -> Vec<(Loss, u64)> {
    let account = mailbox.account();
    let lost = |loss: Loss| -> u64 {
        account.ledger.iter().map(|class| u64::from(class[loss as usize])).sum()
    };
    let drops = Loss::ALL.into_iter().filter(|loss| loss.is_drop());
    drops.map(|loss| (loss, lost(loss))).filter(|(_, copies)| *copies > 0).collect()
}

/// How many moving averages there are. Not `LOADS.len()` in types: the optimiser looks at the rows to say that, and at
/// the types to look at the rows.
const LOAD_COUNT: usize = 9;
/// What moving averages are of.
const LOADS: [&Metric; LOAD_COUNT] = [
    &LOAD_MESSAGES_RECEIVED,
    &LOAD_MESSAGES_SENT,
    &LOAD_DROPPED,
    &LOAD_RECEIVED,
    &LOAD_SENT,
    &LOAD_BYTES_RECEIVED,
    &LOAD_BYTES_SENT,
    &LOAD_SOCKETS,
    &LOAD_CONNECTIONS,
];

/// What is measured of the load.
const OVERLOAD: [&Metric; 8] = [&LEVEL, &CAP, &CAUSE, &LAG, &MEMORY, &COMMIT, &QUEUED, &UNWRITTEN];

/// Moving averages of what a broker counts.
pub(in crate::broker) type BrokerLoads = Loads<LOAD_COUNT>;

/// The row of a cause of overload.
fn of_cause(cause: Cause) -> &'static Metric {
    match cause {
        Cause::Lag => &LAG,
        Cause::Memory => &MEMORY,
        Cause::Commit => &COMMIT,
        Cause::Queued => &QUEUED,
        Cause::Unwritten => &UNWRITTEN,
    }
}
