//! The summary: one pass over the whole journal.

use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use domain::Number;
use domain::state::{Change, Done, Record};
use domain::types::Timestamp;
use domain::wire::decode_record;
use domain::workload::AnySettings;
use journal::Lsn;
use journal::reader::{ReadError, Reader};
use journal::storage::FileStorage;
use journal::{segments, snapshot};
use serde_json::json;

use super::InspectError;
use super::changes::settings_json;
use crate::events::{self, cell_text, rfc3339};
use crate::verify::open_folder;

/// The contents of a journal.
#[derive(Debug, Default)]
pub(super) struct Summary {
    journal_id: String,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    unreadable: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    /// The end of the journal, as text.
    end: String,
    /// A torn tail or a damage, as text.
    trouble: Option<String>,
    aggregates: BTreeMap<Number, Told>,
    snapshots: Vec<Lsn>,
}

/// An aggregate, with counts over its records.
#[derive(Debug)]
struct Told {
    name: String,
    settings: AnySettings,
    is_removed: bool,
    /// The number of events by name, such as `claimed`.
    counts: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn read(storage: &Arc<FileStorage>, snapshots: &Path) -> Result<Self, InspectError> {
        let mut summary = Self { snapshots: list_snapshots(snapshots)?, ..Self::default() };
        summary.segments = segments::list(&**storage).map_err(folder_error)?.len() as u64;
        match summary.read_journal(storage) {
            Err(ReadError::Damaged(damage)) => summary.trouble = Some(format!("DAMAGED: {damage}")),
            other => other?,
        }
        Ok(summary)
    }

    fn read_journal(&mut self, storage: &Arc<FileStorage>) -> Result<(), ReadError> {
        let Some(mut reader) = Reader::open(Arc::clone(storage), Lsn::ZERO)? else { return Ok(()) };
        self.journal_id = HEXLOWER.encode(&reader.journal_id());
        while let Some(batch) = reader.next_batch(None)? {
            self.batches += 1;
            self.bytes += batch.header.total_bytes();
            self.end = format!("{} at offset {}", segments::name_of(batch.header.segment), batch.offset + batch.header.total_bytes());
            for (lsn, record) in batch.records() {
                self.records = lsn.0;
                match decode_record(record.body, record.private_bytes()) {
                    Ok(record) => self.count(&record),
                    Err(_) => self.unreadable += 1,
                }
            }
        }
        self.trouble = reader.judge_end()?.torn.map(|torn| format!("torn tail: {torn}"));
        Ok(())
    }

    fn count(&mut self, record: &Record<'_>) {
        self.first_at.get_or_insert(record.at);
        self.last_at = Some(record.at);
        match record.change {
            Change::Created { number, name, settings } => {
                let name = name.as_str().to_owned();
                let told = Told { name, settings, is_removed: false, counts: BTreeMap::new() };
                self.aggregates.entry(number).or_insert(told);
            }
            Change::Changed { number, settings } => {
                self.aggregates.entry(number).and_modify(|told| told.settings = settings);
            }
            Change::Removed { number } => {
                self.aggregates.entry(number).and_modify(|told| told.is_removed = true);
            }
            Change::Did(_) | Change::DidBoth(..) => record.change.events().for_each(|done| self.count_done(&done)),
            Change::RequestsForgotten { .. } | Change::TimeSet { .. } => {}
        }
    }

    fn count_done(&mut self, done: &Done<'_>) {
        let Some(told) = self.aggregates.get_mut(&done.number) else { return };
        *told.counts.entry(events::word(&done.event)).or_default() += 1;
    }

    /// The name of an aggregate; its number if it has none.
    pub(super) fn name_of(&self, number: Number) -> String {
        self.aggregates.get(&number).map_or_else(|| format!("#{}", number.0), |told| told.name.clone())
    }

    /// The word for an aggregate's kind.
    pub(super) fn word_of(&self, number: Number) -> &'static str {
        self.aggregates.get(&number).map_or("aggregate", |told| told.settings.kind().word())
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "none".to_owned(), rfc3339);
        writeln!(out, "journal     {}", self.journal_id)?;
        writeln!(out, "segments    {}", self.segments)?;
        writeln!(out, "batches     {} ({} bytes)", self.batches, self.bytes)?;
        writeln!(out, "records     {}", self.records)?;
        writeln!(out, "first time  {}", time(self.first_at))?;
        writeln!(out, "last time   {}", time(self.last_at))?;
        writeln!(out, "end         {}", self.end)?;
        if 0 < self.unreadable {
            writeln!(out, "unreadable  {} records", self.unreadable)?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(out, "{trouble}")?;
        }
        for told in self.aggregates.values() {
            let counts: String = told.counts.iter().map(|(word, count)| format!(" {word}={count}")).collect();
            let removed = if told.is_removed { " removed" } else { "" };
            writeln!(out, "{:<11} {}{}{counts}{removed}", told.settings.kind().word(), told.name, told.settings_text())?;
        }
        self.snapshots.iter().try_for_each(|lsn| writeln!(out, "snapshot    at record {lsn}"))
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let journal = json!({
            "kind": "journal",
            "id": self.journal_id,
            "segments": self.segments,
            "batches": self.batches,
            "bytes": self.bytes,
            "records": self.records,
            "unreadable": self.unreadable,
            "first_at": self.first_at.map(rfc3339),
            "last_at": self.last_at.map(rfc3339),
            "end": self.end,
            "trouble": self.trouble,
        });
        writeln!(out, "{journal}")?;
        for told in self.aggregates.values() {
            let (kind, settings) = (told.settings.kind().word(), settings_json(&told.settings));
            let told =
                json!({ "kind": kind, "name": told.name, "settings": settings, "counts": told.counts, "is_removed": told.is_removed });
            writeln!(out, "{told}")?;
        }
        self.snapshots.iter().try_for_each(|lsn| writeln!(out, "{}", json!({ "kind": "snapshot", "lsn": lsn.0 })))
    }
}

impl Told {
    /// The required settings: ` stock=5`.
    fn settings_text(&self) -> String {
        let given = self.settings.values().into_iter().filter(|(field, _)| field.is_required);
        given.map(|(field, value)| format!(" {}={}", field.name, cell_text(&value.into()))).collect()
    }
}

fn list_snapshots(folder: &Path) -> Result<Vec<Lsn>, InspectError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(snapshot::list(&*open_folder(folder)?).map_err(folder_error)?)
}

fn folder_error(source: io::Error) -> ReadError {
    ReadError::Io { file: "the folder".to_owned(), source }
}
