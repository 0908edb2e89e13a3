//! What is synced is there after anything; what is damaged is named and not touched.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::io::ErrorKind;
use std::sync::Arc;

use journal::Lsn;
use journal::format::BATCH_HEADER_BYTES;
use journal::memory::{Fault, MemoryStorage};
use journal::reader::{ReadError, Reader};
use journal::writer::{AppendError, Journal, OpenError, Options};
use support::{FIRST, OPTIONS, append, batch, open, try_open};

const SEGMENT: &str = "0000000001.segment";

fn lose_everything(_choices: u64) -> u64 {
    0
}

/// `choose(5)` gives 4 (keep all of four), the others never drop or tear.
fn keep_everything(choices: u64) -> u64 {
    if choices == 4 { 0 } else { choices - 1 }
}

#[test]
fn what_was_appended_is_read_back_in_order() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    assert_eq!(append(&mut first, &["a", "b"]), Lsn(2));
    assert_eq!(append(&mut first, &["c"]), Lsn(3));
    drop(first);
    let second = open(&disk);
    assert_eq!(second.bodies, ["a", "b", "c"]);
    assert_eq!((second.opened.last_lsn, second.opened.torn), (Lsn(3), None));
}

#[test]
fn what_was_synced_survives_the_loss_of_everything_else() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    append(&mut first, &["b", "c"]);
    disk.power_cycle(&mut lose_everything);
    assert_eq!(open(&disk).bodies, ["a", "b", "c"]);
}

#[test]
fn a_batch_that_was_never_synced_is_cleared_and_written_over() {
    for cut in [1, 100, BATCH_HEADER_BYTES as u64, BATCH_HEADER_BYTES as u64 + 3] {
        let disk = MemoryStorage::new();
        let mut first = open(&disk);
        append(&mut first, &["a"]);
        let end = FIRST + batch(&["a"]).bytes_count();
        append(&mut first, &["lost"]);
        disk.corrupt(SEGMENT, end + cut, |bytes| bytes.fill(0));
        let mut second = open(&disk);
        assert_eq!(second.bodies, ["a"], "cut at {cut}");
        assert_eq!(second.opened.torn.as_ref().map(|torn| (torn.offset, torn.lsn)), Some((end, Lsn(2))));
        append(&mut second, &["new"]);
        assert_eq!(open(&disk).bodies, ["a", "new"]);
    }
}

#[test]
fn damage_before_a_synced_batch_is_a_hole_and_nothing_is_overwritten() {
    let (a, b) = (batch(&["a"]).bytes_count(), batch(&["b"]).bytes_count());
    // In the header, in the records, in all of the batch, and with its header turned to zeros.
    for (offset, count) in [(FIRST + a + 20, 1), (FIRST + a + 140, 1), (FIRST + a, b), (FIRST + a, 128)] {
        let disk = MemoryStorage::new();
        let mut first = open(&disk);
        for body in ["a", "b", "c"] {
            append(&mut first, &[body]);
        }
        disk.corrupt(SEGMENT, offset, |bytes| {
            bytes.iter_mut().take(usize::try_from(count).unwrap()).for_each(|byte| *byte = if count == 1 { *byte ^ 1 } else { 0 });
        });
        let before = disk.contents(SEGMENT);
        let error = try_open(&disk).err().expect("damage is refused");
        let OpenError::Read(ReadError::Damaged(damage)) = error else { panic!("{error}") };
        assert_eq!((damage.file.as_str(), damage.offset, damage.lsn), (SEGMENT, FIRST + a, Lsn(2)));
        assert_eq!(disk.contents(SEGMENT), before);
    }
}

