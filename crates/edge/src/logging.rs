//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging.
///
/// # Errors
/// [`ParseError`] if the filter is malformed.
pub fn start(filter: Option<&str>) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter.unwrap_or("info"))?;
    // The terminal may be closed while the server runs on. Reporting a failed write on the same stderr
    // would panic.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false).log_internal_errors(false);
    if stderr().is_terminal() {
        subscriber.init();
    } else {
        subscriber.json().flatten_event(true).init();
    }
    Ok(())
}
