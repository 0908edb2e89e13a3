//! What readers see: pages without loss or repeat, one position per answer, a limit in time.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::ops::ControlFlow;
use std::time::Duration;

use domain::claims::ClaimStatus;
use domain::coupon::{self, CampaignNumber, Settings};
use domain::types::Serial;
use projection::{ClaimFilter, HistoryReader, ReadError};
use support::{Place, Run, at, claim, name, put, settings, subject, target};

fn serials(rows: &[projection::ClaimRow]) -> Vec<u32> {
    rows.iter().map(|row| row.serial.get()).collect()
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
        let page = reader.claims_of_campaign(name("spring"), after, 7, ClaimFilter::All).unwrap();
        assert_eq!(page.as_of.position.0, given.min(1_001) as u64);
        seen.extend(serials(&page.rows));
        given += 20;
        history.apply(run.first(given)).unwrap();
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, (1..=1_000).collect::<Vec<u32>>());
}

#[test]
fn the_last_page_says_that_it_is_the_last_also_when_it_is_full() {
    let run = Run::with_claims("spring", 10);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let first = reader.claims_of_campaign(name("spring"), None, 5, ClaimFilter::All).unwrap();
    assert_eq!((serials(&first.rows), first.next), (vec![1, 2, 3, 4, 5], Serial::new(5)));
    let second = reader.claims_of_campaign(name("spring"), first.next, 5, ClaimFilter::All).unwrap();
    assert_eq!((serials(&second.rows), second.next), (vec![6, 7, 8, 9, 10], None));
    let none = reader.claims_of_campaign(name("autumn"), None, 5, ClaimFilter::All).unwrap();
    assert_eq!((none.rows.len(), none.next), (0, None));
}

#[test]
fn a_filter_lists_claims_of_that_status_with_the_time_of_the_change() {
    let mut run = Run::with_claims("spring", 5);
    run.ask(coupon::Command::Redeem(target("spring", 2)), 20);
    run.ask(coupon::Command::Cancel(target("spring", 4)), 21);
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let mut list = |filter| reader.claims_of_campaign(name("spring"), None, 10, filter).unwrap().rows;
    assert_eq!(serials(&list(ClaimFilter::Live)), [1, 3, 5]);
    assert_eq!(serials(&list(ClaimFilter::All)), [1, 2, 3, 4, 5]);
    let redeemed = list(ClaimFilter::Redeemed);
    assert_eq!((serials(&redeemed), redeemed[0].status), (vec![2], ClaimStatus::Redeemed { redeemed_at: at(20) }));
    let cancelled = list(ClaimFilter::Cancelled);
    assert_eq!((serials(&cancelled), cancelled[0].changed_at()), (vec![4], Some(at(21))));
}

#[test]
fn a_subjects_claims_are_paged_over_campaigns_and_carry_what_a_code_needs() {
    let mut run = Run::new();
    let names = ["spring", "summer", "autumn"];
    for campaign in names {
        run.ask(put(campaign, settings(10)), 1);
        run.ask(claim(campaign, "bob"), 2);
        run.ask(claim(campaign, "ann"), 3);
        run.ask(coupon::Command::Cancel(target(campaign, 2)), 4);
        run.ask(claim(campaign, "ann"), 5);
    }
    let (place, _history) = Place::with(&run);
    let mut reader = HistoryReader::open(&place.path()).unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = reader.claims_of_subject(subject("ann"), "", after, 2).unwrap();
        assert_eq!((page.as_of.position, page.as_of.time), (run.last(), at(5)));
        seen.extend(page.rows.iter().map(|row| (row.campaign.to_string(), row.number, row.code_key, row.serial.get())));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    let wanted =
        names.iter().zip(0..).flat_map(|(name, number)| [2, 3].map(|serial| ((*name).to_owned(), CampaignNumber(number), 3, serial)));
    assert_eq!(seen, wanted.collect::<Vec<_>>());
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
    let page = reader.claims_of_subject(subject("ann"), "", None, 10).unwrap();
    let found: Vec<_> = page.rows.iter().map(|row| (&*row.campaign, row.serial.get())).collect();
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
    let as_of = reader.for_each_claim(name("spring"), |row| {
        if row.serial.get() == 100 {
            history.apply(run.records()).unwrap();
        }
        seen.push(row.serial.get());
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
        .for_each_claim(name("spring"), |_| {
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
    let ended = reader.claims_of_campaign(name("spring"), None, 10, ClaimFilter::Cancelled);
    assert!(matches!(ended, Err(ReadError::TooSlow(0))), "{ended:?}");
    let mut patient = reader.with_time_max(Duration::from_secs(60));
    assert!(patient.claims_of_campaign(name("spring"), None, 10, ClaimFilter::Cancelled).is_ok());
}

#[test]
fn campaigns_are_listed_with_their_settings_and_version() {
    let mut run = Run::with_claims("spring", 3);
    let changed = Settings { opens_at: Some(at(1)), redeem_until: Some(at(99)), paused: true, ..settings(50) };
    run.ask(put("spring", changed), 30);
    let (place, _history) = Place::with(&run);
    let (rows, as_of) = HistoryReader::open(&place.path()).unwrap().campaigns().unwrap();
    assert_eq!((rows.len(), as_of.position), (1, run.last()));
    let row = &rows[0];
    assert_eq!((&*row.name, row.number, row.settings, row.version), ("spring", CampaignNumber(0), changed, 2));
    assert_eq!((row.code_key, row.created_at, row.changed_at), (3, at(1), at(30)));
}
