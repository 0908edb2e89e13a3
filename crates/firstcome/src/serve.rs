//! `firstcome serve`: from settings to a server, and back out again.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::hash::HashSeed;
use engine::Engine;
use engine::clock::Clock;
use engine::engine::Settings as EngineSettings;
use engine::limits::{CLOCK_BEHIND_MS_MAX, Limits};
use engine::restart::Restarted;
use journal::writer::{OpenError, Options};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, HttpLimits, Parts};
use crate::cli::{ServeArgs, SettingsError};
use crate::codes::{CodeKeys, KeysError};
use crate::data::{DataError, DataFolder};
use crate::doors::key_file::KeyFile;
use crate::doors::settings::DoorSettings;
use crate::doors::{Doors, DoorsError};
use crate::history::History;
use crate::http::routes::{self, Route};
use crate::http::{serve as http_serve, times};

/// Why the server did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The journal.
    #[error("cannot open the journal in {folder}: {source}")]
    Journal {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: journal::writer::OpenError,
    },
    /// The code keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The history.
    #[error(transparent)]
    History(#[from] projection::OpenError),
    /// The clock.
    #[error(
        "the last record was written at {record}, but the clock shows {clock}; set the clock right, or start with --accept-clock-behind: times then stand still until the clock has caught up"
    )]
    ClockBehind {
        /// The record's time.
        record: String,
        /// The clock's.
        clock: String,
    },
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Who may call.
    #[error(transparent)]
    Doors(#[from] DoorsError),
    /// Nobody may be let in from elsewhere without keys.
    #[error(
        "{address} is not a loopback address, and there is no key: anybody there could issue coupons. Make a key first:\n\n  firstcome key create admin --scopes admin --data {data}\n"
    )]
    NotLoopback {
        /// Where it would listen.
        address: SocketAddr,
        /// Where keys are kept.
        data: PathBuf,
    },
    /// The system.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The operating system gives no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(getrandom::Error),
    /// The disk failed while serving.
    #[error("the journal cannot be written; the server has stopped so that no answer is given that might be lost")]
    Failed,
}

/// Everything that the settings say, checked.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    listen: SocketAddr,
    data: PathBuf,
    doors: DoorSettings,
    http: HttpLimits,
    limits: Limits,
    segment_bytes: u64,
    snapshot_every: u64,
    accept_clock_behind: bool,
    /// The clock; tests move one by hand.
    pub clock: Clock,
}

impl ServeSettings {
    /// Checks what was typed.
    ///
    /// # Errors
    /// [`ServeError`] that names the option.
    pub fn new(args: &ServeArgs) -> Result<Self, ServeError> {
        Ok(Self {
            listen: args.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7070))),
            doors: DoorSettings::new(args)?,
            data: args.data.clone().unwrap_or_else(|| PathBuf::from("firstcome-data")),
            http: HttpLimits {
                requests_max: u32::try_from(in_range("requests-max", args.requests_max, 4_096, 16, 1_000_000)?).unwrap_or(u32::MAX),
                ..http_limits(args)
            },
            limits: Limits {
                claims_max: in_range("claims-max", args.claims_max, Limits::STANDARD.claims_max, 1, 4_000_000_000)?,
                requests_max: args.request_keys_max.unwrap_or(Limits::STANDARD.requests_max),
                ..Limits::STANDARD
            },
            segment_bytes: in_range("segment-mib", args.segment_mib, 64, 4, 4_096)? << 20,
            snapshot_every: in_range("snapshot-every", args.snapshot_every, 1_000_000, 1, u64::MAX)?,
            accept_clock_behind: args.accept_clock_behind,
            clock: Clock::System,
        })
    }
}

impl ServeSettings {
    /// Leaves files for the journal, the history and for saying no: a connection that cannot be
    /// accepted hears nothing.
    fn keep_within(&mut self, files_max: Option<u64>) {
        let for_connections = files_max.map(|files| usize::try_from(files.saturating_sub(FILES_KEPT)).unwrap_or(usize::MAX));
        if let Some(most) = for_connections.filter(|most| *most < self.http.connections_max) {
            self.http.connections_max = most;
        }
    }
}

