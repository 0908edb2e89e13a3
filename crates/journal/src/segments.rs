//! Segment files: named, found, and made ahead of need.
//!
//! A segment is written full of zeros and synced before its first use, under another name until
//! it is complete. Appending then changes no file's size, which makes a sync cheaper, and cannot
//! find the disk full.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::format::{JournalId, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::reader::in_memory;
use crate::storage::{Storage, StorageFile};

/// The least size of a segment that a program should use. Whoever bounds batches makes sure that a
/// segment holds its header's page and the largest batch.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Zeros are written in pieces of this size, so that a poor disk is not stalled.
const ZEROS_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".segment";
const SUFFIX_NEW: &str = ".segment.new";

/// The file name of a segment.
#[must_use]
pub fn name_of(segment: u64) -> String {
    format!("{segment:010}{SUFFIX}")
}

/// The numbers of all segments, rising.
///
/// # Errors
/// What the disk says.
pub fn list<S: Storage>(storage: &S) -> io::Result<Vec<u64>> {
    let mut segments: Vec<u64> = storage.list()?.iter().filter_map(|name| number_of(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number: u64 = digits.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

/// Removes what was left of segments that were never completed.
///
/// # Errors
/// What the disk says.
pub fn remove_unfinished<S: Storage>(storage: &S) -> io::Result<()> {
    for name in storage.list()?.iter().filter(|name| name.ends_with(SUFFIX_NEW)) {
        storage.remove(name)?;
    }
    Ok(())
}

/// Makes a segment of zeros with a header, durable before it gets its name.
///
/// # Errors
/// What the disk says; what was made so far is removed again, so that a full disk is not fuller.
pub fn prepare<S: Storage>(storage: &S, header: SegmentHeader, segment_bytes: u64) -> io::Result<S::File> {
    let name = name_of(header.segment);
    let unfinished = format!("{}{SUFFIX_NEW}", name.trim_end_matches(SUFFIX));
    let prepared = prepare_unfinished(storage, &unfinished, header, segment_bytes).and_then(|file| {
        storage.rename(&unfinished, &name)?;
        storage.sync_folder()?;
        Ok(file)
    });
    if prepared.is_err() {
        // The first error is the one to tell.
        let _ = storage.remove(&unfinished);
    }
    prepared
}

fn prepare_unfinished<S: Storage>(storage: &S, name: &str, header: SegmentHeader, segment_bytes: u64) -> io::Result<S::File> {
    let file = match storage.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(name)?;
            storage.create(name)?
        }
        created => created?,
    };
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < segment_bytes {
        let count = in_memory((segment_bytes - offset).min(ZEROS_BYTES as u64));
        file.write_at(&zeros[..count], offset)?;
        offset += count as u64;
    }
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    Ok(file)
}

/// Segments that are ready for use, made by another thread than the one that appends.
#[derive(Debug)]
pub struct Spares<S: Storage> {
    state: Mutex<State<S::File>>,
    changed: Condvar,
    journal: JournalId,
    segment_bytes: u64,
}

#[derive(Debug)]
struct State<F> {
    ready: VecDeque<Spare<F>>,
    /// The number that the next one to be made will have.
    next: u64,
    is_closed: bool,
}

/// A segment that is ready for use.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) segment: u64,
    pub(crate) file: F,
    /// The size of its file. One that an earlier run left, under other options, has its own.
    pub(crate) file_bytes: u64,
}

impl<F> Spare<F> {
    fn capacity_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(SEGMENT_HEADER_BYTES)
    }
}

impl<S: Storage> Spares<S> {
    pub(crate) fn new(journal: JournalId, segment_bytes: u64, next: u64) -> Self {
        let state = State { ready: VecDeque::new(), next, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), journal, segment_bytes }
    }

    /// Whether one is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.state().ready.is_empty()
    }

    /// Bytes for batches in the segment that is used next; 0 if none is ready.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.state().ready.front().map_or(0, Spare::capacity_bytes)
    }

    /// Bytes for batches in a segment that is made from now on.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.segment_bytes - SEGMENT_HEADER_BYTES
    }

    /// Makes one if none is ready; says whether it did.
    ///
    /// # Errors
    /// What the disk says; asking again later is safe.
    pub fn prepare(&self, storage: &S) -> io::Result<bool> {
        let segment = {
            let state = self.state();
            if !state.ready.is_empty() {
                return Ok(false);
            }
            state.next
        };
        let file = prepare(storage, SegmentHeader { segment, journal: self.journal }, self.segment_bytes)?;
        self.add(Spare { segment, file, file_bytes: self.segment_bytes });
        Ok(true)
    }

    /// Waits until none is ready, or `at_most` has passed; `false` once it is closed.
    pub fn wait_until_wanted(&self, at_most: Duration) -> bool {
        let mut state = self.state();
        self.changed.wait_while_for(&mut state, |state| !state.is_closed && !state.ready.is_empty(), at_most);
        !state.is_closed
    }

    /// Ends [`Spares::wait_until_wanted`].
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn add(&self, spare: Spare<S::File>) {
        let mut state = self.state();
        state.next = state.next.max(spare.segment + 1);
        state.ready.push_back(spare);
    }

    /// The next segment, if one is ready that has room for so many bytes of batches. One that is
    /// too small stays: segments are used in the order of their numbers, without a gap.
    pub(crate) fn take(&self, bytes: u64) -> Option<Spare<S::File>> {
        let mut state = self.state();
        if state.ready.front()?.capacity_bytes() < bytes {
            return None;
        }
        let taken = state.ready.pop_front();
        self.changed.notify_all();
        taken
    }

    fn state(&self) -> MutexGuard<'_, State<S::File>> {
        self.state.lock()
    }
}
