//! An engine's temporary folder, and a guard that removes the folder and ends the engine's processes if the
//! starting process dies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::error::ServiceError;

/// Waits until its stdin is closed, which happens when the starting process has dropped the folder or has
/// died in any way. A parent-death signal would not do: it is sent when the *thread* that spawned ends, is
/// lost when the child changes its user, and removes no folder. Each process stores its id before it becomes
/// the engine; the guard checks twice, in case one was being started at that moment. Children are killed
/// individually, because a suspended one does not notice that its parent is gone.
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

/// A folder that exists as long as this value, and never longer than this process.
#[derive(Debug)]
pub(crate) struct Folder {
    // Dropped before the guard, which then has nothing to do.
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
        // A server that runs as another user must be able to reach its own folder inside this one.
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
            // Ctrl-C in a terminal must reach only the process that started it.
            .process_group(0)
            .spawn()
            .map_err(|source| ServiceError::Process { what: "start", name: "the guard (sh)".to_owned(), source })?;
        Ok(Self { folder: Some(folder), path, guard })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that holds a process's id while it runs.
    pub(crate) fn id_of(&self, name: &str) -> PathBuf {
        self.path.join("processes").join(name)
    }

    /// The file that a process logs to.
    pub(crate) fn log_of(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            // If this fails, the guard tries again.
            let _ = folder.close();
        }
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
