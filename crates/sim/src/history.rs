//! The contents of a journal's files, read without the engine.

use domain::State;
use domain::hash::HashSeed;
use domain::state::Record;
use domain::wire;
use journal::Lsn;
use journal::format::{Private, SEGMENT_HEADER_BYTES};
use journal::reader::Reader;
use journal::segments;

use crate::disk::Disk;

/// A record as stored in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    body: Vec<u8>,
    private: Vec<u8>,
    salt: Vec<u8>,
}

impl Stored {
    /// The decoded record.
    ///
    /// # Errors
    /// A text that says why it cannot be decoded.
    pub fn record(&self) -> Result<Record<'_>, String> {
        wire::decode_record(&self.body, Some(&self.private)).map_err(|error| error.to_string())
    }
}

/// The location of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its segment.
    pub segment: u64,
    /// Its offset in the segment.
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its first record.
    pub first_lsn: Lsn,
}

/// All records of a journal, and the locations of its batches.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The records, starting with LSN 1.
    pub records: Vec<Stored>,
    /// The batches.
    pub batches: Vec<Place>,
}

impl History {
    /// Reads a journal.
    ///
    /// # Errors
    /// A text that says what is wrong with the journal.
    pub fn read(disk: &Disk) -> Result<Self, String> {
        let mut history = Self::default();
        let reader = Reader::open(disk.journal.clone(), Lsn::ZERO).map_err(|error| error.to_string())?;
        let Some(mut reader) = reader else { return Ok(history) };
        while let Some(batch) = reader.next_batch(None).map_err(|error| error.to_string())? {
            if !batch.is_linked() {
                return Err(format!("the chain breaks at record {}", batch.header.first_lsn));
            }
            let (header, offset) = (batch.header, batch.offset);
            history.batches.push(Place { segment: header.segment, offset, bytes: header.total_bytes(), first_lsn: header.first_lsn });
            for (_, record) in batch.records() {
                let Private::Kept { salt, bytes } = record.private else {
                    history.records.push(Stored { body: record.body.to_vec(), private: Vec::new(), salt: Vec::new() });
                    continue;
                };
                history.records.push(Stored { body: record.body.to_vec(), private: bytes.to_vec(), salt: salt.to_vec() });
            }
        }
        Ok(history)
    }

    /// The LSN of the last record.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.records.len() as u64)
    }

    /// Looks for bytes other than zero after the last batch.
    #[must_use]
    pub fn garbage(&self, disk: &Disk) -> Option<String> {
        let numbers = segments::list(&*disk.journal).ok()?;
        let (last, end) = self.batches.last().map_or((1, SEGMENT_HEADER_BYTES), |place| (place.segment, place.offset + place.bytes));
        numbers.into_iter().filter(|number| last <= *number).find_map(|number| {
            let name = segments::name_of(number);
            let start = if number == last { end } else { SEGMENT_HEADER_BYTES };
            let bytes = disk.segment_bytes(&name);
            let behind = bytes.get(usize::try_from(start).ok()?..)?;
            behind.iter().any(|byte| *byte != 0).then_some(format!("{name} holds something behind the end at {start}"))
        })
    }

    /// The state from a replay of all records.
    ///
    /// # Errors
    /// A text that says which record cannot be decoded.
    pub fn replay(&self, seed: HashSeed) -> Result<State, String> {
        let mut state = State::new(seed);
        for stored in &self.records {
            state.evolve(&stored.record()?);
        }
        Ok(state)
    }
}
