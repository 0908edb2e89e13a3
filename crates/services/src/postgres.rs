//! PostgreSQL: one server with password authentication and a database `firstcome`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ServiceError;
use crate::folder::Folder;
use crate::ports;
use crate::process::{Launch, Process, User};
use crate::programs;

const PACKAGES: &str = "postgresql";
const USER: &str = "firstcome";
const PASSWORD: &str = "firstcome-password";
const DATABASE: &str = "firstcome";
/// PostgreSQL truncates longer names.
const NAME_BYTES_MAX: usize = 63;

/// The options of a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether it syncs to disk, as in production; tests that kill only processes, not machines,
    /// lose nothing without.
    pub durable: bool,
    /// The largest number of connections.
    pub connections_max: u32,
    /// Additional lines of `postgresql.conf`.
    pub settings: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { durable: false, connections_max: 100, settings: Vec::new() }
    }
}

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before the folder that the server writes to.
    process: Process,
    folder: Folder,
    user: Option<User>,
    port: u16,
}

impl Postgres {
    /// Starts a server that does not sync.
    pub fn start() -> Result<Self, ServiceError> {
        Self::start_with(&PostgresOptions::default())
    }

    /// Starts a server.
    pub fn start_with(options: &PostgresOptions) -> Result<Self, ServiceError> {
        let user = user_without_rights()?;
        let folder = Folder::new("postgres")?;
        let port = ports::free()?;
        make_data(&folder, user, port, options)?;
        let process = launch(&folder, user)?.start(&folder)?;
        let mut postgres = Self { process, folder, user, port };
        postgres.wait_until_ready()?;
        psql(&postgres.url_of("postgres"), &format!("create database {DATABASE}"))?;
        Ok(postgres)
    }

    /// `postgres://user:password@127.0.0.1:PORT/firstcome`; the user is a superuser.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the main process.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The folder with its data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Creates an empty database and returns its URL.
    pub fn new_database(&self, name: &str) -> Result<String, ServiceError> {
        new_database(&self.url(), name)
    }

    /// Suspends the server with `SIGSTOP`.
    pub fn stop(&self) -> Result<(), ServiceError> {
        self.process.stop()
    }

    /// Resumes the server with `SIGCONT`.
    pub fn resume(&self) -> Result<(), ServiceError> {
        self.process.resume()
    }

    /// Kills all its processes with `kill -9`.
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        self.process.kill()
    }

    /// Kills the server if it runs, and restarts it on the same port, with its data.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.process.kill()?;
        self.process = launch(&self.folder, self.user)?.start(&self.folder)?;
        self.wait_until_ready()
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&mut self) -> Result<(), ServiceError> {
        let url = self.url_of("postgres");
        self.process.wait_until_ready(|| psql(&url, "select 1").is_ok())
    }
}

/// Creates an empty database on the server of `url`, and returns its URL.
pub fn new_database(url: &str, name: &str) -> Result<String, ServiceError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.bytes().all(is_plain) {
        return Err(ServiceError::DatabaseName { name: name.to_owned() });
    }
    // No session is ever connected to `template0`, so several databases can be created at once.
    psql(url, &format!("create database \"{name}\" template template0"))?;
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    Ok(format!("{server}/{name}"))
}

fn psql(url: &str, statement: &str) -> Result<String, ServiceError> {
    let mut command = Command::new(program("psql")?);
    programs::output(command.args([url, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-c", statement]))
}

fn make_data(folder: &Folder, user: Option<User>, port: u16, options: &PostgresOptions) -> Result<(), ServiceError> {
    let data = data_of(folder);
    let password = folder.path().join("password");
    fs::create_dir(&data).map_err(ServiceError::file(&data))?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(ServiceError::file(&data))?;
    fs::write(&password, PASSWORD).map_err(ServiceError::file(&password))?;
    if let Some(user) = user {
        chown(&data, Some(user.user), Some(user.group)).map_err(ServiceError::file(&data))?;
    }
    Launch::new("initdb", program("initdb")?)
        .run_as(user)
        .arguments(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"])
        .arguments(["--pgdata".as_ref(), data.as_os_str(), "--pwfile".as_ref(), password.as_os_str()])
        .output(folder.path())?;
    write_settings(&data, port, options)
}

fn write_settings(data: &Path, port: u16, options: &PostgresOptions) -> Result<(), ServiceError> {
    let on = if options.durable { "on" } else { "off" };
    let settings = [
        "listen_addresses = '127.0.0.1'".to_owned(),
        // A Unix socket would need a short path; all clients use TCP.
        "unix_socket_directories = ''".to_owned(),
        format!("port = {port}"),
        format!("max_connections = {}", options.connections_max),
        format!("fsync = {on}"),
        format!("full_page_writes = {on}"),
    ];
    let file = data.join("postgresql.auto.conf");
    let lines = settings.iter().chain(&options.settings).map(|line| format!("{line}\n"));
    // The file exists already, and belongs to the user that runs the server.
    fs::write(&file, lines.collect::<String>()).map_err(ServiceError::file(&file))
}

fn launch(folder: &Folder, user: Option<User>) -> Result<Launch, ServiceError> {
    let data = data_of(folder);
    Ok(Launch::new("postgres", program("postgres")?).run_as(user).arguments(["-D".as_ref(), data.as_os_str()]))
}

fn data_of(folder: &Folder) -> PathBuf {
    folder.path().join("data")
}

/// Debian installs each version's programs in a folder of its own; the newest one is used.
fn program(name: &'static str) -> Result<PathBuf, ServiceError> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let found = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, file)| file.is_file())
        .max();
    found.map_or_else(|| programs::find(name, PACKAGES), |(_, file)| Ok(file))
}

/// The user that root starts the server as; `None` if this process is not root.
fn user_without_rights() -> Result<Option<User>, ServiceError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    programs::find("setpriv", "util-linux")?;
    let number = |flag: &str, name: &str| {
        let id = programs::output(Command::new("id").args([flag, name])).ok()?;
        id.trim().parse().ok()
    };
    let user = |name| Some(User { user: number("-u", name)?, group: number("-g", name)? });
    ["postgres", "nobody"].into_iter().find_map(user).map(Some).ok_or(ServiceError::NoUser)
}
