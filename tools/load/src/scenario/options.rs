//! What can be said of every scenario on the command line or in a plan's file, and the parts of a
//! plan that follow from it.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sluicemq::codec::{QoS, Version};

use crate::error::Error;
use crate::payload::Sizes;
use crate::plan::{Group, Length, Load, Pace, Pattern, Plan, Publishing, Subscribing};
use crate::quantity::{count, rate, small_count, span, span_in_words};
use crate::stamp::STAMP_LEN;

/// Options of every scenario. What is not said is the scenario's default.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct Options {
    /// Clients that publish
    #[arg(long, value_name = "N", value_parser = small_count)]
    pub publishers: Option<u32>,
    /// Clients that subscribe
    #[arg(long, value_name = "N", value_parser = small_count)]
    pub subscribers: Option<u32>,
    /// Topics of each publisher
    #[arg(long, value_name = "N", value_parser = small_count)]
    pub topics: Option<u32>,
    /// Topics: {pub} is the publisher's number, {topic} the number of its topic; what is published to
    /// $delayed/SPAN/… arrives without that
    #[arg(long, value_name = "PATTERN")]
    pub topic: Option<String>,
    /// Quality of service to publish with: 0, 1 or 2
    #[arg(short, long, value_name = "0-2", value_parser = qos)]
    pub qos: Option<QoS>,
    /// Quality of service to subscribe with; as published if not given
    #[arg(long, value_name = "0-2", value_parser = qos)]
    pub subscribe_qos: Option<QoS>,
    /// Payload bytes: 64, or 32..1024, or 64:90,4096:10 (sizes with weights)
    #[arg(long, value_name = "BYTES")]
    pub payload: Option<Sizes>,
    /// Messages a second over all publishers, by an absolute schedule; as fast as the window
    /// allows if not given
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Most unacknowledged messages of a publisher; at QoS 0 without --rate, most that have not
    /// arrived
    #[arg(long, value_name = "N", value_parser = small_count)]
    pub window: Option<u32>,
    /// Publish so long before measuring [default: 1s; with --count none]
    #[arg(long, value_name = "SPAN", value_parser = span, conflicts_with = "count")]
    pub warm_up: Option<Duration>,
    /// Measure so long [default: 10s]
    #[arg(short, long, value_name = "SPAN", value_parser = span, conflicts_with = "count")]
    pub duration: Option<Duration>,
    /// Publish so many messages over all publishers
    #[arg(short = 'n', long, value_name = "N", value_parser = count)]
    pub count: Option<u64>,
    /// Wait for what is missing until nothing has come for so long
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "2s")]
    pub drain: Duration,
    /// Sessions are kept, and clients come back if their connection is lost
    #[arg(long)]
    pub persistent: bool,
    /// MQTT version: 3.1.1 or 5
    #[arg(long, value_name = "VERSION", default_value = "5")]
    pub protocol: Protocol,
    /// Keep Alive in seconds; 0 is off
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub keep_alive: u16,
    /// Receive Maximum of the clients (MQTT 5)
    #[arg(long, value_name = "N")]
    pub receive_maximum: Option<NonZeroU16>,
    /// Connections opened a second; as fast as they are accepted if not given
    #[arg(long, value_name = "N", value_parser = rate)]
    pub connect_rate: Option<f64>,
    /// From it everything random is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads that make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
}

/// A version of MQTT by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Protocol {
    /// Version 3.1.1.
    #[value(name = "3.1.1", alias = "4", alias = "311")]
    V311,
    /// Version 5.
    #[value(name = "5", alias = "5.0")]
    V5,
}

/// What a scenario does where nothing else is said.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// Clients that publish.
    pub publishers: u32,
    /// Clients that subscribe.
    pub subscribers: u32,
    /// Topics of each publisher.
    pub topics: u32,
    /// Topics.
    pub topic: &'static str,
    /// Quality of service.
    pub qos: QoS,
    /// Messages in the window.
    pub window: u32,
}

/// The options of a run with the scenario's defaults in them.
#[derive(Clone, Debug)]
pub struct Settled<'o> {
    options: &'o Options,
    scenario: &'static str,
    /// Clients that publish.
    pub publishers: u32,
    /// Clients that subscribe.
    pub subscribers: u32,
    /// Topics of each publisher.
    pub topics: u32,
    /// Topics.
    pub topic: Pattern,
    /// Quality of service to publish with.
    pub qos: QoS,
    /// Quality of service to subscribe with.
    pub subscribe_qos: QoS,
    window: u32,
}

impl Options {
    /// Refuses what has no meaning in `scenario`, instead of ignoring it.
    ///
    /// # Errors
    ///
    /// If one of `names` was given.
    pub fn without(&self, scenario: &str, names: &[&str]) -> Result<(), Error> {
        let given = [
            ("publishers", self.publishers.is_some()),
            ("subscribers", self.subscribers.is_some()),
            ("topics", self.topics.is_some()),
            ("topic", self.topic.is_some()),
            ("qos", self.qos.is_some()),
            ("payload", self.payload.is_some()),
            ("rate", self.rate.is_some()),
            ("window", self.window.is_some()),
            ("warm-up", self.warm_up.is_some()),
            ("duration", self.duration.is_some()),
            ("count", self.count.is_some()),
        ];
        match given.iter().find(|(name, given)| *given && names.contains(name)) {
            Some((name, _)) => {
                Err(Error::Input(format!("{scenario}: --{name} has no meaning here")))
            }
            None => Ok(()),
        }
    }

