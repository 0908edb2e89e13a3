//! Stand-in until the shared one is there.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Postgres {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

const UID: u32 = 101;
const GID: u32 = 104;

impl Postgres {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = PathBuf::from(format!("/tmp/pgtest-{}-{port}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(UID), Some(GID)).unwrap();
        let data = folder.join("data");
        let done = Command::new("/usr/lib/postgresql/15/bin/initdb")
            .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
            .arg(&data)
            .uid(UID)
            .gid(GID)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success());
        let mut server = Self { folder, port, child: None };
        server.restart();
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn new_database(&self, name: &str) -> String {
        let done = Command::new("psql").args([&self.url(), "-qc", &format!("CREATE DATABASE {name}")]).status().unwrap();
        assert!(done.success());
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        for _ in 0..100 {
            let mut child = Command::new("/usr/lib/postgresql/15/bin/postgres")
                .arg("-D")
                .arg(self.folder.join("data"))
                .args(["-p", &self.port.to_string(), "-k"])
                .arg(&self.folder)
                .uid(UID)
                .gid(GID)
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            for _ in 0..100 {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                let ready =
                    Command::new("psql").args([&self.url(), "-qc", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
                if ready.unwrap().success() {
                    self.child = Some(child);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no server");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
