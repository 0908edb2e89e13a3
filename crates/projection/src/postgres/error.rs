//! The errors of each call. None of their texts contains a password.

use domain::wire::{DecodeError, Position};

use super::failure::{Failure, Kind};
use crate::error::ReadError;

/// Why no usable database was reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The setting is not a database URL. Its text is left out: it may hold a password.
    #[error("--postgres cannot be used: {0}")]
    Url(&'static str),
    /// TLS was requested but cannot be used.
    #[error("--postgres asks for TLS ({host}), but {what}")]
    Tls {
        /// The database's host.
        host: String,
        /// The reason.
        what: String,
    },
    /// The server does not respond.
    #[error("cannot reach the database of --postgres at {host}: {what}")]
    Unreachable {
        /// The database's host.
        host: String,
        /// The error's text.
        what: String,
    },
    /// The server accepts no more connections.
    #[error("the database of --postgres at {host} takes no more connections: {what}")]
    TooManyConnections {
        /// The database's host.
        host: String,
        /// The server's error text.
        what: String,
    },
    /// The user name or password is wrong.
    #[error("the database of --postgres at {host} does not let user {user} in: {what}")]
    Login {
        /// The database's host.
        host: String,
        /// The user name.
        user: String,
        /// The server's error text.
        what: String,
    },
    /// The database does not exist.
    #[error("there is no database {database} at {host}, the host of --postgres")]
    NoDatabase {
        /// The database's host.
        host: String,
        /// The database's name.
        database: String,
    },
    /// The server is a standby: its data may lag, so no decision may be based on it.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// The server's version is not supported.
    #[error("the database of --postgres at {host} is PostgreSQL {found}; version {wanted} or later is needed")]
    TooOld {
        /// The database's host.
        host: String,
        /// The server's major version.
        found: u32,
        /// The lowest supported major version.
        wanted: u32,
    },
    /// A later version of the program has changed the tables.
    #[error("the tables of --postgres at {host} were made by a later version of this program: {what}")]
    NewerTables {
        /// The database's host.
        host: String,
        /// The difference that was found.
        what: String,
    },
    /// The tables lack additions of this version, which a server makes at its start.
    #[error("the tables of --postgres at {host} lack what a server of this program adds to them as it starts")]
    OlderTables {
        /// The database's host.
        host: String,
    },
    /// The tables differ from those that this program creates.
    #[error("the tables of --postgres at {host} are not those that this program makes: {what}")]
    OtherTables {
        /// The database's host.
        host: String,
        /// The difference that was found.
        what: String,
    },
    /// Tables from before the first release; no released program has written them.
    #[error(
        "the tables of --postgres at {host} were made by a version of this program from before its first release, and cannot be used any more; with a new topic, and after DROP SCHEMA firstcome CASCADE, they are made anew"
    )]
    UnreleasedTables {
        /// The database's host.
        host: String,
    },
    /// Any other error.
    #[error("cannot use the database of --postgres at {host}: {what}")]
    Store {
        /// The database's host.
        host: String,
        /// The error's text.
        what: String,
    },
}

impl ConnectError {
    /// Whether retrying later can help without a change of settings.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TooManyConnections { .. })
    }
}

/// Why the tables cannot be used for this cluster.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The tables belong to another log.
    #[error("the tables of --postgres follow another record: {what} is {stored} there, and {given} here")]
    Differs {
        /// The name of the differing property.
        what: &'static str,
        /// The value in the tables.
        stored: String,
        /// This node's value.
        given: String,
    },
    /// The database is unavailable; retry later.
    #[error("cannot reach the tables of --postgres: {0}")]
    Unavailable(String),
    /// Any other error of the database.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

/// Why no state was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No log has been assigned to the tables yet.
    #[error("the tables of --postgres are not those of any cluster yet")]
    NoOrigin,
    /// The server has become a standby.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// A copy of the state cannot be decoded.
    #[error("the copy of the state of partition {partition} in --postgres cannot be read: {source}")]
    Copy {
        /// The partition of the copy.
        partition: u32,
        /// The decoder's error.
        source: DecodeError,
    },
    /// A row holds an impossible value.
    #[error("the tables of --postgres are damaged: {0}")]
    Damaged(String),
    /// The database is unavailable or too slow; retry later.
    #[error("cannot read the tables of --postgres: {0}")]
    Unavailable(String),
    /// Any other error of the database.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

