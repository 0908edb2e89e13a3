//! Rows and position are one, whatever happens; and what cannot be gone on with is begun anew.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use domain::coupon::CLAIMS;
use domain::rate_limit::policies::OVERRIDES;
use domain::rows::Table;
use domain::wire::Position;
use projection::{ApplyError, History, HistoryReader, ReadError, Rebuilt};
use support::{ALL, Place, Run, claim, name, put, put_override, put_policy, redeem, remove_override, remove_policy, settings};

/// How many claims the history in this file holds, and the position that it says.
fn read(path: &Path) -> (u64, u64) {
    read_table(path, &CLAIMS)
}

fn read_table(path: &Path, table: &'static Table) -> (u64, u64) {
    let mut reader = HistoryReader::open(path).unwrap();
    let view = reader.view().unwrap();
    let mut rows_count = 0;
    view.for_each_bare_entry(table, |_| {
        rows_count += 1;
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    (rows_count, view.as_of().position.0)
}

#[test]
fn a_new_history_begins_at_zero_and_says_why() {
    let place = Place::new();
    let history = place.open();
    assert_eq!((history.position(), history.rebuilt()), (Position(0), Some(&Rebuilt::Missing)));
}

#[test]
fn a_history_that_is_opened_again_goes_on_where_it_was() {
    let run = Run::with_claims("spring", 100);
    let (place, history) = Place::with(&run);
    drop(history);
    let history = place.open();
    assert_eq!((history.position(), history.rebuilt()), (run.last(), None));
    assert_eq!(history.as_of().time, run.state.time);
    assert_eq!(read(&place.path()), (100, 101));
}

#[test]
fn a_batch_that_is_broken_off_leaves_neither_rows_nor_position() {
    let run = Run::with_claims("spring", 1_000);
    let place = Place::new();
    let mut history = place.open();
    history.apply(run.first(301)).unwrap();
    let broken_off = catch_unwind(AssertUnwindSafe(|| {
        let stumbling = run.records().inspect(|(position, _)| assert!(position.0 < 700, "on purpose"));
        history.apply(stumbling)
    }));
    assert!(broken_off.is_err());
    drop(history);
    assert_eq!(read(&place.path()), (300, 301));
    let mut history = place.open();
    assert_eq!(history.apply(run.records()).unwrap().position, run.last());
    assert_eq!(read(&place.path()), (1_000, 1_001));
}

/// The files are copied in the middle of transactions, as a process that is killed leaves them.
#[test]
fn files_as_a_kill_leaves_them_hold_rows_and_position_of_the_same_record() {
    let run = Run::with_claims("spring", 20_000);
    let (place, copies) = (Place::new(), Place::new());
    let mut history = place.open();
    let records: Vec<_> = run.records().collect();
    let mut positions = Vec::new();
    for batch in records.chunks(4_000) {
        let killed_at = batch[batch.len() / 2].0;
        let given = batch.iter().copied().inspect(|(position, _)| {
            if *position == killed_at {
                let copied = copy_of(&place, &copies, position.0);
                let (claims_count, position) = read(&copied);
                assert_eq!(claims_count, position.saturating_sub(1));
                positions.push(position);
            }
        });
        history.apply(given).unwrap();
    }
    assert_eq!(positions, [0, 4_000, 8_000, 12_000, 16_000, 20_000]);
}

fn copy_of(place: &Place, copies: &Place, number: u64) -> std::path::PathBuf {
    let target = copies.folder.path().join(format!("killed-{number}"));
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", place.path().display());
        fs::copy(from, format!("{}{suffix}", target.display())).unwrap();
    }
    target
}

#[test]
fn giving_records_again_is_harmless() {
    let run = Run::with_claims("spring", 50);
    let (place, mut history) = Place::with(&run);
    assert_eq!(history.apply(run.records()).unwrap().position, run.last());
    assert_eq!(history.apply(run.first(7)).unwrap().position, run.last());
    assert_eq!(read(&place.path()), (50, 51));
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    let run = Run::with_claims("spring", 50);
    let place = Place::new();
    let mut history = place.open();
    history.apply(run.first(10)).unwrap();
    let refused = history.apply(run.records().skip(11));
    assert!(matches!(refused, Err(ApplyError::Gap { expected: Position(11), found: Position(12) })));
    let inside = run.records().filter(|(position, _)| position.0 != 20);
    assert!(matches!(history.apply(inside), Err(ApplyError::Gap { expected: Position(20), found: Position(21) })));
    assert_eq!(read(&place.path()), (9, 10));
    assert_eq!(history.apply(run.records()).unwrap().position, run.last());
}

/// Gives a record of another run, where it contradicts what is in, and returns what is said.
fn conflict(run: &Run, other: &Run, taken: u64) -> String {
    let (place, mut history) = Place::with(run);
    let next = Position(run.count() + 1);
    let record = other.records().nth(usize::try_from(taken - 1).unwrap()).unwrap().1;
    let Err(ApplyError::Conflict { position, what }) = history.apply([(next, record)]) else { panic!("no conflict") };
    assert_eq!(position, next);
    assert_eq!(read(&place.path()).1, run.count());
    what
}

#[test]
fn a_record_that_contradicts_the_rows_is_refused_and_named() {
    let run = Run::with_claims("spring", 5);
    let mut other = Run::with_claims("spring", 5);
    other.ask(redeem("spring", 5), 3);
    let mut two = Run::with_claims("summer", 1);
    two.ask(put("autumn", settings(7)), 2);
    two.ask(claim("autumn", "ann"), 2);
    two.ask(put("autumn", settings(8)), 2);
    assert_eq!(conflict(&run, &other, 6), "claim 5 of campaign 0 is there already, or the campaign is not");
    assert_eq!(conflict(&run, &two, 4), "claim 1 of campaign 1 is there already, or the campaign is not");
    assert_eq!(conflict(&other, &other, 7), "there is no claim 5 of campaign 0 with the status live");
    assert_eq!(conflict(&run, &other, 1), "there is a campaign 0, or one named spring, already");
    assert_eq!(conflict(&run, &two, 5), "there is no campaign 1 to change");
    let fewer = Run::with_claims("spring", 4);
    assert_eq!(conflict(&fewer, &other, 7), "there is no claim 5 of campaign 0 with the status live");
}

#[test]
fn a_policys_record_that_contradicts_the_rows_is_refused_without_its_key() {
    let mut run = Run::new();
    run.ask(put_policy("api", 10), 1);
    run.ask(put_override("api", "ann@example.org", 3), 2);
    let mut other = Run::new();
    other.ask(put_policy("api", 10), 1);
    other.ask(put_override("api", "ann@example.org", 3), 2);
    other.ask(remove_override("api", "ann@example.org"), 3);
    other.ask(remove_policy("api"), 4);
    let empty = Run::new();
    assert_eq!(conflict(&other, &other, 2), "there is no policy 0 for its override with this key");
    assert_eq!(conflict(&other, &other, 3), "there is no override with this key of policy 0 to delete");
    assert_eq!(conflict(&empty, &other, 4), "there is no aggregate 0 to remove");
    assert_eq!(conflict(&run, &other, 1), "there is a policy 0, or one named api, already");
    // A campaign cannot be removed, whatever a record says.
    assert_eq!(conflict(&Run::with_claims("spring", 1), &other, 4), "there is no aggregate 0 to remove");
}

#[test]
fn a_removed_policy_takes_its_overrides_with_it_and_its_name_is_free() {
    let mut run = Run::new();
    for policy in ["api", "web"] {
        run.ask(put_policy(policy, 10), 1);
        for key in ["a", "b", "c"] {
            run.ask(put_override(policy, key, 3), 2);
        }
    }
    run.ask(remove_policy("api"), 4);
    run.ask(put_policy("api", 10), 5);
    let (place, _history) = Place::with(&run);
    assert_eq!(read_table(&place.path(), &OVERRIDES), (3, run.count()));
}

/// Opens again, finds it begun anew, and that it can be filled again.
fn begun_anew(place: &Place, run: &Run) -> Rebuilt {
    let mut history = place.open();
    assert_eq!(history.position(), Position(0));
    let reason = history.rebuilt().unwrap().clone();
    assert_eq!(read(&place.path()), (0, 0));
    history.apply(run.records()).unwrap();
    assert_eq!(read(&place.path()).1, run.count());
    reason
}

#[test]
fn the_history_of_another_journal_is_begun_anew() {
    let run = Run::with_claims("spring", 10);
    let place = Place::new();
    History::open(&place.path(), [8; 16]).unwrap().apply(run.records()).unwrap();
    assert_eq!(begun_anew(&place, &run), Rebuilt::OtherJournal);
}

#[test]
fn a_file_of_another_schema_is_begun_anew_and_not_read() {
    let run = Run::with_claims("spring", 10);
    let (place, history) = Place::with(&run);
    drop(history);
    rusqlite::Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(HistoryReader::open(&place.path()), Err(ReadError::OtherSchema { found: 9, .. })));
    assert_eq!(begun_anew(&place, &run), Rebuilt::OtherSchema(9));
}

