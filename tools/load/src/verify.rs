//! Judges what arrives: lost, doubled, out of order, corrupt, or at a client that did not ask for it.
//!
//! For each receiver and stream there is a `Tracker`, which knows which numbers have come. A number
//! that comes twice is a duplicate, one that fills a hole came out of order, a hole at the end is a
//! loss.

mod tracker;

use sluicemq::codec::QoS;

use self::tracker::{Step, Tracker};
use crate::journal::Acknowledged;
use crate::outcome::Verification;
use crate::routes::Routes;
use crate::stamp::Stamp;

/// Judges what arrives at some of the receivers of a plan.
pub struct Verifier {
    run: u32,
    inboxes: Vec<Tracked>,
    /// Of all inboxes, one after the other, in the order of their routes.
    trackers: Vec<Tracker>,
    /// The stream of each tracker.
    streams: Vec<u32>,
    /// For each member of a Shared Subscription and route, the next number it may be given.
    orders: Vec<u64>,
    tally: Tally,
}

/// Where a client's messages are tracked: what [`Verifier::receiver`] gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Receiver {
    own: Option<u32>,
    shared: Option<(u32, u32)>,
}

impl Receiver {
    /// It is a member of a Shared Subscription.
    pub fn is_shared(self) -> bool {
        self.shared.is_some()
    }
}

/// One PUBLISH as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Topic Name.
    pub topic: &'a [u8],
    /// Application Message.
    pub payload: &'a [u8],
    /// It may come a second time: `QoS` 1, and a connection was lost on its way. In a Shared
    /// Subscription, it may then also come behind later ones.
    pub repeat_allowed: bool,
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It came for the first time.
    Fresh {
        /// Its stream.
        stream: u32,
        /// When it was due.
        due_ns: u64,
        /// By how many messages this receiver is further in the stream: the message itself and
        /// those before it that it overtook.
        progress: u64,
    },
    /// It came before.
    Again {
        /// When it was due.
        due_ns: u64,
    },
    /// It is corrupt, or not for this receiver.
    Wrong,
    /// It is of another run.
    Foreign,
}

struct Tracked {
    /// Number in [`Routes::inboxes`].
    inbox: u32,
    /// Its first tracker, and how many.
    first: u32,
    len: u32,
    /// Streams of the trackers are consecutive.
    dense: bool,
    corrupt: u64,
}

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Copies that came again, of these allowed, out of order, corrupt, misrouted.
    pub found: Verification,
    /// Copies of other runs, ignored.
    pub foreign: u64,
    /// Copies that arrived for the first time, corrupt ones included.
    pub unique: u64,
    /// Copies known to be missing now.
    pub missing: u64,
}

impl Verifier {
    /// Judges for the inboxes `numbers` of `routes`, where messages of `run` should arrive.
    pub fn new(run: u32, routes: &Routes, numbers: impl IntoIterator<Item = u32>) -> Verifier {
        let mut verifier = Verifier {
            run,
            inboxes: Vec::new(),
            trackers: Vec::new(),
            streams: Vec::new(),
            orders: Vec::new(),
            tally: Tally::default(),
        };
        for number in numbers {
            let inbox = &routes.inboxes[number as usize];
            let first = verifier.streams.len() as u32;
            let streams = inbox.routes.iter().map(|route| route.stream);
            verifier.streams.extend(streams);
            let len = inbox.routes.len() as u32;
            verifier.inboxes.push(Tracked {
                inbox: number,
                first,
                len,
                dense: inbox
                    .routes
                    .last()
                    .is_some_and(|last| last.stream - inbox.routes[0].stream + 1 == len),
                corrupt: 0,
            });
        }
        verifier.trackers.resize_with(verifier.streams.len(), Tracker::default);
        verifier.inboxes.sort_by_key(|tracked| tracked.inbox);
        verifier
    }

