//! Reads batches in order, from any record on: at start, for the feed, and for verification.

use std::io;
use std::sync::Arc;

use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, Chain, JournalId, RecordBytes, Records, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentHeaderError,
};
use crate::storage::{Storage, StorageFile};
use crate::{Damage, Lsn, batch, scan, segments};

/// Size of a read: many small batches come with one call.
const READ_BYTES: u64 = 1 << 20;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A disk call failed. This is no damage: the data may be intact.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file's name.
        file: String,
        /// The storage's error.
        source: io::Error,
    },
    /// Records that were synced are missing or changed.
    #[error("the journal is damaged: {0}")]
    Damaged(Damage),
    /// A newer version wrote the file.
    #[error("{file} has format {format}; this version reads formats up to 1")]
    Newer {
        /// The file's name.
        file: String,
        /// The file's format number.
        format: u32,
    },
}

/// One batch as read.
#[derive(Clone, Copy, Debug)]
pub struct ReadBatch<'a> {
    /// The batch's header.
    pub header: BatchHeader,
    /// The records' bytes.
    pub body: &'a [u8],
    /// The offset of the batch in its segment.
    pub offset: u64,
}

impl<'a> ReadBatch<'a> {
    /// The records with their LSNs.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, RecordBytes<'a>)> + 'a {
        let first = self.header.first_lsn;
        Records::new(self.body).zip(0..).map(move |(record, place)| (first.plus(place), record))
    }

    /// Whether the chain value in the header follows from the records.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        batch::chain_of(&self.header, self.body) == self.header.chain
    }
}

/// Reads a journal from any LSN on, without changing it.
#[derive(Debug)]
pub struct Reader<S: Storage> {
    storage: Arc<S>,
    pub(crate) journal: JournalId,
    file: S::File,
    file_bytes: u64,
    pub(crate) segment: u64,
    pub(crate) segments_last: u64,
    pub(crate) offset: u64,
    pub(crate) next_lsn: Lsn,
    /// `None` before the first batch that is read, unless that is the journal's first.
    pub(crate) chain: Option<Chain>,
    /// The last batch that was passed: its segment, start and end.
    pub(crate) last_batch: Option<(u64, u64, u64)>,
    buffer: Vec<u8>,
    buffer_start: u64,
    /// Why the last [`Reader::next_batch`] found no batch.
    stop: &'static str,
}

