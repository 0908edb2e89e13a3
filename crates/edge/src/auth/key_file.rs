//! The file of API keys in the data folder. Both the server and `firstcome key` write it; the server
//! reads it at the start and after every change by another process.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::caller::{Scope, Scopes};
use super::keys::{Key, KeyError, KeyRing, NewKey, Overlap};
use super::secret::{Secret, SecretDigest};
use crate::clock;
use crate::files::write_durably;
use crate::times;

/// The version of the file's format that this program writes and reads.
pub const FORMAT: u32 = 1;
const NAME: &str = "keys.json";
/// Held while the file is changed.
const LOCK_NAME: &str = "keys.lock";
/// Exists since the first key was created: if keys.json is missing then, it was lost.
const MADE_NAME: &str = "keys.made";
/// How long a change waits for another process's change.
const LOCK_TIME: Duration = Duration::from_secs(5);
/// Contains the revision that the server uses.
const SEEN_NAME: &str = "keys.seen";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A system call failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The verb for the message.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content is not what this program writes.
    #[error("{path} is damaged ({what}); put it back from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The file is missing, although keys were created.
    #[error("{0} is missing, though keys were made; put it back from a backup")]
    Missing(PathBuf),
    /// The file was restored from before its last change.
    #[error("{path} is older than the keys in use (change {found} instead of {current}); to go back to it, start the server again")]
    Older {
        /// The file.
        path: PathBuf,
        /// The revision in the file.
        found: u64,
        /// The revision in use.
        current: u64,
    },
    /// Another process holds the lock.
    #[error("{0} has been locked by another process for 5 s")]
    Locked(PathBuf),
    /// A newer version of this program wrote the file.
    #[error("{path} has format {found}; this version reads formats up to {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
    },
}

/// Why the keys did not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The rules for keys do not allow the change.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// The file of keys of a data folder.
#[derive(Clone, Debug)]
pub struct KeyFile {
    folder: PathBuf,
}

/// Metadata that differs after every change of the file, which is always replaced and never written
/// in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: u64,
    bytes: u64,
    modified_at: (i64, i64),
    changed_at: (i64, i64),
}

