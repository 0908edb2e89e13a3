//! Nothing is left of an engine: neither when it is dropped, nor when the process that started it
//! is killed.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use services::{Kafka, KafkaOptions, Postgres, Redis, RedisCluster, shared};

/// Set for a second run of this program, which starts engines and waits to be killed.
const IS_HELPER: &str = "FIRSTCOME_SERVICES_HELPER";

/// The ids of all processes that this folder is an argument of.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let line = |id: &u32| fs::read(format!("/proc/{id}/cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    all.filter_map(|id| line(&id).ok()).filter(|line| line.contains(&*folder)).collect()
}

/// Runs a helper with temporary folders of its own, and waits until its engines are there.
fn start_helper(name: &str, folder: &Path) -> Child {
    // A test is called by its path within its program.
    let (_program, module) = module_path!().split_once("::").unwrap();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::{name}"), "--exact", "--ignored", "--nocapture"])
        .env(IS_HELPER, "yes")
        .env("TMPDIR", folder)
        .env_remove(services::FILE_VARIABLE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("engines are there")), "the helper did not start");
    thread::spawn(move || lines.for_each(drop));
    helper
}

fn assert_nothing_is_left(folder: &Path) {
    let is_empty = || fs::read_dir(folder).unwrap().next().is_none() && processes_of(folder).is_empty();
    let gone = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        is_empty()
    });
    assert!(gone, "{:?} {:?}", fs::read_dir(folder).unwrap().collect::<Vec<_>>(), processes_of(folder));
}

/// A folder that servers of another user can pass through.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

#[test]
#[ignore = "started by another test"]
fn engines_of_its_own() {
    if std::env::var_os(IS_HELPER).is_none() {
        return;
    }
    let engines = (Kafka::start(KafkaOptions::default()).unwrap(), Redis::start().unwrap(), Postgres::start().unwrap());
    // A stopped process does not end by itself, whatever happens around it.
    let stopped = (Redis::start().unwrap(), Postgres::start().unwrap());
    stopped.0.stop().unwrap();
    let session = Command::new("psql").args([&stopped.1.url(), "-X", "-c", "select pg_sleep(600)"]).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    stopped.1.stop().unwrap();
    println!("engines are there");
    thread::sleep(Duration::from_secs(60));
    drop((engines, stopped, session));
}

#[test]
fn nothing_is_left_after_the_starting_process_was_killed() {
    let folder = open_folder();
    let mut helper = start_helper("engines_of_its_own", folder.path());
    assert!(5 < processes_of(folder.path()).len());
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_nothing_is_left(folder.path());
}

#[test]
#[ignore = "started by another test"]
fn shared_engines() {
    if std::env::var_os(IS_HELPER).is_none() {
        return;
    }
    // The thread that starts an engine may end before it.
    let kafka = thread::spawn(|| shared().kafka().unwrap()).join().unwrap();
    assert_eq!(shared().kafka().unwrap(), kafka);
    assert!(shared().redis().unwrap().starts_with("redis://"));
    let databases = [shared().new_database("claims").unwrap(), shared().new_database("claims").unwrap()];
    assert_ne!(databases[0], databases[1]);
    assert!(processes_of(&std::env::temp_dir()).iter().all(|line| !line.contains("redis-cluster")), "nobody has asked for a cluster");
    assert_eq!(shared().redis_cluster().unwrap().len(), 6);
    println!("engines are there");
}

#[test]
fn nothing_is_left_of_shared_engines_after_the_process_has_ended() {
    let folder = open_folder();
    start_helper("shared_engines", folder.path()).wait().unwrap();
    assert_nothing_is_left(folder.path());
}

#[test]
fn nothing_is_left_after_a_drop() {
    let ids = {
        let postgres = Postgres::start().unwrap();
        let redis = Redis::start().unwrap();
        let cluster = RedisCluster::start().unwrap();
        let kafka = Kafka::start(KafkaOptions::default()).unwrap();
        redis.stop().unwrap();
        let mut ids = cluster.process_ids();
        ids.extend(kafka.process_ids());
        ids.extend([postgres.process_id().unwrap(), redis.process_id().unwrap()]);
        ids
    };
    assert_eq!(ids.len(), 9);
    for id in ids {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "{id} still runs");
    }
}
