//! The rules under `[[dedup]]`, each with the keys that it remembers.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::table::{KeyLimits, KeyTable};
use crate::codec::QoS;
use crate::config::{self, Config, DedupConfig, DedupKey, DedupScope};
use crate::message::{Draft, Identity, KeyChange, KeyHash, MessageKey};
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;
use crate::topic::{TopicName, Tree};

/// Keys of one rule forgotten in one tick.
const KEYS_A_TICK: usize = 256;

/// The rules under `[[dedup]]`.
#[derive(Debug)]
pub(in crate::broker) struct DedupRules {
    rules: Vec<DedupRule>,
    filters: Tree<u16, ()>,
}

/// One of them.
#[derive(Debug)]
pub(in crate::broker) struct DedupRule {
    config: DedupConfig,
    key: DedupKey,
    /// By this its keys are known as its own in the store.
    number: u64,
    /// Has been fed with what all its keys begin with.
    hasher: Sha256,
    quotas: config::Quotas,
    keys: Arc<Mutex<KeyTable>>,
}

/// What a broker keeps beside the rules.
#[derive(Debug)]
pub(in crate::broker) struct Dedup {
    seed: u64,
    current: Mutex<CurrentRules>,
}

#[derive(Debug, Default)]
struct CurrentRules {
    rules: Option<Arc<DedupRules>>,
    /// Of rules that are gone: forgotten bit by bit, for the store's sake.
    left: Vec<Arc<Mutex<KeyTable>>>,
}

impl DedupRules {
    /// The rules of `config`, with the keys of those `before` that are still there; `None` where there are
    /// none, so that no topic is looked up.
    fn new(config: &Config, before: Option<&DedupRules>, seed: u64) -> Option<Arc<DedupRules>> {
        let mut filters = Tree::new(seed);
        let mut rules = Vec::new();
        // A key that says nothing was told when the configuration was checked.
        let known = config.dedup.iter().filter_map(|rule| Some((rule, rule.key_of()?)));
        for (index, (rule, key)) in (0..).zip(known) {
            filters.insert(&rule.filter, index, ());
            let number = short(&Sha256::digest(&rule.filter));
            let same = before.and_then(|all| all.rules.iter().find(|old| old.number == number));
            let keys = match same {
                Some(same) => same.keys.clone(),
                None => Arc::new(Mutex::new(KeyTable::new(seed))),
            };
            let mut hasher = Sha256::new();
            feed(&mut hasher, rule.filter.as_bytes());
            feed(&mut hasher, rule.key.as_bytes());
            hasher.update([rule.scope as u8]);
            let quotas = config.totals.quotas(rule.keys_total_max.into());
            rules.push(DedupRule { config: rule.clone(), key, number, hasher, quotas, keys });
        }
        (!rules.is_empty()).then(|| Arc::new(DedupRules { rules, filters }))
    }

    /// The rule of this index.
    pub fn rule(&self, index: usize) -> &DedupRule {
        &self.rules[index]
    }

    /// The index of the rule for a topic.
    pub fn of(&self, topic: TopicName<'_>) -> Option<usize> {
        let mut first = None::<u16>;
        self.filters.visit(topic, &mut |index, ()| {
            first = Some(first.map_or(index, |first| first.min(index)));
        });
        first.map(usize::from)
    }
}

impl DedupRule {
    /// How long it remembers a key.
    pub fn window(&self) -> Duration {
        self.config.window.0
    }

    /// By this its keys are known as its own in the store.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The key of a message at `now`; `None` if it has none.
    pub fn key_of(&self, draft: &Draft<'_>, publisher: &Identity, now: Time) -> Option<MessageKey> {
        let Draft { topic, properties, payload, .. } = draft;
        let key = match &self.key {
            DedupKey::Property(name) => properties.user_property(name)?.as_bytes(),
            DedupKey::CorrelationData => properties.correlation_data()?,
            DedupKey::Payload => payload,
        };
        let verified = publisher.user_name.is_some();
        let mut name = Sha256::new();
        name.update([u8::from(verified)]);
        name.update(publisher.user_name.as_deref().unwrap_or(publisher.client_id.as_str()));
        let name = name.finalize();
        let mut hasher = self.hasher.clone();
        feed(&mut hasher, topic.as_str().as_bytes());
        if self.config.scope == DedupScope::Publisher {
            hasher.update(name);
        }
        hasher.update(key);
        let mut hash: KeyHash = hasher.finalize()[..16].try_into().expect("half of 32 bytes");
        // What was taken at QoS 0 may be lost: a message above that is no repeat of it.
        hash[15] = hash[15] & !1 | u8::from(draft.qos == QoS::AtMostOnce);
        Some(MessageKey { hash, since: now, publisher: short(&name), verified })
    }

