//! What is to be done: groups of clients, what they publish and subscribe to, and the steps of a
//! run. Every scenario is one of these; every engine carries one out.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluicemq::codec::{QoS, Version};

use crate::journal::Acknowledged;
use crate::payload::Sizes;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the scenario.
    pub scenario: String,
    /// What was asked for, to be shown: name and value.
    pub settings: Vec<(String, String)>,
    /// The clients that take part. A client's number is its place over all groups.
    pub groups: Vec<Group>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// How messages are published.
    pub load: Load,
    /// Protocol version of every client: 3.1.1 or 5.
    pub version: Version,
    /// Keep Alive in seconds; 0 is off.
    pub keep_alive_s: u16,
    /// Receive Maximum of the clients; version 5 only.
    pub receive_maximum: Option<NonZeroU16>,
    /// Connections opened a second; as fast as the broker takes them if not given.
    pub connect_rate: Option<f64>,
    /// What Client Identifiers begin with.
    pub client_prefix: String,
    /// Number of the run: what else arrives is not of it.
    pub run: u32,
    /// From it everything random is drawn.
    pub seed: u64,
    /// Threads that make the load.
    pub threads: usize,
    /// Length of the windows in which the smoothness of arrival is measured, if it is.
    pub smoothness_ms: Option<u64>,
    /// Connections that cannot be opened are counted, and the run goes on.
    pub tolerant: bool,
    /// Connections may be lost: the scenario is about it.
    pub may_lose_connections: bool,
    /// Where acknowledged messages are written down as they are acknowledged.
    pub journal: Option<PathBuf>,
    /// What subscribers are owed: only these messages, from an earlier run, instead of everything
    /// that this one publishes.
    pub owed: Option<Arc<Acknowledged>>,
}

impl Plan {
    /// Whether a run without messages proves nothing.
    pub fn is_about_messages(&self) -> bool {
        self.owed.is_some() || self.groups.iter().any(|group| group.publishes.is_some())
    }
}

/// Clients that do the same.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// In the plural: `publishers`.
    pub name: String,
    /// How many.
    pub clients: u32,
    /// The Session is kept by the broker when the connection ends, and resumed.
    pub persistent: bool,
    /// A lost connection is opened again.
    pub reconnects: bool,
    /// What they publish.
    pub publishes: Option<Publishing>,
    /// What they subscribe to.
    pub subscribes: Vec<Subscribing>,
    /// They stop reading once they have subscribed; what they miss is not verified.
    pub stalls: bool,
}

/// What each client of a group publishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Publishing {
    /// Its topics, used in turn.
    pub topic: Pattern,
    /// How many topics.
    pub topics: u32,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// The topics of a recorded timeline instead, by publisher.
    pub recorded: Option<Arc<[Recorded]>>,
}

/// A topic of a recorded timeline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// The client that publishes it, by its place in its group.
    pub publisher: u32,
    /// Topic Name.
    pub topic: String,
    /// Quality of service.
    pub qos: QoS,
}

/// What each client of a group subscribes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribing {
    /// Its Topic Filters, without `$share`; what the named queue collects.
    pub filter: Pattern,
    /// How many filters.
    pub filters: u32,
    /// Maximum quality of service.
    pub qos: QoS,
    /// Name of the Shared Subscription, or of the named queue, that it is part of.
    pub share: Option<String>,
    /// It is a named queue of Sluice.
    pub queue: bool,
}

/// A topic or filter with places for numbers: `{pub}` and `{sub}` stand for the client's number in
/// its group, `{topic}` for the number of the topic or filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(pub String);

impl Pattern {
    /// The topic or filter number `item` of client number `client`.
    pub fn expand(&self, client: u32, item: u32) -> String {
        let client = client.to_string();
        self.0
            .replace("{pub}", &client)
            .replace("{sub}", &client)
            .replace("{topic}", &item.to_string())
    }

    /// The filter for what every client publishes under this pattern, whatever the numbers.
    pub fn wildcard(&self) -> Pattern {
        let level = |level: &str| if level.contains('{') { "+".into() } else { level.to_string() };
        Pattern(self.0.split('/').map(level).collect::<Vec<_>>().join("/"))
    }
}

/// One thing that is done, by all clients of a group at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Opens the connections of a group; if `subscribe`, makes their subscriptions too.
    Connect {
        /// The group's place in the plan.
        group: usize,
        /// With their subscriptions.
        subscribe: bool,
    },
    /// Every connected publisher publishes, as the plan's load says. If `measured`, this is what
    /// the run is about; else it only prepares.
    Publish {
        /// Counts and times are taken.
        measured: bool,
    },
    /// Waits until everything expected has arrived, or nothing has for the drain's time.
    Drain,
    /// A connected group makes its subscriptions and is sent what is retained; measured.
    Fetch {
        /// The group's place in the plan.
        group: usize,
    },
    /// Sessions of a group are resumed and give what they kept; measured.
    Collect {
        /// The group's place in the plan.
        group: usize,
    },
    /// Does nothing but answer; measured.
    Hold(Duration),
    /// Ends the connections of a group.
    Disconnect {
        /// The group's place in the plan.
        group: usize,
    },
    /// Ends the Sessions that the broker keeps of a group.
    Forget {
        /// The group's place in the plan.
        group: usize,
    },
    /// Takes back what a connected group has published retained.
    Clear {
        /// The group's place in the plan.
        group: usize,
    },
    /// Waits until the broker is gone, and until all clients are back; measured.
    AwaitRestart {
        /// How long to wait for each.
        at_most: Duration,
    },
    /// Clients of a group connect, disconnect and begin again; measured.
    Storm {
        /// The group's place in the plan.
        group: usize,
    },
}

