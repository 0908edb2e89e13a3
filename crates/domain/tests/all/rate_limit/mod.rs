//! Rate limits held against oracles that remember everything and know no cleverness.

mod oracle;
mod properties;
mod settle;
mod units;
