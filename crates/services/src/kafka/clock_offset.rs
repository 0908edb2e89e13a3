//! A broker with a wrong clock, by means of a preloaded library.

use std::fs;
use std::path::PathBuf;

use crate::error::ServiceError;

/// Arguments of `env` that shift every clock. The monotonic clock is shifted with the others: otherwise
/// Java's waits end at once and it busy-loops.
pub(super) fn environment(seconds: i64) -> Result<Vec<String>, ServiceError> {
    let library = library().ok_or(ServiceError::MissingProgram { program: "libfaketime", packages: "libfaketime" })?;
    Ok(vec![format!("LD_PRELOAD={}", library.display()), format!("FAKETIME={seconds:+}s")])
}

/// The variant for multithreaded programs, in the folder of this machine's architecture.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}
