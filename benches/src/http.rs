//! Claims over HTTP in comparison with an empty POST on the same server, and with the other hand-over.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::load::{Asked, Found, Load, run};
use crate::report::median;
use crate::server::{CAMPAIGN, EMPTY, THREAD};

/// A server process that ends with this value.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its key, if the server requires one.
    key: Option<String>,
}

impl ServerProcess {
    pub(crate) fn start(data: &Path) -> Outcome<Self> {
        Self::start_with(data, &[])
    }

    /// A server that requires keys.
    fn start_with_keys(data: &Path) -> Outcome<Self> {
        Self::start_with(data, &["--keys"])
    }

    /// A server pinned to one core, with this limit of requests in flight.
    pub(crate) fn start_pinned(data: &Path, core: usize, places: u32) -> Outcome<Self> {
        Self::start_with(data, &["--core", &core.to_string(), "--places", &places.to_string()])
    }

    pub(crate) fn start_with(data: &Path, options: &[&str]) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg("server").arg("--data").arg(data).args(options).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let address = words.next().ok_or("the server did not start")?.parse()?;
        let server = Self { child, address, key: words.next().map(str::to_owned) };
        server.wait_until_ready()?;
        server.put(CAMPAIGN, 1_000_000_000)?;
        Ok(server)
    }

    /// Waits until the server is ready: across machines it has to catch up first.
    fn wait_until_ready(&self) -> Outcome<()> {
        for _ in 0..6_000 {
            if self.ask("GET", "/readyz", "")?.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the server does not become ready".into())
    }

    /// Creates a campaign.
    pub(crate) fn put(&self, campaign: &str, stock: u32) -> Outcome<()> {
        let answer = self.ask("PUT", &format!("/v1/campaigns/{campaign}"), &format!("{{\"stock\":{stock}}}"))?;
        if answer.starts_with("HTTP/1.1 20") { Ok(()) } else { Err(answer.into()) }
    }

    /// Sends one request on a new connection.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Outcome<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address)?;
        let key = self.key.as_ref().map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        let fixed = "host: localhost\r\nconnection: close\r\ncontent-type: application/json";
        let head = format!("{method} {path} HTTP/1.1\r\n{key}{fixed}");
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures every route in turn, `rounds` times.
pub(crate) fn compare(connections: usize, seconds: u64, rounds: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let server = ServerProcess::start(folder.path())?;
    let claims = format!("/v1/campaigns/{CAMPAIGN}/claims");
    let routes = [("empty_post", EMPTY), ("coupon_one_hot_key_synced", claims.as_str()), ("writer_thread_synced", THREAD)];
    let mut runs: Vec<Vec<Found>> = routes.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (place, (_, path)) in routes.iter().enumerate() {
            let first_subject = ((round * routes.len() + place) as u64) * 100_000_000;
            let time = Duration::from_secs(if round == 0 { 1 } else { seconds });
            let found = run(&Load { address: server.address, asked: Asked::at(path), connections, time, first_subject })?;
            if found.unexpected != 0 {
                return Err(format!("{path}: {} answers were no 201", found.unexpected).into());
            }
            // The first round is a warm-up.
            if let (1.., Some(runs)) = (round, runs.get_mut(place)) {
                runs.push(found);
            }
        }
    }
    Ok(summary(connections, &routes, &runs))
}

/// Rate-limit checks in comparison with the empty POST: allowed over one key and over many, and denied.
pub(crate) fn compare_limits(connections: usize, seconds: u64, rounds: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let server = ServerProcess::start(folder.path())?;
    let wide = r#"{"algorithm":"leaky_bucket","quota":1000000000,"window_ms":1000,"burst":1000000000}"#;
    let narrow = r#"{"algorithm":"leaky_bucket","quota":1,"window_ms":31536000000}"#;
    for (policy, body) in [("wide", wide), ("narrow", narrow)] {
        let answer = server.ask("PUT", &format!("/v1/policies/{policy}"), body)?;
        if !answer.starts_with("HTTP/1.1 201") {
            return Err(answer.into());
        }
    }
    let (wide, narrow) = ("/v1/policies/wide/checks", "/v1/policies/narrow/checks");
    let asked = [
        ("empty_post", Asked::at(EMPTY)),
        ("check_one_hot_key", Asked::check_at(wide, 1)),
        ("check_100000_keys", Asked::check_at(wide, 100_000)),
        // The warm-up round takes the only unit.
        ("check_denied", Asked::check_at(narrow, 1)),
    ];
    let mut runs: Vec<Vec<Found>> = asked.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for ((name, asked), runs) in asked.iter().zip(&mut runs) {
            let time = Duration::from_secs(if round == 0 { 1 } else { seconds });
            let found = run(&Load { address: server.address, asked: asked.clone(), connections, time, first_subject: 0 })?;
            if found.unexpected != 0 {
                return Err(format!("{name}: {} answers were of another status", found.unexpected).into());
            }
            if round != 0 {
                runs.push(found);
            }
        }
    }
    let routes: Vec<(&str, &str)> = asked.iter().map(|(name, _)| (*name, "")).collect();
    Ok(summary(connections, &routes, &runs))
}

