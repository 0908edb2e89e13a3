//! A broker whose clock is wrong, by a library that is loaded before the system's own.

use std::fs;
use std::path::PathBuf;

use crate::error::ServiceError;

/// Arguments of `env` that put every clock forward or back. The clock that only measures how long
/// something takes is moved with the others: left alone, Java's waits end at once and it only spins.
pub(super) fn environment(seconds: i64) -> Result<Vec<String>, ServiceError> {
    let library = library().ok_or(ServiceError::MissingProgram { program: "libfaketime", packages: "libfaketime" })?;
    Ok(vec![format!("LD_PRELOAD={}", library.display()), format!("FAKETIME={seconds:+}s")])
}

/// The variant for programs with threads, in the folder of this kind of machine.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}
