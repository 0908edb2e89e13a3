//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging.
///
/// # Errors
/// What is wrong with the filter, if it is malformed.
pub fn start(filter: Option<&str>) -> Result<(), String> {
    // Not `EnvFilter`: it also filters by fields of spans, and brings the regular expressions for that.
    let filter = filter.unwrap_or("info").parse::<Targets>().map_err(|error| error.to_string())?;
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
