//! The program: parses the command line, runs the command, and turns its result into an exit code.
//!
//! Exit codes: 0 done; 1 a promise is broken (`rush`, `verify`) or the server had to stop; 2 wrong
//! usage or settings; 3 it could not start.

use std::process::ExitCode;

use clap::Parser;
use edge::logging;
use firstcome::cli::{Cli, Command, RushCommand, SettingsError};
use firstcome::serve::ServeError;
use firstcome::{commands, lab, serve};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(args) => run_serve(*args),
        Command::Rush(RushCommand::Coupon(args)) => commands::rush(&args),
        Command::Lab(command) => lab::run(&command),
        Command::Verify(args) => commands::verify(&args),
        Command::Inspect(args) => commands::inspect(&args),
        Command::Key(command) => commands::key(&command),
        Command::CodeKey(command) => commands::code_key(&command),
        Command::Clock(command) => commands::clock(&command),
    }
}

fn run_serve(args: firstcome::cli::ServeArgs) -> ExitCode {
    let outcome = args.with_file().map_err(ServeError::from).and_then(|args| {
        logging::start(args.log.as_deref()).map_err(|error| SettingsError::Value(format!("--log: {error}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve::run(&args))
    });
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    commands::complain(&error);
    match error {
        ServeError::Settings(_) | ServeError::NotLoopback { .. } => ExitCode::from(2),
        ServeError::Failed | ServeError::Stopped(_) => ExitCode::from(1),
        _ => ExitCode::from(3),
    }
}
