//! Logs on stderr: readable on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging.
///
/// # Errors
/// What is wrong with the filter, if it is malformed.
pub fn start(filter: Option<&str>) -> Result<(), String> {
    let filter = targets(filter.unwrap_or_default())?;
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

/// A filter: levels by module, and the level of everything else, which is `info` where none is given.
///
/// Not the parser of `Targets` (`tracing-subscriber` 0.3): there a word that is no level is a module, so that
/// a mistyped level logs nothing at all, not even errors. Not `EnvFilter`: it also filters by fields of
/// spans, and brings the regular expressions for that.
fn targets(filter: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    for part in filter.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        targets = match part.split_once('=') {
            Some((module, level)) if is_module(module.trim()) => targets.with_target(module.trim(), level_of(level)?),
            Some((module, _)) => return Err(format!("{module:?} is no module; {EXAMPLE}")),
            None => targets.with_default(level_of(part)?),
        };
    }
    Ok(targets)
}

const EXAMPLE: &str = "give error, warn, info, debug, trace or off, and for one module such as edge=debug, with commas between";

fn level_of(word: &str) -> Result<LevelFilter, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        other => Err(format!("{other:?} is no level; {EXAMPLE}")),
    }
}

fn is_module(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn shows(filter: &str, module: &str, level: Level) -> bool {
        targets(filter).unwrap().would_enable(module, &level)
    }

    #[test]
    fn a_level_is_for_everything_but_the_modules_that_have_their_own() {
        for warning in ["warn", "warning", " WARNING ", "warn,edge=debug"] {
            assert!(shows(warning, "firstcome", Level::ERROR) && shows(warning, "firstcome::serve", Level::WARN), "{warning}");
            assert!(!shows(warning, "firstcome", Level::INFO), "{warning}");
        }
        assert!(shows("warn,edge=debug", "edge::route", Level::DEBUG));
        assert!(shows("", "firstcome", Level::INFO) && !shows("", "firstcome", Level::DEBUG));
        // A module alone leaves the others as they are: their errors must not be lost.
        assert!(shows("edge=debug", "engine", Level::ERROR) && shows("edge=debug", "edge", Level::DEBUG));
        assert!(!shows("off", "engine", Level::ERROR));
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_levels() {
        for wrong in ["warnings", "verbose", "edge", "edge=verbose", "=debug", "a b=debug", "5"] {
            let said = targets(wrong).unwrap_err();
            assert!(said.contains("error, warn, info"), "{wrong}: {said}");
        }
    }
}
