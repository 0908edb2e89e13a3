//! Why a lab could not be run. What a strategy does wrong is no error: it is in the report.

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No such strategy.
    #[error("there is no strategy {name:?}; there are: {known}")]
    UnknownStrategy {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// An engine is not named.
    #[error("{strategy} needs {engine}: give {flag}, or start the engines with: cargo xtask services up")]
    NoEngine {
        /// Who needs it.
        strategy: &'static str,
        /// Which.
        engine: &'static str,
        /// How it is named.
        flag: &'static str,
    },
    /// An engine does not do what it is asked.
    #[error("{engine}: {why}; to have engines of your own: cargo xtask services up")]
    Engine {
        /// Which, and where.
        engine: String,
        /// What it says.
        why: String,
    },
    /// A file that says where engines are.
    #[error("cannot read {file}: {why}")]
    Addresses {
        /// Which.
        file: String,
        /// What the system says.
        why: String,
    },
    /// A server of a strategy did not start.
    #[error("the server of {strategy} did not start: {why}")]
    Start {
        /// Whose.
        strategy: String,
        /// What it said last.
        why: String,
    },
    /// A server's settings cannot be read.
    #[error("a strategy's server reads its settings from its input, and these are not: {0}")]
    Settings(String),
    /// The rush itself.
    #[error("{strategy}: {source}")]
    Rush {
        /// Of which strategy.
        strategy: &'static str,
        /// Why.
        source: rush::Error,
    },
    /// Somebody asked for its end, by a signal of this number.
    #[error("interrupted; nothing was judged")]
    Interrupted(u8),
    /// Something else.
    #[error("{what}: {why}")]
    Other {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        why: String,
    },
}

impl LabError {
    pub(crate) fn other(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> LabError {
        move |why| LabError::Other { what, why: why.to_string() }
    }
}
