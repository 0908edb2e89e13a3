//! How responses are put together.

pub use edge::response::{REPLAYED, json, mark_replayed, with_header};
