//! The benchmarks. `bench all` runs everything, prints tables and writes the raw results; the
//! other commands are its parts, each in a process of its own.
//!
//! Names state topology and guarantee: `coupon_one_hot_key_synced` is many connections, one campaign, every
//! success on disk.
#![expect(clippy::print_stdout, reason = "what is measured is the result of this program")]

mod arrivals;
mod clock;
mod codes;
mod credentials;
mod handover;
mod http;
mod inprocess;
mod live;
mod load;
mod overload;
mod redis;
mod report;
mod scaled;
mod server;
/// The identity provider of the program's tests.
#[path = "../../crates/firstcome/tests/support/tokens.rs"]
mod tokens;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Any error ends a benchmark.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Everything, in one run
    All {
        /// Folder for the raw results
        #[arg(long, default_value = "benches/runs")]
        runs: PathBuf,
        /// Seconds that each measurement of HTTP takes
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// Measurements of each kind, taken in turn; the median counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Claims of the large states
        #[arg(long, default_value_t = 10_000_000)]
        large: u32,
        /// Folder for the plots
        #[arg(long, default_value = "docs/results")]
        plots: PathBuf,
        /// Only these parts: http, limits, keys, credentials, codes, overload, live, redis, scaled, inprocess, recovery, memory, size
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// A server for the benchmarks of HTTP
    Server {
        /// Data folder
        #[arg(long)]
        data: PathBuf,
        /// The one core to run on
        #[arg(long)]
        core: Option<usize>,
        /// Requests in flight at most
        #[arg(long)]
        places: Option<u64>,
        /// Ask for keys, and print one
        #[arg(long)]
        keys: bool,
        /// Kafka brokers: the scaled mode
        #[arg(long)]
        kafka: Option<String>,
        /// Its topic
        #[arg(long)]
        kafka_topic: Option<String>,
        /// Its gate
        #[arg(long)]
        redis: Option<String>,
        /// Its tables
        #[arg(long)]
        postgres: Option<String>,
    },
    /// Claims decided in memory, nothing else
    Memory {
        /// How many
        claims: u32,
    },
    /// Claims decided through the engine, durable
    Durable {
        /// How many
        claims: u32,
        /// Data folder, kept
        #[arg(long)]
        data: PathBuf,
    },
    /// Time to open a data folder
    Open {
        /// Data folder
        #[arg(long)]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().part {
        Part::All { runs, plots, seconds, rounds, large, only } => report::all(&report::Plan { runs, plots, seconds, rounds, large, only }),
        Part::Server { data, core, places, keys, kafka, kafka_topic, redis, postgres } => {
            let scaled = server::ScaledArgs { kafka, kafka_topic, redis, postgres };
            server::run(&server::Wanted { data, core, places, keys, scaled })
        }
        Part::Memory { claims } => inprocess::memory(claims).map(|value| println!("{value}")),
        Part::Durable { claims, data } => inprocess::durable(claims, &data).map(|value| println!("{value}")),
        Part::Open { data } => inprocess::open(&data).map(|value| println!("{value}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Pins the calling thread, and threads that it starts later, to one core.
pub(crate) fn pin(core: usize) -> Outcome<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}
