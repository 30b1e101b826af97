//! Which client should get which message: worked out from a plan before anything is sent, by matching every topic
//! with every filter, and without the broker's own code for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use sluicemq::codec::QoS;

use crate::error::Error;
use crate::plan::{Plan, Subscribing};

/// Which client should get which message.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Every topic of every publisher, those of one publisher together.
    pub streams: Vec<Stream>,
    /// Every receiver that something should reach.
    pub inboxes: Vec<Inbox>,
    /// For each client, its first stream and how many it has.
    streams_of: Vec<(u32, u32)>,
    /// For each client, its own inbox and that of its Shared Subscription.
    inboxes_of: Vec<(Option<u32>, Option<u32>)>,
}

/// One topic of one publisher. Its messages are numbered, and arrive in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The client that publishes it.
    pub client: u32,
    /// Topic Name that it is published to.
    pub topic: Box<str>,
    /// Quality of service it is published with.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// How many receivers should get each message; clients that stall left out.
    pub copies: u32,
}

impl Stream {
    /// The topic that its messages arrive with.
    pub fn arrives_on(&self) -> &str {
        arrives_on(&self.topic)
    }
}

/// The topic that what is published to `topic` arrives with: a delayed message loses its `$delayed/<span>/`.
pub fn arrives_on(topic: &str) -> &str {
    let delayed = topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/'));
    delayed.map_or(topic, |(_span, topic)| topic)
}

/// One receiver: a client, or all members of a Shared Subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inbox {
    /// The Shared Subscription, if it is one.
    pub share: Option<String>,
    /// The clients that receive.
    pub members: Vec<u32>,
    /// What should reach it, by stream, rising.
    pub routes: Vec<Route>,
}

/// A stream that should reach an inbox.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// The stream.
    pub stream: u32,
    /// Quality of service it arrives with.
    pub qos: QoS,
}

impl Routes {
    /// Works out which client should get which message.
    ///
    /// # Errors
    ///
    /// If a topic or filter of the plan is none.
    pub fn new(plan: &Plan) -> Result<Routes, Error> {
        let mut routes = Routes::default();
        routes.add_streams(plan)?;
        let mut filters = Filters::default();
        let mut inboxes = Vec::new();
        let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
        for member in plan.members() {
            let (mut own, mut shared) = (None, None);
            for (filter, subscribing) in member.filters() {
                check_filter(&filter)?;
                let inbox = match &subscribing.share {
                    None => *own.get_or_insert_with(|| add(&mut inboxes, None)),
                    Some(share) => *shares
                        .entry(share)
                        .or_insert_with(|| add(&mut inboxes, Some(share.clone()))),
                };
                if subscribing.share.is_some() {
                    shared = Some(inbox);
                    filters.add_once(filter, inbox, subscribing);
                } else {
                    filters.add(filter, inbox, subscribing);
                }
            }
            if !member.group.stalls {
                for inbox in own.into_iter().chain(shared) {
                    inboxes[inbox as usize].members.push(member.number);
                }
            }
            routes.inboxes_of.push((own, shared));
        }
        for (number, stream) in routes.streams.iter_mut().enumerate() {
            for (inbox, qos) in filters.matching(stream.arrives_on()) {
                let inbox = &mut inboxes[inbox as usize];
                if !inbox.members.is_empty() {
                    stream.copies += 1;
                    inbox.routes.push(Route { stream: number as u32, qos: qos.min(stream.qos) });
                }
            }
        }
        routes.keep(inboxes);
        Ok(routes)
    }

    /// Routes that were worked out elsewhere: streams, inboxes, and for each client its own inbox
    /// and that of its Shared Subscription.
    pub fn of(
        streams: Vec<Stream>,
        inboxes: Vec<Inbox>,
        inboxes_of: Vec<(Option<u32>, Option<u32>)>,
    ) -> Routes {
        Routes { streams, inboxes, streams_of: Vec::new(), inboxes_of }
    }

    /// The streams of a client: the first and how many.
    pub fn streams_of(&self, client: u32) -> (u32, u32) {
        self.streams_of[client as usize]
    }

