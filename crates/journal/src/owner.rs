//! Which process may write a folder: the one that made the owner file with the highest number.
//!
//! A file lock keeps a second server out only where both mounts of the folder share locks. Owner files need
//! nothing but names: a taker creates the next number, which only one process can, and a process that sees a
//! higher number than its own has lost the folder and writes nothing more. The file's contents and its time
//! only tell a later start whether the earlier owner is still running.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// How often an owner must call [`Owner::beat`]; it also bounds how long a lost folder goes unnoticed.
pub const BEAT: Duration = Duration::from_millis(500);
/// How long an owner that may be running on another machine is watched for a beat.
const WATCH: Duration = Duration::from_secs(3);
const WATCH_LOOK: Duration = Duration::from_millis(50);
const RUNNING: &str = "owner-";
const ENDED: &str = "ended-";

/// Why a folder cannot be taken, or is not this process's any more.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another process keeps its owner file fresh.
    #[error(
        "{file} is kept fresh by another process, although it does not hold the lock: the folder is in use through another mount or on another machine"
    )]
    InUse {
        /// The owner file.
        file: PathBuf,
    },
    /// Another process has taken the folder, or the owner file was removed.
    #[error("{file} is not the latest owner file any more: another process has taken the folder")]
    Lost {
        /// This process's owner file.
        file: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The file it was applied to.
        file: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
}

/// The right to write a folder. Dropping it gives the folder up.
#[derive(Debug)]
pub struct Owner {
    folder: PathBuf,
    number: u64,
    file: File,
    made_at: SystemTime,
    beats_count: AtomicU64,
    is_confirmed: AtomicBool,
    is_released: AtomicBool,
}

impl Owner {
    /// Takes a folder whose earlier owner has ended. An owner on this machine that is no longer running is
    /// passed at once; any other is watched for three seconds.
    ///
    /// # Errors
    /// [`OwnerError`]; the folder is as it was then.
    pub fn take(folder: &Path) -> Result<Self, OwnerError> {
        let found = list(folder)?;
        let last = found.iter().map(|(number, _)| *number).max().unwrap_or_default();
        if found.contains(&(last, RUNNING)) {
            wait_for_end(&path_of(folder, RUNNING, last))?;
        }
        let number = last + 1;
        let path = path_of(folder, RUNNING, number);
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(OwnerError::InUse { file: path }),
            opened => opened.map_err(|source| io_error("make", &path, source))?,
        };
        // On a full disk the file stays empty; a later start then watches it.
        let _ = file.write_all(Process::this().unwrap_or_default().0.as_bytes());
        let made_at = file.metadata().and_then(|metadata| metadata.modified()).map_err(|source| io_error("read", &path, source))?;
        let (beats_count, is_confirmed, is_released) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let owner = Self { folder: folder.to_owned(), number, file, made_at, beats_count, is_confirmed, is_released };
        // Others may have come and gone since the list was read.
        owner.check()?;
        Ok(owner)
    }

    /// Removes earlier owners' files: from now on the folder counts as used by this process.
    pub fn confirm(&self) {
        self.is_confirmed.store(true, Ordering::Relaxed);
        for (number, state) in list(&self.folder).unwrap_or_default() {
            if number < self.number {
                // A file that stays has no effect: only the highest number counts.
                let _ = fs::remove_file(path_of(&self.folder, state, number));
            }
        }
    }

    /// Whether the folder is still this process's.
    ///
    /// # Errors
    /// [`OwnerError::Lost`], or [`OwnerError::Io`] if that cannot be found out.
    pub fn check(&self) -> Result<(), OwnerError> {
        let (own, next) = (self.path(), path_of(&self.folder, RUNNING, self.number + 1));
        // By name and without a file descriptor: many connections may have used all of them.
        let has_own = own.try_exists().map_err(|source| io_error("look at", &own, source))?;
        let has_next = next.try_exists().map_err(|source| io_error("look at", &next, source))?;
        let has_next_ended = path_of(&self.folder, ENDED, self.number + 1).exists();
        if has_own && !has_next && !has_next_ended { Ok(()) } else { Err(OwnerError::Lost { file: own }) }
    }

    /// Shows watchers that this process is running. Call it at least each [`BEAT`].
    ///
    /// # Errors
    /// As [`Owner::check`].
    pub fn beat(&self) -> Result<(), OwnerError> {
        self.check()?;
        let beats = u32::try_from(self.beats_count.fetch_add(1, Ordering::Relaxed) + 1).unwrap_or(u32::MAX);
        // A time, not contents: it can be changed on a full disk too. It counts beats and is no clock.
        let time = self.made_at + BEAT * beats;
        self.file.set_modified(time).map_err(|source| io_error("write", &self.path(), source))
    }

    /// Gives the folder up; nothing may be written afterwards. Calling it again does nothing.
    pub fn release(&self) {
        if self.is_released.swap(true, Ordering::Relaxed) {
            return;
        }
        // Without effect if another process has taken the folder: it looks only for higher numbers.
        let own = self.path();
        if self.is_confirmed.load(Ordering::Relaxed) {
            // The number stays known, so that no later owner has the same.
            let _ = fs::rename(&own, path_of(&self.folder, ENDED, self.number));
        } else {
            let _ = fs::remove_file(&own);
        }
    }

    fn path(&self) -> PathBuf {
        path_of(&self.folder, RUNNING, self.number)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.release();
    }
}

