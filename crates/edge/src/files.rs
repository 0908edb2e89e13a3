//! Files that must survive a power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Replaces a file atomically: writes a copy that only the folder's owner can read, syncs it, renames
/// it and syncs the folder. After a power loss the file holds all of the old or all of the new bytes.
///
/// # Errors
/// The system's error. The file is then unchanged, unless the folder could not be synced.
pub fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    // Left by a process that was killed.
    let _ = fs::remove_file(&unfinished);
    // Opened before anything changes, so that running out of file descriptors changes nothing.
    let opened = File::open(folder)?;
    let written = write_new(folder, &unfinished, bytes).and_then(|()| fs::rename(&unfinished, folder.join(name)));
    // On a full disk, the unfinished copy would take room that others need.
    written.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    opened.sync_all()
}

fn write_new(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // If the process runs as another account, such as root, the file must still belong to the folder's owner.
    let (of_folder, of_file) = (fs::metadata(folder)?, file.metadata()?);
    if of_folder.uid() != of_file.uid() {
        fchown(&file, Some(of_folder.uid()), Some(of_folder.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_no_unfinished_copy() {
        let folder = tempfile::tempdir().unwrap();
        // A folder that is not empty cannot be replaced by a file.
        fs::create_dir_all(folder.path().join("layout/inside")).unwrap();
        assert!(write_durably(folder.path(), "layout", b"2\n").is_err());
        assert!(!folder.path().join("layout.new").exists());
    }
}
