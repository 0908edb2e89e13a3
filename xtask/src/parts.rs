//! Parts of a long command, each with its time; and running other programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Success, or an error text.
pub(crate) type Outcome = Result<(), String>;

/// The parts that ran, with their durations.
#[derive(Default)]
pub(crate) struct Parts(Vec<(String, Duration)>);

impl Parts {
    /// Runs a part and prints its time.
    #[expect(clippy::disallowed_methods, reason = "how long a part takes is what is wanted")]
    pub(crate) fn run(&mut self, name: &str, part: impl FnOnce() -> Outcome) -> Outcome {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let outcome = part().map_err(|error| format!("{name}: {error}"));
        let time = started.elapsed();
        eprintln!("== {name}: {:.1} s", time.as_secs_f64());
        self.0.push((name.to_owned(), time));
        outcome
    }

    pub(crate) fn print(&self) {
        println!("\n{:<16} {:>8}", "part", "seconds");
        for (name, time) in &self.0 {
            println!("{name:<16} {:>8.1}", time.as_secs_f64());
        }
        let total: Duration = self.0.iter().map(|(_, time)| *time).sum();
        println!("{:<16} {:>8.1}\n", "all", total.as_secs_f64());
        println!("{} passed, 0 failed", self.0.len());
    }
}

pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments);
    cargo
}

/// The path of a program that cargo has built.
pub(crate) fn built(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(&target).join("release").join(program)
}

/// Runs a program to its end; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

/// A program's output on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is in the search path.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
