//! What can go wrong, in the words of each call. Nothing here ever holds a password.

use domain::wire::{DecodeError, Position};

use super::failure::{Failure, Kind};
use crate::error::ReadError;

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The setting is no address of a database. It is not repeated: it may hold a password.
    #[error("--postgres cannot be used: {0}")]
    Url(&'static str),
    /// TLS is asked for and cannot be had on this side.
    #[error("--postgres asks for TLS ({host}), but {what}")]
    Tls {
        /// The database's host.
        host: String,
        /// Why not.
        what: String,
    },
    /// Nobody answers.
    #[error("cannot reach the database of --postgres at {host}: {what}")]
    Unreachable {
        /// The database's host.
        host: String,
        /// How that shows.
        what: String,
    },
    /// The database has no more room for connections.
    #[error("the database of --postgres at {host} takes no more connections: {what}")]
    TooManyConnections {
        /// The database's host.
        host: String,
        /// What it says.
        what: String,
    },
    /// User or password are wrong.
    #[error("the database of --postgres at {host} does not let user {user} in: {what}")]
    Login {
        /// The database's host.
        host: String,
        /// Who was to be let in.
        user: String,
        /// What it says.
        what: String,
    },
    /// There is no database of this name.
    #[error("there is no database {database} at {host}, the host of --postgres")]
    NoDatabase {
        /// The database's host.
        host: String,
        /// Its name.
        database: String,
    },
    /// It only repeats what another server wrote, later. Nothing may be decided by it.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// Its version is not supported.
    #[error("the database of --postgres at {host} is PostgreSQL {found}; version {wanted} or later is needed")]
    TooOld {
        /// The database's host.
        host: String,
        /// Its version.
        found: u32,
        /// The first version that is supported.
        wanted: u32,
    },
    /// A later version of the program has changed the tables.
    #[error("the tables of --postgres at {host} were made by a later version of this program: {what}")]
    NewerTables {
        /// The database's host.
        host: String,
        /// How that shows.
        what: String,
    },
    /// No server of this version has worked with the tables yet.
    #[error("the tables of --postgres at {host} lack what a server of this program adds to them as it starts")]
    OlderTables {
        /// The database's host.
        host: String,
    },
    /// The tables are others than this program would have made.
    #[error("the tables of --postgres at {host} are not those that this program makes: {what}")]
    OtherTables {
        /// The database's host.
        host: String,
        /// How that shows.
        what: String,
    },
    /// Tables of before the first release; no program that is released has written them.
    #[error(
        "the tables of --postgres at {host} were made by a version of this program from before its first release, and cannot be used any more; with a new topic, and after DROP SCHEMA firstcome CASCADE, they are made anew"
    )]
    UnreleasedTables {
        /// The database's host.
        host: String,
    },
    /// Everything else.
    #[error("cannot use the database of --postgres at {host}: {what}")]
    Store {
        /// The database's host.
        host: String,
        /// What it says.
        what: String,
    },
}

impl ConnectError {
    /// Whether trying again later can help without anybody changing a setting.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TooManyConnections { .. })
    }
}

/// Why the tables cannot be taken for those of this cluster.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// They are those of another record of decisions.
    #[error("the tables of --postgres follow another record: {what} is {stored} there, and {given} here")]
    Differs {
        /// What.
        what: &'static str,
        /// As the tables have it.
        stored: String,
        /// As this node has it.
        given: String,
    },
    /// The database cannot be asked now; trying again is right.
    #[error("cannot reach the tables of --postgres: {0}")]
    Unavailable(String),
    /// The database failed otherwise.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

/// Why no state was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The tables follow no record yet.
    #[error("the tables of --postgres are not those of any cluster yet")]
    NoOrigin,
    /// The database has become a standby.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// A copy of the state cannot be read.
    #[error("the copy of the state of partition {partition} in --postgres cannot be read: {source}")]
    Copy {
        /// Whose state.
        partition: u32,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A row holds what cannot be.
    #[error("the tables of --postgres are damaged: {0}")]
    Damaged(String),
    /// The database cannot be asked now, or took too long; trying again is right.
    #[error("cannot read the tables of --postgres: {0}")]
    Unavailable(String),
    /// The database failed otherwise.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

impl LoadError {
    /// Whether trying again later is right.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Standby { .. })
    }
}

/// Why decisions were not written. Unless it is [`ProjectError::Unclear`], rows and position are as
/// they were before the call.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// What was given does not follow on the position that it was given with.
    #[error("partition {partition} goes on at decision {expected}, but was given decision {found}", expected = .expected.0, found = .found.0)]
    Gap {
        /// Which partition.
        partition: u32,
        /// What must come next.
        expected: Position,
        /// What came.
        found: Position,
    },
    /// The tables are elsewhere than the caller thinks: another projector is at work, or a commit
    /// was unclear. Reading the position and going on from there is right.
    #[error("partition {partition} is not at offset {offset_next} and decision {decisions} any more: somebody else has written")]
    Moved {
        /// Which partition.
        partition: u32,
        /// Where it was thought to be.
        offset_next: u64,
        /// Where it was thought to be.
        decisions: u64,
    },
    /// The decisions contradict the rows. It must never happen: one of the two is not what was decided.
    #[error("decision {position} of partition {partition}, or one just after it, contradicts the tables: {what}", position = .position.0)]
    Conflict {
        /// Which partition.
        partition: u32,
        /// The first decision of those that were written together.
        position: Position,
        /// How.
        what: String,
    },
    /// The connection was lost while the commit was on its way: it may have happened. Reading the
    /// position says which.
    #[error("whether the last decisions of partition {partition} are in the tables is unclear: {what}")]
    Unclear {
        /// Which partition.
        partition: u32,
        /// How it was lost.
        what: String,
    },
    /// There is no room on the database's disk. Trying again once there is some is right.
    #[error("no room on the disk of the database of --postgres: {0}")]
    Full(String),
    /// The database cannot be asked now; trying again is right.
    #[error("cannot write to the tables of --postgres: {0}")]
    Unavailable(String),
    /// The projector has lost its connection, and with it its right to write; begin another one.
    #[error("the connection of the projector is lost")]
    Lost,
    /// The tables follow no record yet.
    #[error("the tables of --postgres are not those of any cluster yet")]
    NoOrigin,
    /// The database has become a standby.
    #[error("the database of --postgres at {host} is a standby; it must be the primary")]
    Standby {
        /// The database's host.
        host: String,
    },
    /// The database failed otherwise.
    #[error("cannot use the tables of --postgres: {0}")]
    Store(String),
}

impl ProjectError {
    /// Whether trying again later is right, after reading the position; with another projector if
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

/// Contradictions are told apart before, where it is known what was written.
impl From<Failure> for ProjectError {
    fn from(failure: Failure) -> Self {
        match failure.kind() {
            Kind::Full => Self::Full(failure.describe()),
            Kind::Passing => Self::Unavailable(failure.describe()),
            Kind::Contradiction | Kind::Lasting => Self::Store(failure.describe()),
        }
    }
}

/// With the limit that was passed, if one was.
pub(super) fn read_error(failure: &Failure, time_max: std::time::Duration) -> ReadError {
    match failure {
        Failure::Row(what) => ReadError::Damaged(what.clone()),
        _ if failure.is_too_slow() => ReadError::TooSlow(time_max.as_millis()),
        _ if failure.kind() == Kind::Passing => ReadError::Unavailable(failure.describe()),
        _ => ReadError::Store(failure.describe().into()),
    }
}
