//! What a seed decides before the first step.

use std::time::Duration;

use sluicemq::config::{
    Binding, Class, ClassQueue, Config, Egress, Excess, Ingress, Keep, Listener, Priority,
    QueuePolicy, Shaping, Size, Span, TopicClassConfig,
};

use super::access::Rights;
use super::extras::Extras;
use super::random::Random;

/// What goes on in one round.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub store: Kind,
    pub clients: usize,
    pub steps: usize,
    /// Only what an oracle of a few lines can foretell: no retained messages, no Wills, no rudeness.
    pub exact: bool,
    /// Some queues want dead letters, and there is a client beside the others that reads them.
    pub letters: bool,
    pub rights: Rights,
    pub extras: Extras,
    pub config: Config,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Remembers nothing.
    Memory,
    /// Durable later, in order.
    Slow,
    /// Slow, refuses at random, and fails for good in the middle of the round.
    Faulty,
    /// Slow, and now and then the broker dies: what was not written by then is gone.
    Crashing,
}

impl Kind {
    /// It refuses nothing, fails never, and outlives no broker.
    fn is_plain(self) -> bool {
        matches!(self, Kind::Memory | Kind::Slow)
    }
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x9E3C);
        let store = random.pick(&[
            Kind::Memory,
            Kind::Slow,
            Kind::Slow,
            Kind::Faulty,
            Kind::Crashing,
            Kind::Crashing,
        ]);
        let exact = store.is_plain() && random.percent(50);
        let mut config = limits(&mut random, store, exact);
        if random.percent(40) {
            config.priority = vec![
                rule(None, Some(URGENT), 3),
                rule(Some("t/a"), None, 2),
                rule(Some("g/#"), None, 0),
            ];
            config.queue.lower_band_share = random.pick(&[1, 10, 25]);
        }
        let clients = 3 + random.below(5);
        if random.percent(40) {
            config.class.push(slow_class(&mut random, store, exact));
        }
        if random.percent(40) {
            let free = store.is_plain() && !exact;
            limit_what_comes(&mut random, free, &mut config);
        }
        if random.percent(25) {
            // All together get theirs slowly.
            config.broker.egress = Egress {
                messages_rate: random.pick(&[0, 3, 50]),
                bytes_rate: Size(random.pick(&[500, 5_000])),
                ..Egress::default()
            };
        }
        if random.percent(60) {
            // What is lost is told apart by topic, and what waits in the store is asked for its own.
            config.topic_class = [("a", &["t/a", "g/a/#"][..]), ("t", &["t/#"])]
                .map(|(name, filters)| TopicClassConfig {
                    name: name.to_owned(),
                    filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
                })
                .into();
        }
        let leaves_letters = |class: &Class| {
            class.queue.as_ref().is_some_and(|queue| queue.dead_letters == Some(true))
        };
        let letters = config.queue.dead_letters || config.class.iter().any(leaves_letters);
        if letters {
            let class = reader_class(&mut random, &config);
            config.class.insert(0, class);
        }
        let rights = Rights { denies: random.percent(40) };
        // A seed of its own: nothing else depends on it.
        let mut own = Random::new(seed ^ 0x10C);
        if own.percent(40) {
            config.keep.push(Keep {
                name: "log".to_owned(),
                bindings: vec![Binding::All("t/#".to_owned())],
                messages: own.pick(&[1, 5, 50]),
                span: own.pick(&[None, Some(Span::secs(5))]),
                ..Keep::default()
            });
        }
        let extras = Extras::draw(&mut Random::new(seed ^ 0x3B5), exact, &mut config);
        extras.correct(&mut config);
        Plan { seed, store, clients, steps: 250, exact, letters, rights, extras, config }
    }

    /// Whether the queue of this receiver, a client or a group, wants dead letters.
    pub fn wants_letters(&self, receiver: &str) -> bool {
        let fits = |class: &&Class| match class.client_id.as_deref() {
            Some("c?" | "c*") => receiver.starts_with('c'),
            pattern => pattern == Some(receiver),
        };
        let class = self.config.class.iter().find(fits).and_then(|class| class.queue.clone());
        let own = class.and_then(|queue| queue.dead_letters);
        own.unwrap_or(self.config.queue.dead_letters)
    }

    /// Another configuration is in the file: what a reload puts in force is drawn anew.
    pub fn change(&mut self, random: &mut Random) {
        let config = &mut self.config;
        config.queue.lower_band_share = random.pick(&[1, 10, 25]);
        // Where the broker dies no message is refused, so everything that is acknowledged must come.
        if self.store != Kind::Crashing {
            config.queue.messages_max = random.pick(&[20, 8, 3, 1]);
            config.queue.bytes_max = Size::kib(random.pick(&[64, 16]));
            config.queue.qos0_offline = random.percent(20);
            config.queue.policy = random.pick(&POLICIES);
            // Which queues want dead letters stays: the checks of the letters rely on it.
            for class in config.class.iter_mut().filter(|class| class.name != READER) {
                let queue = class.queue.get_or_insert_default();
                queue.policy = random.percent(50).then(|| random.pick(&POLICIES));
                queue.messages_max = random.percent(50).then(|| random.pick(&[20, 2]));
            }
        }
        if random.percent(50) {
            let first = random.pick(&["t/a", "t/b", "t/a/x", "t/#"]);
            config.priority = match random.below(4) {
                0 => vec![],
                1 => vec![rule(None, Some(URGENT), random.pick(&[0, 3]))],
                _ => vec![
                    rule(Some(first), None, random.pick(&[0, 1, 2, 3])),
                    rule(Some("+/a"), None, random.pick(&[0, 2])),
                ],
            };
        }
        config.overload.lag_max = Span::millis(random.pick(&[100, 100, 150]));
        // What is shed the oracle cannot foretell.
        config.overload.level_max = random.pick(if self.exact { &[0, 2, 2] } else { &[0, 2, 3] });
        self.extras.correct(config);
    }

    /// The same without rates: no client waits for a bucket.
    pub fn without_rates(&self) -> Config {
        let mut config = self.config.clone();
        config.listener.clear();
        for class in &mut config.class {
            (class.shaping, class.ingress) = (None, None);
        }
        config.limits.client = Ingress::default();
        config.broker.egress = Egress::default();
        config
    }

    /// The same, and nothing is kept for long.
    pub fn without_rates_and_logs(&self) -> Config {
        let mut config = self.without_rates();
        config.keep.iter_mut().for_each(|keep| keep.span = Some(Span::secs(1)));
        config.named_queue.iter_mut().for_each(|queue| queue.ttl = Some(Span::secs(1)));
        config
    }
}

