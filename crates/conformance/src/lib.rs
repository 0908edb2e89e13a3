//! THE SPECIFICATION, RUN. The tables in `conformance/` say in plain text what is asked and what
//! is answered; this crate reads them, asks a [`Backend`], and compares (C1: the rules, the
//! engine and HTTP give the same answers). Development only.
//!
//! One line of a table, `->` before the answer:
//!
//! ```text
//! at 10s  claim spring by ann key k1  -> claimed serial 1
//! ```
//!
//! - `case A SENTENCE` starts over with nothing; every file starts with one.
//! - `at 10s`, `at 10.5s`, `at 24h10s` moves time on, alone or before a request. Time is counted
//!   from 1970-01-01T00:00:00Z and starts at 0.
//! - `campaign NAME stock 2 …` and `policy NAME fixed_window quota 5 window_ms 1000 …` are puts:
//!   each setting by its name and value (`none` for none), a flag by its name (`paused`, `unpaused`), a
//!   word by itself (`queued`). Shorter: `per-subject`, `opens`, `closes`, `redeem-until`, `pace`,
//!   `queue-max`. `patch [policy] NAME …` takes the same words; `remove policy NAME` removes.
//!   All take `if-match 3`, `if-match *`, `if-match unknown` and `if-none-match *`.
//! - `override NAME for KEY quota 3 window_ms 1000 [burst 2]`, `override NAME for KEY none`.
//! - `claim NAME by ann`, `redeem NAME by ann [serial 2]`, `redeem NAME serial 2` (by its code),
//!   `cancel NAME by ann [serial 2]`.
//! - `read NAME`, `read policy NAME`, `read NAME by ann [serial 2]`, `read NAME serial 2` (by its code).
//! - Anything that changes takes `key k1` (its request key) and `as shop` (another caller).
//! - The answers are the [`Reply`]s in words. A line without `->` must not be refused.
//! - `#` starts a comment.
//!
//! Layout, in reading order: [`Request`], [`Reply`], [`Backend`] and [`run_folder`],
//! [`DomainBackend`], [`OracleBackend`]; the reading of a table is private. [`limits`] are the tables of rate limits,
//! which have words of their own.

mod domain_backend;
pub mod limits;
mod oracle_backend;
mod reply;
mod request;
mod run;
mod table;
mod time;
mod words;

pub use domain_backend::{DomainBackend, Forgetting};
pub use oracle_backend::OracleBackend;
pub use reply::{AggregateReply, ClaimReply, Refusal, Reply};
pub use request::{Ask, Request};
pub use run::{Backend, Failure, Problem, Summary, ask, run_folder};
