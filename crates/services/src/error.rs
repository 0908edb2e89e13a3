//! The errors of starting and using engines.

use std::io;
use std::path::PathBuf;

/// Why an engine could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A program is not installed.
    #[error("{program} is not installed; on Debian and Ubuntu it comes with: apt-get install {packages}")]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// The packages that contain it.
        packages: &'static str,
    },
    /// A file or folder cannot be created, read or removed.
    #[error("cannot use {path}")]
    File {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A process cannot be started, or signalled.
    #[error("cannot {what} {name}")]
    Process {
        /// The operation: `start`, `kill`, `stop`, `resume`.
        what: &'static str,
        /// The process's name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// A process ended before it was ready.
    #[error("{name} ended with {status} before it was ready; the end of its log:\n{log}")]
    Ended {
        /// The process's name.
        name: String,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A process did not become ready in time.
    #[error("{name} was not ready after {seconds} s; the end of its log:\n{log}")]
    NotReady {
        /// The process's name.
        name: String,
        /// The time limit.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A command failed.
    #[error("{command} ended with {status}: {output}")]
    Command {
        /// The command's name.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines of its output.
        output: String,
    },
    /// A server gave an unexpected answer.
    #[error("{name} answered {answer:?}, where {expected:?} was expected")]
    Answer {
        /// The server's name.
        name: String,
        /// The answer.
        answer: String,
        /// The expected answer.
        expected: &'static str,
    },
    /// A downloaded file has the wrong checksum.
    #[error("{file} has the SHA-256 checksum {found}, where {expected} was expected")]
    Checksum {
        /// The file.
        file: PathBuf,
        /// The file's checksum.
        found: String,
        /// The checksum in the list.
        expected: &'static str,
    },
    /// No port in the range is free.
    #[error("none of the ports {first} to {last} is free on 127.0.0.1")]
    NoFreePort {
        /// The first port of the range.
        first: u16,
        /// The last port of the range.
        last: u16,
    },
    /// The node or broker does not exist.
    #[error("there is no node {index}: they are numbered 0 to {}", count.saturating_sub(1))]
    NoSuchNode {
        /// The requested index.
        index: usize,
        /// The number of nodes.
        count: usize,
    },
    /// No unprivileged user exists to run a server as.
    #[error("neither the user postgres nor nobody is there, and initdb refuses to run as root")]
    NoUser,
    /// The server shared by this process's tests could not be started.
    #[error(transparent)]
    Shared {
        /// The reason.
        error: &'static ServiceError,
    },
    /// A database's name contains other characters than allowed.
    #[error("the database name {name:?} is not made of a-z, 0-9 and _ (63 at most)")]
    DatabaseName {
        /// The name.
        name: String,
    },
}

impl ServiceError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
