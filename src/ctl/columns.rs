//! The fields of lists and sheets, in the order in which they are shown.

/// The broker.
pub const STATUS: &[&str] = &[
    "version",
    "node",
    "started",
    "uptime_seconds",
    "ready",
    "not_ready",
    "level",
    "cause",
    "clients_connected",
    "sessions",
    "subscriptions",
    "retained_messages",
    "received_messages_total",
    "sent_messages_total",
    "lost_messages_total",
    "message_memory_bytes",
];
/// A client.
pub const CLIENTS: &[&str] = &[
    "client_id",
    "user",
    "connected",
    "queue_messages",
    "queue_bytes",
    "inflight_messages",
    "lost_messages",
    "address",
    "listener",
    "version",
    "class",
    "routed_messages",
    "delivered_messages",
];
/// A Subscription.
pub const SUBSCRIPTIONS: &[&str] =
    &["client_id", "filter", "qos", "id", "no_local", "retain_as_published", "retain_handling"];
/// A group.
pub const GROUPS: &[&str] = &[
    "name",
    "filter",
    "strategy",
    "members",
    "members_connected",
    "queue_messages",
    "queue_bytes",
    "inflight_messages",
    "lost_messages",
];
/// A named queue.
pub const QUEUES: &[&str] = &[
    "name",
    "source",
    "queue_messages",
    "queue_bytes",
    "oldest",
    "aside_messages",
    "postponed_messages",
    "inflight_messages",
    "lost_messages",
    "consumers_connected",
    "messages_max",
    "bytes_max",
    "policy",
    "strategy",
    "ttl_seconds",
];
/// A delayed message.
pub const DELAYED: &[&str] = &["id", "due", "topic", "client_id", "user", "message_bytes"];
/// A receiver of a topic.
pub const RECEIVERS: &[&str] =
    &["client_id", "group", "filter", "qos", "permitted", "connected", "rule"];
/// A message that waits in a named queue.
pub const QUEUED: &[&str] = &[
    "topic",
    "qos",
    "attempts",
    "due",
    "payload_bytes",
    "expires_in_seconds",
    "publisher",
    "received",
];
/// A log of kept messages.
pub const KEEPS: &[&str] = &[
    "name",
    "source",
    "kept_messages",
    "kept_bytes",
    "first",
    "last",
    "readers_connected",
    "unread_messages",
    "missed_messages",
    "messages_max",
    "bytes_max",
    "span_seconds",
];
/// A message that waits for a client.
pub const QUEUE: &[&str] = &[
    "topic",
    "qos",
    "retain",
    "state",
    "payload_bytes",
    "payload_base64",
    "expires_in_seconds",
    "publisher",
    "received",
];
/// A retained message.
pub const RETAINED: &[&str] = &[
    "topic",
    "qos",
    "payload_bytes",
    "payload_base64",
    "stored_at",
    "expires_in_seconds",
    "publisher",
];
/// A listener.
pub const LISTENERS: &[&str] = &[
    "name",
    "address",
    "transport",
    "tls",
    "connections",
    "connections_max",
    "opened_total",
    "handshakes_total",
    "handshakes_failed_total",
    "certificate_ends",
];
/// A loss.
pub const LOSSES: &[&str] = &["time", "client_id", "topic", "reason", "count", "first_time"];
/// A key of the configuration.
pub const CONFIG: &[&str] = &["key", "value", "origin", "reload"];
