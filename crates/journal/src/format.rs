//! The byte layout of segments, batches and records, their checksums and the chain. `docs/journal.md` shows
//! the layouts as tables.
//!
//! A batch is the atomic unit: written at once, synced at once, and present as a whole or not at all. A
//! record in it has a body and a private part. The chain covers the private part by a salted digest, so that
//! the part can later be overwritten by that digest without breaking the chain.

use sha2::{Digest, Sha256};

use crate::Lsn;

/// The journal format that this version writes.
pub const FORMAT: u32 = 1;
/// Offset of a segment's first batch: the segment header has a page of its own.
pub const SEGMENT_HEADER_BYTES: u64 = 4_096;
/// Size of a batch header.
pub const BATCH_HEADER_BYTES: usize = 128;
/// Size of a record header.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Batches and records start at multiples of this.
pub const ALIGN_BYTES: usize = 8;
/// Size of a record's salt.
pub const SALT_BYTES: usize = 16;
/// Size of a digest, and the least space for salt and private part together: the digest that replaces them
/// after an erasure must fit.
pub const DIGEST_BYTES: usize = 32;

// The first byte is not ASCII, so that no name or key inside a record can be mistaken for a header.
const SEGMENT_MAGIC: [u8; 8] = *b"\xF1segmt\r\n";
const BATCH_MAGIC: [u8; 8] = *b"\xF1batch\r\n";
const FLAG_ERASED: u8 = 1;

/// A value of the hash chain.
pub type Chain = [u8; DIGEST_BYTES];
/// The id of one journal: random, in every segment and batch, so that files of two journals
/// cannot be mixed up.
pub type JournalId = [u8; 16];

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The segment's number, from 1 without gaps.
    pub segment: u64,
    /// The journal that the segment belongs to.
    pub journal: JournalId,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentHeaderError {
    /// Not a segment header, or damaged.
    Damaged,
    /// Written by a newer version, in this format.
    Newer(u32),
}

impl SegmentHeader {
    /// The header's bytes, to be written at the start of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 12, &FORMAT.to_le_bytes());
        put(&mut bytes, 16, &self.segment.to_le_bytes());
        put(&mut bytes, 24, &self.journal);
        let crc = crc32c::crc32c(tail(&bytes, 12));
        put(&mut bytes, 8, &crc.to_le_bytes());
        bytes
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// [`SegmentHeaderError`].
    pub fn decode(bytes: &[u8; 64]) -> Result<Self, SegmentHeaderError> {
        if get::<8>(bytes, 0) != SEGMENT_MAGIC || u32::from_le_bytes(get(bytes, 8)) != crc32c::crc32c(tail(bytes, 12)) {
            return Err(SegmentHeaderError::Damaged);
        }
        let format = u32::from_le_bytes(get(bytes, 12));
        if format != FORMAT {
            return Err(SegmentHeaderError::Newer(format));
        }
        Ok(Self { segment: u64::from_le_bytes(get(bytes, 16)), journal: get(bytes, 24) })
    }
}

/// The header of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// CRC-32C of the records.
    pub body_crc: u32,
    /// Size of all records together.
    pub body_bytes: u32,
    /// The number of records, at least 1.
    pub records_count: u32,
    /// The segment that the batch is in.
    pub segment: u64,
    /// The LSN of the first record.
    pub first_lsn: Lsn,
    /// The LSN of the last record that was known to be synced when the batch was written.
    pub synced_lsn: Lsn,
    /// The journal that the batch belongs to.
    pub journal: JournalId,
    /// The chain value before the batch.
    pub chain_before: Chain,
    /// The chain value after the batch.
    pub chain: Chain,
}

