//! Wakes a thread at a moment, finer than the milliseconds in which a poll can wait.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer among the sockets of a poll.
pub struct Timer {
    fd: OwnedFd,
    /// For when it is set.
    at_ns: u64,
}

impl Timer {
    /// A timer that is not set, known to the poll as `token`.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer { fd, at_ns: 0 })
    }

    /// Goes off at `at_ns`, which lies behind `now_ns`. Nothing is read from it: an edge of the
    /// poll is told each time it goes off, read or not.
    pub fn set(&mut self, at_ns: u64, now_ns: u64) -> io::Result<()> {
        if self.at_ns == at_ns {
            return Ok(());
        }
        self.at_ns = at_ns;
        let wait = at_ns.saturating_sub(now_ns).max(1);
        let wait = Timespec {
            tv_sec: (wait / 1_000_000_000) as i64,
            tv_nsec: (wait % 1_000_000_000) as i64,
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: never, it_value: wait };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}
