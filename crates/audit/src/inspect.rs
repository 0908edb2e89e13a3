//! Shows the contents of a journal without judging it: a summary, and each record if requested.
//!
//! As JSON, every line is one object; its `kind` says which: one `journal`, one for each aggregate
//! (`campaign`, `policy`), a `snapshot` for each snapshot, and a `record` for each requested record.

mod changes;
mod summary;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use domain::state::Record;
use domain::wire::decode_record;
use journal::Lsn;
use journal::format::RecordBytes;
use journal::reader::{ReadError, Reader};
use journal::storage::FileStorage;
use serde_json::{Value, json};

use crate::events::rfc3339;
use crate::verify::{JOURNAL_FOLDER, VerifyError, open_folder};
use summary::Summary;

/// The folder of the snapshots in the data folder.
pub const SNAPSHOTS_FOLDER: &str = "snapshots";

/// What to show, and in which form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The records to show; `None`: the summary only.
    pub records: Option<RecordRange>,
    /// The form of the output.
    pub form: Form,
}

/// A run of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordRange {
    /// The first record; 0 and 1 mean from the beginning.
    pub from: Lsn,
    /// Most records to show; `None`: all.
    pub limit: Option<u64>,
}

/// The form of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Lines for people.
    #[default]
    Text,
    /// Lines of JSON.
    JsonLines,
}

/// Why inspecting ended early.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The journal's folder cannot be read.
    #[error(transparent)]
    Open(#[from] VerifyError),
    /// A part of the journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Shows the journal of a data folder, of a running server or a stopped one.
///
/// # Errors
/// [`InspectError`]; damage inside the journal is shown, and is no error.
pub fn run(data: &Path, options: &Options, out: &mut dyn Write) -> Result<(), InspectError> {
    let storage = open_folder(&data.join(JOURNAL_FOLDER))?;
    let summary = Summary::read(&storage, &data.join(SNAPSHOTS_FOLDER))?;
    match options.form {
        Form::Text => summary.write_text(out)?,
        Form::JsonLines => summary.write_json(out)?,
    }
    if let Some(range) = options.records {
        write_records(&storage, &range, options.form, &summary, out)?;
    }
    Ok(())
}

fn write_records(
    storage: &Arc<FileStorage>,
    range: &RecordRange,
    form: Form,
    summary: &Summary,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let after = Lsn(range.from.0.saturating_sub(1));
    let Some(mut reader) = Reader::open(Arc::clone(storage), after)? else { return Ok(()) };
    let mut left = range.limit.unwrap_or(u64::MAX);
    while 0 < left {
        let Some(batch) = reader.next_batch(None)? else { break };
        for (lsn, record) in batch.records().filter(|(lsn, _)| after < *lsn) {
            if left == 0 {
                break;
            }
            left -= 1;
            write_record(lsn, &record, form, summary, out)?;
        }
    }
    Ok(())
}

fn write_record(lsn: Lsn, bytes: &RecordBytes<'_>, form: Form, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    match (decode_record(bytes.body, bytes.private_bytes()), form) {
        (Ok(record), Form::Text) => writeln!(out, "{}", record_text(lsn, &record, summary)),
        (Ok(record), Form::JsonLines) => writeln!(out, "{}", record_json(lsn, &record, summary)),
        (Err(error), Form::Text) => writeln!(out, "{lsn} UNREADABLE {error}"),
        (Err(error), Form::JsonLines) => writeln!(out, "{}", json!({ "kind": "record", "lsn": lsn.0, "error": error.to_string() })),
    }
}

/// `12 2026-01-02T03:04:05.006Z local r-1 claimed spring serial=3 subject=ann request_key=k-1`
fn record_text(lsn: Lsn, record: &Record<'_>, summary: &Summary) -> String {
    let key = record.request.map(|request| format!(" request_key={}", request.key.as_str())).unwrap_or_default();
    let (at, change) = (rfc3339(record.at), changes::text(&record.change, summary));
    format!("{lsn} {at} {} {} {change}{key}", record.actor, record.request_id)
}

/// Members of every record: `kind`, `lsn`, `at`, `actor`, `request_id`, `request_key` (or null), and those of
/// its change: [`changes::json`].
fn record_json(lsn: Lsn, record: &Record<'_>, summary: &Summary) -> Value {
    let mut line = json!({
        "kind": "record",
        "lsn": lsn.0,
        "at": rfc3339(record.at),
        "actor": record.actor.as_str(),
        "request_id": record.request_id.as_str(),
        "request_key": record.request.map(|request| request.key.as_str()),
    });
    let added = changes::json(&record.change, summary);
    if let (Some(line), Value::Object(added)) = (line.as_object_mut(), added) {
        line.extend(added);
    }
    line
}