    /// Where the messages of `client` are tracked.
    pub fn receiver(&mut self, routes: &Routes, client: u32) -> Receiver {
        let (own, shared) = routes.inboxes_of(client);
        let place = |inbox: u32, verifier: &Verifier| {
            let found = verifier.inboxes.binary_search_by_key(&inbox, |tracked| tracked.inbox);
            found.ok().map(|place| place as u32)
        };
        let own = own.and_then(|inbox| place(inbox, self));
        let shared = shared.and_then(|inbox| place(inbox, self)).map(|inbox| {
            let order = self.orders.len() as u32;
            let len = self.inboxes[inbox as usize].len as usize;
            self.orders.resize(self.orders.len() + len, 0);
            (inbox, order)
        });
        Receiver { own, shared }
    }

    /// Judges a PUBLISH that came to `receiver`.
    #[inline]
    pub fn arrived(
        &mut self,
        receiver: Receiver,
        routes: &Routes,
        arrival: &Arrival<'_>,
    ) -> Verdict {
        let Some(stamp) = Stamp::read(arrival.payload) else {
            return self.corrupt(receiver, routes, arrival);
        };
        if stamp.run != self.run {
            self.tally.foreign += 1;
            return Verdict::Foreign;
        }
        let Some((place, order)) = self.place(receiver, stamp.stream) else {
            return self.misrouted(&stamp, arrival);
        };
        if routes.streams[stamp.stream as usize].arrives_on().as_bytes() != arrival.topic {
            return self.misrouted(&stamp, arrival);
        }
        let step = self.trackers[place].arrived(stamp.sequence);
        // In a group only each member's own order says something.
        let late = match order {
            None => matches!(step, Step::Late),
            Some(at) => {
                let next = &mut self.orders[at];
                let late = stamp.sequence < *next;
                *next = (*next).max(stamp.sequence + 1);
                late && !arrival.repeat_allowed
            }
        };
        let progress = match step {
            Step::Next => 1,
            Step::Over(over) => {
                self.tally.missing += over;
                over + 1
            }
            Step::Late => {
                self.tally.missing -= 1;
                0
            }
            Step::Again => return self.again(&stamp, arrival),
        };
        if late {
            self.reordered(&stamp, arrival);
        }
        self.tally.unique += 1;
        Verdict::Fresh { stream: stamp.stream, due_ns: stamp.due_ns, progress }
    }

    /// What was counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts what is lost, when nothing more is expected: `sent` are the messages of a stream.
    /// Of `refused` messages no copy was expected; they are given as stream and sequence number,
    /// rising.
    pub fn finish(
        &self,
        routes: &Routes,
        sent: impl Fn(u32) -> u64,
        refused: &[(u32, u64)],
    ) -> Verification {
        let mut found = self.tally.found.clone();
        for tracked in &self.inboxes {
            let inbox = &routes.inboxes[tracked.inbox as usize];
            let mut corrupt = tracked.corrupt;
            for (route, place) in inbox.routes.iter().zip(tracked.first..) {
                let tracker = &self.trackers[place as usize];
                let sent = sent(route.stream);
                let refused = refused[refused.partition_point(|one| one.0 < route.stream)..]
                    .iter()
                    .take_while(|one| one.0 == route.stream)
                    .filter(|one| tracker.is_missing(one.1))
                    .count() as u64;
                let missing = (tracker.missing() + sent.saturating_sub(tracker.next()))
                    .saturating_sub(refused);
                let lost = missing.saturating_sub(corrupt);
                corrupt -= missing - lost;
                if lost == 0 {
                    continue;
                }
                found.lost += lost;
                if route.qos == QoS::AtMostOnce {
                    found.lost_qos0 += lost;
                }
                if found.lost <= lost + EXAMPLES_MAX {
                    let first = tracker.holes().next().map_or(tracker.next(), |hole| hole.0);
                    found.examples.push(format!(
                        "lost: {lost} of {sent} on {} at {}, the first number {first}",
                        routes.streams[route.stream as usize].topic,
                        name(inbox.share.as_deref(), &inbox.members),
                    ));
                }
            }
        }
        found.examples.truncate(EXAMPLES_MAX as usize * 5);
        if self.tally.foreign > 0 {
            found.examples.push(format!("{} messages of others were ignored", self.tally.foreign));
        }
        found
    }

