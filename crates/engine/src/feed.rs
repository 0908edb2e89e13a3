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

    /// Replaces what is in `records` by the next ones, none beyond `durable`, until there are
    /// `records_count` of them or more.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn fill(&mut self, records: &mut FedRecords, durable: Lsn, records_count: usize) -> Result<(), FeedError> {
        records.clear();
        while records.len() < records_count {
            let Some(batch) = self.reader.next_batch(Some(durable))? else { break };
            for (lsn, bytes) in batch.records().filter(|(lsn, _)| self.position.0 < lsn.0) {
                records.push(lsn, bytes.body, bytes.private_bytes())?;
            }
            self.position = Position(batch.header.last_lsn().0);
        }
        Ok(())
    }
}

/// Records in a row, as bytes: a record borrows from what it is read from.
#[derive(Debug, Default)]
pub struct FedRecords {
    bytes: Vec<u8>,
    /// Position, where the body ends, where the private part ends.
    ends: Vec<(Position, usize, usize)>,
}

impl FedRecords {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Record<'_>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, _, end)| *end));
        self.ends.iter().zip(starts).filter_map(|((position, body_end, end), start)| {
            let (body, private) = (self.bytes.get(start..*body_end)?, self.bytes.get(*body_end..*end)?);
            // It was found to be one when it came in.
            wire::decode_record(body, Some(private)).ok().map(|record| (*position, record))
        })
    }

    fn push(&mut self, lsn: Lsn, body: &[u8], private: Option<&[u8]>) -> Result<(), FeedError> {
        wire::decode_record(body, private).map_err(|what| FeedError::Decode { lsn, what })?;
        self.bytes.extend_from_slice(body);
        let body_end = self.bytes.len();
        self.bytes.extend_from_slice(private.unwrap_or_default());
        self.ends.push((Position(lsn.0), body_end, self.bytes.len()));
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
