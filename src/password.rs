//! `sluice passwd`: sets, deletes, verifies and lists users. Asks for a password twice and without echo on a terminal, else
//! reads standard input.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::{self, pipe};
use sluicemq::auth::file::{ITERATIONS, SCRAM_ITERATIONS};
use sluicemq::auth::{ARGON2, HashMethod, PasswordFile, ScramHash, edit};
use sluicemq::logging::console;
use sluicemq::run::signals::Signals;

use crate::command_line::PasswordCommand;

/// Longest password MQTT can carry, and a line's end.
const LINE_MAX: u64 = 65_535 + 2;

/// Those that end the program or, SIGTSTP, stop it: the terminal gets its echo back first.
const INTERRUPTING: [i32; 5] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP];

/// Carries the command out.
pub fn run(command: &PasswordCommand, signals: &Signals) -> Result<(), Box<dyn Error>> {
    let file = &command.file;
    match &command.user {
        None if command.list => {
            for user in edit::users(file)? {
                console::say(user);
            }
        }
        None => batch(file, method(command))?,
        Some(user) if command.delete => {
            if edit::delete_user(file, user)? == 0 {
                console::complain(
                    "sluice: that was the last user. A running broker does not take an empty file at SIGHUP: it \
                     keeps the users that it has until it is started again",
                );
            }
        }
        Some(user) if command.verify => {
            let password = ask(command.password_stdin, Prompts::Once, signals)?;
            let users = PasswordFile::load(file)?;
            if !users.check(user, &password) {
                return Err("no such user, or another password".into());
            }
            console::say("the password is right");
        }
        Some(user) => {
            let password = ask(command.password_stdin, Prompts::Twice, signals)?;
            edit::set_passwords(file, &[(user.clone(), password)], method(command))?;
        }
    }
    Ok(())
}

/// How passwords are hashed.
fn method(command: &PasswordCommand) -> HashMethod {
    let given = command.iterations;
    match command.scram {
        _ if command.argon2id => ARGON2,
        Some(hash) => {
            let hash = match hash {
                256 => ScramHash::Sha256,
                _ => ScramHash::Sha512,
            };
            HashMethod::Scram { hash, iterations: given.unwrap_or(SCRAM_ITERATIONS) }
        }
        None => HashMethod::Pbkdf2 { iterations: given.unwrap_or(ITERATIONS) },
    }
}

fn batch(file: &Path, method: HashMethod) -> Result<(), Box<dyn Error>> {
    let mut list = Vec::new();
    io::stdin().lock().read_to_end(&mut list)?;
    let entries = edit::read_batch(&list)?;
    if entries.is_empty() {
        return Err("standard input has no line user:password; nothing was changed".into());
    }
    let new = edit::set_passwords(file, &entries, method)?;
    console::say(format_args!("{new} users added, {} changed", entries.len() - new));
    Ok(())
}

/// How often a password is asked for on a terminal.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Prompts {
    Once,
    /// A new one: so that no slip of the fingers becomes the password.
    Twice,
}

/// The password; `plain` reads standard input without asking.
fn ask(plain: bool, asked: Prompts, signals: &Signals) -> io::Result<Vec<u8>> {
    if plain || !io::stdin().is_terminal() {
        return line();
    }
    let first = unseen("password: ", signals)?;
    if asked == Prompts::Twice && unseen("again: ", signals)? != first {
        return Err(io::Error::other("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Asks without echo. A signal that comes meanwhile does what it does in any program, after the terminal is as it was:
/// not every shell mends it.
fn unseen(prompt: &str, signals: &Signals) -> io::Result<Vec<u8>> {
    let before = tcgetattr(io::stdin())?;
    let (woken, wake) = UnixStream::pair()?;
    signals.hold();
    let mut registered = Vec::new();
    for signal in INTERRUPTING {
        registered.push(pipe::register(signal, wake.try_clone()?)?);
    }
    let answer = thread::scope(|scope| {
        scope.spawn(|| step_aside(&woken, prompt, &before, signals));
        let answer = quiet(&before).and_then(|()| {
            console::complain_of(prompt);
            line()
        });
        // Ends the thread.
        let _ = woken.shutdown(Shutdown::Both);
        answer
    });
    let _ = loud(&before);
    for id in registered {
        low_level::unregister(id);
    }
    signals.let_be();
    answer
}

/// Waits for signals; gives the terminal back before it lets each of them do its work.
fn step_aside(mut woken: &UnixStream, prompt: &str, before: &Termios, signals: &Signals) {
    while woken.read(&mut [0]).is_ok_and(|length| length > 0) {
        let _ = loud(before);
        // Ends the process, if a signal came that does.
        signals.let_be();
        signals.hold();
        if low_level::emulate_default_handler(SIGTSTP).is_ok() && quiet(before).is_ok() {
            console::complain_of(prompt);
        }
    }
}

/// Turns off the terminal's echo, except for the end of the line.
fn quiet(before: &Termios) -> io::Result<()> {
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    quiet.local_modes.insert(LocalModes::ECHONL);
    Ok(tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?)
}

/// The terminal as it was.
fn loud(before: &Termios) -> io::Result<()> {
    Ok(tcsetattr(io::stdin(), OptionalActions::Flush, before)?)
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
