//! One process of an engine: started, killed, suspended and resumed by its id.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::wait_until;
use crate::error::ServiceError;
use crate::folder::Folder;
use crate::programs;

/// How long an engine may take to be ready, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a killed process may take to disappear.
const GONE_MAX: Duration = Duration::from_secs(10);

/// Stores its own id, which stays the same when it becomes the engine.
const NOTE_ID: &str = r#"echo $$ > "$1" && shift && exec "$@""#;

/// A command to start.
pub(crate) struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    user: Option<User>,
}

/// An unprivileged user, for programs that refuse to run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Launch {
    pub(crate) fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), program: program.into(), arguments: Vec::new(), user: None }
    }

    pub(crate) fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn run_as(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Runs the command to its end and returns its output.
    pub(crate) fn output(&self, folder: &Path) -> Result<String, ServiceError> {
        let (program, arguments) = self.command();
        programs::output(Command::new(program).args(arguments).current_dir(folder))
    }

    /// Starts the command in the folder.
    pub(crate) fn start(&self, folder: &Folder) -> Result<Process, ServiceError> {
        let (program, arguments) = self.command();
        let log_file = folder.log_of(&self.name);
        let log = File::options().create(true).append(true).open(&log_file).map_err(ServiceError::file(&log_file))?;
        let log_begins_at = log.metadata().map_err(ServiceError::file(&log_file))?.len();
        let errors = log.try_clone().map_err(ServiceError::file(&log_file))?;
        let id_file = folder.id_of(&self.name);
        let child = Command::new("sh")
            .args(["-c", NOTE_ID, "sh"])
            .arg(&id_file)
            .arg(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| ServiceError::Process { what: "start", name: self.name.clone(), source })?;
        Ok(Process { name: self.name.clone(), child: Some(child), id_file, log_file, log_begins_at })
    }

    fn command(&self) -> (PathBuf, Vec<OsString>) {
        let Some(user) = self.user else {
            return (self.program.clone(), self.arguments.clone());
        };
        let mut arguments: Vec<OsString> =
            vec![format!("--reuid={}", user.user).into(), format!("--regid={}", user.group).into(), "--clear-groups".into(), "--".into()];
        arguments.push(self.program.clone().into());
        arguments.extend(self.arguments.iter().cloned());
        ("setpriv".into(), arguments)
    }
}

/// A started process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Option<Child>,
    id_file: PathBuf,
    log_file: PathBuf,
    /// Earlier bytes of the log are from an earlier run in the same folder.
    log_begins_at: u64,
}

impl Process {
    /// Waits until the process is ready; an error includes the end of its log.
    pub(crate) fn wait_until_ready(&mut self, mut is_ready: impl FnMut() -> bool) -> Result<(), ServiceError> {
        let ready = wait_until(READY_MAX, || {
            if let Some(status) = self.ended() {
                let log = programs::end_of_log(&self.log_file);
                return Err(ServiceError::Ended { name: self.name.clone(), status, log });
            }
            Ok(is_ready())
        })?;
        if ready { Ok(()) } else { Err(self.not_ready()) }
    }

    /// Waits until a text appears in its log.
    pub(crate) fn wait_until_said(&mut self, words: &str) -> Result<(), ServiceError> {
        let Ok(begins_at) = usize::try_from(self.log_begins_at) else { unreachable!("a log is shorter than memory is large") };
        let file = self.log_file.clone();
        let said = || fs::read(&file).map(|log| String::from_utf8_lossy(log.get(begins_at..).unwrap_or_default()).contains(words));
        self.wait_until_ready(|| said().unwrap_or(false))
    }

    /// Sends `SIGTERM`, and returns when the process has ended.
    pub(crate) fn end(&mut self) -> Result<(), ServiceError> {
        let Some(child) = &self.child else { return Ok(()) };
        signal_all(&[child.id()], Signal::TERM).map_err(|source| self.failed("end", source))?;
        let is_gone = wait_until(READY_MAX, || Ok::<_, ServiceError>(self.ended().is_some()))?;
        self.kill()?;
        if is_gone { Ok(()) } else { Err(self.failed("end", io::ErrorKind::TimedOut.into())) }
    }

    /// Kills the process and its children with `kill -9`; returns when they are gone. Does
    /// nothing if it is gone already.
    pub(crate) fn kill(&mut self) -> Result<(), ServiceError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // The id of a process that has ended and was waited for may belong to another one by now.
        let runs = matches!(child.try_wait(), Ok(None));
        let family = if runs { family(child.id()) } else { Vec::new() };
        let killed = signal_all(&family, Signal::KILL);
        let _ = child.wait();
        let _ = fs::remove_file(&self.id_file);
        killed.map_err(|source| self.failed("kill", source))?;
        let is_gone = wait_until(GONE_MAX, || Ok::<_, ServiceError>(family.iter().all(|id| is_gone(*id))))?;
        if is_gone { Ok(()) } else { Err(self.failed("kill", io::ErrorKind::TimedOut.into())) }
    }

    /// Suspends the process and its children with `SIGSTOP`.
    pub(crate) fn stop(&self) -> Result<(), ServiceError> {
        let Some(child) = &self.child else { return Ok(()) };
        // The parent first, so that it starts no further children.
        signal_all(&[child.id()], Signal::STOP).map_err(|source| self.failed("stop", source))?;
        signal_all(&family(child.id()), Signal::STOP).map_err(|source| self.failed("stop", source))
    }

    /// Resumes the process and its children with `SIGCONT`.
    pub(crate) fn resume(&self) -> Result<(), ServiceError> {
        let Some(child) = &self.child else { return Ok(()) };
        signal_all(&family(child.id()), Signal::CONT).map_err(|source| self.failed("resume", source))
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn not_ready(&self) -> ServiceError {
        let log = programs::end_of_log(&self.log_file);
        ServiceError::NotReady { name: self.name.clone(), seconds: READY_MAX.as_secs(), log }
    }

    fn ended(&mut self) -> Option<String> {
        match self.child.as_mut()?.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> ServiceError {
        ServiceError::Process { what, name: self.name.clone(), source }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A process and all its descendants that still exist.
fn family(id: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![id] };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = ids.filter_map(|child| Some((child, state_and_parent(child)?.1))).collect();
    let mut family = vec![id];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    family
}

/// Whether the process has ended, though its parent may not have waited for it yet.
fn is_gone(id: u32) -> bool {
    state_and_parent(id).is_none_or(|(state, _)| state == 'Z' || state == 'X')
}

fn state_and_parent(id: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in parentheses, and may contain parentheses and spaces.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn signal_all(ids: &[u32], signal: Signal) -> io::Result<()> {
    for id in ids {
        let Some(pid) = i32::try_from(*id).ok().and_then(Pid::from_raw) else { continue };
        match kill_process(pid, signal) {
            // It ended in between.
            Ok(()) | Err(rustix::io::Errno::SRCH) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
