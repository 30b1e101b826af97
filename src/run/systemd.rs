//! What systemd, or whatever started this process with a `NOTIFY_SOCKET`, is told.
//!
//! Telling never waits: a manager that does not read misses a message, and the broker goes on.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

/// Where the manager listens.
#[derive(Debug)]
pub struct Manager {
    socket: Option<UnixDatagram>,
}

/// Asks for more time, again and again, while a start or an end takes long. Dropped, it stops.
pub struct MoreTime {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// More time that is asked for in one go, and how often it is.
const MORE: Duration = Duration::from_secs(30);
const MORE_EVERY: Duration = Duration::from_secs(10);
/// At most so often, for an hour in all: what takes longer does not only take long.
const MORE_MAX: usize = 360;

impl Manager {
    /// The manager that the environment names, if it names one.
    pub fn of_environment() -> Manager {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Manager { socket: None };
        };
        match connected(&path) {
            Ok(socket) => Manager { socket: Some(socket) },
            Err(error) => {
                warn!(%error, socket = %path.to_string_lossy(), "NOTIFY_SOCKET cannot be reached");
                Manager { socket: None }
            }
        }
    }

    /// The same manager, for another thread.
    pub fn another(&self) -> Manager {
        let socket = self.socket.as_ref().and_then(|socket| socket.try_clone().ok());
        Manager { socket }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Everything is open.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins; [`Manager::ready`] ends it. systemd wants to know when, by the clock that it
    /// has too.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
    }

    /// The end begins.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// What goes on, for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The process is well.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Asks for more time until the result is dropped.
    pub fn ask_for_more_time(&self) -> MoreTime {
        let over = Arc::<AtomicBool>::default();
        if !self.is_there() {
            return MoreTime { over, thread: None };
        }
        let (manager, stop) = (self.another(), over.clone());
        // At once: what follows may be done before the thread runs.
        manager.extend();
        let body = move || {
            for _ in 1..MORE_MAX {
                std::thread::park_timeout(MORE_EVERY);
                if stop.load(Ordering::Acquire) {
                    return;
                }
                manager.extend();
            }
        };
        let thread = std::thread::Builder::new().name("more time".to_owned()).spawn(body);
        if let Err(error) = &thread {
            warn!(%error, "systemd is not asked for more time");
        }
        MoreTime { over, thread: thread.ok() }
    }

    fn extend(&self) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", MORE.as_micros()));
    }

    fn tell(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(text.as_bytes()) {
            warn!(%error, "systemd not told");
        }
    }
}

impl Drop for MoreTime {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The time within which the manager wants to hear that the process is well, if it does.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let usec = number("WATCHDOG_USEC").filter(|usec| *usec > 0)?;
    let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    mine.then(|| Duration::from_micros(usec))
}

fn connected(path: &std::ffi::OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_encoded_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.connect_addr(&address)?;
        }
        _ => socket.connect(path)?,
    }
    Ok(socket)
}

/// Microseconds of the clock that systemd compares with.
fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let reader = UnixDatagram::bind(&path).unwrap();
        let manager = Manager { socket: Some(connected(path.as_os_str()).unwrap()) };
        // More than any socket holds.
        (0..100_000).for_each(|_| manager.alive());
        let mut buf = [0; 64];
        let len = reader.recv(&mut buf).unwrap();
        assert_eq!(&buf[..len], b"WATCHDOG=1");
    }
}
