//! Options of the stampede.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::duration;

/// Workloads to rush.
#[derive(Debug, Subcommand)]
pub enum RushCommand {
    /// Everybody claims a coupon at once
    Coupon(RushArgs),
}

/// Options of `rush coupon`.
#[derive(Clone, Debug, Args)]
pub struct RushArgs {
    /// Server to rush, or several of one cluster with commas between; without it a server is started
    /// in a temporary folder and stopped again
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub url: Vec<String>,
    /// People who ask
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub users: u32,
    /// Coupons that there are
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub stock: u32,
    /// Keep-alive connections that they share
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// File with the key that claims and reads; it needs the scopes issue and read
    #[arg(long, env = "FIRSTCOME_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File with the key that makes the campaign, with the scope admin [default: the same]
    #[arg(long, env = "FIRSTCOME_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,
    /// Server's admin address, where it has one [default: the same as --url]
    #[arg(long, value_name = "URL", requires = "url")]
    pub admin_url: Option<String>,
    /// Time over which they come, such as 10s or 500ms; 0s: all at once
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = duration)]
    pub over: Duration,
    /// Share of people who ask twice, in percent
    #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub repeat_percent: u8,
    /// Claims get a place in the queue and are decided at a pace: shows the peak that comes in and the
    /// line that goes out
    #[arg(long)]
    pub queued: bool,
    /// Pace of the queue, in claims per second [default: a tenth of the coupons]
    #[arg(long, value_name = "N", requires = "queued", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub decisions_per_second: Option<u32>,
    /// Name of the campaign, which must not have claims yet [default: a new one]
    #[arg(long, value_name = "NAME")]
    pub campaign: Option<String>,
    /// Write one self-contained page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}
