//! Tests the running program against its own OpenAPI document, with every check of schemathesis.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::parts::{Outcome, built, run};

const REQUIREMENTS: &str = "tests/schemathesis/requirements.txt";
const VENV: &str = "target/schemathesis";

pub(crate) fn check() -> Outcome {
    install()?;
    let data = std::env::temp_dir().join(format!("firstcome-schemathesis-{}", std::process::id()));
    let key = make_key(&data)?;
    let mut server = Server::start(&data)?;
    let outcome = run(Command::new(format!("{VENV}/bin/schemathesis"))
        .env("FIRSTCOME_KEY", key)
        .args(["--config-file", "tests/schemathesis/schemathesis.toml", "run", &format!("{}/openapi.json", server.url)])
        .args(["--seed", "1"]));
    let ended = server.stop();
    let _ = std::fs::remove_dir_all(&data);
    outcome.and(ended)
}

/// Creates a virtual environment with exactly these versions; recreated when they change.
fn install() -> Outcome {
    let wanted = std::fs::read_to_string(REQUIREMENTS).map_err(|error| format!("cannot read {REQUIREMENTS}: {error}"))?;
    let stamp = Path::new(VENV).join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear", VENV]))?;
    run(Command::new(format!("{VENV}/bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
        REQUIREMENTS,
    ]))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

fn make_key(data: &Path) -> Result<String, String> {
    let made = Command::new(built("firstcome"))
        .args(["key", "create", "tester", "--scopes", "admin", "--data"])
        .arg(data)
        .output()
        .map_err(|error| format!("cannot make a key: {error}"))?;
    if !made.status.success() {
        return Err(format!("cannot make a key: {}", String::from_utf8_lossy(&made.stderr)));
    }
    Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &Path) -> Result<Self, String> {
        let mut child = Command::new(built("firstcome"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(data)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the server: {error}"))?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("the server has no stderr")?).lines();
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once("serves at")?.1.trim().to_owned()));
        // Later output is shown, and keeps the pipe from filling up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
        Ok(Self { child, url: url.ok_or("the server did not start")? })
    }

    /// The server must still run, and end without an error.
    fn stop(&mut self) -> Outcome {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("the server ended by itself with {status}"));
        }
        run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the server left with {status}")) }
    }
}
