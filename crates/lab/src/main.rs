//! A strategy's server, as tests start it; `firstcome lab serve` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    match lab::serve_from_stdin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
