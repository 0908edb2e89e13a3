//! Opens a journal, appends to it, syncs.

use std::io;
use std::sync::Arc;

use crate::batch::{Batch, Place, Salts};
use crate::format::{BATCH_HEADER_BYTES, Chain, JournalId, RecordBytes, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::owner::OwnerError;
use crate::reader::{ReadError, Reader, in_memory};
use crate::scan::End;
use crate::segments::{self, Spare, Spares};
use crate::storage::{Storage, StorageFile};
use crate::{Damage, Lsn};

/// The options of a journal.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of segments created from now on: at least [`segments::SEGMENT_BYTES_MIN`], or, where the
    /// caller bounds batches lower, the header page and the largest batch.
    pub segment_bytes: u64,
    /// The id for a new journal; random.
    pub new_id: JournalId,
    /// The secret seed of the salts; random, never stored.
    pub salt_seed: [u8; 32],
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A disk call failed while the journal was prepared.
    #[error("cannot make the journal ready: {0}")]
    Io(#[from] io::Error),
    /// The replaying caller rejected a record.
    #[error("record {lsn} cannot be replayed: {what}")]
    Replay {
        /// The record's LSN.
        lsn: Lsn,
        /// Why it was rejected.
        what: String,
    },
    /// Another process uses the folder.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The journal ends before the record of a snapshot.
    #[error("the journal ends at record {last}, but a snapshot was taken at record {snapshot}")]
    TooShort {
        /// The journal's last record.
        last: Lsn,
        /// The record of the snapshot.
        snapshot: Lsn,
    },
}

/// Why a batch was not appended. Its state on disk is then unknown, and no further batch is accepted.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A disk call failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The file's name.
        file: String,
        /// The storage's error.
        source: io::Error,
    },
    /// An earlier append failed.
    #[error("the journal has failed before and accepts nothing more")]
    Poisoned,
    /// The place of the batch is not as this process left it: another process has written the journal.
    #[error("another process has written {file} at offset {offset}; nothing was written over it")]
    Foreign {
        /// The file's name.
        file: String,
        /// The first byte that is not as expected.
        offset: u64,
    },
    /// The folder belongs to another process now.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// No ready segment has room for the batch.
    #[error("no segment is ready for {bytes} bytes")]
    NoRoom {
        /// The batch's size.
        bytes: u64,
    },
}

/// The result of opening.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The last record.
    pub last_lsn: Lsn,
    /// The number of replayed records.
    pub replayed_count: u64,
    /// The remains of a batch that was never synced; they have been cleared.
    pub torn: Option<Damage>,
}

/// A journal open for appending. Only one process at a time: the program owns the folder.
#[derive(Debug)]
pub struct Journal<S: Storage> {
    id: JournalId,
    file: S::File,
    file_bytes: u64,
    segment: u64,
    offset: u64,
    last_lsn: Lsn,
    chain: Chain,
    /// The last batch of the segment in use: its offset and header.
    last_header: Option<(u64, [u8; BATCH_HEADER_BYTES])>,
    salts: Salts,
    spares: Arc<Spares<S>>,
    is_poisoned: bool,
}

impl<S: Storage> Journal<S> {
    /// Opens a journal, or creates one; passes every record after `after` to `replay`, clears what was never
    /// synced, and syncs the rest before any caller relies on it.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was overwritten except a torn tail.
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

    /// The LSN of the last record, which is durable.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The number of the segment in use.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// The spare segments; another thread keeps one ready.
    #[must_use]
    pub fn spares(&self) -> &Arc<Spares<S>> {
        &self.spares
    }

