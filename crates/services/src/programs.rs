//! Finds the engines' programs, and runs commands to their end.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ServiceError;

/// How many lines of a log or an output an error includes.
const LINES_SHOWN: usize = 30;

/// The path of a program in the search path.
pub(crate) fn find(program: &'static str, packages: &'static str) -> Result<PathBuf, ServiceError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Also these folders, which the search path of ordinary users may omit.
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(ServiceError::MissingProgram { program, packages })
}

/// Runs a command to its end and returns its output.
pub(crate) fn output(command: &mut Command) -> Result<String, ServiceError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| ServiceError::Process { what: "start", name: name.clone(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(ServiceError::Command { command: name, status: output.status.to_string(), output: last_lines(&said) })
}

/// The end of a log file, or a note that there is none.
pub(crate) fn end_of_log(file: &Path) -> String {
    match std::fs::read(file) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(cannot read {}: {error})", file.display()),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.split_at(lines.len().saturating_sub(LINES_SHOWN)).1.join("\n")
}
