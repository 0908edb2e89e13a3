//! An honest journal keeps every promise; each forgery is found and named.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::fs;

use domain::Number;
use domain::coupon::Settings;
use domain::coupon::queue::Mode;
use domain::fields::Fields;
use domain::rate_limit::policies::{self, Limit, LimitAlgorithm, Numbers, PolicySettings};
use domain::state::{Change, Record};
use domain::types::{LimitKey, Name};
use domain::workload::AnySettings;
use firstcome::verify::{self, VerifyError};
use journal::batch::chain_of;
use support::{Data, accepted, at, cancelled, changed, claimed, created, decided, did, keyed, kinds, record, redeemed, rewrite, settings};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Verifies the honest campaign with these records after it.
fn found_after(records: &[Record<'_>]) -> Vec<&'static str> {
    let mut data = Data::spring();
    data.append(records);
    let verdict = data.verify();
    assert_eq!(verdict.is_good(), verdict.to_text().ends_with("every promise holds\n"));
    kinds(&verdict)
}

#[test]
fn an_honest_journal_keeps_every_promise() {
    let mut data = Data::spring();
    data.append(&[record(50, redeemed(0, 1)), record(50, claimed(0, 4, "bob"))]);
    data.project(data.last());
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), &verdict.notes[..]), (vec![], &[][..]));
    let json = verdict.to_json();
    assert_eq!(json["claims"], serde_json::json!({ "live": 2, "pending": 0, "redeemed": 1, "cancelled": 1 }));
    assert_eq!((&json["records"], &json["batches"], &json["history_position"]), (&7.into(), &6.into(), &7.into()));
    assert_eq!((&json["is_good"], &json["seconds"]), (&true.into(), &serde_json::Value::Null));
    assert!(verdict.to_text().ends_with("every promise holds\n"));
}

#[test]
fn ten_thousand_claims_over_segments_with_a_history_in_the_middle_of_a_batch() {
    let mut data = Data::new();
    data.append(&[record(1, created(0, "spring", settings(10_000)))]);
    let subjects: Vec<String> = (1..=10_000).map(|user| format!("user-{user:0>110}")).collect();
    let claims: Vec<_> = subjects.iter().zip(1..).map(|(subject, serial)| record(2, claimed(0, serial, subject))).collect();
    claims.chunks(250).for_each(|batch| data.append(batch));
    data.project(4_100);
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), &verdict.notes[..]), (vec![], &[][..]));
    assert_eq!((verdict.counts.records, verdict.counts.claims_live, verdict.history_position), (10_001, 10_000, Some(4_100)));
    assert_eq!(verdict.counts.segments, 2);
}

#[test]
fn a_claim_beyond_the_stock_is_found() {
    let four: Vec<_> = [(4, "dan"), (5, "eve"), (6, "fay"), (7, "gus")].map(|(serial, by)| record(50, claimed(0, serial, by))).into();
    assert_eq!(found_after(&four[..3]), Vec::<&str>::new());
    assert_eq!(found_after(&four), ["over_issued"]);
}

#[test]
fn a_second_claim_of_a_subject_is_found_and_one_after_a_cancellation_is_not() {
    assert_eq!(found_after(&[record(50, claimed(0, 4, "ann"))]), ["subject_limit"]);
    assert_eq!(found_after(&[record(50, claimed(0, 4, "bob"))]), Vec::<&str>::new());
    assert_eq!(found_after(&[record(50, redeemed(0, 1)), record(50, claimed(0, 4, "ann"))]), ["subject_limit"]);
}

#[test]
fn a_limit_lowered_below_what_a_subject_holds_is_found() {
    let two = Settings { per_subject_max: 2, ..settings(5) };
    let raised = [record(50, changed(0, two)), keyed("k", record(50, claimed(0, 4, "ann")))];
    assert_eq!(found_after(&raised), Vec::<&str>::new());
    assert_eq!(found_after(&[raised[0], record(50, claimed(0, 4, "ann"))]), ["request_key"]);
    assert_eq!(found_after(&[raised[0], raised[1], record(50, changed(0, settings(5)))]), ["subject_limit"]);
}

