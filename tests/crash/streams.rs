//! What has come of numbered messages: which are missing, which came twice, which came late.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Mutex;

/// What has come to one subscriber, or to the members of a group together, by topic.
#[derive(Default)]
pub struct Streams {
    topics: Mutex<BTreeMap<String, Stream>>,
}

/// The messages of one topic, numbered from 0 by the publisher.
#[derive(Default)]
struct Stream {
    /// One above the highest number that has come.
    end: u64,
    /// Numbers below that have not.
    missing: BTreeSet<u64>,
    /// Came after a higher one, and for the first time.
    late: u64,
    /// Came again at `QoS` 1, which may be.
    repeated: u64,
    /// Came again at `QoS` 2.
    doubled: u64,
}

/// What is to be said of them in the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub came: u64,
    pub lost: u64,
    pub late: u64,
    pub repeated: u64,
    pub doubled: u64,
    /// They were never published.
    pub strange: u64,
}

impl Streams {
    /// A message has come; whether for the first time.
    pub fn take(&self, topic: &str, number: u64, exactly_once: bool) -> bool {
        let mut topics = self.topics.lock().expect("no code panics while it takes a message");
        if !topics.contains_key(topic) {
            topics.insert(topic.to_owned(), Stream::default());
        }
        topics.get_mut(topic).expect("it was just made").take(number, exactly_once)
    }

    /// How many messages have come on topics that begin so.
    pub fn came_on(&self, prefix: &str) -> u64 {
        let topics = self.topics.lock().expect("no code panics while it takes a message");
        let on_it = topics.iter().filter(|(topic, _)| topic.starts_with(prefix));
        on_it.map(|(_, stream)| stream.end - stream.missing.len() as u64).sum()
    }

    /// Compares what came with what was published: how many on each topic.
    pub fn tally(&self, mut published: BTreeMap<String, u64>) -> Tally {
        let topics = self.topics.lock().expect("no code panics while it takes a message");
        let mut tally = Tally::default();
        for (topic, stream) in &*topics {
            let published = published.remove(topic).unwrap_or(0);
            let missing = stream.missing.len() as u64;
            tally += Tally {
                came: stream.end - missing,
                lost: missing + published.saturating_sub(stream.end),
                late: stream.late,
                repeated: stream.repeated,
                doubled: stream.doubled,
                strange: stream.end.saturating_sub(published),
            };
        }
        tally.lost += published.values().sum::<u64>();
        tally
    }
}

impl Stream {
    fn take(&mut self, number: u64, exactly_once: bool) -> bool {
        if number >= self.end {
            self.missing.extend(self.end..number);
            self.end = number + 1;
            return true;
        }
        if self.missing.remove(&number) {
            self.late += 1;
            return true;
        }
        if exactly_once {
            self.doubled += 1;
        } else {
            self.repeated += 1;
        }
        false
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.came += other.came;
        self.lost += other.lost;
        self.late += other.late;
        self.repeated += other.repeated;
        self.doubled += other.doubled;
        self.strange += other.strange;
    }
}

#[test]
fn what_is_lost_doubled_late_or_strange_is_counted() {
    let streams = Streams::default();
    for (number, first) in [(0, true), (1, true), (4, true), (3, true), (1, false), (3, false)] {
        assert_eq!(streams.take("t", number, number == 3), first);
    }
    streams.take("nobody's", 0, false);
    let tally = streams.tally([("t".to_owned(), 7), ("away".to_owned(), 2)].into());
    let wanted = Tally { came: 5, lost: 3 + 2, late: 1, repeated: 1, doubled: 1, strange: 1 };
    assert_eq!(tally, wanted);
}
