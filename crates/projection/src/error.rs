//! What can go wrong. The kind of database is named in the text of a source only.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use domain::wire::Position;
use rusqlite::ErrorCode;

/// What the database says, for people.
pub type Source = Box<dyn Error + Send + Sync>;

/// Why a history cannot be opened or begun anew.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is there and cannot be used now; it was not touched.
    #[error("cannot open the history {path}: {source}")]
    Store {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Source,
    },
    /// It was to be begun anew, and the old file cannot be removed.
    #[error("cannot remove the history {path}: {source}")]
    Remove {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why records were not applied. Rows and position are as they were before the call.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Records are missing between what is in and what was given.
    #[error("the history goes on at record {expected}, but was given record {found}", expected = .expected.0, found = .found.0)]
    Gap {
        /// The record that must come next.
        expected: Position,
        /// The record that came.
        found: Position,
    },
    /// The record contradicts the rows. It must never happen: one of the two is not what was decided.
    #[error("record {position} contradicts the history: {what}", position = .position.0)]
    Conflict {
        /// The record.
        position: Position,
        /// How.
        what: String,
    },
    /// The disk is full. Applying the same records again is right once there is room.
    #[error("no room on the disk for the history")]
    Full,
    /// The file is damaged; [`crate::History::begin_anew`] is the way on.
    #[error("the history is damaged: {0}")]
    Damaged(String),
    /// The database failed otherwise. Applying the same records again is safe.
    #[error("cannot write the history: {0}")]
    Store(Source),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no file.
    #[error("there is no history {0}")]
    Missing(PathBuf),
    /// Another version of the program wrote it; the server begins it anew at its next start.
    #[error("the history has tables of another form than this program's ({found}, not {wanted})")]
    OtherSchema {
        /// The number of the form that was found.
        found: i64,
        /// The number of the form that can be read.
        wanted: i64,
    },
    /// Reading took longer than it may.
    #[error("reading the history took longer than {0} ms")]
    TooSlow(u128),
    /// The database does not answer, or has no place for one more now; trying again is right.
    #[error("cannot reach the history: {0}")]
    Unavailable(String),
    /// The file is damaged, or a row holds what cannot be.
    #[error("the history is damaged: {0}")]
    Damaged(String),
    /// The database failed otherwise.
    #[error("cannot read the history: {0}")]
    Store(Source),
}

/// Whether the file is not what the database once wrote.
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
