//! Scenarios about connections and what the broker keeps: idle, storm, retained.

use std::time::Duration;

use clap::Args;
use sluicemq::codec::QoS;

use super::through::through;
use super::{DEFAULTS, Defaults, Made, Options};
use crate::plan::{Group, Length, Pattern, Step};
use crate::quantity::{small_count, span};

/// Many connections that do nothing.
#[derive(Args, Clone, Debug)]
pub struct Idle {
    /// Keep the connections open so long
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "5s")]
    hold: Duration,
    #[command(flatten)]
    options: Options,
}

impl Idle {
    pub(super) fn plan(&self) -> Made<'_> {
        self.options.without("idle", NO_MESSAGES)?;
        self.options.without("idle", &["duration", "count"])?;
        let defaults = Defaults { scenario: "idle", subscribers: 1000, ..DEFAULTS };
        let settled = self.options.over(&defaults);
        let mut plan = settled.plan()?;
        let clients =
            settled.subscribing(settled.subscribers, Pattern("load/idle/{sub}".into()), 1);
        plan.groups = vec![Group { name: "clients".into(), ..clients }];
        plan.load.length = Length::For(self.hold);
        plan.tolerant = true;
        plan.steps = vec![Step::Connect { group: 0, subscribe: true }, Step::Hold(self.hold)];
        Ok((plan, settled))
    }
}

/// Clients connect and disconnect again and again; or all come back after a restart.
#[derive(Args, Clone, Debug)]
pub struct Storm {
    /// Clients at the same time
    #[arg(long, value_name = "N", value_parser = small_count, default_value = "100")]
    clients: u32,
    /// Instead, connect all, wait until the broker is restarted, and until all are back
    #[arg(long)]
    restart: bool,
    /// Wait so long for the broker to go, and for all to be back [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = span, requires = "restart")]
    patience: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

impl Storm {
    pub(super) fn plan(&self) -> Made<'_> {
        self.options.without("storm", NO_MESSAGES)?;
        self.options.without("storm", &["subscribers"])?;
        if self.restart {
            self.options.without("storm --restart", &["duration", "count"])?;
        }
        let settled = self.options.over(&Defaults { scenario: "storm", ..DEFAULTS });
        let mut plan = settled.plan()?;
        let mut clients = settled.subscribing(self.clients, Pattern("load/storm/{sub}".into()), 1);
        clients.name = "clients".into();
        plan.tolerant = true;
        if self.restart {
            clients.reconnects = true;
            plan.may_lose_connections = true;
            let at_most = self.patience.unwrap_or(PATIENCE);
            plan.steps =
                vec![Step::Connect { group: 0, subscribe: true }, Step::AwaitRestart { at_most }];
        } else {
            clients.subscribes.clear();
            plan.steps = vec![Step::Storm { group: 0 }];
        }
        plan.groups = vec![clients];
        Ok((plan, settled))
    }
}

/// Retained messages, and subscribers that come and fetch them.
#[derive(Args, Clone, Debug)]
pub struct Retained {
    /// Leave the retained messages at the broker
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    options: Options,
}

impl Retained {
    pub(super) fn plan(&self) -> Made<'_> {
        self.options.without("retained", &["warm-up", "duration", "count"])?;
        let defaults = Defaults {
            scenario: "retained",
            topics: 1000,
            topic: "load/retained/{pub}/{topic}",
            qos: QoS::AtLeastOnce,
            ..DEFAULTS
        };
        let settled = self.options.over(&defaults);
        let all = settled.topic.wildcard();
        let (mut plan, settled) = through(settled, all)?;
        if let Some(publishing) = &mut plan.groups[1].publishes {
            publishing.retain = true;
        }
        let messages = u64::from(settled.publishers) * u64::from(settled.topics);
        // One message of each topic: what is fetched is what was published last.
        plan.load.length = Length::Count(messages);
        plan.load.warm_up = Duration::ZERO;
        plan.steps = vec![
            Step::Connect { group: 1, subscribe: false },
            Step::Publish { measured: false },
            Step::Connect { group: 0, subscribe: false },
            Step::Fetch { group: 0 },
            Step::Disconnect { group: 0 },
        ];
        if !self.keep {
            plan.steps.push(Step::Clear { group: 1 });
        }
        Ok((plan, settled))
    }
}

/// What says how messages are published, where none are.
const NO_MESSAGES: &[&str] =
    &["publishers", "topics", "topic", "qos", "payload", "rate", "window", "warm-up"];
/// Until a restart, if nothing is said.
const PATIENCE: Duration = Duration::from_secs(300);
