//! The operator's socket, through which `firstcome key` talks to the server that uses its data folder. It is
//! a Unix socket in the folder, so the same accounts may use it that may write the folder: the server's own
//! account, the folder's owner, and root. The operating system authenticates the peer; there is no credential
//! that could be copied.
//!
//! A question is one line of JSON, and so is its answer; then the connection ends.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::keyring::Asker;
use domain::types::{ActorId, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{UnixListener, UnixStream};

use crate::app::App;
use crate::clock::{self, ClockAsk, ClockJson};
use crate::keys::{self, Change, Decider, KeyError, KeyJson, Origin};

/// Sockets are named `operator-ID.sock`: the servers of a cluster may share a folder.
const NAME_BEGIN: &str = "operator-";
const NAME_END: &str = ".sock";
/// A bound on the path's length; the operating system allows 108 bytes.
const PATH_BYTES_MAX: usize = 100;
/// Time limits for the arrival of a question, and for the server's answer.
const QUESTION_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(30);
const QUESTION_BYTES_MAX: u64 = 64 << 10;

/// A question of the operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Lists all keys.
    List,
    /// Makes a change.
    Change(Change),
    /// Asks for the number of the code key of new campaigns.
    CodeKey,
    /// Rotates the code key for new campaigns.
    RotateCodeKey,
    /// Asks about the clock, or sets it right.
    Clock(ClockAsk),
}

/// The server's answer to an operator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// All keys, or the one that was changed.
    Keys(Vec<KeyJson>),
    /// The number of the code key of new campaigns.
    CodeKey(u32),
    /// How the clocks stand.
    Clock(ClockJson),
    /// The request failed.
    Refused {
        /// The reason.
        what: String,
        /// Whether a different request could succeed.
        is_misuse: bool,
    },
}

/// A socket that is removed when the server ends.
#[derive(Debug)]
pub struct OperatorSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The account that may connect beside the server's own and root.
    owner: u32,
}

impl OperatorSocket {
    /// Creates a socket in a data folder, and removes those of killed servers.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(folder: &Path, random: u64) -> io::Result<Self> {
        for path in sockets_in(folder)? {
            if let Err(error) = connect(folder, &path)
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                let _ = fs::remove_file(path);
            }
        }
        let path = folder.join(format!("{NAME_BEGIN}{random:016x}{NAME_END}"));
        let listener = with_short(folder, &path, |short| UnixListener::bind(short))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path, owner: fs::metadata(folder)?.uid() })
    }

    /// Answers operators one after the other; never returns.
    pub async fn serve(&self, app: &Arc<App>) {
        loop {
            let served = match self.listener.accept().await {
                Ok((stream, _)) => self.answer(stream, app).await,
                Err(error) => {
                    // Most likely no file descriptor is left: an immediate retry would fail too.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(error)
                }
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a question at the operator's socket was not answered");
            }
        }
    }

    async fn answer(&self, stream: UnixStream, app: &Arc<App>) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        if ![0, rustix::process::geteuid().as_raw(), self.owner].contains(&uid) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("account {uid} is not that of the data folder")));
        }
        let mut stream = BufStream::new(stream);
        let mut line = String::new();
        tokio::time::timeout(QUESTION_TIME, (&mut stream).take(QUESTION_BYTES_MAX).read_line(&mut line)).await??;
        let app = Arc::clone(app);
        let question: Question = serde_json::from_str(&line)?;
        // The change is completed even if the operator disconnects.
        let reply = tokio::spawn(async move { reply(&app, &question).await }).await.map_err(io::Error::from)?;
        stream.write_all((serde_json::to_string(&reply)? + "\n").as_bytes()).await?;
        stream.flush().await
    }
}

impl Drop for OperatorSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn reply(app: &App, question: &Question) -> Reply {
    let reply = answer(Decider::Server(app), question, app.clock.now()).await;
    match (&reply, question) {
        (Reply::Keys(_), Question::Change(change)) => tracing::info!(key = change.key(), by = "operator", "{}", change.done()),
        (Reply::CodeKey(number), Question::RotateCodeKey) => tracing::info!(number, by = "operator", "code key rotated"),
        _ => {}
    }
    reply
}

/// Answers a question, whoever decides it.
pub async fn answer(decider: Decider<'_>, question: &Question, now: Timestamp) -> Reply {
    try_answer(decider, question, now).await.unwrap_or_else(|error| Reply::refused(&error))
}

async fn try_answer(decider: Decider<'_>, question: &Question, now: Timestamp) -> Result<Reply, KeyError> {
    Ok(match question {
        Question::List => Reply::Keys(KeyJson::all(&*decider.ring().await.map_err(KeyError::Declined)?, now)),
        Question::Change(change) => {
            let changed = keys::change(decider, &ORIGIN, change).await?;
            Reply::Keys(vec![KeyJson::changed(change.key(), changed, now)])
        }
        Question::CodeKey => Reply::CodeKey(decider.ring().await.map_err(KeyError::Declined)?.code_key),
        Question::Clock(ask) => Reply::Clock(clock::answer(decider, *ask, now).await?),
        Question::RotateCodeKey => Reply::CodeKey(keys::rotate_code_key(decider, &ORIGIN).await?.number),
    })
}

/// The record names an operator with access to the data folder like a local process.
pub const ORIGIN: Origin<'static> = Origin { actor: ActorId::LOCAL, request_id: RequestId::OPERATOR, request: None, by: Asker::Operator };

impl Reply {
    fn refused(error: &KeyError) -> Self {
        Self::Refused { what: error.to_string(), is_misuse: error.is_misuse() }
    }
}

/// Asks a server that uses the folder; `None` if none can be reached.
///
/// # Errors
/// The system's error; then it is unknown whether the question had an effect.
pub fn ask(folder: &Path, question: &Question) -> io::Result<Option<Reply>> {
    let mut sockets = sockets_in(folder)?.into_iter();
    let Some(mut connection) = sockets.find_map(|path| connect(folder, &path).ok()) else { return Ok(None) };
    connection.set_read_timeout(Some(ANSWER_TIME))?;
    connection.write_all((serde_json::to_string(question)? + "\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    Ok(Some(serde_json::from_str(&line)?))
}

fn sockets_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(NAME_BEGIN) && name.ends_with(NAME_END));
        if is_ours && entry.file_type()?.is_socket() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn connect(folder: &Path, path: &Path) -> io::Result<Connection> {
    with_short(folder, path, |short| Connection::connect(short))
}

/// Runs `open` with a path short enough for a socket: in a deep folder, by way of the folder's descriptor.
fn with_short<T>(folder: &Path, path: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return open(path);
    }
    let opened = fs::File::open(folder)?;
    open(&Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name))
}
