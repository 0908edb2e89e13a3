//! Records on their way to the disk: staged one by one as decisions are made, sealed together when the batch
//! is written.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::Digest;

use crate::Lsn;
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, Chain, JournalId, Private, RECORD_HEADER_BYTES, RecordBytes, RecordLayout, Records, SALT_BYTES,
};

/// The largest body of one record, in bytes; it bounds the size of a batch.
pub const RECORD_BODY_BYTES_MAX: usize = 1 << 20;

/// Records that are decided and not yet written. The buffers are reused from batch to batch.
#[derive(Debug, Default)]
pub struct Batch {
    /// Space for the batch's header, then the records in their disk layout, with salts still zero.
    bytes: Vec<u8>,
    private: Vec<u8>,
    records_count: u32,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of staged records.
    #[must_use]
    pub fn records_count(&self) -> u32 {
        self.records_count
    }

    /// Whether no record is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records_count == 0
    }

    /// The batch's size on disk.
    #[must_use]
    pub fn bytes_count(&self) -> u64 {
        (self.bytes.len() as u64).max(BATCH_HEADER_BYTES as u64)
    }

    /// Stages one record: `write` appends its body and its private part to the two buffers.
    ///
    /// # Panics
    /// If the body is over [`RECORD_BODY_BYTES_MAX`] or the private part over 65,535 bytes: the
    /// caller bounds both.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
        if self.bytes.is_empty() {
            self.bytes.resize(BATCH_HEADER_BYTES, 0);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        self.private.clear();
        write(&mut self.bytes, &mut self.private);
        let layout = RecordLayout { body_bytes: self.bytes.len() - start - RECORD_HEADER_BYTES, private_bytes: self.private.len() };
        assert!(layout.body_bytes <= RECORD_BODY_BYTES_MAX, "a record's body has a limit");
        let Some(header) = layout.encode() else { panic!("a record's private part has a limit") };
        self.bytes[start..start + RECORD_HEADER_BYTES].copy_from_slice(&header);
        if !self.private.is_empty() {
            self.bytes.extend_from_slice(&[0; SALT_BYTES]);
            self.bytes.extend_from_slice(&self.private);
        }
        self.bytes.resize(start + layout.total_bytes(), 0);
        self.records_count += 1;
    }

    /// Removes all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records_count = 0;
    }

    /// Fills in the salts, links the records to the chain, and returns the bytes to write and the chain after
    /// them.
    ///
    /// # Panics
    /// If the batch is empty or has 4 GiB or more: the staging code bounds batches.
    pub(crate) fn seal(&mut self, place: &Place, salts: &mut Salts) -> (&[u8], Chain) {
        self.fill_salts(salts);
        let Some((target, body)) = self.bytes.split_first_chunk_mut() else { panic!("a batch that is sealed holds a record") };
        let Ok(body_bytes) = u32::try_from(body.len()) else { panic!("a batch of {} bytes is too long", body.len()) };
        let mut header = BatchHeader {
            body_crc: crc32c::crc32c(body),
            body_bytes,
            records_count: self.records_count,
            segment: place.segment,
            first_lsn: place.first_lsn,
            synced_lsn: place.synced_lsn,
            journal: place.journal,
            chain_before: place.chain_before,
            chain: [0; 32],
        };
        header.chain = chain_of(&header, body);
        *target = header.encode();
        (&self.bytes, header.chain)
    }

    fn fill_salts(&mut self, salts: &mut Salts) {
        let starts: Vec<usize> = salt_starts(&self.bytes[BATCH_HEADER_BYTES..]).collect();
        for start in starts {
            let start = BATCH_HEADER_BYTES + start;
            salts.0.fill_bytes(&mut self.bytes[start..start + SALT_BYTES]);
        }
    }
}

fn salt_starts(body: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut end = 0;
    Records::new(body).filter_map(move |record| {
        let private_bytes = record.private_bytes().map_or(0, <[u8]>::len);
        let layout = RecordLayout { body_bytes: record.body.len(), private_bytes };
        let start = end + layout.salt_start();
        end += layout.total_bytes();
        matches!(record.private, Private::Kept { .. }).then_some(start)
    })
}

/// The chain value after a batch with this header and these records.
#[must_use]
pub fn chain_of(header: &BatchHeader, body: &[u8]) -> Chain {
    let mut link = header.link();
    for record in Records::new(body) {
        link.update(RecordBytes::digest(&record));
    }
    link.finalize().into()
}

/// The position at which a batch will be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) journal: JournalId,
    pub(crate) segment: u64,
    pub(crate) first_lsn: Lsn,
    pub(crate) synced_lsn: Lsn,
    pub(crate) chain_before: Chain,
}

/// Salts from a secret seed that is never stored, so that no salt can be derived from the others.
#[derive(Debug)]
pub struct Salts(ChaCha12Rng);

impl Salts {
    /// Salts from this seed: from the operating system in production, from the run's seed in the simulation.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }
}
