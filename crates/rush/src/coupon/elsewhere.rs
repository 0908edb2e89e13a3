//! Checks several servers with the same campaigns: claims answered by one server are read from another, and
//! the counts of all servers are compared.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::answers::Coupon;
use super::campaign::{self, claims_path};
use super::load::Load;
use super::report::Campaign;
use super::{Error, Options};
use crate::clock;
use crate::control::Call;
use crate::progress::Progress;
use crate::target::Target;

/// Claims that are checked at most; all, if there are fewer.
const ASKED_MAX: usize = 1_000;
/// Checks in flight at once, so that those behind the same log can wait together.
const AT_ONCE: usize = 32;
/// Differences that are kept as text.
const SAMPLES_MAX: usize = 5;
/// A request with an unknown outcome may take effect while the counts are read, so they are read again.
const COUNTS_TRIES_MAX: u32 = 20;
const COUNTS_PAUSE: Duration = Duration::from_millis(100);

/// The result of the comparison between servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Claims that were read from a server that had not answered them.
    pub asked: u64,
    /// Of these, those not shown with the same serial and code. Must be 0.
    pub unknown: u64,
    /// Of these, those not answered as a repeat when claimed again. Must be 0.
    pub not_repeated: u64,
    /// The first few differences, as text.
    pub samples: Vec<String>,
    /// The campaign's counts on each server.
    pub servers: Vec<ServerCounts>,
    /// Whether the servers' counts differ.
    pub servers_differ: bool,
}

/// A server, and the campaign's counts there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerCounts {
    /// `host:port`
    pub server: String,
    /// `None` if the server does not know the campaign.
    pub campaign: Option<Campaign>,
}

impl Elsewhere {
    pub(crate) fn wrong(&self) -> u64 {
        self.unknown.max(self.not_repeated)
    }

    fn add(&mut self, compared: Compared) {
        self.asked += 1;
        self.unknown += u64::from(compared.unknown.is_some());
        self.not_repeated += u64::from(compared.not_repeated.is_some());
        let samples = compared.unknown.into_iter().chain(compared.not_repeated);
        self.samples.extend(samples.take(SAMPLES_MAX.saturating_sub(self.samples.len())));
    }
}

/// The differences of one claim at another server, as text.
struct Compared {
    unknown: Option<String>,
    not_repeated: Option<String>,
}

/// A claim, and a server that did not answer it.
struct Errand {
    target: Arc<Target>,
    subject: String,
    body: String,
    campaign: String,
    coupon: Coupon,
}

#[derive(Deserialize)]
struct ClaimBody {
    serial: u64,
    code: String,
}

pub(crate) async fn compare(targets: &[Arc<Target>], options: &Options, load: &Load) -> Result<Elsewhere, Error> {
    let mut found = Elsewhere::default();
    // First, because a server with a wrong state would grant new claims below.
    compare_counts(targets, options, load, &mut found).await?;
    let mut errands = errands(targets, options, load).into_iter();
    let progress = Progress::new(options.progress, "asking others", errands.len() as u64);
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(errand) = errands.next()
        {
            running.spawn(errand.run());
        }
        let Some(ended) = running.join_next().await else {
            return Ok(found);
        };
        found.add(ended.map_err(|error| Error::Worker { detail: error.to_string() })??);
        progress.set(found.asked);
    }
}

async fn compare_counts(targets: &[Arc<Target>], options: &Options, load: &Load, found: &mut Elsewhere) -> Result<(), Error> {
    // If every request was answered, the counts must agree at once.
    let tries_max = if load.tally.in_doubt.is_empty() { 1 } else { COUNTS_TRIES_MAX };
    for _ in 0..tries_max {
        found.servers.clear();
        for target in targets {
            let counts = campaign::find(target, &options.campaign).await?;
            found.servers.push(ServerCounts { server: target.server.clone(), campaign: counts.map(Campaign::from) });
        }
        found.servers_differ = found.servers.windows(2).any(|pair| pair[0].campaign != pair[1].campaign);
        if !found.servers_differ {
            return Ok(());
        }
        clock::sleep(COUNTS_PAUSE).await;
    }
    Ok(())
}

/// Claims spread over the whole crowd, each with a server that did not answer it.
fn errands(targets: &[Arc<Target>], options: &Options, load: &Load) -> Vec<Errand> {
    let told: Vec<_> = load.answers.first_and_server().collect();
    let step = told.len().div_ceil(ASKED_MAX).max(1);
    let others = targets.len() - 1;
    let chosen = told.into_iter().step_by(step).enumerate();
    chosen
        .map(|(index, (user, coupon, server))| {
            let other = (usize::from(server) + 1 + index % others) % targets.len();
            Errand {
                target: Arc::clone(&targets[other]),
                subject: load.subjects.name(user),
                body: String::from_utf8_lossy(&load.subjects.body(user)).into_owned(),
                campaign: options.campaign.clone(),
                coupon: coupon.clone(),
            }
        })
        .collect()
}

impl Errand {
    async fn run(self) -> Result<Compared, Error> {
        let claims = claims_path(&self.campaign);
        let shown = Call::get(format!("{claims}/{}", self.subject));
        let (status, _, body) = shown.fetch_all(&self.target).await?;
        let is_shown = status == StatusCode::OK && self.is_same(&body);
        let unknown = (!is_shown).then(|| self.describe("shows", status, &body));
        let again = Call { method: Method::POST, body: Some(self.body.clone()), ..Call::get(claims) };
        let (status, headers, body) = again.fetch_all(&self.target).await?;
        let is_repeat = status == StatusCode::OK && is_replayed(&headers) && self.is_same(&body);
        let not_repeated = (!is_repeat).then(|| self.describe("answers", status, &body));
        Ok(Compared { unknown, not_repeated })
    }

    fn is_same(&self, body: &[u8]) -> bool {
        let claim = serde_json::from_slice::<ClaimBody>(body);
        claim.is_ok_and(|claim| claim.serial == self.coupon.serial && *claim.code == *self.coupon.code)
    }

    fn describe(&self, verb: &str, status: StatusCode, body: &[u8]) -> String {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let Coupon { serial, code } = &self.coupon;
        format!("{} has serial {serial}, code {code}; {} {verb} {status}: {text}", self.subject, self.target.server)
    }
}

fn is_replayed(headers: &HeaderMap) -> bool {
    headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}
