//! Rebuilds a core from the newest usable snapshot and the journal's tail, and writes snapshots.

use std::io;
use std::sync::Arc;

use domain::State;
use domain::hash::HashSeed;
use domain::types::Timestamp;
use domain::wire;
use domain::wire::state::{FrozenState, StateBuilder};
use journal::format::{JournalId, RecordBytes, SEGMENT_HEADER_BYTES};
use journal::snapshot::{self, SnapshotError, SnapshotHeader};
use journal::storage::Storage;
use journal::writer::{Journal, OpenError, Opened, Options};
use journal::{Damage, Lsn};

use crate::commit::Committer;
use crate::core::Core;
use crate::limits::Limits;

/// Snapshots that are kept: the newest, and one more in case the newest is damaged.
pub const SNAPSHOTS_KEPT: usize = 2;

/// The result of a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restarted {
    /// The LSN of the snapshot that was used.
    pub snapshot_lsn: Option<Lsn>,
    /// Snapshots that could not be used, and why.
    pub snapshots_refused: Vec<(Lsn, String)>,
    /// Records that were replayed from the journal.
    pub replayed_count: u64,
    /// The last record.
    pub last_lsn: Lsn,
    /// The last record's time.
    pub last_at: Timestamp,
    /// The remains of a batch that was never synced; they have been cleared.
    pub torn: Option<Damage>,
}

/// Opens journal and snapshots and rebuilds the state.
///
/// # Errors
/// [`OpenError`]. A snapshot that cannot be used is no error: the journal alone is enough.
pub fn restart<S: Storage>(
    journal_storage: &Arc<S>,
    snapshot_storage: &S,
    options: &Options,
    seed: HashSeed,
    limits: Limits,
) -> Result<(Core, Committer<S>, Restarted), OpenError> {
    assert!(SEGMENT_HEADER_BYTES + limits.staged_bytes_max <= options.segment_bytes, "a segment must hold the largest batch");
    let mut snapshots_refused = Vec::new();
    let snapshot = newest_snapshot(snapshot_storage, seed, &mut snapshots_refused)?;
    let snapshot_header = snapshot.as_ref().map(|(header, _)| *header);
    let snapshot_lsn = snapshot_header.map(|header| header.lsn);
    let after = snapshot_lsn.unwrap_or_default();
    let mut core = match snapshot {
        Some((_, state)) => Core::resume(state, after, limits),
        None => Core::new(seed, limits),
    };
    let (journal, opened) = Journal::open(journal_storage, options, after, |lsn, record| replay(&mut core, lsn, record))?;
    if snapshot_header.is_some_and(|header| header.journal != journal.id()) {
        return Err(OpenError::Replay { lsn: after, what: "the snapshot is of another journal".to_owned() });
    }
    let Opened { last_lsn, replayed_count, torn } = opened;
    core.settle(journal.room_bytes());
    let last_at = core.state().time;
    let restarted = Restarted { snapshot_lsn, snapshots_refused, replayed_count, last_lsn, last_at, torn };
    Ok((core, Committer::new(journal), restarted))
}

/// Writes a snapshot and removes old ones. The journal must be durable up to `lsn`.
///
/// # Errors
/// The storage's I/O error; earlier snapshots are kept.
pub fn write_snapshot<S: Storage>(storage: &S, journal: JournalId, lsn: Lsn, state: &FrozenState) -> io::Result<[u8; 32]> {
    let digest = snapshot::write(storage, SnapshotHeader { journal, lsn }, state.sections())?;
    snapshot::prune(storage, SNAPSHOTS_KEPT)?;
    Ok(digest)
}

/// The digest of a state's canonical bytes (J1).
#[must_use]
pub fn state_digest(state: &State) -> [u8; 32] {
    snapshot::digest_of(state.freeze().sections())
}

fn replay(core: &mut Core, lsn: Lsn, record: &RecordBytes<'_>) -> Result<(), String> {
    let record = wire::decode_record(record.body, record.private_bytes()).map_err(|error| error.to_string())?;
    core.replay(lsn, &record)
}

fn newest_snapshot<S: Storage>(
    storage: &S,
    seed: HashSeed,
    refused: &mut Vec<(Lsn, String)>,
) -> io::Result<Option<(SnapshotHeader, State)>> {
    for lsn in snapshot::list(storage)? {
        match read_snapshot(storage, lsn, seed) {
            Ok(read) => return Ok(Some(read)),
            Err(error) => refused.push((lsn, error.to_string())),
        }
    }
    Ok(None)
}

fn read_snapshot<S: Storage>(storage: &S, lsn: Lsn, seed: HashSeed) -> Result<(SnapshotHeader, State), SnapshotError> {
    let mut builder = StateBuilder::new(seed);
    let header = snapshot::read(storage, lsn, |section| builder.section(section).map_err(|error| error.0))?;
    let state = builder.finish().map_err(|error| SnapshotError::Damaged(error.0))?;
    Ok((header, state))
}
