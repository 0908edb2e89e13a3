//! BYTES THAT SURVIVE. Knows records, not coupons.
//!
//! Records that were appended and synced survive any crash, byte for byte, or the journal refuses to open and
//! says where it is damaged. `docs/journal.md` describes the format and its assumptions about the disk.
//!
//! Layout, in reading order:
//! - [`storage`]: the file operations that the journal needs, and their implementation on a file system;
//! - [`memory`]: a disk in memory that can lose power, fail, and be full;
//! - [`format`]: segments, batches, records, checksums, the chain;
//! - [`batch`]: records on their way to the disk;
//! - [`segments`]: creates, finds and names segment files;
//! - [`scan`]: where a journal ends, and whether that is a torn tail or a hole;
//! - [`writer`]: opens, appends, syncs;
//! - [`reader`]: reads durable records from any LSN on;
//! - [`snapshot`]: snapshots of the state, which shorten the start;
//! - [`owner`]: which process may write a data folder, without relying on locks.
#![warn(missing_docs)]

pub mod batch;
pub mod format;
pub mod memory;
pub mod owner;
pub mod reader;
pub mod scan;
pub mod segments;
pub mod snapshot;
pub mod storage;
pub mod writer;

use std::fmt;

/// A record's number in the journal: 1, 2, 3, … without a gap; 0 is the position before the first record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position before the first record.
    pub const ZERO: Self = Self(0);

    /// The LSN after this one.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// The LSN `records_count` after this one.
    ///
    /// # Panics
    /// If it overflows: two records must never share an LSN.
    #[must_use]
    pub fn plus(self, records_count: u64) -> Self {
        let Some(lsn) = self.0.checked_add(records_count) else { panic!("{records_count} records after {self} have no number") };
        Self(lsn)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The location and kind of a damage, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file's name in the journal's folder.
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The first record that cannot be read.
    pub lsn: Lsn,
    /// What is wrong at this place.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at offset {} (record {})", self.what, self.file, self.offset, self.lsn)
    }
}
