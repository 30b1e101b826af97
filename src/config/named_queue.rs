//! Named queues: what they collect, and how it is kept.

use std::collections::{BTreeMap, BTreeSet};

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::keep_limits::KeepLimits;
use super::limits::LimitsConfig;
use super::problems::Problems;
use super::queue::{BYTES_MAX, MESSAGES_MAX, QueueConfig, QueuePolicy};
use super::retry::{Backoff, Retry};
use super::section::InForce::Live;
use super::section::{key, optional, rows};
use super::strategy::{OnPoison, Sharing, Strategy, check_sharing};
use super::topic_class::is_filter;
use super::totals::Totals;
use super::units::{Size, Span};

rows! {
    /// Queues that collect messages whether or not a client is there to take them: one `[[named_queue]]` for
    /// each. Clients that subscribe to `$queue/<name>` share the messages of the queue: each message goes to one
    /// of them. See [named queues](queues.md). What waits is kept over a restart at QoS 1 and 2. A queue that
    /// leaves the configuration keeps what waits, and collects nothing more.
    pub struct NamedQueue {
        /// Name in `$queue/<name>`: 1 to 64 letters, digits, `_` and `-`.
        name: String = key(Live, String::new()).required("jobs".to_owned());
        /// What the queue collects, 1 to 100 of them: a Topic Filter, or a table of a `filter` and User
        /// Properties, `{ filter = "orders/+", where = { region = "eu" } }`, all of which the message must have
        /// with these values. A message that fits several bindings is collected once. A changed binding is for
        /// messages that come later.
        bindings: Vec<Binding> = key(Live, Vec::new()).required(Binding::examples());
        /// Messages that may wait. Not set: as in `[queue]`.
        messages_max: Option<u32> =
            key(Live, None).example(Some(100_000)).range(MESSAGES_MAX);
        /// Their bytes. Not set: as in `[queue]`.
        bytes_max: Option<Size> =
            key(Live, None).example(Some(Size::kib(64 * 1024))).range(BYTES_MAX);
        /// As in `[queue]`. Not set: as it is there.
        policy: Option<QueuePolicy> =
            key(Live, None).example(Some(QueuePolicy::DropOldest)).words::<QueuePolicy>();
        /// A message that has waited for longer ends as expired, a second or so later. Not set: it waits for as
        /// long as its own Message Expiry Interval lets it. A changed `ttl` is for messages that come later, and
        /// for those in memory.
        ttl: Option<Span> =
            key(Live, None).example(Some(Span::secs(86_400))).range(TTL);
        /// As in `[queue]`. Not set: as it is there. A message of which all attempts have failed has a dead
        /// letter in any case.
        dead_letters: Option<bool> = key(Live, None).example(Some(true));
        /// As in `[[group]]`: which consumer a message is for.
        strategy: Strategy = key(Live, Strategy::LeastInflight).words::<Strategy>();
        /// As in `[[group]]`.
        key: Option<String> = key(Live, None).example(Some("topic".to_owned()));
        /// Attempts at a message, the first one included: it fails when a consumer answers with a Reason Code of
        /// 0x80 or above, or when its connection breaks before it has answered. After the last one the message is
        /// published to `$dead/attempts/<topic>`.
        attempts_max: u16 = key(Live, Retry::default().attempts_max).range(1..=1000);
        /// How long a message that has failed waits for its next attempt: between the two spans, doubling from
        /// one attempt to the next, and spread by chance up to the double.
        backoff: Backoff = key(Live, Backoff::default());
        /// How long a consumer has for its answer to a message of QoS 1, from when that was handed to its
        /// connection. Then the message has failed if another consumer is connected; else it stays with the one
        /// that has it. Not set: as long as it likes.
        ack_timeout: Option<Span> = key(Live, None)
            .example(Some(Span::secs(30)))
            .range(Span::millis(100)..=Span::secs(7 * 86_400));
        /// With a strategy that keeps an order: what a message that has failed does to those behind it in its
        /// order, of its key, its publisher or the queue. `"block"`: they wait until it is completed or has its
        /// dead letter. `"skip"`: they go on, and it comes later. Not set: `"block"`.
        on_poison: Option<OnPoison> =
            key(Live, None).example(Some(OnPoison::Block)).words::<OnPoison>();
        /// Keeps the messages for clients that come later.
        keep: Option<KeepLimits> = optional(Live);
    }
}

/// What a named queue collects: a Topic Filter, alone or with conditions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Binding {
    /// All messages of a Topic Filter.
    All(String),
    /// Those of them that have certain User Properties.
    Some(BindingTable),
}

/// A Topic Filter, and User Properties that a message must have.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BindingTable {
    /// The Topic Filter.
    #[serde(default)]
    pub filter: String,
    /// User Properties, name and value: a message must have each of them.
    #[serde(default, rename = "where")]
    pub properties: BTreeMap<String, String>,
}

const TTL: RangeInclusive<Span> = Span::secs(1)..=Span::secs(31_536_000);

/// Most sections `[[named_queue]]`.
const NAMED_QUEUES_MAX: usize = 1000;
/// Most bindings of one queue.
const BINDINGS_MAX: usize = 100;
/// Most User Properties of one binding.
const PROPERTIES_MAX: usize = 16;
/// The longest name of a queue, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Filters that begin so have a meaning of their own, and match no topic.
const OWN: [&str; 3] = ["$queue/", "$replay/", "$exclusive/"];

