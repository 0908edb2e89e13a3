//! `firstcome key`: manages API keys, through the server that uses the data folder, or directly in the
//! journal of a stopped one.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::hash::HashSeed;
use domain::keyring::Ring;
use edge::clock;
use engine::Engine;
use engine::clock::Clock;
use engine::engine::Settings as EngineSettings;
use engine::limits::Limits;
use journal::writer::{OpenError, Options};

use crate::cli::{CodeKeyCommand, KeyCommand};
use crate::clock::{ClockAsk, ClockJson};
use crate::codes::{CodeKeys, SecretError};
use crate::data::{DataError, DataFolder};
use crate::keys::{Change, Decider, KeyJson};
use crate::operator::{self, Question, Reply};

/// How long to wait for a server in a folder in use that does not respond: it may be starting or stopping.
const SERVER_TIME: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Size of the first segment if there is no journal yet; a server creates segments of its own size.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Why a key command failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// The request is invalid; the text says why.
    #[error("{0}")]
    Misuse(String),
    /// The request was not decided; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data folder does not exist.
    #[error("there is no data folder {0}")]
    NoFolder(PathBuf),
    /// The folder is in use, but its server does not respond.
    #[error("the data folder {0} is in use by a process that does not answer at its socket")]
    NoServer(PathBuf),
    /// The folder belongs to the scaled mode: keys are decided in the shared log, not here.
    #[error("the data folder {0} is that of a server across machines; start the server: keys are made through a running one")]
    AcrossMachines(PathBuf),
    /// The journal cannot be opened.
    #[error("cannot open the journal in {folder}: {source}")]
    Journal {
        /// The data folder.
        folder: PathBuf,
        /// The journal's error.
        source: OpenError,
    },
    /// The secret of the codes, which belongs to the journal, cannot be used.
    #[error(transparent)]
    Codes(#[from] SecretError),
    /// The operating system's error.
    #[error("cannot use the data folder: {0}")]
    System(#[from] io::Error),
    /// The operating system gives no random bytes.
    #[error("cannot get random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Runs a key command; returns all keys, or the changed one.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run(command: &KeyCommand, data: &Path) -> Result<Vec<KeyJson>, KeyCommandError> {
    // Only `create` makes a missing folder.
    if !matches!(command, KeyCommand::Create(_)) && !data.is_dir() {
        return Err(KeyCommandError::NoFolder(data.to_owned()));
    }
    match decided(&question_of(command), data)? {
        Reply::Keys(keys) => Ok(keys),
        other => Err(refused(other)),
    }
}

fn refused(reply: Reply) -> KeyCommandError {
    match reply {
        Reply::Refused { what, is_misuse: true } => KeyCommandError::Misuse(what),
        Reply::Refused { what, is_misuse: false } => KeyCommandError::Refused(what),
        Reply::Keys(_) | Reply::CodeKey(_) | Reply::Clock(_) => {
            KeyCommandError::Refused("the server answered something else; is it of this version?".to_owned())
        }
    }
}

/// Runs a code-key command; returns the number of the key for new campaigns.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run_code_key(command: &CodeKeyCommand, data: &Path) -> Result<u32, KeyCommandError> {
    if !data.is_dir() {
        return Err(KeyCommandError::NoFolder(data.to_owned()));
    }
    let question = match command {
        CodeKeyCommand::Show(_) => Question::CodeKey,
        CodeKeyCommand::Rotate(_) => Question::RotateCodeKey,
    };
    match decided(&question, data)? {
        Reply::CodeKey(number) => Ok(number),
        other => Err(refused(other)),
    }
}

/// Runs a clock command.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run_clock(ask: ClockAsk, data: &Path) -> Result<ClockJson, KeyCommandError> {
    if !data.is_dir() {
        return Err(KeyCommandError::NoFolder(data.to_owned()));
    }
    match decided(&Question::Clock(ask), data)? {
        Reply::Clock(clock) => Ok(clock),
        other => Err(refused(other)),
    }
}

fn question_of(command: &KeyCommand) -> Question {
    match command {
        KeyCommand::List(_) => Question::List,
        KeyCommand::Create(args) => {
            let scopes = args.scopes.iter().map(|scope| scope.word().to_owned()).collect();
            Question::Change(Change::Create { key: args.name.clone(), scopes, campaigns: args.campaigns.clone() })
        }
        KeyCommand::Rotate(args) => {
            let overlap_ms = u64::try_from(args.overlap.as_millis()).unwrap_or(u64::MAX);
            Question::Change(Change::Rotate { key: args.name.clone(), overlap_ms })
        }
        KeyCommand::Revoke(args) => Question::Change(Change::Revoke { key: args.name.clone() }),
    }
}

/// The process that holds the folder's lock decides: a server, or this process.
fn decided(question: &Question, data: &Path) -> Result<Reply, KeyCommandError> {
    let started = clock::elapsed();
    loop {
        match DataFolder::open(data) {
            Ok(folder) => return in_journal(question, &folder),
            Err(DataError::InUse(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(reply) = operator::ask(data, question)? {
            return Ok(reply);
        }
        if SERVER_TIME < clock::elapsed().saturating_sub(started) {
            return Err(KeyCommandError::NoServer(data.to_owned()));
        }
        std::thread::sleep(LOOK);
    }
}

fn in_journal(question: &Question, folder: &DataFolder) -> Result<Reply, KeyCommandError> {
    let data = folder.path();
    let has_journal = data.join("journal").is_dir();
    if !has_journal && data.join("log-snapshots").is_dir() {
        return Err(KeyCommandError::AcrossMachines(data.to_owned()));
    }
    match question {
        Question::List if !has_journal => return Ok(Reply::Keys(Vec::new())),
        Question::CodeKey if !has_journal => return Ok(Reply::CodeKey(Ring::default().code_key)),
        _ => {}
    }
    // As a server does: a journal never exists without the secret of the codes.
    CodeKeys::open(data, has_journal, random()?)?;
    let settings = EngineSettings {
        folder: data.to_owned(),
        limits: Limits::STANDARD,
        journal: Options { segment_bytes: SEGMENT_BYTES, new_id: random()?, salt_seed: random()? },
        seed: HashSeed(u64::from_le_bytes(random()?), u64::from_le_bytes(random()?)),
        clock: Clock::System,
        snapshot_every: u64::MAX,
    };
    let opened = Engine::open_owned(&settings, folder.owner(), |_, _| Ok(()));
    let (engine, _) = opened.map_err(|source| KeyCommandError::Journal { folder: data.to_owned(), source })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(operator::answer(Decider::Journal(&engine), question, Clock::System.now()));
    engine.close();
    give_to_owner(data, data)?;
    Ok(reply)
}

/// If root runs the command, new files must belong to the folder's owner, so that the server can use them.
fn give_to_owner(data: &Path, folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(data)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.uid() != owner.uid() {
            chown(&path, Some(owner.uid()), Some(owner.gid()))?;
        }
        if metadata.is_dir() {
            give_to_owner(data, &path)?;
        }
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
