//! The only place that reads a clock.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use domain::rate_limit::Moment;

/// Tells the time to the layer.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the clock's own beginning.
    fn now(&self) -> Moment;
}

/// The machine's clock that never runs backwards, counted from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let Ok(nanos) = u64::try_from(self.start.elapsed().as_nanos()) else { unreachable!("no process runs for 500 years") };
        Moment::from_nanos(nanos)
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves on by so many milliseconds.
    pub fn advance_ms(&self, millis: u64) {
        self.nanos.fetch_add(millis * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}
