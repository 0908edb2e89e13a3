//! All integration tests of this crate, as one program: what it links, it links once.

mod cheating_server;
mod faulty_server;
mod honest_server;
mod queued_server;
mod report;
mod several_servers;
mod support;