#[test]
fn a_gap_or_a_repeat_of_serials_is_found() {
    assert_eq!(found_after(&[record(50, claimed(0, 5, "dan"))]), ["serial_gap"]);
    assert_eq!(found_after(&[record(50, claimed(0, 3, "dan"))]), ["serial_gap"]);
    let after_gap = [record(50, claimed(0, 9, "dan")), record(50, redeemed(0, 9)), record(50, redeemed(0, 8))];
    assert_eq!(found_after(&after_gap), ["serial_gap", "unknown_claim"]);
}

#[test]
fn a_claim_outside_the_window_or_in_a_pause_is_found() {
    let window = Settings { opens_at: Some(at(100)), closes_at: Some(at(200)), ..settings(5) };
    let claim_at = |millis| found_after(&[record(50, changed(0, window)), record(millis, claimed(0, 4, "dan"))]);
    assert_eq!(claim_at(99), ["window"]);
    assert_eq!(claim_at(100), Vec::<&str>::new());
    assert_eq!(claim_at(199), Vec::<&str>::new());
    assert_eq!(claim_at(200), ["window"]);
    let paused = Settings { paused: true, ..settings(5) };
    assert_eq!(found_after(&[record(50, changed(0, paused)), record(50, claimed(0, 4, "dan"))]), ["window"]);
}

#[test]
fn a_claim_in_an_unknown_campaign_is_found() {
    assert_eq!(found_after(&[record(50, claimed(1, 1, "dan"))]), ["unknown_campaign"]);
    assert_eq!(found_after(&[record(50, created(2, "summer", settings(5)))]), ["number"]);
    assert_eq!(found_after(&[record(50, created(1, "spring", settings(5)))]), ["campaign_name"]);
}

#[test]
fn an_end_of_a_claim_that_is_not_live_is_found() {
    assert_eq!(found_after(&[record(50, redeemed(0, 4))]), ["unknown_claim"]);
    assert_eq!(found_after(&[record(50, redeemed(0, 2))]), ["claim_ended"]);
    assert_eq!(found_after(&[record(50, redeemed(0, 1)), record(50, redeemed(0, 1))]), ["claim_ended"]);
    assert_eq!(found_after(&[record(50, redeemed(0, 1)), record(50, cancelled(0, 1))]), ["claim_ended"]);
}

#[test]
fn a_claim_redeemed_too_late_is_found() {
    let until = Settings { redeem_until: Some(at(100)), ..settings(5) };
    assert_eq!(found_after(&[record(50, changed(0, until)), record(99, redeemed(0, 1))]), Vec::<&str>::new());
    assert_eq!(found_after(&[record(50, changed(0, until)), record(100, redeemed(0, 1))]), ["redeemed_late"]);
}

#[test]
fn a_stock_set_below_what_is_claimed_is_found() {
    assert_eq!(found_after(&[record(50, changed(0, settings(2)))]), Vec::<&str>::new());
    assert_eq!(found_after(&[record(50, changed(0, settings(1)))]), ["stock_below_claimed"]);
}

#[test]
fn a_time_that_goes_back_is_found() {
    assert_eq!(found_after(&[record(39, claimed(0, 4, "dan"))]), ["time"]);
}

#[test]
fn a_request_key_with_two_outcomes_within_a_day_is_found() {
    let twice = |millis| {
        let first = keyed("k", record(50, claimed(0, 4, "dan")));
        found_after(&[first, keyed("k", record(millis, claimed(0, 5, "eve")))])
    };
    assert_eq!(twice(50 + DAY_MS - 1), ["request_key"]);
    assert_eq!(twice(50 + DAY_MS), Vec::<&str>::new());
    let other = created(1, "summer", settings(5));
    let elsewhere = [record(50, other), keyed("k", record(50, claimed(0, 4, "dan"))), keyed("k", record(50, claimed(1, 1, "dan")))];
    assert_eq!(found_after(&elsewhere), Vec::<&str>::new());
}

#[test]
fn a_request_key_forgotten_too_early_is_found() {
    let forget = |millis, count| {
        let forgotten = Record { change: Change::RequestsForgotten { count }, ..record(millis, redeemed(0, 1)) };
        found_after(&[keyed("k", record(50, claimed(0, 4, "dan"))), forgotten])
    };
    assert_eq!(forget(50 + DAY_MS, 1), Vec::<&str>::new());
    assert_eq!(forget(50 + DAY_MS - 1, 1), ["request_key"]);
    assert_eq!(forget(50 + DAY_MS, 2), ["request_key"]);
}

