//! Refunds and settling: never more than the quota, never more than if the truth had been known.

use domain::rate_limit::reserve::{Reservation, SettleRejection};
use domain::rate_limit::{KeyState, Moment, Policy};
use proptest::prelude::*;

use super::oracle::{Step, moment, policy_and_steps};

/// What happened to a key, to be told again with other costs.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: u64,
    units: u32,
}

fn tell_again(policy: &Policy, told: &[Told]) -> KeyState {
    told.iter().fold(policy.full(), |state, told| policy.take(state, moment(told.at), told.units))
}

fn check_at(policy: &Policy, state: &KeyState, now: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(state.check(policy, moment(now)), Ok(()));
    Ok(())
}

fn later(now: u64, step: Step) -> u64 {
    now + step.after_ns
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn a_refund_never_makes_more_than_the_limit((policy, steps) in policy_and_steps(30), refunds in prop::collection::vec(any::<u32>(), 30)) {
        let (mut state, mut now) = (policy.full(), 0);
        for (step, refund) in steps.into_iter().zip(refunds) {
            now = later(now, step);
            let (decision, new) = policy.check(state, moment(now), step.cost);
            let units = refund % step.cost.max(1).saturating_mul(2);
            state = policy.refund(new, moment(now), units);
            check_at(&policy, &state, now)?;
            let left = policy.decide(&state, moment(now), 0).remaining;
            prop_assert!(decision.remaining <= left, "a refund took something");
            prop_assert!(left <= decision.remaining.saturating_add(units), "more came back than was given back");
        }
    }

    #[test]
    fn a_refund_at_once_undoes_a_taking((policy, steps) in policy_and_steps(30)) {
        let (mut state, mut now) = (policy.full(), 0);
        for step in steps {
            now = later(now, step);
            let before = policy.decide(&state, moment(now), 0).remaining;
            let (decision, new) = policy.check(state.clone(), moment(now), step.cost);
            if decision.conforms() {
                let back = policy.refund(new.clone(), moment(now), step.cost);
                prop_assert_eq!(policy.decide(&back, moment(now), 0).remaining, before);
            }
            state = new;
        }
    }

    #[test]
    fn settling_never_leaves_more_than_if_the_actual_cost_had_been_taken(
        (policy, steps) in policy_and_steps(12),
        (which, settle_after, actual) in (0..12_usize, 0..12_usize, any::<u32>()),
    ) {
        let (mut state, mut now, mut told) = (policy.full(), 0, Vec::new());
        let mut open: Option<(usize, usize, Reservation)> = None;
        for (place, step) in steps.into_iter().enumerate() {
            now = later(now, step);
            if place == which {
                let (_, new, reservation) = policy.reserve(state, moment(now), step.cost, u64::MAX);
                open = reservation.map(|reservation| (place + settle_after, told.len(), reservation));
                told.extend(open.map(|_| Told { at: now, units: step.cost }));
                state = new;
            } else {
                let (decision, new) = policy.check(state, moment(now), step.cost);
                told.extend(decision.conforms().then_some(Told { at: now, units: step.cost }));
                state = new;
            }
            if let Some((settle_at, index, reservation)) = open && settle_at <= place {
                let actual = actual % reservation.cost.saturating_add(1);
                state = policy.settle(state, &reservation, moment(now), actual).map_err(|(why, _)| TestCaseError::fail(why.code()))?;
                told[index].units = actual;
                open = None;
            }
            if open.is_none() {
                let truth = policy.decide(&tell_again(&policy, &told), moment(now), 0).remaining;
                let left = policy.decide(&state, moment(now), 0).remaining;
                prop_assert!(left <= truth, "{} left, {} with the true cost", left, truth);
            }
            check_at(&policy, &state, now)?;
        }
    }

    #[test]
    fn settling_at_once_leaves_what_the_actual_cost_leaves((policy, steps) in policy_and_steps(12), actual in any::<u32>()) {
        let (mut state, mut now) = (policy.full(), 0);
        for step in steps {
            now = later(now, step);
            let (_, new, reservation) = policy.reserve(state.clone(), moment(now), step.cost, 1);
            if let Some(reservation) = reservation {
                let actual = actual % step.cost.saturating_add(1);
                let settled = policy.settle(new.clone(), &reservation, moment(now), actual).map_err(|(why, _)| TestCaseError::fail(why.code()))?;
                let direct = policy.take(state, moment(now), actual);
                let (left, expected) = (policy.decide(&settled, moment(now), 0), policy.decide(&direct, moment(now), 0));
                // A bucket may give back less by up to a nanosecond's worth: see `weighs_until`.
                let slack = policy.settings().quota.div_ceil(u32::try_from(policy.settings().window_ns.min(1_000_000)).unwrap_or(1));
                prop_assert!(expected.remaining.saturating_sub(slack.max(1)) <= left.remaining && left.remaining <= expected.remaining);
            }
            state = new;
        }
    }

    #[test]
    fn an_estimate_that_nobody_settles_in_time_stays_taken((policy, steps) in policy_and_steps(12), timeout in 1..1_000_u64) {
        let (mut state, mut now) = (policy.full(), 0);
        for step in steps {
            now = later(now, step);
            let (decision, new, reservation) = policy.reserve(state, moment(now), step.cost, timeout);
            prop_assert_eq!(reservation.is_some(), decision.conforms());
            state = match reservation {
                Some(reservation) => {
                    let too_late = reservation.expires_at;
                    let (why, same) = policy.settle(new.clone(), &reservation, too_late, 0).expect_err("too late");
                    prop_assert_eq!(why, SettleRejection::ReservationExpired { expired_at: too_late });
                    prop_assert_eq!(same, new);
                    let just = Moment::from_nanos(too_late.nanos() - 1);
                    prop_assert!(policy.settle(state_of(&policy, &reservation), &reservation, just, 0).is_ok());
                    policy.full()
                }
                None => new,
            };
        }
    }
}

fn state_of(policy: &Policy, reservation: &Reservation) -> KeyState {
    policy.take(policy.full(), reservation.taken_at, reservation.cost)
}
