//! The only clock of this crate: how long to wait for an engine, and how long that took.

use std::thread;
use std::time::{Duration, Instant};

/// Pause between two checks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The start of a measurement.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module: how long an engine takes is waited for")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Checks until the condition holds or the time is over; returns whether it holds.
pub(crate) fn wait_until<E>(time_max: Duration, mut is_there: impl FnMut() -> Result<bool, E>) -> Result<bool, E> {
    let stopwatch = Stopwatch::start();
    loop {
        if is_there()? {
            return Ok(true);
        }
        if time_max <= stopwatch.elapsed() {
            return Ok(false);
        }
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}
