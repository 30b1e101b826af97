//! In which order retained messages come to the journal, where two publishers race for one topic.
//!
//! The router stamps them in the order in which they hold; they come to the store in another one,
//! each at the end of its publisher's turn. One that comes after its successor is not written.

use std::collections::{BTreeMap, HashMap};

/// The newest stamp that was written for each topic, as long as an older one may come.
#[derive(Debug, Default)]
pub struct Newest {
    by_topic: HashMap<Box<str>, u64, foldhash::fast::RandomState>,
    by_stamp: BTreeMap<u64, Box<str>>,
}

impl Newest {
    /// Whether a newer one was written for the topic; if not, this is the newest. No stamp below
    /// `oldest` is still to come.
    pub fn is_late(&mut self, topic: &str, stamp: u64, oldest: u64) -> bool {
        while let Some(first) = self.by_stamp.first_entry()
            && *first.key() <= oldest
        {
            self.by_topic.remove(&first.remove());
        }
        match self.by_topic.get(topic) {
            Some(written) if *written > stamp => return true,
            Some(written) => drop(self.by_stamp.remove(written)),
            None if stamp <= oldest => return false,
            None => {}
        }
        self.by_topic.insert(topic.into(), stamp);
        self.by_stamp.insert(stamp, topic.into());
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One publisher: what it has stamped, and the oldest open stamp when it looked.
    #[derive(Default)]
    struct Publisher {
        stamped: Vec<(usize, u64)>,
        oldest: Option<u64>,
    }

    /// Publishers stamp, look, write and report, in every order; the topics are written by the
    /// order of stamps, and nothing is left behind.
    #[test]
    fn whoever_is_faster_the_last_stamp_is_written_last() {
        const TOPICS: [&str; 3] = ["a", "b", "c"];
        for seed in 1..3000_u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % below
            };
            let mut newest = Newest::default();
            let mut publishers: [Publisher; 3] = Default::default();
            let (mut last, mut open) = (0, BTreeSet::new());
            let (mut stamps, mut written) = ([0; 3], [0; 3]);
            for step in 0.. {
                if step > 100 && open.is_empty() {
                    break;
                }
                let publisher = &mut publishers[random(3)];
                match publisher.oldest {
                    None if step < 100 && random(3) > 0 => {
                        last += 1;
                        let topic = random(3);
                        stamps[topic] = last;
                        open.insert(last);
                        publisher.stamped.push((topic, last));
                    }
                    None => publisher.oldest = open.first().copied().or(Some(last + 1)),
                    Some(oldest) => {
                        for (topic, stamp) in publisher.stamped.drain(..) {
                            if !newest.is_late(TOPICS[topic], stamp, oldest) {
                                assert!(written[topic] < stamp, "seed {seed}");
                                written[topic] = stamp;
                            }
                            open.remove(&stamp);
                        }
                        publisher.oldest = None;
                    }
                }
            }
            assert_eq!(written, stamps, "seed {seed}");
            newest.is_late("d", last + 1, last + 1);
            assert!(newest.by_topic.is_empty() && newest.by_stamp.is_empty());
        }
    }
}
