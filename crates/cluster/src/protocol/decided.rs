//! Decided records on their way to the history tables, kept as bytes because a record borrows from its bytes.

use domain::wire::{Position, decode_record, encode_record};
use domain::{Record, State};
use engine::core::Watch;
use journal::Lsn;

/// Decided records, in order.
#[derive(Clone, Debug, Default)]
pub struct DecidedRecords {
    bytes: Vec<u8>,
    /// Each record's position, where its body ends and where its private part ends.
    ends: Vec<(Position, usize, usize)>,
}

impl DecidedRecords {
    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends the records of `other`, which follow these.
    pub fn append(&mut self, other: &Self) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|(position, body, end)| (*position, start + body, start + end)));
    }

    /// The records, each with its position among the partition's decisions.
    ///
    /// # Panics
    /// If a record does not decode, although this type encoded it.
    pub fn iter(&self) -> impl Iterator<Item = (Position, Record<'_>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, _, end)| *end));
        self.ends.iter().zip(starts).map(|((position, body_end, end), start)| {
            let parts = self.bytes.get(start..*body_end).zip(self.bytes.get(*body_end..*end));
            let record = parts.and_then(|(body, private)| decode_record(body, Some(private)).ok());
            let Some(record) = record else { panic!("the record of decision {} was encoded and does not decode", position.0) };
            (*position, record)
        })
    }
}

impl Watch for DecidedRecords {
    fn before(&mut self, _record: &Record<'_>, _state: &State) {}

    fn after(&mut self, lsn: Lsn, record: &Record<'_>, _state: &State) {
        let mut private = Vec::with_capacity(256);
        encode_record(record, &mut self.bytes, &mut private);
        let body_end = self.bytes.len();
        self.bytes.extend_from_slice(&private);
        self.ends.push((Position(lsn.0), body_end, self.bytes.len()));
    }
}
