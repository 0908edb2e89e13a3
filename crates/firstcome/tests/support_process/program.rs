//! The real program, started and ended as an operator would.
#![allow(clippy::disallowed_methods, reason = "tests of the running program go by the real clock")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::http::{Connection, Request, Response};

/// The server's greeting, after which its address comes.
const GREETING: &str = "Firstcome serves at";

/// A server of our own. It is killed when this goes.
#[derive(Debug)]
pub struct Program {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

/// The program, to be run with what a test adds.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstcome"));
    command.env_remove("FIRSTCOME_CONFIG");
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Recomputes every promise from the journal of a data folder.
pub fn verify(data: &Path) {
    let output = program().args(["verify", "--data"]).arg(data).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "verify says: {said}{complained}");
}

impl Program {
    /// Starts a server, on a free port and without waiting for it.
    pub fn spawn(data: &Path, flags: &[&str]) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(flags);
        Self::spawn_command(command)
    }

    /// Starts a server from a command that says it all, without waiting for it.
    pub fn spawn_command(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, said }
    }

    /// Starts a server and waits until it serves.
    pub fn start(data: &Path, flags: &[&str]) -> (Self, SocketAddr) {
        let mut program = Self::spawn(data, flags);
        let address = program.wait_for_address();
        (program, address)
    }

    /// Where it serves, if it has said so yet.
    pub fn address(&self) -> Option<SocketAddr> {
        let said = self.said.lock().unwrap();
        said.iter().find_map(|line| line.split_once(GREETING)?.1.trim().split_once("://")?.1.parse().ok())
    }

    /// Waits until it serves.
    pub fn wait_for_address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(address) = self.address() {
                return address;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {}", self.said());
            assert!(Instant::now() < deadline, "it does not serve: {}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everything that it has said on stderr.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Asks it to stop, and expects that it does and is content.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(Duration::from_secs(30)).expect("it does not stop");
        assert!(status.success(), "it ended with {status}: {}", self.said());
    }

    /// Its memory in use, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test has started.
pub fn signal_to(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: &Request) -> Response {
    Connection::open(address).await.unwrap().ask(request).await.unwrap()
}

/// Makes a campaign.
pub async fn put_campaign(address: SocketAddr, campaign: &str, stock: u64, per_subject_max: u64) {
    let body = format!("{{\"stock\":{stock},\"per_subject_max\":{per_subject_max}}}");
    let answer = ask(address, &Request::json("PUT", &format!("/v1/campaigns/{campaign}"), "", &body)).await;
    assert!(answer.status == 201 || answer.status == 200, "{}", answer.text());
}