impl BatchHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        put(&mut bytes, 0, &BATCH_MAGIC);
        put(&mut bytes, 12, &self.body_crc.to_le_bytes());
        put(&mut bytes, 16, &self.body_bytes.to_le_bytes());
        put(&mut bytes, 20, &self.records_count.to_le_bytes());
        put(&mut bytes, 24, &self.segment.to_le_bytes());
        put(&mut bytes, 32, &self.first_lsn.0.to_le_bytes());
        put(&mut bytes, 40, &self.synced_lsn.0.to_le_bytes());
        put(&mut bytes, 48, &self.journal);
        put(&mut bytes, 64, &self.chain_before);
        put(&mut bytes, 96, &self.chain);
        let crc = crc32c::crc32c(tail(&bytes, 12));
        put(&mut bytes, 8, &crc.to_le_bytes());
        bytes
    }

    /// Decodes a header; `None` if the bytes are no header or are damaged.
    #[must_use]
    pub fn decode(bytes: &[u8; BATCH_HEADER_BYTES]) -> Option<Self> {
        if get::<8>(bytes, 0) != BATCH_MAGIC || u32::from_le_bytes(get(bytes, 8)) != crc32c::crc32c(tail(bytes, 12)) {
            return None;
        }
        let header = Self {
            body_crc: u32::from_le_bytes(get(bytes, 12)),
            body_bytes: u32::from_le_bytes(get(bytes, 16)),
            records_count: u32::from_le_bytes(get(bytes, 20)),
            segment: u64::from_le_bytes(get(bytes, 24)),
            first_lsn: Lsn(u64::from_le_bytes(get(bytes, 32))),
            synced_lsn: Lsn(u64::from_le_bytes(get(bytes, 40))),
            journal: get(bytes, 48),
            chain_before: get(bytes, 64),
            chain: get(bytes, 96),
        };
        // A batch is never empty, and the LSNs of its records, and the next one, must not overflow.
        let has_numbers = header.first_lsn.0.checked_add(u64::from(header.records_count)).is_some();
        (has_numbers && header.first_lsn != Lsn::ZERO && header.records_count != 0).then_some(header)
    }

    /// The LSN of the last record.
    ///
    /// # Panics
    /// If it has no records.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        assert_ne!(self.records_count, 0, "a batch holds a record");
        self.first_lsn.plus(u64::from(self.records_count) - 1)
    }

    /// Size of the header and the records together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Starts the hash of this batch's chain value; the digests of its records are added next, in order.
    #[must_use]
    pub fn link(&self) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(b"firstcome batch 1");
        hash.update(self.chain_before);
        hash.update(self.journal);
        hash.update(self.segment.to_le_bytes());
        hash.update(self.first_lsn.0.to_le_bytes());
        hash.update(self.synced_lsn.0.to_le_bytes());
        hash.update(self.records_count.to_le_bytes());
        hash
    }
}

/// The part of a record that names a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Private<'a> {
    /// The record has no private part.
    None,
    /// The private part, with its salt.
    Kept {
        /// Random, so that the digest of a short text cannot be guessed.
        salt: &'a [u8; SALT_BYTES],
        /// The private part's bytes.
        bytes: &'a [u8],
    },
    /// The private part was erased; only its digest is left.
    Erased {
        /// The salted digest, as [`private_digest`] computes it.
        digest: &'a [u8; DIGEST_BYTES],
    },
}

/// One record, split into its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordBytes<'a> {
    /// The public part.
    pub body: &'a [u8],
    /// The part that names a person.
    pub private: Private<'a>,
}

impl<'a> RecordBytes<'a> {
    /// The private part, empty if there is none; `None` if it was erased.
    #[must_use]
    pub fn private_bytes(&self) -> Option<&'a [u8]> {
        match self.private {
            Private::None => Some(&[]),
            Private::Kept { bytes, .. } => Some(bytes),
            Private::Erased { .. } => None,
        }
    }

    /// The digest of the record that the chain covers.
    #[must_use]
    pub fn digest(&self) -> Chain {
        let mut hash = Sha256::new();
        hash.update((self.body.len() as u64).to_le_bytes());
        hash.update(self.body);
        match self.private {
            Private::None => {}
            Private::Kept { salt, bytes } => hash.update(private_digest(salt, bytes)),
            Private::Erased { digest } => hash.update(digest),
        }
        hash.finalize().into()
    }
}

/// The digest that replaces a private part when it is erased.
#[must_use]
pub fn private_digest(salt: &[u8; SALT_BYTES], bytes: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(bytes);
    hash.finalize().into()
}

/// The offsets of a record's parts, from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordLayout {
    pub(crate) body_bytes: usize,
    pub(crate) private_bytes: usize,
}

impl RecordLayout {
    pub(crate) fn salt_start(self) -> usize {
        RECORD_HEADER_BYTES + self.body_bytes
    }

    pub(crate) fn total_bytes(self) -> usize {
        let private = if self.private_bytes == 0 { 0 } else { (SALT_BYTES + self.private_bytes).max(DIGEST_BYTES) };
        (self.salt_start() + private).next_multiple_of(ALIGN_BYTES)
    }