#[test]
fn a_record_of_a_policy_that_cannot_follow_is_found() {
    let (name, number) = (Name::new("api").unwrap(), Number(1));
    let per_second = |algorithm| {
        let settings = PolicySettings { algorithm, quota: 5, window_ms: Some(1_000), ..PolicySettings::least() };
        AnySettings::Policy(settings)
    };
    let (key, numbers) = (LimitKey::new("ann").unwrap(), Numbers { quota: 7, window_ns: 1_000_000_000, burst: 0 });
    let of = |change| record(50, change);
    let created = of(Change::Created { number, name, settings: per_second(LimitAlgorithm::FixedWindow) });
    let other = of(Change::Changed { number, settings: per_second(LimitAlgorithm::LeakyBucket) });
    let back = of(Change::Changed { number, settings: per_second(LimitAlgorithm::FixedWindow) });
    let removed = of(Change::Removed { number });
    let own = of(did::<Limit>(1, policies::Event::OverrideWritten { key, numbers }));
    let bursting = of(did::<Limit>(1, policies::Event::OverrideWritten { key, numbers: Numbers { burst: 1, ..numbers } }));
    let ended = of(did::<Limit>(1, policies::Event::OverrideRemoved { key }));
    for honest in [&[created, own, ended, other, removed][..], &[created, own, removed], &[created, other, back]] {
        assert_eq!(found_after(honest), Vec::<&str>::new(), "{honest:?}");
    }
    let forged =
        [&[removed][..], &[own], &[created, created], &[created, back], &[created, own, other], &[created, bursting], &[created, ended]];
    for forged in forged {
        assert!(!found_after(forged).is_empty(), "{forged:?}");
    }
}

#[test]
fn a_flipped_byte_in_a_synced_batch_is_a_hole_and_says_where() {
    let data = Data::spring();
    let mut place = 0;
    data.forge_bytes(|bytes, starts| {
        place = starts[2];
        bytes[place + 140] ^= 1;
    });
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), verdict.counts.records), (vec!["hole"], 2));
    let wanted = format!("0000000001.segment at offset {place} (record 3)");
    assert!(verdict.broken[0].detail.ends_with(&wanted), "{}", verdict.broken[0].detail);
}

#[test]
fn records_changed_with_checksums_that_fit_break_the_chain() {
    let data = Data::spring();
    data.forge_bytes(|bytes, starts| rewrite(bytes, starts[2], |_, body| body[9] ^= 1));
    assert!(kinds(&data.verify()).contains(&"chain"));
}

#[test]
fn a_batch_rewritten_with_a_link_of_its_own_breaks_the_chain_behind_it() {
    let data = Data::spring();
    data.forge_bytes(|bytes, starts| {
        rewrite(bytes, starts[2], |header, body| {
            let name = body.windows(3).position(|bytes| bytes == b"bob").unwrap();
            body[name..name + 3].copy_from_slice(b"eve");
            header.chain = chain_of(header, body);
        });
    });
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), verdict.counts.records), (vec!["chain"], 3));
}

#[test]
fn a_last_batch_with_another_link_breaks_the_chain_and_is_no_torn_tail() {
    let data = Data::spring();
    data.forge_bytes(|bytes, starts| {
        rewrite(bytes, starts[4], |header, body| {
            header.chain_before[0] ^= 1;
            header.chain = chain_of(header, body);
        });
    });
    assert_eq!(kinds(&data.verify()), ["chain"]);
}

#[test]
fn a_torn_tail_is_a_note() {
    let data = Data::spring();
    data.forge_bytes(|bytes, starts| bytes[starts[4] + 140] ^= 1);
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), verdict.counts.records, verdict.notes.len()), (vec![], 4, 2));
    assert!(verdict.notes[1].contains("never synced"), "{:?}", verdict.notes);
}

#[test]
fn a_missing_segment_is_a_hole() {
    let data = Data::spring();
    fs::rename(data.segment_path(), data.storage.folder().join("0000000002.segment")).unwrap();
    assert_eq!(kinds(&data.verify()), ["hole"]);
}

