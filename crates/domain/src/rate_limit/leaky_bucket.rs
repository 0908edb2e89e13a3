//! Leaky bucket as a meter, known as GCRA (generic cell rate algorithm, ITU-T I.371): each unit
//! fills the bucket, which runs out at `quota` units a window; what would not fit is refused. A
//! request is never delayed.
//!
//! One value says all: the *theoretical arrival time*, short *arrival*: the moment at which the
//! bucket is empty if nothing more comes. In it goes, and out comes the new one.
//!
//! An earlier moment than the last finds the bucket fuller than it was, never emptier.

use super::reserve::Reservation;
use super::{Decision, Moment, Outlook, Policy, Verdict};

/// What is remembered of a key: its arrival time, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeakyBucket {
    /// Whole nanoseconds since the origin.
    nanos: u64,
    /// Parts of a nanosecond, fewer than the policy's pace has.
    parts: u32,
}

impl LeakyBucket {
    /// In parts of the policy's pace since the origin. Below 2^94.
    fn arrival(self, policy: &Policy) -> u128 {
        policy.pace().of_nanos(self.nanos).saturating_add(u128::from(self.parts))
    }

    fn new(policy: &Policy, arrival: u128) -> Self {
        let parts = u128::from(policy.pace().parts);
        let nanos = arrival.checked_div(parts).and_then(|nanos| u64::try_from(nanos).ok());
        let rest = arrival.checked_rem(parts).and_then(|rest| u32::try_from(rest).ok());
        // A debt that reaches beyond the last moment ends there.
        nanos.map_or(Self { nanos: u64::MAX, parts: 0 }, |nanos| Self { nanos, parts: rest.unwrap_or(0) })
    }

    pub(super) fn decide(&self, policy: &Policy, now: Moment, cost: u32) -> Outlook {
        let (pace, limit) = (policy.pace(), policy.limit());
        let (start, full) = (pace.of_nanos(now.nanos()), pace.of_units(limit));
        let arrival = self.arrival(policy).max(start);
        let after = arrival.saturating_add(pace.of_units(cost));
        let latest = start.saturating_add(full);
        let (verdict, arrival) = match cost {
            0 => (Verdict::Conforms, arrival),
            _ if limit < cost => (Verdict::ExceedsBurst { max: limit }, arrival),
            _ if latest < after => (Verdict::NotUntil { at: now.plus_nanos(pace.nanos_up(after.saturating_sub(latest))) }, arrival),
            _ => (Verdict::Conforms, after),
        };
        let remaining = pace.units_in(latest.saturating_sub(arrival));
        Outlook { verdict, remaining, reset_after_ns: pace.nanos_up(arrival.saturating_sub(start)) }
    }

    pub(super) fn take(self, policy: &Policy, now: Moment, cost: u32) -> Self {
        let start = policy.pace().of_nanos(now.nanos());
        Self::new(policy, self.arrival(policy).max(start).saturating_add(policy.pace().of_units(cost)))
    }

    pub(super) fn refund(self, policy: &Policy, _now: Moment, units: u32) -> Self {
        Self::new(policy, self.arrival(policy).saturating_sub(policy.pace().of_units(units)))
    }

    /// Gives back at most what has not run out since: the bucket runs out in the order in which
    /// it was filled, and has not been empty while this taking is in it.
    pub(super) fn refund_of(self, policy: &Policy, now: Moment, taken: &Reservation, units: u32) -> Self {
        let still_in = policy.pace().of_nanos(taken.weighs_until.nanos_since(now));
        let given = policy.pace().of_units(units).min(still_in);
        Self::new(policy, self.arrival(policy).saturating_sub(given))
    }

    /// Rounded down: a refund may give back a fraction too little, never too much.
    pub(super) fn weighs_until(&self, _policy: &Policy, now: Moment) -> Moment {
        Moment::from_nanos(self.nanos).max(now)
    }

    pub(super) fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        self.arrival(policy) <= policy.pace().of_nanos(now.nanos())
    }
}

