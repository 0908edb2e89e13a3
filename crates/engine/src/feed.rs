//! The durable decisions, in order. They come from the journal's files, not from a queue in memory: a slow
//! reader costs no memory and misses nothing.

use std::sync::Arc;

use domain::state::Record;
use domain::wire::{self, Position};
use journal::Lsn;
use journal::reader::{ReadError, Reader};
use journal::storage::Storage;

/// Why the feed cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A journal record does not decode as a decision.
    #[error("record {lsn} cannot be read: {what}")]
    Decode {
        /// The record's LSN.
        lsn: Lsn,
        /// The decoder's error.
        what: wire::DecodeError,
    },
}

/// Reads durable records from a given position on.
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

    /// Replaces the contents of `records` with the next ones, none beyond `durable`, until there are
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

/// A run of records, kept as bytes because a decoded record borrows from its bytes.
#[derive(Debug, Default)]
pub struct FedRecords {
    bytes: Vec<u8>,
    /// Each record's position, the end of its body and the end of its private part.
    ends: Vec<(Position, usize, usize)>,
}

impl FedRecords {
    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the run has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Record<'_>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, _, end)| *end));
        self.ends.iter().zip(starts).filter_map(|((position, body_end, end), start)| {
            let (body, private) = (self.bytes.get(start..*body_end)?, self.bytes.get(*body_end..*end)?);
            // `fill` has decoded each record before it stored the bytes.
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
