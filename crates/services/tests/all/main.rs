//! All integration tests of this crate, as one program: what it links, it links once.

mod background;
mod kafka;
mod nothing_is_left;
mod postgres;
mod redis;
