//! What a script says, parsed. `tests/conformance/README.md` describes the text.

use std::collections::BTreeMap;
use std::time::Duration;

use sluicemq::codec::Version;

/// One script: one file.
#[derive(Clone, Debug)]
pub struct Script {
    /// File name without folder.
    pub file: String,
    /// First comment: what it shows.
    pub title: String,
    /// Statements it proves.
    pub proves: Vec<String>,
    /// Versions it runs on.
    pub versions: Vec<Version>,
    /// Changed settings: key and TOML value.
    pub settings: Vec<(String, String)>,
    /// User names and passwords; if there are none, no client is checked.
    pub accounts: Vec<(String, String)>,
    /// A script with time steps that is worth its seconds on a real socket.
    pub realtime: bool,
    /// What is sent together must come together.
    pub whole: bool,
    pub steps: Vec<Step>,
}

impl Script {
    /// Whether it moves the clock.
    pub fn timed(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Advance(_)))
    }

    /// The version of the connection each step is about, when the script runs on `run`: a CONNECT
    /// may name another.
    pub fn step_versions(&self, run: Version) -> Vec<Version> {
        let mut named: BTreeMap<&str, Version> = BTreeMap::new();
        let each = self.steps.iter().map(|step| {
            let conn = match &step.action {
                Action::Advance(_) => return run,
                Action::Open { conn }
                | Action::Send { conn, .. }
                | Action::Expect { conn, .. }
                | Action::Quiet { conn }
                | Action::Closed { conn }
                | Action::Drop { conn } => conn,
            };
            if let Action::Send { sent, .. } = &step.action
                && let Some(connect) = sent.iter().find_map(Sent::connect_version)
            {
                named.insert(conn, connect.unwrap_or(run));
            }
            named.get(conn.as_str()).copied().unwrap_or(run)
        });
        each.collect()
    }
}

/// One line, or one block of lines.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line number, from 1.
    pub line: usize,
    /// Only on this version.
    pub only: Option<Version>,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Open a connection and send nothing.
    Open { conn: String },
    /// Send, all in one write.
    Send { conn: String, sent: Vec<Sent> },
    /// The next packets, in any order if there are several.
    Expect { conn: String, wanted: Vec<Wanted> },
    /// Nothing more came.
    Quiet { conn: String },
    /// The stream ended with nothing before the end.
    Closed { conn: String },
    /// Cut the connection without DISCONNECT.
    Drop { conn: String },
    /// Move the clock.
    Advance(Duration),
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Sent {
    Raw(Vec<u8>),
    Packet { name: &'static str, fields: Vec<Field<Value>> },
}

impl Sent {
    /// Of a CONNECT, the version it names, if it names one.
    pub fn connect_version(&self) -> Option<Option<Version>> {
        let Sent::Packet { name: "CONNECT", fields } = self else { return None };
        let named = fields.iter().find(|field| field.key == "version");
        Some(named.and_then(|field| match &field.value {
            Value::Literal(text) => version(&String::from_utf8_lossy(text)),
            Value::Variable(_) => None,
        }))
    }
}

/// What is expected.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub line: usize,
    pub name: &'static str,
    pub fields: Vec<Field<Pattern>>,
}

#[derive(Clone, Debug)]
pub struct Field<T> {
    pub key: &'static str,
    /// Only on this version.
    pub only: Option<Version>,
    pub value: T,
}

/// A value to send.
#[derive(Clone, Debug)]
pub enum Value {
    Literal(Vec<u8>),
    Variable(String),
}

/// What a received value is compared with.
#[derive(Clone, Debug)]
pub enum Pattern {
    Absent,
    Present,
    /// One of these.
    OneOf(Vec<Vec<u8>>),
    /// From, to.
    Range(u64, u64),
    /// Bound at the first use, compared after.
    Variable(String),
    /// Anything but what the variable holds.
    Not(String),
}

/// A version as scripts write it.
pub fn version(text: &str) -> Option<Version> {
    match text {
        "3.1" => Some(Version::V31),
        "3.1.1" => Some(Version::V311),
        "5" => Some(Version::V5),
        _ => None,
    }
}

/// A version as scripts write it.
pub fn version_text(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    }
}

/// Whether what is marked with `only` counts on a connection of `version`.
pub fn counts(only: Option<Version>, version: Version) -> bool {
    match only {
        None => true,
        Some(Version::V5) => version == Version::V5,
        Some(_) => version != Version::V5,
    }
}
