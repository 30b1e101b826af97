//! Work that has no end of its own: Ctrl-C ends it, and that is no failure.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{self, pipe};
use sluicemq::run::signals::Signals;

/// Does `work`; SIGINT ends the process with exit code 0 meanwhile. Other signals do what they do in any program.
///
/// # Errors
///
/// The system sets no handler for the signals.
pub fn until_interrupted<T>(signals: &Signals, work: impl FnOnce() -> T) -> std::io::Result<T> {
    let (woken, wake) = UnixStream::pair()?;
    let mut registered = Vec::new();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        registered.push(pipe::register(signal, wake.try_clone()?)?);
    }
    signals.hold();
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            let came = (&woken).read(&mut [0]).is_ok_and(|length| length > 0);
            if came && signals.ending() == Some("SIGINT") {
                std::process::exit(0);
            }
            signals.let_be();
        });
        let done = work();
        // Ends the thread.
        let _ = woken.shutdown(Shutdown::Both);
        done
    });
    for id in registered {
        low_level::unregister(id);
    }
    Ok(done)
}
