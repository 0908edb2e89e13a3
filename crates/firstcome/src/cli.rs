//! What can be typed: commands, options, and the settings file. Typed text becomes checked
//! settings here; nothing else reads the environment.

pub mod lab;
mod rush;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
pub use rush::{RushArgs, RushCommand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use edge::auth::caller::Scope;

pub(crate) use self::values::time_up_to;
use self::values::{address, given_address, overlap};

/// The data folder where nothing names one.
pub const DATA_FOLDER: &str = "firstcome-data";
/// Heads the options that a build without Kafka, Redis and PostgreSQL knows, but refuses.
#[cfg(not(feature = "scaled"))]
const SCALED_LEFT_OUT: &str = "Options that this build leaves out (cargo build --release --features scaled)";

/// What `firstcome lab --help` ends with in a build without the lab.
#[cfg(not(feature = "lab"))]
const LAB_LEFT_OUT: &str = "This build leaves out the lab; run: cargo run --release --features lab -- lab coupon";

/// First come, first served, exactly: limited coupons for far more people than there are.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = "Start with: firstcome serve\nSee it hold: firstcome rush coupon")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Send a stampede of people and check every answer
    #[command(subcommand)]
    Rush(RushCommand),
    /// Compare the strategies that people discuss: what each gives out, how fast, and what a crash costs
    #[command(subcommand)]
    #[cfg_attr(not(feature = "lab"), command(after_help = LAB_LEFT_OUT))]
    Lab(lab::LabCommand),
    /// Recompute every promise from the journal, or from Kafka's record; exit code 1 if one is broken
    Verify(VerifyArgs),
    /// Show what the journal holds
    Inspect(InspectArgs),
    /// Make, list, rotate and revoke keys; a running server takes them over at once
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show or rotate the key that the codes of new campaigns come from
    #[command(subcommand)]
    CodeKey(CodeKeyCommand),
    /// Show how the server's time and the clock differ, and set it right (docs/clocks.md)
    #[command(subcommand)]
    Clock(ClockCommand),
}

