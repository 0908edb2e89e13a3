//! A state put together from rows is the one that the decisions led to, byte for byte; and rows
//! that no decisions can have led to are refused, and named.

use crate::common;

use common::{ask, at, rules, seconds, sections};
use conformance::{DomainBackend, Forgetting};
use domain::State;
use domain::claims::ClaimStatus;
use domain::coupon::{Campaign, CampaignNumber};
use domain::hash::HashSeed;
use domain::request::Remembered;
use domain::restore::{RestoreError, RestoredCampaign, Restorer};
use domain::types::{CampaignName, Serial, SubjectId, Timestamp};
use domain::wire::state::{decode_remembered, encode_remembered};
use proptest::prelude::*;
use proptest::sample::select;

fn line() -> impl Strategy<Value = String> {
    let campaign = || select(&["spring", "summer", "autumn"]);
    let subject = || select(&["ann", "bob", "cat", "dan"]);
    let key = || select(&["", "key k1", "key k2", "key k3 as shop", "key k4"]);
    prop_oneof![
        3 => (campaign(), 1..9_u32, 1..4_u32, key()).prop_map(|(campaign, stock, max, key)| {
            format!("campaign {campaign} stock {stock} per-subject {max} {key}")
        }),
        1 => (campaign(), 1..9_u32, key()).prop_map(|(campaign, stock, key)| format!("patch {campaign} stock {stock} {key}")),
        10 => (campaign(), subject(), key()).prop_map(|(campaign, by, key)| format!("claim {campaign} by {by} {key}")),
        2 => (campaign(), subject(), key()).prop_map(|(campaign, by, key)| format!("redeem {campaign} by {by} {key}")),
        4 => (campaign(), subject(), key()).prop_map(|(campaign, by, key)| format!("cancel {campaign} by {by} {key}")),
    ]
}

fn row(campaign: &Campaign) -> RestoredCampaign<'_> {
    RestoredCampaign {
        number: campaign.number,
        name: CampaignName::new(&campaign.name).unwrap(),
        settings: campaign.settings,
        version: campaign.version,
        code_key: campaign.code_key,
        created_at: campaign.created_at,
    }
}

fn restore(live: &State) -> Result<State, RestoreError> {
    let mut restorer = Restorer::new(HashSeed(21, 22));
    live.campaigns().iter().try_for_each(|campaign| restorer.campaign(row(campaign)))?;
    for campaign in live.campaigns() {
        for serial in (1..=u32::try_from(campaign.claims.count()).unwrap()).filter_map(Serial::new) {
            let claim = campaign.claims.get(serial).unwrap();
            restorer.claim(campaign.number, serial, claim.subject, claim.claimed_at, claim.status)?;
        }
    }
    for known in live.requests.iter() {
        restorer.request(decode_remembered(&encode_remembered(known)).unwrap())?;
    }
    restorer.finish(live.time)
}

fn history(lines: &[String], forgetting: Forgetting, step_ms: u64) -> DomainBackend {
    let mut rules = DomainBackend::new(forgetting);
    for (line, number) in lines.iter().zip(1_u64..) {
        ask(&mut rules, &format!("at {} {line}", seconds(number * step_ms)));
    }
    rules
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_restored_state_has_the_bytes_of_the_live_one(
        lines in proptest::collection::vec(line(), 0..120),
        forgetting in select(&[Forgetting::WhenDue, Forgetting::Never]),
        // So that request keys are forgotten, now and then.
        step_ms in select(&[1, 1_800_000_u64]),
    ) {
        let rules = history(&lines, forgetting, step_ms);
        let restored = restore(rules.state()).unwrap();
        prop_assert!(sections(&restored) == sections(rules.state()));
        prop_assert_eq!(restored.claims_count(), rules.state().claims_count());
        for (restored, live) in restored.campaigns().iter().zip(rules.state().campaigns()) {
            for subject in ["ann", "bob", "cat", "dan"].map(|name| SubjectId::new(name).unwrap()) {
                prop_assert_eq!(restored.serials_of(subject), live.serials_of(subject));
            }
        }
        prop_assert_eq!(restored.requests.newest(), rules.state().requests.newest());
    }
}

#[test]
fn the_newest_remembered_is_that_of_the_last_record_with_a_key() {
    let mut rules = rules();
    ask(&mut rules, "campaign spring stock 5");
    assert_eq!(rules.state().requests.newest(), None);
    for key in ["k1", "k2"] {
        ask(&mut rules, &format!("claim spring by {key} key {key}"));
        let newest = rules.state().requests.newest().unwrap();
        assert_eq!(&*newest.key, key);
        assert_eq!(decode_remembered(&encode_remembered(newest)).as_ref(), Ok(newest));
    }
    ask(&mut rules, "claim spring by cat");
    assert_eq!(rules.state().requests.newest().map(|known| &*known.key), Some("k2"));
}

