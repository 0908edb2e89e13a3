//! The tables of `conformance/coupon/`, on the rules alone.

use std::collections::BTreeSet;
use std::path::Path;

use conformance::{DomainBackend, Forgetting, OracleBackend, Summary, run_folder};
use domain::Rejection;
use domain::coupon;
use domain::types::{Quantity, Timestamp};

fn run(forgetting: Forgetting) -> Summary {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    run_folder(&folder, || DomainBackend::new(forgetting)).unwrap()
}

#[test]
fn the_rules_answer_as_the_tables_say() {
    run(Forgetting::WhenDue);
}

#[test]
fn no_answer_depends_on_whether_the_forgetting_was_recorded() {
    run(Forgetting::Never);
}

/// The oracle is what the rules are held against everywhere else; here it is held against the tables.
#[test]
fn the_oracle_answers_as_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    for forgetting in [Forgetting::WhenDue, Forgetting::Never] {
        assert_eq!(run_folder(&folder, || OracleBackend::new(forgetting)).unwrap(), run(forgetting));
    }
}

#[test]
fn every_rejection_appears_in_a_table() {
    let expected: BTreeSet<String> = every_rejection().iter().map(|rejection| rejection.code().to_owned()).collect();
    assert_eq!(run(Forgetting::WhenDue).codes, expected);
}

/// Starts with the first of them and follows [`next`], so that the compiler asks for every new one.
fn every_rejection() -> Vec<Rejection> {
    let coupons = std::iter::successors(Some(coupon::Rejection::CampaignNotFound), next).map(Rejection::Coupon);
    let all: Vec<Rejection> = std::iter::once(Rejection::RequestKeyReused).chain(coupons).collect();
    for rejection in &all {
        match rejection {
            // Policies have tables of their own.
            Rejection::RequestKeyReused | Rejection::Coupon(_) | Rejection::Policy(_) => {}
        }
    }
    all
}

fn next(rejection: &coupon::Rejection) -> Option<coupon::Rejection> {
    use coupon::Rejection as Why;
    let time = Timestamp::ZERO;
    match rejection {
        Why::CampaignNotFound => Some(Why::CampaignExists),
        Why::CampaignExists => Some(Why::VersionMismatch { version: 1 }),
        Why::VersionMismatch { .. } => Some(Why::ClosesBeforeOpens),
        Why::ClosesBeforeOpens => Some(Why::RedeemUntilBeforeOpens),
        Why::RedeemUntilBeforeOpens => Some(Why::StockBelowClaimed { claimed: Quantity::ONE }),
        Why::StockBelowClaimed { .. } => Some(Why::PerSubjectMaxLowered { per_subject_max: 1 }),
        Why::PerSubjectMaxLowered { .. } => Some(Why::RequestKeyRequired),
        Why::RequestKeyRequired => Some(Why::NotOpen { opens_at: time }),
        Why::NotOpen { .. } => Some(Why::Closed { closed_at: time }),
        Why::Closed { .. } => Some(Why::Paused),
        Why::Paused => Some(Why::SubjectLimitReached { per_subject_max: 1 }),
        Why::SubjectLimitReached { .. } => Some(Why::SoldOut),
        Why::SoldOut => Some(Why::QueueFull { queue_max: 1 }),
        Why::QueueFull { .. } => Some(Why::ClaimNotFound),
        Why::ClaimNotFound => Some(Why::ClaimPending),
        Why::ClaimPending => Some(Why::ClaimAmbiguous { serials: Vec::new() }),
        Why::ClaimAmbiguous { .. } => Some(Why::CodeNotFound),
        Why::CodeNotFound => Some(Why::AlreadyRedeemed { redeemed_at: time }),
        Why::AlreadyRedeemed { .. } => Some(Why::Cancelled { cancelled_at: time }),
        Why::Cancelled { .. } => Some(Why::Expired { redeem_until: time }),
        Why::Expired { .. } => None,
    }
}
