//! A node's own snapshots, which shorten its restart.
//!
//! For each partition the state at an offset, in the same sections as in one machine's snapshots, after one
//! section that holds the partition's progress. The files have the format of [`journal::snapshot`]; their
//! header has the log's id in place of the journal's, and the offset of the next record in place of the LSN.
//! A snapshot only shortens the restart: the log alone gives the same state.

use std::io;
use std::path::Path;

use domain::hash::HashSeed;
use domain::types::Timestamp;
use domain::wire::state::{FrozenState, StateBuilder};
use engine::restart::SNAPSHOTS_KEPT;
use journal::Lsn;
use journal::snapshot::{self, SnapshotHeader};
use journal::storage::{FileStorage, Storage};

use crate::protocol::record::{LogId, RulesVersion};
use crate::protocol::replica::{Progress, Replica, Topology};

/// The format of the progress section that this version writes.
pub const PROGRESS_FORMAT: u8 = 1;
const PROGRESS_BYTES: usize = 53;
const MALFORMED: &str = "its first section is malformed";

/// The snapshots of one log.
#[derive(Debug)]
pub struct Snapshots<S> {
    log: LogId,
    /// One for each partition.
    storages: Vec<S>,
}

/// What [`Snapshots::resume`] found.
#[derive(Debug)]
pub struct Resumed {
    /// The replica at the newest usable snapshot, or at the beginning of the log.
    pub replica: Replica,
    /// Snapshots that could not be used, by the offset of the next record, and why.
    pub refused: Vec<(u64, String)>,
}

impl Snapshots<FileStorage> {
    /// Opens the snapshot folders under a node's data folder, creating them if needed. Each log has its own
    /// folder: another log's snapshots are neither used nor removed.
    ///
    /// # Errors
    /// The file system's error.
    pub fn open(data_folder: &Path, log: LogId, partitions: u32) -> io::Result<Self> {
        let folder = data_folder.join("log-snapshots");
        FileStorage::open_folder(&folder)?;
        let folder = folder.join(log.to_string());
        FileStorage::open_folder(&folder)?;
        let storages = (0..partitions).map(|partition| FileStorage::open_folder(&folder.join(format!("{partition:05}"))));
        Ok(Self::new(log, storages.collect::<io::Result<_>>()?))
    }
}

impl<S: Storage> Snapshots<S> {
    /// Snapshots in the given storages, one for each partition of the log.
    #[must_use]
    pub fn new(log: LogId, storages: Vec<S>) -> Self {
        Self { log, storages }
    }

    /// Writes the result of [`Replica::freeze`], and removes old snapshots of the partition.
    ///
    /// # Errors
    /// The storage's I/O error; earlier snapshots are kept.
    ///
    /// # Panics
    /// If the log has no such partition.
    pub fn write(&self, partition: u32, (progress, state): &(Progress, FrozenState)) -> io::Result<()> {
        let storage = self.storage(partition);
        let header = SnapshotHeader { journal: self.log.0, lsn: Lsn(progress.offset_next) };
        let first = encode_progress(self.topology(partition), progress);
        snapshot::write(storage, header, std::iter::once(first).chain(state.sections()))?;
        snapshot::prune(storage, SNAPSHOTS_KEPT)
    }

    /// A replica of the partition, restored from its newest usable snapshot.
    ///
    /// # Errors
    /// The storage's I/O error. A snapshot that cannot be used is no error.
    ///
    /// # Panics
    /// If the log has no such partition.
    pub fn resume(&self, partition: u32, rules_known: RulesVersion, seed: HashSeed) -> io::Result<Resumed> {
        let storage = self.storage(partition);
        let mut refused = Vec::new();
        for lsn in snapshot::list(storage)? {
            match self.read(partition, lsn, rules_known, seed) {
                Ok(replica) => return Ok(Resumed { replica, refused }),
                Err(why) => refused.push((lsn.0, why)),
            }
        }
        Ok(Resumed { replica: Replica::new(self.topology(partition), rules_known, seed), refused })
    }

    fn read(&self, partition: u32, lsn: Lsn, rules_known: RulesVersion, seed: HashSeed) -> Result<Replica, String> {
        let (mut first, mut builder) = (None, StateBuilder::new(seed));
        let read = snapshot::read(self.storage(partition), lsn, |section| {
            if first.is_none() {
                first = Some(decode_progress(section)?);
                return Ok(());
            }
            builder.section(section).map_err(|error| error.0)
        });
        let header = read.map_err(|error| error.to_string())?;
        let (topology, progress) = first.ok_or("it is empty")?;
        if header.journal != self.log.0 {
            return Err(format!("it is of log {}", LogId(header.journal)));
        }
        if topology != self.topology(partition) || progress.offset_next != lsn.0 {
            return Err("it is of another partition or offset than its file says".to_owned());
        }
        let state = builder.finish().map_err(|error| error.to_string())?;
        if state.time != progress.effective_at {
            return Err("its state is of another time than it says".to_owned());
        }
        Replica::resume(topology, rules_known, state, &progress).map_err(|fault| fault.to_string())
    }

    fn storage(&self, partition: u32) -> &S {
        let Some(storage) = self.storages.get(partition as usize) else { panic!("there is no partition {partition}") };
        storage
    }

    fn topology(&self, partition: u32) -> Topology {
        let Ok(partitions) = u32::try_from(self.storages.len()) else { panic!("a log has at most 2^32 - 1 partitions") };
        Topology { partition, partitions }
    }
}

fn encode_progress(topology: Topology, progress: &Progress) -> Vec<u8> {
    let mut out = Vec::with_capacity(PROGRESS_BYTES);
    out.push(PROGRESS_FORMAT);
    out.extend_from_slice(&topology.partition.to_le_bytes());
    out.extend_from_slice(&topology.partitions.to_le_bytes());
    out.extend_from_slice(&progress.offset_next.to_le_bytes());
    out.extend_from_slice(&progress.decisions.to_le_bytes());
    out.extend_from_slice(&progress.effective_at.millis().to_le_bytes());
    out.extend_from_slice(&progress.rules.0.to_le_bytes());
    out.extend_from_slice(&progress.digest);
    out
}

fn decode_progress(section: &[u8]) -> Result<(Topology, Progress), &'static str> {
    let mut rest = section;
    if take(&mut rest)? != [PROGRESS_FORMAT] {
        return Err("its first section has a format that this version does not know");
    }
    let (partition, partitions) = (u32::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
    let (offset_next, decisions) = (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
    let effective_at = Timestamp::from_millis(u64::from_le_bytes(take(&mut rest)?)).ok_or(MALFORMED)?;
    let (rules, digest) = (RulesVersion(u32::from_le_bytes(take(&mut rest)?)), take(&mut rest)?);
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    Ok((Topology { partition, partitions }, Progress { offset_next, decisions, effective_at, rules, digest }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (taken, behind) = rest.split_first_chunk().ok_or(MALFORMED)?;
    *rest = behind;
    Ok(*taken)
}