    /// These options over `defaults`.
    pub fn over(&self, defaults: &Defaults) -> Settled<'_> {
        let qos = self.qos.unwrap_or(defaults.qos);
        Settled {
            options: self,
            scenario: defaults.scenario,
            publishers: self.publishers.unwrap_or(defaults.publishers),
            subscribers: self.subscribers.unwrap_or(defaults.subscribers),
            topics: self.topics.unwrap_or(defaults.topics),
            topic: Pattern(self.topic.clone().unwrap_or_else(|| defaults.topic.into())),
            qos,
            subscribe_qos: self.subscribe_qos.unwrap_or(qos),
            window: self.window.unwrap_or(defaults.window),
        }
    }
}

impl Settled<'_> {
    /// A plan of these options; the scenario adds the clients that take part and what happens.
    pub fn plan(&self) -> Result<Plan, Error> {
        let options = self.options;
        let run = random()?;
        let length = match options.count {
            Some(count) => Length::Count(count),
            None => Length::For(options.duration.unwrap_or(DURATION)),
        };
        let warm_up = options.warm_up.unwrap_or(WARM_UP);
        Ok(Plan {
            scenario: self.scenario.into(),
            settings: Vec::new(),
            groups: Vec::new(),
            steps: Vec::new(),
            load: Load {
                pace: options.rate.map_or(Pace::Window, Pace::Rate),
                payload: options.payload.clone().unwrap_or_else(|| Sizes::fixed(PAYLOAD)),
                warm_up: if options.count.is_some() { Duration::ZERO } else { warm_up },
                length,
                drain: options.drain,
                window: self.window,
            },
            version: match options.protocol {
                Protocol::V311 => Version::V311,
                Protocol::V5 => Version::V5,
            },
            keep_alive_s: options.keep_alive,
            receive_maximum: options.receive_maximum,
            connect_rate: options.connect_rate,
            client_prefix: format!("load{run:08x}"),
            run,
            seed: options.seed,
            threads: usize::from(options.threads),
            smoothness_ms: None,
            tolerant: false,
            may_lose_connections: false,
            journal: None,
            owed: None,
        })
    }

    /// The publishers.
    pub fn publishing(&self) -> Group {
        Group {
            name: "publishers".into(),
            clients: self.publishers,
            publishes: Some(Publishing {
                topic: self.topic.clone(),
                topics: self.topics,
                qos: self.qos,
                retain: false,
                recorded: None,
            }),
            ..Group::default()
        }
    }

    /// Subscribers, each with these filters.
    pub fn subscribing(&self, clients: u32, filter: Pattern, filters: u32) -> Group {
        Group {
            name: "subscribers".into(),
            clients,
            persistent: self.options.persistent,
            reconnects: self.options.persistent,
            subscribes: vec![Subscribing {
                filter,
                filters,
                qos: self.subscribe_qos,
                share: None,
                queue: false,
            }],
            ..Group::default()
        }
    }

    /// What was asked for, to be shown.
    pub fn settings(&self, plan: &Plan) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut say = |name: &str, value: String| settings.push((name.to_string(), value));
        for group in &plan.groups {
            say(&group.name, group.clients.to_string());
        }
        if plan.groups.iter().any(|group| group.publishes.is_some()) {
            if self.topics > 1 {
                say("topics each", self.topics.to_string());
            }
            say("QoS", (self.qos as u8).to_string());
            if self.subscribe_qos != self.qos {
                say("QoS subscribed", (self.subscribe_qos as u8).to_string());
            }
            say("payload", plan.load.payload.to_string());
            match &plan.load.pace {
                Pace::Window => say("window", plan.load.window.to_string()),
                Pace::Rate(rate) => say("rate", format!("{rate}/s")),
                Pace::Burst { size, every } => {
                    say("bursts", format!("{size} each {}", span_in_words(*every)));
                }
                Pace::Timeline(events) => say("messages", events.len().to_string()),
            }
        }
        match (plan.load.length, &plan.load.pace) {
            (Length::For(span), _) => say("duration", span_in_words(span)),
            (Length::Count(count), Pace::Window | Pace::Rate(_) | Pace::Burst { .. }) => {
                say("messages", count.to_string());
            }
            (Length::Count(_), Pace::Timeline(_)) => {}
        }
        let version = if plan.version == Version::V5 { "5" } else { "3.1.1" };
        say("MQTT", version.into());
        if plan.groups.iter().any(|group| group.persistent) {
            say("Sessions", "kept".into());
        }
        if plan.threads > 1 {
            say("threads", plan.threads.to_string());
        }
        settings
    }
}

/// A quality of service by its number.
fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse::<u8>().ok();
    number
        .and_then(QoS::from_bits)
        .ok_or_else(|| format!("{text:?} is no quality of service: 0, 1 or 2"))
}

fn random() -> Result<u32, Error> {
    getrandom::u32().map_err(|error| Error::System {
        what: "cannot draw a random number",
        source: std::io::Error::other(error),
    })
}

/// Measured if nothing is said.
const DURATION: Duration = Duration::from_secs(10);
/// Before it, if nothing is said.
const WARM_UP: Duration = Duration::from_secs(1);
/// Payload bytes if nothing is said.
const PAYLOAD: u32 = 64;
const _: () = assert!(PAYLOAD as usize >= STAMP_LEN);
