//! Runs all benchmarks, prints the results side by side, and stores the raw data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, clock, codes, credentials, http, live, overload, redis, scaled};

/// Connections of the overload benchmark: twice the limit of requests in flight.
const OVERLOAD_CONNECTIONS: usize = 8_192;

/// Subscribers of one campaign.
const LIVE_CLIENTS: usize = 2_000;

/// The parts to run, and their settings.
pub(crate) struct Plan {
    pub(crate) runs: PathBuf,
    pub(crate) plots: PathBuf,
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    pub(crate) large: u32,
    pub(crate) only: Vec<String>,
}

impl Plan {
    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

pub(crate) fn all(plan: &Plan) -> Outcome<()> {
    let mut raw = json!({ "machine": machine(), "settings": { "seconds": plan.seconds, "rounds": plan.rounds, "large": plan.large } });
    let mut add = |name: &str, value: Value| {
        println!("{name}: {value:#}");
        if let Some(raw) = raw.as_object_mut() {
            raw.insert(name.to_owned(), value);
        }
    };
    if plan.has("http") {
        add("http_64", http::compare(64, plan.seconds, plan.rounds)?);
        add("http_512", http::compare(512, plan.seconds, plan.rounds)?);
    }
    if plan.has("limits") {
        add("limits_64", http::compare_limits(64, plan.seconds, plan.rounds)?);
        add("limits_512", http::compare_limits(512, plan.seconds, plan.rounds)?);
    }
    if plan.has("keys") {
        add("keys_64", http::compare_keys(64, plan.seconds, plan.rounds)?);
        add("keys_512", http::compare_keys(512, plan.seconds, plan.rounds)?);
    }
    if plan.has("credentials") {
        add("credentials", credentials::costs(plan.rounds)?);
    }
    if plan.has("codes") {
        add("codes", codes::costs(plan.rounds)?);
    }
    if plan.has("overload") {
        add("overload", overload::sweep(OVERLOAD_CONNECTIONS, plan.seconds, plan.rounds.min(3), &plan.plots)?);
    }
    if plan.has("live") {
        add("live", live::compare(LIVE_CLIENTS, plan.seconds, plan.rounds)?);
    }
    if plan.has("redis") {
        add("redis_512", redis::compare(512, plan.rounds)?);
    }
    if plan.has("scaled") {
        add("scaled", scaled::measure(plan.seconds, plan.rounds)?);
    }
    if plan.has("memory") {
        add("memory_1m", part(&["memory", "1000000"])?);
        add("memory_large", part(&["memory", &plan.large.to_string()])?);
    }
    if plan.has("inprocess") {
        add("durable", repeated(plan.rounds, |folder| part_in("durable", folder, &["1000000"]))?);
    }
    if plan.has("recovery") || plan.has("size") {
        large_state(plan, &mut add)?;
    }
    write_down(&plan.runs, &raw)
}

/// A data folder with many claims: the time to open it, and the cost of a claim on it.
fn large_state(plan: &Plan, add: &mut impl FnMut(&str, Value)) -> Outcome<()> {
    let (small, large) = (tempfile::tempdir()?, tempfile::tempdir()?);
    part_in("durable", &small.path().join("lock"), &["10000"])?;
    let data = large.path().join("lock");
    add("durable_large", part_in("durable", &data, &[&plan.large.to_string()])?);
    if plan.has("recovery") {
        add("restart_with_snapshot", several(plan.rounds, || part_in("open", &data, &[]))?);
        let kept = large.path().join("kept");
        fs::rename(data.join("snapshots"), &kept)?;
        add("replay_from_empty", several(plan.rounds.min(3), || part_in("open", &data, &[]))?);
        fs::remove_dir_all(data.join("snapshots"))?;
        fs::rename(&kept, data.join("snapshots"))?;
    }
    if plan.has("size") {
        // The folders were not created by a server, which would have created the secret.
        for folder in [small.path().join("lock"), data] {
            fs::write(folder.join("code-secret"), "5a".repeat(32) + "\n")?;
        }
        add("cost_by_size", http::compare_sizes(small.path(), large.path(), plan.large, plan.seconds, plan.rounds)?);
    }
    Ok(())
}

fn several(rounds: usize, mut run: impl FnMut() -> Outcome<Value>) -> Outcome<Value> {
    let runs = (0..rounds).map(|_| run()).collect::<Outcome<Vec<Value>>>()?;
    let of = |field: &str| median(&runs.iter().filter_map(|run| run.get(field)?.as_f64()).collect::<Vec<f64>>());
    Ok(json!({
        "seconds": of("seconds"),
        "cpu_seconds": of("cpu_seconds"),
        "peak_bytes_per_claim": of("peak_bytes_per_claim"),
        "replayed_per_second": of("replayed_per_second"),
        "per_second": of("per_second"),
        "runs": runs,
    }))
}

fn repeated(rounds: usize, run: impl Fn(&Path) -> Outcome<Value>) -> Outcome<Value> {
    several(rounds, || run(&tempfile::tempdir()?.path().join("data")))
}

/// Runs a part in a separate process, so that earlier memory use does not count.
fn part(arguments: &[&str]) -> Outcome<Value> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn part_in(name: &str, data: &Path, arguments: &[&str]) -> Outcome<Value> {
    let data = data.to_str().ok_or("the temporary folder has no plain name")?;
    part(&[&[name], arguments, &["--data", data]].concat())
}

/// The median; of an even number of values the upper one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu =
        read("/proc/cpuinfo").lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    json!({
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "memory": read("/proc/meminfo").lines().next().map(|line| line.replace("MemTotal:", "").trim().to_owned()),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "temporary_folder": std::env::temp_dir(),
        "commit": commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default(),
        "epoch_seconds": clock::epoch(),
    })
}

fn write_down(runs: &Path, raw: &Value) -> Outcome<()> {
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H%M%S"]).output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    fs::create_dir_all(runs)?;
    let path = runs.join(format!("{date}.json"));
    fs::write(&path, format!("{raw:#}\n"))?;
    eprintln!("raw results: {}", path.display());
    Ok(())
}
