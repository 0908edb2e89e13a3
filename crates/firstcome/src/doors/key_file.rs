//! The file of keys in the data folder: read at start, written by whoever makes or ends a key, be
//! it the server or `firstcome key` beside it, and taken over by the server at once.

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
use crate::data::write_durably;
use crate::http::times;

/// The version of the file's format that this program writes and reads.
pub const FORMAT: u32 = 1;
const NAME: &str = "keys.json";
/// Held while the file is changed.
const LOCK_NAME: &str = "keys.lock";
/// There since the first key was made: without it, no file means no keys.
const MADE_NAME: &str = "keys.made";
/// How long a change waits for another one.
const LOCK_TIME: Duration = Duration::from_secs(5);
/// Where the server says which revision it goes by.
const SEEN_NAME: &str = "keys.seen";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refuses.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{path} is damaged ({what}); put it back from a backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was there, and is not any more.
    #[error("{0} is missing, though keys were made; put it back from a backup")]
    Gone(PathBuf),
    /// It was put back from before its last change.
    #[error("{path} is older than the keys in use (change {found} instead of {current}); to go back to it, start the server again")]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its revision.
        found: u64,
        /// That of the keys in use.
        current: u64,
    },
    /// Somebody else holds its lock.
    #[error("{0} has been locked by another process for 5 s")]
    Locked(PathBuf),
    /// A newer version wrote it.
    #[error("{path} has format {found}; this version reads formats up to {FORMAT}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// Why the keys did not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The rules for keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// The file of keys of a data folder.
#[derive(Clone, Debug)]
pub struct KeyFile {
    folder: PathBuf,
}

/// By what a change of the file is noticed: it is always replaced, never written over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: u64,
    bytes: u64,
    modified_at: (i64, i64),
    changed_at: (i64, i64),
}

impl KeyFile {
    /// The file in this folder, whether or not it is there yet.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// All keys; none if there is no file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(&self) -> Result<KeyRing, KeyFileError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => parse(&bytes, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.folder.join(MADE_NAME).exists() => Ok(KeyRing::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyFileError::Gone(path)),
            Err(source) => Err(KeyFileError::Io { action: "read", path, source }),
        }
    }

    /// Changes the keys, durably, one change at a time whoever makes it.
    ///
    /// # Errors
    /// [`ChangeError`]; the file is as before then, unless the disk failed while syncing the folder.
    pub fn change<T>(&self, change: impl FnOnce(&KeyRing) -> Result<(KeyRing, T), KeyError>) -> Result<(KeyRing, T), ChangeError> {
        let _lock = self.lock()?;
        let (ring, outcome) = change(&self.read()?)?;
        self.write(NAME, &text_of(&ring))?;
        // The mark last: keys without it work, and get it with their next change; the mark without
        // keys would keep the server from starting.
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

    /// What the file looks like from outside; `None` if there is none.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt;
        let file = fs::metadata(self.path()).ok()?;
        let (modified_at, changed_at) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        Some(Stamp { inode: file.ino(), bytes: file.len(), modified_at, changed_at })
    }

    /// Says that the server goes by this revision.
    ///
    /// # Errors
    /// What the system says.
    pub fn say_seen(&self, revision: u64) -> io::Result<()> {
        let unfinished = self.folder.join("keys.seen.new");
        fs::write(&unfinished, revision.to_string())?;
        fs::rename(unfinished, self.folder.join(SEEN_NAME))
    }

    /// Which revision the server goes by, as far as it has said.
    #[must_use]
    pub fn seen(&self) -> Option<u64> {
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
struct Text {
    format: u32,
    revision: u64,
    keys: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    scopes: Vec<String>,
    campaigns: String,
    created_at: String,
    rotated_at: Option<String>,
    revoked_at: Option<String>,
    secret_sha256: String,
    overlap: Option<OverlapLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlapLine {
    secret_sha256: String,
    until: String,
}

fn text_of(ring: &KeyRing) -> Vec<u8> {
    let text = Text { format: FORMAT, revision: ring.revision(), keys: ring.iter().map(|key| Line::of(key)).collect() };
    // Our own types have string keys only, so that this cannot fail.
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
    let text: Text = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
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

impl Line {
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
                .map(|overlap| OverlapLine { secret_sha256: overlap.secret.to_hex(), until: times::format(overlap.until) }),
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

/// What making or rotating a key gives.
pub struct Shown {
    /// The whole key, which nobody will see again.
    pub secret: String,
    /// The key without it.
    pub key: std::sync::Arc<Key>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Shown {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn created(ring: &KeyRing, new: &NewKey<'_>, now: Timestamp) -> Result<(KeyRing, Self), KeyError> {
        let (ring, secret) = ring.with_created(new, now)?;
        Self::of(ring, new.name, &secret)
    }

    /// Gives a key another secret.
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