/// Options of `serve`. Each is also an environment variable and a line of the settings file; a
/// flag wins over the environment, and that over the file.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ServeArgs {
    /// Settings file (TOML); its keys are the long names of these options
    #[arg(long, env = "FIRSTCOME_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to listen on; without a key only loopback is allowed [default: 127.0.0.1:7070]
    #[arg(long, env = "FIRSTCOME_LISTEN", value_name = "ADDRESS", value_parser = address)]
    #[serde(deserialize_with = "given_address")]
    pub listen: Option<SocketAddr>,
    /// Second address, with 256 connections of its own, for metrics and administration [default: none]
    #[arg(long, env = "FIRSTCOME_ADMIN_LISTEN", value_name = "ADDRESS", value_parser = address)]
    #[serde(deserialize_with = "given_address")]
    pub admin_listen: Option<SocketAddr>,
    /// Certificate and those that lead to its authority (PEM), for HTTPS; needs --tls-key; both are
    /// read again on SIGHUP [default: none]
    #[arg(long, env = "FIRSTCOME_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM) [default: none]
    #[arg(long, env = "FIRSTCOME_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Data folder, made if it is not there [default: firstcome-data]
    #[arg(long, env = "FIRSTCOME_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Kafka brokers, host:port with commas between: the scaled mode; needs --postgres [default: none]
    #[arg(long, env = "FIRSTCOME_KAFKA", value_name = "HOSTS")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub kafka: Option<String>,
    /// Topic that holds the order; made if it is not there [default: firstcome]
    #[arg(long, env = "FIRSTCOME_KAFKA_TOPIC", value_name = "NAME")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub kafka_topic: Option<String>,
    /// Partitions that the topic is made with, 1 to 1000; it keeps them for ever [default: 8]
    #[arg(long, env = "FIRSTCOME_KAFKA_PARTITIONS", value_name = "N")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub kafka_partitions: Option<u64>,
    /// Be content with one copy of each record, for trying it out: a broker that is lost takes claims
    /// with it
    #[arg(long, env = "FIRSTCOME_KAFKA_DEV")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kafka_dev: bool,
    /// Redis or Valkey, single or cluster, as the gate of the scaled mode [default: none]
    #[arg(long, env = "FIRSTCOME_REDIS", value_name = "URL", hide_env_values = true)]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub redis: Option<String>,
    /// PostgreSQL, as the history of the scaled mode; needs --kafka [default: none]
    #[arg(long, env = "FIRSTCOME_POSTGRES", value_name = "URL", hide_env_values = true)]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub postgres: Option<String>,
    /// Origins whose web pages may ask, such as https://shop.example (CORS) [default: none]
    #[arg(long, env = "FIRSTCOME_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Option<Vec<String>>,
    /// JWKS file with the public keys of end users' tokens [default: none]
    #[arg(long, env = "FIRSTCOME_JWT_JWKS", value_name = "FILE")]
    pub jwt_jwks: Option<PathBuf>,
    /// File with the secret of end users' tokens (HS256), at least 32 bytes [default: none]
    #[arg(long, env = "FIRSTCOME_JWT_SECRET", value_name = "FILE")]
    pub jwt_secret: Option<PathBuf>,
    /// Whose tokens are accepted, their iss; needed with token keys [default: none]
    #[arg(long, env = "FIRSTCOME_JWT_ISSUER", value_name = "TEXT")]
    pub jwt_issuer: Option<String>,
    /// For whom tokens must be made, their aud; needed with token keys [default: none]
    #[arg(long, env = "FIRSTCOME_JWT_AUDIENCE", value_name = "TEXT")]
    pub jwt_audience: Option<String>,
    /// Leeway for exp and nbf, 300 at most [default: 10]
    #[arg(long, env = "FIRSTCOME_JWT_LEEWAY_S", value_name = "SECONDS")]
    pub jwt_leeway_s: Option<u64>,
    /// What end users may do for their own subject: issue, redeem, read [default: issue,read]
    #[arg(long, env = "FIRSTCOME_JWT_SCOPES", value_name = "SCOPES", value_delimiter = ',')]
    pub jwt_scopes: Option<Vec<String>>,
    /// What the names of end users' campaigns begin with [default: all campaigns]
    #[arg(long, env = "FIRSTCOME_JWT_CAMPAIGNS", value_name = "PREFIX")]
    pub jwt_campaigns: Option<String>,
    /// Requests of each client address, such as 50/1s or 50/1s,burst=100,algorithm=token_bucket,shadow;
    /// a bucket gives a whole window's units at once unless told otherwise [default: no limit]
    #[arg(long, env = "FIRSTCOME_LIMIT_ADDRESS", value_name = "LIMIT")]
    pub limit_address: Option<String>,
    /// Requests of each key, likewise [default: no limit]
    #[arg(long, env = "FIRSTCOME_LIMIT_KEY", value_name = "LIMIT")]
    pub limit_key: Option<String>,
    /// Requests for each subject of a campaign, likewise [default: no limit]
    #[arg(long, env = "FIRSTCOME_LIMIT_SUBJECT", value_name = "LIMIT")]
    pub limit_subject: Option<String>,
    /// Proxies, such as 10.0.0.0/8, whose X-Forwarded-For says who the client is where addresses
    /// are counted: --limit-address and --live-clients-per-address-max [default: none]
    #[arg(long, env = "FIRSTCOME_TRUSTED_PROXIES", value_name = "RANGES", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<String>>,
    /// Requests in flight at once; a caller gets its share of them [default: 4096]
    #[arg(long, env = "FIRSTCOME_REQUESTS_MAX", value_name = "N")]
    pub requests_max: Option<u64>,
    /// Connections at once [default: 20000]
    #[arg(long, env = "FIRSTCOME_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<usize>,
    /// Clients that watch a campaign live at once, in all [default: 4096]
    #[arg(long, env = "FIRSTCOME_LIVE_CLIENTS_MAX", value_name = "N")]
    pub live_clients_max: Option<u64>,
    /// The same from one address; behind a proxy all come from its address [default: 64]
    #[arg(long, env = "FIRSTCOME_LIVE_CLIENTS_PER_ADDRESS_MAX", value_name = "N")]
    pub live_clients_per_address_max: Option<u64>,
    /// Time for a request's header [default: 5000]
    #[arg(long, env = "FIRSTCOME_HEADER_TIME_MS", value_name = "MS")]
    pub header_time_ms: Option<u64>,
    /// Time for a request's body [default: 10000]
    #[arg(long, env = "FIRSTCOME_BODY_TIME_MS", value_name = "MS")]
    pub body_time_ms: Option<u64>,
    /// Time that a connection may be idle [default: 75000]
    #[arg(long, env = "FIRSTCOME_IDLE_TIME_MS", value_name = "MS")]
    pub idle_time_ms: Option<u64>,
    /// Time without the client reading anything of an answer [default: 10000]
    #[arg(long, env = "FIRSTCOME_WRITE_TIME_MS", value_name = "MS")]
    pub write_time_ms: Option<u64>,
    /// Time for requests in flight when the server stops [default: 10000]
    #[arg(long, env = "FIRSTCOME_DRAIN_TIME_MS", value_name = "MS")]
    pub drain_time_ms: Option<u64>,
    /// Claims in memory at most; each takes some 32 bytes and its subject's name [default: 200000000]
    #[arg(long, env = "FIRSTCOME_CLAIMS_MAX", value_name = "N")]
    pub claims_max: Option<u64>,
    /// Request keys in memory at most [default: 20000000]
    #[arg(long, env = "FIRSTCOME_REQUEST_KEYS_MAX", value_name = "N")]
    pub request_keys_max: Option<usize>,
    /// Size of a journal segment, at least 4 [default: 64]
    #[arg(long, env = "FIRSTCOME_SEGMENT_MIB", value_name = "MIB")]
    pub segment_mib: Option<u64>,
    /// Take a snapshot after so many records [default: 1000000]
    #[arg(long, env = "FIRSTCOME_SNAPSHOT_EVERY", value_name = "N")]
    pub snapshot_every: Option<u64>,
    /// Start although the last record is more than a minute ahead of the clock
    #[arg(long, env = "FIRSTCOME_ACCEPT_CLOCK_BEHIND")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accept_clock_behind: bool,
    /// Seconds for which a leap of the wall clock must last before the server decides by it, 1 to 86400
    /// [default: 300]
    #[arg(long, env = "FIRSTCOME_CLOCK_CONFIRM_S", value_name = "S")]
    pub clock_confirm_s: Option<u64>,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub end_with_parent: bool,
    /// What to log: error, warn, info, debug, trace or off, and for one module such as edge=debug, with
    /// commas between [default: info]
    #[arg(long, env = "FIRSTCOME_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// Which data folder: the same as the server's, from the same places.
