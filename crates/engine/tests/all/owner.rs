//! Two engines on one folder, as through two mounts that do not share locks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;
use std::time::Duration;

use engine::Engine;
use engine::clock::ManualClock;
use engine::views::Refusal;
use journal::owner::{Owner, OwnerError};
use journal::writer::OpenError;
use support::{at, claim, open, put, settings, submit};

/// Issue 16, number 3: a stock of 10 gave 20 yeses.
#[tokio::test]
async fn a_second_engine_is_refused_while_the_first_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), &ManualClock::at(at(1)));
    let (first, _) = open(&settings);
    let Err(OpenError::Owner(OwnerError::InUse { .. })) = Engine::open(&settings) else { panic!("the folder is in use") };
    submit(&first, put("spring", 2)).await.unwrap();
    submit(&first, claim("spring", "ann")).await.unwrap();
    first.close();
    drop(first);
    let (second, restarted) = open(&settings);
    assert_eq!(restarted.last_lsn.0, 2);
    submit(&second, claim("spring", "bob")).await.unwrap();
}

/// An engine that stood still while another process took the folder answers nothing when it goes on, and
/// writes nothing.
#[tokio::test]
async fn an_engine_that_has_lost_the_folder_gives_no_yes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), &ManualClock::at(at(1)));
    let (engine, _) = open(&settings);
    submit(&engine, put("spring", 10)).await.unwrap();
    fs::write(folder.path().join("owner-0000000002"), "").unwrap();
    // At most two beats.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(engine.has_failed());
    let before = fs::read(folder.path().join("journal/0000000001.segment")).unwrap();
    let refused = submit(&engine, claim("spring", "ann")).await;
    assert!(matches!(refused, Err(Refusal::Stopping | Refusal::Unknown)), "{refused:?}");
    engine.close();
    assert_eq!(fs::read(folder.path().join("journal/0000000001.segment")).unwrap(), before);
    assert!(fs::read_dir(folder.path().join("snapshots")).unwrap().next().is_none());
}

/// A killed owner of this machine is passed without a wait, and its number is never used again.
#[test]
fn numbers_of_owners_only_grow() {
    let folder = tempfile::tempdir().unwrap();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let first = Owner::take(folder.path()).unwrap();
    first.confirm();
    drop(first);
    assert_eq!(names(), ["ended-0000000001"]);
    // A start that is refused leaves no trace.
    drop(Owner::take(folder.path()).unwrap());
    assert_eq!(names(), ["ended-0000000001"]);
    let second = Owner::take(folder.path()).unwrap();
    second.confirm();
    assert_eq!(names(), ["owner-0000000002"]);
    second.beat().unwrap();
    fs::remove_file(folder.path().join("owner-0000000002")).unwrap();
    assert!(matches!(second.beat(), Err(OwnerError::Lost { .. })));
}