#[test]
fn an_error_of_the_disk_while_reading_is_not_taken_for_damage() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    let calls = disk.calls_count();
    drop(open(&disk));
    let opening_calls = disk.calls_count() - calls;
    for call in 1..=opening_calls {
        let disk = MemoryStorage::new();
        append(&mut open(&disk), &["a"]);
        disk.set_fault(disk.calls_count() + call, Fault::Error(ErrorKind::Other));
        let failed = try_open(&disk);
        assert!(matches!(failed, Err(OpenError::Read(ReadError::Io { .. }) | OpenError::Io(_))), "call {call}");
        assert_eq!(open(&disk).bodies, ["a"], "call {call}");
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_accepted() {
    for (call, expected) in [(1, "read"), (2, "read"), (3, "write"), (4, "sync")] {
        let disk = MemoryStorage::new();
        let mut first = open(&disk);
        append(&mut first, &["a"]);
        disk.set_fault(disk.calls_count() + call, Fault::Error(ErrorKind::Other));
        let failed = first.journal.append(&mut batch(&["b"]));
        assert!(matches!(failed, Err(AppendError::Io { action, .. }) if action == expected));
        assert!(matches!(first.journal.append(&mut batch(&["c"])), Err(AppendError::Poisoned)));
        disk.power_cycle(&mut keep_everything);
        assert_eq!(open(&disk).bodies, ["a"]);
    }
}

#[test]
fn a_full_segment_is_followed_by_a_spare_one() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    let long = "x".repeat(1 << 19);
    let mut expected = Vec::new();
    for number in 0..20 {
        let storage = disk.clone();
        first.journal.spares().prepare(&storage).unwrap();
        append(&mut first, &[&long, "end"]);
        expected.extend([long.clone(), "end".to_owned()]);
        if number % 5 == 0 {
            disk.power_cycle(&mut lose_everything);
            first = open(&disk);
            assert_eq!(first.bodies, expected);
        }
    }
    assert!(1 < first.journal.segment());
    let mut tail = Vec::new();
    let (_, opened) = Journal::open(&Arc::new(disk.clone()), &OPTIONS, Lsn(31), |lsn, _| {
        tail.push(lsn.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(tail, (32..=40).collect::<Vec<u64>>());
    assert_eq!(opened.replayed_count, 9);
}

#[test]
fn without_a_spare_a_batch_that_does_not_fit_is_refused_and_the_rest_goes_on() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    let long = "x".repeat(1 << 20);
    while batch(&[&long]).bytes_count() <= first.journal.room_bytes() {
        append(&mut first, &[&long]);
    }
    assert!(matches!(first.journal.append(&mut batch(&[&long])), Err(AppendError::NoRoom { .. })));
    append(&mut first, &["small"]);
    assert_eq!(open(&disk).bodies.last().map(String::as_str), Some("small"));
}

#[test]
fn a_spare_left_by_smaller_options_counts_with_its_own_size_and_is_never_skipped() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    first.journal.spares().prepare(&disk.clone()).unwrap();
    let larger = Options { segment_bytes: 2 * OPTIONS.segment_bytes, ..OPTIONS };
    let (mut journal, _) = Journal::open(&Arc::new(disk.clone()), &larger, Lsn::ZERO, |_, _| Ok(())).unwrap();
    let before = (journal.segment(), journal.room_bytes());
    assert!(before.1 < OPTIONS.segment_bytes, "the room is that of the small spare");

    let piece = "x".repeat(1 << 20);
    let pieces: Vec<&str> = (0..=OPTIONS.segment_bytes >> 20).map(|_| piece.as_str()).collect();
    for _ in 0..2 {
        let mut too_long = batch(&pieces);
        assert!(before.1 < too_long.bytes_count());
        assert!(matches!(journal.append(&mut too_long), Err(AppendError::NoRoom { .. })));
        assert_eq!((journal.segment(), journal.room_bytes()), before, "a refused batch changes nothing");
    }

    while journal.segment() < 3 {
        journal.spares().prepare(&disk.clone()).unwrap();
        journal.append(&mut batch(&[&piece])).unwrap();
    }
    journal.append(&mut batch(&pieces)).unwrap();
    let last_lsn = journal.last_lsn();
    drop(journal);
    disk.power_cycle(&mut lose_everything);
    let (journal, opened) = Journal::open(&Arc::new(disk.clone()), &larger, Lsn::ZERO, |_, _| Ok(())).unwrap();
    assert_eq!((journal.last_lsn(), opened.torn), (last_lsn, None));
}

#[test]
fn a_journal_that_fills_the_disk_opens_again_without_free_space() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    disk.set_capacity(Some(OPTIONS.segment_bytes));
    assert_eq!(first.journal.spares().prepare(&disk.clone()).unwrap_err().kind(), ErrorKind::StorageFull);
    append(&mut first, &["b"]);
    let mut second = open(&disk);
    assert_eq!(second.bodies, ["a", "b"]);
    append(&mut second, &["c"]);
    disk.set_capacity(None);
    assert!(second.journal.spares().prepare(&disk.clone()).unwrap());
}

#[test]
fn segments_of_another_journal_a_missing_one_and_a_newer_one_are_refused() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    first.journal.spares().prepare(&disk.clone()).unwrap();
    let whole = disk.contents(SEGMENT).unwrap();
    disk.corrupt(SEGMENT, 24, |bytes| bytes[0] ^= 1);
    assert!(try_open(&disk).err().unwrap().to_string().contains("header is not as it was written"));
    disk.corrupt(SEGMENT, 0, |bytes| bytes.copy_from_slice(&whole));
    disk.corrupt(SEGMENT, 0, |bytes| {
        bytes[12] = 2;
        let crc = crc32c::crc32c(&bytes[12..64]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(try_open(&disk), Err(OpenError::Read(ReadError::Newer { format: 2, .. }))));
    disk.corrupt(SEGMENT, 0, |bytes| bytes.copy_from_slice(&whole));
    use journal::storage::Storage;
    disk.remove(SEGMENT).unwrap();
    assert!(try_open(&disk).err().unwrap().to_string().contains("a segment is missing"));
}

#[test]
fn the_chain_links_every_batch_and_breaks_with_any_change() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a", "b"]);
    append(&mut first, &["c"]);
    let mut reader = Reader::open(Arc::new(disk.clone()), Lsn::ZERO).unwrap().unwrap();
    let mut batches_count = 0;
    while let Some(batch) = reader.next_batch(None).unwrap() {
        assert!(batch.is_linked());
        let mut forged = batch.body.to_vec();
        forged[8] ^= 1;
        assert_ne!(journal::batch::chain_of(&batch.header, &forged), batch.header.chain);
        batches_count += 1;
    }
    assert_eq!(batches_count, 2);
}

