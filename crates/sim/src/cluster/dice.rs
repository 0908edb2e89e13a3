//! Randomness shared by all concurrent tasks, and a value to wait for. Tasks take turns on one thread, so
//! that the same seed gives the same run.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::rng::Rng;

/// The random numbers of one seed and one concern.
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<Rng>>);

impl Dice {
    /// A generator for this seed; each stream is independent of the others.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Arc::new(Mutex::new(Rng::new(seed, 1_000 + stream))))
    }

    /// A number below `limit`; 0 where that is 0.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.0.lock().below(limit)
    }

    /// A number below `limit`, to use as an index.
    #[must_use]
    pub fn index(&self, limit: usize) -> usize {
        self.0.lock().index(limit)
    }

    /// True with probability 1 / `of`.
    #[must_use]
    pub fn one_in(&self, of: u64) -> bool {
        self.0.lock().one_in(of)
    }

    /// A random item.
    #[must_use]
    pub fn pick<T: Copy, const N: usize>(&self, items: &[T; N]) -> T {
        self.0.lock().pick(items)
    }

    /// A random duration between `least` and `most` milliseconds.
    #[must_use]
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// A value that tasks wait for. They are woken in the order in which they started to wait: tokio's watch
/// channel wakes in an order that does not depend on the seed.
#[derive(Debug, Default)]
pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Signal<T> {
    /// Starts with this value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> T {
        *self.value.lock()
    }

    /// Sets the value and wakes the waiting tasks.
    pub fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    /// Waits until the value satisfies the predicate.
    pub async fn wait_for(&self, is_wanted: impl Fn(T) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_wanted(self.get()) {
                return;
            }
            changed.await;
        }
    }
}
