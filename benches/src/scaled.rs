//! The scaled mode on one machine, including engines and load: rushes, successful claims, refusals; in
//! comparison with the usual Lua script on the same Redis and a hot row in the same PostgreSQL, both without
//! HTTP. Also: memory in the gate, and the duration of a start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use services::{Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions};

use crate::arrivals::{Arrivals, run_on_core};
use crate::http::ServerProcess;
use crate::load::{Asked, Found, Load, run};
use crate::report::median;
use crate::server::CAMPAIGN;
use crate::{Outcome, clock, redis};

const CONNECTIONS: usize = 512;
/// Connections to the hot row: more would only wait for each other.
const HOT_ROW_CLIENTS: usize = 32;
/// The number of claims at a measured start.
const START_CLAIMS: u64 = 1_000_000;
/// The number of subjects for the memory measurement.
const MARKED: u32 = 200_000;

struct Engines {
    kafka: Kafka,
    redis: Redis,
    postgres: Postgres,
}

impl Engines {
    fn start() -> Outcome<Self> {
        let kafka = Kafka::start(KafkaOptions { heap_mb: 1_024, is_for_tests: false, ..KafkaOptions::default() })?;
        let redis = Redis::start_with(RedisOptions { persistent: false, ..RedisOptions::default() })?;
        let postgres = Postgres::start_with(&PostgresOptions { durable: true, ..PostgresOptions::default() })?;
        Ok(Self { kafka, redis, postgres })
    }

    /// The servers of a new cluster.
    fn servers(&self, name: &str, count: usize, data: &Path) -> Outcome<Vec<ServerProcess>> {
        let postgres = self.postgres.new_database(name)?;
        (0..count).map(|_| self.server(name, &postgres, data)).collect()
    }

    fn server(&self, topic: &str, postgres: &str, data: &Path) -> Outcome<ServerProcess> {
        let (kafka, redis) = (self.kafka.bootstrap(), self.redis.url());
        let options = ["--kafka", &kafka, "--kafka-topic", topic, "--redis", &redis, "--postgres", postgres];
        ServerProcess::start_with(data, &options)
    }
}

/// All measurements, `rounds` times where figures are compared.
pub(crate) fn measure(seconds: u64, rounds: usize) -> Outcome<Value> {
    let engines = Engines::start()?;
    let data = tempfile::tempdir()?;
    let time = Duration::from_secs(seconds);
    let one = claims_and_refusals(&engines, "one", 1, data.path(), time, rounds)?;
    let two = claims_and_refusals(&engines, "two", 2, data.path(), time, rounds)?;
    Ok(json!({
        "versions": versions(&engines)?,
        "rush_one_server": rush(&engines, "rush_one", 1, data.path(), rounds)?,
        "rush_two_servers": rush(&engines, "rush_two", 2, data.path(), rounds)?,
        "one_server": one,
        "two_servers": two,
        "gate_memory": gate_memory(&engines, data.path())?,
        "start": start_times(&engines, data.path())?,
    }))
}

fn versions(engines: &Engines) -> Outcome<Value> {
    let info = redis::cli(engines.redis.port(), &["INFO", "server"])?;
    let redis = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?").trim().to_owned();
    let postgres = text_of(Command::new(tool("psql")).args([&engines.postgres.url(), "-Atc", "show server_version"]))?;
    Ok(json!({ "redis": redis, "postgres": postgres, "kafka_brokers": 1 }))
}

/// 100,000 people for 10,000 coupons, all at once, with the program's own rush.
fn rush(engines: &Engines, name: &str, count: usize, data: &Path, rounds: usize) -> Outcome<Value> {
    let servers = engines.servers(name, count, data)?;
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address)).collect();
    let mut reports = Vec::new();
    for _ in 0..rounds {
        let program = std::env::current_exe()?.with_file_name("firstcome");
        let text = text_of(Command::new(program).args(["rush", "coupon", "--json", "--url", &urls.join(",")]))?;
        reports.push(serde_json::from_str::<Value>(&text)?);
    }
    Ok(json!({ "servers": count, "reports": reports }))
}

