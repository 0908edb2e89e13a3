//! Keeps the folder's owner file fresh, and ends the engine when the folder is another process's.

use std::io;
use std::path::Path;
use std::sync::Arc;

use journal::owner::{BEAT, Owner};
use journal::writer::OpenError;

use super::{Shared, give_up};

/// Takes the folder, creating it if needed.
pub(super) fn take(folder: &Path) -> Result<Arc<Owner>, OpenError> {
    std::fs::create_dir_all(folder)?;
    Ok(Arc::new(Owner::take(folder)?))
}

/// Whether files may still be made in the folder.
pub(super) fn still_ours(shared: &Shared) -> io::Result<()> {
    shared.owner.check().map_err(io::Error::other)
}

/// Beats until the engine is closed or the folder is lost. A thread of its own: a disk that hangs in a sync
/// must not look like an owner that has ended.
pub(super) fn run(shared: &Shared) {
    loop {
        if let Err(error) = shared.owner.beat() {
            tracing::error!(%error, "the data folder is not this server's any more; nothing more is accepted");
            return give_up(shared);
        }
        if shared.owning.sleep(BEAT) {
            return;
        }
    }
}
