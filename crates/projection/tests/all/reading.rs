//! What readers see: pages without loss or repeat, one position per answer, a limit in time.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::ops::ControlFlow;
use std::time::Duration;

use domain::claims::ClaimStatus;
use domain::coupon::{CLAIMS, Coupon, Settings};
use domain::rate_limit::policies::OVERRIDES;
use domain::{Kind, Listed, Number};
use projection::{EntryKey, EntryPage, HistoryReader, OwnedCell, ReadError, Selection};
use support::{ALL, Place, Run, at, cancel, claim, claim_in, name, put, put_override, put_policy, redeem, serials, settings, with_status};

/// The key of a claim.
fn serial(serial: u64) -> [OwnedCell; 1] {
    [OwnedCell::Number(serial)]
}

fn next_serial(page: &EntryPage) -> Option<u64> {
    let EntryKey { key, .. } = page.next.as_ref()?;
    let [OwnedCell::Number(serial)] = key[..] else { panic!("{key:?}") };
    Some(serial)
}

#[test]
fn pages_lose_and_repeat_nothing_while_rows_are_added() {
    let run = Run::with_claims("spring", 1_000);
    let place = Place::new();
    let mut history = place.open();
    let mut given = 100;
    history.apply(run.first(given)).unwrap();
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let key = after.map(serial);
        let selection = Selection { after: key.as_ref().map(|key| &key[..]), having: None };
        let page = reader.entries(&CLAIMS, name("spring"), selection, 7).unwrap();
        assert_eq!(page.as_of.position.0, given.min(1_001) as u64);
        seen.extend(serials(&page.rows));
        given += 20;
        history.apply(run.first(given)).unwrap();
        after = next_serial(&page);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=1_000).collect::<Vec<u32>>());
}

#[test]
fn the_last_page_says_that_it_is_the_last_also_when_it_is_full() {
    let run = Run::with_claims("spring", 10);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let first = reader.entries(&CLAIMS, name("spring"), ALL, 5).unwrap();
    assert_eq!((serials(&first.rows), next_serial(&first)), (vec![1, 2, 3, 4, 5], Some(5)));
    let second = reader.entries(&CLAIMS, name("spring"), Selection { after: Some(&serial(5)), having: None }, 5).unwrap();
    assert_eq!((serials(&second.rows), second.next), (vec![6, 7, 8, 9, 10], None));
    let none = reader.entries(&CLAIMS, name("autumn"), ALL, 5).unwrap();
    assert_eq!((none.rows.len(), none.next), (0, None));
}

#[test]
fn a_filter_lists_claims_of_that_status_with_the_time_of_the_change() {
    let mut run = Run::with_claims("spring", 5);
    run.ask(redeem("spring", 2), 20);
    run.ask(cancel("spring", 4), 21);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let mut list = |selection| reader.entries(&CLAIMS, name("spring"), selection, 10).unwrap().rows;
    assert_eq!(serials(&list(with_status("live"))), [1, 3, 5]);
    assert_eq!(serials(&list(ALL)), [1, 2, 3, 4, 5]);
    let redeemed = list(with_status("redeemed"));
    assert_eq!((serials(&redeemed), claim_in(&redeemed[0].cells()).status), (vec![2], ClaimStatus::Redeemed { redeemed_at: at(20) }));
    let cancelled = list(with_status("cancelled"));
    assert_eq!((serials(&cancelled), claim_in(&cancelled[0].cells()).status), (vec![4], ClaimStatus::Cancelled { cancelled_at: at(21) }));
}

#[test]
fn a_subjects_claims_are_paged_over_campaigns_and_carry_what_a_code_needs() {
    let mut run = Run::new();
    let names = ["spring", "summer", "autumn"];
    for campaign in names {
        run.ask(put(campaign, settings(10)), 1);
        run.ask(claim(campaign, "bob"), 2);
        run.ask(claim(campaign, "ann"), 3);
        run.ask(cancel(campaign, 2), 4);
        run.ask(claim(campaign, "ann"), 5);
    }
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let mut pages = |prefix: &str| {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = reader.entries_found(&CLAIMS, "ann", prefix, after.as_ref(), 2).unwrap();
            assert_eq!((page.as_of.position, page.as_of.time), (run.last(), at(5)));
            for row in &page.rows {
                let code_key = Coupon::settings(&row.aggregate.settings).unwrap().code_key;
                seen.push((row.aggregate.name.to_string(), row.aggregate.number, code_key, claim_in(&row.cells()).serial.get()));
            }
            after = page.next;
            if after.is_none() {
                break seen;
            }
        }
    };
    let of = |names: &[(&str, u32)]| -> Vec<_> {
        names.iter().flat_map(|(name, number)| [2, 3].map(|serial| ((*name).to_owned(), Number(*number), 3, serial))).collect()
    };
    assert_eq!(pages(""), of(&[("spring", 0), ("summer", 1), ("autumn", 2)]));
    assert_eq!(pages("s"), of(&[("spring", 0), ("summer", 1)]));
}

