//! THE SAME RULES ACROSS MACHINES, SIMULATED: nodes, a broker and a gate on one thread, in simulated time,
//! which passes only while every task waits.
//!
//! Layout, in reading order:
//! - [`dice`]: randomness shared by all concurrent tasks;
//! - [`broker`]: the log, and the network between it and the nodes;
//! - [`gates`]: the gate's server;
//! - [`nodes`]: processes, killed and restarted;
//! - [`people`]: the clients;
//! - [`places`]: the oracle at every offset of the log;
//! - [`judge`]: checks that the answers agree with the log;
//! - [`trouble`]: the faults of a run;
//! - [`run`]: one seed;
//! - [`plant`]: planted bugs that the simulation must detect;
//! - [`counts`]: rare events, which must occur.

pub mod broker;
pub mod counts;
pub mod dice;
pub mod gates;
pub mod judge;
pub mod nodes;
pub mod people;
pub mod places;
pub mod plant;
pub mod run;
pub mod trouble;

pub use run::{Options, Outcome, run};
