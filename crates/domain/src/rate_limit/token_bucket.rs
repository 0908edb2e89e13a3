//! Token bucket: it holds `burst` tokens and one, and begins full; `quota` tokens a window flow
//! in, steadily, until it is full; each unit takes one.
//!
//! A leaky bucket with the same settings decides exactly alike: one counts what is there, the
//! other what is missing. The two are told apart by what their users expect: a token bucket is
//! usually given a large burst, a leaky bucket none.

use super::reserve::Reservation;
use super::{Moment, Outlook, Policy, Verdict};

/// What is remembered of a key: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenBucket {
    /// What is missing to a full bucket at `at`, in parts of the policy's pace; above a full
    /// bucket's only by a debt. Two halves of one number, so that the whole has 8-byte alignment.
    missing: [u64; 2],
    /// The last moment at which something was taken.
    at: Moment,
}

impl TokenBucket {
    const fn new(missing: u128, at: Moment) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        Self { missing: [missing as u64, (missing >> 64) as u64], at }
    }

    fn missing(self) -> u128 {
        let [low, high] = self.missing;
        (u128::from(high) << 64) | u128::from(low)
    }

    /// The same as of `now`, with what has flowed in since.
    fn at(self, policy: &Policy, now: Moment) -> Self {
        let now = now.max(self.at);
        let flowed = policy.pace().of_nanos(now.nanos_since(self.at));
        Self::new(self.missing().saturating_sub(flowed), now)
    }

    pub(super) fn decide(&self, policy: &Policy, now: Moment, cost: u32) -> Outlook {
        let (state, pace, limit) = (self.at(policy, now), policy.pace(), policy.limit());
        let (full, wanted) = (pace.of_units(limit), pace.of_units(cost));
        let after = state.missing().saturating_add(wanted);
        let (verdict, missing) = match cost {
            0 => (Verdict::Conforms, state.missing()),
            _ if limit < cost => (Verdict::ExceedsBurst { max: limit }, state.missing()),
            _ if full < after => {
                let wait_ns = pace.nanos_up(after.saturating_sub(full));
                (Verdict::NotUntil { at: state.at.plus_nanos(wait_ns) }, state.missing())
            }
            _ => (Verdict::Conforms, after),
        };
        let full_at = state.at.plus_nanos(pace.nanos_up(missing));
        Outlook { verdict, remaining: pace.units_in(full.saturating_sub(missing)), reset_after_ns: full_at.nanos_since(now) }
    }

    pub(super) fn take(self, policy: &Policy, now: Moment, cost: u32) -> Self {
        let state = self.at(policy, now);
        Self::new(state.missing().saturating_add(policy.pace().of_units(cost)), state.at)
    }

    pub(super) fn refund(self, policy: &Policy, now: Moment, units: u32) -> Self {
        let state = self.at(policy, now);
        Self::new(state.missing().saturating_sub(policy.pace().of_units(units)), state.at)
    }

    /// Gives back at most what has not flowed in again since: tokens replace the oldest first.
    pub(super) fn refund_of(self, policy: &Policy, now: Moment, taken: &Reservation, units: u32) -> Self {
        let state = self.at(policy, now);
        let still_missing = policy.pace().of_nanos(taken.weighs_until.nanos_since(state.at));
        let given = policy.pace().of_units(units).min(still_missing);
        Self::new(state.missing().saturating_sub(given), state.at)
    }

    /// Rounded down: a refund may give back a fraction too little, never too much.
    pub(super) fn weighs_until(&self, policy: &Policy, now: Moment) -> Moment {
        let state = self.at(policy, now);
        let nanos = state.missing().checked_div(u128::from(policy.pace().parts)).unwrap_or(0);
        state.at.plus_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        self.at(policy, now).missing() == 0
    }
}
