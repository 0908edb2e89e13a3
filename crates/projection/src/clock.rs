//! The only clock of this crate: it ends reads that take too long, and no answer depends on it.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// The deadline of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit(Option<Instant>);

impl TimeLimit {
    /// The deadline `after` from now; none if that overflows.
    pub(crate) fn from_now(after: Duration) -> Self {
        Self(Instant::now().checked_add(after))
    }

    /// Whether the deadline has passed.
    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|end| end <= Instant::now())
    }
}
