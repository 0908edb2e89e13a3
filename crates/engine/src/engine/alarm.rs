//! The thread that handles deadlines: it sleeps until the next one and runs what is due.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Engine, Shared};

/// The longest sleep: after a change of the system clock nothing is late by more than this.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// The shortest sleep: times are in milliseconds.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// Pause before the next try where something is due and cannot be written now.
const RETRY: Duration = Duration::from_millis(5);

/// Wakes the thread early.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    call: Mutex<Call>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Call {
    #[default]
    None,
    Look,
    End,
}

impl Alarm {
    /// Wakes the thread: the next deadline may have moved earlier.
    pub(super) fn ring(&self) {
        let mut call = self.call();
        if *call == Call::None {
            *call = Call::Look;
            self.changed.notify_all();
        }
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        *self.call() = Call::End;
        self.changed.notify_all();
    }

    /// Sleeps until woken, at most `at_most`; returns `false` once the engine is closing.
    fn sleep(&self, at_most: Duration) -> bool {
        let mut call = self.call();
        self.changed.wait_while_for(&mut call, |call| *call == Call::None, at_most);
        if *call == Call::Look {
            *call = Call::None;
        }
        *call != Call::End
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock()
    }
}

impl Engine {
    /// Runs what is due now, instead of waiting until the deadline thread does so.
    pub fn do_due(&self) {
        do_due(&self.shared);
    }
}

/// Runs due commands until the engine closes.
pub(super) fn run(shared: &Shared) {
    while shared.alarm.sleep(until_next(shared)) {
        do_due(shared);
    }
}

/// Runs every command that is due now.
fn do_due(shared: &Shared) {
    // The lock is released after each command, so that callers are not held up.
    while shared.core.lock().tick(shared.clock.now()) {
        shared.staged.notify_one();
    }
}

fn until_next(shared: &Shared) -> Duration {
    let wall = shared.clock.now();
    let Some(deadline) = shared.core.lock().next_deadline() else { return SLEEP_MAX };
    match deadline.millis().checked_sub(wall.millis()) {
        Some(millis) if 0 < millis => Duration::from_millis(millis).clamp(SLEEP_MIN, SLEEP_MAX),
        // What was due a moment ago has been done, unless it could not be written.
        Some(_) | None => RETRY,
    }
}