/// What is found once the history, at its full length, has been tampered with.
fn found_in_rows(sql: &str) -> (Vec<&'static str>, String) {
    let data = Data::spring();
    data.project(data.last());
    data.forge_rows(sql);
    let verdict = data.verify();
    (kinds(&verdict), verdict.broken.iter().map(|broken| broken.detail.clone()).collect::<Vec<_>>().join("; "))
}

#[test]
fn a_row_that_is_missing_extra_or_different_is_found_and_named() {
    let found = |kind, detail: &str| (vec![kind], detail.to_owned());
    let missing = found_in_rows("DELETE FROM claims WHERE serial = 2");
    assert_eq!(missing, found("history_missing_row", "claim 2 of campaign spring is not in the history"));
    let last = found_in_rows("DELETE FROM claims WHERE serial = 3");
    assert_eq!(last, found("history_missing_row", "claim 3 of campaign spring is not in the history"));
    let extra = found_in_rows("INSERT INTO claims VALUES (0, 4, 'dan', 30, 'live', NULL, 'local', 'r-1', 0)");
    assert_eq!(extra, found("history_extra_row", "claim 4 of campaign spring is in the history only"));
    let unknown = found_in_rows("PRAGMA foreign_keys = OFF; INSERT INTO claims VALUES (7, 1, 'dan', 30, 'live', NULL, 'local', 'r-1', 0)");
    assert_eq!(unknown, found("history_extra_row", "claim 1 of campaign number 7 is in the history only"));
    let subject = found_in_rows("UPDATE claims SET subject = 'eve' WHERE serial = 1");
    assert_eq!(subject, found("history_different_row", "claim 1 of campaign spring; subject is \"eve\", in the journal \"ann\""));
    let time = found_in_rows("UPDATE claims SET claimed_at = 21 WHERE serial = 1");
    assert_eq!(time, found("history_different_row", "claim 1 of campaign spring; claimed_at is 21, in the journal 20"));
    let (kinds, detail) = found_in_rows("UPDATE claims SET changed_at = 41 WHERE serial = 2");
    assert!(kinds == ["history_different_row"] && detail.contains("changed_at is 41, in the journal 40"), "{detail}");
}

#[test]
fn a_campaigns_row_that_is_missing_extra_or_different_is_found() {
    let (kinds, detail) = found_in_rows("UPDATE campaigns SET stock = 6, version = 2");
    assert!(
        kinds == ["history_different_row"] && detail == "campaign spring; version is 2, in the journal 1; stock is 6, in the journal 5"
    );
    assert_eq!(found_in_rows("PRAGMA foreign_keys = OFF; DELETE FROM campaigns").0, ["history_missing_row"]);
    let extra = "INSERT INTO campaigns VALUES (1, 'summer', 1, 1, NULL, NULL, NULL, 0, 'direct', NULL, 1000000, 1, 1, 10, 10)";
    assert_eq!(found_in_rows(extra).0, ["history_extra_row"]);
    assert_eq!(found_in_rows("UPDATE position SET effective_at = 41").0, ["history_different_row"]);
    assert_eq!(found_in_rows("UPDATE campaigns SET mode = 'lost'").0, ["history_damaged"]);
}

#[test]
fn a_history_that_is_behind_is_compared_where_it_is() {
    for position in 0..=5 {
        let data = Data::spring();
        data.project(position);
        let verdict = data.verify();
        assert_eq!((kinds(&verdict), verdict.history_position), (vec![], Some(position)), "{verdict:?}");
        assert_eq!(verdict.counts.records, 5);
    }
    let data = Data::spring();
    data.project(3);
    data.forge_rows("UPDATE claims SET subject = 'eve' WHERE serial = 2");
    assert_eq!(kinds(&data.verify()), ["history_different_row"]);
}

#[test]
fn a_history_ahead_of_the_journal_is_found() {
    assert_eq!(found_in_rows("UPDATE position SET applied = 6").0, ["history_ahead"]);
}

#[test]
fn a_history_beyond_a_hole_is_not_compared_and_not_called_ahead() {
    let data = Data::spring();
    data.project(data.last());
    data.forge_bytes(|bytes, starts| bytes[starts[2] + 140] ^= 1);
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), verdict.notes.len()), (vec!["hole"], 1));
}

