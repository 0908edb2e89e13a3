//! Connections: opening them, time limits on their use, and closing those that exceeded one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, crypto::ring};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::ConnectError;
use super::failure::Failure;
use super::settings::{Settings, Target};

/// Opens connections, with or without TLS. With TLS the server must present a certificate for the configured
/// host name that this machine trusts.
#[derive(Clone)]
pub(super) enum Connector {
    Plain,
    Encrypted(MakeRustlsConnect),
}

impl Connector {
    pub(super) fn new(target: &Target) -> Result<Self, ConnectError> {
        if !target.wants_tls() {
            return Ok(Self::Plain);
        }
        let refused = |what: String| ConnectError::Tls { host: target.host.clone(), what };
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(refused("this machine trusts no certificate; SSL_CERT_FILE can name a file of them".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let config = config.map_err(|error| refused(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::Encrypted(MakeRustlsConnect::new(config)))
    }

    /// A connection outside the pool.
    pub(super) async fn open(&self, config: &Config) -> Result<ClientWrapper, Error> {
        let (client, task) = self.connect(config).await?;
        Ok(ClientWrapper::new(client, task))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        match self {
            Self::Plain => Box::pin(async move { spawn(&config, NoTls).await }),
            Self::Encrypted(tls) => {
                let tls = tls.clone();
                Box::pin(async move { spawn(&config, tls).await })
            }
        }
    }
}

async fn spawn<T>(config: &Config, tls: T) -> Result<(Client, JoinHandle<()>), Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = Failure::Db(error).describe(), "a connection to the database ended");
        }
    });
    Ok((client, task))
}

pub(super) fn pool(settings: &Settings, target: &Target, connector: Connector) -> Result<Pool, ConnectError> {
    // A dead connection is noticed when it is used; checking before would cost a round trip.
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(target.config.clone(), connector, manager_config);
    Pool::builder(manager)
        .max_size(settings.pool_size.max(1))
        .wait_timeout(Some(settings.statement_timeout))
        .create_timeout(Some(settings.connect_max(target)))
        .recycle_timeout(Some(settings.connect_timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConnectError::Store { host: target.host.clone(), what: error.to_string() })
}

/// Runs a step with a time limit: nothing else ends the wait for a server that disappeared silently.
pub(super) async fn within<T, E>(limit: Duration, step: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::TimeLimit(limit)),
    }
}

/// A connection of the pool. Only [`Lease::give_back`] returns it to the pool: after an error, a timeout or a
/// cancellation its state is unknown, and it is closed.
pub(super) struct Lease(Option<Object>);

impl Lease {
    pub(super) async fn take(pool: &Pool, limit: Duration) -> Result<Self, Failure> {
        match pool.get().await {
            Ok(connection) => Ok(Self(Some(connection))),
            Err(error) => Err(Failure::from((error, limit))),
        }
    }

    /// Never `None` while the lease exists.
    pub(super) fn connection(&self) -> Option<&ClientWrapper> {
        self.0.as_deref()
    }

    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}
