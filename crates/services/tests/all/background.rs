//! `up`, `status` and `down`, as `cargo xtask services` runs them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use services::Addresses;

/// A copy of the program in a target folder of its own: what a person has started stays as it is.
struct Program(tempfile::TempDir);

impl Program {
    fn new() -> Self {
        let target = tempfile::tempdir().unwrap();
        fs::create_dir(target.path().join("release")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_services"), target.path().join("release/services")).unwrap();
        let program = Self(target);
        // A process that another thread has just begun may hold the copy open for writing until it
        // becomes another program; meanwhile it cannot be run.
        while program.command().output().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy) {
            thread::sleep(Duration::from_millis(10));
        }
        program
    }

    fn command(&self) -> Command {
        Command::new(self.0.path().join("release/services"))
    }

    fn says(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command().args(arguments).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("services/state")
    }
}

/// Whether each kind of engine takes connections.
fn answers(state: &Path) -> bool {
    let Addresses { kafka, redis, redis_cluster, postgres } = Addresses::read(state).unwrap();
    let addresses = [kafka.unwrap(), redis.unwrap(), redis_cluster.unwrap()[5].clone(), postgres.unwrap()];
    let address_of = |url: &String| url.rsplit(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).unwrap().to_owned();
    addresses.iter().all(|url| TcpStream::connect(address_of(url)).is_ok())
}

#[test]
fn the_services_are_up_until_they_are_down() {
    let program = Program::new();
    assert_eq!(program.says(&["down"]), "The services are not up.\n");
    assert_eq!(program.says(&["status"]), "The services are not up.\n");

    let up = program.says(&["up"]);
    let addresses = Addresses::read(&program.state()).unwrap();
    assert!(
        up.contains(&format!(
            "cargo run --release --features scaled -- serve --kafka {} --kafka-dev --redis",
            addresses.kafka.as_deref().unwrap()
        )),
        "{up}"
    );
    assert!(answers(&program.state()));
    let again = program.says(&["up"]);
    assert!(again.contains("are up already") && again.contains(&up), "{again}");
    assert!(program.says(&["status"]).starts_with("The services are up.\n"));

    let folders: Vec<PathBuf> =
        fs::read_to_string(program.state()).unwrap().lines().filter_map(|line| Some(line.strip_prefix("folder=")?.into())).collect();
    assert_eq!(folders.len(), 4);
    assert_eq!(program.says(&["down"]), "The services are down.\n");
    assert!(!program.state().exists() && !folders.iter().any(|folder| folder.exists()));
    assert_eq!(program.says(&["down"]), "The services are not up.\n");
}

#[test]
fn attached_services_end_with_the_input_of_their_process() {
    let program = Program::new();
    let state = program.0.path().join("state");
    let mut holder = program.command().arg("hold-attached").arg(&state).stdin(Stdio::piped()).spawn().unwrap();
    while !state.exists() {
        assert!(holder.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(answers(&state));
    let addresses = Addresses::read(&state).unwrap();
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    assert!(!state.exists());
    assert!(TcpStream::connect(addresses.kafka.unwrap()).is_err());
}

#[test]
fn what_is_no_command_shows_the_usage() {
    for arguments in [&["start"][..], &["up", "--brokers", "2"], &[]] {
        let output = Program::new().command().args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().contains("usage: cargo xtask services up"));
    }
}
