//! RATE LIMITS FOR ANY SERVICE: counters in memory ([`Store`]), and a `tower` layer in front of an
//! axum or hyper service ([`RateLimitLayer`]). The rules are those of `domain`; of Firstcome
//! nothing else is needed. `examples/axum.rs` is a whole program.
//!
//! ```
//! use rate_limit_layer::{Algorithm, RateLimitLayer, Settings, key};
//!
//! let layer = RateLimitLayer::builder()
//!     .limit("client", Settings::per_second(Algorithm::LeakyBucket, 10).with_burst(20), key::header("x-api-key"))
//!     .build()
//!     .unwrap();
//! # let _ = layer;
//! ```
//!
//! Layout, in reading order: [`RateLimitLayer`], [`key`] (who asks), `fields` and `problem` (what
//! they are told), [`Store`], [`check_all`], [`InFlightStore`], [`clock`].
#![warn(missing_docs)]

pub mod clock;
pub mod fields;
pub mod key;
mod layer;
mod problem;
mod store;
mod sync;

pub use domain::rate_limit::{Algorithm, Decision, Mode, Moment, Policy, PolicyError, Settings, Verdict};
pub use layer::{BuildError, Builder, Decisions, RateLimit, RateLimitLayer, Refused, ResponseFuture};
pub use store::in_flight::{HeldPlace, InFlightStore};
pub use store::several::{Ask, check_all};
pub use store::{AtCap, Hold, Key, KeysFull, Store, StoreOptions};
