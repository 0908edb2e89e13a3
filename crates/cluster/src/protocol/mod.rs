//! What makes the scaled mode exact, free of I/O: a simulation runs it with a log and a gate of
//! its own.
//!
//! Layout, in reading order:
//! - [`partition`]: which partition a group is in;
//! - [`record`]: what stands in the log, as bytes and back;
//! - [`replica`]: one partition's state, from the records in their order;
//! - [`barrier`]: how a node knows that it knows everything up to now;
//! - [`gate`]: what the gate keeps of an aggregate, and what it is asked;
//! - [`lane`]: an aggregate's way through the gate on this node;
//! - [`decided`]: what was decided, on its way to the history;
//! - [`node`]: a request's way from the call to the answer.

pub mod barrier;
pub mod decided;
pub mod gate;
pub mod lane;
pub mod limits;
pub mod node;
pub mod partition;
pub mod record;
pub mod replica;