    /// The inboxes of a client: its own, and that of its Shared Subscription.
    pub fn inboxes_of(&self, client: u32) -> (Option<u32>, Option<u32>) {
        self.inboxes_of[client as usize]
    }

    fn add_streams(&mut self, plan: &Plan) -> Result<(), Error> {
        for member in plan.members() {
            let first = self.streams.len() as u32;
            if let Some(publishing) = &member.group.publishes {
                for (topic, qos) in member.streams() {
                    check_topic(&topic)?;
                    self.streams.push(Stream {
                        client: member.number,
                        topic: topic.into(),
                        qos,
                        retain: publishing.retain,
                        copies: 0,
                    });
                }
            }
            self.streams_of.push((first, self.streams.len() as u32 - first));
        }
        Ok(())
    }

    /// Takes the inboxes that something should reach, under new numbers.
    fn keep(&mut self, inboxes: Vec<Inbox>) {
        let mut numbers = Vec::with_capacity(inboxes.len());
        for inbox in inboxes {
            let keep = !inbox.routes.is_empty();
            numbers.push(keep.then_some(self.inboxes.len() as u32));
            self.inboxes.extend(keep.then_some(inbox));
        }
        let renumber = |inbox: &mut Option<u32>| {
            *inbox = inbox.and_then(|inbox| numbers[inbox as usize]);
        };
        for (own, shared) in &mut self.inboxes_of {
            renumber(own);
            renumber(shared);
        }
    }
}

fn add(inboxes: &mut Vec<Inbox>, share: Option<String>) -> u32 {
    inboxes.push(Inbox { share, ..Inbox::default() });
    inboxes.len() as u32 - 1
}

/// All filters, so that those for a topic are found without looking at each: by the filter, or for
/// one with wildcards by the levels before the first.
#[derive(Default)]
struct Filters {
    exact: HashMap<String, Vec<(u32, QoS)>>,
    wild: HashMap<String, Vec<(String, u32, QoS)>>,
    shared: HashSet<(u32, String)>,
}

impl Filters {
    fn add(&mut self, filter: String, inbox: u32, subscribing: &Subscribing) {
        match filter.split('/').position(|level| level == "+" || level == "#") {
            None => self.exact.entry(filter).or_default().push((inbox, subscribing.qos)),
            Some(levels) => {
                let before: Vec<&str> = filter.split('/').take(levels).collect();
                let entry = self.wild.entry(before.join("/")).or_default();
                entry.push((filter, inbox, subscribing.qos));
            }
        }
    }

    /// The same filter of another member of a Shared Subscription is not another filter.
    fn add_once(&mut self, filter: String, inbox: u32, subscribing: &Subscribing) {
        if self.shared.insert((inbox, filter.clone())) {
            self.add(filter, inbox, subscribing);
        }
    }

    /// Each inbox with a filter for `topic`, with the highest quality of service of those.
    fn matching(&self, topic: &str) -> BTreeMap<u32, QoS> {
        let mut found = BTreeMap::new();
        let mut note = |inbox: u32, qos: QoS| {
            let highest = found.entry(inbox).or_insert(qos);
            *highest = qos.max(*highest);
        };
        for &(inbox, qos) in self.exact.get(topic).into_iter().flatten() {
            note(inbox, qos);
        }
        let ends = topic.match_indices('/').map(|(at, _)| at).chain([topic.len()]);
        for before in [""].into_iter().chain(ends.map(|end| &topic[..end])) {
            for (filter, inbox, qos) in self.wild.get(before).into_iter().flatten() {
                if matches(filter, topic) {
                    note(*inbox, *qos);
                }
            }
        }
        found
    }
}

/// Whether a Topic Filter matches a Topic Name, by the letter of the standard.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            (_, Some(_)) => return false,
        }
    }
    topic.next().is_none()
}

fn check_topic(topic: &str) -> Result<(), Error> {
    if topic.is_empty() || topic.len() > 65_535 || topic.contains(['+', '#', '\0']) {
        return Err(Error::Input(format!("{topic:?} is no topic to publish to")));
    }
    Ok(())
}

