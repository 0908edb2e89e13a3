//! What a body may hold, and which field of it is wrong when it holds something else.

pub use edge::input::{Whole, parse, whole_of};