#[test]
fn a_reader_of_the_durable_part_follows_while_more_is_appended() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    let mut reader: Option<Reader<MemoryStorage>> = None;
    let mut read = 0;
    for number in 1..=30_u64 {
        append(&mut first, &["x".repeat(1 << 19).as_str()]);
        first.journal.spares().prepare(&disk.clone()).unwrap();
        let reader = reader.get_or_insert_with(|| Reader::open(Arc::new(disk.clone()), Lsn::ZERO).unwrap().unwrap());
        while let Some(batch) = reader.next_batch(Some(Lsn(number))).unwrap() {
            read += batch.records().count() as u64;
        }
        assert_eq!(read, number);
    }
}

#[test]
fn a_batch_whose_sync_failed_is_written_again_before_anybody_relies_on_it() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    append(&mut first, &["a"]);
    // The pages of a failed sync are gone, and yet the page cache shows them to the next process.
    disk.set_fault(disk.calls_count() + 4, Fault::Error(ErrorKind::Other));
    assert!(first.journal.append(&mut batch(&["b"])).is_err());
    assert_eq!(open(&disk).bodies, ["a", "b"]);
    disk.power_cycle(&mut lose_everything);
    assert_eq!(open(&disk).bodies, ["a", "b"]);
}

#[test]
fn the_chain_goes_on_where_a_torn_segment_follows_right_behind_a_snapshot() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    let long = "x".repeat(1 << 20);
    for _ in 0..3 {
        append(&mut first, &[&long]);
    }
    first.journal.spares().prepare(&disk.clone()).unwrap();
    append(&mut first, &[&long]);
    assert_eq!(first.journal.segment(), 2);
    // Its header arrived, its records did not.
    disk.corrupt("0000000002.segment", FIRST + 512, |bytes| bytes.fill(0));
    let (mut journal, opened) = Journal::open(&Arc::new(disk.clone()), &OPTIONS, Lsn(3), |_, _| Ok(())).unwrap();
    assert_eq!((opened.last_lsn, opened.torn.is_some()), (Lsn(3), true));
    assert_eq!(journal.append(&mut batch(&[&long])).unwrap(), Lsn(4));
    let again = open(&disk);
    assert_eq!((again.bodies.len(), again.opened.torn), (4, None));
}

#[test]
fn damage_at_the_start_of_a_segment_is_told_to_be_there() {
    let disk = MemoryStorage::new();
    let mut first = open(&disk);
    let long = "x".repeat(1 << 20);
    for _ in 0..5 {
        first.journal.spares().prepare(&disk.clone()).unwrap();
        append(&mut first, &[&long]);
    }
    disk.corrupt("0000000002.segment", FIRST + 3, |bytes| bytes[0] ^= 1);
    let error = try_open(&disk).err().unwrap();
    let OpenError::Read(ReadError::Damaged(damage)) = error else { panic!("{error}") };
    assert_eq!((damage.file.as_str(), damage.offset, damage.lsn), ("0000000002.segment", FIRST, Lsn(4)));
}

/// Two writers on one disk, as through two mounts that do not share locks (issue 16, number 3).
#[test]
fn nothing_is_written_over_what_another_process_wrote() {
    let disk = MemoryStorage::new();
    append(&mut open(&disk), &["a"]);
    let (mut one, mut other) = (open(&disk), open(&disk));
    append(&mut one, &["b"]);
    let before = disk.contents(SEGMENT);
    let refused = other.journal.append(&mut batch(&["c"]));
    assert!(matches!(refused, Err(AppendError::Foreign { .. })), "{refused:?}");
    assert!(matches!(other.journal.append(&mut batch(&["c"])), Err(AppendError::Poisoned)));
    assert_eq!(disk.contents(SEGMENT), before);
    append(&mut one, &["d"]);
    assert_eq!(open(&disk).bodies, ["a", "b", "d"]);
    // A writer whose last batch was written over stops too.
    disk.corrupt(SEGMENT, FIRST + batch(&["a"]).bytes_count() + batch(&["b"]).bytes_count(), |bytes| bytes[100] ^= 1);
    assert!(matches!(one.journal.append(&mut batch(&["e"])), Err(AppendError::Foreign { .. })));
}
