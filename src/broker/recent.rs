//! A cache of the receivers of topics: publishers mostly send to the same topics, and Subscriptions
//! change seldom. Each thread has its own, in its turn's scratch memory.

use super::matches::Match;
use crate::topic::TopicName;

/// The cache: receivers by topic.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Entries by the topic's hash; allocated at the first use.
    found: Vec<Found>,
    /// Receivers in all entries.
    held: usize,
    /// The receivers of the last topic, if they are not kept.
    passing: Vec<Match>,
}

/// One entry: the receivers of one topic.
#[derive(Debug, Default)]
struct Found {
    topic: String,
    /// Version of the routes in which they were found; 0: the entry is empty.
    version: u64,
    /// Hash of the topic that was looked up here last and not found.
    sought: u64,
    matches: Vec<Match>,
}

/// Entries, a power of two.
const TOPICS: usize = 256;
/// Receivers in all entries, at most.
const MATCHES_MAX: usize = 16 * 1024;

impl Recent {
    /// Whether it has the receivers of `topic` in the routes of this `version`, which is above 0.
    #[inline]
    pub fn knows(&self, topic: TopicName<'_>, hash: u64, version: u64) -> bool {
        let found = self.found.get(place(hash));
        found.is_some_and(|found| found.version == version && found.topic == topic.as_str())
    }

    /// The receivers of a topic that it [knows](Recent::knows).
    #[inline]
    pub fn known(&self, hash: u64) -> &[Match] {
        &self.found[place(hash)].matches
    }

    /// Runs `search` for the receivers of `topic`, and keeps what it found. `search` returns whether the
    /// receivers are the same for every publisher: only then they are kept, and only from the second
    /// search on, so that topics that are used once do not displace others.
    pub fn find_anew(
        &mut self,
        topic: TopicName<'_>,
        hash: u64,
        version: u64,
        search: impl FnOnce(&mut Vec<Match>) -> bool,
    ) -> &[Match] {
        self.passing.clear();
        let keep = search(&mut self.passing);
        if !keep || self.passing.len() > MATCHES_MAX {
            return &self.passing;
        }
        if self.held + self.passing.len() > MATCHES_MAX || self.found.is_empty() {
            self.found.clear();
            self.found.resize_with(TOPICS, Found::default);
            self.held = 0;
        }
        let found = &mut self.found[place(hash)];
        if std::mem::replace(&mut found.sought, hash) != hash {
            return &self.passing;
        }
        self.held = self.held - found.matches.len() + self.passing.len();
        topic.as_str().clone_into(&mut found.topic);
        found.version = version;
        std::mem::swap(&mut found.matches, &mut self.passing);
        // The mailboxes that the entry had before are not kept alive.
        self.passing.clear();
        &found.matches
    }
}

fn place(hash: u64) -> usize {
    hash as usize % TOPICS
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use std::sync::Arc;

    use thin_vec::ThinVec;

    use super::*;
    use crate::broker::mailbox::Mailbox;
    use crate::broker::router::{RouteChange, Router, Subscriber};
    use crate::codec::{Properties, QoS, RetainHandling, SubscribeOptions};
    use crate::message::{ClientId, Identity, Meter, SessionId};
    use crate::session::Subscription;
    use crate::topic::{TopicFilter, TopicLimits};

    const FILTERS: [&str; 8] = ["a/b", "a/+", "#", "b", "+/b", "c/d/e", "c/#", "$share/g/a/b"];
    const TOPICS: [&str; 6] = ["a/b", "a/c", "b", "c/d/e", "d", "a/b/c"];

    /// The naive twin has an empty cache at each look-up.
    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let mut random = 11u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let router = Router::new(5);
        let clients: Vec<Arc<Identity>> = (0..5)
            .map(|n| Identity::new(ClientId::new(&format!("c{n}")), None, Meter::forever()).into())
            .collect();
        let mailboxes: Vec<_> = (0..5)
            .map(|n| (SessionId::new(n as u64 + 1), clients[n].clone()))
            .map(|(id, client)| Arc::new(Mailbox::for_session(id, client)))
            .collect();
        let mut recent = Recent::default();
        let mut found = 0;
        for _ in 0..20_000 {
            if draw(10) == 0 {
                let index = draw(5);
                let (session, mailbox) = (SessionId::new(index as u64 + 1), &mailboxes[index]);
                let filter = TopicFilter::parse(
                    FILTERS[draw(FILTERS.len())],
                    &TopicLimits { bytes_max: 100, levels_max: 10 },
                )
                .expect("a filter");
                let options = SubscribeOptions {
                    qos: QoS::from_bits(draw(3) as u8).expect("a level"),
                    no_local: filter.share().is_none() && draw(4) == 0,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Always,
                };
                let change = match draw(2) {
                    0 => {
                        RouteChange::subscribe(filter, Subscription { options, id: draw(3) as u32 })
                    }
                    _ => RouteChange::Unsubscribe(filter),
                };
                let subscriber = Subscriber::new(session, mailbox).connected(true);
                let _ = router.change(&subscriber, &[change], ThinVec::new());
            }
            let (topic, publisher) = (TopicName::trusted(TOPICS[draw(6)]), &clients[draw(5)]);
            let from = (&**publisher, &Properties::EMPTY);
            let say = |matches: &[Match]| {
                let all =
                    matches.iter().map(|m| (m.receiver(), m.qos(), m.ids().as_slice().to_vec()));
                all.collect::<Vec<_>>()
            };
            let remembered = say(router.route(topic, from, None, &mut recent).matches);
            let anew = say(router.route(topic, from, None, &mut Recent::default()).matches);
            assert_eq!(remembered, anew, "{topic:?}");
            found += anew.len();
        }
        assert!(found > 10_000, "there are Subscriptions");
    }
}
