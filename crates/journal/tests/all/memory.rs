//! The disk in memory does what a disk can do, and nothing that none does.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;

use journal::memory::MemoryStorage;
use journal::storage::{Storage, StorageFile};

fn write(disk: &MemoryStorage, name: &str, bytes: &[u8]) {
    let file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_removed_file_gives_its_room_back() {
    let disk = MemoryStorage::new();
    disk.set_capacity(Some(1_000));
    write(&disk, "one", &[1; 800]);
    let other = disk.create("other").unwrap();
    assert_eq!(other.write_at(&[2; 800], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove("one").unwrap();
    other.write_at(&[2; 800], 0).unwrap();
}

/// The removal and the creation are lost, the rename is not.
#[test]
fn a_rename_names_the_file_that_was_renamed_whatever_else_is_lost() {
    let disk = MemoryStorage::new();
    write(&disk, "new", b"left over");
    disk.sync_folder().unwrap();
    disk.remove("new").unwrap();
    write(&disk, "new", b"whole");
    disk.rename("new", "named").unwrap();
    let mut answers = [2, 3, 3, 0, 0].into_iter();
    disk.power_cycle(&mut |choices| answers.next().unwrap_or(0).min(choices - 1));
    assert_eq!(disk.contents("named").unwrap(), b"whole");
}
