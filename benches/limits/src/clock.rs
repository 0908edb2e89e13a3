//! The only place of this benchmark that reads a clock.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}
