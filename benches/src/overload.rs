//! Overload: how many requests are served, and how long they wait, by the rate of arrivals. Server and load
//! are pinned to one core each, so that neither takes processor time from the other.

use std::fs;
use std::path::Path;
use std::time::Duration;

use firstcome::serve::raise_files_max;
use rush::plot::{Axis, Line, Plot};
use serde_json::{Value, json};

use crate::Outcome;
use crate::arrivals::{Arrivals, Seen, run_on_core};
use crate::http::ServerProcess;
use crate::load::Asked;
use crate::report::median;
use crate::server::CAMPAIGN;

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;
/// Rates of arrivals, as multiples of the server's closed-loop throughput.
const LOADS: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 1.0, 1.5, 2.0, 3.0];
const WARM_UP: Duration = Duration::from_secs(1);
/// Enough requests in flight to mean no limit.
const NO_LIMIT: u32 = 1_000_000;
const STANDARD: u32 = 4_096;

/// A configuration of the server and the load.
struct Case {
    name: &'static str,
    places: u32,
    heeds_retry_after: bool,
}

const CASES: [Case; 3] = [
    Case { name: "limit_retry_after_heeded", places: STANDARD, heeds_retry_after: true },
    Case { name: "limit_retry_after_ignored", places: STANDARD, heeds_retry_after: false },
    Case { name: "no_limit", places: NO_LIMIT, heeds_retry_after: false },
];

/// Every case under every load, `rounds` times, alternating.
pub(crate) fn sweep(connections: usize, seconds: u64, rounds: usize, plots: &Path) -> Outcome<Value> {
    raise_files_max();
    let folder = tempfile::tempdir()?;
    let mut next_subject = 1_000_000_000_000_u64;
    let base = closed_loop(folder.path(), &mut next_subject)?;
    let mut runs: Vec<Vec<Vec<Seen>>> = CASES.iter().map(|_| LOADS.iter().map(|_| Vec::new()).collect()).collect();
    for round in 0..rounds {
        for (case, of_case) in CASES.iter().zip(&mut runs) {
            let data = folder.path().join(format!("{}-{round}", case.name));
            let server = ServerProcess::start_pinned(&data, SERVER_CORE, case.places)?;
            for (load, of_load) in LOADS.iter().zip(of_case) {
                let arrivals = Arrivals {
                    address: server.address,
                    asked: Asked::at(&format!("/v1/campaigns/{CAMPAIGN}/claims")),
                    connections,
                    per_second: base * load,
                    warm_up: WARM_UP,
                    time: Duration::from_secs(seconds),
                    first_subject: next_subject,
                    heeds_retry_after: case.heeds_retry_after,
                };
                next_subject += 100_000_000;
                of_load.push(run_on_core(LOAD_CORE, arrivals)?);
            }
        }
    }
    let tables: Vec<Value> = CASES.iter().zip(&runs).map(|(case, runs)| table(case, runs, base, seconds)).collect();
    draw(&tables, base, plots)?;
    Ok(
        json!({ "connections": connections, "closed_loop_per_second": base, "server_core": SERVER_CORE, "load_core": LOAD_CORE, "cases": tables }),
    )
}

/// The throughput with 512 connections in a closed loop: the unit of the sweep.
fn closed_loop(folder: &Path, next_subject: &mut u64) -> Outcome<f64> {
    let server = ServerProcess::start_pinned(&folder.join("closed-loop"), SERVER_CORE, STANDARD)?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let arrivals = Arrivals {
            address: server.address,
            asked: Asked::at(&format!("/v1/campaigns/{CAMPAIGN}/claims")),
            connections: 512,
            // More than can be served: every connection always has a request due.
            per_second: 400_000.0,
            warm_up: WARM_UP,
            time: Duration::from_secs(2),
            first_subject: *next_subject,
            heeds_retry_after: false,
        };
        *next_subject += 100_000_000;
        rates.push(run_on_core(LOAD_CORE, arrivals)?.served as f64 / 2.0);
    }
    Ok(median(&rates))
}

fn table(case: &Case, runs: &[Vec<Seen>], base: f64, seconds: u64) -> Value {
    let rows: Vec<Value> = LOADS.iter().zip(runs).map(|(load, runs)| row(*load, runs, base, seconds as f64)).collect();
    let best = rows.iter().filter_map(|row| row["served_per_second"].as_f64()).fold(0.0, f64::max);
    json!({ "name": case.name, "places": case.places, "best_served_per_second": best, "loads": rows })
}

fn row(load: f64, runs: &[Seen], base: f64, seconds: f64) -> Value {
    let of = |value: fn(&Seen) -> f64| median(&runs.iter().map(value).collect::<Vec<f64>>());
    json!({
        "load": load,
        "offered_per_second": base * load,
        "served_per_second": of(|seen| seen.served as f64) / seconds,
        "refused_per_second": of(|seen| seen.refused as f64) / seconds,
        "unsent_per_second": of(|seen| seen.unsent as f64) / seconds,
        "unexpected": runs.iter().map(|seen| seen.unexpected).sum::<u64>(),
        "p50_ms": of(|seen| seen.p50_ms),
        "p99_ms": of(|seen| seen.p99_ms),
        "p999_ms": of(|seen| seen.p999_ms),
        "max_ms": of(|seen| seen.max_ms),
        "refused_p99_ms": of(|seen| seen.refused_p99_ms),
        "runs_served_per_second": runs.iter().map(|seen| seen.served as f64 / seconds).collect::<Vec<f64>>(),
        "runs_p99_ms": runs.iter().map(|seen| seen.p99_ms).collect::<Vec<f64>>(),
    })
}

const STYLE: &str = "svg{background:#fff}text{fill:#444;font:11px system-ui,sans-serif}.end{text-anchor:end}.mid{text-anchor:middle}\
.grid{stroke:#ddd}.line{fill:none;stroke-width:2}.dot{fill:#888}.one{stroke:#0a6ebd}.two{stroke:#c2410c}.three{stroke:#777;stroke-dasharray:5 4}";
const COLOURS: [&str; 3] = ["one", "two", "three"];

/// Plots served requests and p99 by load, one line for each case.
fn draw(tables: &[Value], base: f64, folder: &Path) -> Outcome<()> {
    let lines = |field: &str| -> Vec<Line> {
        let line = |(table, class): (&Value, &'static str)| Line {
            class,
            points: table["loads"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|row| Some((row["load"].as_f64()?, row[field].as_f64()?)))
                .collect(),
            filled: false,
        };
        tables.iter().zip(COLOURS).map(line).collect()
    };
    let loads = || Axis::from_zero("arrivals, as multiples of what can be served", 3.0, |load| format!("{load}×"));
    let served = Axis::from_zero("served per second", base * 1.2, |rate| format!("{:.0} k", rate / 1_000.0));
    let p99 = tables.iter().flat_map(|table| table["loads"].as_array().into_iter().flatten()).filter_map(|row| row["p99_ms"].as_f64());
    let most = p99.fold(10.0, f64::max);
    let waited = Axis::powers_of_ten("p99 of what was served, ms", (1.0, most), |ms| format!("{ms}"));
    for (name, title, y, field) in [
        ("overload-served.svg", "Served per second by load", served, "served_per_second"),
        ("overload-p99.svg", "p99 of what was served by load", waited, "p99_ms"),
    ] {
        let plot = Plot { title, x: loads(), y, lines: lines(field) };
        fs::create_dir_all(folder)?;
        fs::write(folder.join(name), plot.svg_alone(STYLE))?;
    }
    Ok(())
}