#[derive(Clone, Debug, Default, Args)]
pub struct DataArgs {
    /// Settings file of the server, which may name the data folder
    #[arg(long, env = "FIRSTCOME_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data folder; a server may be using it [default: firstcome-data]
    #[arg(long, env = "FIRSTCOME_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl DataArgs {
    /// The folder.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings file cannot be used.
    pub fn folder(&self) -> Result<PathBuf, SettingsError> {
        let of_file = || Ok::<_, SettingsError>(self.config.as_deref().map(read_file).transpose()?.and_then(|file| file.data));
        let named = self.data.clone().map_or_else(of_file, |data| Ok(Some(data)))?;
        Ok(named.unwrap_or_else(|| PathBuf::from(DATA_FOLDER)))
    }
}

/// Options of `verify`.
#[derive(Debug, Default, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: DataArgs,
    /// Kafka brokers, host:port with commas between: verifies the scaled mode instead of a data
    /// folder; needs --postgres [default: none]
    #[arg(long, env = "FIRSTCOME_KAFKA", value_name = "HOSTS")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub kafka: Option<String>,
    /// Topic that holds the order [default: firstcome]
    #[arg(long, env = "FIRSTCOME_KAFKA_TOPIC", value_name = "NAME")]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub kafka_topic: Option<String>,
    /// PostgreSQL with the history of the scaled mode, which a standby may hold as well; a user who may
    /// only read is enough [default: none]
    #[arg(long, env = "FIRSTCOME_POSTGRES", value_name = "URL", hide_env_values = true)]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub postgres: Option<String>,
    /// Redis or Valkey with the gates of the scaled mode, to tell how far they are behind [default: none]
    #[arg(long, env = "FIRSTCOME_REDIS", value_name = "URL", hide_env_values = true)]
    #[cfg_attr(not(feature = "scaled"), arg(help_heading = SCALED_LEFT_OUT))]
    pub redis: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// The same options as those of a server, from the same places.
    ///
    /// # Errors
    /// [`SettingsError`] if the settings file cannot be used.
    pub fn as_served(&self) -> Result<ServeArgs, SettingsError> {
        let DataArgs { config, data } = self.at.clone();
        let (kafka, kafka_topic) = (self.kafka.clone(), self.kafka_topic.clone());
        let (postgres, redis) = (self.postgres.clone(), self.redis.clone());
        ServeArgs { config, data, kafka, kafka_topic, postgres, redis, ..ServeArgs::default() }.with_file()
    }
}

