//! What tests and benchmarks need beside Rust, from the system's package manager. Asks first on a
//! terminal; without one it installs only in CI, and says what to install otherwise.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;

use crate::parts::{Outcome, is_there, output, run};

/// A program, and the package that brings it.
struct Needed {
    program: &'static str,
    packages: &'static [&'static str],
    why: &'static str,
}

const STRACE: Needed = Needed { program: "strace", packages: &["strace"], why: "lets writes and syncs of the real program fail" };
const PYTHON: Needed = Needed { program: "python3", packages: &["python3", "python3-venv"], why: "runs schemathesis" };
const REDIS: Needed =
    Needed { program: "redis-server", packages: &["redis-server", "redis-tools"], why: "is what claims are compared with" };

pub(crate) fn for_tests() -> Outcome {
    install(&[STRACE])?;
    python()
}

pub(crate) fn for_bench() -> Outcome {
    install(&[REDIS])
}

/// Python with a venv that works: some systems bring the one without the other.
pub(crate) fn python() -> Outcome {
    install(&[PYTHON])?;
    if output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok() {
        return Ok(());
    }
    install_packages(PYTHON.packages, PYTHON.why)
}

fn install(needed: &[Needed]) -> Outcome {
    for needed in needed.iter().filter(|needed| !is_there(needed.program)) {
        install_packages(needed.packages, needed.why)?;
    }
    Ok(())
}

fn install_packages(packages: &[&str], why: &str) -> Outcome {
    let names = packages.join(" ");
    let by_hand = format!("please install {names}, which {why}, and run this again");
    if !is_there("apt-get") {
        return Err(by_hand);
    }
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !is_root && !is_there("sudo") {
        return Err(by_hand);
    }
    if !is_agreed(&names, why) {
        return Err(by_hand);
    }
    let apt = |arguments: &[&str]| {
        let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
        if !is_root {
            command.arg("apt-get");
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    apt(&["update", "-qq"])?;
    // A server that only the benchmarks start must not be started by its package.
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

fn is_agreed(names: &str, why: &str) -> bool {
    if std::env::var_os("CI").is_some() {
        return true;
    }
    if !io::stdin().is_terminal() {
        return false;
    }
    eprint!("Install {names}, which {why}? [Y/n] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "" | "y" | "Y" | "yes")
}