impl KeyFile {
    /// The file in this folder, whether or not it exists yet.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Reads all keys; an empty ring if no key was ever created.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(&self) -> Result<KeyRing, KeyFileError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => parse(&bytes, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.folder.join(MADE_NAME).exists() => Ok(KeyRing::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyFileError::Missing(path)),
            Err(source) => Err(KeyFileError::Io { action: "read", path, source }),
        }
    }

    /// Changes the keys durably. Changes of all processes happen one after the other.
    ///
    /// # Errors
    /// [`ChangeError`]; the file is as before then, unless the disk failed while syncing the folder.
    pub fn change<T>(&self, change: impl FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError>) -> Result<(KeyRing, T), ChangeError> {
        let _lock = self.lock()?;
        let (ring, outcome) = change(&self.read()?)?;
        self.write(NAME, &text_of(&ring))?;
        // After keys.json: keys without the mark work, but with the mark and no keys the server would
        // refuse to start.
        if !self.folder.join(MADE_NAME).exists() {
            let marked = self.write(MADE_NAME, b"Keys were made here: keys.json belongs to this folder and its backups.\n");
            // No error of the change: the keys are in the file by now, and a caller that got an error
            // would never learn the new secret. The next change tries again.
            if let Err(error) = marked {
                tracing::warn!(%error, "the keys have changed, but if keys.json is lost, nobody will notice");
            }
        }
        Ok((ring, outcome))
    }

    /// The file's stamp; `None` if there is no file.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let file = fs::metadata(self.path()).ok()?;
        let (modified_at, changed_at) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        Some(Stamp { inode: file.ino(), bytes: file.len(), modified_at, changed_at })
    }

    /// Publishes the revision that the server uses, for `firstcome key` to wait for.
    ///
    /// # Errors
    /// The system's error.
    pub fn publish_revision(&self, revision: u64) -> io::Result<()> {
        let unfinished = self.folder.join("keys.seen.new");
        fs::write(&unfinished, revision.to_string())?;
        fs::rename(unfinished, self.folder.join(SEEN_NAME))
    }

    /// The revision that the server uses, if it has published one.
    #[must_use]
    pub fn published_revision(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(SEEN_NAME)).ok()?.parse().ok()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), KeyFileError> {
        let written = write_durably(&self.folder, name, bytes);
        written.map_err(|source| KeyFileError::Io { action: "write", path: self.folder.join(name), source })
    }

    fn lock(&self) -> Result<File, KeyFileError> {
        let path = self.folder.join(LOCK_NAME);
        let error = |source| KeyFileError::Io { action: "lock", path: path.clone(), source };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(error)?;
        let started = clock::elapsed();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(error(source)),
                Err(TryLockError::WouldBlock) if LOCK_TIME < clock::elapsed().saturating_sub(started) => {
                    return Err(KeyFileError::Locked(path));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysText {
    format: u32,
    revision: u64,
    keys: Vec<KeyText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    key: String,
    scopes: Vec<String>,
    campaigns: String,
    created_at: String,
    rotated_at: Option<String>,
    revoked_at: Option<String>,
    secret_sha256: String,
    overlap: Option<OverlapText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlapText {
    secret_sha256: String,
    until: String,
}

fn text_of(ring: &KeyRing) -> Vec<u8> {
    let text = KeysText { format: FORMAT, revision: ring.revision(), keys: ring.iter().map(|key| KeyText::of(key)).collect() };
    // Serializing fails only for maps whose keys are not strings; there are none here.
    let mut bytes = serde_json::to_vec_pretty(&text).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn parse(bytes: &[u8], path: &Path) -> Result<KeyRing, KeyFileError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |what: String| KeyFileError::Damaged { path: path.to_owned(), what };
    let Format { format } = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if FORMAT < format {
        return Err(KeyFileError::Newer { path: path.to_owned(), found: format });
    }
    let text: KeysText = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let count = text.keys.len();
    let keys = text.keys.iter().map(|line| line.key().map_err(|what| damaged(format!("key {:?}: {what}", line.key))));
    if count == 0 {
        return Err(damaged("it holds no key".to_owned()));
    }
    let ring = KeyRing::of(text.revision, keys.collect::<Result<Vec<Key>, KeyFileError>>()?);
    if ring.iter().count() < count {
        return Err(damaged("two keys have the same name".to_owned()));
    }
    Ok(ring)
}

impl KeyText {
    fn of(key: &Key) -> Self {
        Self {
            key: key.name().to_owned(),
            scopes: key.scopes.listed().into_iter().map(|scope| scope.word().to_owned()).collect(),
            campaigns: key.campaigns.clone(),
            created_at: times::format(key.created_at),
            rotated_at: key.rotated_at.map(times::format),
            revoked_at: key.revoked_at.map(times::format),
            secret_sha256: key.secret.to_hex(),
            overlap: key
                .overlap
                .as_ref()
                .map(|overlap| OverlapText { secret_sha256: overlap.secret.to_hex(), until: times::format(overlap.until) }),
        }
    }

    fn key(&self) -> Result<Key, String> {
        let scopes: Result<Scopes, _> = self.scopes.iter().map(|scope| scope.parse::<Scope>()).collect();
        let scopes = scopes.map_err(|error| format!("a scope {error}"))?;
        let new = NewKey { name: &self.key, scopes, campaigns: &self.campaigns };
        let mut key = new.read(digest(&self.secret_sha256)?, time(&self.created_at)?).map_err(|error| error.to_string())?;
        let optional = |text: &Option<String>| text.as_deref().map(time).transpose();
        let overlap =
            self.overlap.as_ref().map(|line| Ok::<_, String>(Overlap { secret: digest(&line.secret_sha256)?, until: time(&line.until)? }));
        key.rotated_at = optional(&self.rotated_at)?;
        key.revoked_at = optional(&self.revoked_at)?;
        key.overlap = overlap.transpose()?;
        Ok(key)
    }
}

fn digest(text: &str) -> Result<SecretDigest, String> {
    SecretDigest::from_hex(text).ok_or_else(|| "secret_sha256 must be 64 hexadecimal digits".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    times::parse(text).map_err(|what| format!("a time {what}"))
}

/// A key that was just created or rotated, with its secret.
pub struct IssuedKey {
    /// The whole key as its holder sends it. It is shown once and not stored.
    pub secret: String,
    /// The key without its secret.
    pub key: std::sync::Arc<Key>,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not reach a log.
        f.debug_struct("IssuedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl IssuedKey {
    /// Creates a key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn created(ring: &KeyRing, new: &NewKey<'_>, now: Timestamp) -> Result<(KeyRing, Self), KeyError> {
        let (ring, secret) = ring.with_created(new, now)?;
        Self::of(ring, new.name, &secret)
    }

    /// Gives a key a new secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rotated(ring: &KeyRing, name: &str, overlap: Duration, now: Timestamp) -> Result<(KeyRing, Self), KeyError> {
        let (ring, secret) = ring.with_rotated(name, overlap, now)?;
        Self::of(ring, name, &secret)
    }

    fn of(ring: KeyRing, name: &str, secret: &Secret) -> Result<(KeyRing, Self), KeyError> {
        let key = std::sync::Arc::clone(ring.get(name)?);
        Ok((ring, Self { secret: secret.key(name), key }))
    }
}

#[cfg(test)]
#[path = "key_file/tests.rs"]
mod tests;
