//! A terminal of the test's own, for what asks or draws there.
#![allow(dead_code)] // Each test file uses its part.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Nothing takes so long when all is well.
const DEADLINE: Duration = Duration::from_secs(60);

/// A terminal: what a program prints on it is kept, and keys are pressed by [`Terminal::press`].
pub struct Terminal {
    ours: File,
    theirs: File,
    printed: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Terminal {
    /// A terminal of so many columns and rows.
    pub fn open(columns: u16, rows: u16) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("it has a size");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("a terminal");
        let ours = File::from(ours);
        let printed = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (mut reader, shared) = (ours.try_clone().expect("a file"), printed.clone());
        thread::spawn(move || {
            let mut part = [0; 4096];
            // It fails once all programs and the test have closed the terminal.
            while let Ok(length) = reader.read(&mut part) {
                shared.0.lock().expect("no panic").extend_from_slice(&part[..length]);
                shared.1.notify_all();
            }
        });
        Terminal { ours, theirs, printed }
    }

    /// The end of a program: for its standard input, output or error.
    pub fn theirs(&self) -> File {
        self.theirs.try_clone().expect("a file")
    }

    /// Whether the terminal shows what is typed, and hands it over line by line.
    pub fn is_as_usual(&self) -> bool {
        let modes = tcgetattr(&self.theirs).expect("a terminal").local_modes;
        modes.contains(LocalModes::ECHO) && modes.contains(LocalModes::ICANON)
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until `wanted` was printed; returns all that was.
    #[track_caller]
    pub fn until(&self, wanted: &str) -> String {
        let text = |printed: &Vec<u8>| String::from_utf8_lossy(printed).into_owned();
        let printed = self.printed.0.lock().expect("no panic");
        let (printed, _) = self
            .printed
            .1
            .wait_timeout_while(printed, DEADLINE, |printed| !text(printed).contains(wanted))
            .expect("no panic");
        let text = text(&printed);
        assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
        text
    }
}