/// Successful claims, open-loop at half of that rate, refusals; and, alternating with them, the
/// script and the hot row.
fn claims_and_refusals(engines: &Engines, name: &str, count: usize, data: &Path, time: Duration, rounds: usize) -> Outcome<Value> {
    let servers = engines.servers(name, count, data)?;
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let first = servers.first().ok_or("no server")?;
    first.put("gone", 1)?;
    first.ask("POST", "/v1/campaigns/gone/claims", "{\"subject\":\"first\"}")?;
    let claims = format!("/v1/campaigns/{CAMPAIGN}/claims");
    let (mut granted, mut refused, mut raw, mut hot_row) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let subjects = round as u64 * 1_000_000_000;
        let found = both(&addresses, &claims, time, subjects)?;
        let no = both(&addresses, "/v1/campaigns/gone/claims", time, subjects + 500_000_000)?;
        let script = redis::measure_refusals(engines.redis.port(), 200_000, CONNECTIONS)?;
        let row = hot_row_per_second(engines, time)?;
        // The first round is a warm-up.
        if 0 < round {
            check(&found, 0)?;
            granted.push(found);
            refused.push(no);
            raw.push(script);
            hot_row.push(row);
        }
    }
    let rate = |runs: &[Vec<Found>]| runs.iter().map(|run| run.iter().map(|found| found.per_second).sum()).collect::<Vec<f64>>();
    let (granted_rates, refused_rates) = (rate(&granted), rate(&refused));
    let half = arrivals(first.address, &claims, median(&granted_rates) / 2.0, time)?;
    let worst = |runs: &[Vec<Found>], value: fn(&Found) -> f64| median(&runs.iter().flatten().map(value).collect::<Vec<f64>>());
    Ok(json!({
        "connections": CONNECTIONS,
        "claims_per_second": median(&granted_rates),
        "claims_p50_ms": worst(&granted, |found| found.p50_ms),
        "claims_p99_ms": worst(&granted, |found| found.p99_ms),
        "refusals_per_second": median(&refused_rates),
        "refusals_p50_ms": worst(&refused, |found| found.p50_ms),
        "refusals_p99_ms": worst(&refused, |found| found.p99_ms),
        "redis_script_refusals_per_second": median(&raw),
        "hot_row_updates_per_second": median(&hot_row),
        "refusals_to_script": ratio(&refused_rates, &raw),
        "claims_to_hot_row": ratio(&granted_rates, &hot_row),
        "half_rate": half,
        "runs": { "claims": granted_rates, "refusals": refused_rates, "script": raw, "hot_row": hot_row },
    }))
}

/// The median of the ratios within each round.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<f64>>())
}

/// The load, spread over all servers with one thread for each.
fn both(addresses: &[SocketAddr], path: &str, time: Duration, first_subject: u64) -> Outcome<Vec<Found>> {
    let connections = CONNECTIONS / addresses.len();
    let threads: Vec<_> = (0..)
        .zip(addresses)
        .map(|(place, address)| {
            let first_subject = first_subject + place * 100_000_000;
            let load = Load { address: *address, asked: Asked::at(path), connections, time, first_subject };
            std::thread::spawn(move || run(&load))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().map_err(|_| "the load panicked")?).collect()
}

fn check(found: &[Found], unexpected: u64) -> Outcome<()> {
    let seen: u64 = found.iter().map(|found| found.unexpected).sum();
    if seen == unexpected { Ok(()) } else { Err(format!("{seen} answers were no 201").into()) }
}

fn arrivals(address: SocketAddr, path: &str, per_second: f64, time: Duration) -> Outcome<Value> {
    let asked = Asked::at(path);
    let first_subject = 900_000_000_000;
    let warm_up = Duration::from_secs(1);
    let arrivals =
        Arrivals { address, asked, connections: CONNECTIONS, per_second, warm_up, time, first_subject, heeds_retry_after: false };
    let seen = run_on_core(1, arrivals)?;
    Ok(json!({
        "per_second": per_second, "served": seen.served, "unsent": seen.unsent, "unexpected": seen.unexpected,
        "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "p999_ms": seen.p999_ms, "max_ms": seen.max_ms,
    }))
}

/// The throughput of one row in PostgreSQL, without HTTP: each update waits for the previous one.
fn hot_row_per_second(engines: &Engines, time: Duration) -> Outcome<f64> {
    let url = engines.postgres.url();
    let table = "create table if not exists stock (id int primary key, remaining int); \
                 insert into stock values (1, 2000000000) on conflict do nothing";
    text_of(Command::new(tool("psql")).args([&url, "-qc", table]))?;
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), "update stock set remaining = remaining - 1 where id = 1 and 0 < remaining;\n")?;
    let (clients, seconds) = (HOT_ROW_CLIENTS.to_string(), time.as_secs().to_string());
    let mut pgbench = Command::new(tool("pgbench"));
    pgbench.args(["-n", "-M", "prepared", "-c", &clients, "-j", "2", "-T", &seconds, "-f"]).arg(script.path()).arg(&url);
    let text = text_of(&mut pgbench)?;
    let line = text.lines().find_map(|line| line.strip_prefix("tps = ")).ok_or("pgbench has another format")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Bytes in Redis for each admitted subject, in comparison with a plain set of the same names.
