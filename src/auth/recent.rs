//! What a thread has decided lately: most clients ask for the same topics over and over.

use std::cell::RefCell;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::compile::Question;
use crate::session::Decision;

/// Decisions that a thread keeps. Each new one takes the place of another.
pub(super) struct RecentDecisions {
    entries: Box<[KeptDecision]>,
    hasher: FixedState,
}

/// One decision; its key is 0 if it is none.
#[derive(Clone)]
struct KeptDecision {
    key: u64,
    generation: u32,
    asked: u8,
    decision: Decision,
    topic: Box<str>,
}

/// Decisions of a thread: 1024 of some 60 bytes, and their topics.
const ENTRIES: usize = 1024;
/// A topic of more bytes is looked at each time.
const TOPIC_MAX: usize = 128;

thread_local! {
    static RECENT: RefCell<RecentDecisions> = RefCell::new(RecentDecisions::new());
}

impl RecentDecisions {
    fn new() -> RecentDecisions {
        let decision = Decision::of(false);
        let none = KeptDecision { key: 0, generation: 0, asked: 0, decision, topic: "".into() };
        RecentDecisions {
            entries: vec![none; ENTRIES].into(),
            hasher: FixedState::with_seed(ENTRIES as u64),
        }
    }

    /// Lets `work` have those of this thread.
    #[inline]
    pub fn with<R>(work: impl FnOnce(&mut RecentDecisions) -> R) -> R {
        RECENT.with_borrow_mut(work)
    }

    /// The decision for the client of `key`, if it was kept.
    #[inline]
    pub fn find(&self, key: u64, generation: u32, question: &Question<'_>) -> Option<Decision> {
        let entry = &self.entries[self.place(key, question)];
        let same = entry.key == key
            && key != 0
            && entry.generation == generation
            && entry.asked == bits(question)
            && *entry.topic == *question.text;
        same.then_some(entry.decision)
    }

    /// Keeps a decision for the client of `key`, where it holds for every size.
    pub fn keep(
        &mut self,
        (key, generation): (u64, u32),
        question: &Question<'_>,
        decision: Decision,
    ) {
        if question.text.len() <= TOPIC_MAX {
            let (asked, topic) = (bits(question), question.text.into());
            let place = self.place(key, question);
            self.entries[place] = KeptDecision { key, generation, asked, decision, topic };
        }
    }

    #[inline]
    fn place(&self, key: u64, question: &Question<'_>) -> usize {
        let hash = self.hasher.hash_one(question.text.as_bytes());
        let spread = (key ^ u64::from(question.action)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash ^ spread ^ (spread >> 32)) as usize % ENTRIES
    }
}

/// What is asked beside the topic and the size.
fn bits(question: &Question<'_>) -> u8 {
    question.action | question.qos << 3 | u8::from(question.retain) << 5
}