/// The same decision on a single number, for stores that keep 8 bytes a key and decide in a few
/// nanoseconds: the arrival in parts of the policy's pace, counted from the store's own beginning.
/// It serves leaky and token buckets, which decide alike.
///
/// It exists where an arrival of the next 18 years ([`Compact::NANOS_MAX`]) fits in 64 bits, which
/// holds for all but odd paces: 3, 7 or 1,000 a second and 10,000,000 a second do, 9,973 a second
/// does not. After 18 years without a restart its time would stand still, and it would refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compact {
    unit: u64,
    parts: u64,
    limit: u32,
}

impl Compact {
    /// The last instant, in nanoseconds since the store's beginning: about 18 years.
    pub const NANOS_MAX: u64 = 1 << 59;

    pub(super) fn new(policy: &Policy) -> Option<Self> {
        let (pace, limit) = (policy.pace(), policy.limit());
        let last = pace.of_nanos(Self::NANOS_MAX).checked_add(pace.of_units(limit).checked_mul(2)?)?;
        let fits = policy.settings().algorithm.has_burst() && last <= u128::from(u64::MAX);
        fits.then_some(Self { unit: pace.unit, parts: u64::from(pace.parts), limit })
    }

    /// The state of a key that nothing is remembered of.
    pub const FULL: u64 = 0;

    #[inline]
    const fn start(self, now: Moment) -> u64 {
        let nanos = if now.nanos() < Self::NANOS_MAX { now.nanos() } else { Self::NANOS_MAX };
        nanos.saturating_mul(self.parts)
    }

    #[inline]
    const fn of_units(self, units: u32) -> u64 {
        self.unit.saturating_mul(units as u64)
    }

    #[inline]
    const fn full(self) -> u64 {
        self.of_units(self.limit)
    }

    /// Old value in, new value out; `None` if the cost does not conform. For what to answer then,
    /// see [`Compact::decide`].
    #[must_use]
    #[inline]
    pub const fn check(self, old: u64, now: Moment, cost: u32) -> Option<u64> {
        let start = self.start(now);
        let arrival = if old < start { start } else { old };
        let new = arrival.saturating_add(self.of_units(cost));
        if cost == 0 {
            return Some(old);
        }
        if self.limit < cost || start.saturating_add(self.full()) < new { None } else { Some(new) }
    }

    /// The answer that goes with a check: `old` went in, and `new` came out. `now` is before
    /// [`Compact::NANOS_MAX`].
    #[must_use]
    #[inline]
    pub const fn decision(self, mode: super::Mode, old: u64, new: Option<u64>, now: Moment, cost: u32) -> Decision {
        let start = self.start(now);
        let arrival = match new {
            Some(new) if start < new => new,
            None if start < old => old,
            Some(_) | None => start,
        };
        let latest = start.saturating_add(self.full());
        let verdict = match new {
            Some(_) => Verdict::Conforms,
            None if self.limit < cost => Verdict::ExceedsBurst { max: self.limit },
            None => {
                let over = arrival.saturating_add(self.of_units(cost)).saturating_sub(latest);
                Verdict::NotUntil { at: now.plus_nanos(over.div_ceil(self.parts)) }
            }
        };
        #[expect(clippy::cast_possible_truncation, clippy::arithmetic_side_effects, reason = "at most the limit; a unit is not 0")]
        let remaining = (latest.saturating_sub(arrival) / self.unit) as u32;
        let reset_after_ns = arrival.saturating_sub(start).div_ceil(self.parts);
        Decision { verdict, mode, at: now, limit: self.limit, remaining, reset_after_ns }
    }

    /// The state as the policy's own algorithm would keep it, for everything that need not be
    /// fast. Moments are counted from the same beginning.
    #[must_use]
    pub fn widen(self, policy: &Policy, state: u64) -> super::KeyState {
        let bucket = LeakyBucket::new(policy, u128::from(state));
        super::KeyState::LeakyBucket(bucket)
    }

    /// And back. A debt that reaches beyond the last number ends there, some 18 years on.
    #[must_use]
    pub fn narrow(self, policy: &Policy, state: &super::KeyState) -> u64 {
        let super::KeyState::LeakyBucket(bucket) = state else { return Self::FULL };
        u64::try_from(bucket.arrival(policy)).unwrap_or(u64::MAX)
    }

    /// Whether the state may be forgotten.
    #[must_use]
    #[inline]
    pub const fn is_full(self, state: u64, now: Moment) -> bool {
        state <= self.start(now)
    }
}
