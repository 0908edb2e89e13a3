//! The errors of the history. Only a source's text names the kind of database.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use domain::wire::Position;
use rusqlite::ErrorCode;

/// The database's error; its text is for people.
pub type Source = Box<dyn Error + Send + Sync>;

/// Why a history cannot be opened or rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file exists but cannot be used now; it was not changed.
    #[error("cannot open the history {path}: {source}")]
    Store {
        /// The file's path.
        path: PathBuf,
        /// The database's error.
        source: Source,
    },
    /// The history was to be rebuilt, but the old file cannot be removed.
    #[error("cannot remove the history {path}: {source}")]
    Remove {
        /// The file's path.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
}

/// Why records were not applied. Rows and position are as they were before the call.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Records are missing between the history's position and the first given record.
    #[error("the history goes on at record {expected}, but was given record {found}", expected = .expected.0, found = .found.0)]
    Gap {
        /// The position that must come next.
        expected: Position,
        /// The position that was given.
        found: Position,
    },
    /// The record contradicts the rows. This is a fault: the record or the rows are not what was decided.
    #[error("record {position} contradicts the history: {what}", position = .position.0)]
    Conflict {
        /// The record's position.
        position: Position,
        /// The contradiction.
        what: String,
    },
    /// The disk is full. The same records can be applied again once there is space.
    #[error("no room on the disk for the history")]
    Full,
    /// The file is damaged; [`crate::History::begin_anew`] rebuilds it.
    #[error("the history is damaged: {0}")]
    Damaged(String),
    /// Any other error of the database. Applying the same records again is safe.
    #[error("cannot write the history: {0}")]
    Store(Source),
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not exist.
    #[error("there is no history {0}")]
    Missing(PathBuf),
    /// Another version of the program wrote the file; the server rebuilds it at its next start.
    #[error("the history has tables of another form than this program's ({found}, not {wanted})")]
    OtherSchema {
        /// The schema number that was found.
        found: i64,
        /// The schema number that this version reads.
        wanted: i64,
    },
    /// The read took longer than its time limit, in milliseconds.
    #[error("reading the history took longer than {0} ms")]
    TooSlow(u128),
    /// The database does not respond or has no free connection; retry later.
    #[error("cannot reach the history: {0}")]
    Unavailable(String),
    /// The file is damaged, or a row holds an impossible value.
    #[error("the history is damaged: {0}")]
    Damaged(String),
    /// Any other error of the database.
    #[error("cannot read the history: {0}")]
    Store(Source),
}

/// Whether the error means that the file's contents are damaged.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    let is_row_malformed = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::Utf8Error(..)
    );
    is_row_malformed || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            return Self::Damaged(error.to_string());
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Store(error.into()),
        }
    }
}
