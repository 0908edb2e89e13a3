//! The parts that strategies of every workload need.

pub mod about;
pub mod engines;
pub mod error;

pub(crate) mod bars;
pub(crate) mod clock;
pub(crate) mod kafka;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod table;
pub(crate) mod tools;
pub(crate) mod web;