impl NamedQueue {
    /// Adds what is wrong with all named queues, apart from ranges.
    pub(super) fn check_all(
        queues: &[NamedQueue],
        (queue, limits, totals): (&QueueConfig, &LimitsConfig, &Totals),
        found: &mut Problems,
    ) {
        let count = queues.len();
        if count > NAMED_QUEUES_MAX {
            found.add("named_queue", format!("{count} of them are more than {NAMED_QUEUES_MAX}"));
        }
        let mut names = BTreeSet::new();
        for (index, own) in queues.iter().enumerate() {
            let at = format!("named_queue.{index}");
            own.check_alone(&at, found);
            if !names.insert(own.name.as_str()) {
                let problem = format!("{:?} is the name of another named queue", own.name);
                found.add(format!("{at}.name"), problem);
            }
            own.over(queue).check(&at, limits, totals, found);
        }
    }

    fn check_alone(&self, at: &str, found: &mut Problems) {
        check_name(&self.name, at, found);
        check_bindings(&self.bindings, &super::section::join(at, "bindings"), found);
    }

    /// Adds what is wrong with how its consumers share; keys that are left out are as in `queue`.
    pub(super) fn check_sharing(
        &self,
        at: &str,
        queue: &QueueConfig,
        has_priorities: bool,
        found: &mut Problems,
    ) {
        let sharing = (self.strategy, self.key.as_deref());
        check_sharing(at, sharing, self.over(queue).policy, has_priorities, found);
        if self.on_poison.is_some() && !self.strategy.has_lanes() {
            let name = self.strategy.name();
            let problem =
                format!("{name:?} keeps no order that a message that has failed could hold up");
            found.add(super::section::join(at, "on_poison"), problem);
        }
    }

    /// How its consumers share.
    pub fn sharing(&self) -> Sharing {
        let on_poison = self.on_poison.unwrap_or_default();
        Sharing::new(self.strategy, self.key.as_deref()).with_poison(on_poison)
    }

    /// How often its messages are tried.
    pub fn retry(&self) -> Retry {
        let ack_timeout = self.ack_timeout.map(|span| span.0);
        Retry { attempts_max: self.attempts_max, backoff: self.backoff, ack_timeout }
    }

    /// Its limits and its policy; keys that are left out are as in `queue`. `QoS` 0 waits too.
    pub fn over(&self, queue: &QueueConfig) -> QueueConfig {
        QueueConfig {
            messages_max: self.messages_max.unwrap_or(queue.messages_max),
            bytes_max: self.bytes_max.unwrap_or(queue.bytes_max),
            policy: self.policy.unwrap_or(queue.policy),
            dead_letters: self.dead_letters.unwrap_or(queue.dead_letters),
            qos0_offline: true,
            ..queue.clone()
        }
    }
}

impl Binding {
    /// The Topic Filter.
    pub fn filter(&self) -> &str {
        match self {
            Binding::All(filter) => filter,
            Binding::Some(table) => &table.filter,
        }
    }

    /// The User Properties that a message must have, if it must have any.
    pub fn properties(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Binding::All(_) => None,
            Binding::Some(table) => Some(&table.properties).filter(|wanted| !wanted.is_empty()),
        }
    }

    fn examples() -> Vec<Binding> {
        let properties = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        let table = BindingTable { filter: "orders/+".to_owned(), properties };
        vec![Binding::All("jobs/#".to_owned()), Binding::Some(table)]
    }

    fn check(&self, at: &str, found: &mut Problems) {
        let (filter, at_filter) = match self {
            Binding::All(filter) => (filter, at.to_owned()),
            Binding::Some(table) => (&table.filter, format!("{at}.filter")),
        };
        if !is_filter(filter) || OWN.iter().any(|own| filter.starts_with(own)) {
            found.add(at_filter, format!("{filter:?} is not a Topic Filter of its own"));
        }
        let count = self.properties().map_or(0, BTreeMap::len);
        if count > PROPERTIES_MAX {
            let problem = format!("{count} User Properties are more than {PROPERTIES_MAX}");
            found.add(format!("{at}.where"), problem);
        }
    }
}

/// Adds what is wrong with the name of a queue or a log, which is at `at`.
pub(super) fn check_name(name: &str, at: &str, found: &mut Problems) {
    if !is_queue_name(name) {
        let wanted = format!("1 to {NAME_BYTES_MAX} letters, digits, '_' and '-'");
        let problem = format!("expected {wanted}, found {name:?}");
        found.add(super::section::join(at, "name"), problem);
    }
}

/// Adds what is wrong with bindings; `at` is their key.
pub(super) fn check_bindings(bindings: &[Binding], at: &str, found: &mut Problems) {
    let count = bindings.len();
    if count == 0 || count > BINDINGS_MAX {
        found.add(at, format!("{count} of them: expected 1 to {BINDINGS_MAX}"));
    }
    for (number, binding) in bindings.iter().enumerate() {
        binding.check(&format!("{at}.{number}"), found);
    }
}

/// Whether a named queue may be called so.
pub fn is_queue_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}
