//! Opening a journal, appending to it, syncing.

use std::io;
use std::sync::Arc;

use crate::batch::{Batch, Place, Salts};
use crate::format::{BATCH_HEADER_BYTES, Chain, JournalId, RecordBytes, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::reader::{ReadError, Reader, in_memory};
use crate::scan::End;
use crate::segments::{self, Spare, Spares};
use crate::storage::{Storage, StorageFile};
use crate::{Damage, Lsn};

/// How a journal is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of segments made from now on: [`segments::SEGMENT_BYTES_MIN`] at least, or what
    /// holds the header's page and the largest batch where the caller bounds batches lower.
    pub segment_bytes: u64,
    /// The id that a new journal gets; random.
    pub new_id: JournalId,
    /// The secret from which salts come; random, never stored.
    pub salt_seed: [u8; 32],
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed while it was made ready.
    #[error("cannot make the journal ready: {0}")]
    Io(#[from] io::Error),
    /// Who replays the records refused one.
    #[error("record {lsn} cannot be replayed: {what}")]
    Replay {
        /// Which.
        lsn: Lsn,
        /// Why not.
        what: String,
    },
    /// It ends before a record that it is known to have held.
    #[error("the journal ends at record {last}, but a snapshot was taken at record {snapshot}")]
    TooShort {
        /// Its last record.
        last: Lsn,
        /// The record of the snapshot.
        snapshot: Lsn,
    },
}

/// Why a batch was not appended. Nothing is known of it then, and nothing more is accepted.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the disk says.
        source: io::Error,
    },
    /// It failed before.
    #[error("the journal has failed before and accepts nothing more")]
    Poisoned,
    /// No segment is ready that it would fit in.
    #[error("no segment is ready for {bytes} bytes")]
    NoRoom {
        /// How much was to be written.
        bytes: u64,
    },
}

/// What opening found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The last record.
    pub last_lsn: Lsn,
    /// How many records were replayed.
    pub replayed_count: u64,
    /// What was left of a batch that was never synced; it has been cleared.
    pub torn: Option<Damage>,
}

/// A journal that is open for appending. One at a time: the program holds a lock on the folder.
#[derive(Debug)]
pub struct Journal<S: Storage> {
    id: JournalId,
    file: S::File,
    file_bytes: u64,
    segment: u64,
    offset: u64,
    last_lsn: Lsn,
    chain: Chain,
    salts: Salts,
    spares: Arc<Spares<S>>,
    is_poisoned: bool,
}

impl<S: Storage> Journal<S> {
    /// Opens a journal, or makes a new one; gives every record after `after` to `replay`, clears
    /// what was never synced, and syncs what is there before anybody relies on it.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was overwritten unless the tail was torn.
    pub fn open(
        storage: &Arc<S>,
        options: &Options,
        after: Lsn,
        mut replay: impl FnMut(Lsn, &RecordBytes<'_>) -> Result<(), String>,
    ) -> Result<(Self, Opened), OpenError> {
        assert!(SEGMENT_HEADER_BYTES + BATCH_HEADER < options.segment_bytes, "a segment must hold a batch");
        segments::remove_unfinished(&**storage)?;
        let Some(mut reader) = Reader::open(Arc::clone(storage), after)? else {
            if after != Lsn::ZERO {
                return Err(OpenError::TooShort { last: Lsn::ZERO, snapshot: after });
            }
            return Self::create(storage, options);
        };
        let mut replayed_count = 0;
        while let Some(batch) = reader.next_batch(None)? {
            for (lsn, record) in batch.records().filter(|(lsn, _)| after < *lsn) {
                replay(lsn, &record).map_err(|what| OpenError::Replay { lsn, what })?;
                replayed_count += 1;
            }
        }
        let end = reader.judge_end()?;
        if end.last_lsn < after {
            return Err(OpenError::TooShort { last: end.last_lsn, snapshot: after });
        }
        let journal = Self::resume(storage, options, &reader, &end)?;
        Ok((journal, Opened { last_lsn: end.last_lsn, replayed_count, torn: end.torn }))
    }

    /// The journal's id.
    #[must_use]
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// The last record, which is durable.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// The segments made ahead; another thread keeps one ready.
    #[must_use]
    pub fn spares(&self) -> &Arc<Spares<S>> {
        &self.spares
    }

    /// How many bytes of batches can be appended for sure.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        // A file that is shorter than it was has no room.
        let in_segment = self.file_bytes.saturating_sub(self.offset);
        in_segment.max(self.spares.ready_bytes())
    }

