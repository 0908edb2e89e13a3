//! `firstcome rush coupon`: starts a server if none is given, and runs the stampede against it.

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
use crate::output::say;

/// How long the started server may take to be ready.
const START_TIME: Duration = Duration::from_secs(60);
/// Time limit of one request.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// The line that the server prints once it is ready.
const GREETING: &str = "Firstcome serves at";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RushError {
    /// No server could be started.
    #[error("cannot start a server: {0}")]
    Start(io::Error),
    /// The server did not start; the text is its error.
    #[error("the server did not start: {0}")]
    Refused(String),
    /// A key cannot be read.
    #[error("cannot read the key in {path}: {source}")]
    KeyFile {
        /// The key file's path.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The stampede itself failed.
    #[error(transparent)]
    Rush(#[from] rush::coupon::Error),
    /// A signal of this number interrupted the run.
    #[error("interrupted; nothing was judged")]
    Interrupted(u8),
}

/// Runs the stampede against a server, or against one that is started in a temporary folder and stopped afterwards.
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

/// The started server is always gone before its folder is removed, however the stampede ends.
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

/// The signals that interrupt the run. While they are handled here, the process must end itself.
struct Ends([(u8, Signal); 3]);

impl Ends {
    fn new() -> io::Result<Self> {
        let (hang_up, interrupt, terminate) = (SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self([(1, signal(hang_up)?), (2, signal(interrupt)?), (15, signal(terminate)?)]))
    }

    /// Waits for the first signal and returns its number.
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
        // By default a pace that decides the stock in ten seconds.
        decisions_per_second: args.queued.then(|| args.decisions_per_second.unwrap_or((args.stock / 10).clamp(1, PACE_MAX))),
        request_timeout: REQUEST_TIME,
        server_pid,
        token: args.key_file.as_deref().map(key_in).transpose()?,
        admin_url: args.admin_url.clone(),
        admin_token: args.admin_key_file.as_deref().map(key_in).transpose()?,
        progress,
    })
}

/// The key is read from a file, because other processes can see command lines.
fn key_in(path: &Path) -> Result<String, RushError> {
    let text = std::fs::read_to_string(path).map_err(|source| RushError::KeyFile { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Starts this program as a server on a free port; it ends when this process does.
fn spawn(folder: &Path) -> Result<Child, RushError> {
    let program = std::env::current_exe().map_err(RushError::Start)?;
    let mut command = Command::new(program);
    // Settings for another server in the environment must not apply to this one.
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

/// The server's URL, once it is ready.
async fn url_of(server: &mut Child) -> Result<String, RushError> {
    let Some(stderr) = server.stderr.take() else { return Err(RushError::Start(io::ErrorKind::BrokenPipe.into())) };
    let mut lines = BufReader::new(stderr).lines();
    let url = tokio::time::timeout(START_TIME, find_url(&mut lines)).await;
    let url = url.map_err(|_| RushError::Refused("it took longer than a minute".to_owned()))??;
    // Later lines are passed on to the terminal.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.starts_with('{') {
                say(&format!("server: {line}"));
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
