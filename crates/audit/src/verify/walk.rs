//! Reads the journal from the first batch to the last, checking the chain and each record.

use std::sync::Arc;

use domain::wire::decode_record;
use journal::format::{BATCH_HEADER_BYTES, BatchHeader, Chain, JournalId, RecordBytes, Records, SEGMENT_HEADER_BYTES};
use journal::reader::{ReadError, Reader};
use journal::scan::End;
use journal::storage::{FileStorage, Storage, StorageFile};
use journal::{Damage, Lsn, segments};
use oracle::Oracle;

use super::VerifyError;
use super::findings::{Findings, Place, Report};
use super::records;

/// How often the end is determined again in a journal that grows meanwhile.
const ROUNDS_MAX: u32 = 3;

/// The reader, and the state up to the last checked record.
pub(super) struct Walk {
    storage: Arc<FileStorage>,
    reader: Reader<FileStorage>,
    oracle: Oracle,
    /// The batch in which reading stopped.
    held: Option<Held>,
    checked: Lsn,
    chain: Chain,
    segment: u64,
    offset_end: u64,
    is_damaged: bool,
    pub(super) batches_count: u64,
    pub(super) bytes_count: u64,
}

struct Held {
    body: Vec<u8>,
    first: Place,
    last: Lsn,
}

impl Walk {
    pub(super) fn new(storage: Arc<FileStorage>, reader: Reader<FileStorage>) -> Self {
        Self {
            storage,
            reader,
            oracle: Oracle::default(),
            held: None,
            checked: Lsn::ZERO,
            chain: [0; 32],
            segment: 1,
            offset_end: SEGMENT_HEADER_BYTES,
            is_damaged: false,
            batches_count: 0,
            bytes_count: 0,
        }
    }

    pub(super) fn storage(&self) -> &FileStorage {
        &self.storage
    }

    pub(super) fn journal_id(&self) -> JournalId {
        self.reader.journal_id()
    }

    /// The last record that was checked.
    pub(super) fn checked(&self) -> Lsn {
        self.checked
    }

    pub(super) fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Whether damage prevents reading further.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Checks records up to and including `last`, or up to the end.
    pub(super) fn read_until(&mut self, last: Lsn, findings: &mut Findings) -> Result<(), VerifyError> {
        self.check_held(last, findings);
        while self.held.is_none() && self.checked < last && !self.is_damaged {
            let batch = match self.reader.next_batch(None) {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(ReadError::Damaged(damage)) => {
                    self.damaged("hole", &damage, findings);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let (header, offset) = (batch.header, batch.offset);
            let first = Place { lsn: header.first_lsn, segment: header.segment, offset };
            if !batch.is_linked() {
                Report { findings, place: first }.broken("chain", "the chain does not follow from the records of the batch");
            }
            self.batches_count += 1;
            self.bytes_count += header.total_bytes();
            self.chain = header.chain;
            (self.segment, self.offset_end) = (header.segment, offset + header.total_bytes());
            if header.last_lsn() <= last {
                self.checked = check_records(&mut self.oracle, batch.body, first, self.checked, last, findings);
            } else {
                self.held = Some(Held { body: batch.body.to_vec(), first, last: header.last_lsn() });
            }
        }
        self.check_held(last, findings);
        Ok(())
    }

    /// Checks the remaining records, and judges the end.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> Result<(), VerifyError> {
        for _ in 0..ROUNDS_MAX {
            self.read_until(Lsn(u64::MAX), findings)?;
            if self.is_damaged || self.judge_end(findings)? {
                return Ok(());
            }
        }
        findings.note(format!("the journal grows meanwhile; this verdict is about the records up to {}", self.checked));
        Ok(())
    }

    /// Judges the end; `false` if the journal has grown meanwhile.
    fn judge_end(&mut self, findings: &mut Findings) -> Result<bool, VerifyError> {
        let damage = match self.reader.judge_end() {
            Ok(end) => return self.check_end(&end, findings).map(|()| true),
            Err(ReadError::Damaged(damage)) => damage,
            Err(error) => return Err(error.into()),
        };
        // An apparent hole may have been filled by the server since: then it can be read now.
        let before = self.checked;
        self.read_until(Lsn(u64::MAX), findings)?;
        if before < self.checked || self.is_damaged {
            return Ok(self.is_damaged);
        }
        self.damaged(self.kind_of_damage()?, &damage, findings);
        Ok(true)
    }

    fn check_end(&mut self, end: &End, findings: &mut Findings) -> Result<(), VerifyError> {
        let Some(torn) = &end.torn else { return Ok(()) };
        if self.kind_of_damage()? == "chain" {
            self.damaged("chain", torn, findings);
        } else {
            findings.note(torn.to_string());
        }
        Ok(())
    }

    fn damaged(&mut self, promise: &'static str, damage: &Damage, findings: &mut Findings) {
        self.is_damaged = true;
        findings.broken(promise, damage.to_string());
    }

    /// Whether the place where reading stopped has an intact header with the next LSN but another chain
    /// value, or something is missing.
    fn kind_of_damage(&self) -> Result<&'static str, VerifyError> {
        let candidates = [(self.segment, self.offset_end), (self.segment + 1, SEGMENT_HEADER_BYTES)];
        for (segment, offset) in candidates {
            let Some(header) = read_header(&self.storage, segment, offset)? else { continue };
            if header.first_lsn == self.checked.next() && header.journal == self.journal_id() && header.chain_before != self.chain {
                return Ok("chain");
            }
        }
        Ok("hole")
    }

