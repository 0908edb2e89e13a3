//! The commands beside `serve`: results on stdout, all else on stderr.
#![expect(clippy::print_stdout, reason = "what these commands print is their result")]

use std::io::{self, IsTerminal, Write, stderr};
use std::process::ExitCode;

use crate::cli::{InspectArgs, RushArgs, VerifyArgs};
use journal::Lsn;

use crate::{clock, inspect, rush, verify};

/// Says on stderr why it did not work.
pub fn complain(error: &dyn std::error::Error) {
    eprintln!("firstcome: {error}");
}

/// `firstcome rush coupon`.
#[must_use]
pub fn rush(args: &RushArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let report = match runtime.block_on(rush::run(args, stderr().is_terminal())) {
        Ok(report) => report,
        // As a shell shows a process that a signal has ended.
        Err(error @ rush::RushError::Interrupted(number)) => {
            complain(&error);
            return ExitCode::from(128 + number);
        }
        Err(error) => return failed(&error),
    };
    if args.json {
        println!("{}", report.to_json());
    } else {
        println!("{}", report.table());
    }
    if let Some(path) = &args.report {
        if let Err(error) = std::fs::write(path, report.html()) {
            eprintln!("firstcome: cannot write {}: {error}", path.display());
            return ExitCode::from(3);
        }
        eprintln!("report written to {}", path.display());
    }
    if report.broken().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// `firstcome verify`.
#[must_use]
pub fn verify(args: &VerifyArgs) -> ExitCode {
    let started = clock::elapsed();
    let mut verdict = match verify::run(&args.data) {
        Ok(verdict) => verdict,
        Err(error) => return failed(&error),
    };
    verdict.seconds = Some(clock::elapsed().saturating_sub(started).as_secs_f64());
    if args.json {
        println!("{}", verdict.to_json());
    } else {
        println!("{}", verdict.to_text());
    }
    if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// `firstcome inspect`.
#[must_use]
pub fn inspect(args: &InspectArgs) -> ExitCode {
    let range = inspect::RecordRange { from: Lsn(args.from), limit: args.limit };
    let form = if args.json { inspect::Form::JsonLines } else { inspect::Form::Text };
    let options = inspect::Options { records: args.records.then_some(range), form };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match inspect::run(&args.data, &options, &mut out).map_err(Box::<dyn std::error::Error>::from) {
        Ok(()) => match out.flush() {
            // Whoever read has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
            _ => ExitCode::SUCCESS,
        },
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::from(3)
}
