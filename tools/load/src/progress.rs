//! What a person sees while a run goes on: a line that changes on a terminal, a line now and then
//! elsewhere, nothing if not wanted. Always on standard error.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sluicemq::logging::console;

/// What a person sees while a run goes on.
pub struct Progress {
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(RefCell<Lines>),
}

struct Lines {
    what: String,
    next: Instant,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// How much of the present step is done, of what [`Progress::step`] was told.
    pub done: u64,
    /// Connections open.
    pub connections: u64,
    /// PUBLISHes written a second, of late.
    pub publish_rate: f64,
    /// Copies that arrived a second, of late.
    pub delivery_rate: f64,
    /// Latency of late, 99 %, in microseconds.
    pub p99_us: f64,
}

impl Progress {
    /// Shows nothing.
    pub fn silent() -> Progress {
        Progress { shown: Shown::Nothing }
    }

    /// Shows a bar on a terminal, else a line every five seconds.
    pub fn shown() -> Progress {
        if !std::io::stderr().is_terminal() {
            let lines = Lines { what: String::new(), next: Instant::now() + LINE_EVERY };
            return Progress { shown: Shown::Lines(RefCell::new(lines)) };
        }
        let bar = ProgressBar::new(0);
        bar.set_style(
            ProgressStyle::with_template("{prefix:>12} {bar:24} {msg}")
                .expect("the template is well formed"),
        );
        Progress { shown: Shown::Bar(bar) }
    }

    /// The run comes to its next step: `what` in a word, and `of` how many.
    pub fn step(&self, what: &str, of: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_prefix(what.to_string());
                bar.set_length(of.max(1));
                bar.set_position(0);
            }
            Shown::Lines(lines) => lines.borrow_mut().what = what.into(),
        }
    }

    /// Something that a person has to do now.
    pub fn ask(&self, what: &str) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.println(what),
            Shown::Lines(_) => console::complain(what),
        }
    }

    /// The run goes on; to be called about ten times a second.
    pub fn moved(&self, moment: &Moment) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(moment.done);
                bar.set_message(in_words(moment));
            }
            Shown::Lines(lines) => {
                let mut lines = lines.borrow_mut();
                if Instant::now() >= lines.next {
                    lines.next = Instant::now() + LINE_EVERY;
                    console::complain(format_args!("{}: {}", lines.what, in_words(moment)));
                }
            }
        }
    }

    /// The run is over: what changed on the terminal goes away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn in_words(moment: &Moment) -> String {
    let Moment { connections, publish_rate, delivery_rate, p99_us, .. } = moment;
    let mut words = format!("{connections} connections");
    if *publish_rate > 0.0 || *delivery_rate > 0.0 {
        words += &format!(", {publish_rate:.0} msg/s in, {delivery_rate:.0} msg/s out");
    }
    if *p99_us > 0.0 {
        words += &format!(", p99 {:.1} ms", p99_us / 1000.0);
    }
    words
}

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
