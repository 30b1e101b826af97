//! The scenarios: each makes a plan of a few options.

mod options;

use clap::{Args, Subcommand};
use sluicemq::codec::QoS;

use crate::error::Error;
use crate::plan::{Group, Pattern, Plan, Step};
use crate::quantity::span;
use std::time::Duration;

pub use options::{Defaults, Options, Protocol, Settled};

/// A kind of load.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Each publisher has a subscriber of its own
    Pair(Plain),
    /// Few publishers, each message to many subscribers
    Fanout(Plain),
    /// Many publishers to few subscribers
    Fanin(Plain),
    /// Many connections with one subscription each, that do nothing
    Idle(Idle),
}

/// A scenario with nothing of its own.
#[derive(Args, Clone, Debug)]
pub struct Plain {
    #[command(flatten)]
    options: Options,
}

/// Many connections that do nothing.
#[derive(Args, Clone, Debug)]
pub struct Idle {
    /// Keep the connections open so long
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "5s")]
    hold: Duration,
    #[command(flatten)]
    options: Options,
}

impl Scenario {
    /// The plan of this scenario.
    ///
    /// # Errors
    ///
    /// If its options make no sense together.
    pub fn plan(&self) -> Result<Plan, Error> {
        let (mut plan, settled) = match self {
            Scenario::Pair(plain) => pair(&plain.options),
            Scenario::Fanout(plain) => fanout(&plain.options),
            Scenario::Fanin(plain) => fanin(&plain.options),
            Scenario::Idle(idle) => idle.plan(),
        }?;
        plan.settings.splice(0..0, settled.settings(&plan));
        Ok(plan)
    }
}

fn pair(options: &Options) -> Result<(Plan, Settled<'_>), Error> {
    let mut settled = options.over(&Defaults { scenario: "pair", ..DEFAULTS });
    settled.publishers = options.publishers.or(options.subscribers).unwrap_or(settled.publishers);
    settled.subscribers = options.subscribers.unwrap_or(settled.publishers);
    if settled.publishers != settled.subscribers {
        return Err(Error::Input(format!(
            "pair: {} publishers and {} subscribers make no pairs",
            settled.publishers, settled.subscribers
        )));
    }
    if !settled.topic.0.contains("{pub}") {
        return Err(Error::Input("pair: the topic has no {pub} that tells the pairs apart".into()));
    }
    let filter = settled.topic.clone();
    through(settled, filter)
}

fn fanout(options: &Options) -> Result<(Plan, Settled<'_>), Error> {
    let defaults = Defaults { scenario: "fanout", publishers: 1, subscribers: 100, ..DEFAULTS };
    let settled = options.over(&defaults);
    let filter = settled.topic.wildcard();
    through(settled, filter)
}

fn fanin(options: &Options) -> Result<(Plan, Settled<'_>), Error> {
    let defaults = Defaults { scenario: "fanin", publishers: 100, subscribers: 1, ..DEFAULTS };
    let settled = options.over(&defaults);
    let filter = settled.topic.wildcard();
    through(settled, filter)
}

/// Publishers, and subscribers with one filter each (one for each topic if the filter says so).
fn through(settled: Settled<'_>, filter: Pattern) -> Result<(Plan, Settled<'_>), Error> {
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
    Ok((plan, settled))
}

impl Idle {
    fn plan(&self) -> Result<(Plan, Settled<'_>), Error> {
        let defaults = Defaults { scenario: "idle", subscribers: 1000, ..DEFAULTS };
        let settled = self.options.over(&defaults);
        let mut plan = settled.plan()?;
        let filter = Pattern("load/idle/{sub}".into());
        let clients = settled.subscribing(settled.subscribers, filter, 1);
        plan.groups = vec![Group { name: "clients".into(), ..clients }];
        plan.load.length = crate::plan::Length::For(self.hold);
        plan.tolerant = true;
        plan.steps = vec![Step::Connect { group: 0, subscribe: true }, Step::Hold(self.hold)];
        Ok((plan, settled))
    }
}

/// What most scenarios do where nothing else is said.
const DEFAULTS: Defaults = Defaults {
    scenario: "",
    publishers: 10,
    subscribers: 10,
    topics: 1,
    topic: "load/{pub}",
    qos: QoS::AtMostOnce,
    window: 100,
};
