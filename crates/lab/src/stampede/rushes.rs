//! Runs each strategy: the rushes, then the faults.

use std::time::Duration;

use rush::coupon::Options as RushOptions;
use tokio::signal::unix::{SignalKind, signal};

use super::harm;
use super::options::Options;
use super::report::{Report, Rushed, StrategyReport};
use super::servers::{CAMPAIGN, Servers};
use crate::frame::about::About;
use crate::frame::engines::Places;
use crate::frame::error::LabError;

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Percentage of people who ask twice.
const REPEAT_PERCENT: u8 = 5;

/// Rushes and crashes every selected strategy, one after the other. Nothing is left behind in the engines,
/// however the run ends.
///
/// # Errors
/// [`LabError`] if a strategy cannot be run or judged. Its faults are in the report.
pub async fn run(options: &Options) -> Result<Report, LabError> {
    let places = Places::default();
    let outcome = tokio::select! {
        outcome = run_all(options, &places) => outcome,
        number = interrupted() => Err(LabError::Interrupted(number)),
    };
    let removed = places.remove_all().await;
    // The error of the run explains more than an error of the cleanup.
    let report = outcome?;
    removed.map(|()| report)
}

/// Waits for a signal that interrupts the run, and returns its number.
async fn interrupted() -> u8 {
    let heard = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = heard(SignalKind::interrupt()) => 2,
        () = heard(SignalKind::terminate()) => 15,
    }
}

async fn run_all(options: &Options, places: &Places) -> Result<Report, LabError> {
    let chosen = options.chosen()?;
    options.engines.check(&chosen)?;
    let settings = options.engines.settings(&chosen).await?;
    let mut strategies = Vec::new();
    for (number, about) in chosen.iter().enumerate() {
        let say = |what: &str| {
            if options.progress {
                eprintln!("{:>2}/{} {:<20} {what}", number + 1, chosen.len(), about.name);
            }
        };
        let mut rushes = Vec::new();
        for run in 1..=options.runs {
            say(&format!("rush {run} of {}", options.runs));
            rushes.push(rush_once(options, places, about).await?);
            places.remove_all().await?;
        }
        let mut harms = Vec::new();
        for fault in about.faults.iter().filter(|_| options.with_faults) {
            say(&format!("{:?}", fault.kind).to_lowercase());
            harms.push(harm::hurt(options, places, about, fault).await?);
            places.remove_all().await?;
        }
        strategies.push(StrategyReport::new(about, &settings, rushes, harms));
    }
    Ok(Report::new(options, settings, strategies))
}

async fn rush_once(options: &Options, places: &Places, about: &'static About) -> Result<Rushed, LabError> {
    let servers = Servers::start(options, places, about, None).await?;
    let rushed = rush_these(options, &servers).await;
    servers.end().await;
    Ok(Rushed::new(rushed.map_err(|source| LabError::Rush { strategy: about.name, source })?))
}

async fn rush_these(options: &Options, servers: &Servers) -> Result<rush::coupon::Report, rush::Error> {
    let mut urls = servers.urls();
    let url = urls.remove(0);
    rush::coupon::run(&RushOptions {
        url,
        other_urls: urls,
        campaign: CAMPAIGN.to_owned(),
        users: options.users,
        stock: options.stock,
        connections: options.connections,
        over: Duration::ZERO,
        repeat_percent: REPEAT_PERCENT,
        decisions_per_second: None,
        request_timeout: REQUEST_MAX,
        server_pid: servers.running.first().and_then(crate::frame::process::Server::id),
        token: None,
        admin_url: None,
        admin_token: None,
        progress: options.progress,
    })
    .await
}
