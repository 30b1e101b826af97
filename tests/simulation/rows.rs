//! Rows on a disk that forgets what was not written when the machine stops.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use sluicemq::broker::ports::{Progress, Refused};
use sluicemq::store::engine::{Blob, Lookup, RowBatch, StoreError, Visit};
use sluicemq::store::{DurableStore, Loader, Rows};

type Table = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A disk. It outlives the broker that writes to it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    written: Table,
    /// As it will be when everything handed in is written.
    handed_in: Table,
    pending: VecDeque<(u64, Changes)>,
    waiting: Vec<(u64, Waker)>,
    last: u64,
    durable: u64,
}

impl Disk {
    /// Writes all that there is to write, and what comes of that: `then` is done after each time.
    pub fn write_all(&self, mut then: impl FnMut()) {
        while self.write(usize::MAX) {
            then();
        }
    }

    /// Writes up to `batches`, in order; wakes what waited for them.
    pub fn write(&self, batches: usize) -> bool {
        let mut woken = Vec::new();
        let mut wrote = false;
        {
            let inner = &mut *self.0.lock().unwrap();
            for _ in 0..batches {
                let Some((number, changes)) = inner.pending.pop_front() else { break };
                apply(&mut inner.written, &changes);
                inner.durable = number;
                wrote = true;
            }
            let durable = inner.durable;
            inner.waiting.retain(|(number, waker)| {
                if *number <= durable {
                    woken.push(waker.clone());
                }
                *number > durable
            });
        }
        woken.into_iter().for_each(Waker::wake);
        wrote
    }

    /// All that was handed in is written.
    pub fn is_idle(&self) -> bool {
        self.0.lock().unwrap().pending.is_empty()
    }

    /// The machine stops: what was not written is gone.
    pub fn crash(&self) {
        let inner = &mut *self.0.lock().unwrap();
        inner.pending.clear();
        inner.waiting.clear();
        inner.handed_in = inner.written.clone();
        (inner.last, inner.durable) = (0, 0);
    }

    /// A store on what is written.
    pub fn open(&self) -> DurableStore<Disk> {
        let mut loader = Loader::default();
        for (key, value) in &self.0.lock().unwrap().written {
            loader.visit(key, value);
        }
        loader.finish(self.clone()).expect("rows that mean something")
    }

    /// Rows there are, by the first byte of their keys, but for the one that is always there.
    pub fn rows(&self) -> BTreeMap<u8, usize> {
        let mut rows = BTreeMap::new();
        for key in self.0.lock().unwrap().handed_in.keys().filter(|key| key[0] != NUMBERS) {
            *rows.entry(key[0]).or_default() += 1;
        }
        rows
    }
}

/// The first byte of the row of numbers that may have been used.
const NUMBERS: u8 = 0x0A;

fn apply(table: &mut Table, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
}

impl Rows for Disk {
    fn room(&self, _waker: &Waker) -> Result<(), Refused> {
        Ok(())
    }

    fn admit(&self, _bytes: usize) -> Result<(), Refused> {
        Ok(())
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        let mut changes = Changes::new();
        batch.visit(&mut |key, value| changes.push((key.to_vec(), value.map(<[u8]>::to_vec))));
        batch.clear();
        if changes.is_empty() {
            return 0;
        }
        let inner = &mut *self.0.lock().unwrap();
        apply(&mut inner.handed_in, &changes);
        inner.last += 1;
        inner.pending.push_back((inner.last, changes));
        inner.last
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        let inner = &mut *self.0.lock().unwrap();
        if number <= inner.durable {
            return Progress::Durable;
        }
        assert!(number <= inner.last, "a receipt nobody was given");
        inner.waiting.push((number, waker.clone()));
        Progress::Pending
    }

    fn find(&self, key: &[u8]) -> Lookup {
        // All of it is in memory here: what a link asks for is there at once.
        let value = self.0.lock().unwrap().handed_in.get(key).map(|value| value[..].into());
        value.map_or(Lookup::Deleted, Lookup::Value)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        Ok(self.0.lock().unwrap().handed_in.get(key).map(|value| value[..].into()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let rows = self.0.lock().unwrap().handed_in.clone();
        for (key, value) in rows.range(prefix.to_vec()..) {
            if !key.starts_with(prefix) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}