    /// The same if what is owed is known: these messages, to every receiver of their stream.
    pub fn finish_owed(&self, routes: &Routes, owed: &Acknowledged) -> Verification {
        let mut found = self.tally.found.clone();
        for tracked in &self.inboxes {
            let inbox = &routes.inboxes[tracked.inbox as usize];
            for (route, place) in inbox.routes.iter().zip(tracked.first..) {
                let tracker = &self.trackers[place as usize];
                let missing: Vec<_> = tracker.holes().chain([(tracker.next(), u64::MAX)]).collect();
                let (lost, first) = owed.missing(route.stream, &missing);
                found.lost += lost;
                if let Some(first) = first {
                    found.examples.push(format!(
                        "lost: {lost} acknowledged messages on {} at {}, the first number {first}",
                        routes.streams[route.stream as usize].topic,
                        name(inbox.share.as_deref(), &inbox.members),
                    ));
                }
            }
        }
        found.examples.truncate(EXAMPLES_MAX as usize * 5);
        found
    }

    /// The numbers of `stream` below `sent` that did not come to inbox number `inbox`, as ranges.
    pub fn missing(&self, routes: &Routes, inbox: u32, stream: u32, sent: u64) -> Vec<(u64, u64)> {
        let place = self.inboxes.binary_search_by_key(&inbox, |tracked| tracked.inbox).ok();
        let routed = &routes.inboxes[inbox as usize].routes;
        let route = routed.binary_search_by_key(&stream, |route| route.stream).ok();
        let (Some(place), Some(route)) = (place, route) else { return vec![(0, sent)] };
        let tracker = &self.trackers[self.inboxes[place].first as usize + route];
        let tail = (tracker.next() < sent).then_some((tracker.next(), sent));
        tracker.holes().chain(tail).collect()
    }

    /// The tracker for `stream` at `receiver`, and for a Shared Subscription the member's order.
    #[inline]
    fn place(&self, receiver: Receiver, stream: u32) -> Option<(usize, Option<usize>)> {
        if let Some(route) = receiver.own.and_then(|own| self.route(own, stream)) {
            let own = receiver.own.expect("it has a route");
            return Some((self.inboxes[own as usize].first as usize + route, None));
        }
        let (shared, order) = receiver.shared?;
        let route = self.route(shared, stream)?;
        let place = self.inboxes[shared as usize].first as usize + route;
        Some((place, Some(order as usize + route)))
    }

    #[inline]
    fn route(&self, inbox: u32, stream: u32) -> Option<usize> {
        let tracked = &self.inboxes[inbox as usize];
        let first = tracked.first as usize;
        let streams = &self.streams[first..first + tracked.len as usize];
        if tracked.dense {
            let place = stream.checked_sub(streams[0])? as usize;
            return (place < streams.len()).then_some(place);
        }
        streams.binary_search(&stream).ok()
    }

    #[cold]
    fn again(&mut self, stamp: &Stamp, arrival: &Arrival<'_>) -> Verdict {
        let found = &mut self.tally.found;
        found.duplicates += 1;
        if arrival.repeat_allowed {
            found.duplicates_allowed += 1;
        } else if found.duplicates - found.duplicates_allowed <= EXAMPLES_MAX {
            found.examples.push(format!("duplicate: {}", in_words(stamp, arrival)));
        }
        Verdict::Again { due_ns: stamp.due_ns }
    }

    #[cold]
    fn reordered(&mut self, stamp: &Stamp, arrival: &Arrival<'_>) {
        let found = &mut self.tally.found;
        found.reordered += 1;
        if found.reordered <= EXAMPLES_MAX {
            found.examples.push(format!("behind a later one: {}", in_words(stamp, arrival)));
        }
    }

