//! `cargo xtask services`: runs the engines in the background, to try the scaled mode or to run tests against them.
#![expect(clippy::print_stdout, reason = "what these commands print is their result")]

mod background;
mod hold;
mod state;

use std::process::ExitCode;

use background::CommandError;

const USAGE: &str = "usage: cargo xtask services up [--brokers 1|3] | status | down";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("services: {}", with_sources(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), CommandError> {
    match arguments {
        ["up"] => background::up(1),
        ["up", "--brokers", count] => background::up(brokers(count)?),
        ["status"] => background::status(),
        ["down"] => background::down(),
        // Started by `up` and by tests: holds the engines until it ends.
        ["hold", file, "--brokers", count] => hold::until_killed(file.as_ref(), brokers(count)?),
        ["hold-attached", file] => hold::until_input_ends(file.as_ref()),
        _ => Err(CommandError::Usage),
    }
}

fn brokers(count: &str) -> Result<usize, CommandError> {
    match count {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err(CommandError::Usage),
    }
}

/// An error with its sources.
fn with_sources(error: &dyn std::error::Error) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source());
    std::iter::once(error.to_string()).chain(behind.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
