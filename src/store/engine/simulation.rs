//! A disk for tests that can lose its power: what was not flushed is then lost, torn at sectors,
//! or there, as chance has it, and so are names.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};
use super::rows::Blob;
use super::table::{RowChange, Table, TableError, Visit};
use crate::random::Random;

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
    /// Writing in place takes room too.
    copies: bool,
    /// Flushes fail from now on.
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

    /// Whether there is power.
    pub fn is_on(&self) -> bool {
        self.state().left != Some(0)
    }

    /// One operation of something else on the same power line.
    pub fn tick(&self) -> io::Result<()> {
        self.state().operate()?
    }

    /// Bytes that may still be written before the disk is full.
    pub fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Something else writes so many bytes, if there is room for them.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        if let Some(room) = &mut self.state().room {
            *room = room.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    /// Makes writing in place take room too, as on file systems that copy.
    pub fn copy_on_write(&self) {
        self.state().copies = true;
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
        (after.left, after.room, after.broken_flush) = (None, None, false);
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
        let len = state.files[self.1].seen.len() as u64;
        let in_place = if state.copies { 0 } else { len.saturating_sub(offset) };
        if let Some(room) = &mut state.room {
            let more = (bytes.len() as u64).saturating_sub(in_place);
            let taken = more.min(*room);
            *room -= taken;
            let fit = bytes.len() as u64 - (more - taken);
            fits = &bytes[..usize::try_from(fit).unwrap()];
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

/// A simulated table on the power line of a disk; clones are the same table.
#[derive(Clone, Default)]
pub struct SimTable {
    line: SimDisk,
    state: Arc<Mutex<Rows>>,
}

#[derive(Clone, Default)]
struct Rows {
    certain: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: BTreeMap<Vec<u8>, Vec<u8>>,
    open: Vec<Vec<RowChange>>,
    /// Every call fails from now on.
    broken: bool,
    /// Calls after the first one that failed: there must be none.
    called_again: bool,
    failed: bool,
    /// Bytes of the disk that the next flush takes, and what else happens before it.
    takes: u64,
    meanwhile: Meanwhile,
    rests: usize,
}

/// Something that happens once. It is no part of what the next process finds.
#[derive(Default)]
struct Meanwhile(Option<Box<dyn FnOnce() + Send>>);

impl Clone for Meanwhile {
    fn clone(&self) -> Meanwhile {
        Meanwhile(None)
    }
}

impl SimTable {
    pub fn on(line: &SimDisk) -> SimTable {
        SimTable { line: line.clone(), state: Arc::default() }
    }

    /// The table after the power came back, with some of the unflushed batches.
    pub fn after_cut(&self, line: &SimDisk, random: &mut Random, keep: usize) -> SimTable {
        let rows = self.rows();
        let mut certain = rows.certain.clone();
        for batch in &rows.open {
            if !random.percent(keep) {
                break;
            }
            change(&mut certain, batch);
        }
        SimTable::with(line, certain)
    }

    /// The table as the next process sees it.
    pub fn after_kill(&self, line: &SimDisk) -> SimTable {
        SimTable::with(line, self.rows().certain.clone())
    }

    /// Makes every call from now on fail.
    pub fn break_it(&self) {
        self.rows().broken = true;
    }

    /// Makes the next flush take so much of the disk, after something else has happened.
    pub fn next_flush_takes(&self, bytes: u64, meanwhile: impl FnOnce() + Send + 'static) {
        let mut rows = self.rows();
        (rows.takes, rows.meanwhile) = (bytes, Meanwhile(Some(Box::new(meanwhile))));
    }

    /// How often it was told that nothing is written any more.
    pub fn rests(&self) -> usize {
        self.rows().rests
    }

    /// Whether it was called again after a call had failed.
    pub fn was_called_again(&self) -> bool {
        self.rows().called_again
    }

    /// The rows, to be looked at or changed.
    pub fn with_rows<T>(&self, look: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>) -> T) -> T {
        let mut rows = self.rows();
        let looked = look(&mut rows.seen);
        rows.certain = rows.seen.clone();
        looked
    }

    fn with(line: &SimDisk, certain: BTreeMap<Vec<u8>, Vec<u8>>) -> SimTable {
        let rows = Rows { seen: certain.clone(), certain, ..Rows::default() };
        SimTable { line: line.clone(), state: Arc::new(Mutex::new(rows)) }
    }

    fn call(&self) -> Result<MutexGuard<'_, Rows>, TableError> {
        let mut rows = self.rows();
        rows.called_again |= rows.failed;
        rows.failed |= rows.broken;
        if rows.broken { Err(TableError::new("it broke".to_owned())) } else { Ok(rows) }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.state.lock().unwrap()
    }
}

impl Table for SimTable {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, TableError> {
        Ok(self.call()?.seen.get(key).map(|value| value[..].into()))
    }

    fn apply(&self, changes: Vec<RowChange>) -> Result<(), TableError> {
        let mut rows = self.call()?;
        assert!(changes.is_sorted_by(|a, b| a.0 < b.0), "batches are sorted");
        self.line.tick().map_err(|error| TableError::new(error.to_string()))?;
        change(&mut rows.seen, &changes);
        rows.open.push(changes);
        Ok(())
    }

    fn flush(&self) -> Result<(), TableError> {
        let mut rows = self.call()?;
        self.line.tick().map_err(|error| TableError::new(error.to_string()))?;
        if let Some(meanwhile) = rows.meanwhile.0.take() {
            meanwhile();
        }
        let takes = std::mem::take(&mut rows.takes);
        if let Err(error) = self.line.take(takes) {
            rows.failed = true;
            return Err(TableError::new(error.to_string()));
        }
        rows.certain = rows.seen.clone();
        rows.open.clear();
        Ok(())
    }

    fn scan(&self, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let rows = self.call()?.seen.clone();
        for (key, value) in rows.range(from.to_vec()..) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn rest(&self) -> Result<(), TableError> {
        let mut rows = self.call()?;
        assert!(rows.open.is_empty(), "no checkpoint is half written");
        rows.rests += 1;
        Ok(())
    }

    fn close(&self) -> Result<(), TableError> {
        self.call().map(|_| ())
    }
}

fn change(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &[RowChange]) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(rows.insert(key.to_vec(), value.to_vec())),
            None => drop(rows.remove(&**key)),
        }
    }
}
