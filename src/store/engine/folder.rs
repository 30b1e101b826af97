//! A store's folder: its lock, and the file that says what kind of store it is.
//!
//! ```text
//! STORE       what this is: written last when a store is made, so that without it nothing was
//!             ever promised
//! CREATING    written first; as long as there is no STORE beside it, what is here may go
//! IMPORTING   written before CREATING by an import; as long as there is no STORE beside it, no
//!             broker begins an empty store here
//! lock        held by the process that has the store open
//! journal/    segments, the reserve, the ballast
//! table/      the table
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::frame;

/// A store's folder, held by this process.
#[derive(Debug)]
pub struct StoreFolder {
    path: PathBuf,
    _lock: File,
}

/// Whether a process has the store in the folder at `path` open.
pub fn is_in_use(path: &Path) -> bool {
    let lock = fs::File::open(path.join(LOCK));
    lock.is_ok_and(|lock| {
        flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// What a store says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreMarker {
    /// The store's identity.
    pub store: [u8; 16],
    /// Kind of its table.
    pub table: String,
}

impl StoreFolder {
    /// Takes hold of the folder at `path`; it is made if it is not there.
    pub fn take(path: &Path) -> Result<StoreFolder, StoreError> {
        make_folder(path)?;
        StoreFolder::hold(path)
    }

    /// Takes hold of a folder that is there.
    pub fn hold(path: &Path) -> Result<StoreFolder, StoreError> {
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(StoreError::io("open", &lock_path))?;
        for _ in 0..TRIES {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    keep_private(path);
                    return Ok(StoreFolder { path: path.to_owned(), _lock: lock });
                }
                // The process that holds it may be about to end.
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(AGAIN),
                Err(error) => return Err(StoreError::io("lock", &lock_path)(error.into())),
            }
        }
        Err(StoreError::InUse { path: path.to_owned() })
    }

    /// What the store says it is; none: there is no store here yet, or one that was never
    /// finished. An error if an import was begun here and not finished.
    pub fn marker(&self) -> Result<Option<StoreMarker>, StoreError> {
        let found = self.found()?;
        if found.is_none() && self.path.join(IMPORTING).exists() {
            let what =
                "an import into this folder was not finished: do it again, or remove the folder";
            return Err(StoreError::Unfit { path: self.path.clone(), what: what.to_owned() });
        }
        Ok(found)
    }

    /// The same, for an import: one that was not finished is begun anew.
    pub fn found(&self) -> Result<Option<StoreMarker>, StoreError> {
        let path = self.path.join(STORE);
        match fs::read(&path) {
            Ok(bytes) => {
                let unread = |why| match why {
                    Unread::Damaged(what) => StoreError::damaged(&path, 0, what),
                    Unread::Other(what) => StoreError::Unfit { path: path.clone(), what },
                };
                StoreMarker::parse(&bytes).map(Some).map_err(unread)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let remains = [JOURNAL, TABLE].iter().any(|name| self.path.join(name).exists());
                if remains && !self.path.join(CREATING).exists() {
                    let what = "there is a journal or a table here, but no file STORE: bring it \
                                back, or copy what can be read with `store salvage`";
                    return Err(StoreError::Unfit {
                        path: self.path.clone(),
                        what: what.to_owned(),
                    });
                }
                Ok(None)
            }
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// From now on, until it is finished, nothing but an import may make a store here.
    pub fn begin_import(&self) -> Result<(), StoreError> {
        self.write(IMPORTING, b"")
    }

    /// Begins a store: what an earlier attempt left is removed.
    pub fn begin(&self) -> Result<(), StoreError> {
        self.write(CREATING, b"")?;
        for folder in [self.journal(), self.table()] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &folder)(error));
                }
                _ => make_folder(&folder)?,
            }
        }
        sync_folder(&self.path)
    }

    /// The store is made: from now on it is one.
    pub fn finish(&self, marker: &StoreMarker) -> Result<(), StoreError> {
        sync_folder(&self.journal())?;
        sync_folder(&self.table())?;
        self.write(STORE, marker.text().as_bytes())?;
        for mark in [CREATING, IMPORTING].map(|name| self.path.join(name)) {
            match fs::remove_file(&mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &mark)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// The table's folder.
    pub fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    /// Writes a file that is there whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, unfinished) = (self.path.join(name), self.path.join(format!("{name}.tmp")));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.create(true).write(true).truncate(true).mode(0o600);
            let mut file = options.open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(StoreError::io("write", &path))
    }
}

/// Why a marker was not read.
#[derive(Debug, Eq, PartialEq)]
enum Unread {
    /// It is not as it was written.
    Damaged(String),
    /// It is as it was written, by another program.
    Other(String),
}

