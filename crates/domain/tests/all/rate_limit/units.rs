//! What one example shows best.

use domain::rate_limit::in_flight::{InFlight, Lease, Leases};
use domain::rate_limit::settings::{LOG_QUOTA_MAX, QUOTA_MAX, WINDOW_NS_MAX, WINDOW_NS_MIN};
use domain::rate_limit::{Algorithm, Mode, Policy, PolicyError, Settings, Verdict};

use super::oracle::moment;

const SECOND: u64 = 1_000_000_000;

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let why = |settings| Policy::new(settings).err();
    let log = Algorithm::SlidingWindowLog;
    assert_eq!(why(Settings::per_second(Algorithm::FixedWindow, 0)), Some(PolicyError::QuotaOutOfRange));
    assert_eq!(why(Settings::per_second(Algorithm::FixedWindow, QUOTA_MAX + 1)), Some(PolicyError::QuotaOutOfRange));
    assert_eq!(why(Settings::per_second(log, LOG_QUOTA_MAX)), None);
    assert_eq!(why(Settings::per_second(log, LOG_QUOTA_MAX + 1)), Some(PolicyError::LogQuotaOutOfRange));
    assert_eq!(why(Settings::new(log, 1, WINDOW_NS_MIN - 1)), Some(PolicyError::WindowOutOfRange));
    assert_eq!(why(Settings::new(log, 1, WINDOW_NS_MAX + 1)), Some(PolicyError::WindowOutOfRange));
    assert_eq!(why(Settings::per_second(log, 1).with_burst(1)), Some(PolicyError::BurstNotUsed));
    assert_eq!(why(Settings::per_second(Algorithm::TokenBucket, 1).with_burst(QUOTA_MAX + 1)), Some(PolicyError::BurstOutOfRange));
    assert_eq!(why(Settings::new(Algorithm::LeakyBucket, 1, WINDOW_NS_MAX).with_burst(100)), Some(PolicyError::BurstOutOfRange));
}

#[test]
fn every_algorithm_is_found_by_its_word() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_word(algorithm.word()), Some(algorithm));
    }
    assert_eq!(Algorithm::from_word("gcra"), None);
}

#[test]
fn a_shadow_policy_allows_what_it_would_refuse_and_takes_nothing_for_it() {
    for algorithm in Algorithm::ALL {
        let policy = Policy::new(Settings::per_second(algorithm, 1).with_mode(Mode::Shadow)).unwrap();
        let (first, state) = policy.check(policy.full(), moment(0), 1);
        assert!(first.conforms() && first.is_allowed());
        let (second, same) = policy.check(state.clone(), moment(0), 1);
        assert!(matches!(second.verdict, Verdict::NotUntil { .. }));
        assert!(second.is_allowed() && same == state, "{algorithm:?}");
    }
}

#[test]
fn an_uneven_pace_does_not_drift() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        for quota in [10_000_000, 9_999_991, 3, 7] {
            let policy = Policy::new(Settings::per_second(algorithm, quota).with_burst(1)).unwrap();
            let mut state = policy.full();
            // Asked again exactly when it is promised, it is granted at the first whole nanosecond
            // of the ideal instant, however many were granted before.
            let mut now = moment(0);
            for taken in 0..20_000_u64 {
                let (decision, new) = policy.check(state, now, 1);
                assert!(decision.conforms());
                let exact = (u128::from(taken.saturating_sub(1)) * u128::from(SECOND)).div_ceil(u128::from(quota));
                assert_eq!(u128::from(now.nanos()), exact, "{algorithm:?} {quota}");
                let refused = policy.decide(&new, now, 1);
                now = moment(now.nanos() + refused.retry_after_ns().unwrap_or(0));
                state = new;
            }
        }
    }
}

#[test]
fn a_debt_is_paid_back_by_time() {
    let policy = Policy::new(Settings::per_second(Algorithm::LeakyBucket, 1).with_burst(4)).unwrap();
    let (_, state, reservation) = policy.reserve(policy.full(), moment(0), 5, 60 * SECOND);
    let state = policy.settle(state, &reservation.unwrap(), moment(0), 8).unwrap();
    let decision = policy.decide(&state, moment(0), 1);
    assert_eq!((decision.remaining, decision.retry_after_ns()), (0, Some(4 * SECOND)));
}

#[test]
fn a_log_in_debt_does_not_grow() {
    let policy = Policy::new(Settings::per_second(Algorithm::SlidingWindowLog, 3)).unwrap();
    let state = (0..100).fold(policy.full(), |state, nanos| policy.take(state, moment(nanos), 2));
    assert_eq!(state.check(&policy, moment(100)), Ok(()));
    assert_eq!(policy.decide(&state, moment(100), 1).remaining, 0);
}

#[test]
fn no_more_are_in_flight_than_the_limit_and_a_vanished_one_ends_by_itself() {
    let limit = InFlight::new(2, 10 * SECOND, Mode::Enforce).unwrap();
    let (one, leases) = limit.start(Leases::default(), moment(0), Lease(1));
    let (two, leases) = limit.start(leases, moment(SECOND), Lease(2));
    assert_eq!((one.remaining, two.remaining), (1, 0));
    let (three, leases) = limit.start(leases, moment(2 * SECOND), Lease(3));
    assert_eq!(three.verdict, Verdict::NotUntil { at: moment(10 * SECOND) });
    let (leases, held) = limit.end(leases, moment(3 * SECOND), Lease(2));
    assert!(held);
    let (leases, held) = limit.end(leases, moment(3 * SECOND), Lease(2));
    assert!(!held, "a lease ends once");
    let (four, leases) = limit.start(leases, moment(3 * SECOND), Lease(4));
    assert!(four.conforms());
    let (early, leases) = limit.start(leases, moment(10 * SECOND - 1), Lease(5));
    let (late, leases) = limit.start(leases, moment(10 * SECOND), Lease(6));
    assert!(!early.conforms() && late.conforms());
    let (_, held) = limit.end(leases, moment(10 * SECOND), Lease(1));
    assert!(!held, "a lease that has ended by itself is not held");
}
