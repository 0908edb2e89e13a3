//! In the place of the lab where the feature `lab` is off: says how to get a build that has it.

use std::process::ExitCode;

use crate::cli::lab::LabCommand;

/// Exit code 2: this build cannot do it.
#[must_use]
pub fn run(_: &LabCommand) -> ExitCode {
    eprintln!("firstcome: this program was built without the lab; run: cargo run --release --features lab -- lab coupon");
    ExitCode::from(2)
}
