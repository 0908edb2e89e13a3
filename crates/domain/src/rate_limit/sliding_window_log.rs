//! Sliding window log: so many units in any window, wherever it starts. It remembers every
//! taking of the last window, at 16 bytes each, and so is exact; its quota has a cap for that
//! ([`super::settings::LOG_QUOTA_MAX`]).
//!
//! A taking at an instant weighs until just before that instant plus the window. So every
//! half-open stretch of one window's length holds at most the quota.

use std::collections::VecDeque;

use super::reserve::Reservation;
use super::{Moment, Outlook, Policy, Verdict};

/// What is remembered of a key: its takings, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlidingWindowLog {
    /// Instants rise, each once; no units are 0.
    takings: VecDeque<Taking>,
    /// The sum of their units.
    used: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Taking {
    at: Moment,
    units: u32,
}

impl SlidingWindowLog {
    /// How many takings are remembered.
    #[must_use]
    pub fn entries_count(&self) -> u32 {
        u32::try_from(self.takings.len()).unwrap_or(u32::MAX)
    }

    /// An earlier moment is taken as the last one.
    fn not_before_last(&self, now: Moment) -> Moment {
        self.takings.back().map_or(now, |last| now.max(last.at))
    }

    fn gone_at(policy: &Policy, taking: &Taking) -> Moment {
        taking.at.plus_nanos(policy.settings().window_ns)
    }

    fn gone<'a>(&'a self, policy: &'a Policy, now: Moment) -> impl Iterator<Item = &'a Taking> {
        self.takings.iter().take_while(move |taking| Self::gone_at(policy, taking) <= now)
    }

    fn used_at(&self, policy: &Policy, now: Moment) -> u64 {
        let gone: u64 = self.gone(policy, now).map(|taking| u64::from(taking.units)).sum();
        self.used.saturating_sub(gone)
    }

    pub(super) fn decide(&self, policy: &Policy, now: Moment, cost: u32) -> Outlook {
        let (judged_at, quota) = (self.not_before_last(now), policy.settings().quota);
        let used = self.used_at(policy, judged_at);
        let left = u32::try_from(u64::from(quota).saturating_sub(used)).unwrap_or(0);
        let (verdict, taken) = match cost {
            _ if quota < cost => (Verdict::ExceedsBurst { max: quota }, 0),
            _ if left < cost => (Verdict::NotUntil { at: self.free_at(policy, quota.saturating_sub(cost)) }, 0),
            _ => (Verdict::Conforms, cost),
        };
        let last = if 0 < taken { Some(judged_at) } else { self.takings.back().map(|last| last.at) };
        let full_at = last.map_or(now, |last| last.plus_nanos(policy.settings().window_ns));
        Outlook { verdict, remaining: left.saturating_sub(taken), reset_after_ns: full_at.nanos_since(now) }
    }

    /// When at most `used_max` units are left of those that are remembered now.
    fn free_at(&self, policy: &Policy, used_max: u32) -> Moment {
        let mut used = self.used;
        for taking in &self.takings {
            used = used.saturating_sub(u64::from(taking.units));
            if used <= u64::from(used_max) {
                return Self::gone_at(policy, taking);
            }
        }
        Moment::ZERO
    }

    fn forget(&mut self, policy: &Policy, now: Moment) {
        self.used = self.used_at(policy, now);
        let gone_count = self.gone(policy, now).count();
        self.takings.drain(..gone_count);
    }

    pub(super) fn take(mut self, policy: &Policy, now: Moment, cost: u32) -> Self {
        let now = self.not_before_last(now);
        self.forget(policy, now);
        self.used = self.used.saturating_add(u64::from(cost));
        // A log that is full only grows by a debt, which joins the last taking: memory stays bounded.
        let is_long = policy.settings().quota <= self.entries_count();
        match self.takings.back_mut() {
            Some(last) if last.at == now || is_long => {
                last.at = now;
                last.units = last.units.saturating_add(cost);
            }
            Some(_) | None => self.takings.push_back(Taking { at: now, units: cost }),
        }
        self
    }

    /// Gives back the newest units first: they would weigh longest.
    pub(super) fn refund(mut self, policy: &Policy, now: Moment, units: u32) -> Self {
        let now = self.not_before_last(now);
        self.forget(policy, now);
        let mut units = units;
        while let Some(last) = self.takings.back_mut() {
            let given = last.units.min(units);
            last.units = last.units.saturating_sub(given);
            self.used = self.used.saturating_sub(u64::from(given));
            units = units.saturating_sub(given);
            if last.units != 0 {
                break;
            }
            self.takings.pop_back();
        }
        self
    }

    /// Gives back from the very taking; what is gone, or was moved by a debt, stays.
    pub(super) fn refund_of(mut self, policy: &Policy, now: Moment, taken: &Reservation, units: u32) -> Self {
        let now = self.not_before_last(now);
        self.forget(policy, now);
        let Some(place) = self.takings.iter().position(|taking| taken.taken_at == taking.at) else { return self };
        if let Some(taking) = self.takings.get_mut(place) {
            let given = taking.units.min(units);
            taking.units = taking.units.saturating_sub(given);
            self.used = self.used.saturating_sub(u64::from(given));
        }
        self.takings.retain(|taking| taking.units != 0);
        self
    }

    pub(super) fn weighs_until(&self, policy: &Policy, now: Moment) -> Moment {
        self.not_before_last(now).plus_nanos(policy.settings().window_ns)
    }

    pub(super) fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        self.takings.back().is_none_or(|last| Self::gone_at(policy, last) <= now)
    }
}
