//! `firstcome key`: keys, from beside the server or before there is one.

use std::path::Path;
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
    /// The change stands, but the server does not go by it.
    #[error("the keys have changed, but the server that uses this folder has not taken them over within 5 s; its log says why")]
    NotTakenOver,
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

/// Runs a command about keys. When it is back, a server that uses the folder goes by the change.
///
/// # Errors
/// [`KeyCommandError`].
pub fn run(command: &KeyCommand) -> Result<(Outcome, Timestamp), KeyCommandError> {
    let now = Clock::System.now();
    let outcome = match command {
        KeyCommand::List(args) => Outcome::Listed(Arc::new(KeyFile::in_folder(&args.data).read()?)),
        KeyCommand::Create(args) => Outcome::Shown(create(args, now)?),
        KeyCommand::Rotate(args) => Outcome::Shown(rotate(args, now)?),
        KeyCommand::Revoke(args) => Outcome::Revoked(revoke(args, now)?),
    };
    Ok((outcome, now))
}

fn create(args: &CreateKeyArgs, now: Timestamp) -> Result<Shown, KeyCommandError> {
    let new = NewKey {
        name: &args.name,
        scopes: args.scopes.iter().copied().collect(),
        campaigns: args.campaigns.as_deref().unwrap_or_default(),
    };
    change(&args.at.data, |ring| {
        let (ring, secret) = ring.with_created(&new, now)?;
        let shown = Shown::of(&ring, new.name, &secret)?;
        Ok((ring, shown))
    })
}

fn rotate(args: &RotateKeyArgs, now: Timestamp) -> Result<Shown, KeyCommandError> {
    change(&args.at.data, |ring| {
        let (ring, secret) = ring.with_rotated(&args.name, args.overlap, now)?;
        let shown = Shown::of(&ring, &args.name, &secret)?;
        Ok((ring, shown))
    })
}

/// Also the last key with the scope admin: whoever has the folder can make another one.
fn revoke(args: &RevokeKeyArgs, now: Timestamp) -> Result<Arc<Key>, KeyCommandError> {
    change(&args.at.data, |ring| {
        let ring = ring.with_revoked(&args.name, now)?;
        let key = Arc::clone(ring.get(&args.name)?);
        Ok((ring, key))
    })
}

fn change<T>(folder: &Path, change: impl FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError>) -> Result<T, KeyCommandError> {
    // Makes the folder where there is none; a server that uses it is no obstacle.
    let is_served = match DataFolder::open(folder) {
        Ok(_) => false,
        Err(DataError::InUse(_)) => true,
        Err(error) => return Err(error.into()),
    };
    let file = KeyFile::in_folder(folder);
    let (ring, outcome) = file.change(change)?;
    if is_served { wait_for_server(folder, &file, ring.revision()).map(|()| outcome) } else { Ok(outcome) }
}

fn wait_for_server(folder: &Path, file: &KeyFile, revision: u64) -> Result<(), KeyCommandError> {
    let started = clock::elapsed();
    while file.seen().is_none_or(|seen| seen < revision) {
        // It may have stopped meanwhile; it will read the file when it starts.
        if !matches!(DataFolder::open(folder), Err(DataError::InUse(_))) {
            return Ok(());
        }
        if SERVER_TIME < clock::elapsed().saturating_sub(started) {
            return Err(KeyCommandError::NotTakenOver);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
