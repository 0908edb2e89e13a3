//! Kafka's published jars: downloaded by Maven, checked against their checksums before every use, and cached;
//! and the files derived from them that make a broker start fast.

use data_encoding::HEXLOWER;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::error::ServiceError;
use crate::programs;

/// The version in `pom.xml`.
const VERSION: &str = "4.1.1";
const POM: &str = include_str!("../../kafka/pom.xml");
/// One checksum and file name per line.
const CHECKSUMS: &str = include_str!("../../kafka/jars.sha256");

/// Java and the checked jars.
#[derive(Clone, Debug)]
pub(crate) struct Jars {
    /// The program `java`.
    pub(crate) java: PathBuf,
    /// The class path of the jars.
    pub(crate) class_path: String,
    /// The records that Kafka's own storage tool writes into a new broker's folder. They are the same for
    /// every cluster, so the tool needs to run only once.
    pub(crate) first_records: PathBuf,
    /// The class-data archive of a broker, which halves the time of a start.
    pub(crate) archive: PathBuf,
}

/// Downloads what is missing, once in a process; concurrent callers wait.
pub(crate) fn get() -> Result<&'static Jars, ServiceError> {
    static JARS: OnceLock<Jars> = OnceLock::new();
    if let Some(jars) = JARS.get() {
        return Ok(jars);
    }
    let java = programs::find("java", "default-jre-headless")?;
    let cache = cache();
    fs::create_dir_all(&cache).map_err(ServiceError::file(&cache))?;
    let lock_file = cache.join("lock");
    let lock = File::create(&lock_file).map_err(ServiceError::file(&lock_file))?;
    lock.lock().map_err(ServiceError::file(&lock_file))?;
    let folder = cache.join("jars");
    if !is_right(&folder) {
        fetch(&cache, &folder)?;
    }
    let files: Vec<String> = listed().map(|(_, name)| folder.join(name).to_string_lossy().into_owned()).collect();
    let jars = Jars {
        class_path: files.join(":"),
        first_records: cache.join("bootstrap.checkpoint"),
        archive: cache.join(format!("classes-{}.jsa", name_of_java(&java)?)),
        java,
    };
    super::prepare::prepare(&jars, &cache)?;
    Ok(JARS.get_or_init(|| jars))
}

/// The cache is in the user's cache folder, shared by all build folders of Firstcome.
fn cache() -> PathBuf {
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    // Service accounts may have a home folder that does not exist.
    let is_usable = |folder: &PathBuf| folder.is_absolute() && fs::create_dir_all(folder.join("firstcome")).is_ok();
    let user = rustix::process::geteuid().as_raw();
    let folder = caches.or_else(home).filter(is_usable).map(|folder| folder.join("firstcome"));
    folder.unwrap_or_else(|| PathBuf::from(format!("/var/tmp/firstcome-cache-{user}"))).join(format!("kafka-{VERSION}"))
}

fn listed() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKSUMS.lines().filter_map(|line| line.split_once("  "))
}

/// Whether every jar exists and has its checksum.
fn is_right(folder: &Path) -> bool {
    listed().all(|(checksum, name)| checksum_of(&folder.join(name)).is_ok_and(|found| found == checksum))
}

fn fetch(cache: &Path, folder: &Path) -> Result<(), ServiceError> {
    let maven = programs::find("mvn", "maven")?;
    eprintln!("fetching Kafka {VERSION} (about 44 MB, once)");
    let pom = cache.join("pom.xml");
    fs::write(&pom, POM).map_err(ServiceError::file(&pom))?;
    let _ = fs::remove_dir_all(folder);
    // Maven's default repository is in the user's home, which a service or CI account may not have.
    let repository = cache.join("maven");
    let setting = |name: &str, value: &Path| format!("-D{name}={}", value.display());
    let mut fetch = Command::new(maven);
    fetch.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    fetch.args([setting("outputDirectory", folder), setting("maven.repo.local", &repository)]);
    programs::output(fetch.arg("--file").arg(&pom))?;
    fs::remove_dir_all(&repository).map_err(ServiceError::file(&repository))?;
    for (checksum, name) in listed() {
        let file = folder.join(name);
        let found = checksum_of(&file)?;
        if found != checksum {
            return Err(ServiceError::Checksum { file, found, expected: checksum });
        }
    }
    Ok(())
}

fn checksum_of(file: &Path) -> Result<String, ServiceError> {
    let bytes = fs::read(file).map_err(ServiceError::file(file))?;
    Ok(HEXLOWER.encode(&Sha256::digest(&bytes)))
}

/// A class-data archive fits only the Java version that made it.
fn name_of_java(java: &Path) -> Result<String, ServiceError> {
    let file = java.canonicalize().map_err(ServiceError::file(java))?;
    let made_at = file.metadata().and_then(|metadata| metadata.modified()).map_err(ServiceError::file(&file))?;
    let digest = Sha256::digest(format!("{} {made_at:?}", file.display()));
    Ok(HEXLOWER.encode(&digest).chars().take(16).collect())
}