#[test]
fn bytes_after_a_remembered_request_or_too_few_of_them_are_refused() {
    let mut bytes = encode_remembered(&remembered());
    bytes.push(0);
    assert!(decode_remembered(&bytes).is_err());
    bytes.truncate(bytes.len() - 2);
    assert!(decode_remembered(&bytes).is_err());
}

fn remembered() -> Remembered {
    let mut rules = rules();
    ask(&mut rules, "campaign spring stock 5 key k");
    rules.state().requests.newest().unwrap().clone()
}

/// A campaign of two units, created at 10 s, one for each subject.
fn spring() -> (DomainBackend, Restorer) {
    let mut rules = rules();
    ask(&mut rules, "at 10s campaign spring stock 2");
    let mut restorer = Restorer::new(HashSeed(1, 2));
    restorer.campaign(row(&rules.state().campaigns()[0])).unwrap();
    (rules, restorer)
}

fn claim(restorer: &mut Restorer, serial: u32, subject: &str, claimed_at: u64, status: ClaimStatus) -> Result<(), String> {
    let (serial, subject) = (Serial::new(serial).unwrap(), SubjectId::new(subject).unwrap());
    restorer.claim(CampaignNumber(0), serial, subject, at(claimed_at), status).map_err(|error| error.to_string())
}

fn expect(result: Result<(), String>, what: &str) {
    assert!(result.as_ref().is_err_and(|found| found.contains(what)), "{result:?}, expected {what}");
}

#[test]
fn a_claim_that_no_decision_can_have_led_to_is_named() {
    let (_, mut restorer) = spring();
    let cancelled = |at_ms| ClaimStatus::Cancelled { cancelled_at: at(at_ms) };
    expect(claim(&mut restorer, 2, "ann", 10_000, ClaimStatus::Live), "claim 1 of campaign 0 must come next, but 2 came");
    expect(claim(&mut restorer, 1, "ann", 9_999, ClaimStatus::Live), "claim 1 of campaign 0: it was claimed before");
    expect(claim(&mut restorer, 1, "ann", 10_001, cancelled(10_000)), "changed before it was claimed");
    claim(&mut restorer, 1, "ann", 10_001, ClaimStatus::Live).unwrap();
    expect(claim(&mut restorer, 1, "bob", 10_001, ClaimStatus::Live), "claim 2 of campaign 0 must come next, but 1 came");
    expect(claim(&mut restorer, 2, "ann", 10_001, ClaimStatus::Live), "claim 2 of campaign 0: its subject holds more");
    claim(&mut restorer, 2, "ann", 10_001, cancelled(10_001)).unwrap();
    claim(&mut restorer, 3, "bob", 10_001, ClaimStatus::Redeemed { redeemed_at: at(10_005) }).unwrap();
    expect(claim(&mut restorer, 4, "cat", 10_001, ClaimStatus::Live), "more units are held than there are");
    let ahead = restorer.finish(at(10_004)).map(|state| state.time);
    assert_eq!(ahead, Err(RestoreError::TimeAhead { state_ms: 10_004, row_ms: 10_005 }));
}

#[test]
fn a_campaign_that_no_decision_can_have_led_to_is_named() {
    let (rules, mut restorer) = spring();
    let first = row(&rules.state().campaigns()[0]);
    let second = RestoredCampaign { number: CampaignNumber(1), name: CampaignName::new("summer").unwrap(), ..first };
    let mut refused = |row: RestoredCampaign<'_>, what: &str| expect(restorer.campaign(row).map_err(|error| error.to_string()), what);
    refused(RestoredCampaign { number: CampaignNumber(2), ..second }, "campaign 1 must come next, but 2 came");
    refused(RestoredCampaign { name: first.name, ..second }, "two campaigns have the name spring");
    refused(RestoredCampaign { version: 0, ..second }, "campaign 1: its version is 0");
    refused(RestoredCampaign { created_at: Timestamp::ZERO, ..second }, "campaign 1: it was created before");
    let mut settings = second.settings;
    settings.per_subject_max = 0;
    refused(RestoredCampaign { settings, ..second }, "campaign 1: its settings are out of range");
    let missing = restorer.claim(CampaignNumber(7), Serial::new(1).unwrap(), SubjectId::new("ann").unwrap(), at(1), ClaimStatus::Live);
    assert_eq!(missing, Err(RestoreError::CampaignMissing(7)));
}

#[test]
fn a_remembered_request_out_of_order_is_named() {
    let (_, mut restorer) = spring();
    let later = Remembered { recorded_at: at(10_000), ..remembered() };
    restorer.request(later.clone()).unwrap();
    let older = restorer.request(Remembered { recorded_at: at(9_000), ..remembered() });
    assert_eq!(older, Err(RestoreError::Request { place: 2, what: "it is older than the one ahead of it" }));
    let foreign = restorer.request(Remembered { campaign: CampaignNumber(1), ..later });
    assert_eq!(foreign, Err(RestoreError::CampaignMissing(1)));
}
