//! `firstcome key`: manages API keys, beside a running server or before there is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::types::Timestamp;
use edge::auth::key_file::{ChangeError, IssuedKey, KeyFile, KeyFileError};
use edge::auth::keys::{Key, KeyError, KeyRing, NewKey};
use edge::clock;
use engine::clock::Clock;

use crate::cli::{CreateKeyArgs, KeyCommand, RevokeKeyArgs, RotateKeyArgs};
use crate::data::{DataError, DataFolder};

/// How long a running server may take to use the new keys: it checks twenty times a second.
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

/// The outcome of a command about keys.
#[derive(Debug)]
pub enum Outcome {
    /// A key that was created or rotated, with its secret.
    Issued(IssuedKey),
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
    /// Whether the change is in use by the server of this folder, if one runs.
    pub is_in_use: bool,
    /// When.
    pub at: Timestamp,
}

/// Runs a command about keys, and waits until the server of this folder, if one runs, uses the change.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run(command: &KeyCommand, data: &Path) -> Result<Done, KeyCommandError> {
    let now = Clock::System.now();
    let (outcome, is_in_use) = match command {
        KeyCommand::List(_) => {
            must_exist(data)?;
            (Outcome::Listed(Arc::new(KeyFile::in_folder(data).read()?)), true)
        }
        KeyCommand::Create(args) => issued(create(args, data, now)?),
        KeyCommand::Rotate(args) => issued(rotate(args, data, now)?),
        KeyCommand::Revoke(args) => {
            let (key, is_in_use) = revoke(args, data, now)?;
            (Outcome::Revoked(key), is_in_use)
        }
    };
    Ok(Done { outcome, is_in_use, at: now })
}

fn issued((key, is_in_use): (IssuedKey, bool)) -> (Outcome, bool) {
    (Outcome::Issued(key), is_in_use)
}

fn create(args: &CreateKeyArgs, data: &Path, now: Timestamp) -> Result<(IssuedKey, bool), KeyCommandError> {
    // Most likely a shell variable that is not set: all campaigns were not meant.
    if args.campaigns.as_deref() == Some("") {
        return Err(KeyError::Campaigns.into());
    }
    let new = NewKey {
        name: &args.name,
        scopes: args.scopes.iter().copied().collect(),
        campaigns: args.campaigns.as_deref().unwrap_or_default(),
    };
    change(data, |ring| IssuedKey::created(ring, &new, now))
}

fn rotate(args: &RotateKeyArgs, data: &Path, now: Timestamp) -> Result<(IssuedKey, bool), KeyCommandError> {
    must_exist(data)?;
    change(data, |ring| IssuedKey::rotated(ring, &args.name, args.overlap, now))
}

/// May revoke the last key with the scope admin: with the folder at hand, another can be created.
fn revoke(args: &RevokeKeyArgs, data: &Path, now: Timestamp) -> Result<(Arc<Key>, bool), KeyCommandError> {
    must_exist(data)?;
    change(data, |ring| ring.with_revoked(&args.name, now))
}

/// Only `create` makes a missing folder.
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
    let is_in_use = !is_served || has_server_seen(folder, &file, ring.revision());
    Ok((outcome, is_in_use))
}

fn has_server_seen(folder: &Path, file: &KeyFile, revision: u64) -> bool {
    let started = clock::elapsed();
    while file.published_revision().is_none_or(|seen| seen < revision) {
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
