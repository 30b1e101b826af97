//! How hard the broker is pressed: a level from 0 to 3, its cause, and what links do about it.
//!
//! | Level | What it does |
//! |---|---|
//! | 1 | windows are a half of what they are |
//! | 2 | a quarter; the heaviest publishers are held up; new connections are accepted more slowly |
//! | 3 | an eighth; CONNECT is refused 0x89; `QoS` 0 of clients is dropped, and counted |
//!
//! Only if tasks are late CONNECT is refused to clients that have a Session too: else they come for what
//! waits, and make room.
//!
//! A sample comes in ten times a second; links read one number, once a turn.

mod cap;
mod controller;
mod lasting;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use super::Broker;
use super::ports::Strain;
use crate::config::Config;
use crate::sync::{Mutex, MutexGuard, whole};
use crate::time::Time;

pub use cap::MESSAGE;
pub use controller::Controller;

/// The controller of a broker, and what links read of it.
#[derive(Debug)]
pub struct Overload {
    controller: Mutex<Controller>,
    /// A [`Pressure`] in one word.
    pressure: AtomicU64,
}

/// What was measured at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// How late a task was woken.
    pub lag: Duration,
    /// Bytes of memory the process has; 0 if no limit asks for them.
    pub memory: u64,
    /// How the store keeps up.
    pub strain: Strain,
}

/// What makes the level rise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Tasks are woken late: more to do than processors.
    Lag,
    /// Memory of the process.
    Memory,
    /// Time from handing something to the store until it is durable.
    Commit,
    /// Bytes of messages in memory, all queues together.
    Queued,
    /// Bytes handed to the store and not yet written.
    Unwritten,
}

/// One cause as it stands.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which.
    cause: Cause,
    /// The middle of what was seen lately: microseconds or bytes.
    value: u64,
    /// What it is measured against; 0: it is not watched.
    max: u64,
    /// The level it asks for.
    level: u8,
}

/// What links go by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pressure {
    /// From 0 to 3.
    level: u8,
    /// At level 3 too, a client with a Session here is let in.
    resumes: bool,
    /// Bytes a second that each publisher may bring in, messages counting for [`MESSAGE`] more each;
    /// none: what it likes.
    cap: Option<NonZeroU64>,
}

/// The level has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The level before.
    from: u8,
    /// The level now.
    to: u8,
    /// What the level now, or if it fell the level before, is due to.
    cause: Cause,
    /// Its value now.
    value: Figure,
    /// Its maximum.
    max: Figure,
}

/// A value with its unit, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    value: u64,
    cause: Cause,
}

/// From this level on publishers have a cap, and connections are accepted more slowly.
pub const SLOW: u8 = 2;
/// From this level on no new client is let in, and `QoS` 0 is dropped.
pub const SHED: u8 = 3;

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 5] =
        [Cause::Lag, Cause::Memory, Cause::Commit, Cause::Queued, Cause::Unwritten];

    /// The name in `$SYS` and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Lag => "lag",
            Cause::Memory => "memory",
            Cause::Commit => "commit",
            Cause::Queued => "queued",
            Cause::Unwritten => "unwritten",
        }
    }

    /// The highest level it asks for. What waits for a slow store is safe where it is: no `QoS` 0 and
    /// no connection is given up for it.
    const fn level_max(self) -> u8 {
        match self {
            Cause::Lag | Cause::Memory | Cause::Queued => 3,
            Cause::Commit | Cause::Unwritten => 2,
        }
    }

    /// How many samples are looked at together: times jump more than sizes do.
    const fn samples(self) -> usize {
        if self.is_time() { 9 } else { 3 }
    }

    /// Whether it is measured in time; else in bytes.
    pub const fn is_time(self) -> bool {
        matches!(self, Cause::Lag | Cause::Commit)
    }
}

impl Overload {
    /// Nothing has been seen yet.
    pub fn new(config: &Config) -> Overload {
        let controller = Mutex::new(Controller::new(config));
        Overload { controller, pressure: AtomicU64::new(0) }
    }

    /// What links go by.
    pub fn pressure(&self) -> Pressure {
        let word = self.pressure.load(Ordering::Relaxed);
        let resumes = word & LATE == 0;
        Pressure { level: (word & 3) as u8, resumes, cap: NonZeroU64::new(word >> 3) }
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        whole(self.controller.lock())
    }
}

impl Reading {
    /// Which cause.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The middle of what was seen lately: microseconds or bytes.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// What it is measured against; 0: it is not watched.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The level it asks for.
    pub fn level(&self) -> u8 {
        self.level
    }
}

impl Pressure {
    /// From 0 to 3.
    #[inline]
    pub fn level(self) -> u8 {
        self.level
    }

    /// Whether a client with a Session here is let in at level 3 too.
    pub fn resumes(self) -> bool {
        self.resumes
    }

    /// Bytes a second that each publisher may bring in, messages counting for [`MESSAGE`] more each;
    /// `None`: what it likes.
    #[inline]
    pub fn cap(self) -> Option<NonZeroU64> {
        self.cap
    }

    fn word(self) -> u64 {
        let late = if self.resumes { 0 } else { LATE };
        self.cap.map_or(0, NonZeroU64::get) << 3 | late | u64::from(self.level)
    }
}

/// The bit of a pressure in one word: no client resumes its Session.
const LATE: u64 = 4;

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cause.is_time() {
            write!(f, "{:?}", Duration::from_micros(self.value))
        } else {
            write!(f, "{} bytes", self.value)
        }
    }
}

impl Default for Pressure {
    fn default() -> Pressure {
        Pressure { level: 0, resumes: true, cap: None }
    }
}

impl Broker {
    /// Takes in a sample. What the broker knows by itself, the bytes that wait, it adds.
    pub fn observe(&self, sample: &Sample, now: Time) {
        let overload = &self.0.overload;
        let queued = self.0.meter.bytes();
        let (change, relief) = {
            let mut controller = overload.controller();
            let change = controller.observe(sample, queued, now);
            overload.pressure.store(controller.pressure().word(), Ordering::Relaxed);
            (change, controller.relief(now))
        };
        self.tell_change(change, now);
        if let Some(bytes) = relief {
            self.relieve(bytes, now);
        }
    }

    fn tell_change(&self, change: Option<Change>, now: Time) {
        let Some(Change { from, to, cause, value, max }) = change else { return };
        let cause = cause.name();
        if to > from {
            warn!(from, to, cause, %value, %max, "overload level rises");
        } else {
            info!(from, to, cause, %value, %max, "overload level falls");
        }
        self.say_sys_soon(now);
    }

    /// Puts other thresholds in force, from the next sample on. A level above a lower maximum falls at
    /// once.
    pub(super) fn reload_overload(&self, config: &Config, now: Time) {
        let overload = &self.0.overload;
        let change = {
            let mut controller = overload.controller();
            let change = controller.set(config);
            overload.pressure.store(controller.pressure().word(), Ordering::Relaxed);
            change
        };
        self.tell_change(change, now);
    }

    /// How hard it is pressed.
    pub fn pressure(&self) -> Pressure {
        self.0.overload.pressure()
    }

    /// How the store keeps up.
    pub fn strain(&self) -> Strain {
        self.0.ports.store.strain()
    }

    /// What the level is due to, and each cause as it stands.
    pub fn readings(&self) -> (Option<Cause>, Vec<Reading>) {
        let controller = self.0.overload.controller();
        (controller.cause(), controller.readings())
    }
}
