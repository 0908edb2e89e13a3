//! What every workload's strategies need, apart from what they give out.

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
