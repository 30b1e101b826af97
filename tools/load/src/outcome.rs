//! What a run found: plain data, from which every kind of output is made.

use serde::{Deserialize, Serialize};

/// What one run of one scenario against one broker found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Outcome {
    /// Name of the scenario: `pair`, `fanout`, …
    pub scenario: String,
    /// The broker, as `host:port`.
    pub target: String,
    /// What was asked for, in the order to be shown: name and value, such as `QoS` and `1`.
    pub settings: Vec<(String, String)>,
    /// When it began, Unix time in milliseconds.
    pub started_unix_ms: u64,
    /// Seconds that were measured: from the end of the warm-up to the last publish.
    pub seconds: f64,
    /// Seconds from the last publish until everything had arrived or was given up.
    pub drain_seconds: f64,
    /// What was sent and came back, in the measured time and its drain.
    pub traffic: Traffic,
    /// From when a message was due (open loop) or written (closed loop) to its arrival.
    pub latency: Latency,
    /// From a PUBLISH to the end of its handshake; empty at QoS 0.
    pub acknowledgement: Latency,
    /// What is wrong with what came back.
    pub verification: Verification,
    /// Network Connections.
    pub connections: Connections,
    /// How evenly messages left the broker; only where a scenario asks for it.
    pub smoothness: Option<Smoothness>,
    /// CPU seconds of the load generator itself, user and system, in the measured time.
    pub own_cpu_seconds: f64,
    /// The broker's process, where its number was given.
    pub broker: Option<BrokerUse>,
    /// What happened over time.
    pub timeline: Vec<Sample>,
    /// The scenario is about messages: a run without any proves nothing.
    #[serde(default)]
    pub is_about_messages: bool,
    /// The run was interrupted: it is of the part that ran.
    #[serde(default)]
    pub is_interrupted: bool,
    /// What was required with `--require` and not reached, a line each.
    #[serde(default)]
    pub unmet: Vec<String>,
}

impl Outcome {
    /// Why the run proves nothing, if it does not: nothing of what it is about happened.
    pub fn nothing_happened(&self) -> Option<String> {
        let Traffic { published, acknowledged, refused, expected, delivered, .. } = self.traffic;
        let arrived = expected > 0 || delivered > 0;
        if !self.is_about_messages || arrived || acknowledged > refused {
            return None;
        }
        Some(match (published, refused) {
            (0, _) => "no message was published, so nothing is proven".to_owned(),
            (_, 0) => "nothing was acknowledged or expected, so nothing is proven".to_owned(),
            _ => "the broker refused every PUBLISH, so nothing is proven".to_owned(),
        })
    }
}

/// Messages and bytes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Traffic {
    /// PUBLISHes written in the measured time; where none are, as in `durable`, all of them.
    pub published: u64,
    /// PUBLISHes of QoS 1 and 2 with a completed handshake.
    pub acknowledged: u64,
    /// PUBLISHes answered with a Reason Code of 0x80 or above.
    pub refused: u64,
    /// Copies that should arrive.
    pub expected: u64,
    /// Copies that arrived, duplicates included.
    pub delivered: u64,
    /// Payload bytes published and delivered.
    pub payload_bytes: (u64, u64),
    /// PUBLISHes a second.
    pub publish_rate: f64,
    /// Copies a second.
    pub delivery_rate: f64,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Latency {
    /// Times measured. If 0, nothing else here means anything.
    pub count: u64,
    /// Shortest.
    pub min_us: f64,
    /// Mean.
    pub mean_us: f64,
    /// Half of them were at most this.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// Longest.
    pub max_us: f64,
    /// Points of the distribution: share of the times (0 to 1) and the time they are within,
    /// rising, denser towards 1.
    pub distribution: Vec<(f64, f64)>,
}