    #[cold]
    fn misrouted(&mut self, stamp: &Stamp, arrival: &Arrival<'_>) -> Verdict {
        let found = &mut self.tally.found;
        found.misrouted += 1;
        if found.misrouted <= EXAMPLES_MAX {
            found.examples.push(format!("not asked for: {}", in_words(stamp, arrival)));
        }
        Verdict::Wrong
    }

    /// A corrupt copy counts as arrived: it does not also count as lost. On a topic that this run does
    /// not publish to, it is not of this run.
    #[cold]
    fn corrupt(&mut self, receiver: Receiver, routes: &Routes, arrival: &Arrival<'_>) -> Verdict {
        let inbox = receiver.own.or(receiver.shared.map(|shared| shared.0));
        let ours = inbox.is_some_and(|inbox| {
            let Tracked { first, len, .. } = self.inboxes[inbox as usize];
            let streams = &self.streams[first as usize..(first + len) as usize];
            let topic = |stream: &u32| routes.streams[*stream as usize].arrives_on().as_bytes();
            streams.iter().any(|stream| topic(stream) == arrival.topic)
        });
        if !ours {
            self.tally.foreign += 1;
            return Verdict::Foreign;
        }
        let found = &mut self.tally.found;
        found.corrupt += 1;
        if found.corrupt <= EXAMPLES_MAX {
            let topic = String::from_utf8_lossy(arrival.topic);
            let len = arrival.payload.len();
            found.examples.push(format!("corrupt: {len} bytes on {topic}"));
        }
        if let Some(inbox) = inbox {
            self.inboxes[inbox as usize].corrupt += 1;
            self.tally.unique += 1;
        }
        Verdict::Wrong
    }
}

/// Tells whether a run's messages came back as they should, quality of service 0 aside.
pub fn holds(found: &Verification) -> bool {
    found.lost == found.lost_qos0
        && found.duplicates == found.duplicates_allowed
        && found.reordered == 0
        && found.corrupt == 0
        && found.misrouted == 0
}

impl Verification {
    /// Adds what another verifier found.
    pub fn add(&mut self, other: Verification) {
        self.lost += other.lost;
        self.lost_qos0 += other.lost_qos0;
        self.duplicates += other.duplicates;
        self.duplicates_allowed += other.duplicates_allowed;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.examples.extend(other.examples);
    }
}

fn in_words(stamp: &Stamp, arrival: &Arrival<'_>) -> String {
    let topic = String::from_utf8_lossy(arrival.topic);
    format!("number {} of stream {} on {topic}", stamp.sequence, stamp.stream)
}

fn name(share: Option<&str>, members: &[u32]) -> String {
    match share {
        Some(share) => format!("shared subscription {share}"),
        None => format!("client {}", members.first().copied().unwrap_or_default()),
    }
}

