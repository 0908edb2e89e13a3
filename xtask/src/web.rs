//! The web pages in a real browser: their tests, and the screenshots of the documentation.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::parts::{Outcome, built, run};

const FOLDER: &str = "web";

/// Tests every page like a user, in the system's browser.
pub(crate) fn check() -> Outcome {
    playwright(&["test"])
}

/// Takes the screenshots in `docs/images`.
pub(crate) fn screenshots() -> Outcome {
    playwright(&["test", "--config", "screenshots.config.ts"])
}

fn playwright(arguments: &[&str]) -> Outcome {
    modules()?;
    let program = built("firstcome");
    let program = program.canonicalize().map_err(|error| format!("cannot find {}: {error}", program.display()))?;
    let mut npx = Command::new("npx");
    npx.args(["--no-install", "playwright"]).args(arguments).current_dir(FOLDER).env("FIRSTCOME_PROGRAM", program);
    run(&mut npx)
}

/// Installs exactly the modules of the lock file; reinstalls when it changes.
fn modules() -> Outcome {
    let lock = Path::new(FOLDER).join("package-lock.json");
    let wanted = fs::read(&lock).map_err(|error| format!("cannot read {}: {error}", lock.display()))?;
    let stamp = Path::new(FOLDER).join("node_modules/.firstcome-lock");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(Command::new("npm").args(["ci", "--silent"]).current_dir(FOLDER))?;
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}