    /// How many bytes of batches can certainly be appended.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        // A file that has become shorter has no room.
        let in_segment = self.file_bytes.saturating_sub(self.offset);
        in_segment.max(self.spares.ready_bytes())
    }

    /// Writes and syncs a batch. On return its records are durable, and the batch is empty.
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
        // Until both calls have succeeded, the state of the batch is unknown.
        self.is_poisoned = true;
        let file = || segments::name_of(place.segment);
        check_place(&self.file, &place, self.offset, self.last_header.as_ref())?;
        self.file.write_at(bytes, self.offset).map_err(|source| AppendError::Io { action: "write", file: file(), source })?;
        self.file.sync().map_err(|source| AppendError::Io { action: "sync", file: file(), source })?;
        self.is_poisoned = false;
        self.last_header = bytes.first_chunk().map(|header| (self.offset, *header));
        self.offset += bytes.len() as u64;
        self.chain = chain;
        self.last_lsn = self.last_lsn.plus(records_count);
        batch.clear();
        Ok(self.last_lsn)
    }

    /// Continues in the next segment, or changes nothing. Everything in the current one is synced.
    fn rotate(&mut self, bytes: u64) -> Result<(), AppendError> {
        let Some(Spare { segment, file, file_bytes }) = self.spares.take(bytes) else {
            return Err(AppendError::NoRoom { bytes });
        };
        self.file = file;
        self.file_bytes = file_bytes;
        self.segment = segment;
        self.offset = SEGMENT_HEADER_BYTES;
        self.last_header = None;
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
            last_header: None,
            salts: Salts::from_seed(options.salt_seed),
            spares: Arc::new(Spares::new(options.new_id, options.segment_bytes, 2)),
            is_poisoned: false,
        };
        Ok((journal, Opened { last_lsn: Lsn::ZERO, replayed_count: 0, torn: None }))
    }

    fn resume(storage: &Arc<S>, options: &Options, reader: &Reader<S>, end: &End) -> Result<Self, OpenError> {
        let file = storage.open(&segments::name_of(end.segment))?;
        // A reader that has not read a batch yet is at or before the snapshot's record, and the journal is
        // then too short. With a wrong chain value, no later batch would continue the chain.
        let Some(chain) = reader.chain else { panic!("the batch before the first one to be appended was read") };
        clear(&**storage, end)?;
        // After a process kill, the records just read may be only in the page cache; so may a segment's name.
        rewrite_last(reader, &file)?;
        file.sync()?;
        storage.sync_folder()?;
        let last_header = last_header(reader, &file)?;
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
            last_header,
            salts: Salts::from_seed(options.salt_seed),
            spares: Arc::new(spares),
            is_poisoned: false,
        })
    }
}

/// Another process may use the folder where locks do not reach it. The last batch must be as this process wrote
/// it, and its successor's place must be empty.
fn check_place<F: StorageFile>(
    file: &F,
    place: &Place,
    offset: u64,
    last: Option<&(u64, [u8; BATCH_HEADER_BYTES])>,
) -> Result<(), AppendError> {
    let foreign = |offset| AppendError::Foreign { file: segments::name_of(place.segment), offset };
    let read = |offset| {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        file.read_at(&mut bytes, offset).map(|()| bytes).map_err(|source| AppendError::Io {
            action: "read",
            file: segments::name_of(place.segment),
            source,
        })
    };
    if let Some((start, written)) = last
        && read(*start)? != *written
    {
        return Err(foreign(*start));
    }
    if read(offset)? != [0; BATCH_HEADER_BYTES] { Err(foreign(offset)) } else { Ok(()) }
}

/// The header of the last batch, if it is in the segment that is continued.
fn last_header<S: Storage>(reader: &Reader<S>, file: &S::File) -> io::Result<Option<(u64, [u8; BATCH_HEADER_BYTES])>> {
    let Some((_, start, _)) = reader.last_batch.filter(|(segment, _, _)| *segment == reader.segment) else { return Ok(None) };
    let mut bytes = [0; BATCH_HEADER_BYTES];
    file.read_at(&mut bytes, start)?;
    Ok(Some((start, bytes)))
}

/// Rewrites the last batch as it was read. If its sync had failed, the page cache holds it marked as clean,
/// but the disk does not have it; only pages that are written again are synced again.
fn rewrite_last<S: Storage>(reader: &Reader<S>, file: &S::File) -> io::Result<()> {
    let Some((_, start, end)) = reader.last_batch.filter(|(segment, _, _)| *segment == reader.segment) else { return Ok(()) };
    let mut bytes = vec![0; in_memory(end - start)];
    file.read_at(&mut bytes, start)?;
    file.write_at(&bytes, start)
}

/// Overwrites with zeros what was never synced, and syncs the zeros.
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
