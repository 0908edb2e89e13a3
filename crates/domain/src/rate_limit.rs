//! Rate limits: who may ask how often. A policy, the state of one key and an instant give a
//! decision and the key's new state; nothing else enters.
//!
//! The promise: never more let through than the policy says; a refusal costs nothing; what is
//! refused until an instant is granted at that instant, and not a nanosecond before.
//!
//! Invariants ([`KeyState::check`]): a key never has more left than its policy's limit; a log
//! never holds more entries than its quota.
//!
//! Terms: a *policy* gives a *quota* per *window*; a *burst* is how many units may come at once
//! above one; a request's *cost* is how many units it takes, 0 to look without taking; a key is
//! *full* when it could spend its whole *limit* at once, and a full key may be forgotten.
//!
//! Time is a [`Moment`]: whole nanoseconds. All arithmetic is in integers. Where a window does
//! not divide into whole nanoseconds per unit, times are kept in fractions of a nanosecond whose
//! denominator is the policy's own, so that nothing is ever rounded and nothing drifts. A moment
//! before the key's last taking is harmless: it is taken as that, or, where a state keeps no such
//! moment ([`leaky_bucket`]), finds less left than there is. Whoever keeps the states sees to it
//! that time does not run backwards between takings either.
//!
//! The order in which refusals are looked for: [`Verdict::ExceedsBurst`], [`Verdict::NotUntil`].

pub mod fixed_window;
pub mod in_flight;
pub mod leaky_bucket;
pub mod policies;
pub mod reserve;
pub mod settings;
pub mod several;
pub mod sliding_window_counter;
pub mod sliding_window_log;
pub mod token_bucket;

use fixed_window::FixedWindow;
use leaky_bucket::LeakyBucket;
use reserve::Reservation;
pub use settings::{Algorithm, Mode, Policy, PolicyError, Settings};
use sliding_window_counter::SlidingWindowCounter;
use sliding_window_log::SlidingWindowLog;
use token_bucket::TokenBucket;

/// An instant: nanoseconds since an origin that the caller chooses, 0 to [`Moment::MAX`] (292
/// years). Windows that are cut from the clock ([`fixed_window`], [`sliding_window_counter`])
/// are counted from that origin.
///
/// ```
/// use domain::rate_limit::Moment;
/// assert_eq!(Moment::from_nanos(3).nanos(), 3);
/// assert_eq!(Moment::from_nanos(u64::MAX), Moment::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(u64);

impl Moment {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// The last instant. Half of what would fit, so that a window can always be added.
    pub const MAX: Self = Self(u64::MAX >> 1);

    /// Later than [`Moment::MAX`] is taken as that.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        if nanos <= Self::MAX.0 { Self(nanos) } else { Self::MAX }
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The instant `nanos` later, at most [`Moment::MAX`].
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self::from_nanos(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to here; 0 if that is not earlier.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

// --- Decisions ------------------------------------------------------------------------------

/// What the policy says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is within the limit.
    Conforms,
    /// Not before this instant; at it, if nobody else takes anything until then.
    NotUntil {
        /// Later than the instant of the request.
        at: Moment,
    },
    /// Never: the cost is larger than what a full key has.
    ExceedsBurst {
        /// The largest cost that can ever conform.
        max: u32,
    },
}

impl Verdict {
    /// The stable word that clients match; `None` for [`Verdict::Conforms`].
    #[must_use]
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::Conforms => None,
            Self::NotUntil { .. } => Some("not_until"),
            Self::ExceedsBurst { .. } => Some("exceeds_burst"),
        }
    }
}

/// The answer to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What the policy says.
    pub verdict: Verdict,
    /// Whether the policy is only watched.
    pub mode: Mode,
    /// When the request was judged.
    pub at: Moment,
    /// The most units that a full key has: the largest cost that can conform.
    pub limit: u32,
    /// Units that are left, after the request if it conforms.
    pub remaining: u32,
    /// Nanoseconds until the key is full, if nothing more is taken; rounded up. 0: it is full.
    pub reset_after_ns: u64,
}

impl Decision {
    /// Whether the request may go on: it conforms, or the policy is only watched.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.conforms() || matches!(self.mode, Mode::Shadow)
    }

    /// Whether it is within the limit. Only then does it take anything.
    #[must_use]
    pub const fn conforms(&self) -> bool {
        matches!(self.verdict, Verdict::Conforms)
    }

    /// Nanoseconds until the same request conforms, if nobody takes anything until then; above 0.
    /// `None` if it conforms now, and if it never can.
    #[must_use]
    pub const fn retry_after_ns(&self) -> Option<u64> {
        match self.verdict {
            Verdict::NotUntil { at } => Some(at.nanos_since(self.at)),
            Verdict::Conforms | Verdict::ExceedsBurst { .. } => None,
        }
    }
}

/// What an algorithm says: the shape that all five share.
pub(crate) struct Outlook {
    pub(crate) verdict: Verdict,
    pub(crate) remaining: u32,
    pub(crate) reset_after_ns: u64,
}

// --- State ----------------------------------------------------------------------------------

/// What is remembered of one key under one policy. A key that nothing is remembered of is full:
/// see [`Policy::full`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// See [`fixed_window`].
    FixedWindow(FixedWindow),
    /// See [`sliding_window_log`].
    SlidingWindowLog(SlidingWindowLog),
    /// See [`sliding_window_counter`].
    SlidingWindowCounter(SlidingWindowCounter),
    /// See [`token_bucket`].
    TokenBucket(TokenBucket),
    /// See [`leaky_bucket`].
    LeakyBucket(LeakyBucket),
}

