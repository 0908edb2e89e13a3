//! Recomputes every promise from the journal alone, and compares the history with the result; in `scaled`,
//! from Kafka's log.
//!
//! The rules are those of the oracle, which states them a second time in another way: decisions must not be verified
//! by the code that made them. Only the formats are shared. Nothing is changed, and a running server is not
//! disturbed: what it writes meanwhile is read too, and the batch that it is writing looks like a torn tail.
//!
//! The history may be behind the journal. It is compared with the state at its own position: reading the
//! journal stops there, compares, and continues.

mod compare;
mod findings;
mod merge;
mod records;
#[cfg(feature = "scaled")]
pub mod scaled;
mod verdict;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::Lsn;
use journal::reader::{ReadError, Reader};
use journal::storage::FileStorage;
use projection::HistoryReader;

use findings::Findings;
use walk::Walk;

pub use findings::{BROKEN_KEPT_MAX, Broken};
pub use verdict::{Counts, Verdict};

/// The folder of the journal in the data folder.
pub const JOURNAL_FOLDER: &str = "journal";
/// The file of the history in the data folder.
pub const HISTORY_FILE: &str = "history.sqlite";
/// Long enough to read all rows of the largest history.
const COMPARE_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// Why there is no verdict. None of these is a broken promise.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to verify.
    #[error("there is no journal in {0}")]
    NoJournal(PathBuf),
    /// The journal's folder cannot be read.
    #[error("cannot read {folder}: {source}")]
    Folder {
        /// The folder's path.
        folder: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The journal cannot be read; this is not damage.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The history cannot be read; this is not damage.
    #[error(transparent)]
    History(#[from] projection::ReadError),
}

/// Verifies a data folder, of a running server or a stopped one.
///
/// # Errors
/// [`VerifyError`] if there is no verdict; broken promises are in the [`Verdict`].
pub fn run(data: &Path) -> Result<Verdict, VerifyError> {
    let mut findings = Findings::default();
    let storage = open_folder(&data.join(JOURNAL_FOLDER))?;
    let reader = match Reader::open(Arc::clone(&storage), Lsn::ZERO) {
        Ok(Some(reader)) => reader,
        Ok(None) => return Err(VerifyError::NoJournal(data.to_owned())),
        Err(ReadError::Damaged(damage)) => {
            findings.broken("hole", damage.to_string());
            return Ok(Verdict::without_walk(findings));
        }
        Err(error) => return Err(error.into()),
    };
    let mut walk = Walk::new(storage, reader);
    let history_position = verify_history(&data.join(HISTORY_FILE), &mut walk, &mut findings)?;
    walk.finish(&mut findings)?;
    if let Some(position) = history_position {
        check_not_ahead(position, &walk, &mut findings);
    }
    let segments = journal::segments::list(walk.storage()).map_err(|source| folder_error(&data.join(JOURNAL_FOLDER), source))?;
    Ok(Verdict::new(&walk, segments.len() as u64, history_position, findings))
}

/// Opens a folder that must exist.
pub(crate) fn open_folder(folder: &Path) -> Result<Arc<FileStorage>, VerifyError> {
    if !folder.is_dir() {
        return Err(VerifyError::NoJournal(folder.to_owned()));
    }
    FileStorage::open_folder(folder).map(Arc::new).map_err(|source| folder_error(folder, source))
}

fn folder_error(folder: &Path, source: io::Error) -> VerifyError {
    VerifyError::Folder { folder: folder.to_owned(), source }
}

/// Reads the journal up to the history's position and compares there; returns the position.
fn verify_history(path: &Path, walk: &mut Walk, findings: &mut Findings) -> Result<Option<Lsn>, VerifyError> {
    match compare_history(path, walk, findings) {
        Ok(position) => Ok(Some(position)),
        Err(VerifyError::History(projection::ReadError::Missing(_))) => {
            findings.note("there is no history to compare with".to_owned());
            Ok(None)
        }
        Err(VerifyError::History(error @ projection::ReadError::OtherSchema { .. })) => {
            findings.note(format!("the history is not compared: {error}"));
            Ok(None)
        }
        Err(VerifyError::History(projection::ReadError::Damaged(what))) => {
            findings.broken("history_damaged", what);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn compare_history(path: &Path, walk: &mut Walk, findings: &mut Findings) -> Result<Lsn, VerifyError> {
    let mut reader = HistoryReader::open(path)?.with_time_max(COMPARE_TIME_MAX);
    // Most of the journal is read before the view is opened: while a view is open, the running server cannot
    // truncate its write-ahead log.
    walk.read_until(Lsn(reader.position()?.0), findings)?;
    let view = reader.view()?;
    let position = Lsn(view.as_of().position.0);
    walk.read_until(position, findings)?;
    if view.journal_id() != walk.journal_id() {
        findings.broken("history_other_journal", "the history is that of another journal".to_owned());
    } else if position < walk.checked() {
        findings.note("the history was begun anew meanwhile and is not compared".to_owned());
    } else if position == walk.checked() {
        compare::compare(&view, walk.oracle(), findings)?;
    }
    Ok(position)
}

fn check_not_ahead(position: Lsn, walk: &Walk, findings: &mut Findings) {
    if position <= walk.checked() {
        return;
    }
    let text = format!("the history holds record {position}, but the journal can be read up to record {} only", walk.checked());
    if walk.is_damaged() {
        findings.note(format!("{text}; they are not compared"));
    } else {
        findings.broken("history_ahead", text);
    }
}
