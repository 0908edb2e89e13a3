//! `up`, `status` and `down`: starts and ends the process that holds the engines.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use services::{Addresses, FILE_VARIABLE, ServiceError};

use crate::USAGE;
use crate::state::{ProcessId, State};

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How often to check whether every ended process is gone: for 20 s.
const LOOKS_MAX: u32 = 400;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{USAGE}")]
    Usage,
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot start the process that has the engines")]
    Start(#[source] io::Error),
    #[error("the engines did not start:\n{log}")]
    Ended { log: String },
    #[error("process {id} was ended and is still there")]
    StillThere { id: u32 },
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Starts the engines unless they are running, and prints their addresses.
pub(crate) fn up(brokers: usize) -> Result<(), CommandError> {
    let files = Files::open()?;
    if let Some(state) = State::read(&files.state)? {
        if state.holder.is_some_and(ProcessId::runs) {
            println!("The services are up already; to have others: cargo xtask services down\n");
            print_addresses(&state.addresses, &files.state);
            return Ok(());
        }
        // The holder was killed, or the machine was restarted: ends whatever is left.
        end(&state, &files.state)?;
    }
    let mut holder = start_holder(&files, brokers)?;
    while !files.state.exists() {
        if holder.try_wait().map_err(CommandError::Start)?.is_some() {
            return Err(CommandError::Ended { log: fs::read_to_string(&files.log).unwrap_or_default() });
        }
        thread::sleep(LOOK_AGAIN_AFTER);
    }
    if let Some(state) = State::read(&files.state)? {
        print_addresses(&state.addresses, &files.state);
    }
    Ok(())
}

/// Prints whether the engines are running, and their addresses.
pub(crate) fn status() -> Result<(), CommandError> {
    let files = Files::open()?;
    let Some(state) = State::read(&files.state)? else {
        println!("The services are not up.");
        return Ok(());
    };
    let missing = state.processes.iter().filter(|process| !process.runs()).count();
    match (state.holder.is_some_and(ProcessId::runs), missing) {
        (false, _) => println!("The services have ended by themselves; to tidy up: cargo xtask services down"),
        (true, 0) => println!("The services are up.\n"),
        (true, missing) => println!("The services are up, but {missing} of {} processes have ended.\n", state.processes.len()),
    }
    print_addresses(&state.addresses, &files.state);
    Ok(())
}

/// Ends the engines.
pub(crate) fn down() -> Result<(), CommandError> {
    let files = Files::open()?;
    let Some(state) = State::read(&files.state)? else {
        println!("The services are not up.");
        return Ok(());
    };
    end(&state, &files.state)?;
    println!("The services are down.");
    Ok(())
}

/// The files of this command, in cargo's target folder.
struct Files {
    state: PathBuf,
    log: PathBuf,
    /// Serializes concurrent commands.
    _lock: File,
}

impl Files {
    fn open() -> Result<Self, CommandError> {
        let program = std::env::current_exe().map_err(CommandError::Start)?;
        // The program is in target/release.
        let target = program.ancestors().nth(2).unwrap_or(Path::new("target"));
        let folder = target.join("services");
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| CommandError::File { path, source }
        };
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        let lock_file = folder.join("lock");
        let lock = File::create(&lock_file).map_err(file_error(&lock_file))?;
        lock.lock().map_err(file_error(&lock_file))?;
        Ok(Self { state: folder.join("state"), log: folder.join("log"), _lock: lock })
    }
}

fn start_holder(files: &Files, brokers: usize) -> Result<Child, CommandError> {
    let log = File::create(&files.log).map_err(|source| CommandError::File { path: files.log.clone(), source })?;
    Command::new(std::env::current_exe().map_err(CommandError::Start)?)
        .arg("hold")
        .arg(&files.state)
        .args(["--brokers", &brokers.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(CommandError::Start)
}

/// Ends the process that holds the engines, so that their guards end them; then ends whatever is left, in
/// case a guard was killed too.
fn end(state: &State, file: &Path) -> Result<(), CommandError> {
    if let Some(holder) = state.holder {
        signal(holder, Signal::TERM);
    }
    let is_gone = || state.running().is_empty() && !state.folders.iter().any(|folder| folder.exists());
    if !waited_for(is_gone) {
        state.running().into_iter().for_each(|process| signal(process, Signal::KILL));
        waited_for(|| state.running().is_empty());
        // Only folders made by this crate have this name.
        let made_here = |folder: &&PathBuf| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("firstcome-"));
        for folder in state.folders.iter().filter(made_here).filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).map_err(|source| CommandError::File { path: folder.clone(), source })?;
        }
    }
    if let Some(process) = state.running().first() {
        return Err(CommandError::StillThere { id: process.id });
    }
    fs::remove_file(file).map_err(|source| CommandError::File { path: file.to_owned(), source })
}

fn waited_for(is_so: impl Fn() -> bool) -> bool {
    (0..LOOKS_MAX).any(|_| {
        let is_so = is_so();
        if !is_so {
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        is_so
    })
}

/// Signals the process only if the id still belongs to it.
fn signal(process: ProcessId, signal: Signal) {
    let id = i32::try_from(process.id).ok().and_then(Pid::from_raw);
    if let Some(id) = id.filter(|_| process.runs()) {
        // It may have ended in between.
        let _ = kill_process(id, signal);
    }
}

fn print_addresses(addresses: &Addresses, file: &Path) {
    let kafka = addresses.kafka.as_deref().unwrap_or_default();
    let redis = addresses.redis.as_deref().unwrap_or_default();
    let postgres = addresses.postgres.as_deref().unwrap_or_default();
    let redis_cluster = addresses.redis_cluster.as_deref().unwrap_or_default().join(",");
    println!("kafka          {kafka}\nredis          {redis}\nredis cluster  {redis_cluster}\npostgres       {postgres}\n");
    // The server requires three brokers unless it runs in development mode.
    let dev = if kafka.contains(',') { "" } else { " --kafka-dev" };
    let serve = format!("cargo run --release --features scaled -- serve --kafka {kafka}{dev} --redis {redis} --postgres '{postgres}'");
    println!("Servers that use them, each in a terminal of its own:\n");
    println!("  {serve} --listen 127.0.0.1:7071\n  {serve} --listen 127.0.0.1:7072\n");
    println!("Tests that use them, instead of starting their own:\n");
    println!("  export {FILE_VARIABLE}={}", file.display());
}
