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
/// PostgreSQL cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// How PostgreSQL is started.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether it syncs to disk, as it does in earnest; a test that kills processes, not machines,
    /// loses nothing without.
    pub durable: bool,
    /// How many connections it takes at most.
    pub connections_max: u32,
    /// More lines of `postgresql.conf`.
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
    // Dropped before the folder that it writes to.
    process: Process,
    folder: Folder,
    user: Option<User>,
    port: u16,
}

impl Postgres {
    /// Starts one that does not sync.
    pub fn start() -> Result<Self, ServiceError> {
        Self::start_with(&PostgresOptions::default())
    }

    /// Starts one.
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

    /// `postgres://user:password@127.0.0.1:PORT/firstcome`; the user may do everything.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The port that it listens at, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its first process.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Where its data and its logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes an empty database and gives its address.
    pub fn new_database(&self, name: &str) -> Result<String, ServiceError> {
        new_database(&self.url(), name)
    }

    /// `SIGSTOP`: it is there and says nothing.
    pub fn stop(&self) -> Result<(), ServiceError> {
        self.process.stop()
    }

    /// `SIGCONT`, after `stop`.
    pub fn resume(&self) -> Result<(), ServiceError> {
        self.process.resume()
    }

    /// `kill -9` of all its processes.
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        self.process.kill()
    }

    /// Kills it if it runs, and starts it again at the same port, with its data.
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

/// Makes an empty database on the server of `url`, and gives its address.
pub fn new_database(url: &str, name: &str) -> Result<String, ServiceError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.bytes().all(is_plain) {
        return Err(ServiceError::DatabaseName { name: name.to_owned() });
    }
    // Its template is empty and has nobody connected to it, so that several may be made at once.
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
        // A socket in a folder would need a short path; everybody comes by TCP.
        "unix_socket_directories = ''".to_owned(),
        format!("port = {port}"),
        format!("max_connections = {}", options.connections_max),
        format!("fsync = {on}"),
        format!("full_page_writes = {on}"),
    ];
    let file = data.join("postgresql.auto.conf");
    let lines = settings.iter().chain(&options.settings).map(|line| format!("{line}\n"));
    // It is there already, and belongs to the user that runs the server.
    fs::write(&file, lines.collect::<String>()).map_err(ServiceError::file(&file))
}

fn launch(folder: &Folder, user: Option<User>) -> Result<Launch, ServiceError> {
    let data = data_of(folder);
    Ok(Launch::new("postgres", program("postgres")?).run_as(user).arguments(["-D".as_ref(), data.as_os_str()]))
}

fn data_of(folder: &Folder) -> PathBuf {
    folder.path().join("data")
}

/// Debian keeps the programs of each version in a folder of its own; the newest one is taken.
fn program(name: &'static str) -> Result<PathBuf, ServiceError> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let found = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, file)| file.is_file())
        .max();
    found.map_or_else(|| programs::find(name, PACKAGES), |(_, file)| Ok(file))
}

/// Whom root starts it as; nobody else needs one.
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
