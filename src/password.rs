//! Asks for a password: twice and without echo on a terminal, else one line of standard input.

use std::io::{self, BufRead, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sluicemq::logging::console;

/// Longest password MQTT can carry, and a line's end.
const LINE_MAX: u64 = 65_535 + 2;

/// The password; `plain` reads standard input without asking.
pub fn ask(plain: bool) -> io::Result<Vec<u8>> {
    if plain || !io::stdin().is_terminal() {
        return line();
    }
    let first = unseen("password: ")?;
    if unseen("again: ")? != first {
        return Err(io::Error::other("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

fn unseen(prompt: &str) -> io::Result<Vec<u8>> {
    console::complain_of(prompt);
    let _quiet = Quiet::start()?;
    line()
}

/// One line without its end.
fn line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    // One byte more than fits, so that a longer one is refused and not cut.
    io::stdin().lock().take(LINE_MAX + 1).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(line)
}

/// Turns off the terminal's echo, except for the end of the line, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> io::Result<Quiet> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
