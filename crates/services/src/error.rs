//! Why an engine is not there.

use std::io;
use std::path::PathBuf;

/// Why an engine could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A program is not installed.
    #[error("{program} is not installed; on Debian and Ubuntu it comes with: apt-get install {packages}")]
    MissingProgram {
        /// The program that was looked for.
        program: &'static str,
        /// The packages that bring it.
        packages: &'static str,
    },
    /// A file or folder cannot be made, read or removed.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process cannot be started, or signalled.
    #[error("cannot {what} {name}")]
    Process {
        /// What was tried: `start`, `kill`, `stop`, `resume`.
        what: &'static str,
        /// The process.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A process ended while it was waited for.
    #[error("{name} ended with {status} before it was ready; the end of its log:\n{log}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A process did not become ready in time.
    #[error("{name} was not ready after {seconds} s; the end of its log:\n{log}")]
    NotReady {
        /// The process.
        name: String,
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// A command that ends by itself ended badly.
    #[error("{command} ended with {status}: {output}")]
    Command {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines of what it said.
        output: String,
    },
    /// A server said something else than was expected.
    #[error("{name} answered {answer:?}, where {expected:?} was expected")]
    Answer {
        /// Who answered.
        name: String,
        /// What it said.
        answer: String,
        /// What it should have said.
        expected: &'static str,
    },
    /// A file that was fetched is not the one that was meant.
    #[error("{file} has the SHA-256 checksum {found}, where {expected} was expected")]
    Checksum {
        /// The file.
        file: PathBuf,
        /// What it has.
        found: String,
        /// What stands in the list.
        expected: &'static str,
    },
    /// No port of the range is free.
    #[error("none of the ports {first} to {last} is free on 127.0.0.1")]
    NoFreePort {
        /// The first port that was tried.
        first: u16,
        /// The last one.
        last: u16,
    },
    /// There is no node or broker with this number.
    #[error("there is no node {index}: they are numbered 0 to {}", count.saturating_sub(1))]
    NoSuchNode {
        /// The number that was asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// No user without rights can be found to run a server as.
    #[error("neither the user postgres nor nobody is there, and initdb refuses to run as root")]
    NoUser,
    /// The server that all tests of this process share is not there.
    #[error(transparent)]
    Shared {
        /// Why not.
        error: &'static ServiceError,
    },
    /// A database's name is not a plain word.
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
