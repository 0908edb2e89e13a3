//! placeholder
pub const JSON: &str = "{}";
