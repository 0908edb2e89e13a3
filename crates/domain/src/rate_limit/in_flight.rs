//! A limit on requests in flight: how many may be under way at once, however long they take.
//!
//! Each holds a lease, which it gives back at its end. A lease that is not given back ends by
//! itself after the timeout, so that a caller that vanished does not hold its place for ever.

use std::collections::VecDeque;

use super::{Decision, Mode, Moment, Verdict};

/// The most that may be in flight for one key, because each is remembered: 10,000.
pub const IN_FLIGHT_MAX: u32 = 10_000;

/// A limit that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InFlight {
    limit: u32,
    timeout_ns: u64,
    mode: Mode,
}

/// A lease's number, chosen by whoever keeps the states: rising, never used twice, also not after
/// a key was forgotten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lease(pub u64);

/// Who is in flight for one key, in the order of starting, which is that of their timeouts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leases {
    leases: VecDeque<(Lease, Moment)>,
    at: Moment,
}

impl InFlight {
    /// `None` if the limit is 0 or above [`IN_FLIGHT_MAX`], or the timeout is 0.
    #[must_use]
    pub const fn new(limit: u32, timeout_ns: u64, mode: Mode) -> Option<Self> {
        if limit == 0 || IN_FLIGHT_MAX < limit || timeout_ns == 0 { None } else { Some(Self { limit, timeout_ns, mode }) }
    }

    /// After how many nanoseconds a lease that is not given back ends by itself.
    #[must_use]
    pub const fn timeout_ns(&self) -> u64 {
        self.timeout_ns
    }

    /// Whether refusals count.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// How many may be in flight at once.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Old value in, decision and new value out. What conforms holds the lease from now on; what
    /// is refused, or allowed in shadow mode only, does not. `reset_after_ns` is until the last lease ends by itself, and
    /// [`Verdict::NotUntil`] names when the first does: a place may be free earlier.
    #[must_use]
    pub fn start(&self, old: Leases, now: Moment, lease: Lease) -> (Decision, Leases) {
        let mut leases = old.at(now);
        let first = leases.leases.front().map_or(leases.at, |(_, ends_at)| *ends_at);
        let verdict = if self.limit <= leases.count() { Verdict::NotUntil { at: first } } else { Verdict::Conforms };
        if verdict == Verdict::Conforms {
            leases.leases.push_back((lease, leases.at.plus_nanos(self.timeout_ns)));
        }
        let remaining = self.limit.saturating_sub(leases.count());
        let reset_after_ns = leases.leases.back().map_or(0, |(_, ends_at)| ends_at.nanos_since(now));
        (Decision { verdict, mode: self.mode, at: now, limit: self.limit, remaining, reset_after_ns }, leases)
    }

    /// Gives a lease back. The second value says whether it was still held.
    #[must_use]
    pub fn end(&self, old: Leases, now: Moment, lease: Lease) -> (Leases, bool) {
        let mut leases = old.at(now);
        let place = leases.leases.binary_search_by_key(&lease, |(lease, _)| *lease);
        if let Ok(place) = place {
            leases.leases.remove(place);
        }
        (leases, place.is_ok())
    }
}

impl Leases {
    /// How many are held, those that have ended by themselves since the last call among them.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.leases.len()).unwrap_or(u32::MAX)
    }

    /// The same as of `now`; an earlier moment is taken as the last one.
    fn at(mut self, now: Moment) -> Self {
        self.at = self.at.max(now);
        while self.leases.front().is_some_and(|(_, ends_at)| *ends_at <= self.at) {
            self.leases.pop_front();
        }
        self
    }

    /// Whether it may be forgotten: nobody holds a lease.
    #[must_use]
    pub fn is_empty_at(&self, now: Moment) -> bool {
        self.leases.back().is_none_or(|(_, ends_at)| *ends_at <= now)
    }
}
