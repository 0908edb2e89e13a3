//! The stampede on a coupon campaign: N people ask at once for one of M coupons, some of them twice. Every
//! response is checked as it arrives; then the server's list of claims is read and compared claim by claim.

mod answers;
mod campaign;
mod dispatcher;
mod elsewhere;
mod load;
mod page;
mod plan;
mod queued;
mod record;
mod report;
mod subjects;
mod tally;
mod verdict;
mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use crate::Error;
pub use crate::figures::{CurvePoint, Percentiles, Slot};
pub use crate::machine::Machine;
pub use elsewhere::{Elsewhere, ServerCounts};
pub use queued::{Queued, QueuedSlot};
pub use report::{Campaign, Findings, Report, Settings};
pub use verdict::BrokenPromise;

use crate::target::Target;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The base URL, `http://host:port`. Plain HTTP only.
    pub url: String,
    /// Base URLs of more servers with the same campaigns. The connections are spread over all servers, and
    /// claims answered by one server are read from another.
    pub other_urls: Vec<String>,
    /// The campaign to create. It must not have any claims yet.
    pub campaign: String,
    /// The number of people.
    pub users: u32,
    /// The number of coupons.
    pub stock: u32,
    /// Keep-alive connections shared by all requests.
    pub connections: usize,
    /// The arrivals are spread evenly over this time; zero means all at once.
    pub over: Duration,
    /// Percentage of people who ask twice, 0 to 100.
    pub repeat_percent: u8,
    /// Claims are queued, and decided at this pace, in claims per second; `None`: the response to
    /// a claim is its decision.
    pub decisions_per_second: Option<u32>,
    /// Time limit of one request.
    pub request_timeout: Duration,
    /// The server's process, to measure its processor time.
    pub server_pid: Option<u32>,
    /// Sent as `Authorization: Bearer ...` with every request except the campaign's creation.
    pub token: Option<String>,
    /// The base URL for the campaign's creation; `None`: `url`.
    pub admin_url: Option<String>,
    /// The token for the campaign's creation; `None`: `token`.
    pub admin_token: Option<String>,
    /// Whether to show a progress bar on stderr.
    pub progress: bool,
}

/// Creates the campaign, runs the load, checks the responses, and compares them with the server's list of claims.
///
/// # Errors
/// The run cannot be carried out or judged: the server cannot be reached, the campaign is in use, the list of
/// claims cannot be read. Broken promises of the server are no error; see [`Report::broken`].
pub async fn run(options: &Options) -> Result<Report, Error> {
    options.check()?;
    let mut targets = Vec::new();
    for url in std::iter::once(&options.url).chain(&options.other_urls) {
        targets.push(Arc::new(Target::resolve(url, options.token.as_deref()).await?));
    }
    let admin_url = options.admin_url.as_ref().unwrap_or(&options.url);
    let admin_token = options.admin_token.as_ref().or(options.token.as_ref());
    let admin = Target::resolve(admin_url, admin_token.map(String::as_str)).await?;
    campaign::create(&admin, options).await?;
    let load = load::run(options, &targets).await?;
    let (mut findings, decided_ms) = record::compare(&targets[0], options, &load).await?;
    if 1 < targets.len() {
        findings.elsewhere = Some(elsewhere::compare(&targets, options, &load).await?);
    }
    let servers: Vec<&str> = targets.iter().map(|target| target.server.as_str()).collect();
    Ok(Report::new(options, &servers.join(","), load, findings, decided_ms))
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let refuse = |name, detail| Err(Error::Setting { name, detail });
        if !is_name(&self.campaign) {
            return refuse("campaign", "1 to 128 of A-Z a-z 0-9 _ . : - are allowed");
        }
        if self.users == 0 {
            return refuse("users", "at least one must ask");
        }
        if self.stock == 0 {
            return refuse("stock", "there must be at least one coupon");
        }
        if self.connections <= self.other_urls.len() {
            return refuse("connections", "at least one for each server is needed");
        }
        if usize::from(u16::MAX) < self.other_urls.len() {
            return refuse("other_urls", "at most 65,535 more servers can be asked");
        }
        if 100 < self.repeat_percent {
            return refuse("repeat_percent", "at most 100 percent can ask twice");
        }
        if self.decisions_per_second == Some(0) {
            return refuse("decisions_per_second", "nobody would ever be decided");
        }
        if self.request_timeout.is_zero() {
            return refuse("request_timeout", "no request can be answered in no time");
        }
        Ok(())
    }
}

/// Characters that need no escaping in a path.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}
