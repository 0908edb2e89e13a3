//! Servers as separate processes: started, watched, killed, resumed.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use super::error::LabError;

const START_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(20);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The number of output lines kept to explain a failed start.
const SAID_LINES_MAX: usize = 5;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) strategy: String,
    pub(crate) program: Vec<OsString>,
    pub(crate) arguments: Vec<OsString>,
    /// Secrets belong here and not in the arguments, which other processes can see.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Written to its stdin, which stays open for as long as the server should run.
    pub(crate) input: Option<String>,
    /// The line that it prints once it is ready, on stdout or stderr.
    pub(crate) greeting: &'static str,
    pub(crate) port: u16,
}

/// A server process, running or ended.
pub(crate) struct Server {
    pub(crate) launch: Launch,
    child: Child,
    _input: Option<ChildStdin>,
}

impl Launch {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Server, LabError> {
        let failed = |why: String| LabError::Start { strategy: self.strategy.clone(), why };
        let (program, first) = self.program.split_first().ok_or_else(|| failed("no program".to_owned()))?;
        let mut command = Command::new(program);
        // Settings for another server in the environment must not apply to this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FIRSTCOME_")) {
            command.env_remove(name);
        }
        command.args(first).args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let input = give_input(&mut child, self.input.as_deref()).await.map_err(|error| failed(error.to_string()))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut greeted) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let hear = Hear { greeting: self.greeting, said: Arc::clone(&said), sender };
        child.stdout.take().map(|out| tokio::spawn(hear.clone().all(out)));
        child.stderr.take().map(|err| tokio::spawn(hear.all(err)));
        let greeting = tokio::select! {
            greeted = &mut greeted => greeted.is_ok(),
            _ = child.wait() => false,
            () = tokio::time::sleep(START_MAX) => false,
        };
        match greeting {
            true => Ok(Server { launch: self.clone(), child, _input: input }),
            false => {
                // The last lines of output may still be in the pipe.
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                Err(failed(said.lock().join(" | ")))
            }
        }
    }
}

async fn give_input(child: &mut Child, input: Option<&str>) -> std::io::Result<Option<ChildStdin>> {
    let Some(mut pipe) = child.stdin.take() else { return Ok(None) };
    if let Some(text) = input {
        pipe.write_all(format!("{text}\n").as_bytes()).await?;
        pipe.flush().await?;
    }
    Ok(Some(pipe))
}

/// Collects a server's output.
#[derive(Clone)]
struct Hear {
    greeting: &'static str,
    said: Arc<Mutex<Vec<String>>>,
    sender: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

impl Hear {
    async fn all(self, from: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(self.greeting)
                && let Some(sender) = self.sender.lock().take()
            {
                // The waiting task may have given up.
                let _ = sender.send(());
            }
            let mut said = self.said.lock();
            if said.len() == SAID_LINES_MAX {
                said.remove(0);
            }
            said.push(line);
        }
    }
}

impl Server {
    pub(crate) fn url(&self) -> String {
        self.launch.url()
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// Waits until the process is suspended.
    pub(crate) async fn paused(&self) {
        while !self.id().is_some_and(is_stopped) {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process (`kill -9`) and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill().await;
    }

    /// Asks the process to end, and kills it if it does not.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        if tokio::time::timeout(END_MAX, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended already.
            let _ = kill_process(id, signal);
        }
    }
}

/// See proc(5); the program's name may contain parentheses.
fn is_stopped(id: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}
