//! The history across machines: tables in PostgreSQL, schema `firstcome`.
//!
//! Kafka's order decides, and each partition is decided by itself; these tables are what came of it.
//! One projector at a time writes them, and everybody reads them. Rows and positions are written in
//! one transaction: at any instant the tables say exactly what the first so many records of each
//! partition led to. No decision depends on rows: beside them stands a copy of the state of each
//! partition, never ahead of the rows, which a node without a folder of its own starts from.
//!
//! Layout, in reading order:
//! - [`settings`]: where the database is, and how long it may take;
//! - [`error`]: what can go wrong, in the words of each call;
//! - [`origin`]: which record of decisions the tables follow, and how far they are;
//! - `tables`, `migrate`: the tables, made from the declarations, and `base.sql` beside them;
//! - [`projector`]: the one writer: [`Projector`]; `batch`: decisions as statements on many rows;
//! - `copies`: the copies of the state, stored and loaded;
//! - [`lists`], [`scan`]: reading the tables to show, to export and to check;
//! - [`values`]: how numbers, times and settings stand in columns;
//! - `connection`, `failure`, `reading`: what the rest stands on.

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

/// The first version of PostgreSQL that is supported.
const VERSION_MIN: u32 = 14;
/// The first half of the number of each advisory lock, so that they are ours alone: "FC".
const LOCK_SPACE: i32 = 0x4643;

/// The database, with a few connections to it. Cheap to clone.
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
    /// Connects, checks that this is a database to work with, and brings its tables to this
    /// program's version.
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

    /// Connects to tables that are there, of this program's version, and changes nothing; `None` where
    /// there are no tables. A user who may only read them is enough, and so is a standby.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_to_read(settings: Settings) -> Result<Option<Self>, ConnectError> {
        let (reached, db) = Self::reach(settings).await?;
        let are_there = migrate::are_there(&db, reached.settings.answer_max(), &reached.target.host).await?;
        Ok(are_there.then(|| Self { inner: Arc::new(reached) }))
    }

    /// Connects, and checks that the database can be worked with.
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

    /// The database's host and port, for people.
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

/// Why no connection was made.
fn refused(failure: &Failure, target: &Target) -> ConnectError {
    let (host, what) = (target.host.clone(), failure.describe());
    let Failure::Db(error) = failure else { return ConnectError::from_failure(failure, &host) };
    let Some(code) = error.code() else {
        // Neither the server nor the network said it: the two cannot agree.
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
