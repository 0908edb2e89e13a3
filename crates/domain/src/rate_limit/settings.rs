//! A policy's settings, and the checked policy that is made of them.

use std::fmt;

use super::leaky_bucket::Compact;

/// The largest quota, and the largest burst: 1,000,000,000.
pub const QUOTA_MAX: u32 = 1_000_000_000;
/// The largest quota of a sliding window log, which remembers every request of a window: 10,000,
/// at 16 bytes each.
pub const LOG_QUOTA_MAX: u32 = 10_000;
/// The shortest window: a millisecond.
pub const WINDOW_NS_MIN: u64 = 1_000_000;
/// The longest window: 366 days.
pub const WINDOW_NS_MAX: u64 = 366 * 86_400 * 1_000_000_000;

/// The longest time in which a bucket may fill from empty: 100 years. A [`super::Moment`] has room
/// for it.
pub const FILL_NS_MAX: u64 = 100 * 365 * 86_400 * 1_000_000_000;

/// How requests are counted. The words of the API are in [`Algorithm::word`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// So many in each window of the clock. Cheap; lets through up to twice the quota around the
    /// edge of two windows.
    FixedWindow,
    /// So many in any window, wherever it starts. Exact; remembers every request of a window.
    SlidingWindowLog,
    /// So many by the weighted average of this window of the clock and the one before. Close, and
    /// as small as a fixed window.
    SlidingWindowCounter,
    /// A bucket of tokens that is filled steadily; each unit takes one.
    TokenBucket,
    /// A bucket that runs out steadily; each unit fills it. Known as GCRA.
    LeakyBucket,
}

impl Algorithm {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::FixedWindow, Self::SlidingWindowLog, Self::SlidingWindowCounter, Self::TokenBucket, Self::LeakyBucket];

    /// Its name in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindowLog => "sliding_window_log",
            Self::SlidingWindowCounter => "sliding_window_counter",
            Self::TokenBucket => "token_bucket",
            Self::LeakyBucket => "leaky_bucket",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.word() == word)
    }

    /// Whether a burst is part of its settings.
    #[must_use]
    pub const fn has_burst(self) -> bool {
        matches!(self, Self::TokenBucket | Self::LeakyBucket)
    }
}

/// Whether a policy's word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// What does not conform is refused.
    #[default]
    Enforce,
    /// What does not conform is reported and allowed; it takes nothing.
    Shadow,
}

/// What the maker of a policy chooses: plain fields, not checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// Units per window: 1 to [`QUOTA_MAX`]; for a log 1 to [`LOG_QUOTA_MAX`].
    pub quota: u32,
    /// The window in nanoseconds: [`WINDOW_NS_MIN`] to [`WINDOW_NS_MAX`].
    pub window_ns: u64,
    /// Units that may come at once above one, for the buckets: 0 to [`QUOTA_MAX`]. With 4, five
    /// units may come at once. The bucket must fill within [`FILL_NS_MAX`]. 0 for the windows.
    pub burst: u32,
    /// Whether refusals count.
    pub mode: Mode,
}

impl Settings {
    /// `quota` units in each window of so many nanoseconds, no burst, enforced.
    #[must_use]
    pub const fn new(algorithm: Algorithm, quota: u32, window_ns: u64) -> Self {
        Self { algorithm, quota, window_ns, burst: 0, mode: Mode::Enforce }
    }

    /// `quota` units a second, no burst, enforced.
    #[must_use]
    pub const fn per_second(algorithm: Algorithm, quota: u32) -> Self {
        Self::new(algorithm, quota, 1_000_000_000)
    }

    /// `quota` units a minute, no burst, enforced.
    #[must_use]
    pub const fn per_minute(algorithm: Algorithm, quota: u32) -> Self {
        Self::new(algorithm, quota, 60_000_000_000)
    }

    /// The same with this burst.
    #[must_use]
    pub const fn with_burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    /// The same in this mode.
    #[must_use]
    pub const fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// Why settings make no policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// The quota is 0 or above [`QUOTA_MAX`].
    QuotaOutOfRange,
    /// The quota of a log is above [`LOG_QUOTA_MAX`].
    LogQuotaOutOfRange,
    /// The window is below [`WINDOW_NS_MIN`] or above [`WINDOW_NS_MAX`].
    WindowOutOfRange,
    /// The burst is above [`QUOTA_MAX`], or the bucket takes longer than [`FILL_NS_MAX`] to fill.
    BurstOutOfRange,
    /// A burst for an algorithm that has none.
    BurstNotUsed,
}

