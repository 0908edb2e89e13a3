//! Writing results to stdout and messages to stderr. The macros of the standard library panic if the reader has
//! closed the pipe or the disk is full; here a failed write is an exit code.

use std::io::{self, Write, stderr, stdout};
use std::process::ExitCode;

/// Exit code of a command whose result could not be written.
const UNWRITTEN: u8 = 3;

/// Writes a result to stdout, with a line end after it, and returns the command's exit code.
///
/// A reader that closed the pipe has read enough, as `head` does: the exit code stays that of the result.
#[must_use]
pub fn finish(result: &str, code: ExitCode) -> ExitCode {
    finished(write(result), code)
}

/// The exit code of a command after its last write.
#[must_use]
pub fn finished(written: io::Result<()>, code: ExitCode) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("firstcome: cannot write the result: {error}"));
            ExitCode::from(UNWRITTEN)
        }
        Ok(()) | Err(_) => code,
    }
}

/// Writes a line to stdout, and waits until the operating system has it.
///
/// # Errors
/// The system's error; a part of the line may have been written.
pub fn write(line: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    // In one piece: a reader must not find half a secret.
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// Writes a message to stderr. Whether anybody reads messages must not decide what a command does.
pub fn say(message: &str) {
    let _ = try_say(message);
}

/// The same, for a message that must not be lost.
///
/// # Errors
/// The system's error.
pub fn try_say(message: &str) -> io::Result<()> {
    stderr().lock().write_all(format!("{message}\n").as_bytes())
}
