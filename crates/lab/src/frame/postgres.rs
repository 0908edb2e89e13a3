//! PostgreSQL helpers that keep the strategies' code short: a pool, and three calls that prepare a statement
//! once for each connection.

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Error, NoTls, Row};

use super::error::LabError;
use super::tools::Trouble;

/// A pool's size, and how long a request waits for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSize {
    pub(crate) connections: usize,
    pub(crate) wait_max: Duration,
}

/// The pool of every strategy except the one that shows a smaller pool: within the limit of an ordinary
/// server, and with a wait longer than any run needs.
pub(crate) const POOL_SIZE: PoolSize = PoolSize { connections: 32, wait_max: Duration::from_secs(50) };
/// For the lab itself, beside the strategy's pool.
pub(crate) const ASIDE: PoolSize = PoolSize { connections: 2, wait_max: Duration::from_secs(50) };

pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A pool of connections to one database.
pub(crate) struct Database {
    pool: Pool,
    size: PoolSize,
}

impl Database {
    /// Creates the pool; connections are opened on first use.
    pub(crate) fn open(url: &str, size: PoolSize) -> Result<Self, LabError> {
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config(url)?, NoTls, manager_config);
        let pool = Pool::builder(manager).max_size(size.connections).wait_timeout(Some(size.wait_max)).runtime(Runtime::Tokio1);
        let pool = pool.build().map_err(|error| LabError::Engine { engine: "PostgreSQL".to_owned(), why: error.to_string() })?;
        Ok(Self { pool, size })
    }

    pub(crate) async fn connection(&self) -> Result<Object, Trouble> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                let PoolSize { connections, wait_max } = self.size;
                Trouble::Busy(format!("none of {connections} connections was free within {} ms", wait_max.as_millis()))
            }
            other => Trouble::Failed(format!("PostgreSQL: {other}")),
        })
    }

    /// Opens all connections.
    pub(crate) async fn warm(&self) -> Result<(), Trouble> {
        let mut open = Vec::new();
        for _ in 0..self.size.connections {
            open.push(self.connection().await?);
        }
        Ok(())
    }
}

/// The only row of a result.
pub(crate) async fn row(db: &impl GenericClient, sql: &str, values: Values<'_>) -> Result<Row, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query_one(&statement, values).await
}

/// A row, if the result has one.
pub(crate) async fn find(db: &impl GenericClient, sql: &str, values: Values<'_>) -> Result<Option<Row>, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.query_opt(&statement, values).await
}

/// The number of changed rows.
pub(crate) async fn run(db: &impl GenericClient, sql: &str, values: Values<'_>) -> Result<u64, Error> {
    let statement = db.prepare_cached(sql).await?;
    db.execute(&statement, values).await
}

/// Runs statements on a separate connection.
pub(crate) async fn once(url: &str, sql: &str) -> Result<Vec<String>, LabError> {
    let config = config(url)?;
    let failed = |error: &Error| LabError::Engine { engine: place(&config), why: describe(error) };
    let (client, connection) = config.connect(NoTls).await.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection);
    let answer = client.simple_query(sql).await.map_err(|error| failed(&error));
    drop(client);
    let _ = driver.await;
    Ok(answer?.into_iter().filter_map(first_column).collect())
}

fn first_column(message: tokio_postgres::SimpleQueryMessage) -> Option<String> {
    match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// The URL of another database on the same server.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (base, options) = url.split_once('?').map_or((url, String::new()), |(base, options)| (base, format!("?{options}")));
    let after_scheme = base.find("://").map_or(0, |place| place + 3);
    let server = base[after_scheme..].find('/').map_or(base, |place| &base[..after_scheme + place]);
    format!("{server}/{database}{options}")
}

fn config(url: &str) -> Result<Config, LabError> {
    let mut config = Config::from_str(url).map_err(|_| LabError::Engine {
        engine: "--postgres".to_owned(),
        why: "it must be postgres://user:password@host:port/database".to_owned(),
    })?;
    config.application_name("firstcome-lab");
    config.connect_timeout(Duration::from_secs(5));
    Ok(config)
}

/// The address without user and password.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        tokio_postgres::config::Host::Tcp(host) => host.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    let ports = config.get_ports().iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    format!("PostgreSQL at {}:{ports}", hosts.collect::<Vec<_>>().join(","))
}

fn describe(error: &Error) -> String {
    let behind = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server_keeps_user_port_and_options() {
        let url = "postgres://me:secret@db:6432/shop?sslmode=disable";
        assert_eq!(with_database(url, "lab"), "postgres://me:secret@db:6432/lab?sslmode=disable");
        assert_eq!(with_database("postgres://db", "lab"), "postgres://db/lab");
    }
}
