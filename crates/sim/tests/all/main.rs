//! All integration tests of this crate, as one program: what it links, it links once.

mod cluster;
mod plants;
mod seeds;
mod systematic;
