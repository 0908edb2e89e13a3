//! Sliding window counter: two counts stand for a log. What was taken in the window of the clock
//! before this one weighs by the share of it that the sliding window still covers:
//!
//! ```text
//! current + previous * (window - elapsed) / window  +  cost  <=  quota
//! ```
//!
//! Both sides are multiplied by the window, so that nothing is rounded. It takes the previous
//! window's requests to have been spread evenly. Where they were not, it lets through or refuses
//! what a log would not; `docs/results/rate-limit.md` says how much.

use super::fixed_window::start_of;
use super::reserve::Reservation;
use super::{Moment, Outlook, Policy, Verdict};

/// What is remembered of a key: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlidingWindowCounter {
    /// The last moment at which something was taken.
    at: Moment,
    /// Units taken in the window of `at`; above the quota only by a debt.
    current: u32,
    /// Units taken in the window before.
    previous: u32,
}

impl SlidingWindowCounter {
    /// The same as of `now`: windows that have ended since move one back.
    fn at(self, policy: &Policy, now: Moment) -> Self {
        let now = now.max(self.at);
        let (then, start) = (start_of(policy, self.at), start_of(policy, now));
        if then == start {
            return Self { at: now, ..self };
        }
        let is_next = start.nanos_since(then) == policy.settings().window_ns;
        Self { at: now, current: 0, previous: if is_next { self.current } else { 0 } }
    }

    /// Nanoseconds of the previous window that the sliding window still covers.
    fn covered_ns(self, policy: &Policy) -> u64 {
        self.end(policy).nanos_since(self.at)
    }

    fn end(self, policy: &Policy) -> Moment {
        start_of(policy, self.at).plus_nanos(policy.settings().window_ns)
    }

    /// The weighted sum, rounded up to whole units: what is left is rounded down.
    fn used(self, policy: &Policy) -> u64 {
        let weighted = u128::from(self.previous).saturating_mul(u128::from(self.covered_ns(policy)));
        let previous = weighted.div_ceil(u128::from(policy.settings().window_ns.max(1)));
        u64::from(self.current).saturating_add(u64::try_from(previous).unwrap_or(u64::MAX))
    }

    pub(super) fn decide(&self, policy: &Policy, now: Moment, cost: u32) -> Outlook {
        let (state, quota) = (self.at(policy, now), policy.settings().quota);
        let left = u32::try_from(u64::from(quota).saturating_sub(state.used(policy))).unwrap_or(0);
        let (verdict, taken) = match cost {
            _ if quota < cost => (Verdict::ExceedsBurst { max: quota }, 0),
            _ if left < cost => (Verdict::NotUntil { at: state.free_at(policy, quota.saturating_sub(cost)) }, 0),
            _ => (Verdict::Conforms, cost),
        };
        let reset_after_ns = match (state.current, state.previous) {
            _ if 0 < taken => state.gone_at(policy).nanos_since(now),
            (0, 0) => 0,
            (0, _) => state.end(policy).nanos_since(now),
            _ => state.gone_at(policy).nanos_since(now),
        };
        Outlook { verdict, remaining: left.saturating_sub(taken), reset_after_ns }
    }

    /// When what is taken in this window weighs nothing any more: at the end of the next.
    fn gone_at(self, policy: &Policy) -> Moment {
        self.end(policy).plus_nanos(policy.settings().window_ns)
    }

    /// The first moment at which the weighted sum is at most `used_max`, which it is not now.
    fn free_at(self, policy: &Policy, used_max: u32) -> Moment {
        if let Some(room) = used_max.checked_sub(self.current) {
            return Self::weighs_at_most(policy, self.previous, room, self.end(policy));
        }
        Self::weighs_at_most(policy, self.current, used_max, self.gone_at(policy))
    }

    /// When `units` of a window weigh at most `room`, if they weigh nothing at `end`: when so much
    /// of their window is still covered that `units * covered <= room * window`.
    fn weighs_at_most(policy: &Policy, units: u32, room: u32, end: Moment) -> Moment {
        let covered = u128::from(room).saturating_mul(u128::from(policy.settings().window_ns));
        let covered = covered.checked_div(u128::from(units)).unwrap_or(0);
        Moment::from_nanos(end.nanos().saturating_sub(u64::try_from(covered).unwrap_or(u64::MAX)))
    }

    pub(super) fn take(self, policy: &Policy, now: Moment, cost: u32) -> Self {
        let state = self.at(policy, now);
        Self { current: state.current.saturating_add(cost), ..state }
    }

    /// Gives back to this window first: its units would weigh longest.
    pub(super) fn refund(self, policy: &Policy, now: Moment, units: u32) -> Self {
        let state = self.at(policy, now);
        let rest = units.saturating_sub(state.current);
        Self { current: state.current.saturating_sub(units), previous: state.previous.saturating_sub(rest), ..state }
    }

    /// Gives back to the window in which it was taken, if that still weighs.
    pub(super) fn refund_of(self, policy: &Policy, now: Moment, taken: &Reservation, units: u32) -> Self {
        let state = self.at(policy, now);
        let windows_ns = start_of(policy, state.at).nanos_since(start_of(policy, taken.taken_at));
        match windows_ns {
            0 => Self { current: state.current.saturating_sub(units), ..state },
            _ if windows_ns == policy.settings().window_ns => Self { previous: state.previous.saturating_sub(units), ..state },
            _ => state,
        }
    }

    pub(super) fn weighs_until(&self, policy: &Policy, now: Moment) -> Moment {
        self.at(policy, now).gone_at(policy)
    }

    pub(super) fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        let state = self.at(policy, now);
        state.current == 0 && state.previous == 0
    }
}
