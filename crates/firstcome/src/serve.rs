//! `firstcome serve`: from settings to a running server, and its shutdown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::hash::HashSeed;
use domain::keyring::{Keyring, NAME, Ring};
use edge::auth::Auth;
use edge::gateway::Gateway;
use edge::reload::{self, Reload};
use edge::serve::Endpoint;
use edge::times;
use edge::tls::{Tls, TlsError};
use edge::tokens::TokensError;
use engine::Engine;
use engine::engine::Settings as EngineSettings;
use engine::limits::CLOCK_BEHIND_MS_MAX;
use engine::restart::Restarted;
use journal::writer::{OpenError, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Parts};
use crate::backend::Backend;
use crate::cli::{ServeArgs, SettingsError};
use crate::codes::{CodeKeys, SecretError};
use crate::data::{DataError, DataFolder};
use crate::history::History;
use crate::http::calls::{self, Route};
use crate::limits::LimitClock;
use crate::operator::OperatorSocket;
use crate::output::say;
#[cfg(feature = "scaled")]
use crate::scaled::{Scaled, ScaledError, ScaledSettings, Starting};
use crate::workloads::policy::rules::follow_all;

mod follow;
mod greeting;
mod settings;

pub use settings::ServeSettings;
#[cfg(feature = "scaled")]
pub(crate) use settings::in_range;

