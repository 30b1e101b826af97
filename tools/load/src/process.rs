//! What processes use, read from `/proc`, and the limits of our own.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::error::Error;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// CPU seconds, user and system, all threads.
    pub cpu_seconds: f64,
    /// Context switches, voluntary and not, of the threads that are there.
    pub switches: u64,
    /// Resident bytes.
    pub resident: u64,
}

/// What process `pid` has used so far.
///
/// # Errors
///
/// If there is none, or its figures may not be read.
pub fn used(pid: u32) -> Result<Used, Error> {
    let failed = |source| Error::File {
        what: "cannot read what the broker uses in",
        path: format!("/proc/{pid}"),
        source,
    };
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(failed);
    let stat = read("stat")?;
    let resident = number_behind(&read("status")?, "VmRSS:") * 1024;
    let (mut switches, mut fine_ns) = (0, 0);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(failed)?;
    for task in tasks.flatten() {
        // A thread may end while it is looked at.
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let status = read("status");
        switches += number_behind(&status, "voluntary_ctxt_switches:")
            + number_behind(&status, "nonvoluntary_ctxt_switches:");
        let first = read("schedstat");
        fine_ns += first.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    let ticks = ticks(&stat) as f64 / TICKS_A_SECOND;
    let fine = fine_ns as f64 / 1e9;
    // The finer figure lacks threads that have ended.
    let cpu_seconds = if (fine - ticks).abs() < 0.05 + ticks * 0.05 { fine } else { ticks };
    Ok(Used { cpu_seconds, switches, resident })
}

/// CPU seconds of this process so far.
pub fn own_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Sees to it that `needed` files can be open at once.
///
/// # Errors
///
/// If the system's limit for this process is below.
pub fn allow_open_files(needed: u64) -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = limit.maximum.unwrap_or(0);
        return Err(Error::Input(format!(
            "{needed} open files are needed and {maximum} allowed: raise the limit (ulimit -Hn), or use fewer connections"
        )));
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| Error::System {
        what: "cannot raise the limit of open files",
        source: error.into(),
    })
}

/// User and system time in ticks: the 14th and 15th field, behind a name that may contain anything.
fn ticks(stat: &str) -> u64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    next() + next()
}

/// The first number in the line that starts with `name`.
fn number_behind(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// On every Linux that runs this.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_has_spaces_is_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), 300);
    }

    #[test]
    fn this_process_uses_something() {
        let used = used(std::process::id()).unwrap();
        assert!(used.resident > 100_000 && used.cpu_seconds < own_cpu_seconds() + 1.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_one_clear_line() {
        let error = used(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("/proc/4294967295") && !error.contains('\n'), "{error}");
    }
}
