//! The load itself: opens the connections, lets everybody go, and gathers what
//! the workers have counted.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::task::JoinSet;

use super::answers::Answers;
use super::campaign::claims_path;
use super::desk::Desk;
use super::plan::Plan;
use super::subjects::Subjects;
use super::tally::Tally;
use super::worker::{Crowd, Worker};
use super::{Error, Options};
use crate::clock;
use crate::connection::Connection;
use crate::machine::CpuMark;
use crate::progress::Progress;
use crate::target::Target;

/// Everything that is known when the last answer is there.
pub(crate) struct Load {
    pub(crate) date: String,
    pub(crate) asked: u64,
    /// Asks that were never sent because the server could not be reached any more.
    pub(crate) skipped: u64,
    pub(crate) tally: Tally,
    pub(crate) answers: Answers,
    pub(crate) subjects: Subjects,
    pub(crate) duration: Duration,
    pub(crate) server_cpu_percent: Option<f64>,
    pub(crate) client_cpu_percent: Option<f64>,
}

pub(crate) async fn run(options: &Options, target: &Arc<Target>) -> Result<Load, Error> {
    let plan = Plan::new(options.users, options.repeat_percent, options.over);
    let asked = plan.count() as u64;
    let subjects = Subjects::new(options.users);
    let connections = open_all(options, target).await?;
    let date = clock::utc_text();
    let client = CpuMark::of_this_process();
    let server = options.server_pid.map(CpuMark::of);
    let start = clock::now();
    let crowd = Arc::new(crowd(options, target, plan, subjects, start)?);
    let mut tally = stampede(options, &crowd, connections).await?;
    let duration = start.elapsed();
    tally.in_doubt.extend(crowd.desk.in_doubt());
    let skipped = crowd.desk.unsettled() as u64;
    let crowd = Arc::into_inner(crowd).ok_or_else(|| Error::Worker { detail: "a worker has not ended".to_owned() })?;
    Ok(Load {
        date,
        asked,
        skipped,
        tally,
        answers: crowd.answers.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()),
        subjects: crowd.subjects,
        duration,
        server_cpu_percent: server.and_then(|mark| mark.percent_since(duration)),
        client_cpu_percent: client.percent_since(duration),
    })
}

/// Before the load, so that it measures answers and not handshakes.
async fn open_all(options: &Options, target: &Arc<Target>) -> Result<Vec<Connection>, Error> {
    let mut dialling = JoinSet::new();
    for _ in 0..options.connections {
        let (target, timeout) = (Arc::clone(target), options.request_timeout);
        dialling.spawn(async move { Connection::open(&target, timeout).await });
    }
    let mut open = Vec::with_capacity(options.connections);
    while let Some(dialled) = dialling.join_next().await {
        let connection = dialled.map_err(|error| worker_error(&error))?;
        open.push(connection.map_err(|source| Error::Connect { server: target.server.clone(), source })?);
    }
    Ok(open)
}

fn crowd(options: &Options, target: &Arc<Target>, plan: Plan, subjects: Subjects, start: Instant) -> Result<Crowd, Error> {
    let mut headers = target.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Crowd {
        target: Arc::clone(target),
        campaign: options.campaign.clone(),
        timeout: options.request_timeout,
        start,
        uri: target.uri(&claims_path(&options.campaign))?,
        headers,
        subjects,
        desk: Desk::new(plan, start),
        answers: Mutex::new(Answers::new(options.users)),
        served: (0..options.users).map(|_| AtomicBool::new(false)).collect(),
    })
}

async fn stampede(options: &Options, crowd: &Arc<Crowd>, connections: Vec<Connection>) -> Result<Tally, Error> {
    let mut workers = JoinSet::new();
    for connection in connections {
        let worker = Worker { crowd: Arc::clone(crowd), connection: Some(connection), tally: Tally::default() };
        workers.spawn(worker.run());
    }
    let asks = crowd.desk.unsettled() as u64;
    let progress = Progress::new(options.progress, "asking", asks);
    tokio::select! {
        tally = gather(workers) => tally,
        () = crowd.desk.keep_time() => Ok(Tally::default()),
        () = progress.follow(|| crowd.desk.settled() as u64) => Ok(Tally::default()),
    }
}

async fn gather(mut workers: JoinSet<Tally>) -> Result<Tally, Error> {
    let mut sum = Tally::default();
    while let Some(ended) = workers.join_next().await {
        sum.add(ended.map_err(|error| worker_error(&error))?);
    }
    Ok(sum)
}

fn worker_error(error: &tokio::task::JoinError) -> Error {
    Error::Worker { detail: error.to_string() }
}
