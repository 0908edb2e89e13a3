//! Snapshots as the keeper thread takes them, and the planted bugs in doing so.

use std::io;

use engine::restart::write_snapshot;
use journal::Lsn;
use journal::snapshot::{self, SnapshotHeader};

use crate::counts::Rare;
use crate::plant::Plant;
use crate::world::{End, World};

/// The id of the section with request keys.
const REQUESTS: u8 = 4;

/// Writes the frozen state.
pub(crate) fn write(world: &mut World) -> Result<(), End> {
    let _ = world.disk.take_fired();
    let Some((lsn, frozen)) = world.process()?.frozen.take() else { return Ok(()) };
    // A deliberately damaged snapshot of the same record is kept, so that it has to be skipped.
    if world.rotted.contains(&lsn) {
        return Ok(());
    }
    let journal = world.process()?.committer.journal().id();
    let storage = world.disk.snapshots.clone();
    let header = |lsn| SnapshotHeader { journal, lsn };
    let written: io::Result<[u8; 32]> = match world.plant {
        Some(Plant::SnapshotWithoutKeys) => {
            snapshot::write(&storage, header(lsn), frozen.sections().filter(|section| section.first() != Some(&REQUESTS)))
        }
        Some(Plant::SnapshotMislabelled) => snapshot::write(&storage, header(Lsn(lsn.0 + 1)), frozen.sections()),
        _ => write_snapshot(&storage, journal, lsn, &frozen),
    };
    match written {
        Ok(_) => Ok(()),
        Err(error) => world.after_failure("a snapshot was not written", &error.to_string(), Rare::PowerLostInSnapshot),
    }
}
