//! Writes staged records to the journal: one write and one sync for all records staged since the last commit.

use std::sync::Arc;
use std::time::Duration;

use journal::Lsn;
use journal::batch::Batch;
use journal::owner::{BEAT, Owner, OwnerError};
use journal::storage::Storage;
use journal::writer::{AppendError, Journal};
use parking_lot::Mutex;

use crate::clock::elapsed;
use crate::core::Core;

/// The journal, and the batch that is being written to it.
#[derive(Debug)]
pub struct Committer<S: Storage> {
    journal: Journal<S>,
    batch: Batch,
    guard: Option<Guard>,
}

/// The owner file, and when it was last looked at.
#[derive(Debug)]
struct Guard {
    owner: Arc<Owner>,
    looked_at: Duration,
    segment: u64,
}

impl Guard {
    /// Looks at the owner file before each segment, and where the last look is old: this process may have
    /// stood still for any time.
    fn check(&mut self, segment: u64) -> Result<(), OwnerError> {
        let now = elapsed();
        if segment == self.segment && now.saturating_sub(self.looked_at) < BEAT {
            return Ok(());
        }
        self.owner.check()?;
        (self.looked_at, self.segment) = (now, segment);
        Ok(())
    }
}

impl<S: Storage> Committer<S> {
    /// A committer that appends to this journal.
    #[must_use]
    pub fn new(journal: Journal<S>) -> Self {
        Self { journal, batch: Batch::new(), guard: None }
    }

    /// Commits only while the folder belongs to this owner.
    #[must_use]
    pub fn owned_by(self, owner: Arc<Owner>) -> Self {
        // Segment 0 does not exist: the first commit looks.
        Self { guard: Some(Guard { owner, looked_at: Duration::ZERO, segment: 0 }), ..self }
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
        self.check_owner()?;
        let durable_lsn = self.journal.append(&mut self.batch)?;
        // Nothing is answered if the folder was lost while the batch was written.
        self.check_owner()?;
        assert_eq!(staged_lsn, durable_lsn, "records are numbered by the core as the journal numbers them");
        core.lock().settle(self.journal.room_bytes());
        Ok(durable_lsn)
    }

    fn check_owner(&mut self) -> Result<(), OwnerError> {
        let segment = self.journal.segment();
        self.guard.as_mut().map_or(Ok(()), |guard| guard.check(segment))
    }
}
