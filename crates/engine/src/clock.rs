//! The only place that reads a clock. What is read is a proposal: the engine puts the larger of
//! it and the last record's time on a command (T1).
#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::types::Timestamp;

/// The time since the first call in this process, to tell how long something took. Nothing is
/// decided by it.
pub(crate) fn elapsed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The system's clock, or one that stands still until it is moved.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The wall clock of the machine.
    System,
    /// Moved by hand, for tests.
    Manual(Arc<ManualClock>),
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since_epoch.as_millis()).ok().and_then(Timestamp::from_millis).unwrap_or(Timestamp::MAX)
            }
            Self::Manual(clock) => clock.now(),
        }
    }
}

/// A clock that stands still until it is moved.
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

    /// Shows `now` from here on.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.millis(), Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
}