/// What is limited: queues, Sessions, totals. Nothing that an exact round's oracle cannot foretell.
fn limits(random: &mut Random, store: Kind, exact: bool) -> Config {
    let mut config = Config::default();
    config.queue.messages_max = random.pick(&[20, 20, 8, 3]);
    config.queue.bytes_max = Size::kib(random.pick(&[64, 16]));
    config.queue.qos0_offline = random.percent(20);
    config.session.inflight_max = random.pick(&[4, 4, 1, 32]);
    config.session.receive_maximum = RECEIVE_MAXIMUM;
    config.session.topic_alias_out_max = 2;
    config.session.expiry_max = Span(Duration::from_secs(EXPIRY_MAX.into()));
    config.limits.owed_max = 3;
    config.limits.unreleased_max = 10;
    config.limits.subscriptions_max = SUBSCRIPTIONS_MAX;
    config.broker.sys_interval = Span(Duration::ZERO);
    config.overload.hold = Span::millis(100);
    config.overload.lag_max = Span::millis(100);
    if exact {
        // What is shed the oracle cannot foretell.
        config.overload.level_max = 2;
    }
    if store == Kind::Crashing {
        // No message is refused, so everything that is acknowledged must come.
        config.queue.messages_max = 10_000;
        config.queue.bytes_max = Size::kib(64 * 1024);
    } else if !exact {
        // What a failed store must not accept must be refused for no other reason.
        if store != Kind::Faulty {
            config.totals.retained_max = 3;
            config.totals.queued_bytes_max = Size::kib(random.pick(&[1024, 40]));
        }
        config.totals.groups_max = random.pick(&[1, 10]);
        config.totals.subscriptions_max = random.pick(&[8, 1000]);
        config.totals.sessions_max = random.pick(&[5, 1000]);
    }
    if store != Kind::Crashing {
        config.queue.policy = random.pick(&POLICIES);
        config.queue.dead_letters = random.percent(50);
    }
    config
}