/// Why the server did not start, or stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings are invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The journal cannot be opened.
    #[error("cannot open the journal in {folder}: {source}")]
    Journal {
        /// The data folder.
        folder: PathBuf,
        /// The journal's error.
        source: journal::writer::OpenError,
    },
    /// The secret of the codes cannot be used.
    #[error(transparent)]
    CodeSecret(#[from] SecretError),
    /// The history cannot be opened.
    #[error(transparent)]
    History(#[from] projection::OpenError),
    /// The clock is far behind the last record.
    #[error(
        "the last record was written at {record}, but the clock shows {clock}; set the clock right, or set the time back with `firstcome clock set-back`, or start with --accept-clock-behind: times then stand still until the clock has caught up"
    )]
    ClockBehind {
        /// The last record's time.
        record: String,
        /// The clock's time.
        clock: String,
    },
    /// The server cannot listen on an address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The keys that verify end users' tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The API keys cannot be read.
    #[error("the keys cannot be read from what was decided: {0}")]
    ApiKeys(&'static str),
    /// The server is reachable from other machines, but has no usable key.
    #[error(
        "{address} is not a loopback address, and there is no key that could be used. Make one first:\n\n  firstcome key create {name} --scopes admin --data {data}\n"
    )]
    NotLoopback {
        /// The address to listen on.
        address: SocketAddr,
        /// The data folder that holds the keys.
        data: PathBuf,
        /// A suggested name for the first key.
        name: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system's error.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The operating system gives no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(getrandom::Error),
    /// The scaled mode cannot start.
    #[cfg(feature = "scaled")]
    #[error(transparent)]
    Scaled(#[from] ScaledError),
    /// This server lacks the cluster's secret of the codes.
    #[error("{0}; copy it from the data folder of a server of this cluster")]
    ClusterSecret(SecretError),
    /// The rate limits' policies cannot be read.
    #[error("the rate limits cannot be taken over from what was decided: {0}")]
    Policies(&'static str),
    /// The rate limits in front of every call are invalid.
    #[error("the limits in front of every call: {0}")]
    Gateway(#[from] rate_limit_layer::BuildError),
    /// The log or the tables are invalid, so the server has stopped.
    #[error("this server has stopped, so that it answers nothing that might be wrong: {0}")]
    Stopped(String),
    /// The disk failed while serving.
    #[error("the journal cannot be written; the server has stopped so that no answer is given that might be lost")]
    Failed,
}

/// The folder of the journal in the data folder.
const JOURNAL_FOLDER: &str = "journal";
/// Capacity of the admin address, which has its own connections, so that it works even if the
/// public address is full.
const ADMIN_CONNECTIONS_MAX: u16 = 256;

/// A running task. Boxed, so that the future is compiled once, in this crate, and not again in
/// every crate that polls it.
pub type Running<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The routes of each address.
#[derive(Debug)]
pub struct Tables {
    /// At the public address.
    pub public: Vec<Route>,
    /// At the admin address, if there is one.
    pub admin: Vec<Route>,
}

/// A server that is ready to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin_listener: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    /// The parts of the configuration that are read again on SIGHUP.
    pub reload: Reload,
    app: Arc<App>,
    operators: OperatorSocket,
    data: DataFolder,
}

impl Server {
    /// Opens the data and the listening sockets.
    ///
    /// # Errors
    /// [`ServeError`]; nothing was overwritten.
    pub fn open(settings: &ServeSettings) -> Running<'_, Result<Self, ServeError>> {
        Box::pin(Self::open_all(settings))
    }

    async fn open_all(settings: &ServeSettings) -> Result<Self, ServeError> {
        if settings.scaled.is_none() && !settings.data.join(JOURNAL_FOLDER).is_dir() {
            settings::require_key(settings, &Ring::default())?;
        }
        // The listening sockets first: they fail most often, and nothing has been changed by then.
        let listener = listen(settings.listen)?;
        let admin_listener = settings.admin_listen.map(listen).transpose()?;
        let (settings, own_settings) = (settings.clone(), settings.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let tls = settings.tls.clone().map(|files| Tls::open(files, settings.clock.now())).transpose()?;
            Ok::<_, ServeError>((tls.map(Arc::new), open_data(&settings)?))
        });
        let (tls, opened) = opened.await.map_err(std::io::Error::from)??;
        let (app, data) = opened.into_app(&own_settings).await?;
        let operators = OperatorSocket::open(data.path(), number()?)?;
        let mut reload = Reload::default();
        if let Some(tls) = tls.clone() {
            let clock = app.clock.clone();
            reload.add("the TLS certificate and its key", move || tls.reload(clock.now()));
        }
        if app.edge.auth.accepts_tokens() {
            let app = Arc::clone(&app);
            reload.add("the keys of end users' tokens", move || app.edge.auth.reload_tokens());
        }
        Ok(Self { listener, admin_listener, tls, reload, app, operators, data })
    }

    /// The public address.
    ///
    /// # Errors
    /// The system's error.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The admin address, if there is one.
    ///
    /// # Errors
    /// The system's error.
    pub fn admin_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.admin_listener.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// State shared by all requests.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `stop` completes or the disk fails, then completes requests in flight and closes.
    ///
    /// # Errors
    /// [`ServeError::Failed`] if the disk failed.
    pub fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Running<'static, Result<(), ServeError>> {
        let (public, admin) = (calls::table(), calls::table());
        let public = if self.admin_listener.is_some() { calls::without_operators(public) } else { public };
        self.run_with(Tables { public, admin }, stop)
    }

    /// The same with other tables of routes.
    ///
    /// # Errors
    /// [`ServeError::Failed`] if the disk failed.
    pub fn run_with(self, tables: Tables, stop: impl Future<Output = ()> + Send + 'static) -> Running<'static, Result<(), ServeError>> {
        Box::pin(self.run_all(tables, Box::pin(stop)))
    }

    async fn run_all(self, tables: Tables, stop: Running<'static, ()>) -> Result<(), ServeError> {
        let app = Arc::clone(&self.app);
        app.demonstration.serves_at(self.address()?, self.admin_address()?);
        let operators = self.operators;
        let operating = {
            let app = Arc::clone(&app);
            tokio::spawn(async move { operators.serve(&app).await })
        };
        let counting = tokio::spawn(follow::policies(Arc::clone(&app)));
        let watching = tokio::spawn(crate::clock::watch(Arc::clone(&app), self.data.path().to_owned()));
        let ends = async {
            tokio::select! {
                () = stop => tracing::info!("stopping: no new connections; requests in flight are finished"),
                () = failed(&app) => tracing::error!("stopping: no answer could be relied on"),
            }
            app.stop();
        };
        let listening = |listener, table, connections_max| {
            let (router, tls) = (calls::router(Arc::clone(&app), table), self.tls.clone());
            Endpoint { listener, router, connections_max, tls }
        };
        let public = listening(self.listener, tables.public, app.edge.limits.connections_max);
        let admin = self.admin_listener.map(|listener| listening(listener, tables.admin, ADMIN_CONNECTIONS_MAX.into()));
        let addresses = [Some(public), admin].into_iter().flatten().collect();
        let cut_off = edge::serve::serve(addresses, &app.edge, ends).await;
        if cut_off != 0 {
            tracing::warn!(connections = cut_off, "cut off: they did not finish in time");
        }
        operating.abort();
        // Removes the socket before another process can use the folder.
        let _ = operating.await;
        counting.abort();
        watching.abort();
        app.backend.close().await;
        drop(self.data);
        match (&app.backend, app.backend.failure()) {
            (_, None) => Ok(()),
            (Backend::Single { .. }, Some(_)) => Err(ServeError::Failed),
            #[cfg(feature = "scaled")]
            (Backend::Scaled(_), Some(why)) => Err(ServeError::Stopped(why)),
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    edge::serve::listen(address).map_err(|source| ServeError::Listen { address, source })
}

/// The parts that are opened before any connection is made.
enum Opened {
    Single {
        backend: Backend,
        codes: CodeKeys,
        data: DataFolder,
    },
    #[cfg(feature = "scaled")]
    Scaled {
        settings: ScaledSettings,
        data: DataFolder,
    },
}

fn open_data(settings: &ServeSettings) -> Result<Opened, ServeError> {
    #[cfg(feature = "scaled")]
    if let Some(scaled) = &settings.scaled {
        let data = DataFolder::open_shared(&settings.data)?;
        crate::clock::resume(data.path(), &settings.clock);
        return Ok(Opened::Scaled { settings: scaled.clone(), data });
    }
    let data = DataFolder::open(&settings.data)?;
    crate::clock::resume(data.path(), &settings.clock);
    let engine_settings = EngineSettings {
        folder: settings.data.clone(),
        limits: settings.limits,
        journal: Options { segment_bytes: settings.segment_bytes, new_id: random()?, salt_seed: random()? },
        seed: HashSeed(u64::from_le_bytes(random()?), u64::from_le_bytes(random()?)),
        clock: settings.clock.clone(),
        snapshot_every: settings.snapshot_every,
    };
    // The secret is durable before any decision depends on it, and before the journal is opened.
    let has_decisions = data.path().join(JOURNAL_FOLDER).is_dir();
    let codes = CodeKeys::open(data.path(), has_decisions, random()?)?;
    let (engine, restarted) = Engine::open_owned(&engine_settings, data.owner(), |state, restarted| {
        check_clock(settings, restarted)?;
        let none = Ring::default();
        settings::require_key(settings, state.get::<Keyring>(NAME).map_or(&none, |keyring| &keyring.items.ring))?;
        Ok::<_, Refused>(())
    })
    .map_err(|refused| refused.in_folder(&settings.data))?;
    let engine = Arc::new(engine);
    report(&restarted);
    let history = History::start(data.path(), &engine)?;
    Ok(Opened::Single { backend: Backend::Single { engine, history }, codes, data })
}

impl Opened {
    async fn into_app(self, settings: &ServeSettings) -> Result<(Arc<App>, DataFolder), ServeError> {
        let auth = Arc::new(Auth::open(settings.auth.clone(), settings.http.requests_max)?);
        let (backend, codes, data) = match self {
            Self::Single { backend, codes, data } => (backend, codes, data),
            #[cfg(feature = "scaled")]
            Self::Scaled { settings: scaled, data } => {
                let connected = Scaled::connect(&scaled).await?;
                // Once a cluster has begun, its codes depend on a secret that its servers share.
                let new_secret = random()?;
                let codes =
                    data.alone(|| CodeKeys::open(data.path(), connected.has_begun(), new_secret).map_err(ServeError::ClusterSecret))?;
                let starting = Starting {
                    data: data.path().to_owned(),
                    limits: settings.limits,
                    snapshot_every: settings.snapshot_every,
                    clock: settings.clock.clone(),
                    auth: Arc::clone(&auth),
                };
                let random = [number()?, number()?, number()?, number()?, number()?];
                let opened = connected.open(&scaled, &codes, &starting, random).await?;
                (Backend::Scaled(Box::new(opened)), codes, data)
            }
        };
        follow::learn_keys(&backend, &auth).await?;
        let gateway = Gateway::new(&settings.gateway, LimitClock::new(&settings.clock))?;
        let (clock, accepts_clock_behind, uses_tls) = (settings.clock.clone(), settings.accept_clock_behind, settings.tls.is_some());
        let parts = Parts { backend, codes, auth, gateway, clock, accepts_clock_behind, uses_tls };
        let app = App::new(parts, settings.http, number()?);
        follow_all(&app).await.map_err(|problem| ServeError::Policies(problem.code()))?;
        Ok((Arc::new(app), data))
    }
}

fn number() -> Result<u64, ServeError> {
    Ok(u64::from_le_bytes(random()?))
}

/// Why the engine was not opened.
enum Refused {
    Journal(OpenError),
    Other(Box<ServeError>),
}

impl Refused {
    fn in_folder(self, folder: &Path) -> ServeError {
        match self {
            Self::Journal(source) => ServeError::Journal { folder: folder.to_owned(), source },
            Self::Other(error) => *error,
        }
    }
}

impl From<OpenError> for Refused {
    fn from(error: OpenError) -> Self {
        Self::Journal(error)
    }
}

impl From<ServeError> for Refused {
    fn from(error: ServeError) -> Self {
        Self::Other(Box::new(error))
    }
}

fn check_clock(settings: &ServeSettings, restarted: &Restarted) -> Result<(), ServeError> {
    let clock = settings.clock.now();
    let is_behind = CLOCK_BEHIND_MS_MAX < restarted.last_at.millis().saturating_sub(clock.millis());
    if is_behind && !settings.accept_clock_behind {
        return Err(ServeError::ClockBehind { record: times::format(restarted.last_at), clock: times::format(clock) });
    }
    Ok(())
}

fn report(restarted: &Restarted) {
    for (lsn, why) in &restarted.snapshots_refused {
        tracing::warn!(lsn = lsn.0, %why, "a snapshot cannot be used; the journal alone is enough");
    }
    if let Some(torn) = &restarted.torn {
        tracing::warn!(%torn, "cleared; nobody was told a yes that rests on it");
    }
    tracing::info!(
        records = restarted.last_lsn.0,
        replayed = restarted.replayed_count,
        snapshot = restarted.snapshot_lsn.map(|lsn| lsn.0),
        "journal opened"
    );
}

fn random<const N: usize>() -> Result<[u8; N], ServeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ServeError::Random)?;
    Ok(bytes)
}

