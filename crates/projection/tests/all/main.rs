//! All integration tests of this crate, as one program: what it links, it links once.

mod golden;
mod postgres_connecting;
mod postgres_crash;
mod postgres_golden;
mod postgres_loading;
mod postgres_projecting;
mod postgres_speed;
mod postgres_tls;
mod postgres_unclear;
mod reading;
mod recovery;
mod speed;
mod support;
