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
    topic: String,
}

/// Decisions of a thread: 1024 of some 60 bytes, and room for as many topics.
const ENTRIES: usize = 1024;
/// A topic of more bytes is looked at each time.
const TOPIC_MAX: usize = 128;

thread_local! {
    static RECENT: RefCell<RecentDecisions> = RefCell::new(RecentDecisions::new());
}

impl RecentDecisions {
    fn new() -> RecentDecisions {
        let decision = Decision::of(false);
        let none = KeptDecision { key: 0, generation: 0, asked: 0, decision, topic: String::new() };
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

    /// What a question is found by, together with the key of the client.
    #[inline]
    pub fn hash(&self, question: &Question<'_>) -> u64 {
        self.hasher.hash_one(question.text.as_bytes()) ^ u64::from(question.action)
    }

    /// The decision for the client of `key`, if it was kept. `hash`: of the question.
    #[inline]
    pub fn find(
        &self,
        hash: u64,
        (key, generation): (u64, u32),
        question: &Question<'_>,
    ) -> Option<Decision> {
        let entry = &self.entries[place(hash, key)];
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
        hash: u64,
        (key, generation): (u64, u32),
        question: &Question<'_>,
        decision: Decision,
    ) {
        if question.text.len() > TOPIC_MAX {
            return;
        }
        let entry = &mut self.entries[place(hash, key)];
        // Its memory is used again.
        entry.topic.clear();
        entry.topic.push_str(question.text);
        let (asked, topic) = (bits(question), std::mem::take(&mut entry.topic));
        *entry = KeptDecision { key, generation, asked, decision, topic };
    }
}

#[inline]
fn place(hash: u64, key: u64) -> usize {
    let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ spread ^ (spread >> 32)) as usize % ENTRIES
}

/// What is asked beside the topic and the size.
fn bits(question: &Question<'_>) -> u8 {
    question.action | question.qos << 3 | u8::from(question.retain) << 5
}