/// How often the file of keys is looked at. `firstcome key` waits until it was.
const KEYS_LOOK: Duration = Duration::from_millis(50);
/// Files that are not connections.
const FILES_KEPT: u64 = 128;

fn http_limits(args: &ServeArgs) -> HttpLimits {
    let standard = HttpLimits::STANDARD;
    let time = |given: Option<u64>, standard: Duration| given.map_or(standard, Duration::from_millis);
    HttpLimits {
        connections_max: args.connections_max.unwrap_or(standard.connections_max),
        header_time: time(args.header_time_ms, standard.header_time),
        body_time: time(args.body_time_ms, standard.body_time),
        idle_time: time(args.idle_time_ms, standard.idle_time),
        write_time: time(args.write_time_ms, standard.write_time),
        drain_time: time(args.drain_time_ms, standard.drain_time),
        ..standard
    }
}

fn in_range(name: &str, given: Option<u64>, standard: u64, min: u64, max: u64) -> Result<u64, ServeError> {
    let value = given.unwrap_or(standard);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(SettingsError::Value(format!("--{name} must be from {min} to {max}")).into())
}

/// A server that is ready to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    data: DataFolder,
}

impl Server {
    /// Opens everything.
    ///
    /// # Errors
    /// [`ServeError`]; nothing was overwritten.
    pub async fn open(settings: &ServeSettings) -> Result<Self, ServeError> {
        refuse_strangers(settings)?;
        // The address first: it is what fails most often, and nothing is touched by then.
        let listener = http_serve::listen(settings.listen).map_err(|source| ServeError::Listen { address: settings.listen, source })?;
        let settings = settings.clone();
        let opened = tokio::task::spawn_blocking(move || open_app(&settings)).await;
        let (app, data) = opened.map_err(std::io::Error::from)??;
        Ok(Self { listener, app, data })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What all requests share.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `stop` comes or the disk fails, then finishes what is in flight and leaves.
    ///
    /// # Errors
    /// [`ServeError::Failed`] if the disk failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.run_with(routes::table(), stop).await
    }

    /// The same with a table of routes that may hold more.
    ///
    /// # Errors
    /// [`ServeError::Failed`] if the disk failed.
    pub async fn run_with(self, table: Vec<Route>, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let app = Arc::clone(&self.app);
        let following = tokio::spawn(follow_keys(Arc::clone(&app)));
        let ends = async {
            tokio::select! {
                () = stop => tracing::info!("stopping: no new connections; requests in flight are finished"),
                () = failed(&app.engine) => tracing::error!("stopping: the journal cannot be written"),
            }
            app.stop();
        };
        let cut_off = http_serve::serve(self.listener, Arc::clone(&self.app), routes::router(Arc::clone(&self.app), table), ends).await;
        if cut_off != 0 {
            tracing::warn!(connections = cut_off, "cut off: they did not finish in time");
        }
        following.abort();
        let closing = Arc::clone(&app);
        let closed = tokio::task::spawn_blocking(move || {
            closing.history.close();
            closing.engine.close();
        });
        closed.await.map_err(std::io::Error::from)?;
        drop(self.data);
        if app.engine.has_failed() { Err(ServeError::Failed) } else { Ok(()) }
    }
}

/// Closed by default: nobody from elsewhere is let in before there is a key.
fn refuse_strangers(settings: &ServeSettings) -> Result<(), ServeError> {
    if settings.listen.ip().is_loopback() {
        return Ok(());
    }
    let keys = KeyFile::in_folder(&settings.data).read().map_err(DoorsError::from)?;
    if keys.has_live() {
        return Ok(());
    }
    Err(ServeError::NotLoopback { address: settings.listen, data: settings.data.clone() })
}

/// Takes over keys that were made or ended beside the server.
async fn follow_keys(app: Arc<App>) {
    let mut ticks = tokio::time::interval(KEYS_LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let app = Arc::clone(&app);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || app.doors.refresh()).await {
            tracing::error!(%error, "the keys cannot be read again; those from before stay in use");
        }
    }
}

