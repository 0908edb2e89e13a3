//! Real journals in a folder, of records that nobody has decided: honest or forged.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

pub mod process;
#[cfg(feature = "scaled")]
pub mod scaled;
pub mod server;
pub mod tokens;

pub use testing::http;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use domain::coupon::{Coupon, Event, Settings};
use domain::request::{Fingerprint, Keyed};
use domain::state::{Change, Done, Record};
use domain::types::{ActorId, Name, Quantity, RequestId, RequestKey, Serial, SubjectId, Timestamp};
use domain::wire::{Position, decode_record, encode_record};
use domain::workload::AnySettings;
use domain::{Listed, Number};
use firstcome::verify::{self, Verdict};
use journal::batch::Batch;
use journal::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES};
use journal::reader::Reader;
use journal::segments::SEGMENT_BYTES_MIN;
use journal::storage::FileStorage;
use journal::writer::{Journal, Options};
use journal::{Lsn, segments};
use projection::History;
use tempfile::TempDir;

pub const JOURNAL: [u8; 16] = [9; 16];
const OPTIONS: Options = Options { segment_bytes: SEGMENT_BYTES_MIN, new_id: JOURNAL, salt_seed: [3; 32] };

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

pub fn settings(stock: u32) -> Settings {
    let stock = Quantity::new(stock).unwrap();
    Settings::plain(stock)
}

/// The settings with the number of a code key, which the program sets.
fn with_key(settings: Settings) -> AnySettings {
    AnySettings::Campaign(Settings { code_key: 1, ..settings })
}

pub fn created(number: u32, name: &str, settings: Settings) -> Change<'_> {
    Change::Created { number: Number(number), name: Name::new(name).unwrap(), settings: with_key(settings) }
}

pub fn changed(number: u32, settings: Settings) -> Change<'static> {
    Change::Changed { number: Number(number), settings: with_key(settings) }
}

/// Something that happened in an aggregate of this number.
pub fn did<W: Listed>(number: u32, event: W::Event<'_>) -> Change<'_> {
    Change::Did(Done { number: Number(number), event: W::any_event(event) })
}

pub fn claimed(number: u32, serial: u32, subject: &str) -> Change<'_> {
    did::<Coupon>(number, Event::Claimed { serial: Serial::new(serial).unwrap(), subject: SubjectId::new(subject).unwrap() })
}

pub fn accepted(number: u32, serial: u32, subject: &str) -> Change<'_> {
    did::<Coupon>(number, Event::Accepted { serial: Serial::new(serial).unwrap(), subject: SubjectId::new(subject).unwrap() })
}

pub fn decided(number: u32, serial: u32, subject: &str) -> Change<'_> {
    did::<Coupon>(number, Event::Decided { serial: Serial::new(serial).unwrap(), subject: SubjectId::new(subject).unwrap() })
}

pub fn redeemed(number: u32, serial: u32) -> Change<'static> {
    did::<Coupon>(number, Event::Redeemed { serial: Serial::new(serial).unwrap() })
}

pub fn cancelled(number: u32, serial: u32) -> Change<'static> {
    did::<Coupon>(number, Event::Cancelled { serial: Serial::new(serial).unwrap() })
}

