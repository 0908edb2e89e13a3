//! cargo-deny: licences, bans, sources, and known vulnerabilities.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::parts::{Outcome, cargo, is_there, run};

const VERSION: &str = "0.20.2";

pub(crate) fn check() -> Outcome {
    let program = program()?;
    let deny = |arguments: &[&str]| run(Command::new(&program).args(arguments));
    deny(&["--all-features", "check", "licenses", "bans", "sources"])?;
    // The database of known vulnerabilities comes from the network, which may not be reachable.
    if deny(&["fetch", "db"]).is_err() {
        eprintln!("skipped: advisories, because their database cannot be reached");
        return Ok(());
    }
    deny(&["--all-features", "check", "advisories"])
}

/// The installed cargo-deny, or one built in the target folder. It is built without optimisation: it reads a
/// few hundred manifests, and optimising its dependencies would take far longer.
fn program() -> Result<PathBuf, String> {
    if is_there("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let root = format!("target/cargo-deny-{VERSION}");
    let program = Path::new(&root).join("bin/cargo-deny");
    if !program.is_file() {
        let mut install = cargo(&["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet", "--debug", "--root", &root]);
        run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    }
    Ok(program)
}
