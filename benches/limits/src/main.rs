//! Rate limits measured. `bench-limits speed [ROUNDS]` prints checks per second beside the
//! `governor` crate; `bench-limits accuracy [FOLDER]` writes how often each algorithm is wrong, and
//! plots of what it lets through. `cargo xtask limits` runs them.
#![expect(clippy::print_stdout, reason = "what is measured is the result of this program")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod accuracy;
mod clock;
/// The plots of the load generator's reports.
#[allow(dead_code, unreachable_pub, reason = "a module of another program")]
#[path = "../../../crates/rush/src/plot.rs"]
mod plot;
mod speed;

use std::process::ExitCode;

/// What goes wrong in a benchmark ends it; there is nobody to recover for.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How many keys are measured.
const KEYS: [u64; 3] = [1, 10_000, 10_000_000];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["speed"] => speed::speed(5, &KEYS),
        ["speed", rounds] => rounds.parse().map_err(Into::into).and_then(|rounds| speed::speed(rounds, &KEYS)),
        ["accuracy"] => accuracy::accuracy("docs/results"),
        ["accuracy", folder] => accuracy::accuracy(folder),
        ["alone", which, keys] => keys.parse().map_err(Into::into).and_then(|keys| speed::alone(which, keys)),
        _ => Err("usage: bench-limits speed [ROUNDS] | accuracy [FOLDER]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-limits: {error}");
            ExitCode::FAILURE
        }
    }
}
