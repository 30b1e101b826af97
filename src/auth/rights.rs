//! The broker's permission port: what an admitted client may do.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::compile::{Compiled, Question};
use super::explain::{Explanation, explain};
use super::recent::RecentDecisions;
use super::rules::{Person, RuleSet, RuleTable};
use crate::message::{Identity, KeptForAccess, RuleId};
use crate::session::{Access, Asked, Decision};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{RwLock, whole};

/// Permits every client everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct PermitAll;

impl Access for PermitAll {
    fn may(&self, _who: &Identity, _asked: &Asked<'_>) -> Decision {
        Decision::ALLOWED
    }
}

/// Permits what the rules say. Where there are none, every client may do everything but read what is said of
/// others, and dead letters, which tell what others were sent.
#[derive(Debug)]
pub struct Rights {
    table: RwLock<Arc<RuleTable>>,
    /// Of the table.
    generation: AtomicU32,
    /// Only topics that begin with `$` have rules.
    plain: AtomicBool,
    checks_retained: AtomicBool,
}

/// The next key of a client: see [`Identity::access_key`]. No two clients ever have the same.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Rights {
    /// The rights under these rules.
    pub fn new(set: &RuleSet<'_>) -> Rights {
        let rights = Rights {
            table: RwLock::new(Arc::new(RuleTable::new(set, 0))),
            generation: AtomicU32::new(0),
            plain: AtomicBool::new(true),
            checks_retained: AtomicBool::new(false),
        };
        rights.set(set);
        rights
    }

    /// Puts other rules in force: from now on whatever is asked is decided by them.
    pub fn set(&self, set: &RuleSet<'_>) {
        let mut table = whole(self.table.write());
        let generation = table.generation.wrapping_add(1);
        *table = Arc::new(RuleTable::new(set, generation));
        self.checks_retained.store(table.checks_retained && !table.is_plain(), Ordering::Relaxed);
        self.plain.store(table.is_plain(), Ordering::Relaxed);
        self.generation.store(generation, Ordering::Release);
    }

    /// How many rules are in force, without those that are shipped.
    pub fn rules(&self) -> usize {
        self.table().own
    }

    /// Why something is allowed or not.
    pub fn explain(&self, who: &Identity, asked: &Asked<'_>) -> Explanation {
        let table = self.table();
        who.with_kept(|kept| {
            let person = Person { identity: who, standing: &kept.standing };
            (explain(&table, person, &Question::of(asked)), None)
        })
    }

    fn table(&self) -> Arc<RuleTable> {
        whole(self.table.read()).clone()
    }

    /// The decision, the key and the generation that it holds for, and whether it holds for every size.
    #[inline(never)]
    fn decide(&self, who: &Identity, question: &Question<'_>) -> (Decision, (u64, u32), bool) {
        who.with_kept(|kept| {
            let generation = self.generation.load(Ordering::Acquire);
            let mut key = None;
            if made(kept).is_none_or(|compiled| compiled.generation != generation) {
                let new = NEXT_KEY.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let person = Person { identity: who, standing: &kept.standing };
                let compiled = Compiled::new(&self.table(), person, new);
                kept.made = Some(Box::new(compiled));
                key = Some(new);
            }
            let compiled = made(kept).expect("it was made, at the latest now");
            let decision = compiled.decide(question);
            ((decision, (compiled.key, compiled.generation), !compiled.is_sized), key)
        })
    }
}

fn made(kept: &KeptForAccess) -> Option<&Compiled> {
    kept.made.as_ref()?.downcast_ref()
}

impl Access for Rights {
    #[inline]
    fn may(&self, who: &Identity, asked: &Asked<'_>) -> Decision {
        let question = Question::of(asked);
        if self.plain.load(Ordering::Relaxed) && !question.text.starts_with('$') {
            return Decision::ALLOWED;
        }
        let generation = self.generation.load(Ordering::Acquire);
        RecentDecisions::with(|recent| {
            let hash = recent.hash(&question);
            let kept = recent.find(hash, (who.access_key(), generation), &question);
            kept.unwrap_or_else(|| {
                let (decision, known, lasts) = self.decide(who, &question);
                if lasts {
                    recent.keep(hash, known, &question, decision);
                }
                decision
            })
        })
    }

    fn rule_name(&self, rule: RuleId) -> Option<String> {
        self.table().name(rule).map(str::to_owned)
    }

    fn has_rules(&self) -> bool {
        !self.plain.load(Ordering::Relaxed)
    }

    fn checks_retained(&self) -> bool {
        self.checks_retained.load(Ordering::Relaxed)
    }
}
