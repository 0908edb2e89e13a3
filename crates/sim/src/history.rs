//! What stands in a journal's files, read without the engine.

use domain::State;
use domain::hash::HashSeed;
use domain::state::Record;
use domain::wire;
use journal::Lsn;
use journal::format::{Private, SEGMENT_HEADER_BYTES};
use journal::reader::Reader;
use journal::segments;

use crate::disk::Disk;

/// A record as it stands in the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    body: Vec<u8>,
    private: Vec<u8>,
    salt: Vec<u8>,
}

impl Stored {
    /// What it says.
    ///
    /// # Errors
    /// In words, why it says nothing.
    pub fn record(&self) -> Result<Record<'_>, String> {
        wire::decode_record(&self.body, Some(&self.private)).map_err(|error| error.to_string())
    }
}

/// Where a batch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// In which segment.
    pub segment: u64,
    /// From which byte on.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Its first record.
    pub first_lsn: Lsn,
}

/// All records of a journal, and where its batches are.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The records from number 1 on.
    pub records: Vec<Stored>,
    /// The batches.
    pub batches: Vec<Place>,
}

impl History {
    /// Reads a journal.
    ///
    /// # Errors
    /// In words, what is wrong with it.
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

    /// The number of the last record.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.records.len() as u64)
    }

    /// Looks for anything but zeros behind the last batch.
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

    /// A state from the records alone.
    ///
    /// # Errors
    /// In words, which record says nothing.
    pub fn replay(&self, seed: HashSeed) -> Result<State, String> {
        let mut state = State::new(seed);
        for stored in &self.records {
            state.evolve(&stored.record()?);
        }
        Ok(state)
    }
}
