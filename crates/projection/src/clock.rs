//! The only clock of this crate: it ends reads that take too long, and no answer depends on it.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// A moment after which a read is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit(Option<Instant>);

impl TimeLimit {
    /// The moment `after` from now; a time too far away to be told is no limit.
    pub(crate) fn from_now(after: Duration) -> Self {
        Self(Instant::now().checked_add(after))
    }

    /// Whether it has come.
    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|end| end <= Instant::now())
    }
}