impl<S: Storage> Reader<S> {
    /// Opens a journal to read the batches that hold records after `after`; `None` if it has no segment yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(storage: Arc<S>, after: Lsn) -> Result<Option<Self>, ReadError> {
        let numbers = segments::list(&*storage).map_err(|source| ReadError::Io { file: "the journal's folder".into(), source })?;
        let Some(last) = numbers.last().copied() else { return Ok(None) };
        if let Some(missing) = (1..=last).zip(&numbers).find_map(|(wanted, found)| (wanted != *found).then_some(wanted)) {
            return Err(damaged(missing, 0, Lsn::ZERO, "a segment is missing"));
        }
        let (file, header) = open_segment(&*storage, 1)?;
        let mut reader = Self {
            storage,
            journal: header.journal,
            file_bytes: size_of(&file, 1)?,
            file,
            segment: 1,
            segments_last: last,
            offset: SEGMENT_HEADER_BYTES,
            next_lsn: Lsn(1),
            chain: Some([0; 32]),
            last_batch: None,
            buffer: Vec::new(),
            buffer_start: 0,
            stop: "the journal ends",
        };
        reader.check_headers()?;
        reader.skip_to(after)?;
        Ok(Some(reader))
    }

    /// The id of the journal.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.journal
    }

    /// The LSN of the next record that will be read.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The next batch; `None` at the end, or once all records up to `durable` are read.
    ///
    /// # Errors
    /// [`ReadError`]; with `durable` given, a missing record up to that LSN is damage.
    pub fn next_batch(&mut self, durable: Option<Lsn>) -> Result<Option<ReadBatch<'_>>, ReadError> {
        if durable.is_some_and(|durable| durable < self.next_lsn) {
            return Ok(None);
        }
        let Some(header) = self.find_next()? else {
            if durable.is_some() {
                return Err(damaged(self.segment, self.offset, self.next_lsn, self.stop));
            }
            return Ok(None);
        };
        let offset = self.offset;
        self.pass(&header);
        let body = self.buffered(offset + BATCH_HEADER_BYTES as u64, header.body_bytes as usize);
        Ok(Some(ReadBatch { header, body, offset }))
    }

    /// After the last batch: finds where exactly the journal ends, and whether it is intact up to there.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if a synced record is missing.
    pub fn judge_end(&self) -> Result<scan::End, ReadError> {
        scan::judge_end(self, self.stop)
    }

    /// All bytes of a segment.
    pub(crate) fn segment_bytes(&self, segment: u64) -> Result<Vec<u8>, ReadError> {
        let (file, _) = open_segment(&*self.storage, segment)?;
        let mut bytes = vec![0; in_memory(size_of(&file, segment)?)];
        file.read_at(&mut bytes, 0).map_err(|source| io_error(segment, source))?;
        Ok(bytes)
    }

    /// Finds the header of the next batch, in this segment or at the start of the next one, and loads the
    /// batch's body into the buffer.
    fn find_next(&mut self) -> Result<Option<BatchHeader>, ReadError> {
        if let Some(header) = self.check_batch()? {
            return Ok(Some(header));
        }
        // The buffer may have been read before the latest batches became durable: read again.
        self.buffer.clear();
        if let Some(header) = self.check_batch()? {
            return Ok(Some(header));
        }
        if self.next_segment_continues()? {
            return self.check_batch();
        }
        Ok(None)
    }

    fn check_batch(&mut self) -> Result<Option<BatchHeader>, ReadError> {
        let Some(header) = self.check_header()? else { return Ok(None) };
        let body_start = self.offset + BATCH_HEADER_BYTES as u64;
        if self.file_bytes < self.offset + header.total_bytes() {
            self.stop = "a batch is longer than its segment";
            return Ok(None);
        }
        self.load(self.offset, header.total_bytes())?;
        let body = self.buffered(body_start, header.body_bytes as usize);
        let is_whole = crc32c::crc32c(body) == header.body_crc && Records::new(body).count() == header.records_count as usize;
        if !is_whole {
            self.stop = "a batch's records are not as they were written";
            return Ok(None);
        }
        Ok(Some(header))
    }

    fn check_header(&mut self) -> Result<Option<BatchHeader>, ReadError> {
        if self.file_bytes < self.offset + BATCH_HEADER_BYTES as u64 {
            self.stop = "the segment ends";
            return Ok(None);
        }
        self.load(self.offset, BATCH_HEADER_BYTES as u64)?;
        let bytes = self.buffered(self.offset, BATCH_HEADER_BYTES).first_chunk();
        let Some(header) = bytes.and_then(BatchHeader::decode) else {
            self.stop = "no valid batch follows";
            return Ok(None);
        };
        if header.journal != self.journal || header.segment != self.segment {
            self.stop = "a batch of another journal or segment";
            return Ok(None);
        }
        if header.first_lsn != self.next_lsn || self.chain.is_some_and(|chain| chain != header.chain_before) {
            self.stop = "a batch does not follow the one before it";
            return Ok(None);
        }
        Ok(Some(header))
    }

    /// Moves on to the next segment if its first batch continues the chain.
    fn next_segment_continues(&mut self) -> Result<bool, ReadError> {
        let next = self.segment + 1;
        if self.segments_last < next {
            let segments = segments::list(&*self.storage).map_err(|source| io_error(next, source))?;
            let last = segments.last().copied();
            self.segments_last = last.ok_or_else(|| damaged(self.segment, 0, self.next_lsn, "the journal's segments are gone"))?;
        }
        if self.segments_last < next {
            return Ok(false);
        }
        let (file, _) = open_segment(&*self.storage, next)?;
        let follows = first_batch(&file, next)?.is_some_and(|header| {
            header.journal == self.journal
                && header.segment == next
                && header.first_lsn == self.next_lsn
                && self.chain.is_none_or(|chain| chain == header.chain_before)
        });
        if follows {
            self.file_bytes = size_of(&file, next)?;
            self.file = file;
            self.segment = next;
            self.offset = SEGMENT_HEADER_BYTES;
            self.buffer.clear();
        }
        Ok(follows)
    }

    fn check_headers(&self) -> Result<(), ReadError> {
        for segment in 1..=self.segments_last {
            let (_, header) = open_segment(&*self.storage, segment)?;
            if header.journal != self.journal || header.segment != segment {
                return Err(damaged(segment, 0, Lsn::ZERO, "a segment of another journal or number"));
            }
        }
        Ok(())
    }

    /// Seeks to the batch that holds the record after `after`, using the first batch of each segment.
    fn skip_to(&mut self, after: Lsn) -> Result<(), ReadError> {
        for segment in (2..=self.segments_last).rev() {
            let (file, _) = open_segment(&*self.storage, segment)?;
            let Some(first) = first_batch(&file, segment)? else { continue };
            // Not where the next record starts a segment: the chain value comes from the batch before it.
            if first.first_lsn <= after {
                self.file_bytes = size_of(&file, segment)?;
                (self.file, self.segment, self.next_lsn) = (file, segment, first.first_lsn);
                self.chain = None;
                break;
            }
        }
        // Within the segment, follow the headers.
        while self.next_lsn <= after {
            let Some(header) = self.check_header()? else { break };
            if after < header.last_lsn() {
                break;
            }
            self.pass(&header);
        }
        Ok(())
    }

    fn pass(&mut self, header: &BatchHeader) {
        let end = self.offset + header.total_bytes();
        self.last_batch = Some((self.segment, self.offset, end));
        self.offset = end;
        self.next_lsn = header.last_lsn().next();
        self.chain = Some(header.chain);
    }

    /// Ensures that these bytes of the segment are in the buffer; the caller has checked that the file has
    /// them.
    fn load(&mut self, start: u64, count: u64) -> Result<(), ReadError> {
        let buffer_end = self.buffer_start + self.buffer.len() as u64;
        if self.buffer_start <= start && start + count <= buffer_end {
            return Ok(());
        }
        let count = count.max(READ_BYTES).min(self.file_bytes - start);
        self.buffer.resize(in_memory(count), 0);
        self.buffer_start = start;
        self.file.read_at(&mut self.buffer, start).map_err(|source| {
            let segment = self.segment;
            io_error(segment, source)
        })
    }

    /// Bytes that [`Reader::load`] has put into the buffer.
    fn buffered(&self, start: u64, count: usize) -> &[u8] {
        let from = in_memory(start - self.buffer_start);
        &self.buffer[from..from + count]
    }
}

