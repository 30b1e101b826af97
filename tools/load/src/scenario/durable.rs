//! Writes to Sessions of absent subscribers, which then come and take everything: at once, or in
//! another run after the broker was killed. Between two runs a file says what was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sluicemq::codec::{QoS, Version};

use super::through::{pairs, through};
use super::{DEFAULTS, Defaults, Made, Options};
use crate::error::Error;
use crate::journal::Acknowledged;
use crate::plan::{Length, Pattern, Plan, Step};

/// Writes to Sessions of absent subscribers, which then come and take everything.
///
/// Without --state all of it in one run. With --state FILE it only writes, and FILE says what was
/// acknowledged, whatever ends the run; after that --verify --state FILE has the subscribers come
/// and checks that every acknowledged message is there.
#[derive(Args, Clone, Debug)]
pub struct Durable {
    /// Write only, and keep in this file what was acknowledged
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Check what was written under --state
    #[arg(long, requires = "state")]
    verify: bool,
    #[command(flatten)]
    options: Options,
}

impl Durable {
    pub(super) fn plan(&self) -> Made<'_> {
        let defaults = Defaults {
            scenario: "durable",
            topic: "load/durable/{pub}",
            qos: QoS::AtLeastOnce,
            window: 1000,
            ..DEFAULTS
        };
        self.options.without("durable", &["topics", "warm-up"])?;
        let read = match (&self.state, self.verify) {
            (Some(path), true) => {
                let written = ["publishers", "subscribers", "topics", "topic", "qos", "count"];
                self.options.without("durable --verify", &written)?;
                self.options.without("durable --verify", &["payload", "rate", "duration"])?;
                Some(State::read(path)?)
            }
            (_, _) => None,
        };
        let mut settled = self.options.over(&defaults);
        pairs(&mut settled, &self.options)?;
        if let Some((state, _)) = &read {
            (settled.publishers, settled.subscribers) = (state.pairs, state.pairs);
            (settled.qos, settled.subscribe_qos) = (state.qos, state.qos);
            settled.topic = Pattern(state.topic.clone());
        }
        if settled.qos == QoS::AtMostOnce || settled.subscribe_qos == QoS::AtMostOnce {
            return Err(Error::Input(
                "quality of service 0 is never acknowledged: 1 or 2 is needed".into(),
            ));
        }
        let topic = settled.topic.clone();
        let (mut plan, settled) = through(settled, topic)?;
        plan.groups[0].persistent = true;
        plan.groups[0].reconnects = false;
        plan.load.warm_up = Duration::ZERO;
        if self.options.count.is_none() && self.options.duration.is_none() {
            plan.load.length = Length::Count(MESSAGES);
        }
        let leave_sessions = [
            Step::Connect { group: 0, subscribe: true },
            Step::Disconnect { group: 0 },
            Step::Connect { group: 1, subscribe: false },
        ];
        let collect =
            [Step::Collect { group: 0 }, Step::Disconnect { group: 0 }, Step::Forget { group: 0 }];
        match (&self.state, read) {
            (None, _) => {
                plan.steps = leave_sessions.into();
                plan.steps
                    .extend([Step::Publish { measured: false }, Step::Disconnect { group: 1 }]);
                plan.steps.extend(collect);
            }
            (Some(path), None) => {
                plan.steps = leave_sessions.into();
                plan.steps.extend([Step::Publish { measured: true }, Step::Drain]);
                plan.may_lose_connections = true;
                plan.owed = Some(Arc::default());
                plan.journal = Some(path.clone());
                plan.client_prefix = format!("dur{:08x}", plan.run);
                State::of(&plan, settled.publishers, settled.qos, &settled.topic).write(path)?;
            }
            (Some(_), Some((state, acknowledged))) => {
                plan.run = state.run;
                plan.version = state.version;
                plan.client_prefix = format!("dur{:08x}", state.run);
                plan.settings = vec![("acknowledged".into(), acknowledged.count().to_string())];
                plan.load.length = Length::Count(acknowledged.count());
                plan.owed = Some(Arc::new(acknowledged));
                plan.steps = collect.into();
            }
        }
        Ok((plan, settled))
    }
}

