//! What the real process tells systemd, or whatever has given it a `NOTIFY_SOCKET`.

mod process;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use process::{Process, new_folder, sluice};

const PLAIN: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";

/// How long a message may take before a test fails. Nothing waits so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the process has told so far.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    /// Waits for a message with a line that begins so; returns the message.
    #[track_caller]
    fn until(&mut self, line: &str) -> String {
        let mut buf = [0; 4096];
        loop {
            let len = self.socket.recv(&mut buf);
            let len = len.unwrap_or_else(|error| panic!("no {line}: {error}: {:?}", self.told));
            let message = String::from_utf8_lossy(&buf[..len]).into_owned();
            self.told.push(message.clone());
            if message.lines().any(|told| told.starts_with(line)) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_is_told_of_the_start_a_reload_the_end_and_that_the_process_is_well() {
    let folder = new_folder();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
    let mut manager = Manager { socket, told: Vec::new() };
    let mut command = sluice(folder.path(), PLAIN);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
    let broker = Process::start(&mut command);
    manager.until("EXTEND_TIMEOUT_USEC=");
    manager.until("STATUS=opening the store");
    assert!(manager.until("READY=1").contains("STATUS=serving"));
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    broker.signal("HUP");
    let reloading = manager.until("RELOADING=1");
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(at.expect("the time").parse::<u64>().expect("a number") > 0, "{reloading}");
    manager.until("READY=1");
    broker.signal("TERM");
    assert!(manager.until("STOPPING=1").contains("STATUS="));
    assert_eq!(broker.end().0, Some(0));
}
