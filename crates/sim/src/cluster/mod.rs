//! THE SAME RULES ACROSS MACHINES, SIMULATED: nodes, a broker and a gate on one thread, in a time
//! that stands still while anybody works.
//!
//! Layout, in reading order:
//! - [`dice`]: chance, shared by all who live at once;
//! - [`broker`]: the log, and the ways to it and from it;
//! - [`gates`]: the gate's server;
//! - [`nodes`]: processes, killed and started again;
//! - [`people`]: who asks;
//! - [`places`]: the oracle at every place of the log;
//! - [`judge`]: whether what was told is what the log says;
//! - [`trouble`]: what goes wrong;
//! - [`run`]: one seed;
//! - [`plant`]: faults that are planted to show that they are noticed;
//! - [`counts`]: rare things, which must happen.

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