    /// What it remembers.
    pub fn lock(&self) -> MutexGuard<'_, KeyTable> {
        whole(self.keys.lock())
    }
}

/// Adds a text behind its length, so that it is known where it ends.
fn feed(hasher: &mut Sha256, text: &[u8]) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

fn short(hash: &[u8]) -> u64 {
    u64::from_be_bytes(hash[..8].try_into().expect("longer than 8 bytes"))
}

impl Dedup {
    /// The rules of `config`, and no key; `seed` feeds the hashes.
    pub fn new(config: &Config, seed: u64) -> Dedup {
        let rules = DedupRules::new(config, None, seed);
        Dedup { seed, current: Mutex::new(CurrentRules { rules, left: Vec::new() }) }
    }

    /// Puts other rules in force.
    pub fn set(&self, config: &Config) {
        let current = &mut *self.lock();
        let rules = DedupRules::new(config, current.rules.as_deref(), self.seed);
        let kept = |keys: &Arc<Mutex<KeyTable>>| {
            rules.iter().flat_map(|all| &all.rules).any(|rule| Arc::ptr_eq(&rule.keys, keys))
        };
        let before = current.rules.iter().flat_map(|all| &all.rules).map(|rule| &rule.keys);
        let left: Vec<_> = before.filter(|keys| !kept(keys)).cloned().collect();
        current.left.extend(left);
        current.rules = rules;
    }

    /// The rules in force.
    pub fn rules(&self) -> Option<Arc<DedupRules>> {
        self.lock().rules.clone()
    }

    /// Keys that are remembered, of all rules.
    pub fn len(&self) -> usize {
        self.rules().iter().flat_map(|all| &all.rules).map(|rule| rule.lock().len()).sum()
    }

    /// Takes over what the store remembers, each with the number of its rule. What has to go for it is
    /// added to `gone`.
    pub fn restore(
        &self,
        mut keys: Vec<(u64, MessageKey)>,
        verifies: bool,
        gone: &mut Vec<KeyChange>,
    ) {
        // The order in which they came: the store tells them in that of their hashes.
        keys.sort_by_key(|(_, key)| key.since);
        let mut left = KeyTable::new(self.seed);
        let all = KeyLimits { own: usize::MAX, unverified: usize::MAX, total: usize::MAX };
        let rules = self.rules();
        for (number, key) in keys {
            let rule = rules.iter().flat_map(|all| &all.rules).find(|rule| rule.number == number);
            match rule {
                Some(rule) => rule.lock().note(&key, &rule.limits(verifies), gone),
                None => left.note(&key, &all, gone),
            }
        }
        if left.len() > 0 {
            self.lock().left.push(Arc::new(Mutex::new(left)));
        }
    }

    /// Forgets keys that are remembered no longer, some at a time. Returns when there will be others; at
    /// once if there are more.
    pub fn tick(&self, now: Time, gone: &mut Vec<KeyChange>) -> Option<Time> {
        let (rules, left) = {
            let current = self.lock();
            (current.rules.clone(), current.left.last().cloned())
        };
        let mut next = None::<Time>;
        for rule in rules.iter().flat_map(|all| &all.rules) {
            let window = rule.window();
            let mut keys = rule.lock();
            keys.expire(|since| since.after(window) <= now, KEYS_A_TICK, gone);
            next = next.into_iter().chain(keys.front().map(|front| front.after(window))).min();
        }
        let Some(left) = left else { return next };
        let mut keys = whole(left.lock());
        keys.expire(|_| true, KEYS_A_TICK, gone);
        if keys.len() > 0 {
            return Some(now);
        }
        let left_over = &mut self.lock().left;
        left_over.retain(|other| !Arc::ptr_eq(other, &left));
        if left_over.is_empty() { next } else { Some(now) }
    }

    fn lock(&self) -> MutexGuard<'_, CurrentRules> {
        whole(self.current.lock())
    }
}

impl DedupRule {
    /// How many keys it may remember; `verifies`: user names are verified at all.
    pub fn limits(&self, verifies: bool) -> KeyLimits {
        let len = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let quota = self.quotas.now(verifies);
        KeyLimits {
            own: self.config.keys_max as usize,
            unverified: len(quota.unverified()),
            total: len(quota.total()),
        }
    }
}
