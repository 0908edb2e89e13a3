//! The locks of the counters. `tests/interleavings.rs` puts those of an interleaving checker here.

pub(crate) use std::sync::{Mutex, MutexGuard};
