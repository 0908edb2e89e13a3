//! The only place that reads a clock here: how long to wait for an engine, and how long it took.

use std::thread;
use std::time::{Duration, Instant};

/// How long one waits between two looks at something that is about to be there.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A point in time from which it is measured.
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

/// Looks until something is there, or the time is over; says whether it was there.
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
