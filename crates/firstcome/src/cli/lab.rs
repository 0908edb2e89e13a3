//! What can be typed behind `firstcome lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Workloads to compare strategies for.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Ten ways to give out coupons, under the same rush and the same crash
    Coupon(LabArgs),
    /// The server of one strategy; its settings come on its input
    #[command(hide = true)]
    Serve,
}

/// Options of `lab coupon`.
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    /// People who ask
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub users: u32,
    /// Coupons that there are
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub stock: u32,
    /// Keep-alive connections that they share
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=60_000))]
    pub connections: u32,
    /// Rushes of each strategy; counts are the worst of them, speeds the median
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Strategies, with commas between; a wrong name lists them [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub strategies: Vec<String>,
    /// Leave out the crash between the steps
    #[arg(long)]
    pub no_crash: bool,
    /// PostgreSQL, with a user who may make databases [default: that of cargo xtask services up]
    #[arg(long, env = "FIRSTCOME_POSTGRES", value_name = "URL", hide_env_values = true)]
    pub postgres: Option<String>,
    /// Redis or Valkey [default: that of cargo xtask services up]
    #[arg(long, env = "FIRSTCOME_REDIS", value_name = "URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Kafka brokers, host:port with commas between [default: those of cargo xtask services up]
    #[arg(long, env = "FIRSTCOME_KAFKA", value_name = "HOSTS")]
    pub kafka: Option<String>,
    /// Write one self-contained page with plots, and the raw data beside it as FILE.json
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}
