//! All integration tests of this crate, as one program: what it links, it links once.

mod common;
mod conformance;
mod coupon_model;
mod groups;
mod keyring;
mod policy_oracle;
mod properties;
mod queue;
mod rate_limit;
mod rate_limit_conformance;
mod wire;
