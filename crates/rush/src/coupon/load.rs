//! The load: opens the connections, starts all workers, and collects their results.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::answers::Answers;
use super::campaign::claims_path;
use super::dispatcher::Dispatcher;
use super::plan::Plan;
use super::subjects::Subjects;
use super::tally::Tally;
use super::worker::{Crowd, Endpoint, Worker};
use super::{Error, Options};
use crate::clock;
use crate::connection::Connection;
use crate::machine::CpuMark;
use crate::progress::Progress;
use crate::target::Target;

/// The results, once the last response has arrived.
pub(crate) struct Load {
    pub(crate) date: String,
    /// When the load began, in milliseconds since 1970.
    pub(crate) began_ms: i64,
    pub(crate) asked: u64,
    /// Requests that were never sent because the server could no longer be reached.
    pub(crate) skipped: u64,
    pub(crate) tally: Tally,
    pub(crate) answers: Answers,
    pub(crate) subjects: Subjects,
    pub(crate) duration: Duration,
    pub(crate) server_cpu_percent: Option<f64>,
    pub(crate) client_cpu_percent: Option<f64>,
}

pub(crate) async fn run(options: &Options, targets: &[Arc<Target>]) -> Result<Load, Error> {
    let plans = Plan::for_servers(targets.len(), options.users, options.repeat_percent, options.over);
    let asked = plans.iter().map(|plan| plan.count() as u64).sum();
    let subjects = Subjects::new(options.users);
    let connections = open_all(options, targets).await?;
    let (date, began_ms) = (clock::utc_text(), clock::utc_millis());
    let client = CpuMark::of_this_process();
    let server = options.server_pid.map(CpuMark::of);
    let start = clock::now();
    let crowd = Arc::new(crowd(options, targets, plans, subjects, start)?);
    let mut tally = stampede(options, &crowd, connections).await?;
    let duration = start.elapsed();
    tally.in_doubt.extend(crowd.endpoints.iter().flat_map(|endpoint| endpoint.dispatcher.in_doubt()));
    let skipped = crowd.unsettled();
    let crowd = Arc::into_inner(crowd).ok_or_else(|| Error::Worker { detail: "a worker has not ended".to_owned() })?;
    Ok(Load {
        date,
        began_ms,
        asked,
        skipped,
        tally,
        answers: crowd.answers.into_inner(),
        subjects: crowd.subjects,
        duration,
        server_cpu_percent: server.and_then(|mark| mark.percent_since(duration)),
        client_cpu_percent: client.percent_since(duration),
    })
}

/// A connection, and the index of its server.
type Opened = (u16, Connection);

/// Opens all connections before the load, so that handshakes are not measured. They are spread
/// evenly over the servers.
async fn open_all(options: &Options, targets: &[Arc<Target>]) -> Result<Vec<Opened>, Error> {
    let mut dialling = JoinSet::new();
    for (server, target) in (0u16..).zip(targets).cycle().take(options.connections) {
        let (target, timeout) = (Arc::clone(target), options.request_timeout);
        dialling.spawn(async move {
            let connection = Connection::open(&target, timeout).await;
            connection.map(|connection| (server, connection)).map_err(|source| Error::Connect { server: target.server.clone(), source })
        });
    }
    let mut open = Vec::with_capacity(options.connections);
    while let Some(dialled) = dialling.join_next().await {
        open.push(dialled.map_err(|error| worker_error(&error))??);
    }
    Ok(open)
}

fn crowd(options: &Options, targets: &[Arc<Target>], plans: Vec<Plan>, subjects: Subjects, start: Instant) -> Result<Crowd, Error> {
    let endpoints = targets.iter().zip(plans).map(|(target, plan)| {
        let mut headers = target.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let uri = target.uri(&claims_path(&options.campaign))?;
        Ok(Endpoint { target: Arc::clone(target), uri, headers, dispatcher: Dispatcher::new(plan, start) })
    });
    Ok(Crowd {
        endpoints: endpoints.collect::<Result<_, Error>>()?,
        campaign: options.campaign.clone(),
        timeout: options.request_timeout,
        start,
        is_queued: options.decisions_per_second.is_some(),
        subjects,
        answers: Mutex::new(Answers::new(options.users)),
        served: (0..options.users).map(|_| AtomicBool::new(false)).collect(),
        places: Mutex::new(vec![None; options.users as usize]),
    })
}

async fn stampede(options: &Options, crowd: &Arc<Crowd>, connections: Vec<Opened>) -> Result<Tally, Error> {
    let mut workers = JoinSet::new();
    for (server, connection) in connections {
        let worker = Worker { crowd: Arc::clone(crowd), server, connection: Some(connection), tally: Tally::default() };
        workers.spawn(worker.run());
    }
    let progress = Progress::new(options.progress, "asking", crowd.unsettled());
    tokio::select! {
        tally = gather(workers) => tally,
        () = keep_time(crowd) => Ok(Tally::default()),
        () = progress.follow(|| crowd.settled()) => Ok(Tally::default()),
    }
}

/// The timers of all dispatchers; none of them ends.
async fn keep_time(crowd: &Crowd) {
    let mut clocks: Vec<_> = crowd.endpoints.iter().map(|endpoint| Box::pin(endpoint.dispatcher.keep_time())).collect();
    poll_fn(|cx| {
        for clock in &mut clocks {
            let _ = clock.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
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
