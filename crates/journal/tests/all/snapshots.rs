//! A snapshot is there as a whole or not at all.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;

use journal::Lsn;
use journal::memory::{Fault, MemoryStorage};
use journal::snapshot::{self, SnapshotError, SnapshotHeader};

const HEADER: SnapshotHeader = SnapshotHeader { journal: [4; 16], lsn: Lsn(77) };

fn sections() -> Vec<Vec<u8>> {
    vec![b"head".to_vec(), vec![7; 3 << 20], Vec::new(), b"tail".to_vec()]
}

fn read(disk: &MemoryStorage, lsn: Lsn) -> Result<Vec<Vec<u8>>, SnapshotError> {
    let mut read = Vec::new();
    snapshot::read(disk, lsn, |section| {
        read.push(section.to_vec());
        Ok(())
    })?;
    Ok(read)
}

#[test]
fn sections_come_back_as_they_were_written() {
    let disk = MemoryStorage::new();
    let digest = snapshot::write(&disk, HEADER, sections().into_iter()).unwrap();
    assert_eq!(digest, snapshot::digest_of(sections().into_iter()));
    assert_eq!(read(&disk, Lsn(77)).unwrap(), sections());
    assert_eq!(snapshot::list(&disk).unwrap(), [Lsn(77)]);
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let disk = MemoryStorage::new();
    let small = || vec![b"head".to_vec(), b"tail".to_vec()];
    snapshot::write(&disk, HEADER, small().into_iter()).unwrap();
    let name = "00000000000000000077.snapshot";
    let bytes = disk.contents(name).unwrap();
    for place in 0..bytes.len() {
        disk.corrupt(name, place as u64, |bytes| bytes[0] ^= 0x10);
        let is_padding = (40..64).contains(&place);
        assert!(read(&disk, Lsn(77)).is_err(), "byte {place}, padding {is_padding}");
        disk.corrupt(name, place as u64, |bytes| bytes[0] ^= 0x10);
    }
}

#[test]
fn a_failure_or_power_loss_at_any_call_leaves_the_older_snapshot_usable() {
    for (call, fault) in (1..=14).flat_map(|call| [(call, Fault::Error(ErrorKind::StorageFull)), (call, Fault::PowerLoss)]) {
        let disk = MemoryStorage::new();
        let older = SnapshotHeader { lsn: Lsn(5), ..HEADER };
        snapshot::write(&disk, older, sections().into_iter()).unwrap();
        disk.set_fault(disk.calls_count() + call, fault);
        let _ = snapshot::write(&disk, HEADER, sections().into_iter());
        let mut seed = call;
        disk.power_cycle(&mut |choices| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % choices
        });
        disk.clear_faults();
        assert_eq!(read(&disk, Lsn(5)).unwrap(), sections());
        // The newer one is whole, if its name is there.
        for lsn in snapshot::list(&disk).unwrap() {
            assert_eq!(read(&disk, lsn).unwrap(), sections(), "call {call} {fault:?}");
        }
    }
}

#[test]
fn a_section_that_no_reader_would_accept_is_not_written() {
    let disk = MemoryStorage::new();
    let longest = 64 << 20;
    let refused = snapshot::write(&disk, HEADER, [vec![7; longest + 1]].into_iter()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(snapshot::list(&disk).unwrap(), []);
    snapshot::write(&disk, HEADER, [vec![7; longest]].into_iter()).unwrap();
    assert_eq!(read(&disk, Lsn(77)).unwrap(), [vec![7; longest]]);
}

#[test]
fn only_the_newest_are_kept() {
    let disk = MemoryStorage::new();
    for lsn in 1..=4 {
        snapshot::write(&disk, SnapshotHeader { lsn: Lsn(lsn), ..HEADER }, sections().into_iter()).unwrap();
    }
    snapshot::prune(&disk, 2).unwrap();
    assert_eq!(snapshot::list(&disk).unwrap(), [Lsn(4), Lsn(3)]);
}
