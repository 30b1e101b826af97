//! The rows of the table: what load they are, and what is read from it.

use crate::broker::Kind;

/// One kind of load.
pub struct Row {
    /// What `--rows` looks at.
    pub name: &'static str,
    /// What the table says.
    pub title: &'static str,
    /// What is measured.
    pub section: Section,
    /// For `sluice-load`: scenario and options.
    pub words: &'static str,
    /// What differs with `--quick`.
    pub quick: &'static str,
}

/// A table of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    /// As fast as the broker takes it: CPU for each delivered message.
    Saturated,
    /// At a rate every broker keeps up with: CPU and latency.
    Paced,
    /// Many connections that do nothing.
    Idle,
    /// Connections that come and go.
    Storm,
    /// Memory of subscriptions.
    Subscriptions,
    /// System calls and context switches for each message.
    Calls,
}

impl Row {
    /// Whether the broker can do it at all.
    pub fn suits(&self, kind: Kind) -> bool {
        // The relay knows neither wildcards nor groups.
        kind != Kind::Relay || !matches!(self.name, "wild" | "shared")
    }

    /// Which version of MQTT the clients speak.
    pub fn version5(&self) -> bool {
        self.words.contains("--protocol 5")
    }
}

/// Every row. How many messages are on their way at once decides how many a broker finds in one
/// read, and so what each costs: the windows are part of what is measured.
pub const ROWS: &[Row] = &[
    saturated("pair-qos0", "50→50, QoS 0, 64 B", "pair --publishers 50 --window 16"),
    saturated(
        "pair-qos0-1k",
        "50→50, QoS 0, 1 KiB",
        "pair --publishers 50 --window 16 --payload 1024",
    ),
    saturated("pair-qos1", "50→50, QoS 1, 64 B", "pair --publishers 50 --window 16 --qos 1"),
    saturated(
        "pair-qos1-v5",
        "50→50, QoS 1, 64 B, MQTT 5",
        "pair --publishers 50 --window 16 --qos 1 --protocol 5",
    ),
    saturated(
        "pair-qos1-1k",
        "50→50, QoS 1, 1 KiB",
        "pair --publishers 50 --window 16 --qos 1 --payload 1024",
    ),
    saturated("pair-qos2", "50→50, QoS 2, 64 B", "pair --publishers 50 --window 16 --qos 2"),
    saturated("one-qos0", "1→1, QoS 0, 64 B, 100 on their way", "pair --publishers 1 --window 100"),
    saturated(
        "fanout",
        "1→1000, QoS 0, 64 B, 10 on their way",
        "fanout --publishers 1 --subscribers 1000 --topic load/all --window 10",
    ),
    saturated(
        "fanin",
        "500→1, QoS 1, 64 B, 2 on their way each",
        "fanin --publishers 500 --subscribers 1 --topic load/all --window 2 --qos 1",
    ),
    saturated(
        "exact",
        "10→10, QoS 0, 100k exact subscriptions",
        "pair --publishers 10 --topics 10000 --window 16",
    ),
    saturated(
        "wild",
        "10→100, QoS 0, 100k subscriptions (exact, +, #), 3 matches",
        "wild --publishers 10 --window 16",
    ),
    saturated(
        "shared",
        "10→shared group of 4, QoS 1",
        "shared --publishers 10 --subscribers 4 --window 16 --qos 1",
    ),
    paced("paced-one-qos1", "1→1, 5,000/s, QoS 1", "pair --publishers 1 --qos 1 --rate 5000"),
    paced("paced-pair-qos0", "50→50, 20,000/s, QoS 0", "pair --publishers 50 --rate 20000"),
    paced("paced-pair-qos1", "50→50, 20,000/s, QoS 1", "pair --publishers 50 --qos 1 --rate 20000"),
    Row {
        name: "idle",
        title: "10,000 idle clients with one subscription",
        section: Section::Idle,
        words: "idle --subscribers 10000 --hold 3s",
        quick: "idle --subscribers 2000 --hold 1s",
    },
    Row {
        name: "storm",
        title: "connect and disconnect",
        section: Section::Storm,
        words: "storm",
        quick: "storm",
    },
    Row {
        name: "subscriptions",
        title: "100k subscriptions",
        section: Section::Subscriptions,
        words: "wild --count 1000",
        quick: "wild --count 1000",
    },
    calls("calls-qos0", "50→50, 20,000/s, QoS 0", "pair --publishers 50 --rate 20000"),
    calls("calls-qos1", "50→50, 20,000/s, QoS 1", "pair --publishers 50 --qos 1 --rate 20000"),
];

const fn saturated(name: &'static str, title: &'static str, words: &'static str) -> Row {
    Row { name, title, section: Section::Saturated, words, quick: words }
}

const fn paced(name: &'static str, title: &'static str, words: &'static str) -> Row {
    Row { name, title, section: Section::Paced, words, quick: words }
}

const fn calls(name: &'static str, title: &'static str, words: &'static str) -> Row {
    Row { name, title, section: Section::Calls, words, quick: words }
}
