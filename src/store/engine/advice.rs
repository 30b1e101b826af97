//! What an operator can do about an error of the system.

/// What an operator can do about an error of the system, as it was said; empty: it says it all.
pub fn advice(said: &str) -> &'static str {
    use rustix::io::Errno;
    match os_error(said) {
        Some(Errno::NOSPC) => "; make room on the disk",
        Some(Errno::DQUOT) => "; the disk quota of this user is used up: raise it, or make room",
        Some(Errno::FBIG) => {
            "; the limit of a file's size is reached: raise it (ulimit -f, LimitFSIZE)"
        }
        Some(Errno::ROFS) => {
            "; the file system is mounted read-only, perhaps since a fault of the disk: look in the \
             kernel's log"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "; the user that runs the broker must own the store's folder and all in it"
        }
        Some(Errno::MFILE) => {
            "; this process has no descriptor left: raise its limit of open files (ulimit -n, \
             LimitNOFILE)"
        }
        Some(Errno::NFILE) => "; the system has no descriptor left: raise fs.file-max",
        Some(Errno::AGAIN) => {
            "; the system permits no more threads: raise its limit of them (ulimit -u, TasksMax)"
        }
        Some(Errno::NOMEM) => "; the system has no memory left",
        Some(Errno::IO) => {
            "; the disk has failed to read or write: look in the kernel's log, and replace it"
        }
        _ => "",
    }
}

/// The system's number of an error, which is in its words also where others were put around them.
fn os_error(said: &str) -> Option<rustix::io::Errno> {
    let number = said.rsplit_once("(os error ")?.1.split_once(')')?.0;
    Some(rustix::io::Errno::from_raw_os_error(number.parse().ok()?))
}
