//! A temporary folder of an engine, and the guard that removes it, and ends what runs in it, should
//! the process that started it die.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::error::ServiceError;

/// Reads until the other end of its standard input is gone, which is when the starting process has
/// dropped the folder or has died in whatever way. A parent-death signal would not do: it is sent
/// when the *thread* that spawned ends, is lost when the child changes its user, and removes no
/// folder. Ids are noted by each process before it becomes the engine; it is looked twice, for one
/// that was being started just then. Children are ended by name, because one that is stopped does
/// not notice that its parent is gone.
const GUARD: &str = r#"
trap '' HUP INT TERM
kill_family() {
    children=
    for stat in /proc/[0-9]*/stat; do
        { read -r line < "$stat"; } 2>/dev/null || continue
        after_name=${line##*) }
        after_state=${after_name#* }
        [ "${after_state%% *}" = "$1" ] && children="$children ${line%% *}"
    done
    kill -KILL "$1" $children
}
while read -r line; do :; done
[ -d "$1" ] || exit 0
for round in 1 2; do
    for file in "$1"/processes/*; do
        [ -e "$file" ] && kill_family "$(cat "$file")"
    done
    sleep 0.1
done
for round in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && exit 0
    sleep 0.2
done
"#;

/// A folder that is there as long as this value, and no longer than this process.
#[derive(Debug)]
pub(crate) struct Folder {
    // Dropped before the guard, which then finds nothing to do.
    folder: Option<TempDir>,
    path: PathBuf,
    guard: Child,
}

impl Folder {
    pub(crate) fn new(service: &str) -> Result<Self, ServiceError> {
        let parent = std::env::temp_dir();
        let folder =
            tempfile::Builder::new().prefix(&format!("firstcome-{service}-")).tempdir_in(&parent).map_err(ServiceError::file(parent))?;
        let path = folder.path().to_owned();
        // A server that runs as another user must get through to its own folder in this one.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, open).map_err(ServiceError::file(&path))?;
        let processes = path.join("processes");
        fs::create_dir(&processes).map_err(ServiceError::file(&processes))?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "firstcome-guard"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the process that started it.
            .process_group(0)
            .spawn()
            .map_err(|source| ServiceError::Process { what: "start", name: "the guard (sh)".to_owned(), source })?;
        Ok(Self { folder: Some(folder), path, guard })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the id of a process stands while it runs.
    pub(crate) fn id_of(&self, name: &str) -> PathBuf {
        self.path.join("processes").join(name)
    }

    /// Where a process writes what it has to say.
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // What cannot be removed now, the guard tries again.
            let _ = folder.close();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
