//! Scenarios in which messages go through: publishers here, subscribers there.

use std::time::Duration;

use clap::Args;
use sluicemq::codec::QoS;

use super::{DEFAULTS, Defaults, Made, Options, Settled};
use crate::error::Error;
use crate::plan::{Group, Pace, Pattern, Step, Subscribing};
use crate::quantity::{count, small_count, span};
use crate::routes::arrives_on;

pub(super) fn pair(options: &Options) -> Made<'_> {
    let mut settled = options.over(&Defaults { scenario: "pair", ..DEFAULTS });
    pairs(&mut settled, options)?;
    let filter = settled.topic.clone();
    through(settled, filter)
}

/// As many subscribers as publishers, each with its own topics.
pub(super) fn pairs(settled: &mut Settled<'_>, options: &Options) -> Result<(), Error> {
    settled.publishers = options.publishers.or(options.subscribers).unwrap_or(settled.publishers);
    settled.subscribers = options.subscribers.unwrap_or(settled.publishers);
    if settled.publishers != settled.subscribers {
        return Err(Error::Input(format!(
            "{} publishers and {} subscribers make no pairs",
            settled.publishers, settled.subscribers
        )));
    }
    if !settled.topic.0.contains("{pub}") {
        return Err(Error::Input(
            "the topic has no {pub} in it, which tells the pairs apart".into(),
        ));
    }
    Ok(())
}

pub(super) fn fanout(options: &Options) -> Made<'_> {
    let defaults = Defaults { scenario: "fanout", publishers: 1, subscribers: 100, ..DEFAULTS };
    let settled = options.over(&defaults);
    let filter = settled.topic.wildcard();
    through(settled, filter)
}

pub(super) fn fanin(options: &Options) -> Made<'_> {
    let defaults = Defaults { scenario: "fanin", publishers: 100, subscribers: 1, ..DEFAULTS };
    let settled = options.over(&defaults);
    let filter = settled.topic.wildcard();
    through(settled, filter)
}

/// Many subscriptions, of which few match each message: one exact filter, one with + and one with
/// # each.
#[derive(Args, Clone, Debug)]
pub struct Wild {
    /// Subscriptions in all: six tenths exact, three with +, one with #
    #[arg(long, value_name = "N", value_parser = small_count, default_value = "100k")]
    subscriptions: u32,
    #[command(flatten)]
    options: Options,
}

impl Wild {
    pub(super) fn plan(&self) -> Made<'_> {
        let topic = "load/wild/{pub}/{topic}/v";
        let defaults =
            Defaults { scenario: "wild", subscribers: 100, topics: 100, topic, ..DEFAULTS };
        let mut settled = self.options.over(&defaults);
        let clients = settled.subscribers;
        let each = (self.subscriptions / clients).max(10);
        let (exact, plus) = (each * 6 / 10, each * 3 / 10);
        let hash = each - exact - plus;
        if settled.publishers > clients {
            return Err(Error::Input(format!(
                "{} publishers need as many subscribers, {clients} are there",
                settled.publishers
            )));
        }
        let topics = self.options.topics.unwrap_or(settled.topics.min(hash));
        if topics > exact.min(plus).min(hash) {
            let most = exact.min(plus).min(hash);
            return Err(Error::Input(format!(
                "{topics} topics of each publisher: {most} at most have a subscription of each kind"
            )));
        }
        settled.topics = topics;
        let mut plan = settled.plan()?;
        let group = |name: &str, filter: &str, filters| Group {
            name: name.into(),
            ..settled.subscribing(clients, Pattern(filter.into()), filters)
        };
        plan.groups = vec![
            group("exact", "load/wild/{sub}/{topic}/v", exact),
            group("plus", "load/+/{sub}/{topic}/v", plus),
            group("hash", "load/wild/{sub}/{topic}/#", hash),
            settled.publishing(),
        ];
        plan.settings = vec![("subscriptions".into(), (each * clients).to_string())];
        plan.steps = (0..3).map(|group| Step::Connect { group, subscribe: true }).collect();
        plan.steps.extend([
            Step::Connect { group: 3, subscribe: false },
            Step::Publish { measured: true },
            Step::Drain,
        ]);
        Ok((plan, settled))
    }
}

/// A group of subscribers that share the messages among them.
#[derive(Args, Clone, Debug)]
pub struct Shared {
    /// Name of the group
    #[arg(long, value_name = "NAME", default_value = "load")]
    share: String,
    /// Consume this named queue of Sluice instead; it must collect the topics, and nothing else
    #[arg(long, value_name = "NAME", conflicts_with = "share")]
    queue: Option<String>,
    #[command(flatten)]
    options: Options,
}

