//! The signals of the process: caught from the first moment of `main`, and remembered until they are
//! looked at.
//!
//! A signal that asks for the end is acted on whenever it comes, before the broker is ready too. SIGHUP
//! asks for a reload. Every other signal that kills the process is ignored, but for those
//! that report a fault of the process itself or ask for a core dump (SIGABRT).

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use signal_hook::consts::signal::{
    SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
    SIGXFSZ,
};
use signal_hook::{flag, low_level};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that were caught, and what they ask for.
pub struct Signals {
    /// The signal that asked for the end; 0: none has.
    ending: Arc<AtomicUsize>,
    reload: Arc<AtomicBool>,
    /// Signals do what they do in any program.
    by_default: Arc<AtomicBool>,
    /// SIGHUP was ignored when the process began, as `nohup` has it.
    ignores_hangup: bool,
    /// Wake the task that waits for a signal.
    streams: Vec<Signal>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// The end of the process, by the signal of this name.
    Stop(&'static str),
    /// The configuration is to be read again.
    Reload,
}

/// SIGTERM and SIGINT; SIGQUIT of a terminal and of some containers; SIGXCPU, the warning that a limit of
/// CPU time gives before it kills.
const ENDING: [c_int; 4] = [SIGTERM, SIGINT, SIGQUIT, SIGXCPU];

/// They mean nothing here, and must not kill. With a handler SIGXFSZ makes the write fail, which is
/// reported. SIGPIPE is ignored by every Rust program from its start.
const STRAY: [c_int; 6] = [SIGUSR1, SIGUSR2, SIGXFSZ, SIGALRM, SIGVTALRM, SIGPROF];

#[cfg(target_os = "linux")]
mod others {
    use std::ffi::c_int;

    /// SIGPWR, by which some containers are told to halt: as good as SIGTERM.
    pub const ENDING: [c_int; 1] = [30];
    /// SIGSTKFLT and SIGIO.
    pub const STRAY: [c_int; 2] = [16, 29];
    /// Real-time signals; the C library keeps the first ones for itself, and refuses them.
    pub const REAL_TIME: std::ops::Range<c_int> = 34..65;
}

#[cfg(not(target_os = "linux"))]
mod others {
    use std::ffi::c_int;

    pub const ENDING: [c_int; 0] = [];
    pub const STRAY: [c_int; 0] = [];
    pub const REAL_TIME: std::ops::Range<c_int> = 0..0;
}

impl Signals {
    /// Catches all signals from now on. To be called once, first in `main`.
    ///
    /// # Errors
    ///
    /// The system lets no handler be set.
    pub fn catch() -> std::io::Result<Signals> {
        let ignored = ignored_by_parent();
        let signals = Signals {
            ending: Arc::default(),
            reload: Arc::default(),
            by_default: Arc::default(),
            ignores_hangup: ignored & (1 << (SIGHUP - 1)) != 0,
            streams: Vec::new(),
        };
        let stray = STRAY.into_iter().chain(others::STRAY);
        for name in ENDING.into_iter().chain(others::ENDING).chain([SIGHUP]).chain(stray) {
            // What the library has no name for, it cannot do by default either.
            if ignored & (1 << (name - 1)) == 0 && low_level::signal_name(name).is_some() {
                flag::register_conditional_default(name, signals.by_default.clone())?;
            }
        }
        for name in ENDING.into_iter().chain(others::ENDING) {
            let number = usize::try_from(name).expect("signals have small numbers");
            flag::register_usize(name, signals.ending.clone(), number)?;
        }
        flag::register(SIGHUP, signals.reload.clone())?;
        for name in STRAY.into_iter().chain(others::STRAY) {
            flag::register(name, Arc::default())?;
        }
        for name in others::REAL_TIME {
            // Those that the C library refuses cannot come from elsewhere either.
            let _ = flag::register(name, Arc::<AtomicBool>::default());
        }
        Ok(signals)
    }

    /// From now on signals do what they do in any program: this is not the broker. One that has come
    /// already is acted on.
    pub fn let_be(&self) {
        self.by_default.store(true, Ordering::SeqCst);
        let come = match self.ending.load(Ordering::SeqCst) {
            0 if self.reload.load(Ordering::SeqCst) => SIGHUP,
            0 => return,
            number => c_int::try_from(number).expect("it was a signal"),
        };
        // It ends the process; if the system refuses, the command goes on.
        let _ = low_level::emulate_default_handler(come);
    }

    /// From now on signals are remembered, until [`Signals::let_be`].
    pub fn hold(&self) {
        self.by_default.store(false, Ordering::SeqCst);
    }

    /// The name of the signal that has asked for the end, if one has.
    pub fn ending(&self) -> Option<&'static str> {
        match self.ending.load(Ordering::SeqCst) {
            0 => None,
            number => {
                let name = c_int::try_from(number).ok().and_then(low_level::signal_name);
                Some(name.unwrap_or("a signal"))
            }
        }
    }

    /// Whether the terminal of a program that is no broker has gone.
    pub fn has_hung_up(&self) -> bool {
        !self.ignores_hangup && self.reload.load(Ordering::SeqCst)
    }

    /// Waits for the next wish; one that has come before is told at once. Within the runtime.
    pub async fn next(&mut self) -> std::io::Result<Wish> {
        if self.streams.is_empty() {
            for name in ENDING.into_iter().chain(others::ENDING).chain([SIGHUP]) {
                self.streams.push(signal(SignalKind::from_raw(name))?);
            }
        }
        loop {
            // The flags are set before the streams wake, so what came between is seen here.
            if let Some(name) = self.ending() {
                return Ok(Wish::Stop(name));
            }
            if self.reload.swap(false, Ordering::SeqCst) {
                return Ok(Wish::Reload);
            }
            let streams = &mut self.streams;
            std::future::poll_fn(|cx| {
                let mut woken = false;
                for stream in &mut *streams {
                    woken |= stream.poll_recv(cx).is_ready();
                }
                if woken { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}

/// The signals that were ignored when the process began, as `nohup` has it: a command leaves that so.
/// One bit each, as Linux tells it.
fn ignored_by_parent() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