    pub(crate) fn encode(self) -> Option<[u8; RECORD_HEADER_BYTES]> {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put(&mut bytes, 0, &u32::try_from(self.body_bytes).ok()?.to_le_bytes());
        put(&mut bytes, 4, &u16::try_from(self.private_bytes).ok()?.to_le_bytes());
        Some(bytes)
    }
}

/// Iterates over the records of a batch; ends early if the bytes are malformed.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records in the bytes after a batch's header.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordBytes<'a>;

    fn next(&mut self) -> Option<RecordBytes<'a>> {
        let header = self.rest.first_chunk::<RECORD_HEADER_BYTES>()?;
        let layout = RecordLayout {
            body_bytes: u32::from_le_bytes(get(header, 0)) as usize,
            private_bytes: usize::from(u16::from_le_bytes(get(header, 4))),
        };
        let (record, rest) = self.rest.split_at_checked(layout.total_bytes())?;
        let body = record.get(RECORD_HEADER_BYTES..layout.salt_start())?;
        let private = private_of(record.get(layout.salt_start()..)?, layout, get::<1>(header, 6) == [FLAG_ERASED])?;
        self.rest = rest;
        Some(RecordBytes { body, private })
    }
}

fn private_of(bytes: &[u8], layout: RecordLayout, is_erased: bool) -> Option<Private<'_>> {
    if layout.private_bytes == 0 {
        return Some(Private::None);
    }
    if is_erased {
        return bytes.first_chunk().map(|digest| Private::Erased { digest });
    }
    let (salt, bytes) = bytes.split_first_chunk::<SALT_BYTES>()?;
    Some(Private::Kept { salt, bytes: bytes.get(..layout.private_bytes)? })
}

// These three are for headers, whose fields have fixed offsets in arrays of fixed length.

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let Some(field) = bytes[offset..].first_chunk() else { panic!("a header has {N} bytes at {offset}") };
    *field
}

fn tail(bytes: &[u8], offset: usize) -> &[u8] {
    &bytes[offset..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_digest_when_its_private_part_is_erased() {
        let (salt, private) = ([7; SALT_BYTES], b"ann");
        let kept = RecordBytes { body: b"claimed", private: Private::Kept { salt: &salt, bytes: private } };
        let digest = private_digest(&salt, private);
        let erased = RecordBytes { body: b"claimed", private: Private::Erased { digest: &digest } };
        assert_eq!(kept.digest(), erased.digest());
        let other = RecordBytes { body: b"claimed", private: Private::Kept { salt: &salt, bytes: b"bob" } };
        assert_ne!(kept.digest(), other.digest());
    }

    #[test]
    fn a_private_part_has_room_for_its_digest_however_short() {
        let layout = RecordLayout { body_bytes: 3, private_bytes: 1 };
        assert!(layout.salt_start() + DIGEST_BYTES <= layout.total_bytes());
    }

    #[test]
    fn a_header_with_any_flipped_bit_is_refused() {
        let header = BatchHeader {
            body_crc: 1,
            body_bytes: 2,
            records_count: 3,
            segment: 4,
            first_lsn: Lsn(5),
            synced_lsn: Lsn(4),
            journal: [6; 16],
            chain_before: [7; 32],
            chain: [8; 32],
        };
        assert_eq!(BatchHeader::decode(&header.encode()), Some(header));
        for bit in 0..BATCH_HEADER_BYTES * 8 {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    /// Such a header can be forged, with a valid checksum. Accepted, it would give two records one LSN.
    #[test]
    fn a_header_whose_records_cannot_have_numbers_is_refused() {
        let header = |first_lsn, records_count| BatchHeader {
            body_crc: 1,
            body_bytes: 2,
            records_count,
            segment: 4,
            first_lsn: Lsn(first_lsn),
            synced_lsn: Lsn(0),
            journal: [6; 16],
            chain_before: [7; 32],
            chain: [8; 32],
        };
        for wrong in [header(0, 1), header(1, 0), header(u64::MAX, 1), header(u64::MAX - 1, 2)] {
            assert_eq!(BatchHeader::decode(&wrong.encode()), None, "{wrong:?}");
        }
        let last = header(u64::MAX - 2, 2);
        assert_eq!(BatchHeader::decode(&last.encode()), Some(last));
        assert_eq!(last.last_lsn(), Lsn(u64::MAX - 1));
    }
}
