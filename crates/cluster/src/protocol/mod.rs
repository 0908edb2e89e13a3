//! The protocol that makes the scaled mode exact, free of I/O: the simulation runs it with its own log and gate.
//!
//! Layout, in reading order:
//! - [`partition`]: the partition of a group;
//! - [`record`]: the log's records, as bytes and back;
//! - [`replica`]: one partition's state, built from its records in order;
//! - [`barrier`]: how a node confirms that its state is current;
//! - [`gate`]: what the gate stores for an aggregate, and the calls that it answers;
//! - [`lane`]: the path of an aggregate's commands through the gate on this node;
//! - [`decided`]: decided records on their way to the history;
//! - [`node`]: the path of a request from the call to the answer.

pub mod barrier;
pub mod decided;
pub mod gate;
pub mod lane;
pub mod limits;
pub mod node;
pub mod partition;
pub mod record;
pub mod replica;
