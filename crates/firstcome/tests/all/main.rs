//! All integration tests of this crate that may run beside one another, as one program: what it
//! links, it links once. Those that may not are in `alone` and `scaled`.

#[path = "../live/mod.rs"]
mod live_client;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support_process/mod.rs"]
mod support_process;

mod access;
mod bad_input;
mod clocks;
mod conformance;
#[cfg(feature = "example")]
mod counter;
mod data_folder;
mod demonstration;
mod disk_full;
mod gateway;
mod inspect;
mod keys;
mod keys_in_folder;
mod live;
mod message_forms;
mod openapi;
mod preconditions;
mod queue;
mod rate_limits;
mod refused_bodies;
mod request_keys;
mod requests;
mod settings;
mod terminal;
mod tls;
mod tokens;
mod verify;
mod verify_agrees;
mod web;