/// A number of bytes as `usize`.
pub(crate) fn in_memory(bytes: u64) -> usize {
    let Ok(bytes) = usize::try_from(bytes) else { panic!("{bytes} bytes do not fit this machine's memory") };
    bytes
}

fn open_segment<S: Storage>(storage: &S, segment: u64) -> Result<(S::File, SegmentHeader), ReadError> {
    let file = storage.open(&segments::name_of(segment)).map_err(|source| io_error(segment, source))?;
    if size_of(&file, segment)? < SEGMENT_HEADER_BYTES {
        return Err(damaged(segment, 0, Lsn::ZERO, "a segment is shorter than its header"));
    }
    let mut bytes = [0; 64];
    file.read_at(&mut bytes, 0).map_err(|source| io_error(segment, source))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) => Ok((file, header)),
        Err(SegmentHeaderError::Newer(format)) => Err(ReadError::Newer { file: segments::name_of(segment), format }),
        Err(SegmentHeaderError::Damaged) => Err(damaged(segment, 0, Lsn::ZERO, "a segment's header is not as it was written")),
    }
}

fn first_batch<F: StorageFile>(file: &F, segment: u64) -> Result<Option<BatchHeader>, ReadError> {
    if size_of(file, segment)? < SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; BATCH_HEADER_BYTES];
    file.read_at(&mut bytes, SEGMENT_HEADER_BYTES).map_err(|source| io_error(segment, source))?;
    Ok(BatchHeader::decode(&bytes))
}

fn size_of<F: StorageFile>(file: &F, segment: u64) -> Result<u64, ReadError> {
    file.size().map_err(|source| io_error(segment, source))
}

fn io_error(segment: u64, source: io::Error) -> ReadError {
    ReadError::Io { file: segments::name_of(segment), source }
}

pub(crate) fn damaged(segment: u64, offset: u64, lsn: Lsn, what: &'static str) -> ReadError {
    ReadError::Damaged(Damage { file: segments::name_of(segment), offset, lsn, what })
}
