//! Snapshots: the state at a record, in sections, written under a temporary name and renamed when complete. A
//! snapshot only shortens the start: the journal alone gives the same state.

use std::io;

use sha2::{Digest, Sha256};

use crate::Lsn;
use crate::format::JournalId;
use crate::storage::{Storage, StorageFile};

/// The snapshot format that this version writes.
pub const SNAPSHOT_FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"\xF1snaps\r\n";
const HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 8;
/// The frame length that marks the last frame, which holds the digest.
const END: u32 = u32::MAX;
const WRITE_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".snapshot";
const SUFFIX_NEW: &str = ".snapshot.new";
/// The largest section that is written, or accepted by a reader.
const SECTION_BYTES_MAX: u32 = 64 << 20;

/// The header of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotHeader {
    /// The journal whose state the snapshot holds.
    pub journal: JournalId,
    /// The last record whose effect the snapshot holds.
    pub lsn: Lsn,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("cannot read the snapshot: {0}")]
    Io(#[from] io::Error),
    /// Its bytes are damaged, or its format is unknown to this version.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
}

/// Writes a snapshot and returns the digest of its sections. The caller ensures that the journal is durable
/// up to `header.lsn`.
///
/// # Errors
/// The storage's I/O error, or `InvalidInput` for a section that no reader would accept; the unfinished file
/// is removed.
pub fn write<S: Storage>(storage: &S, header: SnapshotHeader, sections: impl Iterator<Item = Vec<u8>>) -> io::Result<[u8; 32]> {
    let unfinished = format!("{:020}{SUFFIX_NEW}", header.lsn.0);
    let written = write_unfinished(storage, &unfinished, header, sections).and_then(|digest| {
        storage.rename(&unfinished, &name_of(header.lsn))?;
        storage.sync_folder()?;
        Ok(digest)
    });
    if written.is_err() {
        let _ = storage.remove(&unfinished);
    }
    written
}

fn write_unfinished<S: Storage>(
    storage: &S,
    name: &str,
    header: SnapshotHeader,
    sections: impl Iterator<Item = Vec<u8>>,
) -> io::Result<[u8; 32]> {
    if storage.list()?.iter().any(|existing| existing == name) {
        storage.remove(name)?;
    }
    let file = storage.create(name)?;
    let mut out = Out { file: &file, offset: 0, buffer: encode_header(header).to_vec() };
    let mut digest = Sha256::new();
    for section in sections {
        hash_section(&mut digest, &section);
        out.frame(section_length(&section)?, &section)?;
    }
    let digest: [u8; 32] = digest.finalize().into();
    out.frame(END, &digest)?;
    out.flush()?;
    file.sync()?;
    Ok(digest)
}

