//! EVERYTHING BETWEEN A SOCKET AND A REQUEST HANDLER. Knows HTTP and JSON, and no workload: the program
//! decides what is served and how.
//!
//! The path of a request, in reading order:
//! - [`serve`], [`connection`], [`pause`], [`linger`], [`tls`], [`limits`]: accepting connections, and their limits;
//! - [`route`]: one request, from its header to its response;
//! - [`gateway`]: rate limits in front of every call;
//! - [`auth`], [`tokens`]: authentication and admission;
//! - [`message`], [`context`], [`request`], [`input`], [`times`]: the request as handlers see it, checked;
//!   [`fingerprint`]: what makes two requests the same;
//! - [`response`], [`problem`], [`live`]: what handlers return;
//! - [`shared`]: state shared by all requests; [`metrics`], [`logging`], [`reload`], [`clock`], [`files`].

pub mod auth;
pub mod clock;
pub mod connection;
pub mod context;
pub mod files;
pub mod fingerprint;
pub mod gateway;
pub mod input;
pub mod limits;
pub mod linger;
pub mod live;
pub mod logging;
pub mod message;
pub mod metrics;
pub mod pause;
pub mod problem;
pub mod reload;
pub mod request;
pub mod response;
pub mod route;
pub mod serve;
pub mod shared;
pub mod times;
pub mod tls;
pub mod tokens;