/// Whether a file of a data folder only names its owner: it belongs to no backup.
#[must_use]
pub fn is_owner_file(name: &str) -> bool {
    number_of(name).is_some()
}

fn wait_for_end(path: &Path) -> Result<(), OwnerError> {
    let owner = Process(fs::read_to_string(path).unwrap_or_default());
    if owner.has_ended() {
        return Ok(());
    }
    let time = || fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let before = time();
    for _ in 0..WATCH.as_millis() / WATCH_LOOK.as_millis() {
        thread::sleep(WATCH_LOOK);
        let now = time();
        // A file that is gone was ended in order.
        if now.is_none() {
            return Ok(());
        }
        if now != before {
            return Err(OwnerError::InUse { file: path.to_owned() });
        }
    }
    Ok(())
}

/// One process of one machine: the boot, the process namespace, the id, and the start time, a word each.
#[derive(PartialEq, Eq, Default, Debug)]
struct Process(String);

impl Process {
    fn this() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let id = std::process::id().to_string();
        let started = start_of(&id)?;
        Some(Self(format!("{} {} {id} {started}\n", boot.trim(), namespace.display())))
    }

    /// Whether it is certain that the process is not running.
    fn has_ended(&self) -> bool {
        let Some(this) = Self::this() else { return false };
        let (mut words, mut own) = (self.0.split_whitespace(), this.0.split_whitespace());
        // On another machine, or in another container, an id says nothing.
        if words.next() != own.next() || words.next() != own.next() {
            return false;
        }
        let (Some(id), Some(started)) = (words.next(), words.next()) else { return false };
        start_of(id).as_deref() != Some(started)
    }
}

/// The 22nd field of `/proc/ID/stat` (proc(5)). The program's name, in parentheses, may hold spaces.
fn start_of(id: &str) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

fn list(folder: &Path) -> Result<Vec<(u64, &'static str)>, OwnerError> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| io_error("list", folder, source))?;
    Ok(entries.iter().filter_map(|entry| number_of(entry.file_name().to_str()?)).collect())
}

fn number_of(name: &str) -> Option<(u64, &'static str)> {
    let (state, digits) = [RUNNING, ENDED].into_iter().find_map(|state| Some((state, name.strip_prefix(state)?)))?;
    Some((digits.parse().ok()?, state))
}

fn path_of(folder: &Path, state: &str, number: u64) -> PathBuf {
    folder.join(format!("{state}{number:010}"))
}

fn io_error(action: &'static str, file: &Path, source: io::Error) -> OwnerError {
    OwnerError::Io { action, file: file.to_owned(), source }
}
