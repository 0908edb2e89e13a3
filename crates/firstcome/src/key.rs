//! `firstcome key`: keys, from beside the server or before there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::types::Timestamp;
use engine::clock::Clock;

use crate::cli::{CreateKeyArgs, KeyCommand, RevokeKeyArgs, RotateKeyArgs};
use crate::clock;
use crate::data::{DataError, DataFolder};
use crate::doors::key_file::{ChangeError, KeyFile, KeyFileError, Shown};
use crate::doors::keys::{Key, KeyError, KeyRing, NewKey};

/// How long a running server may take to go by the new keys: it looks twenty times a second.
const SERVER_TIME: Duration = Duration::from_secs(5);

/// Why a command about keys did not work.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// What was asked for.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file of keys.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is nothing there.
    #[error("there is no data folder {0}")]
    NoFolder(PathBuf),
}

impl From<ChangeError> for KeyCommandError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Key(error) => Self::Key(error),
            ChangeError::File(error) => Self::File(error),
        }
    }
}

/// What a command about keys found or made.
#[derive(Debug)]
pub enum Outcome {
    /// A key that was made or rotated, with its secret.
    Shown(Shown),
    /// Keys without their secrets.
    Listed(Arc<KeyRing>),
    /// A key that was revoked.
    Revoked(Arc<Key>),
}

/// What a command about keys came to.
#[derive(Debug)]
pub struct Done {
    /// What it found or made.
    pub outcome: Outcome,
    /// Whether a server that uses the folder goes by it, if there is one.
    pub is_taken_over: bool,
    /// When.
    pub at: Timestamp,
}

/// Runs a command about keys, and waits until a server that uses the folder goes by the change.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run(command: &KeyCommand, data: &Path) -> Result<Done, KeyCommandError> {
    let now = Clock::System.now();
    let (outcome, is_taken_over) = match command {
        KeyCommand::List(_) => {
            must_exist(data)?;
            (Outcome::Listed(Arc::new(KeyFile::in_folder(data).read()?)), true)
        }
        KeyCommand::Create(args) => shown(create(args, data, now)?),
        KeyCommand::Rotate(args) => shown(rotate(args, data, now)?),
        KeyCommand::Revoke(args) => {
            let (key, is_taken_over) = revoke(args, data, now)?;
            (Outcome::Revoked(key), is_taken_over)
        }
    };
    Ok(Done { outcome, is_taken_over, at: now })
}

fn shown((shown, is_taken_over): (Shown, bool)) -> (Outcome, bool) {
    (Outcome::Shown(shown), is_taken_over)
}

fn create(args: &CreateKeyArgs, data: &Path, now: Timestamp) -> Result<(Shown, bool), KeyCommandError> {
    // A variable of the shell that was not set, most likely: all campaigns is not what was meant.
    if args.campaigns.as_deref() == Some("") {
        return Err(KeyError::Campaigns.into());
    }
    let new = NewKey {
        name: &args.name,
        scopes: args.scopes.iter().copied().collect(),
        campaigns: args.campaigns.as_deref().unwrap_or_default(),
    };
    change(data, |ring| Shown::created(ring, &new, now))
}

fn rotate(args: &RotateKeyArgs, data: &Path, now: Timestamp) -> Result<(Shown, bool), KeyCommandError> {
    must_exist(data)?;
    change(data, |ring| Shown::rotated(ring, &args.name, args.overlap, now))
}

/// Also the last key with the scope admin: whoever has the folder can make another one.
fn revoke(args: &RevokeKeyArgs, data: &Path, now: Timestamp) -> Result<(Arc<Key>, bool), KeyCommandError> {
    must_exist(data)?;
    change(data, |ring| ring.with_revoked(&args.name, now))
}

/// Only making a key makes a folder.
fn must_exist(folder: &Path) -> Result<(), KeyCommandError> {
    if folder.is_dir() { Ok(()) } else { Err(KeyCommandError::NoFolder(folder.to_owned())) }
}

fn change<T>(folder: &Path, change: impl FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError>) -> Result<(T, bool), KeyCommandError> {
    // Makes the folder where there is none; a server that uses it is no obstacle.
    let is_served = match DataFolder::open(folder) {
        Ok(_) => false,
        Err(DataError::InUse(_)) => true,
        Err(error) => return Err(error.into()),
    };
    let file = KeyFile::in_folder(folder);
    let (ring, outcome) = file.change(change)?;
    let is_taken_over = !is_served || has_server_seen(folder, &file, ring.revision());
    Ok((outcome, is_taken_over))
}

fn has_server_seen(folder: &Path, file: &KeyFile, revision: u64) -> bool {
    let started = clock::elapsed();
    while file.seen().is_none_or(|seen| seen < revision) {
        // It may have stopped meanwhile; it will read the file when it starts.
        if !matches!(DataFolder::open(folder), Err(DataError::InUse(_))) {
            return true;
        }
        if SERVER_TIME < clock::elapsed().saturating_sub(started) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}
