//! The options of `firstcome serve`, checked.

mod auth;
mod gateway;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::keyring::Ring;
use edge::auth::AuthSettings;
use edge::gateway::GatewaySettings;
use edge::limits::HttpLimits;
use edge::live::LiveLimits;
use edge::tls::TlsFiles;
use engine::clock::{CONFIRM_AFTER, Clock, WatchedClock};
use engine::limits::Limits;

use super::{ADMIN_CONNECTIONS_MAX, ServeError};
use crate::cli::{DATA_FOLDER, ServeArgs, SettingsError};
use crate::scaled::ScaledSettings;

/// File descriptors reserved for other uses than connections.
const FILES_KEPT: u64 = 128;
/// The longest time that an option takes, in milliseconds: a day.
const TIME_MS_MAX: u64 = 86_400_000;

/// All settings of a server, checked.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    pub(super) listen: SocketAddr,
    pub(super) admin_listen: Option<SocketAddr>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) data: PathBuf,
    pub(super) auth: AuthSettings,
    pub(super) gateway: GatewaySettings,
    pub(super) http: HttpLimits,
    pub(super) limits: Limits,
    pub(super) segment_bytes: u64,
    pub(super) snapshot_every: u64,
    pub(super) accept_clock_behind: bool,
    pub(super) scaled: Option<ScaledSettings>,
    /// The clock; tests use a manual one.
    pub clock: Clock,
}

impl ServeSettings {
    /// Checks the options.
    ///
    /// # Errors
    /// [`ServeError`] that names the option.
    pub fn new(args: &ServeArgs) -> Result<Self, ServeError> {
        let listen = args.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7070)));
        // Port 0 means any free port, so the two addresses differ.
        if args.admin_listen == Some(listen) && listen.port() != 0 {
            return Err(SettingsError::Value(format!("--listen and --admin-listen are both {listen}")).into());
        }
        Ok(Self {
            listen,
            admin_listen: args.admin_listen,
            tls: tls_files(args)?,
            auth: AuthSettings { is_reachable: reachable([Some(listen), args.admin_listen]).is_some(), ..auth::settings(args)? },
            gateway: gateway::settings(args)?,
            data: args.data.clone().unwrap_or_else(|| PathBuf::from(DATA_FOLDER)),
            http: HttpLimits {
                requests_max: u32::try_from(in_range("requests-max", args.requests_max, 4_096, 16, 1_000_000)?).unwrap_or(u32::MAX),
                live: live_limits(args)?,
                ..http_limits(args)?
            },
            limits: Limits {
                entries_max: in_range("claims-max", args.claims_max, Limits::STANDARD.entries_max, 1, 4_000_000_000)?,
                requests_max: count("request-keys-max", args.request_keys_max, Limits::STANDARD.requests_max, 1_000_000_000)?,
                ..Limits::STANDARD
            },
            segment_bytes: in_range("segment-mib", args.segment_mib, 64, 4, 4_096)? << 20,
            snapshot_every: in_range("snapshot-every", args.snapshot_every, 1_000_000, 1, u64::MAX)?,
            accept_clock_behind: args.accept_clock_behind,
            scaled: ScaledSettings::of(args)?,
            clock: Clock::Watched(WatchedClock::machine(Duration::from_secs(in_range(
                "clock-confirm-s",
                args.clock_confirm_s,
                CONFIRM_AFTER.as_secs(),
                1,
                86_400,
            )?))),
        })
    }
}

impl ServeSettings {
    /// Reserves file descriptors for the journal, for the history, and for refusing connections over the
    /// limit: a connection that cannot be accepted gets no response.
    pub(super) fn keep_within(&mut self, files_max: Option<u64>) {
        let kept = if self.admin_listen.is_some() { FILES_KEPT + u64::from(ADMIN_CONNECTIONS_MAX) } else { FILES_KEPT };
        let for_connections = files_max.map(|files| usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX));
        if let Some(most) = for_connections.map(|most| most.max(1)).filter(|most| *most < self.http.connections_max) {
            self.http.connections_max = most;
        }
    }
}

