//! Installs what tests and benchmarks need beside Rust, with the system's package manager. On a terminal it
//! asks first; without one it installs only in CI, and otherwise prints what to install.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;

use crate::parts::{Outcome, is_there, output, run};

/// A required program, and the packages that contain it.
struct Needed {
    is_there: fn() -> bool,
    packages: &'static [&'static str],
    why: &'static str,
}

const STRACE: Needed =
    Needed { is_there: || is_there("strace"), packages: &["strace"], why: "lets writes and syncs of the real program fail" };
const PYTHON: Needed = Needed { is_there: || is_there("python3"), packages: &["python3", "python3-venv"], why: "runs schemathesis" };
const REDIS: Needed = Needed {
    is_there: || is_there("redis-server") && is_there("redis-cli"),
    packages: &["redis-server", "redis-tools"],
    why: "is the gate of the scaled mode, and what claims are compared with",
};
const POSTGRES: Needed = Needed { is_there: has_postgres, packages: &["postgresql"], why: "keeps the history of the scaled mode" };
const JAVA: Needed =
    Needed { is_there: has_java, packages: &["default-jre-headless"], why: "(17 or later) runs Kafka, the log of the scaled mode" };
const MAVEN: Needed = Needed { is_there: || is_there("mvn"), packages: &["maven"], why: "fetches Kafka" };
const FAKETIME: Needed = Needed { is_there: has_faketime, packages: &["libfaketime"], why: "gives a Kafka broker a wrong clock" };

const NODE: Needed = Needed { is_there: has_node, packages: &["nodejs", "npm"], why: "(20 or later) runs the tests of the pages" };
const CHROMIUM: Needed = Needed {
    is_there: || ["chromium", "chromium-browser", "google-chrome"].into_iter().any(is_there),
    packages: &["chromium"],
    why: "is the browser in which the pages are tested",
};

/// Debian's package creates and starts a PostgreSQL cluster unless a file in this folder forbids it. The file
/// exists only during the installation, so clusters can be created normally later.
const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.d";
/// The oldest Node.js that runs the tests of the pages.
const NODE_VERSION_MIN: u32 = 20;
/// The oldest Java that runs a broker.
const JAVA_VERSION_MIN: u32 = 17;

pub(crate) fn for_tests() -> Outcome {
    install(&[STRACE, FAKETIME])?;
    for_services()?;
    for_web()?;
    python()
}

pub(crate) fn for_web() -> Outcome {
    install(&[NODE, CHROMIUM])
}

pub(crate) fn for_services() -> Outcome {
    install(&[REDIS, POSTGRES, JAVA, MAVEN])
}

/// Debian installs each version's programs in a folder of its own, outside the search path.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    is_there("initdb") || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

fn has_java() -> bool {
    let version = output(Command::new("java").arg("--version")).unwrap_or_default();
    let number = version.split_whitespace().nth(1).and_then(|version| version.split(['.', '-', '+']).next()?.parse().ok());
    number.is_some_and(|number: u32| JAVA_VERSION_MIN <= number)
}

fn has_node() -> bool {
    let version = output(Command::new("node").arg("--version")).unwrap_or_default();
    let number = version.trim_start_matches('v').split('.').next().and_then(|number| number.parse().ok());
    is_there("npx") && number.is_some_and(|number: u32| NODE_VERSION_MIN <= number)
}

fn has_faketime() -> bool {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    folders.into_iter().any(|folder| folder.path().join("faketime/libfaketimeMT.so.1").is_file())
}

/// Python with working venv support: some systems install one without the other.
pub(crate) fn python() -> Outcome {
    install(&[PYTHON])?;
    if output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_ok() {
        return Ok(());
    }
    install_packages(PYTHON.packages, PYTHON.why)
}

fn install(needed: &[Needed]) -> Outcome {
    for needed in needed.iter().filter(|needed| !(needed.is_there)()) {
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
    if !is_root() && !is_there("sudo") {
        return Err(by_hand);
    }
    if !is_agreed(&names, why) {
        return Err(by_hand);
    }
    as_root("apt-get", &["update", "-qq"])?;
    let brings_postgres = packages == POSTGRES.packages;
    if brings_postgres {
        let say = format!("mkdir -p {CLUSTER_SETTINGS} && echo 'create_main_cluster = false' > {CLUSTER_SETTINGS}/firstcome.conf");
        as_root("sh", &["-c", &say])?;
    }
    // The package must not start a server that only tests and benchmarks use.
    let installed = as_root("apt-get", &[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat());
    if brings_postgres {
        as_root("rm", &["-f", &format!("{CLUSTER_SETTINGS}/firstcome.conf")])?;
    }
    installed
}

fn as_root(program: &str, arguments: &[&str]) -> Outcome {
    let mut command = if is_root() { Command::new(program) } else { Command::new("sudo") };
    if !is_root() {
        command.arg(program);
    }
    run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
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
