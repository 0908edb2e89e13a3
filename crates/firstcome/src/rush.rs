//! `firstcome rush coupon`: a server of its own where none is named, and the stampede.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::coupon::queue::PACE_MAX;
use rush::coupon::{Options, Report};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::RushArgs;

/// How long a server of its own may take to start.
const START_TIME: Duration = Duration::from_secs(60);
/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// What the server prints once it serves.
const GREETING: &str = "Firstcome serves at";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RushError {
    /// No server of its own.
    #[error("cannot start a server: {0}")]
    Start(io::Error),
    /// The server said why it does not start.
    #[error("the server did not start: {0}")]
    Refused(String),
    /// A key cannot be read.
    #[error("cannot read the key in {path}: {source}")]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The stampede itself.
    #[error(transparent)]
    Rush(#[from] rush::coupon::Error),
    /// Somebody asked for its end, by a signal of this number.
    #[error("interrupted; nothing was judged")]
    Interrupted(u8),
}

/// Rushes a server, or one that is started for the purpose in a temporary folder and stopped
/// again.
///
/// # Errors
/// [`RushError`].
pub async fn run(args: &RushArgs, progress: bool) -> Result<Report, RushError> {
    let ends = Ends::new().map_err(RushError::Start)?;
    let Some((url, other_urls)) = args.url.split_first() else { return run_own(args, progress, ends).await };
    let options = Options { other_urls: other_urls.to_vec(), ..options(args, url.clone(), None, progress)? };
    tokio::select! {
        report = rush::coupon::run(&options) => Ok(report?),
        number = ends.first() => Err(RushError::Interrupted(number)),
    }
}

/// However the stampede ends, its server is gone before its folder is removed.
async fn run_own(args: &RushArgs, progress: bool, ends: Ends) -> Result<Report, RushError> {
    let folder = tempfile::Builder::new().prefix("firstcome-rush-").tempdir().map_err(RushError::Start)?;
    let mut server = spawn(folder.path())?;
    let report = tokio::select! {
        report = rush_own(args, &mut server, progress) => report,
        number = ends.first() => Err(RushError::Interrupted(number)),
    };
    stop(&mut server).await;
    report
}

async fn rush_own(args: &RushArgs, server: &mut Child, progress: bool) -> Result<Report, RushError> {
    let url = url_of(server).await?;
    let options = options(args, url, server.id(), progress)?;
    Ok(rush::coupon::run(&options).await?)
}

/// The signals that ask for an end. Who takes them has to end by itself.
struct Ends([(u8, Signal); 3]);

impl Ends {
    fn new() -> io::Result<Self> {
        let (hang_up, interrupt, terminate) = (SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self([(1, signal(hang_up)?), (2, signal(interrupt)?), (15, signal(terminate)?)]))
    }

    /// The number of the first one that comes.
    async fn first(self) -> u8 {
        let [(hang_up, mut hung_up), (interrupt, mut interrupted), (terminate, mut terminated)] = self.0;
        tokio::select! {
            _ = hung_up.recv() => hang_up,
            _ = interrupted.recv() => interrupt,
            _ = terminated.recv() => terminate,
        }
    }
}

fn options(args: &RushArgs, url: String, server_pid: Option<u32>, progress: bool) -> Result<Options, RushError> {
    Ok(Options {
        url,
        other_urls: Vec::new(),
        campaign: match &args.campaign {
            Some(campaign) => campaign.clone(),
            None => format!("rush-{:016x}", random().map_err(RushError::Start)?),
        },
        users: args.users,
        stock: args.stock,
        connections: args.connections as usize,
        over: args.over,
        repeat_percent: args.repeat_percent,
        // Ten seconds, if nothing is said.
        decisions_per_second: args.queued.then(|| args.decisions_per_second.unwrap_or((args.stock / 10).clamp(1, PACE_MAX))),
        request_timeout: REQUEST_TIME,
        server_pid,
        token: args.key_file.as_deref().map(key_in).transpose()?,
        admin_url: args.admin_url.clone(),
        admin_token: args.admin_key_file.as_deref().map(key_in).transpose()?,
        progress,
    })
}

/// A key is read from a file: what is typed is seen by everybody on the machine.
fn key_in(path: &Path) -> Result<String, RushError> {
    let text = std::fs::read_to_string(path).map_err(|source| RushError::KeyFile { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// This program again, as a server on a free port, that ends when this process does.
fn spawn(folder: &Path) -> Result<Child, RushError> {
    let program = std::env::current_exe().map_err(RushError::Start)?;
    let mut command = Command::new(program);
    // What another server here is told is not for this one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FIRSTCOME_")) {
        command.env_remove(name);
    }
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--end-with-parent", "--data"])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(RushError::Start)
}

/// Where the server serves, as soon as it does.
async fn url_of(server: &mut Child) -> Result<String, RushError> {
    let Some(stderr) = server.stderr.take() else { return Err(RushError::Start(io::ErrorKind::BrokenPipe.into())) };
    let mut lines = BufReader::new(stderr).lines();
    let url = tokio::time::timeout(START_TIME, find_url(&mut lines)).await;
    let url = url.map_err(|_| RushError::Refused("it took longer than a minute".to_owned()))??;
    // What it says from here on is for whoever watches.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with('{') {
                eprintln!("server: {line}");
            }
        }
    });
    Ok(url)
}

async fn find_url(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStderr>>) -> Result<String, RushError> {
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.map_err(RushError::Start)? {
        if let Some((_, url)) = line.split_once(GREETING) {
            return Ok(url.trim().to_owned());
        }
        said = line;
    }
    Err(RushError::Refused(said))
}

async fn stop(server: &mut Child) {
    let pid = server.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_secs(30), server.wait()).await.is_err() {
        let _ = server.kill().await;
    }
}