/// A class of clients that get their messages slowly; in exact rounds none is dropped for it.
fn slow_class(random: &mut Random, store: Kind, exact: bool) -> Class {
    let age = if exact { 0 } else { random.pick(&[0, 1]) };
    let shaping = Shaping {
        messages_rate: random.pick(&[0, 3, 50]),
        bytes_rate: Size(random.pick(&[0, 2_000])),
        qos0_age_max: Span::secs(age),
        ..Shaping::default()
    };
    let (name, client_id) = ("slow".to_owned(), Some(random.pick(&["c?", "c0", "c*"]).to_owned()));
    let queue = ClassQueue {
        policy: (store != Kind::Crashing).then(|| random.pick(&POLICIES)),
        qos0_offline: Some(random.percent(50)),
        dead_letters: (store != Kind::Crashing && random.percent(30)).then(|| random.percent(50)),
        ..ClassQueue::default()
    };
    let shaping = Some(shaping);
    Class { name, client_id, shaping, queue: Some(queue), ..Class::default() }
}

/// Rates for what clients send, of each client or of all together. `free`: PUBLISHes may be refused
/// for it, because a refusal means nothing else in this round.
fn limit_what_comes(random: &mut Random, free: bool, config: &mut Config) {
    let actions = [Excess::Pause, Excess::Reject, Excess::Disconnect];
    let ingress = Ingress {
        publishes_rate: random.pick(&[1, 5, 50]),
        publishes_burst: random.pick(&[1, 5]),
        publish_bytes_rate: Size(random.pick(&[0, 500])),
        subscribes_rate: random.pick(&[0, 1]),
        action: if free { random.pick(&actions) } else { Excess::Pause },
        ..Ingress::default()
    };
    if random.percent(50) {
        config.limits.client = ingress;
    } else {
        let name = LISTENER.to_owned();
        config.listener.push(Listener { name, ingress, ..Listener::default() });
    }
}

/// The class of the reader of dead letters. In some rounds it cannot keep up: what its queue gives up
/// must cause no letters again.
fn reader_class(random: &mut Random, config: &Config) -> Class {
    let queue = ClassQueue {
        messages_max: Some(random.pick(&[1_000_000, 1_000_000, 2])),
        bytes_max: Some(config.totals.queued_bytes_max),
        policy: Some(random.pick(&[QueuePolicy::Reject, QueuePolicy::DropOldest])),
        qos0_offline: None,
        dead_letters: Some(true),
    };
    Class {
        name: READER.to_owned(),
        client_id: Some(READER.to_owned()),
        shaping: Some(Shaping::default()),
        queue: Some(queue),
        ..Class::default()
    }
}

fn rule(filter: Option<&str>, property: Option<&str>, band: u8) -> Priority {
    let [filter, property] = [filter, property].map(|text| text.map(str::to_owned));
    Priority { filter, property, band }
}

/// What a full queue may do.
const POLICIES: [QueuePolicy; 6] = [
    QueuePolicy::Reject,
    QueuePolicy::Reject,
    QueuePolicy::DropOldest,
    QueuePolicy::DropNewest,
    QueuePolicy::DropQos0First,
    QueuePolicy::Conflate,
];

/// The client that reads dead letters.
pub const READER: &str = "reader";
/// The listener of all clients.
pub const LISTENER: &str = "simulated";
/// A User Property of which a rule may speak.
pub const URGENT: &str = "urgent=yes";
pub const RECEIVE_MAXIMUM: u16 = 8;
pub const EXPIRY_MAX: u32 = 3_600;
pub const SUBSCRIPTIONS_MAX: u32 = 5;
