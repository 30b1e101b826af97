//! Every metric with its value: what `$SYS` says, and what an exporter shows.

use super::table::{Metric, MetricValue, metrics};
use super::{Counter, MetricKind, MetricUnit};
use crate::broker::Broker;
use crate::broker::mailbox::Mailbox;
use crate::broker::overload::Cause;
use crate::broker::ports::StoreFigures;
use crate::message::{Loss, RefusalKind};
use crate::time::Time;

metrics! {
    VERSION "version" Text Various "version" "Version of the broker.";
    UPTIME "uptime" Gauge Seconds "uptime" "Time since the start.";
    CONNECTED "clients_connected" Gauge Count "clients/connected" "Clients connected.";
    DISCONNECTED "clients_disconnected" Gauge Count "clients/disconnected"
        "Sessions whose clients are not connected.";
    SESSIONS "clients" Gauge Count "clients/total" "Sessions, of connected clients and of others.";
    CONNECTED_MAX "clients_max" Gauge Count "clients/maximum"
        "Most clients that were connected at once.";
    ALSO_RECEIVED "messages_received" Counter Count "messages/received"
        "The same as publish/messages/received: mosquitto has both names.";
    ALSO_SENT "messages_sent" Counter Count "messages/sent"
        "The same as publish/messages/sent: mosquitto has both names.";
    DROPPED "publish_dropped" Counter Count "publish/messages/dropped"
        "Copies in the ledger, but offline_qos0.";
    RETAINED "retained" Gauge Count "retained messages/count" "Retained messages.";
    RETAINED_BYTES "retained_messages" Gauge Bytes "retained messages/bytes"
        "Memory that retained messages take.";
    SUBSCRIPTIONS "subscriptions" Gauge Count "subscriptions/count"
        "Subscriptions; those to a group are counted by member.";
    GROUPS "groups" Gauge Count "groups/count" "Groups of Shared Subscriptions.";
    MESSAGE_BYTES "messages" Gauge Bytes "store/messages/bytes" "Memory that messages take.";
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
    LEDGER "ledger" Counter Count "ledger/<reason>" "Copies lost, by reason.";
    REFUSED "refused" Counter Count "refused/<reason>"
        "What was refused to peers, by reason: see docs/refusals.md.";
    TOPIC_LEDGER "topic_ledger" Counter Count "ledger/topics/<class>/<reason>"
        "The same by [[topic_class]]; shed, over_rate and refused are of QoS 0 and Wills not routed.";
    QUEUE_MESSAGES "client_queue" Gauge Count "clients/<id>/queue/messages"
        "Copies that wait for the client.";
    QUEUE_BYTES "client_queue_messages" Gauge Bytes "clients/<id>/queue/bytes" "Their bytes.";
    CLIENT_DROPPED "client_dropped" Counter Count "clients/<id>/dropped/<reason>"
        "Copies for the client that were lost, by reason.";
    BUCKET_MESSAGES "client_shaping_level_messages" Gauge Count "clients/<id>/shaping/level/messages"
        "Messages in the client's bucket.";
    BUCKET_BYTES "client_shaping_level_bytes" Gauge Bytes "clients/<id>/shaping/level/bytes"
        "Bytes in the client's bucket.";
    DELAYED "client_shaping_delayed" Counter Millis "clients/<id>/shaping/delayed/ms"
        "How long something for the client waited at its own bucket.";
    WAITED "client_shaping_waited" Counter Millis "clients/<id>/shaping/waited/ms"
        "How long something for the client waited at buckets that it shares.";
    CLASS "client_class" Text Various "clients/<id>/class" "The [[class]] of the client.";
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
        visit(&VERSION, &[], MetricValue::Text(concat!("sluice ", env!("CARGO_PKG_VERSION"))));
        visit(&UPTIME, &[], MetricValue::Number(now.since(self.0.started).as_secs()));
        self.visit_clients(visit);
        let metrics = &self.0.metrics;
        for counter in Counter::ALL {
            visit(counter.metric(), &[], MetricValue::Number(metrics.sum(*counter)));
        }
        for (metric, counter) in [(&ALSO_RECEIVED, Counter::Received), (&ALSO_SENT, Counter::Sent)]
        {
            visit(metric, &[], MetricValue::Number(metrics.sum(counter)));
        }
        visit(&DROPPED, &[], MetricValue::Number(metrics.dropped()));
        self.visit_state(visit);
        self.visit_store(visit);
        self.visit_overload(visit);
        for loss in Loss::ALL {
            visit(&LEDGER, &[loss.name()], MetricValue::Number(metrics.lost(loss)));
        }
        for kind in RefusalKind::ALL {
            visit(&REFUSED, &[kind.name()], MetricValue::Number(metrics.refused(*kind)));
        }
        for losses in metrics.topics().losses() {
            for (reason, count) in losses.reasons().filter(|(_, count)| *count > 0) {
                visit(&TOPIC_LEDGER, &[&losses.class, reason], MetricValue::Number(count));
            }
        }
    }

    fn visit_clients(&self, visit: &mut MetricVisitor<'_>) {
        let metrics = &self.0.metrics;
        let connected = metrics.connected();
        let sessions = self.0.registry.sessions();
        let connected_max = metrics.connected_max();
        for (metric, count) in [
            (&CONNECTED, connected),
            (&DISCONNECTED, sessions.saturating_sub(connected)),
            (&SESSIONS, sessions),
            (&CONNECTED_MAX, connected_max),
        ] {
            visit(metric, &[], MetricValue::Number(count as u64));
        }
    }

    fn visit_state(&self, visit: &mut MetricVisitor<'_>) {
        let shared = &*self.0;
        let (retained, retained_bytes) = shared.router.retained().totals();
        for (metric, value) in [
            (&RETAINED, retained as u64),
            (&RETAINED_BYTES, retained_bytes),
            (&SUBSCRIPTIONS, shared.router.subscriptions() as u64),
            (&GROUPS, shared.router.group_count() as u64),
            (&MESSAGE_BYTES, shared.meter.bytes()),
            (&BUFFERED, shared.buffers.bytes()),
            (&LETTERS_WAITING, self.0.dead_letters.len() as u64),
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
        let (account, pace) = (mailbox.account(), mailbox.pace());
        let lost = |loss: Loss| -> u64 {
            account.ledger.iter().map(|class| u64::from(class[loss as usize])).sum()
        };
        let drops = Loss::ALL.into_iter().filter(|loss| loss.is_drop() && lost(*loss) > 0);
        let drops: Vec<_> = drops.collect();
        if drops.is_empty() && pace.is_none() {
            return false;
        }
        let (messages, bytes) = mailbox.depth();
        visit(&QUEUE_MESSAGES, &[id], MetricValue::Number(messages as u64));
        visit(&QUEUE_BYTES, &[id], MetricValue::Number(bytes));
        for loss in drops {
            visit(&CLIENT_DROPPED, &[id, loss.name()], MetricValue::Number(lost(loss)));
        }
        if let Some(pace) = pace {
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
        true
    }
}

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