/// Keys that are texts are in the order of their bytes, whatever the order in which they came.
#[test]
fn entries_without_serials_are_paged_by_their_keys() {
    let mut run = Run::new();
    run.ask(put_policy("api", 10), 1);
    for (key, quota) in [("m", 1), ("b", 2), ("z", 3), ("B", 4), ("m", 5)] {
        run.ask(put_override("api", key, quota), 2);
    }
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let (mut key, mut seen) = (None::<Vec<OwnedCell>>, Vec::new());
    loop {
        let page = reader.entries(&OVERRIDES, name("api"), Selection { after: key.as_deref(), having: None }, 3).unwrap();
        seen.extend(page.rows.into_iter().map(|row| (row.cells[0].clone(), row.cells[1].clone())));
        key = page.next.map(|next| next.key);
        if key.is_none() {
            break;
        }
    }
    let wanted = [("B", 4), ("b", 2), ("m", 5), ("z", 3)];
    assert_eq!(seen, wanted.map(|(key, quota)| (OwnedCell::Text(key.to_owned()), OwnedCell::Number(quota))));
}

#[test]
fn a_subjects_claims_are_found_however_many_records_lie_between() {
    let mut run = Run::new();
    let claims_count = 280_000;
    run.ask(put("summer", settings(claims_count)), 1);
    run.ask(put("autumn", settings(1)), 1);
    run.ask(claim("autumn", "ann"), 2);
    run.claim_many("summer", claims_count - 1);
    run.ask(claim("summer", "ann"), 3);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let page = reader.entries_found(&CLAIMS, "ann", "", None, 10).unwrap();
    let found: Vec<_> = page.rows.iter().map(|row| (&*row.aggregate.name, claim_in(&row.cells()).serial.get())).collect();
    assert_eq!(found, [("summer", claims_count), ("autumn", 1)]);
}

#[test]
fn an_export_rests_on_one_position_while_rows_are_added() {
    let run = Run::with_claims("spring", 5_000);
    let place = Place::new();
    let mut history = place.open();
    history.apply(run.first(2_001)).unwrap();
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let mut seen = Vec::new();
    let as_of = reader.for_each_entry(&CLAIMS, name("spring"), ALL, |entry| {
        let serial = claim_in(entry.cells).serial.get();
        if serial == 100 {
            history.apply(run.records()).unwrap();
        }
        seen.push(serial);
        ControlFlow::Continue(())
    });
    assert_eq!((as_of.unwrap().position.0, seen), (2_001, (1..=2_000).collect()));
    assert_eq!(reader.position().unwrap(), run.last());
}

#[test]
fn an_export_can_be_broken_off() {
    let run = Run::with_claims("spring", 100);
    let (place, _history) = Place::with(&run);
    let mut taken = 0;
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    reader
        .for_each_entry(&CLAIMS, name("spring"), ALL, |_| {
            taken += 1;
            if taken == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(taken, 10);
}

#[test]
fn a_read_that_takes_too_long_is_ended() {
    let run = Run::with_claims("spring", 20_000);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap().with_time_max(Duration::ZERO);
    let ended = reader.entries(&CLAIMS, name("spring"), with_status("cancelled"), 10);
    assert!(matches!(ended, Err(ReadError::TooSlow(0))), "{ended:?}");
    let mut patient = reader.with_time_max(Duration::from_secs(60));
    assert!(patient.entries(&CLAIMS, name("spring"), with_status("cancelled"), 10).is_ok());
}

#[test]
fn aggregates_are_listed_with_their_settings_and_version() {
    let mut run = Run::with_claims("spring", 3);
    let changed = Settings { opens_at: Some(at(1)), redeem_until: Some(at(99)), paused: true, ..settings(50) };
    run.ask(put("spring", changed), 30);
    let (place, _history) = Place::with(&run);
    let (rows, as_of) = HistoryReader::open(&place.path()).unwrap().aggregates(Kind::Campaign).unwrap();
    assert_eq!((rows.len(), as_of.position), (1, run.last()));
    let row = &rows[0];
    assert_eq!((&*row.name, row.number, row.settings, row.version), ("spring", Number(0), Coupon::any_settings(changed), 2));
    assert_eq!((row.kind(), row.created_at, row.changed_at), (Kind::Campaign, at(1), at(30)));
}