    /// Writes a batch and syncs it. When this returns, its records are durable; the batch is
    /// empty again.
    ///
    /// # Errors
    /// [`AppendError`]; after any but [`AppendError::NoRoom`] the journal is poisoned.
    pub fn append(&mut self, batch: &mut Batch) -> Result<Lsn, AppendError> {
        if self.is_poisoned {
            return Err(AppendError::Poisoned);
        }
        if batch.is_empty() {
            return Ok(self.last_lsn);
        }
        if self.file_bytes < self.offset + batch.bytes_count() {
            self.rotate(batch.bytes_count())?;
        }
        let place = Place {
            journal: self.id,
            segment: self.segment,
            first_lsn: self.last_lsn.next(),
            synced_lsn: self.last_lsn,
            chain_before: self.chain,
        };
        let records_count = u64::from(batch.records_count());
        let (bytes, chain) = batch.seal(&place, &mut self.salts);
        // Until both calls have worked, nothing is known of the batch.
        self.is_poisoned = true;
        let file = || segments::name_of(place.segment);
        self.file.write_at(bytes, self.offset).map_err(|source| AppendError::Io { action: "write", file: file(), source })?;
        self.file.sync().map_err(|source| AppendError::Io { action: "sync", file: file(), source })?;
        self.is_poisoned = false;
        self.offset += bytes.len() as u64;
        self.chain = chain;
        self.last_lsn = self.last_lsn.plus(records_count);
        batch.clear();
        Ok(self.last_lsn)
    }

    /// Goes on in the next segment, or changes nothing. All that is in this one is synced.
    fn rotate(&mut self, bytes: u64) -> Result<(), AppendError> {
        let Some(Spare { segment, file, file_bytes }) = self.spares.take(bytes) else {
            return Err(AppendError::NoRoom { bytes });
        };
        self.file = file;
        self.file_bytes = file_bytes;
        self.segment = segment;
        self.offset = SEGMENT_HEADER_BYTES;
        Ok(())
    }

    fn create(storage: &Arc<S>, options: &Options) -> Result<(Self, Opened), OpenError> {
        let header = SegmentHeader { segment: 1, journal: options.new_id };
        let file = segments::prepare(&**storage, header, options.segment_bytes)?;
        let journal = Self {
            id: options.new_id,
            file,
            file_bytes: options.segment_bytes,
            segment: 1,
            offset: SEGMENT_HEADER_BYTES,
            last_lsn: Lsn::ZERO,
            chain: [0; 32],
            salts: Salts::from_seed(options.salt_seed),
            spares: Arc::new(Spares::new(options.new_id, options.segment_bytes, 2)),
            is_poisoned: false,
        };
        Ok((journal, Opened { last_lsn: Lsn::ZERO, replayed_count: 0, torn: None }))
    }

    fn resume(storage: &Arc<S>, options: &Options, reader: &Reader<S>, end: &End) -> Result<Self, OpenError> {
        let file = storage.open(&segments::name_of(end.segment))?;
        // A reader that has not read a batch yet stands at or before the snapshot's record, and the
        // journal is too short then. With another chain, no later batch would follow on the others.
        let Some(chain) = reader.chain else { panic!("the batch before the first one to be appended was read") };
        clear(&**storage, end)?;
        // After a kill, what was read may be in the system's memory only; and so may be a
        // segment's name.
        rewrite_last(reader, &file)?;
        file.sync()?;
        storage.sync_folder()?;
        let spares = Spares::new(reader.journal, options.segment_bytes, end.segment + 1);
        for segment in end.segment + 1..=reader.segments_last {
            let file = storage.open(&segments::name_of(segment))?;
            spares.add(Spare { segment, file_bytes: file.size()?, file });
        }
        Ok(Self {
            id: reader.journal,
            file_bytes: file.size()?,
            file,
            segment: end.segment,
            offset: end.offset,
            last_lsn: end.last_lsn,
            chain,
            salts: Salts::from_seed(options.salt_seed),
            spares: Arc::new(spares),
            is_poisoned: false,
        })
    }
}

/// Writes the last batch as it was read. If its sync had failed, the system shows it and believes
/// that it is on the disk, where it is not; then only what is written again is synced again.
fn rewrite_last<S: Storage>(reader: &Reader<S>, file: &S::File) -> io::Result<()> {
    let Some((_, start, end)) = reader.last_batch.filter(|(segment, _, _)| *segment == reader.segment) else { return Ok(()) };
    let mut bytes = vec![0; in_memory(end - start)];
    file.read_at(&mut bytes, start)?;
    file.write_at(&bytes, start)
}

/// Writes zeros over what was never synced, and syncs that.
fn clear<S: Storage>(storage: &S, end: &End) -> io::Result<()> {
    for (segment, from, to) in &end.remains {
        let file = storage.open(&segments::name_of(*segment))?;
        let zeros = vec![0; in_memory(to - from)];
        file.write_at(&zeros, *from)?;
        file.sync()?;
    }
    Ok(())
}

const BATCH_HEADER: u64 = BATCH_HEADER_BYTES as u64;
