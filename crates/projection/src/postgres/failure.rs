//! Failures of a step, by the database, the network or a row, before a call turns them into its own error.

use std::error::Error;
use std::io;
use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The step exceeded its time limit; the connection must not be used any more.
    TimeLimit(Duration),
    /// No connection of the pool became free in time.
    Busy,
    /// An error of the database or of the connection.
    Db(tokio_postgres::Error),
    /// A row holds an impossible value, or a value does not fit its column.
    Row(String),
}

/// What a failure means for the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Retry later.
    Passing,
    /// The database's disk is full; retry once there is space.
    Full,
    /// The database refuses a row: it contradicts existing rows.
    Contradiction,
    /// Any other failure: a retry will not help.
    Lasting,
}

impl Failure {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::TimeLimit(_) | Self::Busy => Kind::Passing,
            Self::Row(_) => Kind::Lasting,
            Self::Db(error) => match error.code() {
                Some(code) => kind_of(code),
                None if error.is_closed() || is_io(error) => Kind::Passing,
                None => Kind::Lasting,
            },
        }
    }

    /// Whether a statement exceeded its time limit.
    pub(super) fn is_too_slow(&self) -> bool {
        match self {
            Self::TimeLimit(_) => true,
            Self::Db(error) => error.code() == Some(&SqlState::QUERY_CANCELED),
            Self::Busy | Self::Row(_) => false,
        }
    }

    /// Whether the database itself reported the error: then it has certainly rolled back the transaction.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Db(error) if error.code().is_some_and(|code| !is_shutdown(code)))
    }

    /// A text for people, without any password or subject.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::TimeLimit(limit) => format!("no answer within {} ms", limit.as_millis()),
            Self::Busy => "all connections of the pool are in use".to_owned(),
            Self::Row(what) => what.clone(),
            Self::Db(error) => match (error.as_db_error(), error.source()) {
                (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
                (None, Some(source)) => format!("{error}: {source}"),
                (None, None) => error.to_string(),
            },
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Db(error)
    }
}

impl From<(PoolError, Duration)> for Failure {
    fn from((error, limit): (PoolError, Duration)) -> Self {
        match error {
            PoolError::Backend(error) => Self::Db(error),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::TimeLimit(limit),
            PoolError::Timeout(TimeoutType::Wait) | PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Busy
            }
        }
    }
}

pub(super) fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<io::Error>())
}

/// By the first two characters of the code, its class (PostgreSQL's documentation, appendix A).
fn kind_of(code: &SqlState) -> Kind {
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        "23" => Kind::Contradiction,
        _ if *code == SqlState::DISK_FULL => Kind::Full,
        // Connection, serialization and deadlock, resources, lock not available, operator
        // intervention, system error.
        "08" | "40" | "53" | "55" | "57" | "58" => Kind::Passing,
        // The server has become a standby: its successor accepts writes.
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Kind::Passing,
        _ => Kind::Lasting,
    }
}

/// Errors of a server that is shutting down, perhaps after it has made the last commit durable.
fn is_shutdown(code: &SqlState) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code) || code.code().starts_with("08")
}
