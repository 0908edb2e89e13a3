//! A journal on a disk in memory, and a few words to work with it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;

use journal::Lsn;
use journal::batch::Batch;
use journal::memory::MemoryStorage;
use journal::segments::SEGMENT_BYTES_MIN;
use journal::writer::{Journal, OpenError, Opened, Options};

pub const OPTIONS: Options = Options { segment_bytes: SEGMENT_BYTES_MIN, new_id: [9; 16], salt_seed: [3; 32] };

pub struct Open {
    pub journal: Journal<MemoryStorage>,
    pub opened: Opened,
    pub bodies: Vec<String>,
}

pub fn try_open(disk: &MemoryStorage) -> Result<Open, OpenError> {
    let mut bodies = Vec::new();
    let (journal, opened) = Journal::open(&Arc::new(disk.clone()), &OPTIONS, Lsn::ZERO, |_, record| {
        bodies.push(String::from_utf8(record.body.to_vec()).unwrap());
        Ok(())
    })?;
    Ok(Open { journal, opened, bodies })
}

pub fn open(disk: &MemoryStorage) -> Open {
    try_open(disk).unwrap()
}

pub fn batch(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new();
    for text in bodies {
        batch.push(|body, private| {
            body.extend_from_slice(text.as_bytes());
            private.extend_from_slice(b"somebody");
        });
    }
    batch
}

pub fn append(open: &mut Open, bodies: &[&str]) -> Lsn {
    open.journal.append(&mut batch(bodies)).unwrap()
}

/// The offset of the first batch in a segment.
pub const FIRST: u64 = journal::format::SEGMENT_HEADER_BYTES;
