//! The database's address, and time limits. Messages show the host, never the password.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::error::ConnectError;

/// How much later than the database's own time limit the client gives up: the database's error
/// says more than a timeout.
const GRACE: Duration = Duration::from_secs(2);
/// TCP keepalive: after this many seconds of silence either side probes the other; two unanswered probes,
/// five seconds apart, end the connection.
const KEEPALIVE_IDLE_S: u64 = 10;
const KEEPALIVE_INTERVAL_S: u64 = 5;
const KEEPALIVE_RETRIES: u32 = 3;

/// How to reach and use the database.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database`, with `?sslmode=require` for TLS.
    pub url: String,
    /// Connections for reads; the projector has its own.
    pub pool_size: usize,
    /// Time limit for connecting and logging in, for each host.
    pub connect_timeout: Duration,
    /// Time limit of one statement.
    pub statement_timeout: Duration,
    /// Time limit of reading everything: at start, for an export or a check.
    pub bulk_timeout: Duration,
}

impl Settings {
    /// The default limits.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            pool_size: 8,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            bulk_timeout: Duration::from_secs(30 * 60),
        }
    }

    /// How long to wait for the result of one statement.
    pub(super) fn answer_max(&self) -> Duration {
        self.statement_timeout.saturating_add(GRACE)
    }

    /// How long to wait for a connection to any of the hosts.
    pub(super) fn connect_max(&self, target: &Target) -> Duration {
        let Ok(hosts_count) = u32::try_from(target.config.get_hosts().len()) else { panic!("an address names billions of hosts") };
        self.connect_timeout.saturating_mul(hosts_count.max(1))
    }

    /// The client's configuration, and the address for messages.
    pub(super) fn target(&self) -> Result<Target, ConnectError> {
        // An unescaped `@` or `/` in a password would make the rest of it a host, and messages show hosts.
        if self.url.contains("://") && 1 < self.url.split('?').next().unwrap_or_default().matches('@').count() {
            return Err(ConnectError::Url("an @ in a user's name or password is written %40"));
        }
        let mut config: Config =
            self.url.parse().map_err(|_| ConnectError::Url("it must be postgres://user:password@host:port/database"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(ConnectError::Url("it names no host"));
        }
        let user = config.get_user().ok_or(ConnectError::Url("it names no user"))?.to_owned();
        // PostgreSQL defaults the database's name to the user's.
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        let target = Target { host: host_of(&config), user, database, config: Config::new() };
        self.prepare(&mut config);
        Ok(Target { config, ..target })
    }

    fn prepare(&self, config: &mut Config) {
        config.application_name("firstcome");
        config.connect_timeout(self.connect_timeout);
        config.tcp_user_timeout(self.answer_max());
        config.keepalives(true);
        config.keepalives_idle(Duration::from_secs(KEEPALIVE_IDLE_S));
        config.keepalives_interval(Duration::from_secs(KEEPALIVE_INTERVAL_S));
        config.keepalives_retries(KEEPALIVE_RETRIES);
        if 1 < config.get_hosts().len() {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        // The server, too, detects a dead client: the projector's lock is free again after half a minute at most.
        let mut options = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        options.push_str(&format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout={} -c tcp_keepalives_idle={KEEPALIVE_IDLE_S} \
             -c tcp_keepalives_interval={KEEPALIVE_INTERVAL_S} -c tcp_keepalives_count={KEEPALIVE_RETRIES}",
            self.statement_timeout.as_millis(),
            self.bulk_timeout.as_millis(),
        ));
        config.options(options);
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("bulk_timeout", &self.bulk_timeout)
            .finish_non_exhaustive()
    }
}

/// The settings, parsed.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) host: String,
    pub(super) user: String,
    pub(super) database: String,
}

impl Target {
    pub(super) fn wants_tls(&self) -> bool {
        self.config.get_ssl_mode() == SslMode::Require
    }
}

fn host_of(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |place: usize| ports.get(place).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(place, host)| match host {
        Host::Tcp(host) => format!("{host}:{}", port(place)),
        Host::Unix(path) => format!("{}:{}", path.display(), port(place)),
    });
    let addresses = config.get_hostaddrs().iter().enumerate().map(|(place, address)| format!("{address}:{}", port(place)));
    let named: Vec<String> = if config.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
    named.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_in_nothing_that_is_shown() {
        let settings = Settings::new("postgres://shop:s3cret@db.example:6432/first");
        let target = settings.target().unwrap();
        assert_eq!((&*target.host, &*target.user, &*target.database), ("db.example:6432", "shop", "first"));
        assert!(!format!("{settings:?} {target:?}").contains("s3cret"));
    }

    #[test]
    fn a_password_that_would_be_taken_for_a_host_is_refused() {
        for url in ["postgres://shop:p@s3cret/x@db/first", "postgres://shop:p@s3cret@db/first"] {
            let error = Settings::new(url).target().unwrap_err();
            assert!(error.to_string().contains("%40") && !error.to_string().contains("s3cret"), "{error}");
        }
        assert!(Settings::new("postgres://shop:p%40x@db/first").target().is_ok());
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_repeated() {
        for url in [
            "",
            "s3cret",
            "postgres://db/x?s3cret=1",
            "postgres://shop:s3cret",
            "postgres://:s3cret@db/x?port=s3cret",
            "dbname=s3cret user=shop",
        ] {
            let error = Settings::new(url).target().unwrap_err().to_string();
            assert!(error.contains("--postgres") && !error.contains("s3cret"), "{error}");
        }
    }
}
