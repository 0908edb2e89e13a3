//! Redis: one server, and the part of its protocol that is needed to check that it responds.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::error::ServiceError;
use crate::folder::Folder;
use crate::ports;
use crate::process::{Launch, Process};
use crate::programs;

pub(crate) const PACKAGES: &str = "redis-server redis-tools";
/// A user with all permissions except scripts, on every server.
const USER_WITHOUT_SCRIPTS: &str = "noscripts";
const PASSWORD_WITHOUT_SCRIPTS: &str = "noscripts-password";
/// A server that does not respond for this long is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The options of a Redis server.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The password of the default user.
    pub password: Option<String>,
    /// Whether every write goes to a file, so that a restarted server has its data; otherwise it has lost it.
    pub persistent: bool,
    /// Additional lines of `redis.conf`.
    pub settings: Vec<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { password: None, persistent: true, settings: Vec::new() }
    }
}

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    // Dropped before the folder that the server writes to.
    node: RedisNode,
    folder: Folder,
}

impl Redis {
    /// Starts a server that keeps its data.
    pub fn start() -> Result<Self, ServiceError> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts a server.
    pub fn start_with(options: RedisOptions) -> Result<Self, ServiceError> {
        let folder = Folder::new("redis")?;
        let mut node = RedisNode::start(&folder, "redis", options)?;
        node.wait_until_ready()?;
        Ok(Self { node, folder })
    }

    /// `redis://127.0.0.1:PORT`, with the password if there is one.
    pub fn url(&self) -> String {
        match &self.node.options.password {
            Some(password) => format!("redis://default:{password}@127.0.0.1:{}", self.port()),
            None => format!("redis://127.0.0.1:{}", self.port()),
        }
    }

    /// The same server, for a user that may not run scripts or functions.
    pub fn url_without_scripts(&self) -> String {
        format!("redis://{USER_WITHOUT_SCRIPTS}:{PASSWORD_WITHOUT_SCRIPTS}@127.0.0.1:{}", self.port())
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// The id of its process.
    pub fn process_id(&self) -> Option<u32> {
        self.node.process.id()
    }

    /// The folder with its data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Suspends the server with `SIGSTOP`.
    pub fn stop(&self) -> Result<(), ServiceError> {
        self.node.process.stop()
    }

    /// Resumes the server with `SIGCONT`.
    pub fn resume(&self) -> Result<(), ServiceError> {
        self.node.process.resume()
    }

    /// Kills the server with `kill -9`.
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        self.node.process.kill()
    }

    /// Kills the server if it runs, and restarts it on the same port.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.node.restart(&self.folder)
    }
}

/// One Redis process, alone or in a cluster.
#[derive(Debug)]
pub(crate) struct RedisNode {
    pub(crate) process: Process,
    pub(crate) port: u16,
    name: String,
    options: RedisOptions,
}

impl RedisNode {
    /// Starts a process; the caller then calls `wait_until_ready`, so that several can start in parallel.
    pub(crate) fn start(folder: &Folder, name: &str, options: RedisOptions) -> Result<Self, ServiceError> {
        let port = ports::free()?;
        let data = folder.path().join(format!("{name}-data"));
        fs::create_dir(&data).map_err(ServiceError::file(&data))?;
        let file = folder.path().join(format!("{name}.conf"));
        let settings = settings(port, &data.to_string_lossy(), &options);
        fs::write(&file, settings).map_err(ServiceError::file(&file))?;
        let process = launch(folder, name)?.start(folder)?;
        Ok(Self { process, port, name: name.to_owned(), options })
    }

    pub(crate) fn restart(&mut self, folder: &Folder) -> Result<(), ServiceError> {
        self.process.kill()?;
        self.process = launch(folder, &self.name)?.start(folder)?;
        self.wait_until_ready()
    }

    pub(crate) fn wait_until_ready(&mut self) -> Result<(), ServiceError> {
        let Self { process, port, options, .. } = self;
        let ask = || ask(*port, options.password.as_deref(), "PING");
        process.wait_until_ready(|| ask().is_ok_and(|answer| answer == "+PONG"))
    }
}

fn launch(folder: &Folder, name: &str) -> Result<Launch, ServiceError> {
    let program = programs::find("redis-server", PACKAGES)?;
    Ok(Launch::new(name, program).arguments([folder.path().join(format!("{name}.conf"))]))
}

fn settings(port: u16, data: &str, options: &RedisOptions) -> String {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        format!("dir {data}"),
        "save \"\"".to_owned(),
        format!("appendonly {}", if options.persistent { "yes" } else { "no" }),
        format!("user {USER_WITHOUT_SCRIPTS} on >{PASSWORD_WITHOUT_SCRIPTS} ~* &* +@all -@scripting"),
    ];
    lines.extend(options.password.as_ref().map(|password| format!("requirepass {password}")));
    lines.extend(options.settings.iter().cloned());
    lines.join("\n") + "\n"
}

/// Sends one line and returns the response: its first line, or the bulk string that follows a length.
pub(crate) fn ask(port: u16, password: Option<&str>, line: &str) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut reader = BufReader::new(&stream);
    if let Some(password) = password {
        (&stream).write_all(format!("AUTH {password}\r\n").as_bytes())?;
        answer(&mut reader)?;
    }
    (&stream).write_all(format!("{line}\r\n").as_bytes())?;
    answer(&mut reader)
}

fn answer(reader: &mut impl BufRead) -> io::Result<String> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let first = first.trim_end();
    let Some(length) = first.strip_prefix('$').and_then(|length| length.parse().ok()) else {
        return Ok(first.to_owned());
    };
    let mut text = String::new();
    reader.take(length).read_to_string(&mut text)?;
    Ok(text)
}
