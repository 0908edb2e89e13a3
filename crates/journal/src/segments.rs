//! Segment files: named, found, and created ahead of need.
//!
//! A segment is filled with zeros and synced before its first use, under a temporary name until it is
//! complete. Appending then never changes a file's size, which makes a sync cheaper, and never finds the disk
//! full.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::format::{JournalId, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::reader::in_memory;
use crate::storage::{Storage, StorageFile};

/// The least size of a segment that a program should use. The code that bounds batches ensures that a segment
/// holds its header page and the largest batch.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// Zeros are written in pieces of this size, so that a slow disk is not stalled.
const ZEROS_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".segment";
const SUFFIX_NEW: &str = ".segment.new";

/// The file name of a segment.
#[must_use]
pub fn name_of(segment: u64) -> String {
    format!("{segment:010}{SUFFIX}")
}

/// The numbers of all segments, ascending.
///
/// # Errors
/// The storage's I/O error.
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

/// Removes segment files that were never completed.
///
/// # Errors
/// The storage's I/O error.
pub fn remove_unfinished<S: Storage>(storage: &S) -> io::Result<()> {
    for name in storage.list()?.iter().filter(|name| name.ends_with(SUFFIX_NEW)) {
        storage.remove(name)?;
    }
    Ok(())
}

/// Creates a segment of zeros with a header, synced before it gets its final name.
///
/// # Errors
/// The storage's I/O error; the unfinished file is removed, so that it does not fill the disk.
pub fn prepare<S: Storage>(storage: &S, header: SegmentHeader, segment_bytes: u64) -> io::Result<S::File> {
    let name = name_of(header.segment);
    let unfinished = format!("{}{SUFFIX_NEW}", name.trim_end_matches(SUFFIX));
    let prepared = prepare_unfinished(storage, &unfinished, header, segment_bytes).and_then(|file| {
        storage.rename(&unfinished, &name)?;
        storage.sync_folder()?;
        Ok(file)
    });
    if prepared.is_err() {
        // The first error is the one to report.
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

/// Segments ready for use, created by another thread than the one that appends.
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
    /// The number of the next segment to create.
    next: u64,
    /// Whether this process has tried to create it: a file of its name may be left of that.
    has_tried: bool,
    is_closed: bool,
}

/// A segment that is ready for use.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) segment: u64,
    pub(crate) file: F,
    /// The size of its file. A spare that an earlier run left, with other options, keeps its own size.
    pub(crate) file_bytes: u64,
}

impl<F> Spare<F> {
    fn capacity_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(SEGMENT_HEADER_BYTES)
    }
}

impl<S: Storage> Spares<S> {
    pub(crate) fn new(journal: JournalId, segment_bytes: u64, next: u64) -> Self {
        let state = State { ready: VecDeque::new(), next, has_tried: false, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), journal, segment_bytes }
    }

    /// Whether a spare segment is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.state().ready.is_empty()
    }

    /// Capacity for batches of the spare that is used next; 0 if none is ready.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.state().ready.front().map_or(0, Spare::capacity_bytes)
    }

    /// Capacity for batches of a segment created from now on.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.segment_bytes - SEGMENT_HEADER_BYTES
    }

    /// Creates a spare if none is ready; returns whether it did.
    ///
    /// # Errors
    /// The storage's I/O error; calling again later is safe.
    pub fn prepare(&self, storage: &S) -> io::Result<bool> {
        let (segment, has_tried) = {
            let state = self.state();
            if !state.ready.is_empty() {
                return Ok(false);
            }
            (state.next, state.has_tried)
        };
        // A rename would replace the segment of another process, and all decisions in it.
        let name = name_of(segment);
        if !has_tried && storage.list()?.contains(&name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} was made by another process")));
        }
        self.state().has_tried = true;
        let file = prepare(storage, SegmentHeader { segment, journal: self.journal }, self.segment_bytes)?;
        self.add(Spare { segment, file, file_bytes: self.segment_bytes });
        Ok(true)
    }

    /// Waits until no spare is ready, or `at_most` has passed; returns `false` once closed.
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
        state.has_tried = false;
        state.ready.push_back(spare);
    }

    /// Takes the next segment, if one is ready with room for `bytes` of batches. A spare that is too small
    /// stays: segments are used in the order of their numbers, without a gap.
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