impl Shared {
    pub(super) fn plan(&self) -> Made<'_> {
        let name = self.queue.as_ref().unwrap_or(&self.share);
        if name.is_empty() || name.contains(['/', '+', '#']) {
            return Err(Error::Input(format!("{name:?} is no name of a group")));
        }
        let defaults = Defaults { scenario: "shared", subscribers: 4, ..DEFAULTS };
        let settled = self.options.over(&defaults);
        let filter = settled.topic.wildcard();
        let (mut plan, settled) = through(settled, filter)?;
        let subscribing = &mut plan.groups[0].subscribes[0];
        (subscribing.share, subscribing.queue) = (Some(name.clone()), self.queue.is_some());
        Ok((plan, settled))
    }
}

/// Some subscribers stop reading: the others must not suffer.
#[derive(Args, Clone, Debug)]
pub struct Slow {
    /// Subscribers beside the others that stop reading
    #[arg(long, value_name = "N", value_parser = small_count, default_value = "5")]
    stalled: u32,
    #[command(flatten)]
    options: Options,
}

impl Slow {
    pub(super) fn plan(&self) -> Made<'_> {
        let defaults = Defaults { scenario: "slow", publishers: 1, subscribers: 20, ..DEFAULTS };
        let settled = self.options.over(&defaults);
        let filter = settled.topic.wildcard();
        let (mut plan, settled) = through(settled, filter)?;
        let stalled = Group {
            name: "stalled".into(),
            clients: self.stalled,
            stalls: true,
            ..plan.groups[0].clone()
        };
        plan.groups.push(stalled);
        plan.steps.insert(1, Step::Connect { group: 2, subscribe: true });
        Ok((plan, settled))
    }
}

/// Bursts of messages: how evenly do they arrive?
#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Messages in a burst, over all publishers
    #[arg(long, value_name = "N", value_parser = count, default_value = "1000")]
    burst: u64,
    /// From burst to burst
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1s")]
    every: Duration,
    /// Count what arrives at each subscriber in windows of so long
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "100ms")]
    windows: Duration,
    #[command(flatten)]
    options: Options,
}

impl Shape {
    pub(super) fn plan(&self) -> Made<'_> {
        let defaults = Defaults {
            scenario: "shape",
            publishers: 1,
            subscribers: 1,
            qos: QoS::AtLeastOnce,
            window: 1000,
            ..DEFAULTS
        };
        let settled = self.options.over(&defaults);
        let filter = settled.topic.wildcard();
        let (mut plan, settled) = through(settled, filter)?;
        let window_ms = self.windows.as_millis() as u64;
        if window_ms == 0 || self.every.is_zero() {
            return Err(Error::Input("windows and bursts need some time".into()));
        }
        if self.options.rate.is_none() {
            plan.load.pace = Pace::Burst { size: self.burst, every: self.every };
        }
        plan.smoothness_ms = Some(window_ms);
        Ok((plan, settled))
    }
}

/// Publishers, and subscribers with one filter each (one for each topic, if the filter says so).
pub(super) fn through(mut settled: Settled<'_>, mut filter: Pattern) -> Made<'_> {
    if settled.topics > 1 && !settled.topic.0.contains("{topic}") {
        let wild = filter != settled.topic;
        settled.topic.0 += "/{topic}";
        filter.0 += if wild { "/+" } else { "/{topic}" };
    }
    filter.0 = arrives_on(&filter.0).into();
    let mut plan = settled.plan()?;
    let filters = if filter.0.contains("{topic}") { settled.topics } else { 1 };
    let subscribers = settled.subscribing(settled.subscribers, filter, filters);
    plan.groups = vec![subscribers, settled.publishing()];
    plan.steps = vec![
        Step::Connect { group: 0, subscribe: true },
        Step::Connect { group: 1, subscribe: false },
        Step::Publish { measured: true },
        Step::Drain,
    ];
    if plan.groups[0].persistent {
        plan.may_lose_connections = true;
        let publishers = &mut plan.groups[1];
        (publishers.persistent, publishers.reconnects) = (true, true);
        // Nothing of it stays with the broker.
        for group in [1, 0] {
            plan.steps.extend([Step::Disconnect { group }, Step::Forget { group }]);
        }
    }
    Ok((plan, settled))
}

/// One filter.
pub(super) fn filter(filter: &str, qos: QoS) -> Subscribing {
    Subscribing { filter: Pattern(filter.into()), filters: 1, qos, share: None, queue: false }
}
