//! The file operations that the journal needs. Two implementations: [`FileStorage`], a folder, and
//! [`crate::memory::MemoryStorage`], which can fail in every way that a disk can.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A folder of files.
pub trait Storage: std::fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;

    /// The names of all files, in no particular order.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file; a file of that name must not exist.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, replacing a file that has the new name.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file.
pub trait StorageFile: std::fmt::Debug + Send + Sync + 'static {
    /// The file's size in bytes.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn size(&self) -> io::Result<u64>;

    /// Fills all of `buffer` from the file, starting at `offset`.
    ///
    /// # Errors
    /// The storage's I/O error; `UnexpectedEof` if the file ends too early.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes`; not durable before [`StorageFile::sync`].
    ///
    /// # Errors
    /// The storage's I/O error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all writes durable. After an error the state of the writes is unknown, and a second call proves
    /// nothing: the operating system may have dropped the pages and cleared the error.
    ///
    /// # Errors
    /// The storage's I/O error.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct FileStorage {
    folder: PathBuf,
}

impl FileStorage {
    /// Opens the folder, creating it durably if it does not exist.
    ///
    /// # Errors
    /// The file system's error.
    pub fn open_folder(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder's path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes creations, renames and removals in a folder durable.
///
/// # Errors
/// The file system's error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

impl Storage for FileStorage {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?.collect::<io::Result<Vec<_>>>()?;
        // A file whose name is not UTF-8 is not one of the journal's.
        Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.folder.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }
}

impl StorageFile for File {
    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
