//! `firstcome lab`: compares the strategies; this program also runs the server of each.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use lab::{Engines, LabError, Options, Programs, Report};

use crate::cli::lab::{LabArgs, LabCommand};
use crate::commands::complain;
use crate::output;

/// Exit code 1 if a strategy that claims to be exact was not.
#[must_use]
pub fn run(command: &LabCommand) -> ExitCode {
    let outcome = match command {
        LabCommand::Coupon(args) => coupon(args),
        LabCommand::Serve => lab::serve_from_stdin().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        complain(&error);
        match error {
            LabError::UnknownStrategy { .. } | LabError::NoEngine { .. } | LabError::Addresses { .. } => ExitCode::from(2),
            // 128 + n, the exit code that shells use for a process ended by signal n.
            LabError::Interrupted(number) => ExitCode::from(128 + number),
            _ => ExitCode::from(3),
        }
    })
}

fn coupon(args: &LabArgs) -> Result<ExitCode, LabError> {
    let options = options(args)?;
    let failed = |what| move |error: io::Error| LabError::Other { what, why: error.to_string() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed("no runtime"))?;
    let report = runtime.block_on(lab::run(&options))?;
    let printed = output::write(&if args.json { report.to_json().to_string() } else { report.to_text() });
    if let Some(path) = &args.report {
        write(path, &report).map_err(failed("cannot write the report"))?;
        output::say(&format!("report written to {}, the raw data beside it", path.display()));
    }
    let is_broken = report.strategies.iter().any(lab::stampede::report::StrategyReport::is_broken);
    Ok(output::finished(printed, if is_broken { ExitCode::from(1) } else { ExitCode::SUCCESS }))
}

fn write(path: &Path, report: &Report) -> io::Result<()> {
    std::fs::write(path, report.to_html())?;
    std::fs::write(path.with_extension("json"), format!("{:#}\n", report.to_json()))
}

fn options(args: &LabArgs) -> Result<Options, LabError> {
    let program = std::env::current_exe().map_err(|error| LabError::Other { what: "where is this program?", why: error.to_string() })?;
    let typed = Engines { postgres: args.postgres.clone(), redis: args.redis.clone(), kafka: args.kafka.clone() };
    Ok(Options {
        users: args.users,
        stock: args.stock,
        connections: args.connections as usize,
        runs: args.runs,
        with_faults: !args.no_crash,
        strategies: args.strategies.clone(),
        engines: typed.or_started()?,
        programs: Programs { strategy: vec![program.clone().into_os_string(), "lab".into(), "serve".into()], firstcome: program },
        progress: io::stderr().is_terminal(),
    })
}
