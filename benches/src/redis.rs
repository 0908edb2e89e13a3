//! The usual Lua script on a dedicated Redis: stock check, `SISMEMBER`, `DECR`, `SADD`, driven by
//! `redis-benchmark` without HTTP. Once with every write synced, once without persistence.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::report::median;

const SCRIPT: &str = "local stock = tonumber(redis.call('GET', KEYS[1])) \
if stock <= 0 then return -1 end \
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return -2 end \
redis.call('DECR', KEYS[1]) redis.call('SADD', KEYS[2], ARGV[1]) return 1";

const STOCK: &str = "{c}:stock";
const SUBJECTS: &str = "{c}:subjects";

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(folder: &Path, append_only: bool) -> Outcome<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let on_off = if append_only { "yes" } else { "no" };
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", on_off])
            .args(["--appendfsync", "always", "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()?;
        let redis = Self { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(redis);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("redis-server does not answer".into())
    }

    /// Script calls per second.
    fn measure(&self, calls: u64, connections: usize) -> Outcome<f64> {
        cli(self.port, &["FLUSHALL"])?;
        cli(self.port, &["SET", STOCK, "1000000000"])?;
        let per_second = benchmark(self.port, calls, connections)?;
        let claimed: u64 = cli(self.port, &["SCARD", SUBJECTS])?.parse()?;
        if claimed < calls * 9 / 10 {
            return Err(format!("only {claimed} of {calls} claims are in Redis").into());
        }
        Ok(per_second)
    }
}

/// Script calls per second that find the stock used up, on a running Redis.
pub(crate) fn measure_refusals(port: u16, calls: u64, connections: usize) -> Outcome<f64> {
    cli(port, &["SET", STOCK, "0"])?;
    benchmark(port, calls, connections)
}

/// The output of `redis-cli`.
pub(crate) fn cli(port: u16, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn benchmark(port: u16, calls: u64, connections: usize) -> Outcome<f64> {
    let sha = cli(port, &["SCRIPT", "LOAD", SCRIPT])?;
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", &connections.to_string(), "-n", &calls.to_string(), "-r", "1000000000", "--csv"])
        .args(["EVALSHA", &sha, "2", STOCK, SUBJECTS, "u__rand_int__"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = text.lines().last().ok_or("redis-benchmark says nothing")?;
    Ok(row.split("\",\"").nth(1).ok_or("redis-benchmark has another format")?.trim_matches('"').parse()?)
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn compare(connections: usize, rounds: usize) -> Outcome<Value> {
    let (synced_folder, memory_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (synced, memory) = (Redis::start(synced_folder.path(), true)?, Redis::start(memory_folder.path(), false)?);
    let (mut synced_rates, mut memory_rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        synced_rates.push(synced.measure(200_000, connections)?);
        memory_rates.push(memory.measure(200_000, connections)?);
        std::io::stderr().flush()?;
    }
    let version = cli(synced.port, &["INFO", "server"])?;
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?").to_owned();
    Ok(json!({
        "connections": connections,
        "redis_version": version,
        "lua_script_synced_per_second": median(&synced_rates),
        "lua_script_in_memory_per_second": median(&memory_rates),
        "runs_synced": synced_rates,
        "runs_in_memory": memory_rates,
    }))
}