pub fn record(millis: u64, change: Change<'_>) -> Record<'_> {
    let request_id = RequestId::new("r-1").unwrap();
    Record { at: at(millis), actor: ActorId::LOCAL, request_id, request: None, change }
}

pub fn keyed<'a>(key: &'a str, record: Record<'a>) -> Record<'a> {
    let request = Keyed { key: RequestKey::new(key).unwrap(), fingerprint: Fingerprint([1; 16]) };
    Record { request: Some(request), ..record }
}

/// A data folder with a journal that is open for appending.
pub struct Data {
    pub folder: TempDir,
    pub storage: Arc<FileStorage>,
    journal: Journal<FileStorage>,
}

impl Data {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(FileStorage::open_folder(&folder.path().join("journal")).unwrap());
        let (journal, _) = Journal::open(&storage, &OPTIONS, Lsn::ZERO, |_, _| Ok(())).unwrap();
        Self { folder, storage, journal }
    }

    /// A campaign of 5 units with claims by ann, bob and cat; the second is cancelled. 5 records
    /// in 5 batches.
    pub fn spring() -> Self {
        let mut data = Self::new();
        data.append(&[record(10, created(0, "spring", settings(5)))]);
        data.append(&[record(20, claimed(0, 1, "ann"))]);
        data.append(&[record(20, claimed(0, 2, "bob"))]);
        data.append(&[record(30, claimed(0, 3, "cat"))]);
        data.append(&[record(40, cancelled(0, 2))]);
        data
    }

    /// Appends records as one batch.
    pub fn append(&mut self, records: &[Record<'_>]) {
        let mut batch = Batch::new();
        for record in records {
            batch.push(|body, private| encode_record(record, body, private));
        }
        self.journal.spares().prepare(&*self.storage).unwrap();
        self.journal.append(&mut batch).unwrap();
    }

    pub fn last(&self) -> u64 {
        self.journal.last_lsn().0
    }

    pub fn history_path(&self) -> PathBuf {
        self.folder.path().join(verify::HISTORY_FILE)
    }

    /// Brings the history up to this record.
    pub fn project(&self, last: u64) {
        let mut history = History::open(&self.history_path(), JOURNAL).unwrap();
        let mut reader = Reader::open(Arc::clone(&self.storage), Lsn::ZERO).unwrap().unwrap();
        while let Some(batch) = reader.next_batch(None).unwrap() {
            let records = batch.records().filter(|(lsn, _)| lsn.0 <= last);
            let decoded = records.map(|(lsn, record)| (Position(lsn.0), decode_record(record.body, record.private_bytes()).unwrap()));
            history.apply(decoded.collect::<Vec<_>>()).unwrap();
        }
    }

    /// Changes the history's tables behind everybody's back.
    pub fn forge_rows(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.history_path()).unwrap();
        db.execute_batch(sql).unwrap();
    }

    pub fn verify(&self) -> Verdict {
        verify::run(self.folder.path()).unwrap()
    }

    pub fn segment_path(&self) -> PathBuf {
        self.storage.folder().join(segments::name_of(1))
    }

    /// Changes the first segment's bytes; `change` also gets where each batch starts.
    pub fn forge_bytes(&self, change: impl FnOnce(&mut [u8], &[usize])) {
        let mut bytes = fs::read(self.segment_path()).unwrap();
        let starts = batch_starts(&bytes);
        change(&mut bytes, &starts);
        fs::write(self.segment_path(), bytes).unwrap();
    }
}

fn batch_starts(bytes: &[u8]) -> Vec<usize> {
    let (mut starts, mut offset) = (Vec::new(), usize::try_from(SEGMENT_HEADER_BYTES).unwrap());
    while let Some(header) = header_at(bytes, offset) {
        starts.push(offset);
        offset += usize::try_from(header.total_bytes()).unwrap();
    }
    starts
}

pub fn header_at(bytes: &[u8], offset: usize) -> Option<BatchHeader> {
    BatchHeader::decode(bytes[offset..].first_chunk().unwrap())
}

/// Changes a batch's records and its header, with checksums that fit.
pub fn rewrite(bytes: &mut [u8], offset: usize, change: impl FnOnce(&mut BatchHeader, &mut [u8])) {
    let mut header = header_at(bytes, offset).unwrap();
    let body_start = offset + BATCH_HEADER_BYTES;
    let body = &mut bytes[body_start..body_start + header.body_bytes as usize];
    change(&mut header, body);
    header.body_crc = crc32c::crc32c(body);
    bytes[offset..body_start].copy_from_slice(&header.encode());
}

/// The kinds of broken promises, without repeats.
pub fn kinds(verdict: &Verdict) -> Vec<&'static str> {
    verdict.broken_counts.keys().copied().collect()
}
