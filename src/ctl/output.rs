//! Where answers go: standard output, as JSON or for people.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;
use serde_json::Value;
use sluicemq::logging::console;

use super::visible::json;

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub struct CtlOutput {
    json: bool,
    width: Option<usize>,
}

impl CtlOutput {
    /// To standard output; `json` instead of tables.
    pub fn new(json: bool) -> CtlOutput {
        let stdout = io::stdout();
        let size = stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok()).flatten();
        // A terminal of no width does not know it.
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        CtlOutput { json, width }
    }

    /// Whether JSON is wanted.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Columns of the terminal, if it is one.
    pub fn width(self) -> Option<usize> {
        self.width
    }

    /// Prints `value` as JSON, or what `text` makes of it.
    pub fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json {
            console::say(json(value));
        } else {
            console::print(text(value));
        }
    }

    /// Prints one line of what goes on. False: there is no use in more, for the reader has gone.
    pub fn line(self, value: &Value, text: impl FnOnce(&Value) -> String) -> bool {
        console::say(if self.json { json(value) } else { text(value) });
        !console::is_over()
    }
}
