//! Disk space reserved by the journal and by running checkpoints. A table does not survive a full
//! disk, and the journal grows while a checkpoint is being written: both reserve from one account, so
//! that neither counts on space that the other is about to take.

use std::io;

use super::disk::Disk;
use crate::sync::{Mutex, MutexGuard, whole};

/// Disk space reserved by the journal and by running checkpoints.
#[derive(Debug, Default)]
pub struct DiskBudget(Mutex<Reserved>);

#[derive(Debug, Default)]
struct Reserved {
    /// Bytes that files being made will still take.
    making: u64,
    /// While a checkpoint is being written: bytes that it leaves to files begun meanwhile.
    left: Option<u64>,
}

/// Space reserved for a file that is being made; given back on drop.
#[derive(Debug)]
pub struct FileReservation<'a> {
    budget: &'a DiskBudget,
    bytes: u64,
}

/// Space reserved for a checkpoint that is being written; given back on drop.
#[derive(Debug)]
pub struct CheckpointReservation<'a>(&'a DiskBudget);

impl DiskBudget {
    /// Bytes free on the disk and not reserved.
    pub fn free(&self, disk: &dyn Disk) -> u64 {
        self.lock().free(disk)
    }

    /// Reserves space for a checkpoint; `None` if there is not enough.
    pub fn reserve_checkpoint(
        &self,
        disk: &dyn Disk,
        bytes: u64,
    ) -> Option<CheckpointReservation<'_>> {
        let mut account = self.lock();
        account.left = Some(account.free(disk).checked_sub(bytes)?);
        Some(CheckpointReservation(self))
    }

    /// Reserves space for a file. An error that says that the disk is full if a checkpoint needs the
    /// space; without a checkpoint the disk itself says so when the file is written.
    pub fn reserve_file(&self, bytes: u64) -> io::Result<FileReservation<'_>> {
        let mut account = self.lock();
        if let Some(left) = &mut account.left {
            *left = left.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        account.making += bytes;
        Ok(FileReservation { budget: self, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Reserved> {
        whole(self.0.lock())
    }
}

impl Reserved {
    fn free(&self, disk: &dyn Disk) -> u64 {
        disk.free().unwrap_or(u64::MAX).saturating_sub(self.making)
    }
}

impl FileReservation<'_> {
    /// So many bytes are written: the disk itself counts them from now on.
    pub fn took(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.lock().making -= bytes;
    }
}

impl Drop for FileReservation<'_> {
    fn drop(&mut self) {
        self.took(self.bytes);
    }
}

impl Drop for CheckpointReservation<'_> {
    fn drop(&mut self) {
        self.0.lock().left = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulation::SimDisk;
    use super::*;

    #[test]
    fn a_file_and_a_checkpoint_never_have_the_same_room() {
        let (budget, disk) = (DiskBudget::default(), SimDisk::default());
        disk.set_room(Some(100));
        let mut file = budget.reserve_file(60).unwrap();
        assert!(budget.reserve_checkpoint(&disk, 41).is_none(), "the file is not written yet");
        assert!(budget.reserve_file(1000).is_ok(), "no checkpoint forbids it: the disk will");
        disk.set_room(Some(70));
        file.took(30);
        assert_eq!(budget.free(&disk), 40, "what is taken is not counted twice");
        let checkpoint = budget.reserve_checkpoint(&disk, 30).unwrap();
        let refused = budget.reserve_file(11).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        let other = budget.reserve_file(10).unwrap();
        // The checkpoint has taken some of its own by now, which is no room for others.
        assert!(budget.reserve_file(1).is_err());
        drop((file, other));
        assert!(budget.reserve_file(1).is_err(), "it may have been written");
        drop(checkpoint);
        assert_eq!(budget.free(&disk), 70);
        assert!(budget.reserve_file(1).is_ok());
    }
}
