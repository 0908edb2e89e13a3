//! The stampede on a coupon campaign: N people ask at once for one of M
//! coupons, some of them twice. Every answer is checked as it comes; then the
//! server's record is read back and compared claim by claim.

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

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port`, the base URL. Plain HTTP only.
    pub url: String,
    /// Base URLs of more servers that have the same campaigns. Connections are spread over all of
    /// them, and what one has answered is asked for at another.
    pub other_urls: Vec<String>,
    /// The campaign to create. It must not have been claimed from before.
    pub campaign: String,
    /// How many different people ask.
    pub users: u32,
    /// How many coupons there are.
    pub stock: u32,
    /// Keep-alive connections that all requests share.
    pub connections: usize,
    /// Arrivals are spread evenly over this span; zero means all at once.
    pub over: Duration,
    /// The share of people that ask twice, 0 to 100.
    pub repeat_percent: u8,
    /// The campaign's claims are answered with a place in the queue, and decided at this pace, in
    /// claims per second; `None`: they are answered with the decision.
    pub decisions_per_second: Option<u32>,
    /// How long one request may take on the wire.
    pub request_timeout: Duration,
    /// The server's process, to tell its share of the processor.
    pub server_pid: Option<u32>,
    /// Sent as `Authorization: Bearer ...` with everything but the making of the campaign.
    pub token: Option<String>,
    /// Where the campaign is made; `None`: at `url`.
    pub admin_url: Option<String>,
    /// Sent where the campaign is made; `None`: `token`.
    pub admin_token: Option<String>,
    /// A progress bar on stderr.
    pub progress: bool,
}

/// Creates the campaign, sends everybody at it, checks what was answered, and
/// compares that with the record.
///
/// # Errors
/// Fails when the run cannot be carried out or judged: the server cannot be
/// reached, the campaign is in use, the record cannot be read. What the server
/// did wrong is no error; see [`Report::broken`].
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

/// What may stand in a path as it is.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}
