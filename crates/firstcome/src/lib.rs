//! THE PROGRAM, as a library: what its commands do.

pub mod inspect;
pub mod verify;
