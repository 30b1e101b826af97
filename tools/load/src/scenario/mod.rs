//! The scenarios: each makes a plan of a few options.

mod durable;
mod options;
mod replay;
mod sessions;
mod through;

use clap::{Args, Subcommand};
use sluicemq::codec::QoS;

pub use self::durable::Durable;
pub use self::options::{Defaults, Options, Protocol, Settled};
pub use self::replay::Replay;
pub use self::sessions::{Idle, Retained, Storm};
pub use self::through::{Shape, Shared, Slow, Wild};
use crate::error::Error;
use crate::plan::Plan;

/// A kind of load.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Each publisher has a subscriber of its own
    Pair(Plain),
    /// Few publishers, each message to many subscribers
    Fanout(Plain),
    /// Many publishers to few subscribers
    Fanin(Plain),
    /// Many subscriptions, of which few match each message
    Wild(Wild),
    /// A group of subscribers that share the messages among them
    Shared(Shared),
    /// Many connections with one subscription each, that do nothing
    Idle(Idle),
    /// Clients connect and disconnect again and again; or all come back after a restart
    Storm(Storm),
    /// Writes to Sessions of absent subscribers, which then come and take everything
    Durable(Durable),
    /// Retained messages, and subscribers that come and fetch them
    Retained(Retained),
    /// Some subscribers stop reading: the others must not suffer
    Slow(Slow),
    /// Bursts of messages: how evenly do they arrive?
    Shape(Shape),
    /// A recorded timeline, from a CSV file
    Replay(Replay),
}

/// A scenario with nothing of its own.
#[derive(Args, Clone, Debug)]
pub struct Plain {
    #[command(flatten)]
    options: Options,
}

/// A plan as a scenario made it, and the options that went into it.
type Made<'o> = Result<(Plan, Settled<'o>), Error>;

impl Scenario {
    /// The plan of this scenario.
    ///
    /// # Errors
    ///
    /// If its options make no sense together, or a file of it cannot be read.
    pub fn plan(&self) -> Result<Plan, Error> {
        let (mut plan, settled) = match self {
            Scenario::Pair(plain) => through::pair(&plain.options),
            Scenario::Fanout(plain) => through::fanout(&plain.options),
            Scenario::Fanin(plain) => through::fanin(&plain.options),
            Scenario::Wild(wild) => wild.plan(),
            Scenario::Shared(shared) => shared.plan(),
            Scenario::Idle(idle) => idle.plan(),
            Scenario::Storm(storm) => storm.plan(),
            Scenario::Durable(durable) => durable.plan(),
            Scenario::Retained(retained) => retained.plan(),
            Scenario::Slow(slow) => slow.plan(),
            Scenario::Shape(shape) => shape.plan(),
            Scenario::Replay(replay) => replay.plan(),
        }?;
        plan.settings.splice(0..0, settled.settings(&plan));
        Ok(plan)
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::plan::Step;
    use crate::routes::Routes;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        scenario: Scenario,
    }

    fn plan(line: &str) -> Result<Plan, Error> {
        let words = ["load"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).expect(line).scenario.plan()
    }

    #[test]
    fn every_scenario_reaches_whom_it_should() {
        for (line, clients, streams, copies) in [
            ("pair", 20, 10, 1),
            ("pair --publishers 3 --topics 4", 6, 12, 1),
            ("fanout --subscribers 7", 8, 1, 7),
            ("fanin --publishers 9", 10, 9, 1),
            ("fanin --publishers 9 --topics 2 --subscribers 3", 12, 18, 3),
            ("wild --subscriptions 5k --publishers 2 --topics 3", 302, 6, 3),
            ("shared --publishers 5", 9, 5, 1),
            ("shared --queue jobs --publishers 5", 9, 5, 1),
            ("fanin --publishers 9 --topic $delayed/5s/load/{pub}", 10, 9, 1),
            ("idle --subscribers 4", 4, 0, 0),
            ("storm --clients 4", 4, 0, 0),
            ("durable --publishers 2", 4, 2, 1),
            ("retained --publishers 2 --topics 5 --subscribers 3", 5, 10, 3),
            ("slow --subscribers 6 --stalled 2", 9, 1, 6),
            ("shape --publishers 2 --subscribers 3", 5, 2, 3),
        ] {
            let plan = plan(line).expect(line);
            let routes = Routes::new(&plan).expect(line);
            assert_eq!(plan.clients(), clients, "{line}");
            assert_eq!(routes.streams.len(), streams, "{line}");
            assert!(routes.streams.iter().all(|stream| stream.copies == copies), "{line}");
            assert!(!plan.settings.is_empty() && !plan.steps.is_empty(), "{line}");
        }
    }

    #[test]
    fn a_hundred_thousand_subscriptions_are_made() {
        let plan = plan("wild").unwrap();
        let filters: usize = plan.members().map(|member| member.filters().count()).sum();
        assert_eq!(filters, 100_000);
        // No client has more than brokers commonly allow.
        assert!(plan.members().all(|member| member.filters().count() <= 1000));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        for (line, word) in [
            ("pair --publishers 2 --subscribers 3", "no pairs"),
            ("pair --topic load/x", "{pub}"),
            ("wild --publishers 200", "publishers"),
            ("wild --topics 601", "topics"),
            ("idle --publishers 3", "idle: --publishers has no meaning"),
            ("storm --qos 1", "no meaning"),
            ("storm --restart --duration 3s", "no meaning"),
            ("retained --count 3", "no meaning"),
            ("replay x --rate 3", "no meaning"),
            ("durable --qos 0", "quality of service"),
            ("durable --verify --state /nonexistent/state", "cannot read"),
            ("replay /nonexistent/timeline.csv", "cannot read"),
        ] {
            let error = plan(line).expect_err(line).to_string();
            assert!(error.contains(word) && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn a_restart_is_waited_for_only_if_asked() {
        let waits = |line| {
            plan(line).unwrap().steps.iter().any(|step| matches!(step, Step::AwaitRestart { .. }))
        };
        assert!(waits("storm --restart") && !waits("storm"));
    }
}
