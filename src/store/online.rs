//! Exports from a store that a broker has open: another process leaves a request in the store's
//! folder, and the broker leaves the rows there.
//!
//! ```text
//! EXPORT.wanted     the request: a random name; the broker takes it away
//! export-NAME.part  what is written so far
//! export-NAME       all rows, as of one checkpoint
//! export-NAME.not   why there are none, in words
//! ```
//!
//! A process that may write to the folder may read everything in it anyway: the folder is its owner's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, info};

use super::durable::DurableStore;
use super::engine::{Engine, Exported, rows_in};

/// Looks for requests, and serves them, until it is dropped.
pub struct Exports {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exports {
    /// Begins to look for requests in the folder of `store`. What an earlier process left of its
    /// exports is removed.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn serve(store: Arc<DurableStore<Engine>>, folder: &Path) -> io::Result<Exports> {
        remove_leftovers(folder);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder) = (stop.clone(), folder.to_owned());
        let thread =
            std::thread::Builder::new().name("store exports".to_owned()).spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    if let Some(name) = take_request(&folder) {
                        serve(store.rows(), &folder, &name, &stopped);
                    }
                    std::thread::park_timeout(LOOK);
                }
            })?;
        Ok(Exports { stop, thread: Some(thread) })
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // If it panicked, that was told.
            let _ = thread.join();
        }
    }
}

/// Asks the process that has the store in `folder` open to export it, and waits until its rows are in
/// `file`, which is made.
///
/// # Errors
///
/// No answer comes, or the answer is no: in words.
pub fn ask(folder: &Path, file: &Path) -> Result<Exported, String> {
    ask_within(folder, file, PATIENCE)
}

fn ask_within(folder: &Path, file: &Path, patience: Duration) -> Result<Exported, String> {
    let name = name().map_err(|error| error.to_string())?;
    let [whole, part, not] = names(folder, &name);
    let request = folder.join(REQUEST);
    // There with its words or not at all, and only one.
    let draft = folder.join(format!("{PREFIX}{name}.wanted"));
    let made = new_file(&draft).and_then(|mut file| file.write_all(name.as_bytes()));
    let made = made.and_then(|()| fs::hard_link(&draft, &request));
    let _ = fs::remove_file(&draft);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{}: somebody else has asked for an export and waits", request.display())
        }
        _ => format!("{}: {error}", request.display()),
    })?;
    let answered = wait(&request, &whole, &part, &not, patience);
    if answered.is_err() {
        for path in [&request, &not] {
            let _ = fs::remove_file(path);
        }
    }
    answered?;
    let brought = bring(&whole, file);
    let _ = fs::remove_file(&whole);
    brought.map_err(|error| format!("{}: {error}", file.display()))?;
    let rows = File::open(file).map_err(|error| error.to_string());
    rows.and_then(|rows| rows_in(&mut BufReader::new(rows)).map_err(|error| error.to_string()))
}

/// Waits until the rows are there, as long as something goes on.
fn wait(
    request: &Path,
    whole: &Path,
    part: &Path,
    not: &Path,
    patience: Duration,
) -> Result<(), String> {
    let (mut quiet, mut seen) = (Duration::ZERO, None);
    loop {
        if whole.exists() {
            return Ok(());
        }
        if let Ok(why) = fs::read_to_string(not) {
            return Err(format!("the broker cannot export its store: {why}"));
        }
        let state = (request.exists(), fs::metadata(part).ok().map(|data| data.len()));
        if seen != Some(state) {
            (quiet, seen) = (Duration::ZERO, Some(state));
        }
        if quiet > patience {
            let seconds = patience.as_secs();
            return Err(match state {
                (true, _) => format!(
                    "the process that has the store open has not taken the request for {seconds} s: \
                     only a running broker does"
                ),
                (false, _) => format!("the broker's export does not go on for {seconds} s"),
            });
        }
        std::thread::sleep(AGAIN);
        quiet += AGAIN;
    }
}

/// Moves the rows to where they are wanted, which is certain then. Nothing is overwritten.
fn bring(whole: &Path, file: &Path) -> io::Result<()> {
    match fs::hard_link(whole, file) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // On another disk, mostly.
        Err(_) => {
            let copied = new_file(file).and_then(|mut out| {
                io::copy(&mut File::open(whole)?, &mut out)?;
                out.sync_all()
            });
            if let Err(error) = copied {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    let _ = fs::remove_file(file);
                }
                return Err(error);
            }
        }
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The name in a request, which is taken away.
fn take_request(folder: &Path) -> Option<String> {
    let path = folder.join(REQUEST);
    let name = fs::read_to_string(&path).ok()?;
    let good = name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    // What never was a request is in the way of those to come.
    fs::remove_file(&path).ok().filter(|()| good)?;
    Some(name)
}

fn serve(engine: &Engine, folder: &Path, name: &str, stop: &AtomicBool) {
    let [whole, part, not] = names(folder, name);
    let export = || -> Result<Exported, String> {
        let file = new_file(&part).map_err(|error| format!("{}: {error}", part.display()))?;
        let mut out = BufWriter::new(Interrupted { file, stop });
        let exported = engine.export(&mut out).map_err(|error| error.to_string())?;
        out.flush().map_err(|error| error.to_string())?;
        let made = out.get_ref().file.sync_all().and_then(|()| fs::rename(&part, &whole));
        made.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| error.to_string())?;
        Ok(exported)
    };
    match export() {
        Ok(Exported { rows, checkpoint, .. }) => info!(rows, checkpoint, "store exported"),
        Err(why) => {
            error!(%why, "store not exported");
            let told = fs::write(&part, why).and_then(|()| fs::rename(&part, &not));
            if let Err(error) = told {
                error!(%error, "whoever asked for the export is not told");
            }
        }
    }
}

/// A file that is not written to any more once the broker stops.
struct Interrupted<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl Write for Interrupted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Acquire) {
            return Err(io::Error::other("the broker stops"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The whole, the part of it, and why there is none.
fn names(folder: &Path, name: &str) -> [PathBuf; 3] {
    ["", ".part", ".not"].map(|end| folder.join(format!("{PREFIX}{name}{end}")))
}

fn name() -> io::Result<String> {
    let mut bytes = [0; NAME / 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

const REQUEST: &str = "EXPORT.wanted";
const PREFIX: &str = "export-";
/// Length of a name.
const NAME: usize = 32;
/// How often the broker looks for a request.
const LOOK: Duration = Duration::from_millis(500);
/// Time between two looks for the answer.
const AGAIN: Duration = Duration::from_millis(50);
/// How long nothing may happen before the request is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_answers_the_request_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        let said = ask_within(root.path(), &file, Duration::from_millis(1)).unwrap_err();
        assert!(said.contains("only a running broker does"), "{said}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        fs::write(root.path().join(REQUEST), "another's").unwrap();
        let said = ask_within(root.path(), &file, Duration::from_millis(1)).unwrap_err();
        assert!(said.contains("somebody else"), "{said}");
        assert!(root.path().join(REQUEST).exists(), "it is not ours");
    }

    #[test]
    fn a_no_is_told_in_its_words() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().to_owned();
        let broker = std::thread::spawn(move || {
            let name = loop {
                if let Some(name) = take_request(&folder) {
                    break name;
                }
                std::thread::yield_now();
            };
            let [_, part, not] = names(&folder, &name);
            fs::write(&part, "the disk is full").unwrap();
            fs::rename(&part, &not).unwrap();
        });
        let said = ask(root.path(), &root.path().join("file")).unwrap_err();
        broker.join().unwrap();
        assert_eq!(said, "the broker cannot export its store: the disk is full");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
