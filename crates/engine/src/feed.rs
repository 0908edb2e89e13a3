//! What was decided and is durable, in order. It comes from the journal's files, not from a queue
//! in memory: who falls behind costs nothing and misses nothing.

use std::sync::Arc;

use domain::state::Record;
use domain::wire::{self, Position};
use journal::Lsn;
use journal::reader::{ReadError, Reader};
use journal::storage::Storage;

/// Why the feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is none.
    #[error("record {lsn} cannot be read: {what}")]
    Decode {
        /// Which.
        lsn: Lsn,
        /// Why not.
        what: wire::DecodeError,
    },
}

/// Reads durable records from a position on.
#[derive(Debug)]
pub struct Feed<S: Storage> {
    reader: Reader<S>,
    position: Position,
}

impl<S: Storage> Feed<S> {
    /// A feed of the records after `position`; `None` if the journal has no segment yet.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn open(storage: Arc<S>, position: Position) -> Result<Option<Self>, FeedError> {
        let reader = Reader::open(storage, Lsn(position.0))?;
        Ok(reader.map(|reader| Self { reader, position }))
    }

    /// Gives the next records to `take`, all of one batch of the journal and none beyond
    /// `durable`; says whether there were any.
    ///
    /// # Errors
    /// [`FeedError`], or what `take` says.
    pub fn next<E: From<FeedError>>(
        &mut self,
        durable: Lsn,
        mut take: impl FnMut(Position, &Record<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(batch) = self.reader.next_batch(Some(durable)).map_err(FeedError::from)? else { return Ok(false) };
        for (lsn, bytes) in batch.records().filter(|(lsn, _)| self.position.0 < lsn.0) {
            let record = wire::decode_record(bytes.body, bytes.private_bytes());
            take(Position(lsn.0), &record.map_err(|what| FeedError::Decode { lsn, what })?)?;
        }
        self.position = Position(batch.header.last_lsn().0);
        Ok(true)
    }
}
