//! The table in redb: the only file that names it.

use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};

use super::engine::{Blob, RowChange, Table, TableError, TableKind, Visit};
use super::watched;

use crate::sync::whole;

/// A table in redb.
pub struct RedbTable {
    /// None: closed.
    database: RwLock<Option<Database>>,
    failed: AtomicBool,
}

/// Tables in redb, each with so much memory for a cache.
pub fn redb_kind(cache_bytes: usize) -> TableKind {
    TableKind {
        name: "redb",
        open: Box::new(move |path| Ok(Box::new(RedbTable::open(path, cache_bytes)?))),
    }
}

impl RedbTable {
    /// Opens the table in a folder, or makes an empty one there.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<RedbTable, TableError> {
        let open = || -> Result<Database, redb::Error> {
            let database =
                Builder::new().set_cache_size(cache_bytes).create(path.join("rows.redb"))?;
            let transaction = database.begin_write()?;
            transaction.open_table(ROWS)?;
            transaction.commit()?;
            File::open(path)?.sync_all()?;
            Ok(database)
        };
        let database = guarded(open)?;
        Ok(RedbTable { database: RwLock::new(Some(database)), failed: AtomicBool::new(false) })
    }

    /// Does something with the database, unless something has failed or it is closed.
    fn with<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, TableError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(TableError::new("it has failed, and is not called again".to_owned()));
        }
        let database = whole(self.database.read());
        let Some(database) = database.as_ref() else {
            return Err(TableError::new("it is closed".to_owned()));
        };
        guarded(|| act(database)).inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    /// Commits changes, certain or not.
    fn commit(&self, changes: &[RowChange], durability: Durability) -> Result<(), TableError> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let mut rows = transaction.open_table(ROWS)?;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(rows.insert(&**key, &**value)?),
                    None => drop(rows.remove(&**key)?),
                }
            }
            drop(rows);
            Ok(transaction.commit()?)
        })
    }
}

impl Table for RedbTable {
    fn get(&self, key: &[u8]) -> Result<Option<Blob>, TableError> {
        self.with(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            Ok(rows.get(key)?.map(|value| value.value().into()))
        })
    }

    fn apply(&self, changes: Vec<RowChange>) -> Result<(), TableError> {
        self.commit(&changes, Durability::None)
    }

    fn flush(&self) -> Result<(), TableError> {
        self.commit(&[], Durability::Immediate)
    }

    fn scan(&self, from: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        self.with(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            for row in rows.range(from..)? {
                let (key, value) = row?;
                if visit(key.value(), value.value()) == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn close(&self) -> Result<(), TableError> {
        drop(whole(self.database.write()).take());
        Ok(())
    }
}

fn guarded<T>(act: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, TableError> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(|error| TableError::new(error.to_string())),
        Err(panic) => Err(TableError::new(watched::words(&*panic))),
    }
}

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const PANIC_FREE: &str = "no code panics while it holds the table";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::tables;

    #[test]
    fn it_is_a_table() {
        tables::check(&redb_kind(8 << 20));
    }

    #[test]
    fn damage_is_refused_by_name_or_changes_nothing() {
        tables::check_damage(&redb_kind(8 << 20));
    }
}
