//! Servers as processes of their own: started, watched, killed, let go on.

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
/// What a server has said last, if it does not start.
const SAID_LINES_MAX: usize = 5;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) strategy: String,
    pub(crate) program: Vec<OsString>,
    pub(crate) arguments: Vec<OsString>,
    /// Secrets belong here and not among the arguments, which everybody can see.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Written to its input, which stays open for as long as it shall live.
    pub(crate) input: Option<String>,
    /// What it says once it serves, on stdout or stderr.
    pub(crate) greeting: &'static str,
    pub(crate) port: u16,
}

/// A server that runs, or has run.
pub(crate) struct Server {
    pub(crate) launch: Launch,
    child: Child,
    _input: Option<ChildStdin>,
}

impl Launch {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Started, and serving.
    pub(crate) async fn start(&self) -> Result<Server, LabError> {
        let failed = |why: String| LabError::Start { strategy: self.strategy.clone(), why };
        let (program, first) = self.program.split_first().ok_or_else(|| failed("no program".to_owned()))?;
        let mut command = Command::new(program);
        // What another server here is told is not for this one.
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
                // What was said last may still be on its way.
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

/// Hears what a server says.
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
                // Whoever has waited may have given up.
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

    /// It has ended by itself.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// It stands still: somebody has stopped it, or it has stopped itself.
    pub(crate) async fn paused(&self) {
        while !self.id().is_some_and(is_stopped) {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`, and until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Asked to end, and made to if it does not.
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
            // It may have ended by itself.
            let _ = kill_process(id, signal);
        }
    }
}

/// See proc(5); the name before it may have brackets in it.
fn is_stopped(id: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}