#[test]
fn an_empty_file_is_begun_anew() {
    let place = Place::new();
    fs::write(place.path(), b"").unwrap();
    assert_eq!(begun_anew(&place, &Run::with_claims("spring", 10)), Rebuilt::OtherSchema(0));
}

#[test]
fn a_file_that_is_no_database_is_begun_anew() {
    let place = Place::new();
    fs::write(place.path(), b"something else that is long enough to be looked at".repeat(100)).unwrap();
    assert!(matches!(begun_anew(&place, &Run::with_claims("spring", 10)), Rebuilt::Damaged(_)));
}

#[test]
fn a_file_without_its_tables_is_begun_anew() {
    let run = Run::with_claims("spring", 10);
    let (place, history) = Place::with(&run);
    drop(history);
    rusqlite::Connection::open(place.path()).unwrap().execute_batch("DROP TABLE position").unwrap();
    assert!(matches!(begun_anew(&place, &run), Rebuilt::Damaged(_)));
}

#[test]
fn a_file_overwritten_in_its_middle_is_found_damaged_and_can_be_begun_anew() {
    let run = Run::with_claims("spring", 5_000);
    let (place, history) = Place::with(&run);
    drop(history);
    let mut bytes = fs::read(place.path()).unwrap();
    // All but the first pages, where the position is.
    bytes[10 * 4_096..].fill(0xA5);
    fs::write(place.path(), bytes).unwrap();
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    assert!(matches!(reader.entries(&CLAIMS, name("spring"), ALL, 9_000), Err(ReadError::Damaged(_))));
    let mut history = place.open();
    let mut more = run;
    more.ask(put("spring", settings(9_000)), 3);
    more.claim_many("spring", 4_000);
    let Err(ApplyError::Damaged(what)) = history.apply(more.records()) else { panic!("not found") };
    history.begin_anew(Rebuilt::Damaged(what)).unwrap();
    history.apply(more.records()).unwrap();
    // The reader from before sees the new file.
    assert_eq!(reader.position().unwrap(), more.last());
    assert_eq!(reader.entries(&CLAIMS, name("spring"), ALL, 10_000).unwrap().rows.len(), 9_000);
}