fn gate_memory(engines: &Engines, data: &Path) -> Outcome<Value> {
    let servers = engines.servers("memory", 1, data)?;
    let server = servers.first().ok_or("no server")?;
    server.put("marked", MARKED)?;
    let port = engines.redis.port();
    let used = || -> Outcome<f64> {
        let info = redis::cli(port, &["INFO", "memory"])?;
        Ok(info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap_or("0").trim().parse()?)
    };
    let before = used()?;
    let path = "/v1/campaigns/marked/claims";
    for subjects in 0_u64.. {
        let load = Load {
            address: server.address,
            asked: Asked::at(path),
            connections: CONNECTIONS,
            time: Duration::from_secs(1),
            first_subject: subjects * 10_000_000,
        };
        if 0 < run(&load)?.unexpected {
            break;
        }
    }
    let gate = used()? - before;
    let before = used()?;
    // As many names of the same length.
    let script = "for i = 1, ARGV[1] do redis.call('SADD', KEYS[1], string.format('u%012d', i)) end";
    redis::cli(port, &["EVAL", script, "1", "plain", &MARKED.to_string()])?;
    let plain = used()? - before;
    let each = |bytes: f64| bytes / f64::from(MARKED);
    Ok(json!({ "subjects": MARKED, "gate_bytes_each": each(gate), "plain_set_bytes_each": each(plain) }))
}

/// The time from starting the process until it is ready, with a million claims: from the tables, and with an
/// empty database from the log alone.
fn start_times(engines: &Engines, data: &Path) -> Outcome<Value> {
    let postgres = engines.postgres.new_database("start")?;
    let server = engines.server("start", &postgres, data)?;
    let claims = format!("/v1/campaigns/{CAMPAIGN}/claims");
    let (mut done, mut first_subject) = (0.0, 0);
    while done < START_CLAIMS as f64 {
        let time = Duration::from_secs(5);
        let load = Load { address: server.address, asked: Asked::at(&claims), connections: CONNECTIONS, time, first_subject };
        done += run(&load)?.per_second * time.as_secs_f64();
        first_subject += 100_000_000;
    }
    // A list waits until the tables have caught up.
    while !server.ask("GET", &format!("{claims}?limit=1"), "")?.starts_with("HTTP/1.1 200") {
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(server);
    let start = |postgres: &str| -> Outcome<f64> {
        let started = clock::now();
        drop(engines.server("start", postgres, data)?);
        Ok(started.elapsed().as_secs_f64())
    };
    let (from_tables, empty) = (start(&postgres)?, engines.postgres.new_database("start_again")?);
    Ok(json!({ "claims": done, "from_the_tables_s": from_tables, "from_the_record_s": start(&empty)? }))
}

/// A program of PostgreSQL, which some systems install outside the search path.
fn tool(name: &str) -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = folders.map(|folder| folder.path().join("bin").join(name)).filter(|path| path.is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

fn text_of(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
