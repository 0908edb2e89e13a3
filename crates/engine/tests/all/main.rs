//! All integration tests of this crate, as one program: what it links, it links once.

mod conformance;
mod core;
mod engine;
mod owner;
mod support;
