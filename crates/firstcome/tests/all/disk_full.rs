//! A disk that is full, and one that fails: no yes is false, and every yes that was said is there
//! after a restart. The real program on a small file system of its own, and under `strace`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::process;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use http::{Client, Response};
use process::{Process, eventually, program_under, serve_args};

const SPRING: &str = "/v1/campaigns/spring";

/// A small file system in memory, taken away when dropped.
struct SmallDisk {
    at: TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        let at = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { at }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn data(&self) -> PathBuf {
        self.at.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.at.path().join("filler")
    }

    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 4_096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that it goes also while a process that is about to end still uses it.
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// Claims under long names until it is refused; adds each yes to `yes`.
fn claim_until_refused(client: &mut Client, yes: &mut BTreeMap<String, Vec<u8>>) -> Response {
    for _ in 0..100_000 {
        let subject = format!("{}-{}", "x".repeat(110), yes.len());
        let answer = client.claim("spring", &subject);
        match answer.status {
            201 => assert!(yes.insert(subject, answer.body).is_none()),
            _ if answer.code() == "busy" => {}
            _ => return answer,
        }
    }
    panic!("the disk does not fill");
}

fn every_yes_is_there(address: SocketAddr, yes: &BTreeMap<String, Vec<u8>>) {
    let mut client = Client::new(address);
    let claimed = client.get(SPRING).json()["claimed"].as_u64().unwrap();
    assert_eq!(claimed, yes.len() as u64);
    for (subject, body) in yes {
        let again = client.claim("spring", subject);
        assert_eq!((again.status, &again.body), (200, body));
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_keeps_every_yes() {
    let disk = match SmallDisk::mount("24m") {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no file system of its own: {why}"),
    };
    let server = Process::serve(&disk.data());
    let mut client = Client::new(server.address);
    assert_eq!(client.put(SPRING, r#"{"stock":1000000}"#).status, 201);
    let mut yes = BTreeMap::new();
    client.claim("spring", "ann");
    yes.insert("ann".to_owned(), client.claim("spring", "ann").body);
    eventually("a spare segment is there", || disk.data().join("journal/0000000002.segment").exists());
    disk.fill();
    let refused = claim_until_refused(&mut client, &mut yes);
    assert_eq!((refused.status, refused.code().as_str()), (507, "storage_full"));
    assert!(1_000 < yes.len(), "{}", yes.len());
    assert_eq!(client.claim("spring", "ann").status, 200);
    assert_eq!(client.get("/readyz").json()["read_only"], true);
    let list = client.get(&format!("{SPRING}/claims?limit=1"));
    assert!(list.status == 200 || list.code() == "history_behind", "{list:?}");
    every_yes_is_there(server.address, &yes);
    let asked: Vec<Response> = (0..20).map(|user| client.claim("spring", &format!("late-{user}"))).collect();
    assert!(asked.iter().all(|answer| answer.code() == "storage_full"));

    server.kill();
    let server = Process::serve(&disk.data());
    every_yes_is_there(server.address, &yes);
    let mut client = Client::new(server.address);
    assert_eq!(claim_until_refused(&mut client, &mut yes).code(), "storage_full");

    fs::remove_file(disk.filler()).unwrap();
    eventually("it goes on by itself", || {
        let answer = client.claim("spring", "after");
        answer.status == 201 && yes.insert("after".to_owned(), answer.body).is_none()
    });
    eventually("lists are answered again", || client.get(&format!("{SPRING}/claims?limit=1")).status == 200);
    every_yes_is_there(server.address, &yes);
    assert_eq!(client.get("/readyz").json()["read_only"], false);
    assert_eq!(server.terminate().0, Some(0));
    let server = Process::serve(&disk.data());
    every_yes_is_there(server.address, &yes);
}

// --- A disk that fails ----------------------------------------------------------------------

fn strace_works() -> bool {
    Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success())
}

/// Claims until the server breaks; every yes until then must be there after a restart, and at
/// most what was in flight more than that.
fn fails_safely(injected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let runner = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,pwrite64", "-e", injected];
    // So that it does not outlive a test that fails.
    let args = [&serve_args(folder.path())[..], &["--end-with-parent"]].concat();
    let mut server = Process::start(program_under(&runner, &args));
    let mut yes = BTreeMap::new();
    let mut client = Client::new(server.address);
    let mut unclear = 0;
    for user in 0..1_000 {
        let subject = format!("user-{user}");
        let (target, body) = match user {
            0 => (SPRING.to_owned(), r#"{"stock":1000}"#.to_owned()),
            _ => (format!("{SPRING}/claims"), format!(r#"{{"subject":"{subject}"}}"#)),
        };
        match client.try_send(if user == 0 { "PUT" } else { "POST" }, &target, &[], &body) {
            Ok(answer) if answer.status == 201 && user == 0 => {}
            Ok(answer) if answer.status == 201 => assert!(yes.insert(subject, answer.body).is_none()),
            Ok(answer) => {
                answer.check();
                assert!(["outcome_unknown", "stopping"].contains(&answer.code().as_str()), "{answer:?}");
                unclear += 1;
                break;
            }
            Err(_) => {
                unclear += 1;
                break;
            }
        }
    }
    assert_eq!(unclear, 1, "{injected} has not struck");
    let (code, stderr) = server.end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the journal cannot be written"), "{stderr}");
    assert!(5 < yes.len(), "{injected} struck before anything was claimed: {stderr}");

    let server = Process::serve(folder.path());
    let claimed = Client::new(server.address).get(SPRING).json()["claimed"].as_u64().unwrap();
    let said = yes.len() as u64;
    assert!(said <= claimed && claimed <= said + 1, "{said} were said, {claimed} are there");
    for (subject, body) in &yes {
        let again = Client::new(server.address).claim("spring", subject);
        assert_eq!((again.status, &again.body), (200, body));
    }
}

#[test]
fn a_sync_that_fails_says_no_yes_and_ends_the_server() {
    if !strace_works() {
        return println!("skipped: strace is not there or may not trace");
    }
    for when in [12, 17] {
        fails_safely(&format!("inject=fdatasync:error=EIO:when={when}+"));
    }
}

#[test]
fn a_write_that_fails_says_no_yes_and_ends_the_server() {
    if !strace_works() {
        return println!("skipped: strace is not there or may not trace");
    }
    fails_safely("inject=pwrite64:error=ENOSPC:when=60+");
}

/// A guard that `SmallDisk` gives its place back, also after a panic.
#[test]
fn the_small_disk_is_gone_after_a_panic() {
    let Ok(disk) = SmallDisk::mount("1m") else { return println!("skipped: no file system of its own") };
    let at = disk.at.path().to_owned();
    let panicked = std::thread::spawn(move || {
        let _disk = disk;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!is_mounted(&at));
}

fn is_mounted(at: &Path) -> bool {
    fs::read_to_string("/proc/mounts").unwrap().contains(at.to_str().unwrap())
}