/// Options of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: DataArgs,
    /// Print the records too, one a line
    #[arg(long)]
    pub records: bool,
    /// First record to print
    #[arg(long, default_value_t = 1, value_name = "LSN")]
    pub from: u64,
    /// Records to print at most
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, this once
    Create(CreateKeyArgs),
    /// List keys, without their secrets
    List(KeyDataArgs),
    /// Give a key another secret and print it, this once
    Rotate(RotateKeyArgs),
    /// End a key, for good
    Revoke(RevokeKeyArgs),
}

/// What to do with the code key.
#[derive(Debug, Subcommand)]
pub enum CodeKeyCommand {
    /// Print the number of the key that the codes of new campaigns come from
    Show(KeyDataArgs),
    /// Take another one for campaigns that are made from now on, and print its number
    Rotate(KeyDataArgs),
}

/// What to do about the clock.
#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Print the server's time, its wall clock, and how far both and the last record differ
    Show(KeyDataArgs),
    /// The wall clock is right: adopt its leap now
    Confirm(KeyDataArgs),
    /// The last record's time was wrong: set it back to the clock's, with a record
    SetBack(KeyDataArgs),
}

/// Where keys are, and how they are shown.
#[derive(Debug, Args)]
pub struct KeyDataArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub at: DataArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `key create`.
#[derive(Debug, Args)]
pub struct CreateKeyArgs {
    /// Name of the key, which the record shows as the actor
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it allows: admin (which includes the others), issue, redeem, read
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    pub scopes: Vec<Scope>,
    /// What the names of its campaigns begin with [default: all campaigns]
    #[arg(long, value_name = "PREFIX")]
    pub campaigns: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub shown: KeyDataArgs,
}

/// Options of `key rotate`.
#[derive(Debug, Args)]
pub struct RotateKeyArgs {
    /// Name of the key
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How long the old secret goes on, such as 24h or 10m; earlier ones go on as was promised. Without
    /// it, all of them end at once
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = overlap)]
    pub overlap: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub shown: KeyDataArgs,
}

/// Options of `key revoke`.
#[derive(Debug, Args)]
pub struct RevokeKeyArgs {
    /// Name of the key
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub shown: KeyDataArgs,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the settings file {path} is wrong: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and how.
        source: Box<toml::de::Error>,
    },
    /// A value is out of range.
    #[error("{0}")]
    Value(String),
}

impl ServeArgs {
    /// Fills what neither flag nor environment gave from the settings file, if there is one.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn with_file(self) -> Result<Self, SettingsError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let mut laid = read_file(&path)?.given()?;
        laid.extend(self.given()?);
        let merged: Self = serde_json::from_value(laid.into()).map_err(unusable)?;
        Ok(Self { config: self.config, end_with_parent: self.end_with_parent, ..merged })
    }

    /// The options that have a value, by their names in a settings file.
    fn given(&self) -> Result<Map<String, Value>, SettingsError> {
        let Value::Object(all) = serde_json::to_value(self).map_err(unusable)? else { panic!("options have names") };
        Ok(all.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }
}

fn unusable(error: serde_json::Error) -> SettingsError {
    SettingsError::Value(format!("an option cannot be used beside a settings file: {error}"))
}

fn read_file(path: &Path) -> Result<ServeArgs, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| SettingsError::Parse { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_wins_over_the_settings_file_and_an_unknown_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("firstcome.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nsegment-mib = 8\n").unwrap();
        let flags = ServeArgs { config: Some(path.clone()), segment_mib: Some(16), ..ServeArgs::default() };
        let merged = flags.clone().with_file().unwrap();
        assert_eq!((merged.segment_mib, merged.listen.map(|listen| listen.port())), (Some(16), Some(1)));
        std::fs::write(&path, "kafka-dev = true\nclaims-max = 7\n").unwrap();
        let merged = ServeArgs { claims_max: Some(u64::MAX), ..flags.clone() }.with_file().unwrap();
        assert_eq!((merged.kafka_dev, merged.accept_clock_behind, merged.claims_max), (true, false, Some(u64::MAX)));
        std::fs::write(&path, "lisen = \"127.0.0.1:1\"\n").unwrap();
        assert!(flags.with_file().unwrap_err().to_string().contains("lisen"));
    }
}