async fn failed(app: &App) {
    while app.backend.failure().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `firstcome serve`.
///
/// # Errors
/// [`ServeError`].
pub fn run(args: &ServeArgs) -> Running<'_, Result<(), ServeError>> {
    Box::pin(run_until_stopped(args))
}

async fn run_until_stopped(args: &ServeArgs) -> Result<(), ServeError> {
    let mut settings = ServeSettings::new(args)?;
    if args.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(std::io::Error::from)?;
    }
    let files_max = raise_files_max();
    settings.keep_within(files_max);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let hang_up = signal(SignalKind::hangup())?;
    // Across machines this takes as long as catching up with the log; no request has been answered by then.
    let mut server = tokio::select! {
        opened = Server::open(&settings) => opened?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let address = server.address()?;
    tracing::info!(%address, data = %settings.data.display(), files_max, connections_max = settings.http.connections_max, "serving");
    say(&greeting::greeting(server.scheme(), address, server.admin_address()?, &server.app.edge.auth, &settings.data));
    let reloading = tokio::spawn(reload::on(hang_up, Arc::new(std::mem::take(&mut server.reload))));
    server
        .run(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await?;
    reloading.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Raises the limit of file descriptors, of which each connection takes one; the default is low.
/// Returns the new limit.
pub fn raise_files_max() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() { getrlimit(Resource::Nofile).current } else { limit.maximum }
}