/// The same claims on a server without keys and on one that requires a key.
pub(crate) fn compare_keys(connections: usize, seconds: u64, rounds: usize) -> Outcome<Value> {
    let folder = tempfile::tempdir()?;
    let open = ServerProcess::start(&folder.path().join("open"))?;
    let keyed = ServerProcess::start_with_keys(&folder.path().join("keyed"))?;
    let path = format!("/v1/campaigns/{CAMPAIGN}/claims");
    let key = keyed.key.clone().ok_or("the server gave no key")?;
    let sides = [(open.address, Asked::at(&path)), (keyed.address, Asked::with_key(&path, &key))];
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for ((address, asked), rates) in sides.iter().zip(&mut rates) {
            let time = Duration::from_secs(if round == 0 { 1 } else { seconds });
            let first_subject = round as u64 * 100_000_000;
            let found = run(&Load { address: *address, asked: asked.clone(), connections, time, first_subject })?;
            if found.unexpected != 0 {
                return Err(format!("{} answers were no 201", found.unexpected).into());
            }
            if round != 0 {
                rates.push(found.per_second);
            }
        }
    }
    let [open, keyed] = rates;
    let ratios: Vec<f64> = keyed.iter().zip(&open).map(|(keyed, open)| keyed / open).collect();
    Ok(json!({
        "connections": connections,
        "open_per_second": median(&open),
        "with_key_per_second": median(&keyed),
        "ratio": median(&ratios),
        "runs_ratio": ratios,
    }))
}

fn summary(connections: usize, routes: &[(&str, &str)], runs: &[Vec<Found>]) -> Value {
    let per_second =
        |place: usize| runs.get(place).map(|runs| runs.iter().map(|found| found.per_second).collect::<Vec<f64>>()).unwrap_or_default();
    let base = per_second(0);
    let rows = routes.iter().enumerate().map(|(place, (name, _))| {
        let rates = per_second(place);
        let ratios: Vec<f64> = rates.iter().zip(&base).map(|(rate, base)| rate / base).collect();
        let latency =
            |of: fn(&Found) -> f64| median(&runs.get(place).map(|runs| runs.iter().map(of).collect::<Vec<f64>>()).unwrap_or_default());
        json!({
            "name": name,
            "per_second": median(&rates),
            "ratio_to_empty_post": median(&ratios),
            "p50_ms": latency(|found| found.p50_ms),
            "p99_ms": latency(|found| found.p99_ms),
            "max_ms": latency(|found| found.max_ms),
            "runs_per_second": rates,
            "runs_ratio": ratios,
        })
    });
    json!({ "connections": connections, "routes": rows.collect::<Vec<Value>>() })
}

/// Claims over HTTP on a small and on a large state, alternating.
pub(crate) fn compare_sizes(small: &Path, large: &Path, large_claims: u32, seconds: u64, rounds: usize) -> Outcome<Value> {
    let (small, large) = (ServerProcess::start(small)?, ServerProcess::start(large)?);
    let path = format!("/v1/campaigns/{CAMPAIGN}/claims");
    let (mut small_rates, mut large_rates, mut stalls) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let load = |address| Load {
            address,
            asked: Asked::at(&path),
            connections: 512,
            time: Duration::from_secs(if round == 0 { 1 } else { seconds }),
            first_subject: 100_000_000_000 + round as u64 * 100_000_000,
        };
        let (on_small, on_large) = (run(&load(small.address))?, run(&load(large.address))?);
        if round != 0 {
            small_rates.push(on_small.per_second);
            large_rates.push(on_large.per_second);
            stalls.push(on_large.max_ms);
        }
    }
    let ratios: Vec<f64> = small_rates.iter().zip(&large_rates).map(|(small, large)| small / large).collect();
    Ok(json!({
        "large_claims": large_claims,
        "small_per_second": median(&small_rates),
        "large_per_second": median(&large_rates),
        "cost_ratio": median(&ratios),
        "longest_wait_ms_on_large": stalls.iter().copied().fold(0.0, f64::max),
        "runs_small": small_rates,
        "runs_large": large_rates,
    }))
}