/// What is wrong with what came back; all zero if nothing is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Verification {
    /// Copies that should have arrived and did not.
    pub lost: u64,
    /// Of these, QoS 0: a broker may drop them, so they fail a run only if asked to.
    pub lost_qos0: u64,
    /// Copies that arrived again.
    pub duplicates: u64,
    /// Of these, QoS 1 sent again after a connection was lost: allowed.
    pub duplicates_allowed: u64,
    /// Copies that arrived behind a later one of the same publisher and topic.
    pub reordered: u64,
    /// Messages with a wrong checksum or stamp.
    pub corrupt: u64,
    /// Copies that arrived at a client that had not asked for them.
    pub misrouted: u64,
    /// The first few of each kind, in words.
    pub examples: Vec<String>,
}

/// Network Connections.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Connections {
    /// Asked for.
    pub wanted: u64,
    /// Accepted with CONNACK.
    pub opened: u64,
    /// Refused, or failed before CONNACK.
    pub failed: u64,
    /// Ended by the broker or the network before the run did.
    pub lost: u64,
    /// From connect to CONNACK.
    pub connect: Latency,
    /// Accepted a second while they were being opened.
    pub open_rate: f64,
    /// The scenario is about losing them: that fails no run.
    pub may_be_lost: bool,
    /// How all came back after the broker was gone; only where a scenario waits for it.
    pub recovery: Option<Recovery>,
}

/// How all clients came back after the broker was gone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Recovery {
    /// From the first lost connection to the first that was accepted again.
    pub down_seconds: f64,
    /// From then until the last was accepted.
    pub all_back_seconds: f64,
}

/// How evenly messages arrived: counts of each window of time at each subscriber.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Smoothness {
    /// Length of a window in milliseconds.
    pub window_ms: u64,
    /// Windows counted: all subscribers, without the first and the last of each.
    pub windows: u64,
    /// Fewest, mean and most messages in a window.
    pub messages: (u64, f64, u64),
    /// Standard deviation of the messages in a window, divided by their mean.
    pub variation: f64,
    /// Most bytes of payload in a window.
    pub bytes_max: u64,
}

/// What the broker's process used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct BrokerUse {
    /// Process number.
    pub pid: u32,
    /// CPU seconds in the measured time and its drain, user and system, all threads.
    pub cpu_seconds: f64,
    /// Microseconds of CPU for each delivered copy; where nothing is delivered, for each message
    /// published; where nothing is published either, for each connection.
    pub cpu_us_per_message: f64,
    /// Resident bytes before the first connection.
    pub resident_before: u64,
    /// Resident bytes at most.
    pub resident_max: u64,
    /// Resident bytes at the end, connections still open.
    pub resident_after: u64,
    /// Resident bytes for each connection: (after - before) / connections.
    pub bytes_per_connection: f64,
    /// Context switches, voluntary and not, for each delivered copy.
    pub switches_per_message: f64,
}

/// One moment of a run, of `TIMELINE_MS`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Sample {
    /// Its end, seconds since the run began (warm-up included).
    pub at_s: f64,
    /// Phase of a plan it belongs to, from 0.
    pub phase: u32,
    /// It is part of the measured time.
    pub measured: bool,
    /// PUBLISHes written in it.
    pub published: u64,
    /// Copies that arrived in it.
    pub delivered: u64,
    /// Connections open at its end.
    pub connections: u64,
    /// Connections lost in it.
    pub disconnects: u64,
    /// PUBLISHes refused in it, QoS 0 copies known to be missing at its end.
    pub drops: u64,
    /// Latency of what arrived in it.
    pub p50_us: f64,
    /// The same.
    pub p99_us: f64,
    /// The same.
    pub max_us: f64,
    /// The broker's CPU in it, in cores; 0 if unknown.
    pub broker_cores: f64,
    /// The broker's resident bytes at its end; 0 if unknown.
    pub broker_resident: u64,
}

/// Milliseconds of a [`Sample`].
pub const TIMELINE_MS: u64 = 100;