impl StoreMarker {
    /// What a new store says it is, with a table of that kind.
    pub fn new(table: &str) -> StoreMarker {
        let mut store = [0; 16];
        getrandom::fill(&mut store).expect("the system has random bytes");
        StoreMarker { store, table: table.to_owned() }
    }

    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nlayout {LAYOUT}\ntable {}\nidentity ", self.table);
        self.store.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        let checksum = frame::checksum(text.as_bytes());
        format!("{text}\nchecksum {checksum:08x}\n")
    }

    fn parse(bytes: &[u8]) -> Result<StoreMarker, Unread> {
        let bad = || Unread::Damaged("this is not what a store says of itself".to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
        let (said, checksum) = text.rsplit_once("\nchecksum ").ok_or_else(bad)?;
        if checksum != format!("{:08x}\n", frame::checksum(said.as_bytes())) {
            return Err(Unread::Damaged("its checksum is not that of its lines".to_owned()));
        }
        let mut lines = said.lines();
        let mut value = |key: &str| {
            let line = lines.next().ok_or_else(bad)?;
            line.strip_prefix(key).map(str::to_owned).ok_or_else(bad)
        };
        value(FIRST_LINE)?;
        let layout = value("layout ")?;
        if layout != LAYOUT {
            return Err(Unread::Other(format!(
                "the store is laid out in version {layout}, this program knows version {LAYOUT}: use \
                 the program that made it; its `store export` may be imported here"
            )));
        }
        let table = value("table ")?;
        let digits = value("identity ")?;
        let mut store = [0; 16];
        for (at, byte) in store.iter_mut().enumerate() {
            let digits = digits.get(at * 2..at * 2 + 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(StoreMarker { store, table })
    }
}

/// Makes a folder for the owner's eyes only, and those it is in, if it is not there.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("make the folder", path)(error))
        }
        _ => sync_folder(parent),
    }
}

/// What is in a store is every message: its folders are for their owner's eyes only, also where they
/// were made otherwise. A file system that has no such rights is left as it is.
fn keep_private(path: &Path) {
    for folder in [JOURNAL, TABLE].map(|name| path.join(name)) {
        let open = fs::metadata(&folder).is_ok_and(|data| data.mode() & 0o077 != 0);
        if open {
            let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        }
    }
}

/// Whether there is a store in the folder `path`, whatever state it is in.
pub fn is_store(path: &Path) -> bool {
    path.join(STORE).exists()
}

/// Bytes that the files in a folder, and in those in it, take on the disk. What goes away meanwhile
/// is left out.
pub fn bytes_on_disk(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let entries =
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    entries.map(|(path, data)| if data.is_dir() { bytes_on_disk(&path) } else { used(&data) }).sum()
}

fn used(data: &fs::Metadata) -> u64 {
    data.blocks() * 512
}

/// Memory of this process that is resident; 0 where the system does not say.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Makes the names in a folder certain.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let sync = File::open(path).and_then(|folder| folder.sync_all());
    sync.map_err(StoreError::io("flush", path))
}

/// How often the lock is asked for, and how long after each time.
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_millis(50);

const STORE: &str = "STORE";
const CREATING: &str = "CREATING";
const IMPORTING: &str = "IMPORTING";
const LOCK: &str = "lock";
const JOURNAL: &str = "journal";
const TABLE: &str = "table";
const FIRST_LINE: &str = "sluice store";
const LAYOUT: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written_and_no_changed_byte_is_taken() {
        let marker = StoreMarker { store: [0xA7; 16], table: "sled".to_owned() };
        let text = marker.text().into_bytes();
        assert_eq!(StoreMarker::parse(&text), Ok(marker.clone()));
        for at in 0..text.len() {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128] {
                let mut text = text.clone();
                text[at] ^= flip;
                assert!(StoreMarker::parse(&text).is_err(), "byte {at}");
            }
            assert!(StoreMarker::parse(&text[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_store_laid_out_in_another_version_is_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        let place = StoreFolder::take(root.path()).unwrap();
        let marker = StoreMarker { store: [7; 16], table: "sled".to_owned() };
        for layout in ["0", "2"] {
            let text = marker.text();
            let (said, _) = text.rsplit_once("\nchecksum ").unwrap();
            let said = said.replace("layout 1", &format!("layout {layout}"));
            let checksum = frame::checksum(said.as_bytes());
            place.write(STORE, format!("{said}\nchecksum {checksum:08x}\n").as_bytes()).unwrap();
            let refused = place.marker().unwrap_err();
            assert!(matches!(refused, StoreError::Unfit { .. }), "{refused}");
            let wanted = format!("version {layout}, this program knows version 1");
            assert!(refused.to_string().contains(&wanted), "{refused}");
        }
    }

    #[test]
    fn what_files_take_is_counted_in_folders_within_folders_too() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(bytes_on_disk(&root.path().join("nowhere")), 0);
        fs::create_dir(root.path().join("inner")).unwrap();
        fs::write(root.path().join("inner/file"), vec![7; 100_000]).unwrap();
        // Length is not what it takes: this one has a hole.
        File::create(root.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        File::open(root.path().join("inner/file")).unwrap().sync_all().unwrap();
        let bytes = bytes_on_disk(root.path());
        assert!((100_000..1 << 20).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_folder_is_held_by_one_and_made_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let held = StoreFolder::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(StoreFolder::take(&path), Err(StoreError::InUse { .. })));
        drop(held);
        StoreFolder::take(&path).unwrap();
    }

    #[test]
    fn a_store_that_was_never_finished_is_begun_again_and_one_without_its_marker_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let place = StoreFolder::take(root.path()).unwrap();
        assert_eq!(place.marker().unwrap(), None);
        place.begin().unwrap();
        fs::write(place.table().join("left"), b"over").unwrap();
        assert_eq!(place.marker().unwrap(), None);
        place.begin().unwrap();
        assert!(!place.table().join("left").exists());
        let marker = StoreMarker { store: [1; 16], table: "sled".to_owned() };
        place.finish(&marker).unwrap();
        assert_eq!(place.marker().unwrap(), Some(marker));
        fs::remove_file(root.path().join(STORE)).unwrap();
        assert!(matches!(place.marker(), Err(StoreError::Unfit { .. })));
    }
}
