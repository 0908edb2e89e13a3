//! Why the lab could not run. Faults of a strategy are no error: they are in the report.

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The strategy does not exist.
    #[error("there is no strategy {name:?}; there are: {known}")]
    UnknownStrategy {
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// An engine has no address.
    #[error("{strategy} needs {engine}: give {flag}, or start the engines with: cargo xtask services up")]
    NoEngine {
        /// The strategy that needs the engine.
        strategy: &'static str,
        /// The engine.
        engine: &'static str,
        /// The option that sets its address.
        flag: &'static str,
    },
    /// An engine failed.
    #[error("{engine}: {why}; to have engines of your own: cargo xtask services up")]
    Engine {
        /// The engine and its address.
        engine: String,
        /// The engine's error text.
        why: String,
    },
    /// The file with the engines' addresses cannot be read.
    #[error("cannot read {file}: {why}")]
    Addresses {
        /// The file's path.
        file: String,
        /// The system's error.
        why: String,
    },
    /// A server of a strategy did not start.
    #[error("the server of {strategy} did not start: {why}")]
    Start {
        /// The strategy.
        strategy: String,
        /// The last lines of its output.
        why: String,
    },
    /// A server's settings cannot be read.
    #[error("a strategy's server reads its settings from its input, and these are not: {0}")]
    Settings(String),
    /// The rush failed.
    #[error("{strategy}: {source}")]
    Rush {
        /// The strategy.
        strategy: &'static str,
        /// The rush's error.
        source: rush::Error,
    },
    /// A signal of this number interrupted the run.
    #[error("interrupted; nothing was judged")]
    Interrupted(u8),
    /// Another operation failed.
    #[error("{what}: {why}")]
    Other {
        /// The operation.
        what: &'static str,
        /// The reason.
        why: String,
    },
}

impl LabError {
    pub(crate) fn other(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> LabError {
        move |why| LabError::Other { what, why: why.to_string() }
    }
}
