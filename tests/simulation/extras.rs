//! What a seed decides about messages as work: named queues, strategies, delays, keys, and logs that are read.

use std::time::Duration;

use sluicemq::config::{
    Binding, Config, DedupConfig, GroupConfig, Keep, NamedQueue, QueuePolicy, Size, Span, Strategy,
};

use super::jobs::Rules;
use super::random::Random;

/// What there is of it in one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    pub queue: Option<Rules>,
    pub delays: bool,
    /// Members of groups and consumers share otherwise than by default.
    pub shares: bool,
    /// How long keys are remembered.
    pub keys: Option<Duration>,
    pub history: bool,
    /// Groups and the queue share by lanes, which keep an order.
    pub lanes: bool,
}

/// Topics of each kind, behind those that there are in all rounds.
pub const QUEUED: [usize; 2] = [6, 7];
pub const LATE: usize = 8;
pub const ONCE: usize = 9;
pub const KEPT: [usize; 2] = [10, 11];
/// How long a message is delayed.
pub const SPANS: [(&str, Duration); 5] = [
    ("0", Duration::ZERO),
    ("30ms", Duration::from_millis(30)),
    ("1", Duration::from_secs(1)),
    ("4s", Duration::from_secs(4)),
    ("20s", Duration::from_secs(20)),
];
pub const QUEUE: &str = "$queue/work";
pub const READ: &str = "$replay/past/all";

impl Extras {
    /// Draws it, and puts it into `config`. `exact`: nothing that a client gets but by a queue.
    pub fn draw(random: &mut Random, exact: bool, config: &mut Config) -> Extras {
        let share = random.percent(50);
        let changes_order = !config.priority.is_empty();
        let lanes = share && !changes_order && random.percent(60);
        let strategies = if lanes { &STRATEGIES[3..] } else { &STRATEGIES[..3] };
        let mut strategy = || if share { random.pick(strategies) } else { Strategy::default() };
        let (of_groups, of_queue) = (strategy(), strategy());
        let all = GroupConfig { share: Some("*".to_owned()), ..GroupConfig::default() };
        config.group = vec![GroupConfig { strategy: of_groups, ..all }];
        let queue = random.percent(50).then(|| {
            let (queue, rules) = queue(random, of_queue);
            config.named_queue.push(queue);
            rules
        });
        let keys = (!exact && random.percent(30)).then(|| {
            let window = Duration::from_secs(random.pick(&[3_600, 3_600, 2]));
            config.dedup.push(DedupConfig {
                filter: "t/once".to_owned(),
                key: "payload".to_owned(),
                window: Span(window),
                ..DedupConfig::default()
            });
            window
        });
        let history = !exact && random.percent(30);
        if history {
            config.keep.push(Keep {
                name: "past".to_owned(),
                bindings: vec![Binding::All("k/#".to_owned())],
                messages: 100_000,
                bytes: Size::kib(64 * 1024),
                ..Keep::default()
            });
        }
        Extras { queue, delays: !exact && random.percent(30), keys, history, shares: share, lanes }
    }

    /// The broker draws by its own seed which member gets a message, or when.
    pub fn draws(&self) -> bool {
        self.shares || self.queue.is_some()
    }

    /// Topics that clients publish to, beside those that there are in all rounds.
    pub fn topics(&self) -> Vec<usize> {
        let mut topics = Vec::new();
        topics.extend(self.queue.iter().flat_map(|_| QUEUED));
        topics.extend(self.delays.then_some(LATE));
        topics.extend(self.keys.map(|_| ONCE));
        topics.extend(self.history.then_some(KEPT).into_iter().flatten());
        topics
    }

    /// Filters that clients subscribe to, beside those that there are in all rounds.
    pub fn filters(&self) -> Vec<&'static str> {
        let queue = self.queue.map(|_| QUEUE);
        queue.into_iter().chain(self.history.then_some(READ)).collect()
    }

    /// What keeps `config` in order where lanes do not go with it.
    pub fn correct(&self, config: &mut Config) {
        if self.lanes {
            config.priority.clear();
            if config.queue.policy == QueuePolicy::Conflate {
                config.queue.policy = QueuePolicy::DropOldest;
            }
        }
    }
}

fn queue(random: &mut Random, strategy: Strategy) -> (NamedQueue, Rules) {
    let attempts_max = random.pick(&[2, 3, 5]);
    let (low, high) = random.pick(&[(100, 1_000), (1_000, 4_000)]);
    let ack_timeout = random.pick(&[None, None, Some(100), Some(1_500)]).map(Duration::from_millis);
    let queue = NamedQueue {
        name: "work".to_owned(),
        bindings: vec![Binding::All("q/#".to_owned())],
        messages_max: Some(10_000),
        bytes_max: Some(Size::kib(64 * 1024)),
        policy: Some(QueuePolicy::Reject),
        attempts_max,
        backoff: format!("{low}ms..{high}ms").parse().expect("two spans"),
        ack_timeout: ack_timeout.map(Span),
        strategy,
        ..NamedQueue::default()
    };
    let [low, high] = [low, high].map(Duration::from_millis);
    (queue, Rules { attempts_max: attempts_max.into(), low, high, ack_timeout })
}

/// Those with lanes last.
const STRATEGIES: [Strategy; 6] = [
    Strategy::LeastInflight,
    Strategy::RoundRobin,
    Strategy::Random,
    Strategy::Sticky,
    Strategy::Hash,
    Strategy::SingleActive,
];
