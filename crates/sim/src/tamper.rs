//! The planted bugs of the disk: calls that report success without doing their work.

use crate::disk::{Fault, Folder};
use crate::plant::Plant;
use crate::rng::Rng;

/// The planted bug, and its state.
#[derive(Debug)]
pub(crate) struct Tamper {
    plant: Option<Plant>,
    chance: Rng,
    is_recovering: bool,
    /// The file and offset from which reads return zeros.
    blind: Option<(String, u64)>,
    delayed: Option<(String, Vec<u8>, u64)>,
}

const SUFFIX_NEW: &str = ".new";

impl Tamper {
    pub(crate) fn new(plant: Option<Plant>, seed: u64) -> Self {
        Self { plant, chance: Rng::new(seed, 3), is_recovering: false, blind: None, delayed: None }
    }

    pub(crate) fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn restart(&mut self) {
        self.blind = None;
        self.delayed = None;
    }

    pub(crate) fn set_recovering(&mut self, is_recovering: bool) {
        self.is_recovering = is_recovering;
        self.blind = None;
    }

    pub(crate) fn skips_folder_sync(&self, folder: Folder) -> bool {
        self.is(Plant::FolderSyncMissing) && folder == Folder::Journal
    }

    pub(crate) fn skips_sync(&mut self, folder: Folder, name: &str, was_synced: bool) -> bool {
        let is_new = name.ends_with(SUFFIX_NEW);
        match self.plant {
            Some(Plant::FileSyncSkipped) => folder == Folder::Journal && self.chance.one_in(4),
            Some(Plant::TailNotSynced) => self.is_recovering && folder == Folder::Journal && !is_new,
            Some(Plant::SnapshotRenamedUnsynced) => folder == Folder::Snapshots,
            Some(Plant::SegmentRenamedUnsynced) => folder == Folder::Journal && is_new && !was_synced,
            _ => false,
        }
    }

    pub(crate) fn skips_write(&self, folder: Folder, name: &str, bytes: &[u8]) -> bool {
        let is_repair = self.is_recovering && folder == Folder::Journal && !name.ends_with(SUFFIX_NEW);
        match self.plant {
            Some(Plant::TornTailNotCleared) => is_repair && is_zero(bytes),
            Some(Plant::TailNotRewritten) => is_repair && !is_zero(bytes),
            _ => false,
        }
    }

    pub(crate) fn delays_write(&mut self, folder: Folder, name: &str, bytes: &[u8], offset: u64) -> bool {
        let is_batch = folder == Folder::Journal && !self.is_recovering && !is_zero(bytes) && offset != 0;
        let delays = self.is(Plant::SyncBeforeWrite) && is_batch;
        if delays {
            self.delayed = Some((name.to_owned(), bytes.to_vec(), offset));
        }
        delays
    }

    pub(crate) fn take_delayed(&mut self, name: &str) -> Option<(Vec<u8>, u64)> {
        let delayed = self.delayed.take_if(|(delayed, _, _)| delayed == name)?;
        Some((delayed.1, delayed.2))
    }

    /// Replaces the zeros of a new segment by the bytes of the first segment.
    pub(crate) fn recycles(&self, name: &str, bytes: &[u8], old: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let recycles = self.is(Plant::SegmentRecycled) && name.ends_with(SUFFIX_NEW) && is_zero(bytes);
        old.filter(|old| recycles && old.len() == bytes.len())
    }

    /// After a read error the rest of the file reads as zeros, as if it ended there.
    pub(crate) fn blinds(&mut self, fault: Fault, name: &str, offset: u64) -> bool {
        let blinds = self.is(Plant::ReadErrorTakenForEnd) && self.is_recovering && matches!(fault, Fault::Error(_));
        let blinds = blinds && name.ends_with(".segment") && 0 < offset;
        if blinds {
            self.blind = Some((name.to_owned(), offset));
        }
        blinds
    }

    pub(crate) fn hide(&self, name: &str, offset: u64, buffer: &mut [u8]) {
        let Some((_, from)) = self.blind.as_ref().filter(|(blind, _)| blind == name) else { return };
        let skipped = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
        buffer.iter_mut().skip(skipped).for_each(|byte| *byte = 0);
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
