//! Every decision, and every number in it, against the oracle.

use domain::rate_limit::leaky_bucket::Compact;
use domain::rate_limit::{Algorithm, Policy, Settings, Verdict};
use proptest::prelude::*;

use super::oracle::{Takings, conforms, moment, policy_and_steps, remaining};

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_let_through_is_exactly_what_the_algorithm_allows((policy, steps) in policy_and_steps(40)) {
        let (mut state, mut takings, mut now) = (policy.full(), Takings::new(), 0);
        for step in steps {
            now += step.after_ns;
            let (decision, new) = policy.check(state.clone(), moment(now), step.cost);
            let expected = conforms(policy.settings(), &takings, now, step.cost);
            prop_assert_eq!(decision.conforms(), expected || step.cost == 0, "{:?} at {} {:?}", step, now, takings);
            if decision.conforms() && 0 < step.cost {
                takings.push((now, step.cost));
            }
            if !decision.conforms() {
                prop_assert_eq!(policy.decide(&new, moment(now), 0), policy.decide(&state, moment(now), 0), "a refusal costs nothing");
            }
            prop_assert_eq!(decision.remaining, remaining(&policy, &takings, now));
            prop_assert_eq!(new.check(&policy, moment(now)), Ok(()));
            state = new;
        }
    }

    #[test]
    fn refused_at_every_instant_before_the_promised_one_and_granted_at_it((policy, steps) in policy_and_steps(20), places in prop::collection::vec(0.0..1.0_f64, 4)) {
        let (mut state, mut now) = (policy.full(), 0);
        for step in steps {
            now += step.after_ns;
            let (decision, new) = policy.check(state, moment(now), step.cost);
            match decision.verdict {
                Verdict::Conforms => prop_assert_eq!(decision.retry_after_ns(), None),
                Verdict::ExceedsBurst { max } => prop_assert!(max == policy.limit() && max < step.cost),
                Verdict::NotUntil { at } => {
                    let wait = at.nanos() - now;
                    prop_assert_eq!(decision.retry_after_ns(), Some(wait));
                    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "some instants between")]
                    let between = places.iter().map(|place| now + ((wait as f64 * place) as u64).min(wait - 1));
                    for earlier in between.chain([at.nanos() - 1]) {
                        prop_assert!(!policy.decide(&new, moment(earlier), step.cost).conforms(), "at {} of {}", earlier, at.nanos());
                    }
                    prop_assert!(policy.decide(&new, at, step.cost).conforms());
                }
            }
            state = new;
        }
    }

    #[test]
    fn a_key_is_full_after_reset_after_and_not_before((policy, steps) in policy_and_steps(20)) {
        let (mut state, mut now) = (policy.full(), 0);
        for step in steps {
            now += step.after_ns;
            let (decision, new) = policy.check(state, moment(now), step.cost);
            let full_at = now + decision.reset_after_ns;
            prop_assert_eq!(policy.decide(&new, moment(full_at), 0).remaining, policy.limit());
            prop_assert_eq!(new.is_full(&policy, moment(full_at)), true);
            if 0 < decision.reset_after_ns {
                prop_assert_eq!(new.is_full(&policy, moment(full_at - 1)), false);
            }
            state = new;
        }
    }

    #[test]
    fn forgetting_a_full_key_changes_no_answer((policy, steps) in policy_and_steps(30)) {
        let (mut kept, mut forgetful, mut now) = (policy.full(), policy.full(), 0);
        for step in steps {
            now += step.after_ns;
            if forgetful.is_full(&policy, moment(now)) {
                forgetful = policy.full();
            }
            let (one, other) = (policy.check(kept, moment(now), step.cost), policy.check(forgetful, moment(now), step.cost));
            prop_assert_eq!(one.0, other.0);
            (kept, forgetful) = (one.1, other.1);
        }
    }

    #[test]
    fn a_clock_that_runs_backwards_lets_nothing_more_through((policy, steps) in policy_and_steps(30), back in prop::collection::vec(0..5_000_000_000_u64, 30)) {
        let (mut state, mut now) = (policy.full(), 0_u64);
        for (step, back) in steps.into_iter().zip(back) {
            now += step.after_ns;
            let earlier = moment(now.saturating_sub(back));
            let (late, early) = (policy.decide(&state, moment(now), step.cost), policy.decide(&state, earlier, step.cost));
            prop_assert!(late.conforms() || !early.conforms(), "refused at {}, granted at {:?}", now, earlier);
            let taken = if late.conforms() { step.cost } else { 0 };
            prop_assert!(early.remaining <= late.remaining.saturating_add(taken));
            let (early, new) = policy.check(state, earlier, step.cost);
            prop_assert_eq!(new.check(&policy, moment(now)), Ok(()));
            if let Some(wait) = early.retry_after_ns() {
                prop_assert!(policy.decide(&new, earlier.plus_nanos(wait), step.cost).conforms());
            }
            state = new;
        }
    }

    #[test]
    fn the_two_buckets_decide_alike((policy, steps) in policy_and_steps(40)) {
        let with = |algorithm| Policy::new(Settings { algorithm, ..*policy.settings() });
        let (Ok(tokens), Ok(leaky)) = (with(Algorithm::TokenBucket), with(Algorithm::LeakyBucket)) else { return Ok(()) };
        let (mut of_tokens, mut of_leaky, mut now) = (tokens.full(), leaky.full(), 0);
        for step in steps {
            now += step.after_ns;
            let (one, other) = (tokens.check(of_tokens, moment(now), step.cost), leaky.check(of_leaky, moment(now), step.cost));
            prop_assert_eq!(one.0, other.0);
            (of_tokens, of_leaky) = (one.1, other.1);
        }
    }

    #[test]
    fn the_compact_form_decides_as_the_wide_one((policy, steps) in policy_and_steps(40)) {
        let Ok(policy) = Policy::new(Settings { algorithm: Algorithm::LeakyBucket, ..*policy.settings() }) else { return Ok(()) };
        let Some(compact) = policy.compact() else { return Ok(()) };
        let (mut wide, mut narrow, mut now) = (policy.full(), Compact::FULL, 0);
        for step in steps {
            now = (now + step.after_ns).min(Compact::NANOS_MAX);
            let (decision, new) = policy.check(wide, moment(now), step.cost);
            let taken = compact.check(narrow, moment(now), step.cost);
            prop_assert_eq!(taken.is_some(), decision.conforms());
            prop_assert_eq!(compact.decision(policy.settings().mode, narrow, taken, moment(now), step.cost), decision);
            narrow = taken.unwrap_or(narrow);
            wide = new;
            prop_assert_eq!(policy.decide(&compact.widen(&policy, narrow), moment(now), 1), policy.decide(&wide, moment(now), 1));
            prop_assert_eq!(compact.narrow(&policy, &compact.widen(&policy, narrow)), narrow);
            prop_assert_eq!(compact.is_full(narrow, moment(now)), wide.is_full(&policy, moment(now)));
        }
    }
}