fn open_app(settings: &ServeSettings) -> Result<(Arc<App>, DataFolder), ServeError> {
    let data = DataFolder::open(&settings.data)?;
    let engine_settings = EngineSettings {
        folder: settings.data.clone(),
        limits: settings.limits,
        journal: Options { segment_bytes: settings.segment_bytes, new_id: random()?, salt_seed: random()? },
        seed: HashSeed(u64::from_le_bytes(random()?), u64::from_le_bytes(random()?)),
        clock: settings.clock.clone(),
        snapshot_every: settings.snapshot_every,
    };
    // The keys are durable before anything can be decided with them, and nothing is opened that
    // cannot be answered for.
    let has_decisions = data.path().join("journal").is_dir();
    let codes = CodeKeys::open(data.path(), has_decisions, random()?)?;
    let (engine, restarted) = Engine::open_if(&engine_settings, |state, restarted| {
        check_clock(settings, restarted)?;
        let mut campaigns = state.campaigns().iter();
        Ok(campaigns.try_for_each(|campaign| codes.require(data.path(), campaign.code_key, &campaign.name))?)
    })
    .map_err(|refused: Refused| refused.told_of(&settings.data))?;
    let engine = Arc::new(engine);
    report(&restarted);
    let history = History::start(data.path(), &engine)?;
    let doors = Doors::open(data.path(), settings.doors.clone(), settings.http.requests_max)?;
    let parts = Parts { engine, codes, history, doors, clock: settings.clock.clone() };
    let app = App::new(parts, settings.http, u64::from_le_bytes(random()?));
    Ok((Arc::new(app), data))
}

/// Why the engine is not opened.
enum Refused {
    Journal(OpenError),
    Other(Box<ServeError>),
}

impl Refused {
    fn told_of(self, folder: &Path) -> ServeError {
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

impl From<KeysError> for Refused {
    fn from(error: KeysError) -> Self {
        Self::Other(Box::new(error.into()))
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

async fn failed(engine: &Engine) {
    while !engine.has_failed() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `firstcome serve`.
///
/// # Errors
/// [`ServeError`].
pub async fn run(args: &ServeArgs) -> Result<(), ServeError> {
    let mut settings = ServeSettings::new(args)?;
    if args.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(std::io::Error::from)?;
    }
    let files_max = raise_files_max();
    settings.keep_within(files_max);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = Server::open(&settings).await?;
    let address = server.address()?;
    tracing::info!(%address, data = %settings.data.display(), files_max, connections_max = settings.http.connections_max, "serving");
    eprint!("{}", greeting(address, &server.app.doors));
    server
        .run(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Each connection takes a file descriptor; the system's usual limit is for programs with few.
fn raise_files_max() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() { getrlimit(Resource::Nofile).current } else { limit.maximum }
}

/// Where everything is, for a person at a terminal.
fn greeting(address: SocketAddr, doors: &Doors) -> String {
    let mut text = String::new();
    let base = format!("http://{address}");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n  Firstcome serves at   {base}");
    let _ = writeln!(text, "  Documentation         {base}/docs");
    let _ = writeln!(text, "  OpenAPI               {base}/openapi.json");
    if !doors.are_open() {
        let live = doors.ring().iter().filter(|key| key.revoked_at.is_none()).count();
        let _ = writeln!(text, "  Callers must show a key ({live} in use) as Authorization: Bearer …\n");
        return text;
    }
    let _ = writeln!(text, "  No keys: only this machine may call.\n\n  Try it:");
    let _ = writeln!(text, "    curl -X PUT  {base}/v1/campaigns/spring -H 'content-type: application/json' -d '{{\"stock\":10}}'");
    let _ = writeln!(
        text,
        "    curl -X POST {base}/v1/campaigns/spring/claims -H 'content-type: application/json' -d '{{\"subject\":\"ann\"}}'\n"
    );
    text
}
