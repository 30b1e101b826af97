//! A disk for tests that can lose its power: what was not flushed is then lost, torn at sectors,
//! or there, as chance has it, and so are names.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// Chance from a seed, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // One step of splitmix64, so that neighbouring seeds have nothing in common.
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Random((z ^ (z >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The seed of a test: the environment's `SEED`, or `usual`.
pub fn seed(usual: u64) -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}

/// Prints the seed if the test fails.
pub struct Told(pub u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

/// A simulated disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: Vec<Contents>,
    /// As a running process sees it, and as it is on the platter.
    names: BTreeMap<String, usize>,
    certain_names: BTreeMap<String, usize>,
    open_changes: Vec<NameChange>,
    /// Operations until the power goes; none: it stays.
    left: Option<u64>,
    operations: u64,
    /// Bytes that may still be written; none: any number.
    room: Option<u64>,
    /// Flushes that fail from now on, and how.
    broken_flush: bool,
    /// A mistake on purpose: flushes do nothing.
    lying: bool,
}

#[derive(Clone, Default)]
struct Contents {
    certain: Vec<u8>,
    seen: Vec<u8>,
    open: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimDisk {
    /// The power goes at the `left`th operation from now.
    pub fn cut_after(&self, left: u64) {
        self.state().left = Some(left);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Bytes that may still be written before the disk is full.
    pub fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Makes every flush from now on fail.
    pub fn break_flushes(&self) {
        self.state().broken_flush = true;
    }

    /// Makes flushes do nothing and say they did: a fault that tests must find.
    pub fn lie(&self) {
        self.state().lying = true;
    }

    /// The disk after the power came back. `keep` in a hundred of the unflushed sectors and names
    /// are there.
    pub fn after_cut(&self, random: &mut Random, keep: usize) -> SimDisk {
        let state = self.state();
        let mut after = State::default();
        for file in &state.files {
            let mut certain = file.certain.clone();
            for (offset, bytes) in &file.open {
                write_sectors(&mut certain, *offset, bytes, |_| random.percent(keep));
            }
            after.files.push(Contents { seen: certain.clone(), certain, open: Vec::new() });
        }
        let mut names = state.certain_names.clone();
        for change in &state.open_changes {
            if random.percent(keep) {
                change.apply(&mut names);
            }
        }
        after.names = names.clone();
        after.certain_names = names;
        SimDisk(Arc::new(Mutex::new(after)))
    }

    /// The disk as the next process sees it after this one was killed.
    pub fn after_kill(&self) -> SimDisk {
        let mut after = self.state().clone();
        after.left = None;
        SimDisk(Arc::new(Mutex::new(after)))
    }

    /// The bytes of a file, to be looked at or changed.
    pub fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        let contents = &mut state.files[file];
        change(&mut contents.seen);
        contents.certain = contents.seen.clone();
        contents.open.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// One operation. The outer error: the power is gone. The inner one: it goes just now, and
    /// what was on its way may still arrive.
    fn operate(&mut self) -> io::Result<io::Result<()>> {
        let gone = || io::Error::other("the power is gone");
        self.operations += 1;
        match &mut self.left {
            Some(0) => Err(gone()),
            Some(left) => {
                *left -= 1;
                Ok(if *left == 0 { Err(gone()) } else { Ok(()) })
            }
            None => Ok(Ok(())),
        }
    }

    fn number(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, file) => {
                names.insert(name.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                }
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let cut = state.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Contents::default());
        state.names.insert(name.to_owned(), file);
        state.open_changes.push(NameChange::Create(name.to_owned(), file));
        cut?;
        Ok(Box::new(SimFile(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.state().number(name)?;
        Ok(Box::new(SimFile(self.clone(), file)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let file = state.number(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), file);
        let cut = state.operate()?;
        state.open_changes.push(change.clone());
        change.apply(&mut state.names);
        cut
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.number(name)?;
        let change = NameChange::Remove(name.to_owned());
        let cut = state.operate()?;
        state.open_changes.push(change.clone());
        change.apply(&mut state.names);
        cut
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()??;
        if state.broken_flush {
            return Err(io::Error::other("the flush failed"));
        }
        state.certain_names = state.names.clone();
        state.open_changes.clear();
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.state().room.unwrap_or(u64::MAX))
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }
}

struct SimFile(SimDisk, usize);

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let cut = state.operate()?;
        let mut fits = bytes;
        if let Some(room) = &mut state.room {
            let taken = (bytes.len() as u64).min(*room);
            *room -= taken;
            fits = &bytes[..usize::try_from(taken).unwrap()];
        }
        let contents = &mut state.files[self.1];
        // At the instant of the cut the write may have been on its way.
        contents.open.push((offset, fits.to_vec()));
        write_sectors(&mut contents.seen, offset, fits, |_| true);
        cut?;
        if fits.len() < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.state();
        let seen = &state.files[self.1].seen;
        let from = usize::try_from(offset).unwrap().min(seen.len());
        let len = into.len().min(seen.len() - from);
        into[..len].copy_from_slice(&seen[from..from + len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.operate()??;
        if state.broken_flush {
            return Err(io::Error::other("the flush failed"));
        }
        if !state.lying {
            let contents = &mut state.files[self.1];
            contents.certain = contents.seen.clone();
            contents.open.clear();
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().files[self.1].seen.len() as u64)
    }
}

/// Writes the sectors of `bytes` that `keep` says are kept.
fn write_sectors(
    file: &mut Vec<u8>,
    offset: u64,
    bytes: &[u8],
    mut keep: impl FnMut(usize) -> bool,
) {
    let offset = usize::try_from(offset).unwrap();
    let mut at = 0;
    while at < bytes.len() {
        let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR;
        let end = (sector_end - offset).min(bytes.len());
        if keep(at) {
            if file.len() < offset + end {
                file.resize(offset + end, 0);
            }
            file[offset + at..offset + end].copy_from_slice(&bytes[at..end]);
        }
        at = end;
    }
}

const SECTOR: usize = 512;
