//! Nothing is left of an engine: neither when it is dropped, nor when the process that started it
//! is killed.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use services::{Postgres, Redis, RedisCluster};

/// Set for a second run of this program, which starts engines and waits to be killed.
const IS_HELPER: &str = "FIRSTCOME_SERVICES_HELPER";

/// The ids of all processes that this folder is an argument of.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let line = |id: &u32| fs::read(format!("/proc/{id}/cmdline")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    all.filter_map(|id| line(&id).ok()).filter(|line| line.contains(&*folder)).collect()
}

/// Runs the helper with temporary folders of its own, and waits until its engines are there.
fn start_helper(folder: &Path) -> Child {
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["helper", "--exact", "--ignored", "--nocapture"])
        .env(IS_HELPER, "yes")
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("engines are there")), "the helper did not start");
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
#[ignore = "started by the other tests"]
fn helper() {
    if std::env::var_os(IS_HELPER).is_none() {
        return;
    }
    let postgres = Postgres::start().unwrap();
    let redis = Redis::start().unwrap();
    let _stopped = Redis::start().unwrap().stop();
    let stopped = Postgres::start().unwrap();
    stopped.stop().unwrap();
    println!("engines are there");
    thread::sleep(Duration::from_secs(60));
    drop((postgres, redis, stopped));
}

#[test]
fn nothing_is_left_after_the_starting_process_was_killed() {
    let folder = open_folder();
    let mut helper = start_helper(folder.path());
    assert!(4 < processes_of(folder.path()).len());
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_nothing_is_left(folder.path());
}

#[test]
fn nothing_is_left_after_a_drop() {
    let ids = {
        let postgres = Postgres::start().unwrap();
        let redis = Redis::start().unwrap();
        let cluster = RedisCluster::start().unwrap();
        redis.stop().unwrap();
        let mut ids = cluster.process_ids();
        ids.extend([postgres.process_id().unwrap(), redis.process_id().unwrap()]);
        ids
    };
    assert_eq!(ids.len(), 8);
    for id in ids {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "{id} still runs");
    }
}
