//! Fixed window: so many units in each window of the clock. Windows begin at whole multiples of
//! their length, counted from the origin of [`Moment`].
//!
//! Lets through up to twice the quota within one window's length: the end of a window and the
//! beginning of the next.

use super::reserve::Reservation;
use super::{Moment, Outlook, Policy, Verdict};

/// What is remembered of a key: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FixedWindow {
    /// The last moment at which something was taken.
    at: Moment,
    /// Units taken in the window of `at`; above the quota only by a debt.
    used: u32,
}

/// The beginning of the window that holds `now`.
pub(super) fn start_of(policy: &Policy, now: Moment) -> Moment {
    let window = policy.settings().window_ns;
    let into = now.nanos().checked_rem(window).unwrap_or(0);
    Moment::from_nanos(now.nanos().saturating_sub(into))
}

impl FixedWindow {
    /// The same as of `now`: with nothing used if a new window has begun.
    fn at(self, policy: &Policy, now: Moment) -> Self {
        let now = now.max(self.at);
        let used = if start_of(policy, self.at) < start_of(policy, now) { 0 } else { self.used };
        Self { at: now, used }
    }

    fn end(self, policy: &Policy) -> Moment {
        start_of(policy, self.at).plus_nanos(policy.settings().window_ns)
    }

    pub(super) fn decide(&self, policy: &Policy, now: Moment, cost: u32) -> Outlook {
        let (state, quota) = (self.at(policy, now), policy.settings().quota);
        let left = quota.saturating_sub(state.used);
        let (verdict, taken) = match cost {
            _ if quota < cost => (Verdict::ExceedsBurst { max: quota }, 0),
            _ if left < cost => (Verdict::NotUntil { at: state.end(policy) }, 0),
            _ => (Verdict::Conforms, cost),
        };
        let remaining = left.saturating_sub(taken);
        let reset_after_ns = if state.used == 0 && taken == 0 { 0 } else { state.end(policy).nanos_since(now) };
        Outlook { verdict, remaining, reset_after_ns }
    }

    pub(super) fn take(self, policy: &Policy, now: Moment, cost: u32) -> Self {
        let state = self.at(policy, now);
        Self { used: state.used.saturating_add(cost), ..state }
    }

    pub(super) fn refund(self, policy: &Policy, now: Moment, units: u32) -> Self {
        let state = self.at(policy, now);
        Self { used: state.used.saturating_sub(units), ..state }
    }

    /// What was taken in another window than this one has come back already.
    pub(super) fn refund_of(self, policy: &Policy, now: Moment, taken: &Reservation, units: u32) -> Self {
        let state = self.at(policy, now);
        if start_of(policy, taken.taken_at) < start_of(policy, state.at) { state } else { state.refund(policy, now, units) }
    }

    pub(super) fn weighs_until(&self, policy: &Policy, now: Moment) -> Moment {
        self.at(policy, now).end(policy)
    }

    pub(super) fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        self.at(policy, now).used == 0
    }
}