#[test]
fn a_history_of_another_journal_is_found() {
    let data = Data::spring();
    let db = projection::History::open(&data.history_path(), [1; 16]).unwrap();
    drop(db);
    assert_eq!(kinds(&data.verify()), ["history_other_journal"]);
}

#[test]
fn of_many_broken_promises_twenty_are_told_and_all_are_counted() {
    let subjects: Vec<String> = (0..30).map(|user| format!("user-{user}")).collect();
    let mut data = Data::spring();
    let claims: Vec<_> = subjects.iter().zip(4..).map(|(subject, serial)| record(50, claimed(0, serial, subject))).collect();
    data.append(&claims);
    let verdict = data.verify();
    assert_eq!((verdict.broken.len(), verdict.broken_counts["over_issued"]), (20, 27));
    assert!(verdict.to_text().ends_with("broken promises: 27 over_issued\n"));
}

#[test]
fn a_folder_without_a_journal_is_no_verdict_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(verify::run(folder.path()), Err(VerifyError::NoJournal(_))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A queue of one claim a second, two of which are accepted and not decided yet.
fn queue<'a>(more: &[Record<'a>]) -> Vec<Record<'a>> {
    let paced = Settings { mode: Mode::Queued, decisions_per_second_max: Some(1), closes_at: Some(at(70)), ..settings(5) };
    let begun = [record(50, changed(0, paced)), record(60, accepted(0, 4, "dan")), record(60, accepted(0, 5, "eve"))];
    begun.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn pending_claims_that_are_decided_in_their_order_and_at_the_pace_break_nothing() {
    let mut data = Data::spring();
    data.append(&queue(&[record(1_060, decided(0, 4, "dan"))]));
    data.project(data.last());
    let verdict = data.verify();
    assert_eq!((kinds(&verdict), verdict.counts.claims_pending), (vec![], 1));
    assert_eq!(found_after(&queue(&[record(1_060, decided(0, 4, "dan")), record(2_060, decided(0, 5, "eve"))])), Vec::<&str>::new());
}

#[test]
fn a_decision_out_of_turn_or_of_another_subject_is_found() {
    assert_eq!(found_after(&queue(&[record(1_060, decided(0, 5, "eve"))])), ["queue_order"]);
    assert_eq!(found_after(&queue(&[record(1_060, decided(0, 4, "eve"))])), ["queue_order"]);
    assert_eq!(found_after(&queue(&[record(1_060, decided(0, 6, "fay"))])), ["queue_order"]);
}

#[test]
fn a_decision_before_its_time_is_found() {
    assert_eq!(found_after(&queue(&[record(1_060, decided(0, 4, "dan")), record(2_059, decided(0, 5, "eve"))])), ["pace"]);
}

#[test]
fn a_claim_that_waits_for_no_reason_or_settings_that_change_nothing_are_found() {
    assert_eq!(found_after(&[record(50, accepted(0, 4, "dan"))]), ["pace"]);
    assert_eq!(found_after(&[record(50, changed(0, settings(5)))]), ["no_change"]);
    let window = Settings { opens_at: Some(at(200)), closes_at: Some(at(100)), ..settings(5) };
    assert_eq!(found_after(&[record(50, changed(0, window))]), ["settings"]);
}

#[test]
fn a_pending_claim_that_is_used_or_given_back_is_found() {
    assert_eq!(found_after(&queue(&[record(61, redeemed(0, 4))])), ["claim_pending"]);
    assert_eq!(found_after(&queue(&[record(61, cancelled(0, 4))])), ["claim_pending"]);
}

#[test]
fn what_is_accepted_too_late_beyond_the_bound_or_twice_is_found() {
    assert_eq!(found_after(&queue(&[record(70, accepted(0, 6, "fay"))])), ["window"]);
    assert_eq!(found_after(&queue(&[record(61, accepted(0, 6, "dan"))])), ["subject_limit"]);
    let change = record(60, changed(0, Settings { queue_max: 2, ..settings(5) }));
    assert_eq!(found_after(&queue(&[change, record(61, accepted(0, 6, "fay"))])), ["queue_full"]);
}
