//! The limits of the system: shared out between the store, the process itself and connections, and
//! compared with the configuration in words.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use tracing::{info, warn};

use crate::config::{Config, Size};
use crate::net::sockets::Sockets;

/// Descriptors kept for the store and the process beyond those that are open at the start: segments,
/// checkpoints, exports, files that a reload reads.
const KEPT: u64 = 64;

/// Shares out the descriptors, once all files of the process are open, and says what does not fit the
/// configuration.
pub fn share_out(config: &Config, sockets: &Sockets) {
    share_descriptors(config, sockets);
    say_memory(config);
}

fn share_descriptors(config: &Config, sockets: &Sockets) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let open = open_descriptors();
    let room = room_for_connections(limit, open);
    sockets.set_max(u32::try_from(room).unwrap_or(u32::MAX));
    let configured: u64 = config.listener.iter().map(|l| u64::from(l.connections_max)).sum();
    if room < configured {
        warn!(
            open_files = limit,
            connections = room,
            configured,
            "the system permits fewer connections than connections_max of all listeners together; \
             those beyond are refused; raise LimitNOFILE= of the unit, or ulimit -n"
        );
    } else {
        info!(open_files = limit, connections = room, "open files are shared out");
    }
}

/// What connections may take of `limit` descriptors if `open` are open: some are kept, at most a half of
/// what is left.
fn room_for_connections(limit: u64, open: u64) -> u64 {
    let left = limit.saturating_sub(open);
    left - KEPT.min(left / 2)
}

/// The descriptors of this process, about.
fn open_descriptors() -> u64 {
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"));
    listed.map_or(KEPT, |files| files.count() as u64)
}

/// Says if the maxima of the configuration do not fit into the memory that the system permits.
fn say_memory(config: &Config) {
    let totals = &config.totals;
    let wanted = [totals.queued_bytes_max, totals.retained_bytes_max, totals.connection_bytes_max];
    let wanted: u64 = wanted.iter().map(|size| size.0).sum();
    let limits = [
        ("RLIMIT_AS", getrlimit(Resource::As).current),
        ("RLIMIT_DATA", getrlimit(Resource::Data).current),
        ("memory.max of the control group", cgroup_limit(Path::new("/sys/fs/cgroup"))),
        ("memory of the machine", machine_memory()),
    ];
    let permitted = limits.into_iter().filter_map(|(name, limit)| Some((limit?, name))).min();
    let Some((limit, name)) = permitted else { return };
    if wanted > limit {
        warn!(
            limit = %whole(limit), of = name, wanted = %whole(wanted),
            "totals.queued_bytes_max, retained_bytes_max and connection_bytes_max together are more than \
             the memory there is: under load the system ends the broker; lower them, or set \
             overload.memory_max"
        );
    }
}

/// As people write it, in whole MiB.
fn whole(bytes: u64) -> Size {
    Size(bytes >> 20 << 20)
}

/// The least `memory.max` of the control group of this process and of those above it.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    least_limit(root, own)
}

fn least_limit(root: &Path, own: &str) -> Option<u64> {
    let mut folder: PathBuf = root.join(own);
    let mut least = None;
    while folder.starts_with(root) {
        // A group without a limit says `max`.
        let limit = fs::read_to_string(folder.join("memory.max")).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_and_never_all_of_them() {
        for (limit, open, room) in
            [(1_048_576, 30, 1_048_482), (1024, 30, 930), (64, 24, 20), (20, 24, 0), (26, 24, 1)]
        {
            assert_eq!(room_for_connections(limit, open), room, "{limit} {open}");
        }
        assert!(open_descriptors() > 2);
    }

    #[test]
    fn the_least_limit_of_a_control_group_and_those_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(least_limit(root.path(), "a/b"), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "5000000\n").unwrap();
        fs::write(root.path().join("memory.max"), "9000000\n").unwrap();
        assert_eq!(least_limit(root.path(), "a/b"), Some(5_000_000));
        assert_eq!(least_limit(root.path(), ""), Some(9_000_000));
    }
}
