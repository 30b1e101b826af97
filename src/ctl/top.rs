//! `sluice ctl top`: the broker, drawn anew each second.
//!
//! One thread follows the figures of the broker and asks for its clients, one reads keys, and the main one draws. The
//! terminal is given back however this ends, a signal and a panic included. Keys are read here and not by crossterm,
//! which does not notice that the terminal has gone, and spins.

mod draw;
mod watched;

use std::io::{self, IsTerminal, Read};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use sluicemq::run::signals::Signals;

use self::watched::TopState;
use super::api::Api;
use super::failure::CtlFailure;
use crate::command_line::ctl::ClientOrder;

/// How often it is looked for keys, signals, news and another size of the terminal.
const LOOK: Duration = Duration::from_millis(100);
/// Before the broker is asked again after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// What a terminal sends for it, as it is set here.
const CTRL_C: u8 = 3;

/// What clients are sorted by, in the order of the key `s`.
const SORTS: [ClientOrder; 4] = [
    ClientOrder::QueueMessages,
    ClientOrder::QueueBytes,
    ClientOrder::InflightMessages,
    ClientOrder::LostMessages,
];

/// Draws the broker until a key or a signal ends it.
///
/// # Errors
///
/// There is no terminal, or the broker is not reached at first.
pub fn run(api: &Api, signals: &Signals) -> Result<(), CtlFailure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let text = "top draws on a terminal, and there is none; with --json it prints the figures";
        return Err(CtlFailure::Usage(text.to_owned()));
    }
    let mut watched = TopState::default();
    watched.begin(api)?;
    let shared = Arc::new(TopShared {
        watched: Mutex::new(watched),
        sort: AtomicU8::new(0),
        is_over: AtomicBool::new(false),
    });
    signals.hold();
    let failed =
        |error: io::Error| CtlFailure::Usage(format!("cannot draw on the terminal: {error}"));
    let mut terminal = ratatui::try_init().map_err(failed)?;
    // These two end with the process.
    let (watching, pressing, api) = (shared.clone(), shared.clone(), api.clone());
    thread::spawn(move || watch(&api, &watching));
    thread::spawn(move || read_keys(&pressing));
    let ended = show(&mut terminal, &shared, signals);
    ratatui::restore();
    signals.let_be();
    ended.map_err(failed)
}

/// What the threads share.
struct TopShared {
    watched: Mutex<TopState>,
    /// The index in [`SORTS`].
    sort: AtomicU8,
    /// A key has ended it, or the terminal has gone.
    is_over: AtomicBool,
}

impl TopShared {
    fn locked(&self) -> std::sync::MutexGuard<'_, TopState> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sort(&self) -> ClientOrder {
        SORTS[usize::from(self.sort.load(Ordering::Relaxed)) % SORTS.len()]
    }
}

/// Follows the broker, and says what keeps it from doing so.
fn watch(api: &Api, shared: &TopShared) {
    loop {
        let problem = watched::follow(api, shared).to_string();
        let mut watched = shared.locked();
        watched.problem = Some(problem);
        watched.version += 1;
        drop(watched);
        thread::sleep(PAUSE);
    }
}

/// Takes keys until one of them ends it, or the terminal has gone.
fn read_keys(shared: &TopShared) {
    for key in io::stdin().lock().bytes() {
        match key {
            Ok(b'q' | CTRL_C) | Err(_) => break,
            Ok(b's') => {
                shared.sort.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
        }
    }
    shared.is_over.store(true, Ordering::Relaxed);
}

/// Draws what is new until a key or a signal ends it.
fn show(terminal: &mut DefaultTerminal, shared: &TopShared, signals: &Signals) -> io::Result<()> {
    let mut drawn = None;
    while signals.ending().is_none() && !shared.is_over.load(Ordering::Relaxed) {
        let version = shared.locked().version;
        let now = Some((version, shared.sort(), terminal.size()?));
        if drawn != now {
            let watched = shared.locked().clone();
            terminal.draw(|frame| draw::draw(frame, &watched, shared.sort()))?;
            drawn = now;
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
