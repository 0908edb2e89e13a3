//! Helpers that build responses.

pub use edge::response::{REPLAYED, json, mark_replayed, with_header};
