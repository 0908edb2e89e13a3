//! The history across machines: tables in PostgreSQL, schema `firstcome`.
//!
//! Kafka orders the commands, and each partition is decided on its own; these tables hold the results. One
//! projector at a time writes them; any node reads them. Rows and positions are written in one transaction:
//! at any instant the tables hold exactly the effect of the first records of each partition, up to its
//! position. No decision depends on the rows: beside them each partition has a copy of its state, never ahead
//! of the rows, from which a node without a data folder starts.
//!
//! Layout, in reading order:
//! - [`settings`]: the database's address, and time limits;
//! - [`error`]: the errors of each call;
//! - [`origin`]: the log that the tables belong to, and the position of each partition;
//! - `tables`, `migrate`: the tables, made from the declarations, and `base.sql` beside them;
//! - [`projector`]: the only writer, [`Projector`]; `batch`: decisions as statements on many rows;
//! - `copies`: the copies of the state, stored and loaded;
//! - [`lists`], [`scan`]: reads for display, export and verification;
//! - [`values`]: conversion of numbers, times and settings to and from columns;
//! - `connection`, `failure`, `reading`: shared by the other modules.

mod batch;
mod connection;
mod copies;
pub mod error;
mod failure;
pub mod lists;
mod migrate;
pub mod origin;
pub mod projector;
mod reading;
pub mod scan;
pub mod settings;
mod tables;
pub mod values;

use std::fmt;
use std::sync::Arc;

use deadpool_postgres::{ClientWrapper, Pool};
use tokio_postgres::error::SqlState;

use connection::{Connector, within};
use failure::{Failure, Kind};
use settings::Target;
use values::get;

pub use copies::Loaded;
pub use error::{ConnectError, LoadError, OriginError, ProjectError};
pub use origin::{Origin, PartitionPosition};
pub use projector::{Decided, Projector, not_yet_in};
pub use settings::Settings;
pub use values::{aggregate_id, aggregate_of_id};

/// The lowest supported major version of PostgreSQL.
const VERSION_MIN: u32 = 14;
/// The first half of each advisory lock's number, to avoid clashes with other programs: "FC".
const LOCK_SPACE: i32 = 0x4643;

/// The database, with a pool of a few connections. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    connector: Connector,
    target: Target,
    settings: Settings,
}

impl Postgres {
    /// Connects, checks that the database can be used, and brings its tables to this version's schema.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(settings: Settings) -> Result<Self, ConnectError> {
        let (reached, mut db) = Self::reach(settings).await?;
        let (limit, target) = (reached.settings.answer_max(), &reached.target);
        let is_standby = within(limit, is_standby(&db)).await.map_err(|failure| ConnectError::from_failure(&failure, &target.host))?;
        if is_standby {
            return Err(ConnectError::Standby { host: target.host.clone() });
        }
        migrate::migrate(&mut db, limit, &target.host).await?;
        Ok(Self { inner: Arc::new(reached) })
    }

    /// Connects to existing tables of this version's schema, and changes nothing; `None` if there are no
    /// tables. A read-only user is enough, and so is a standby.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_to_read(settings: Settings) -> Result<Option<Self>, ConnectError> {
        let (reached, db) = Self::reach(settings).await?;
        let are_there = migrate::are_there(&db, reached.settings.answer_max(), &reached.target.host).await?;
        Ok(are_there.then(|| Self { inner: Arc::new(reached) }))
    }

    /// Connects, and checks that the database can be used.
    async fn reach(settings: Settings) -> Result<(Inner, ClientWrapper), ConnectError> {
        let target = settings.target()?;
        let connector = Connector::new(&target)?;
        let opening = within(settings.connect_max(&target), connector.open(&target.config));
        let db = opening.await.map_err(|failure| refused(&failure, &target))?;
        let found =
            within(settings.answer_max(), version(&db)).await.map_err(|failure| ConnectError::from_failure(&failure, &target.host))?;
        if found < VERSION_MIN {
            return Err(ConnectError::TooOld { host: target.host, found, wanted: VERSION_MIN });
        }
        let pool = connection::pool(&settings, &target, connector.clone())?;
        Ok((Inner { pool, connector, target, settings }, db))
    }

    /// The database's host and port, for messages.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.inner.target.host
    }

    /// A connection outside the pool.
    async fn open(&self) -> Result<ClientWrapper, Failure> {
        within(self.inner.settings.connect_max(&self.inner.target), self.inner.connector.open(&self.inner.target.config)).await
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("host", &self.inner.target.host).finish_non_exhaustive()
    }
}

async fn version(db: &tokio_postgres::Client) -> Result<u32, Failure> {
    let row = db.query_one("SELECT current_setting('server_version_num')::integer / 10000", &[]).await?;
    get::<i32>(&row, 0).map(i32::unsigned_abs)
}

async fn is_standby(db: &tokio_postgres::Client) -> Result<bool, Failure> {
    get(&db.query_one("SELECT pg_is_in_recovery()", &[]).await?, 0)
}

/// The error for a connection that could not be opened.
fn refused(failure: &Failure, target: &Target) -> ConnectError {
    let (host, what) = (target.host.clone(), failure.describe());
    let Failure::Db(error) = failure else { return ConnectError::from_failure(failure, &host) };
    let Some(code) = error.code() else {
        // Without a code the client itself failed: it and the server could not agree.
        return match error.to_string().as_str() {
            "invalid configuration" | "authentication error" => ConnectError::Login { host, user: target.user.clone(), what },
            "error performing TLS handshake" => ConnectError::Tls { host, what },
            _ => ConnectError::from_failure(failure, &host),
        };
    };
    match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            ConnectError::Login { host, user: target.user.clone(), what }
        }
        SqlState::INVALID_CATALOG_NAME => ConnectError::NoDatabase { host, database: target.database.clone() },
        SqlState::TOO_MANY_CONNECTIONS => ConnectError::TooManyConnections { host, what },
        _ => ConnectError::from_failure(failure, &host),
    }
}

impl ConnectError {
    fn from_failure(failure: &Failure, host: &str) -> Self {
        let (host, what) = (host.to_owned(), failure.describe());
        match failure.kind() {
            Kind::Passing => Self::Unreachable { host, what },
            Kind::Full | Kind::Contradiction | Kind::Lasting => Self::Store { host, what },
        }
    }
}
