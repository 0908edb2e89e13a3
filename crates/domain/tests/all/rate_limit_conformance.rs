//! The tables of `conformance/rate-limit/`, on the rules alone.

use std::collections::BTreeSet;
use std::path::Path;

use conformance::Summary;
use conformance::limits::{DomainLimits, run_limits};
use domain::rate_limit::reserve::SettleRejection;
use domain::rate_limit::{Moment, PolicyError, Verdict};

fn run() -> Summary {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/rate-limit");
    run_limits(&folder, |_| true, DomainLimits::default).unwrap()
}

/// Each follows the one before it, so that the compiler asks for every new one.
fn every_code() -> BTreeSet<&'static str> {
    let policies = std::iter::successors(Some(PolicyError::QuotaOutOfRange), |why| match why {
        PolicyError::QuotaOutOfRange => Some(PolicyError::LogQuotaOutOfRange),
        PolicyError::LogQuotaOutOfRange => Some(PolicyError::WindowOutOfRange),
        PolicyError::WindowOutOfRange => Some(PolicyError::BurstOutOfRange),
        PolicyError::BurstOutOfRange => Some(PolicyError::BurstNotUsed),
        PolicyError::BurstNotUsed => None,
    });
    let verdicts = std::iter::successors(Some(Verdict::Conforms), |verdict| match verdict {
        Verdict::Conforms => Some(Verdict::NotUntil { at: Moment::ZERO }),
        Verdict::NotUntil { .. } => Some(Verdict::ExceedsBurst { max: 1 }),
        Verdict::ExceedsBurst { .. } => None,
    });
    let settling = std::iter::successors(Some(SettleRejection::ReservationNotFound), |why| match why {
        SettleRejection::ReservationNotFound => Some(SettleRejection::ReservationExpired { expired_at: Moment::ZERO }),
        SettleRejection::ReservationExpired { .. } => None,
    });
    let codes = policies.map(PolicyError::code).chain(verdicts.filter_map(Verdict::code)).chain(settling.map(SettleRejection::code));
    codes.chain(["policy_not_found", "lease_not_found", "in_flight_out_of_range"]).collect()
}

#[test]
fn the_rules_answer_as_the_tables_say_and_every_refusal_is_in_one() {
    assert_eq!(run().codes.iter().map(String::as_str).collect::<BTreeSet<_>>(), every_code());
}
