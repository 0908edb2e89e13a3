//! The data folder: created at the first start, locked while in use, with a versioned layout.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use edge::files::write_durably;
use journal::owner::{Owner, OwnerError};

/// The layout version that this program creates and reads.
pub const LAYOUT: u32 = 1;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another process uses the folder.
    #[error("the data folder {0} is in use by another process")]
    InUse(PathBuf),
    /// The folder holds the journal of a server that runs alone.
    #[error("the data folder {0} holds the journal of a server that runs alone; take another one (--data) for the scaled mode")]
    HoldsJournal(PathBuf),
    /// A newer version created the folder.
    #[error("the data folder {folder} has layout {found}; this version reads layouts up to {LAYOUT}")]
    Newer {
        /// The folder's path.
        folder: PathBuf,
        /// The folder's layout version.
        found: String,
    },
    /// Another process uses the folder without holding this mount's lock.
    #[error("the data folder {folder} cannot be taken: {source}")]
    Owner {
        /// The folder's path.
        folder: PathBuf,
        /// What the owner file says.
        source: OwnerError,
    },
    /// An operation of the file system failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The operation.
        action: &'static str,
        /// The path that it was applied to.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
}

/// A data folder that no other process uses while this exists.
#[derive(Debug)]
pub struct DataFolder {
    folder: PathBuf,
    /// Besides the lock, which another mount of the folder may not share.
    owner: Option<Arc<Owner>>,
    _lock: File,
}

impl DataFolder {
    /// Opens, locks and takes a folder, creating it if needed.
    ///
    /// # Errors
    /// [`DataError`]; nothing in the folder was changed then.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        make_if_missing(folder)?;
        let lock = lock(folder, File::try_lock)?;
        let owner = Owner::take(folder).map_err(|source| DataError::Owner { folder: folder.to_owned(), source })?;
        check_layout(folder)?;
        Ok(Self { folder: folder.to_owned(), owner: Some(Arc::new(owner)), _lock: lock })
    }

    /// Opens a folder that several servers of the scaled mode may share, creating it if needed: it holds
    /// secrets, but no decisions.
    ///
    /// # Errors
    /// [`DataError`]; nothing in the folder was changed then.
    pub fn open_shared(folder: &Path) -> Result<Self, DataError> {
        make_if_missing(folder)?;
        let lock = lock(folder, File::try_lock_shared)?;
        if folder.join("journal").is_dir() {
            return Err(DataError::HoldsJournal(folder.to_owned()));
        }
        // One process at a time: only the first one creates missing files.
        let making = lock_file(folder, "making.lock")?;
        making.lock().map_err(|source| io_error("lock", &folder.join("making.lock"), source))?;
        check_layout(folder)?;
        Ok(Self { folder: folder.to_owned(), owner: None, _lock: lock })
    }

    /// Runs `make` while no other process creates files in the folder.
    ///
    /// # Errors
    /// [`DataError`], or the error of `make`.
    pub fn alone<T, E: From<DataError>>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let making = lock_file(&self.folder, "making.lock")?;
        making.lock().map_err(|source| io_error("lock", &self.folder.join("making.lock"), source))?;
        make()
    }

    /// The right to write the folder.
    ///
    /// # Panics
    /// If the folder was opened as a shared one, which holds no journal.
    #[must_use]
    pub fn owner(&self) -> Arc<Owner> {
        let Some(owner) = &self.owner else { panic!("a shared folder has no owner") };
        Arc::clone(owner)
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

/// Readable by its owner only: it holds subjects and codes.
fn make_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(folder)
}

fn make_if_missing(folder: &Path) -> Result<(), DataError> {
    if folder.is_dir() {
        return Ok(());
    }
    match make_folder(folder) {
        // Another process created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|source| io_error("make the data folder", folder, source))?,
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    journal::storage::sync_folder(parent).map_err(|source| io_error("sync", parent, source))
}

/// The operating system releases the lock when the process ends, however it ends.
fn lock(folder: &Path, take: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<File, DataError> {
    let file = lock_file(folder, "lock")?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &folder.join("lock"), source)),
    }
}

/// Readable by the owner only: any process that can open the file could hold the lock.
fn lock_file(folder: &Path, name: &str) -> Result<File, DataError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(folder.join(name));
    file.map_err(|source| io_error("write to the data folder", folder, source))
}

fn check_layout(folder: &Path) -> Result<(), DataError> {
    let path = folder.join("layout");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == LAYOUT.to_string() => Ok(()),
        Ok(found) => Err(DataError::Newer { folder: folder.to_owned(), found: found.trim().chars().take(20).collect() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_durably(folder, "layout", format!("{LAYOUT}\n").as_bytes()).map_err(|source| io_error("write", &path, source))
        }
        Err(source) => Err(io_error("read", &path, source)),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DataError {
    DataError::Io { action, path: path.to_owned(), source }
}