#[test]
fn a_history_ahead_of_its_journal_is_begun_anew() {
    let run = Run::with_claims("spring", 10);
    let (place, mut history) = Place::with(&run);
    assert!(!history.reset_if_ahead(run.last()).unwrap());
    assert_eq!(history.rebuilt(), Some(&Rebuilt::Missing));
    assert!(history.reset_if_ahead(Position(5)).unwrap());
    assert_eq!(history.rebuilt(), Some(&Rebuilt::Ahead { history: Position(11), journal: Position(5) }));
    assert_eq!((history.position(), read(&place.path())), (Position(0), (0, 0)));
    history.apply(run.first(5)).unwrap();
    drop(history);
    assert_eq!(place.open().position(), Position(5));
}

#[test]
fn a_log_left_behind_by_a_removed_file_does_not_come_back() {
    let run = Run::with_claims("spring", 10);
    let (place, history) = Place::with(&run);
    let log = fs::read(format!("{}-wal", place.path().display())).unwrap();
    drop(history);
    fs::remove_file(place.path()).unwrap();
    fs::write(format!("{}-wal", place.path().display()), log).unwrap();
    assert_eq!(begun_anew(&place, &run), Rebuilt::Missing);
}

#[test]
fn a_reader_of_no_file_says_so_and_makes_none() {
    let place = Place::new();
    assert!(matches!(HistoryReader::open(&place.path()), Err(ReadError::Missing(_))));
    assert!(!place.path().exists());
}