/// Both files, or neither.
fn tls_files(args: &ServeArgs) -> Result<Option<TlsFiles>, SettingsError> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(SettingsError::Value("--tls-cert needs --tls-key".to_owned())),
        (None, Some(_)) => Err(SettingsError::Value("--tls-key needs --tls-cert".to_owned())),
    }
}

/// A limit of 0 would refuse every connection, and a time of 0 every request: such a server would start and
/// never serve. Only the time for draining may be 0: then nothing is waited for.
fn http_limits(args: &ServeArgs) -> Result<HttpLimits, SettingsError> {
    let standard = HttpLimits::STANDARD;
    let time = |name, given, standard: Duration, min| {
        let standard_ms = u64::try_from(standard.as_millis()).unwrap_or(TIME_MS_MAX);
        in_range(name, given, standard_ms, min, TIME_MS_MAX).map(Duration::from_millis)
    };
    Ok(HttpLimits {
        connections_max: count("connections-max", args.connections_max, standard.connections_max, 10_000_000)?,
        header_time: time("header-time-ms", args.header_time_ms, standard.header_time, 1)?,
        body_time: time("body-time-ms", args.body_time_ms, standard.body_time, 1)?,
        idle_time: time("idle-time-ms", args.idle_time_ms, standard.idle_time, 1)?,
        write_time: time("write-time-ms", args.write_time_ms, standard.write_time, 1)?,
        drain_time: time("drain-time-ms", args.drain_time_ms, standard.drain_time, 0)?,
        ..standard
    })
}

/// A number of things in memory, at least one.
fn count(name: &str, given: Option<usize>, standard: usize, max: u64) -> Result<usize, SettingsError> {
    let given = given.map(|given| u64::try_from(given).unwrap_or(u64::MAX));
    let standard_count = u64::try_from(standard).unwrap_or(max);
    in_range(name, given, standard_count, 1, max).map(|count| usize::try_from(count).unwrap_or(standard))
}

fn live_limits(args: &ServeArgs) -> Result<LiveLimits, SettingsError> {
    let limit = |name, given, standard: u32| {
        in_range(name, given, standard.into(), 1, 1_000_000).map(|limit| u32::try_from(limit).unwrap_or(standard))
    };
    let standard = LiveLimits::STANDARD;
    Ok(LiveLimits {
        clients_max: limit("live-clients-max", args.live_clients_max, standard.clients_max)?,
        clients_per_address_max: limit(
            "live-clients-per-address-max",
            args.live_clients_per_address_max,
            standard.clients_per_address_max,
        )?,
    })
}

pub(crate) fn in_range(name: &str, given: Option<u64>, standard: u64, min: u64, max: u64) -> Result<u64, SettingsError> {
    let value = given.unwrap_or(standard);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(SettingsError::Value(format!("--{name} must be from {min} to {max}")))
}

/// The first of the addresses that other machines can reach.
fn reachable(addresses: [Option<SocketAddr>; 2]) -> Option<SocketAddr> {
    addresses.into_iter().flatten().find(|address| !address.ip().is_loopback())
}

/// Closed by default: a server that other machines can reach does not start without a valid key. In the scaled mode
/// it starts and refuses all callers until there is one, because keys are created through a running server.
pub(super) fn require_key(settings: &ServeSettings, ring: &Ring) -> Result<(), ServeError> {
    let Some(address) = reachable([Some(settings.listen), settings.admin_listen]) else { return Ok(()) };
    if ring.keys.values().any(|key| key.revoked_at.is_none()) {
        return Ok(());
    }
    // The name of a revoked key cannot be used again.
    let name = (1..).map(|number| if number == 1 { "admin".to_owned() } else { format!("admin-{number}") });
    let name = name.into_iter().find(|name| !ring.keys.contains_key(name.as_str())).unwrap_or_default();
    Err(ServeError::NotLoopback { address, data: settings.data.clone(), name })
}
