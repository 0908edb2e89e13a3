//! The protocol of the scaled mode, part by part: records, replicas, gates, lanes, nodes.
#![allow(clippy::unwrap_used)]

mod gate;
mod groups;
mod lane;
mod node;
mod record;
mod replica;
mod snapshots;
mod support;
