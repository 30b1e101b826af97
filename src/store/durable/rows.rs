//! The engine as the rows of a durable store.

use std::task::Waker;

use super::Rows;
use crate::store::engine::{Blob, Engine, Found, NoRoom, Progress, RowBatch, StoreError, Visit};

impl Rows for Engine {
    fn admit(&self, bytes: usize) -> Result<(), NoRoom> {
        Engine::admit(self, bytes)
    }

    fn submit(&self, batch: &mut RowBatch) -> u64 {
        Engine::submit(self, batch)
    }

    fn state(&self, number: u64, waker: &Waker) -> Progress {
        Engine::state(self, number, waker)
    }

    fn find(&self, key: &[u8]) -> Found {
        Engine::find(self, key)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Blob>, StoreError> {
        Engine::get(self, key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        Engine::scan(self, prefix, visit)
    }
}
