//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::SettingsError;

/// Starts logging.
///
/// # Errors
/// [`SettingsError::Value`] if the filter is malformed.
pub fn start(filter: Option<&str>) -> Result<(), SettingsError> {
    // Not `EnvFilter`: it also filters by fields of spans, and brings the regular expressions for that.
    let filter = filter.unwrap_or("info").parse::<Targets>();
    let filter = filter.map_err(|error| SettingsError::Value(format!("--log is no filter: {error}")))?;
    // The terminal may be gone while the server goes on: what cannot be logged is not complained
    // about on the same stderr, which would be a panic.
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false).log_internal_errors(false);
    if stderr().is_terminal() {
        tracing_subscriber::registry().with(layer).with(filter).init();
    } else {
        tracing_subscriber::registry().with(layer.json().flatten_event(true)).with(filter).init();
    }
    Ok(())
}