/// A longer section could be written but not read again.
fn section_length(section: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(section.len()).ok().filter(|length| *length <= SECTION_BYTES_MAX);
    length.ok_or_else(|| {
        let what = format!("a section of the snapshot has {} bytes; {SECTION_BYTES_MAX} at most", section.len());
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

/// The digest of sections: what [`write`] returns for them.
pub fn digest_of(sections: impl Iterator<Item = Vec<u8>>) -> [u8; 32] {
    let mut digest = Sha256::new();
    sections.for_each(|section| hash_section(&mut digest, &section));
    digest.finalize().into()
}

/// The LSNs of all snapshots, newest first.
///
/// # Errors
/// The storage's I/O error.
pub fn list<S: Storage>(storage: &S) -> io::Result<Vec<Lsn>> {
    let mut found: Vec<Lsn> = storage.list()?.iter().filter_map(|name| lsn_of(name)).collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// Removes all but the `keep_count` newest snapshots, and unfinished ones.
///
/// # Errors
/// The storage's I/O error.
pub fn prune<S: Storage>(storage: &S, keep_count: usize) -> io::Result<()> {
    for name in storage.list()?.iter().filter(|name| name.ends_with(SUFFIX_NEW)) {
        storage.remove(name)?;
    }
    for lsn in list(storage)?.into_iter().skip(keep_count) {
        storage.remove(&name_of(lsn))?;
    }
    Ok(())
}

/// Reads a snapshot, section by section.
///
/// # Errors
/// [`SnapshotError`], from the disk, the file, or the callback that takes the sections.
pub fn read<S: Storage>(
    storage: &S,
    lsn: Lsn,
    mut take: impl FnMut(&[u8]) -> Result<(), &'static str>,
) -> Result<SnapshotHeader, SnapshotError> {
    let file = storage.open(&name_of(lsn))?;
    let mut input = In { file: &file, file_bytes: file.size()?, offset: 0, buffer: Vec::new(), place: 0 };
    let header = decode_header(input.take(HEADER_BYTES)?)?;
    if header.lsn != lsn {
        return Err(SnapshotError::Damaged("its name and its header do not agree"));
    }
    loop {
        let frame = input.take(FRAME_HEADER_BYTES)?;
        let (length, crc) = (u32::from_le_bytes(field(frame, 0)), u32::from_le_bytes(field(frame, 4)));
        if length != END && SECTION_BYTES_MAX < length {
            return Err(SnapshotError::Damaged("a section is too long"));
        }
        let bytes = input.take(if length == END { 32 } else { length as usize })?;
        if frame_crc(length, bytes) != crc {
            return Err(SnapshotError::Damaged("a section is not as it was written"));
        }
        if length == END {
            return Ok(header);
        }
        take(bytes).map_err(SnapshotError::Damaged)?;
    }
}

fn name_of(lsn: Lsn) -> String {
    format!("{:020}{SUFFIX}", lsn.0)
}

fn lsn_of(name: &str) -> Option<Lsn> {
    let lsn = Lsn(name.strip_suffix(SUFFIX)?.parse().ok()?);
    (name_of(lsn) == name).then_some(lsn)
}

fn hash_section(digest: &mut Sha256, section: &[u8]) {
    digest.update((section.len() as u64).to_le_bytes());
    digest.update(section);
}

fn encode_header(header: SnapshotHeader) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let fields = MAGIC.iter().chain(&[0; 4]).copied().chain(SNAPSHOT_FORMAT.to_le_bytes());
    let fields = fields.chain(header.journal).chain(header.lsn.0.to_le_bytes());
    bytes.iter_mut().zip(fields).for_each(|(target, byte)| *target = byte);
    let crc = header_crc(&bytes);
    bytes.iter_mut().skip(8).zip(crc.to_le_bytes()).for_each(|(target, byte)| *target = byte);
    bytes
}

fn decode_header(bytes: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    if field(bytes, 0) != MAGIC || u32::from_le_bytes(field(bytes, 8)) != header_crc(bytes) {
        return Err(SnapshotError::Damaged("its header is not as it was written"));
    }
    if u32::from_le_bytes(field(bytes, 12)) != SNAPSHOT_FORMAT {
        return Err(SnapshotError::Damaged("a newer version wrote it"));
    }
    Ok(SnapshotHeader { journal: field(bytes, 16), lsn: Lsn(u64::from_le_bytes(field(bytes, 32))) })
}

/// The checksum over everything after the checksum field itself.
fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes.get(12..).unwrap_or_else(|| unreachable!("a header is longer than its first fields")))
}

/// The bytes of a header field; the caller has read the whole header.
fn field<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let bytes = bytes.get(offset..).and_then(<[u8]>::first_chunk).copied();
    bytes.unwrap_or_else(|| unreachable!("a header is taken as a whole"))
}

fn frame_crc(length: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), bytes)
}

struct Out<'a, F: StorageFile> {
    file: &'a F,
    offset: u64,
    buffer: Vec<u8>,
}

impl<F: StorageFile> Out<'_, F> {
    fn frame(&mut self, length: u32, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&frame_crc(length, bytes).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

struct In<'a, F: StorageFile> {
    file: &'a F,
    file_bytes: u64,
    offset: u64,
    buffer: Vec<u8>,
    place: usize,
}

impl<F: StorageFile> In<'_, F> {
    fn take(&mut self, count: usize) -> Result<&[u8], SnapshotError> {
        if self.buffer.len() < self.place + count {
            self.refill(count)?;
        }
        let start = self.place;
        self.place += count;
        self.buffer.get(start..self.place).ok_or(SnapshotError::Damaged("it ends too early"))
    }

    fn refill(&mut self, count: usize) -> Result<(), SnapshotError> {
        self.buffer.drain(..self.place);
        self.place = 0;
        let wanted = (count - self.buffer.len()).max(WRITE_BYTES) as u64;
        let more = wanted.min(self.file_bytes - self.offset);
        let more = usize::try_from(more).unwrap_or_else(|_| unreachable!("not more than was wanted, which is a usize"));
        if self.buffer.len() + more < count {
            return Err(SnapshotError::Damaged("it ends too early"));
        }
        let start = self.buffer.len();
        self.buffer.resize(start + more, 0);
        let (_, free) = self.buffer.split_at_mut(start);
        self.file.read_at(free, self.offset)?;
        self.offset += more as u64;
        Ok(())
    }
}