/// How messages are published.
#[derive(Clone, Debug)]
pub struct Load {
    /// When the next one is due.
    pub pace: Pace,
    /// Length of the payloads.
    pub payload: Sizes,
    /// Published but not measured.
    pub warm_up: Duration,
    /// What ends it.
    pub length: Length,
    /// Silence after which nothing more is expected to arrive.
    pub drain: Duration,
    /// Most unacknowledged messages of a publisher; at quality of service 0 and without a rate,
    /// most that have not arrived.
    pub window: u32,
}

/// When a message is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// As soon as there is room in the window: a closed loop.
    Window,
    /// By an absolute schedule, this many a second over all publishers: an open loop.
    Rate(f64),
    /// `size` messages at once over all publishers, `every` so often.
    Burst {
        /// Messages in a burst.
        size: u64,
        /// From burst to burst.
        every: Duration,
    },
    /// As recorded.
    Timeline(Arc<[Event]>),
}

/// One message of a recorded timeline.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// When it is due, since the start.
    pub at: Duration,
    /// Its topic, by its place among those that were recorded.
    pub stream: u32,
    /// RETAIN flag.
    pub retain: bool,
    /// Length of its payload.
    pub payload: u32,
}

/// What ends publishing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// Time, after the warm-up.
    For(Duration),
    /// Messages over all publishers.
    Count(u64),
}

/// One client of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its place over all groups.
    pub number: u32,
    /// Its place in its group.
    pub index: u32,
    /// Its group.
    pub group: &'a Group,
}

impl Plan {
    /// How many clients take part.
    pub fn clients(&self) -> u32 {
        self.groups.iter().map(|group| group.clients).sum()
    }

    /// Number of the first client of each group.
    pub fn first_of(&self, group: usize) -> u32 {
        self.groups[..group].iter().map(|group| group.clients).sum()
    }

    /// Everyone who takes part, by number.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.groups
            .iter()
            .flat_map(|group| (0..group.clients).map(move |index| (group, index)))
            .zip(0..)
            .map(|((group, index), number)| Member { number, index, group })
    }

    /// The client with this number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn member(&self, number: u32) -> Member<'_> {
        let mut index = number;
        for group in &self.groups {
            if index < group.clients {
                return Member { number, index, group };
            }
            index -= group.clients;
        }
        panic!("client {number} of {}", self.clients())
    }

    /// The Client Identifier of a client: legal everywhere if the prefix is short, and unique.
    pub fn client_id(&self, member: &Member<'_>) -> String {
        format!("{}n{}", self.client_prefix, member.number)
    }
}

impl<'a> Member<'a> {
    /// Its topics.
    pub fn topics(self) -> impl Iterator<Item = String> + 'a {
        self.streams().map(|(topic, _)| topic)
    }

    /// Its topics, and the quality of service of each.
    pub fn streams(self) -> impl Iterator<Item = (String, QoS)> + 'a {
        self.group.publishes.iter().flat_map(move |publishing| {
            let recorded = publishing.recorded.as_deref();
            let patterned = if recorded.is_some() { 0 } else { publishing.topics };
            let expand = move |topic| (publishing.topic.expand(self.index, topic), publishing.qos);
            let mine = recorded.unwrap_or_default().iter();
            let mine = mine.filter(move |recorded| recorded.publisher == self.index);
            (0..patterned).map(expand).chain(mine.map(|one| (one.topic.clone(), one.qos)))
        })
    }

    /// Its Topic Filters, without `$share`, and which of its group's they are.
    pub fn filters(self) -> impl Iterator<Item = (String, &'a Subscribing)> + 'a {
        self.filters_from(0)
    }

    /// The same without the first `start`.
    pub fn filters_from(self, start: u32) -> impl Iterator<Item = (String, &'a Subscribing)> + 'a {
        let places = self.group.subscribes.iter();
        let places = places
            .flat_map(|subscribing| (0..subscribing.filters).map(move |item| (subscribing, item)));
        places.skip(start as usize).map(move |(of, item)| (of.filter.expand(self.index, item), of))
    }
}

impl Subscribing {
    /// `filter` as it stands in a SUBSCRIBE.
    pub fn on_the_wire(&self, filter: String) -> String {
        match &self.share {
            Some(name) if self.queue => format!("$queue/{name}"),
            Some(share) => format!("$share/{share}/{filter}"),
            None => filter,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan of these groups that is not carried out.
    pub(crate) fn plan_of(groups: Vec<Group>) -> Plan {
        Plan {
            scenario: "test".into(),
            settings: Vec::new(),
            groups,
            steps: Vec::new(),
            load: Load {
                pace: Pace::Window,
                payload: Sizes::fixed(64),
                warm_up: Duration::ZERO,
                length: Length::Count(1),
                drain: Duration::from_secs(1),
                window: 100,
            },
            version: Version::V5,
            keep_alive_s: 0,
            receive_maximum: None,
            connect_rate: None,
            client_prefix: "t".into(),
            run: 1,
            seed: 1,
            threads: 1,
            smoothness_ms: None,
            tolerant: false,
            may_lose_connections: false,
            journal: None,
            owed: None,
        }
    }

    #[test]
    fn a_pattern_is_expanded_and_widened() {
        let pattern = Pattern("load/{pub}/t{topic}/x".into());
        assert_eq!(pattern.expand(3, 7), "load/3/t7/x");
        assert_eq!(pattern.wildcard(), Pattern("load/+/+/x".into()));
    }
}
