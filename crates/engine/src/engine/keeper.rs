//! Takes snapshots, detects a disk that does not respond, and has the stop signal of pausing threads.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use journal::Lsn;
use journal::format::JournalId;
use parking_lot::{Condvar, Mutex};

use super::{Shared, owning};
use crate::restart;

/// How often the disk's progress and the distance to the last snapshot are checked.
const TICK: Duration = Duration::from_millis(500);
/// Ticks without progress of the disk after which waiting callers are told that the outcome is unknown: 15
/// seconds.
const STALL_TICKS_MAX: u32 = 30;

/// A stop signal. The keeper thread has one; pausing threads wait on it as well.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl Keeper {
    pub(super) fn close(&self) {
        *self.is_closed.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for the next tick or the end; returns whether it was the end.
    fn wait(&self) -> bool {
        self.sleep(TICK)
    }

    /// Pauses, unless the end comes first; returns whether it came.
    pub(super) fn sleep(&self, at_most: Duration) -> bool {
        let mut is_closed = self.is_closed.lock();
        self.changed.wait_while_for(&mut is_closed, |is_closed| !*is_closed, at_most);
        *is_closed
    }
}

pub(super) fn run(shared: &Shared, journal: JournalId) {
    let mut stall = Stall::default();
    loop {
        let is_closed = shared.keeper.wait();
        if stall.has_lasted(shared) {
            tracing::error!("the disk has not answered for {STALL_TICKS_MAX} ticks of {TICK:?}; those who wait are told so");
            shared.durable.give_up();
        }
        let since_snapshot = shared.durable.lsn().0.saturating_sub(shared.snapshot_lsn.load(Ordering::Relaxed));
        let wanted = if is_closed { 1 } else { shared.snapshot_every };
        if wanted <= since_snapshot {
            take_snapshot(shared, journal);
        }
        if is_closed {
            return;
        }
    }
}

/// Detects a disk that does not respond.
#[derive(Default)]
struct Stall {
    lsn: Lsn,
    ticks: u32,
}

impl Stall {
    /// Counts ticks without progress while records wait to become durable; returns whether the limit is
    /// reached.
    fn has_lasted(&mut self, shared: &Shared) -> bool {
        let durable = shared.durable.lsn();
        let is_stuck = durable == self.lsn && durable < shared.core.lock().staged_lsn();
        self.lsn = durable;
        self.ticks = if is_stuck { self.ticks + 1 } else { 0 };
        self.ticks != 0 && self.ticks.is_multiple_of(STALL_TICKS_MAX)
    }
}

/// Takes a snapshot of the state as staged, and writes it once that state is durable.
fn take_snapshot(shared: &Shared, journal: JournalId) {
    let (frozen, lsn) = {
        let core = shared.core.lock();
        (core.state().freeze(), core.staged_lsn())
    };
    if wait_blocking(shared, lsn).is_err() {
        return;
    }
    match owning::still_ours(shared).and_then(|()| restart::write_snapshot(&shared.snapshot_storage, journal, lsn, &frozen)) {
        Ok(_) => {
            shared.snapshot_lsn.store(lsn.0, Ordering::Relaxed);
            tracing::info!(lsn = lsn.0, "snapshot taken");
        }
        Err(error) => tracing::warn!(%error, "cannot take a snapshot; the journal alone is enough"),
    }
}

fn wait_blocking(shared: &Shared, lsn: Lsn) -> Result<(), ()> {
    while shared.durable.lsn() < lsn {
        if shared.durable.has_failed() {
            return Err(());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