/// Calls the same method on whichever algorithm's state it is.
macro_rules! each {
    ($state:expr, $inner:ident => $call:expr) => {
        match $state {
            KeyState::FixedWindow($inner) => $call,
            KeyState::SlidingWindowLog($inner) => $call,
            KeyState::SlidingWindowCounter($inner) => $call,
            KeyState::TokenBucket($inner) => $call,
            KeyState::LeakyBucket($inner) => $call,
        }
    };
}

/// The same, where the result is a state again.
macro_rules! each_anew {
    ($state:expr, $inner:ident => $call:expr) => {
        match $state {
            KeyState::FixedWindow($inner) => KeyState::FixedWindow($call),
            KeyState::SlidingWindowLog($inner) => KeyState::SlidingWindowLog($call),
            KeyState::SlidingWindowCounter($inner) => KeyState::SlidingWindowCounter($call),
            KeyState::TokenBucket($inner) => KeyState::TokenBucket($call),
            KeyState::LeakyBucket($inner) => KeyState::LeakyBucket($call),
        }
    };
}

impl KeyState {
    /// Whether all that this state could say is "full", so that it may be forgotten.
    #[must_use]
    pub fn is_full(&self, policy: &Policy, now: Moment) -> bool {
        each!(self, state => state.is_full(policy, now))
    }

    /// Looks for a broken invariant.
    ///
    /// # Errors
    /// Which one, in words.
    pub fn check(&self, policy: &Policy, now: Moment) -> Result<(), &'static str> {
        if policy.limit() < policy.decide(self, now, 0).remaining {
            return Err("more is left than the limit");
        }
        match self {
            Self::SlidingWindowLog(log) if policy.settings().quota < log.entries_count() => Err("a log has more entries than its quota"),
            Self::FixedWindow(_)
            | Self::SlidingWindowLog(_)
            | Self::SlidingWindowCounter(_)
            | Self::TokenBucket(_)
            | Self::LeakyBucket(_) => Ok(()),
        }
    }
}

// --- Deciding -------------------------------------------------------------------------------

impl Policy {
    /// The state of a key that nothing is remembered of.
    #[must_use]
    pub fn full(&self) -> KeyState {
        match self.settings().algorithm {
            Algorithm::FixedWindow => KeyState::FixedWindow(FixedWindow::default()),
            Algorithm::SlidingWindowLog => KeyState::SlidingWindowLog(SlidingWindowLog::default()),
            Algorithm::SlidingWindowCounter => KeyState::SlidingWindowCounter(SlidingWindowCounter::default()),
            Algorithm::TokenBucket => KeyState::TokenBucket(TokenBucket::default()),
            Algorithm::LeakyBucket => KeyState::LeakyBucket(LeakyBucket::default()),
        }
    }

    /// Old value in, decision and new value out. What does not conform takes nothing; a `cost` of
    /// 0 looks, always conforms, and takes nothing. `old` is a state of this policy's algorithm,
    /// see [`Policy::full`].
    ///
    /// ```
    /// use domain::rate_limit::{Algorithm, Moment, Policy, Settings};
    /// let policy = Policy::new(Settings::per_second(Algorithm::LeakyBucket, 1).with_burst(4)).unwrap();
    /// let (decision, state) = policy.check(policy.full(), Moment::ZERO, 5);
    /// assert!(decision.is_allowed() && decision.remaining == 0);
    /// let (decision, _) = policy.check(state, Moment::from_nanos(500_000_000), 1);
    /// assert_eq!(decision.retry_after_ns(), Some(500_000_000));
    /// ```
    #[must_use]
    pub fn check(&self, old: KeyState, now: Moment, cost: u32) -> (Decision, KeyState) {
        let decision = self.decide(&old, now, cost);
        let new = if decision.conforms() { self.take(old, now, cost) } else { old };
        (decision, new)
    }

    /// The decision alone: for several policies in one call, where nothing may be taken before
    /// all conform.
    #[must_use]
    pub fn decide(&self, state: &KeyState, now: Moment, cost: u32) -> Decision {
        let outlook = each!(state, state => state.decide(self, now, cost));
        let Outlook { verdict, remaining, reset_after_ns } = outlook;
        Decision { verdict, mode: self.settings().mode, at: now, limit: self.limit(), remaining, reset_after_ns }
    }

    /// Takes `cost` units without asking: after [`Policy::decide`] said that it conforms, or for
    /// what was spent already. Taking more than is left makes a debt, which time pays back.
    #[must_use]
    pub fn take(&self, old: KeyState, now: Moment, cost: u32) -> KeyState {
        if cost == 0 {
            return old;
        }
        each_anew!(old, state => state.take(self, now, cost))
    }

    /// Gives `units` back; a key never has more left than the limit.
    #[must_use]
    pub fn refund(&self, old: KeyState, now: Moment, units: u32) -> KeyState {
        each_anew!(old, state => state.refund(self, now, units))
    }

    /// Gives back what is left of one earlier taking.
    pub(crate) fn refund_of(&self, old: KeyState, now: Moment, taken: &Reservation, units: u32) -> KeyState {
        each_anew!(old, state => state.refund_of(self, now, taken, units))
    }

    /// Until when a taking at `now` weighs on the key whose state after it is `state`.
    pub(crate) fn weighs_until(&self, state: &KeyState, now: Moment) -> Moment {
        each!(state, state => state.weighs_until(self, now))
    }
}