/// Most examples of one kind.
const EXAMPLES_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::tracker::HOLES_MAX;
    use super::*;
    use crate::routes::{Inbox, Route, Stream};
    use crate::stamp::mix;

    const RUN: u32 = 9;

    /// Streams `0..streams`, all to each of `inboxes` receivers, or to one group of so many members.
    fn routes(streams: u32, inboxes: u32, share: bool) -> Routes {
        let qos = QoS::AtLeastOnce;
        let stream = |number: u32| Stream {
            client: 100,
            topic: format!("t/{number}").into(),
            qos,
            retain: false,
            copies: if share { 1 } else { inboxes },
        };
        let all: Vec<Route> = (0..streams).map(|stream| Route { stream, qos }).collect();
        let inbox = |members: Vec<u32>, share| Inbox { share, members, routes: all.clone() };
        let (inboxes, of) = if share {
            let of = (0..inboxes).map(|_| (None, Some(0))).collect();
            (vec![inbox((0..inboxes).collect(), Some("g".into()))], of)
        } else {
            let of = (0..inboxes).map(|number| (Some(number), None)).collect();
            ((0..inboxes).map(|number| inbox(vec![number], None)).collect(), of)
        };
        Routes::of((0..streams).map(stream).collect(), inboxes, of)
    }

    struct Desk {
        routes: Routes,
        verifier: Verifier,
        receivers: Vec<Receiver>,
    }

    impl Desk {
        fn new(streams: u32, receivers: u32, share: bool) -> Desk {
            let routes = routes(streams, receivers, share);
            let mut verifier = Verifier::new(RUN, &routes, 0..routes.inboxes.len() as u32);
            let receivers = (0..receivers).map(|one| verifier.receiver(&routes, one)).collect();
            Desk { routes, verifier, receivers }
        }

        fn arrives(&mut self, receiver: usize, stream: u32, sequence: u64) -> Verdict {
            let topic = format!("t/{stream}");
            self.arrives_on(receiver, &topic, &written(RUN, stream, sequence), false)
        }

        fn arrives_on(&mut self, at: usize, topic: &str, payload: &[u8], again: bool) -> Verdict {
            let arrival = Arrival { topic: topic.as_bytes(), payload, repeat_allowed: again };
            self.verifier.arrived(self.receivers[at], &self.routes, &arrival)
        }

        fn found(&self, sent: u64) -> Verification {
            let found = self.verifier.finish(&self.routes, |_| sent, &[]);
            Verification { examples: Vec::new(), ..found }
        }
    }

    fn written(run: u32, stream: u32, sequence: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        Stamp { run, stream, sequence, due_ns: 1 }.write(40, &mut payload);
        payload
    }

    fn found(lost: u64, duplicates: u64, reordered: u64) -> Verification {
        Verification { lost, duplicates, reordered, ..Verification::default() }
    }

    #[test]
    fn what_comes_in_order_is_right() {
        let mut desk = Desk::new(3, 2, false);
        for sequence in 0..10 {
            for (receiver, stream) in [(0, 0), (0, 1), (0, 2), (1, 2), (1, 0), (1, 1)] {
                let verdict = desk.arrives(receiver, stream, sequence);
                assert_eq!(verdict, Verdict::Fresh { stream, due_ns: 1, progress: 1 });
            }
        }
        assert_eq!(desk.found(10), Verification::default());
        assert_eq!(desk.verifier.tally().unique, 60);
        assert!(holds(&desk.found(10)) && !holds(&desk.found(11)));
        assert_eq!(desk.found(11).lost, 6);
    }

    #[test]
    fn each_fault_is_called_what_it_is() {
        for (numbers, expected) in [
            (&[0, 1, 3][..], found(1, 0, 0)),
            (&[0, 1, 2], found(1, 0, 0)),
            (&[0, 1, 1, 2, 3], found(0, 1, 0)),
            (&[0, 2, 1, 3], found(0, 0, 1)),
            (&[1, 2, 3, 0, 0], found(0, 1, 1)),
            (&[3], found(3, 0, 0)),
            (&[], found(4, 0, 0)),
        ] {
            let mut desk = Desk::new(1, 1, false);
            for number in numbers {
                desk.arrives(0, 0, *number);
            }
            assert_eq!(desk.found(4), expected, "{numbers:?}");
        }
    }

    #[test]
    fn a_corrupt_message_is_not_also_lost() {
        let mut desk = Desk::new(1, 1, false);
        desk.arrives(0, 0, 0);
        let mut payload = written(RUN, 0, 1);
        payload[36] ^= 1;
        assert_eq!(desk.arrives_on(0, "t/0", &payload, false), Verdict::Wrong);
        desk.arrives(0, 0, 2);
        assert_eq!(desk.found(3), Verification { corrupt: 1, ..Verification::default() });
        assert_eq!(desk.verifier.tally().unique, 3);
    }

    #[test]
    fn what_nobody_asked_for_is_misrouted_and_another_runs_message_is_not() {
        let mut desk = Desk::new(2, 1, false);
        assert_eq!(desk.arrives(0, 2, 0), Verdict::Wrong);
        let other_topic = desk.arrives_on(0, "t/1", &written(RUN, 0, 0), false);
        assert_eq!(other_topic, Verdict::Wrong);
        let other_run = desk.arrives_on(0, "t/1", &written(RUN + 1, 0, 0), false);
        assert_eq!(other_run, Verdict::Foreign);
        assert_eq!(desk.found(0), Verification { misrouted: 2, ..Verification::default() });
    }

    #[test]
    fn a_repeat_that_is_allowed_does_not_fail() {
        let mut desk = Desk::new(1, 1, false);
        desk.arrives(0, 0, 0);
        let payload = written(RUN, 0, 0);
        assert_eq!(desk.arrives_on(0, "t/0", &payload, true), Verdict::Again { due_ns: 1 });
        assert!(holds(&desk.found(1)));
        desk.arrives_on(0, "t/0", &payload, false);
        let found = desk.found(1);
        assert_eq!((found.duplicates, found.duplicates_allowed), (2, 1));
        assert!(!holds(&found));
    }

    #[test]
    fn what_was_refused_is_not_lost() {
        let mut desk = Desk::new(2, 2, false);
        for (receiver, stream, number) in [(0, 0, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0)] {
            desk.arrives(receiver, stream, number);
        }
        // Number 0 of stream 0 was refused and came to one receiver all the same.
        let sent = |stream| if stream == 0 { 2 } else { 3 };
        let found = desk.verifier.finish(&desk.routes, sent, &[(0, 0), (1, 1), (1, 2)]);
        assert_eq!(found.lost, 0);
        let found = desk.verifier.finish(&desk.routes, sent, &[(1, 2)]);
        assert_eq!(found.lost, 1 + 2);
    }

    #[test]
    fn a_group_is_judged_as_a_whole_and_its_members_by_their_own_order() {
        let mut desk = Desk::new(1, 2, true);
        for (member, number) in [(0, 0), (1, 3), (0, 1), (1, 4), (0, 2)] {
            desk.arrives(member, 0, number);
        }
        assert_eq!(desk.found(5), Verification::default());
        desk.arrives(1, 0, 0);
        desk.arrives(0, 0, 6);
        desk.arrives(0, 0, 5);
        assert_eq!(desk.found(8), found(1, 1, 1));
    }

    #[test]
    fn holes_have_a_maximum_and_stay_lost() {
        let mut desk = Desk::new(1, 1, false);
        let count = HOLES_MAX as u64 * 3;
        for number in 0..count {
            desk.arrives(0, 0, number * 2 + 1);
        }
        assert_eq!(desk.found(count * 2), found(count, 0, 0));
        assert_eq!(desk.verifier.tally().missing, count);
        let holes = desk.verifier.missing(&desk.routes, 0, 0, count * 2);
        assert_eq!(holes.len(), HOLES_MAX);
    }

    #[test]
    fn the_tracker_equals_a_set() {
        for seed in 0..200u64 {
            let mut desk = Desk::new(1, 1, false);
            let (mut seen, mut twin) = (HashSet::new(), Verification::default());
            let mut highest = None;
            let mut missing = BTreeSet::new();
            for turn in 0..400u64 {
                // Mostly near where it should be, in both directions.
                let number = (turn + mix(seed << 20 | turn) % 12).saturating_sub(6);
                if mix(turn ^ seed << 32).is_multiple_of(4) {
                    continue;
                }
                desk.arrives(0, 0, number);
                if !seen.insert(number) {
                    twin.duplicates += 1;
                } else if highest.is_some_and(|highest| number < highest) {
                    twin.reordered += 1;
                }
                highest = highest.max(Some(number));
            }
            missing.extend((0..500).filter(|number| !seen.contains(number)));
            twin.lost = missing.len() as u64;
            assert_eq!(desk.found(500), twin, "seed {seed}");
            let holes = desk.verifier.missing(&desk.routes, 0, 0, 500);
            let flat: BTreeSet<u64> = holes.into_iter().flat_map(|(from, to)| from..to).collect();
            assert_eq!(flat, missing, "seed {seed}");
        }
    }
}
