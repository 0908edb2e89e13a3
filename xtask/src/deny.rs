//! cargo-deny: licences, bans, sources, and known vulnerabilities.

use crate::parts::{Outcome, cargo, is_there, run};

const VERSION: &str = "0.20.2";

pub(crate) fn check() -> Outcome {
    if !is_there("cargo-deny") && run(&mut cargo(&["deny", "--version"])).is_err() {
        run(&mut cargo(&["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet"]))?;
    }
    run(&mut cargo(&["deny", "--all-features", "check", "licenses", "bans", "sources"]))?;
    // The list of known vulnerabilities comes from the network, and may not be reachable.
    if run(&mut cargo(&["deny", "fetch", "db"])).is_err() {
        eprintln!("skipped: advisories, because their database cannot be reached");
        return Ok(());
    }
    run(&mut cargo(&["deny", "--all-features", "check", "advisories"]))
}