    fn check_held(&mut self, last: Lsn, findings: &mut Findings) {
        let Some(held) = self.held.take() else { return };
        self.checked = check_records(&mut self.oracle, &held.body, held.first, self.checked, last, findings);
        if self.checked < held.last {
            self.held = Some(held);
        }
    }
}

/// Checks the records of a batch after `after` and up to `last`; returns the last checked LSN.
fn check_records(oracle: &mut Oracle, body: &[u8], first: Place, after: Lsn, last: Lsn, findings: &mut Findings) -> Lsn {
    let mut checked = after;
    for (record, lsn) in Records::new(body).zip((first.lsn.0..).map(Lsn)) {
        if after < lsn && lsn <= last {
            check_record(oracle, &record, &mut Report { findings, place: Place { lsn, ..first } });
            checked = lsn;
        }
    }
    checked
}

fn check_record(oracle: &mut Oracle, record: &RecordBytes<'_>, report: &mut Report<'_>) {
    match decode_record(record.body, record.private_bytes()) {
        Ok(record) => records::check(oracle, &record, report),
        Err(error) => report.broken("undecodable", &error.to_string()),
    }
}

fn read_header(storage: &FileStorage, segment: u64, offset: u64) -> Result<Option<BatchHeader>, VerifyError> {
    let file = segments::name_of(segment);
    let failed = |source| VerifyError::Journal(ReadError::Io { file: file.clone(), source });
    let opened = match storage.open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    if opened.size().map_err(failed)? < offset + BATCH_HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; BATCH_HEADER_BYTES];
    opened.read_at(&mut bytes, offset).map_err(failed)?;
    Ok(BatchHeader::decode(&bytes))
}

#[cfg(test)]
mod tests {
    use journal::batch::Batch;
    use journal::segments::SEGMENT_BYTES_MIN;
    use journal::writer::{Journal, Options};

    use super::*;

    fn append(journal: &mut Journal<FileStorage>) {
        let mut batch = Batch::new();
        batch.push(|body, _| body.push(0));
        journal.append(&mut batch).unwrap();
    }

    #[test]
    fn what_is_written_between_reading_and_judging_is_no_hole() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(FileStorage::open_folder(folder.path()).unwrap());
        let options = Options { segment_bytes: SEGMENT_BYTES_MIN, new_id: [9; 16], salt_seed: [3; 32] };
        let (mut journal, _) = Journal::open(&storage, &options, Lsn::ZERO, |_, _| Ok(())).unwrap();
        append(&mut journal);
        let reader = Reader::open(Arc::clone(&storage), Lsn::ZERO).unwrap().unwrap();
        let (mut walk, mut findings) = (Walk::new(storage, reader), Findings::default());
        walk.read_until(Lsn(u64::MAX), &mut findings).unwrap();
        append(&mut journal);
        append(&mut journal);
        assert!(!walk.judge_end(&mut findings).unwrap());
        assert_eq!((walk.is_damaged(), walk.checked()), (false, Lsn(3)));
        assert!(walk.judge_end(&mut findings).unwrap());
        assert!(!walk.is_damaged());
    }
}
