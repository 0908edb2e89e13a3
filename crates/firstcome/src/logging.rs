//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::cli::SettingsError;

/// Starts logging.
///
/// # Errors
/// [`SettingsError::Value`] if the filter is malformed.
pub fn start(filter: Option<&str>) -> Result<(), SettingsError> {
    let filter =
        EnvFilter::try_new(filter.unwrap_or("info")).map_err(|error| SettingsError::Value(format!("--log is no filter: {error}")))?;
    // The terminal may be gone while the server goes on: what cannot be logged is not complained
    // about on the same stderr, which would be a panic.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false).log_internal_errors(false);
    if stderr().is_terminal() {
        subscriber.init();
    } else {
        subscriber.json().flatten_event(true).init();
    }
    Ok(())
}
