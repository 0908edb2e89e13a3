//! Replaces the lab in builds without the feature `lab`: tells how to build with it.

use std::process::ExitCode;

use crate::cli::lab::LabCommand;
use crate::output::say;

/// Exit code 2: not supported by this build.
#[must_use]
pub fn run(_: &LabCommand) -> ExitCode {
    say("firstcome: this program was built without the lab; run: cargo run --release --features lab -- lab coupon");
    ExitCode::from(2)
}
