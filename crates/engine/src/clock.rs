//! The only place that reads a clock. A reading is only a proposal: the engine stamps a command with the
//! larger of the reading and the last record's time (T1).
#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::types::Timestamp;

mod watched;

pub use watched::{CONFIRM_AFTER, CORRECTION_MS_MAX, Leap, ManualSource, Seen, WatchedClock};

/// The monotonic time since the first call in this process, for measuring durations. No decision depends on
/// it.
pub(crate) fn elapsed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The system's clock, or a manual clock for tests.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The wall clock of the machine, as it is: for tools that decide nothing for long.
    System,
    /// The wall clock without its leaps.
    Watched(Arc<WatchedClock>),
    /// A [`ManualClock`], for tests.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// The current time, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since_epoch.as_millis()).ok().and_then(Timestamp::from_millis).unwrap_or(Timestamp::MAX)
            }
            Self::Watched(clock) => clock.now(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// The clock whose leaps are watched, where it is one.
    #[must_use]
    pub fn watched(&self) -> Option<&Arc<WatchedClock>> {
        match self {
            Self::Watched(clock) => Some(clock),
            Self::System | Self::Manual(_) => None,
        }
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { millis: AtomicU64::new(now.millis()) })
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.millis(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
