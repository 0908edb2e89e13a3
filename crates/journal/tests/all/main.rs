//! All integration tests of this crate, as one program: what it links, it links once.

mod memory;
mod recovery;
mod snapshots;
mod support;
