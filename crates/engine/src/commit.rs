//! Writes staged records to the journal: one write and one sync for all records staged since the last commit.

use journal::Lsn;
use journal::batch::Batch;
use journal::storage::Storage;
use journal::writer::{AppendError, Journal};
use parking_lot::Mutex;

use crate::core::Core;

/// The journal, and the batch that is being written to it.
#[derive(Debug)]
pub struct Committer<S: Storage> {
    journal: Journal<S>,
    batch: Batch,
}

impl<S: Storage> Committer<S> {
    /// A committer that appends to this journal.
    #[must_use]
    pub fn new(journal: Journal<S>) -> Self {
        Self { journal, batch: Batch::new() }
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal<S> {
        &self.journal
    }

    /// Takes all staged records, writes and syncs them. Returns the LSN of the last durable record.
    ///
    /// # Errors
    /// [`AppendError`]: whether the records reached the disk is unknown, and nothing more may be committed.
    pub fn commit(&mut self, core: &Mutex<Core>) -> Result<Lsn, AppendError> {
        let staged_lsn = core.lock().take_staged(&mut self.batch);
        let durable_lsn = self.journal.append(&mut self.batch)?;
        assert_eq!(staged_lsn, durable_lsn, "records are numbered by the core as the journal numbers them");
        core.lock().settle(self.journal.room_bytes());
        Ok(durable_lsn)
    }
}
