//! The real program as a process of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const PROGRAM: &str = env!("CARGO_BIN_EXE_firstcome");
/// How long a test waits for the program before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// `firstcome` with these arguments and none of our environment's settings.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args);
    clean(command)
}

/// Another program that runs `firstcome`, such as `strace`.
pub fn program_under(runner: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new(runner[0]);
    command.args(&runner[1..]).arg(PROGRAM).args(args);
    clean(command)
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FIRSTCOME_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Arguments of a server in this folder.
pub fn serve_args(folder: &Path) -> [&str; 7] {
    ["serve", "--listen", "127.0.0.1:0", "--segment-mib", "4", "--data", folder.to_str().unwrap()]
}

/// Runs it to its end: exit code, stdout, stderr.
pub fn run(mut command: Command) -> (Option<i32>, String, String) {
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let status = wait(&mut child);
    (status.code(), reading.join().unwrap(), complaints.join().unwrap())
}

fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if PATIENCE < started.elapsed() {
            child.kill().unwrap();
            panic!("the program did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until it holds, or fails.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A server that is killed when it is dropped.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a server in a folder.
    pub fn serve(folder: &Path) -> Self {
        Self::start(program(&serve_args(folder)))
    }

    /// Starts it and waits until it says where it serves.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let written = Arc::clone(&stderr);
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| 0 < count) {
                written.lock().push_str(&line);
                line.clear();
            }
        });
        let address = || {
            let text = stderr.lock();
            let line = text.lines().find(|line| line.contains("Firstcome serves at"))?.to_owned();
            line.rsplit("://").next()?.trim().parse().ok()
        };
        let mut found = None;
        eventually("the server says where it serves", || {
            found = address();
            let ended = child.try_wait().unwrap();
            assert!(found.is_some() || ended.is_none(), "it ended with {ended:?}: {}", stderr.lock());
            found.is_some()
        });
        Self { address: found.unwrap(), child, stderr, reader: Some(reader) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().clone()
    }

    /// Asks it to leave, and gives its exit code and all of what it wrote.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.end()
    }

    /// Ends it as a power cut would, from the program's view.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.end();
    }

    /// Waits until it ends by itself.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.code(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file under a folder with its bytes, the lock and the operator's socket aside.
pub fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(bytes_of(&path));
        } else if path.is_file() && path.file_name().unwrap() != "lock" {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

/// Whether two folders' files are the same; says which are not.
pub fn assert_same(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) {
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    for (path, bytes) in before {
        assert!(Some(bytes) == after.get(path), "{} has changed", path.display());
    }
}