/// What the run that verifies has to know of the run that wrote.
#[derive(Clone, Debug, PartialEq)]
struct State {
    run: u32,
    version: Version,
    pairs: u32,
    qos: QoS,
    topic: String,
}

impl State {
    fn of(plan: &Plan, pairs: u32, qos: QoS, topic: &Pattern) -> State {
        State { run: plan.run, version: plan.version, pairs, qos, topic: topic.0.clone() }
    }

    /// Begins the file; what is acknowledged is appended to it.
    fn write(&self, path: &Path) -> Result<(), Error> {
        let State { run, version, pairs, qos, topic } = self;
        let version = if *version == Version::V5 { 5 } else { 4 };
        let qos = *qos as u8;
        let text = format!(
            "{TITLE}\nrun {run}\nversion {version}\npairs {pairs}\nqos {qos}\ntopic {topic}\n"
        );
        fs::write(path, text).map_err(|source| Error::File {
            what: "cannot write",
            path: path.display().to_string(),
            source,
        })
    }

    /// Reads a file, and what was acknowledged.
    fn read(path: &Path) -> Result<(State, Acknowledged), Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            what: "cannot read",
            path: path.display().to_string(),
            source,
        })?;
        State::parse(&text)
            .map_err(|(line, why)| Error::Input(format!("{}:{line}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<(State, Acknowledged), (usize, String)> {
        let mut acknowledged = Acknowledged::default();
        let mut state = State {
            run: 0,
            version: Version::V5,
            pairs: 0,
            qos: QoS::AtLeastOnce,
            topic: String::new(),
        };
        // The last line may have been cut off in the middle.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for (line, number) in whole.lines().zip(1..) {
            if number == 1 {
                if line != TITLE {
                    return Err((
                        1,
                        format!("no state of durable: the first line is not {TITLE:?}"),
                    ));
                }
                continue;
            }
            let Some(line) = acknowledged.read(line) else { continue };
            let wrong = || (number, format!("{line:?} is no line of a state"));
            let (key, value) = line.split_once(' ').ok_or_else(wrong)?;
            let parsed = value.parse::<u32>().ok();
            match (key, parsed) {
                ("topic", _) => state.topic = value.into(),
                ("run", Some(run)) => state.run = run,
                ("version", Some(5)) => state.version = Version::V5,
                ("version", Some(4)) => state.version = Version::V311,
                ("pairs", Some(pairs)) => state.pairs = pairs,
                ("qos", Some(1)) => state.qos = QoS::AtLeastOnce,
                ("qos", Some(2)) => state.qos = QoS::ExactlyOnce,
                (_, _) => return Err(wrong()),
            }
        }
        if state.pairs == 0 || state.topic.is_empty() {
            return Err((1, "no state of durable: pairs or topic are missing".into()));
        }
        acknowledged.merge();
        Ok((state, acknowledged))
    }
}

/// First line of a state.
const TITLE: &str = "sluice-load durable 1";
/// Messages written if nothing is said.
const MESSAGES: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_up_to_a_line_that_was_cut_off() {
        let state = State {
            run: 77,
            version: Version::V311,
            pairs: 3,
            qos: QoS::ExactlyOnce,
            topic: "a b/{pub}".into(),
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        state.write(file.path()).unwrap();
        let mut text = fs::read_to_string(file.path()).unwrap();
        text += "acknowledged 0 0 10\nacknowledged 0 10 12\nacknowledged 0 12 1";
        fs::write(file.path(), text).unwrap();
        let (read, acknowledged) = State::read(file.path()).unwrap();
        assert_eq!(read, state);
        assert_eq!(acknowledged.count(), 12);
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_line() {
        for (text, at) in [
            ("", 1),
            ("hello\n", 1),
            ("sluice-load durable 1\nrun x\n", 2),
            ("sluice-load durable 1\nrun 1\nacknowledged 0 x 3\n", 3),
            ("sluice-load durable 1\nrun 1\n", 1),
        ] {
            assert_eq!(State::parse(text).unwrap_err().0, at, "{text:?}");
        }
    }
}
