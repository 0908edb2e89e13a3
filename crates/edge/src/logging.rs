//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::filter::targets::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging.
///
/// # Errors
/// [`ParseError`] if the filter is malformed.
pub fn start(filter: Option<&str>) -> Result<(), ParseError> {
    // Not `EnvFilter`: it also filters by fields of spans, and brings the regular expressions for that.
    let filter = filter.unwrap_or("info").parse::<Targets>()?;
    // The terminal may be closed while the server runs on. Reporting a failed write on the same stderr
    // would panic.
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false).log_internal_errors(false);
    if stderr().is_terminal() {
        tracing_subscriber::registry().with(layer).with(filter).init();
    } else {
        tracing_subscriber::registry().with(layer.json().flatten_event(true)).with(filter).init();
    }
    Ok(())
}