impl PolicyError {
    /// The stable word that clients match.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::QuotaOutOfRange => "quota_out_of_range",
            Self::LogQuotaOutOfRange => "log_quota_out_of_range",
            Self::WindowOutOfRange => "window_out_of_range",
            Self::BurstOutOfRange => "burst_out_of_range",
            Self::BurstNotUsed => "burst_not_used",
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuotaOutOfRange => write!(f, "the quota must be 1 to {QUOTA_MAX}"),
            Self::LogQuotaOutOfRange => write!(
                f,
                "the quota of a sliding_window_log must be 1 to {LOG_QUOTA_MAX}, because it remembers every request of a window; \
                 sliding_window_counter and leaky_bucket take more"
            ),
            Self::WindowOutOfRange => write!(f, "the window must be a millisecond to 366 days"),
            Self::BurstOutOfRange => write!(f, "the burst must be 0 to {QUOTA_MAX}, and the bucket must fill within 100 years"),
            Self::BurstNotUsed => write!(f, "only token_bucket and leaky_bucket have a burst"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// Settings that were checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    settings: Settings,
    pace: Pace,
}

/// One unit's share of the window, `window_ns / quota`, in lowest terms: a unit is worth `unit`
/// parts of time, of which a nanosecond has `parts`. So everything is a whole number of parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    /// Parts that a unit is worth; at most [`WINDOW_NS_MAX`].
    pub(crate) unit: u64,
    /// Parts in a nanosecond; at most [`QUOTA_MAX`].
    pub(crate) parts: u32,
}

impl Pace {
    fn new(quota: u32, window_ns: u64) -> Self {
        let divisor = greatest_common_divisor(u64::from(quota), window_ns).max(1);
        let parts = u64::from(quota).checked_div(divisor).and_then(|parts| u32::try_from(parts).ok());
        Self { unit: window_ns.checked_div(divisor).unwrap_or(1), parts: parts.unwrap_or(1) }
    }

    /// So many units in parts. Below 2^87: a cost is below 2^32, a unit below 2^55.
    pub(crate) const fn of_units(self, units: u32) -> u128 {
        (units as u128).saturating_mul(self.unit as u128)
    }

    /// So many nanoseconds in parts. Below 2^94.
    pub(crate) const fn of_nanos(self, nanos: u64) -> u128 {
        (nanos as u128).saturating_mul(self.parts as u128)
    }

    /// Whole units in so many parts.
    pub(crate) fn units_in(self, parts: u128) -> u32 {
        parts.checked_div(u128::from(self.unit)).and_then(|units| u32::try_from(units).ok()).unwrap_or(u32::MAX)
    }

    /// Nanoseconds in so many parts, rounded up: at that nanosecond, and not before, they are over.
    pub(crate) fn nanos_up(self, parts: u128) -> u64 {
        u64::try_from(parts.div_ceil(u128::from(self.parts.max(1)))).unwrap_or(u64::MAX)
    }
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    let (mut one, mut other) = (one, other);
    while let Some(rest) = one.checked_rem(other) {
        (one, other) = (other, rest);
    }
    one
}

impl Policy {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`PolicyError`] says what is out of range.
    pub fn new(settings: Settings) -> Result<Self, PolicyError> {
        if !(1..=QUOTA_MAX).contains(&settings.quota) {
            return Err(PolicyError::QuotaOutOfRange);
        }
        if settings.algorithm == Algorithm::SlidingWindowLog && LOG_QUOTA_MAX < settings.quota {
            return Err(PolicyError::LogQuotaOutOfRange);
        }
        if !(WINDOW_NS_MIN..=WINDOW_NS_MAX).contains(&settings.window_ns) {
            return Err(PolicyError::WindowOutOfRange);
        }
        if QUOTA_MAX < settings.burst {
            return Err(PolicyError::BurstOutOfRange);
        }
        if settings.burst != 0 && !settings.algorithm.has_burst() {
            return Err(PolicyError::BurstNotUsed);
        }
        let policy = Self { settings, pace: Pace::new(settings.quota, settings.window_ns) };
        if FILL_NS_MAX < policy.limit_window_ns() {
            return Err(PolicyError::BurstOutOfRange);
        }
        Ok(policy)
    }

    /// The settings that it was made of.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The most that a full key can spend at once: the quota of a window, or the burst and one.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        if self.settings.algorithm.has_burst() { self.settings.burst.saturating_add(1) } else { self.settings.quota }
    }

    /// Nanoseconds in which [`Policy::limit`] units come back, rounded up: the window, or, for a
    /// bucket, the time from empty to full. What the field `RateLimit-Policy` tells.
    #[must_use]
    pub fn limit_window_ns(&self) -> u64 {
        if self.settings.algorithm.has_burst() {
            return self.pace.nanos_up(self.pace.of_units(self.limit()));
        }
        self.settings.window_ns
    }

    /// The form of a bucket's decision that works on a single number, where that is possible:
    /// see [`Compact`].
    #[must_use]
    pub fn compact(&self) -> Option<Compact> {
        Compact::new(self)
    }

    pub(crate) const fn pace(&self) -> Pace {
        self.pace
    }
}