fn check_filter(filter: &str) -> Result<(), Error> {
    let levels = filter.split('/').count();
    let legal = !filter.is_empty()
        && filter.len() <= 65_000
        && !filter.contains('\0')
        && filter.split('/').enumerate().all(|(place, level)| match level {
            "+" => true,
            "#" => place + 1 == levels,
            other => !other.contains(['+', '#']),
        });
    if !legal {
        return Err(Error::Input(format!("{filter:?} is no topic filter")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan_of;
    use crate::plan::{Group, Pattern, Publishing};

    fn publishers(clients: u32, topic: &str, topics: u32) -> Group {
        let qos = QoS::AtLeastOnce;
        Group {
            name: "publishers".into(),
            clients,
            publishes: Some(Publishing {
                topic: Pattern(topic.into()),
                topics,
                qos,
                retain: false,
                recorded: None,
            }),
            ..Group::default()
        }
    }

    fn subscribers(clients: u32, filter: &str, share: Option<&str>) -> Group {
        Group {
            name: "subscribers".into(),
            clients,
            subscribes: vec![Subscribing {
                filter: Pattern(filter.into()),
                filters: 1,
                qos: QoS::ExactlyOnce,
                share: share.map(str::to_string),
                queue: false,
            }],
            ..Group::default()
        }
    }

    fn copies(groups: Vec<Group>) -> Vec<u32> {
        let routes = Routes::new(&plan_of(groups)).unwrap();
        routes.streams.iter().map(|stream| stream.copies).collect()
    }

    #[test]
    fn each_topic_reaches_who_asked_for_it() {
        assert_eq!(
            copies(vec![publishers(2, "a/{pub}", 1), subscribers(3, "a/{sub}", None)]),
            [1, 1]
        );
        assert_eq!(copies(vec![publishers(1, "a/b", 1), subscribers(3, "a/+", None)]), [3]);
        assert_eq!(copies(vec![publishers(1, "a/b", 1), subscribers(3, "#", None)]), [3]);
        assert_eq!(copies(vec![publishers(1, "a", 1), subscribers(3, "a/#", None)]), [3]);
        assert_eq!(copies(vec![publishers(1, "b", 1), subscribers(3, "a/#", None)]), [0]);
        assert_eq!(
            copies(vec![publishers(1, "$delayed/5s/a/b", 1), subscribers(3, "a/#", None)]),
            [3]
        );
    }

    #[test]
    fn a_shared_subscription_is_one_receiver() {
        let groups = vec![publishers(2, "a/{topic}", 2), subscribers(3, "a/+", Some("g"))];
        let routes = Routes::new(&plan_of(groups)).unwrap();
        assert!(routes.streams.iter().all(|stream| stream.copies == 1));
        assert_eq!(routes.inboxes.len(), 1);
        assert_eq!(routes.inboxes[0].members, [2, 3, 4]);
        let streams: Vec<u32> = routes.inboxes[0].routes.iter().map(|route| route.stream).collect();
        assert_eq!(streams, [0, 1, 2, 3]);
        assert_eq!(routes.inboxes_of(3), (None, Some(0)));
        assert_eq!(routes.streams_of(1), (2, 2));
    }

    #[test]
    fn who_stalls_is_not_counted_on() {
        let stalled = Group { stalls: true, ..subscribers(3, "a", None) };
        assert_eq!(copies(vec![publishers(1, "a", 1), stalled, subscribers(1, "a", None)]), [1]);
    }

    #[test]
    fn matching_follows_the_standard() {
        for (filter, topic, expected) in [
            ("a/+/c", "a/b/c", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_no_topic_or_filter_is_refused() {
        for groups in [
            vec![publishers(1, "a/+", 1)],
            vec![publishers(1, "", 1)],
            vec![subscribers(1, "a/#/b", None)],
            vec![subscribers(1, "a+", None)],
        ] {
            assert!(matches!(Routes::new(&plan_of(groups)), Err(Error::Input(_))));
        }
    }
}
