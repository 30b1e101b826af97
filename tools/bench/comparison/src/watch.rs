//! How much CPU a process has used, looked at all the while.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Looks at a process until it is stopped.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Vec<(Duration, Duration)>>,
}

/// When, since the start, how much had been used since then.
#[derive(Debug, Default)]
pub struct Watched(Vec<(Duration, Duration)>);

impl Watch {
    /// Begins.
    pub fn start(pid: u32) -> Watch {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (began, before) = (Instant::now(), used(pid));
            let mut looks = Vec::new();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let used = used(pid).zip(before).map(|(now, before)| now.saturating_sub(before));
                looks.extend(used.map(|used| (began.elapsed(), used)));
            }
            looks
        });
        Watch { stop, thread }
    }

    /// Ends.
    pub fn stop(self) -> Watched {
        drop(self.stop);
        Watched(self.thread.join().unwrap_or_default())
    }
}

impl Watched {
    /// What had been used by then; nothing if it was looked at no later.
    pub fn until(&self, when: Duration) -> Option<Duration> {
        self.0.iter().find(|(at, _)| *at >= when).map(|(_, used)| *used)
    }
}

impl<const N: usize> From<[(Duration, Duration); N]> for Watched {
    fn from(looks: [(Duration, Duration); N]) -> Watched {
        Watched(looks.into())
    }
}

/// CPU of all threads of a process that are still there.
fn used(pid: u32) -> Option<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end while it is looked at.
        let Ok(figures) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        sum += figures.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(sum))
}

const EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_process_uses_is_seen() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = used(busy.id()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while used(busy.id()).unwrap() < before + Duration::from_millis(5) {
            assert!(Instant::now() < until, "it uses nothing");
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert_eq!(used(u32::MAX), None);
    }

    #[test]
    fn a_look_is_the_first_one_behind_a_moment() {
        let ms = Duration::from_millis;
        let watched = Watched::from([(ms(20), ms(1)), (ms(40), ms(2)), (ms(60), ms(3))]);
        assert_eq!(watched.until(ms(21)), Some(ms(2)));
        assert_eq!(watched.until(ms(40)), Some(ms(2)));
        assert_eq!(watched.until(ms(61)), None);
    }
}
