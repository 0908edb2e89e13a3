//! Clocks: the process's monotonic clock, which is read nowhere else, and the wall clock that the program
//! passes in.
#![allow(clippy::disallowed_methods)]

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use domain::types::Timestamp;

/// The time since the first call in this process.
#[must_use]
pub fn elapsed() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Milliseconds since the first call in this process.
#[must_use]
pub fn elapsed_ms() -> u64 {
    u64::try_from(elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, as the program reads it: a test can pass a clock that it moves by hand.
pub struct WallClock(Box<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// A clock that calls `read`.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
