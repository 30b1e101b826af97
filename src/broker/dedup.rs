//! Deduplication: a message with the key of one that was taken lately is answered as accepted, and goes
//! nowhere. `docs/queues.md` says what that promises.
//!
//! A key is looked at in the message's place in the order, under the lock of its rule, which is held until it
//! is known whether the message is taken: so exactly one of several at once is the first, and one that is
//! refused leaves its place to the next. A key goes to the store in the batch of its message.

pub(super) mod opening;
pub(super) mod rules;
mod table;

use std::sync::Arc;

use self::opening::OpenTurn;
use self::rules::DedupRules;
use self::table::{KeyLimits, KeyTable};
use super::Broker;
use super::metrics::Counter;
use super::publish::Published;
use super::turn::Turn;
use crate::codec::QoS;
use crate::message::{Draft, Identity, KeyChange, MessageKey, SessionId};
use crate::session::Op;
use crate::sync::MutexGuard;
use crate::time::Time;

/// The key of a message on its way in, and the rule that it is a key of.
pub(super) struct Keyed {
    rules: Arc<DedupRules>,
    rule: usize,
    key: MessageKey,
    limits: KeyLimits,
    /// The store is given the key, with the message.
    stored: bool,
}

impl Broker {
    /// The key of a client's message that may come in, if one of the `rules` asks for it.
    #[cold]
    pub(super) fn keyed(
        &self,
        rules: &Arc<DedupRules>,
        draft: &Draft<'_>,
        publisher: &Identity,
        now: Time,
    ) -> Option<Keyed> {
        let index = rules.of(draft.topic)?;
        let rule = rules.rule(index);
        let Some(key) = rule.key_of(draft, publisher, now) else {
            self.0.metrics.add(Counter::Unkeyed, 1);
            return None;
        };
        // What waits for no answer must not fill a store that is slow.
        let stored = self.0.remembers
            && (draft.qos > QoS::AtMostOnce || self.0.ports.store.admit(0).is_ok());
        let limits = rule.limits(self.0.owners.all().verifies());
        Some(Keyed { rules: rules.clone(), rule: index, key, limits, stored })
    }

    /// The keys of the rule, which are locked until it is known whether the message is taken.
    ///
    /// # Errors
    ///
    /// It repeats a message that was taken: `with` is all that the store is given.
    #[cold]
    pub(super) fn open_keys<'k>(
        &self,
        keyed: &'k Keyed,
        with: &mut Option<(SessionId, Op)>,
        turn: &mut Turn<'_>,
    ) -> Result<MutexGuard<'k, KeyTable>, Published> {
        let rule = keyed.rules.rule(keyed.rule);
        let keys = rule.lock();
        let (window, now) = (rule.window(), turn.now);
        let found = |hash| keys.find(hash).filter(|since| since.after(window) > now);
        let mut above_qos0 = keyed.key.hash;
        above_qos0[15] &= !1;
        if let Some(since) = found(&above_qos0).or_else(|| found(&keyed.key.hash)) {
            if self.0.remembers {
                let own = turn.opening.as_ref().map(OpenTurn::opening);
                turn.waits_for = keys.opened(since, own);
                // Its receipt covers all that was handed in before.
                turn.batch.rare().promises = true;
                turn.batch.ops.extend(with.take());
            }
            drop(keys);
            self.0.metrics.add(Counter::Duplicates, 1);
            return Err(Published::repeat(self.0.remembers));
        }
        Ok(keys)
    }

    /// Keeps a message with a key until it is due, as `keep` says, unless it is a repeat.
    pub(super) fn take_once<'t>(
        &self,
        keyed: &Keyed,
        qos: QoS,
        mut with: Option<(SessionId, Op)>,
        turn: &mut Turn<'t>,
        keep: impl FnOnce(Option<(SessionId, Op)>, &mut Turn<'t>) -> Published,
    ) -> Published {
        match self.open_keys(keyed, &mut with, turn) {
            Ok(keys) => {
                let published = keep(with, turn);
                self.note_key(keyed, keys, qos, published, turn)
            }
            Err(repeat) => repeat,
        }
    }

    /// A message with a key was carried out: if it was taken, the next one with its key repeats it.
    #[cold]
    pub(super) fn note_key(
        &self,
        keyed: &Keyed,
        mut keys: MutexGuard<'_, KeyTable>,
        qos: QoS,
        published: Published,
        turn: &mut Turn<'_>,
    ) -> Published {
        let rule = keyed.rules.rule(keyed.rule);
        if published.reason().is_error() {
            return published;
        }
        let mut gone = Vec::new();
        keys.note(&keyed.key, &keyed.limits, &mut gone);
        self.0.metrics.add(Counter::KeysEvicted, gone.len() as u64);
        if self.0.remembers {
            turn.batch.add_keys(gone);
        }
        if !keyed.stored {
            return published;
        }
        turn.batch.rare().keys.push(KeyChange::Noted(rule.number(), keyed.key));
        let opening = turn.scratch.opening.get_or_insert_with(OpenTurn::begin).opening();
        keys.open(turn.now, opening);
        drop(keys);
        published.stored_with(qos)
    }

    /// Forgets keys that are remembered no longer; returns when that is next needed.
    pub(super) fn tick_keys(&self, turn: &mut Turn<'_>) -> Option<Time> {
        let mut gone = Vec::new();
        let next = self.0.dedup.tick(turn.now, &mut gone);
        if self.0.remembers {
            turn.batch.add_keys(gone);
        }
        next
    }
}