impl LoadError {
    /// Whether retrying later can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Standby { .. })
    }
}

/// Why decisions were not written. Except for [`ProjectError::Unclear`], rows and position are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The given decisions do not follow the given position.
    #[error("partition {partition} goes on at decision {expected}, but was given decision {found}", expected = .expected.0, found = .found.0)]
    Gap {
        /// The partition.
        partition: u32,
        /// The decision that must come next.
        expected: Position,
        /// The decision that was given.
        found: Position,
    },
    /// The tables are at another position than the caller assumed: another projector is writing, or an
    /// earlier commit was unclear. Read the position and continue from there.
    #[error("partition {partition} is not at offset {offset_next} and decision {decisions} any more: somebody else has written")]
    Moved {
        /// The partition.
        partition: u32,
        /// The offset that the caller assumed.
        offset_next: u64,
        /// The number of decisions that the caller assumed.
        decisions: u64,
    },
    /// The decisions contradict the rows. This is a fault: the decisions or the rows are not what was decided.
    #[error("decision {position} of partition {partition}, or one just after it, contradicts the tables: {what}", position = .position.0)]
    Conflict {
        /// The partition.
        partition: u32,
        /// The first decision of those that were written together.
        position: Position,
        /// The contradiction.
        what: String,
    },
    /// The connection was lost during the commit, which may have succeeded. The position tells which.
    #[error("whether the last decisions of partition {partition} are in the tables is unclear: {what}")]
    Unclear {
        /// The partition.
        partition: u32,
        /// The error's text.
        what: String,
    },
    /// The database's disk is full. Retry once there is space.
    #[error("no room on the disk of the database of --postgres: {0}")]
    Full(String),
    /// The database is unavailable; retry later.
    #[error("cannot write to the tables of --postgres: {0}")]
    Unavailable(String),
    /// The projector has lost its connection, and with it the lock that allows it to write; begin another one.
    #[error("the connection of the projector is lost")]
    Lost,
    /// No log has been assigned to the tables yet.
    #[error("the tables of --postgres are not those of any cluster yet")]
    NoOrigin,
    /// The server has become a standby.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// Any other error of the database.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

impl ProjectError {
    /// Whether retrying later can help, after reading the position; with another projector if
    /// [`super::Projector::is_lost`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unclear { .. } | Self::Full(_) | Self::Unavailable(_) | Self::Lost | Self::Standby { .. } => true,
            Self::Gap { .. } | Self::Moved { .. } | Self::Conflict { .. } | Self::NoOrigin | Self::Store(_) => false,
        }
    }
}

impl From<Failure> for OriginError {
    fn from(failure: Failure) -> Self {
        match failure.kind() {
            Kind::Passing | Kind::Full => Self::Unavailable(failure.describe()),
            Kind::Contradiction | Kind::Lasting => Self::Store(failure.describe()),
        }
    }
}

impl From<Failure> for LoadError {
    fn from(failure: Failure) -> Self {
        match (&failure, failure.kind()) {
            (Failure::Row(what), _) => Self::Damaged(what.clone()),
            (_, Kind::Passing | Kind::Full) => Self::Unavailable(failure.describe()),
            (_, Kind::Contradiction | Kind::Lasting) => Self::Store(failure.describe()),
        }
    }
}

/// Contradictions are handled before, where it is known what was written.
impl From<Failure> for ProjectError {
    fn from(failure: Failure) -> Self {
        match failure.kind() {
            Kind::Full => Self::Full(failure.describe()),
            Kind::Passing => Self::Unavailable(failure.describe()),
            Kind::Contradiction | Kind::Lasting => Self::Store(failure.describe()),
        }
    }
}

/// The read error; a timeout names the limit.
pub(super) fn read_error(failure: &Failure, time_max: std::time::Duration) -> ReadError {
    match failure {
        Failure::Row(what) => ReadError::Damaged(what.clone()),
        _ if failure.is_too_slow() => ReadError::TooSlow(time_max.as_millis()),
        _ if failure.kind() == Kind::Passing => ReadError::Unavailable(failure.describe()),
        _ => ReadError::Store(failure.describe().into()),
    }
}
