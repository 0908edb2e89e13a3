//! A small coupon server over real HTTP, honest unless told otherwise. It keeps
//! everything in memory and is good for nothing but these tests.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "it may stop at the first surprise")]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rush::coupon::{self, Options, Report};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cheat {
    GivesOneTooMany,
    GivesOnePersonTwo,
    ForgetsOneInTheRecord,
    ChangesOneCodeInTheRecord,
    CancelsOneInTheRecord,
    GivesOneCouponToTwo,
    RecordsOneForAStranger,
    MiscountsInTheCampaign,
    KeepsOneBack,
    RefusesWhoAsksAgain,
    AnswersInTheNameOfAnother,
    HidesAClaimWhenAsked,
    TakesAPlaceBack,
}

/// When the connection is closed after deciding, instead of answering.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Drops {
    #[default]
    Never,
    /// At every so many claims, but only once for a person.
    Every(u64),
    Always,
}

/// What is not as it should be. Nothing, by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    pub(crate) cheat: Option<Cheat>,
    pub(crate) drops: Drops,
    /// Claims are answered with a place, and decided after one look at it.
    pub(crate) queues: bool,
    /// So many claims are answered 503 first, with this `Retry-After`.
    pub(crate) busy: Option<(u64, &'static str)>,
    /// So many claims are answered 500 first, without an effect.
    pub(crate) failing: u64,
    /// At this claim everything stands still for a while.
    pub(crate) stall: Option<(u64, Duration)>,
    /// So many times the record is not ready.
    pub(crate) record_busy: u64,
    /// Answers of claims say that the connection is over.
    pub(crate) closes_after_answer: bool,
}

struct Claim {
    serial: u64,
    subject: String,
    code: String,
}

#[derive(Default)]
struct State {
    campaign: String,
    stock: u64,
    claims: Vec<Claim>,
    by_subject: HashMap<String, usize>,
    cheated: bool,
}

pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    state: Mutex<State>,
    /// Claim requests so far.
    asked: AtomicU64,
    record_asked: AtomicU64,
    dropped: Mutex<HashSet<String>>,
    /// Whose answer has been looked at.
    looked_at: Mutex<HashSet<String>>,
    last_token: Mutex<Option<String>>,
    gate: tokio::sync::Mutex<()>,
}

impl Server {
    pub(crate) async fn start(behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviour,
            state: Mutex::default(),
            asked: AtomicU64::new(0),
            record_asked: AtomicU64::new(0),
            dropped: Mutex::default(),
            looked_at: Mutex::default(),
            last_token: Mutex::default(),
            gate: tokio::sync::Mutex::new(()),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Server { url: url(address), shared }
    }

    /// The address of a second server that shares everything with this one.
    pub(crate) async fn second(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, Arc::clone(&self.shared)));
        url(address)
    }

    /// Claim requests that have reached the server.
    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// People whose connection was closed instead of an answer.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.lock().len() as u64
    }

    pub(crate) fn last_token(&self) -> Option<String> {
        self.shared.last_token.lock().clone()
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A small run: 500 people, 100 coupons, a fifth of the people asks twice.
pub(crate) fn options(server: &Server) -> Options {
    Options {
        url: server.url.clone(),
        other_urls: Vec::new(),
        campaign: "rush-test".to_owned(),
        users: 500,
        stock: 100,
        connections: 16,
        over: Duration::ZERO,
        repeat_percent: 20,
        decisions_per_second: None,
        request_timeout: Duration::from_secs(5),
        server_pid: None,
        token: None,
        admin_url: None,
        admin_token: None,
        progress: false,
    }
}

pub(crate) async fn run_against(behaviour: Behaviour) -> Report {
    let server = Server::start(behaviour).await;
    coupon::run(&options(&server)).await.unwrap()
}

pub(crate) async fn run_against_cheat(cheat: Cheat) -> Report {
    run_against(Behaviour { cheat: Some(cheat), ..Behaviour::default() }).await
}

pub(crate) fn broken_names(report: &Report) -> Vec<&'static str> {
    let broken = report.broken();
    broken.iter().map(|promise| promise.name).collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(|request| answer(request, &shared));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Ends with an error where the test wants a connection to break.
    connection.await.ok();
}

/// Stands for an answer that never comes.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

type Reply = Result<Response<Full<Bytes>>, Dropped>;

async fn answer(request: Request<Incoming>, shared: &Shared) -> Reply {
    let path = request.uri().path().to_owned();
    if let Some((_, subject)) = path.split_once("/claims/") {
        return Ok(shared.shown(subject));
    }
    if let Some(subject) = path.strip_prefix("/v1/answers/") {
        return Ok(shared.answer(subject));
    }
    let is_claims = path.ends_with("/claims");
    match (request.method(), is_claims) {
        (&Method::PUT, false) => Ok(shared.create(&path, &body(request).await)),
        (&Method::GET, false) => Ok(shared.campaign()),
        (&Method::GET, true) => Ok(shared.record()),
        (&Method::POST, true) => shared.claim(request).await,
        _ => Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")),
    }
}

async fn body(request: Request<Incoming>) -> Value {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

impl Shared {
    fn cheats(&self, cheat: Cheat) -> bool {
        self.behaviour.cheat == Some(cheat)
    }

    fn create(&self, path: &str, body: &Value) -> Response<Full<Bytes>> {
        let mut state = self.state.lock();
        let existed = state.stock != 0;
        state.campaign = path.rsplit('/').next().unwrap().to_owned();
        state.stock = body["stock"].as_u64().unwrap();
        assert_eq!(body["per_subject_max"], 1);
        match existed {
            true => json_answer(StatusCode::OK, &json!({})),
            false => json_answer(StatusCode::CREATED, &json!({})),
        }
    }

    fn campaign(&self) -> Response<Full<Bytes>> {
        let state = self.state.lock();
        if state.stock == 0 {
            return problem(StatusCode::NOT_FOUND, "campaign_not_found");
        }
        let miscounts = self.cheats(Cheat::MiscountsInTheCampaign) && !state.claims.is_empty();
        let claimed = state.claims.len() as u64 - u64::from(miscounts);
        let remaining = state.stock.saturating_sub(claimed);
        let counts = json!({
            "campaign": state.campaign, "stock": state.stock,
            "claimed": claimed, "remaining": remaining, "state": "open",
        });
        json_answer(StatusCode::OK, &counts)
    }

    fn shown(&self, subject: &str) -> Response<Full<Bytes>> {
        let state = self.state.lock();
        let index = state.by_subject.get(subject).filter(|index| !(self.cheats(Cheat::HidesAClaimWhenAsked) && **index == 5));
        match index.map(|index| &state.claims[*index]) {
            Some(claim) => claim_answer(&state, subject, claim.serial, &claim.code, true),
            None => problem(StatusCode::NOT_FOUND, "claim_not_found"),
        }
    }

    fn place(&self, subject: &str) -> Response<Full<Bytes>> {
        let campaign = self.state.lock().campaign.clone();
        let place = json!({ "answer": subject, "status": "pending", "campaign": campaign, "subject": subject, "place": 1, "wait_ms": 1 });
        json_answer(StatusCode::ACCEPTED, &place)
    }

    fn answer(&self, subject: &str) -> Response<Full<Bytes>> {
        if self.looked_at.lock().insert(subject.to_owned()) {
            return self.place(subject);
        }
        let state = self.state.lock();
        let index = state.by_subject[subject];
        if self.cheats(Cheat::TakesAPlaceBack) && index == 5 {
            return problem(StatusCode::CONFLICT, "sold_out");
        }
        let claim = &state.claims[index];
        claim_answer(&state, subject, claim.serial, &claim.code, false)
    }

    fn record(&self) -> Response<Full<Bytes>> {
        if self.record_asked.fetch_add(1, Ordering::SeqCst) < self.behaviour.record_busy {
            return busy("0");
        }
        let state = self.state.lock();
        let mut lines: Vec<Value> = state.claims.iter().map(record_line).collect();
        match self.behaviour.cheat {
            Some(Cheat::ForgetsOneInTheRecord) => drop(lines.remove(7)),
            Some(Cheat::ChangesOneCodeInTheRecord) => lines[7]["code"] = json!("OTHER"),
            Some(Cheat::CancelsOneInTheRecord) => lines[7]["status"] = json!("cancelled"),
            Some(Cheat::RecordsOneForAStranger) => lines.push(json!({
                "serial": 9_999, "subject": "stranger", "code": "X", "status": "live",
            })),
            Some(_) | None => {}
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut response = Response::new(Full::from(text));
        let kind = "application/x-ndjson".parse().unwrap();
        response.headers_mut().insert("content-type", kind);
        response
    }

    async fn claim(&self, request: Request<Incoming>) -> Reply {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let token = request.headers().get("authorization");
        *self.last_token.lock() = token.map(|token| token.to_str().unwrap().to_owned());
        self.wait_out_stall(number).await;
        if let Some((_, retry_after)) = self.behaviour.busy.filter(|(count, _)| number <= *count) {
            return Ok(busy(retry_after));
        }
        if number <= self.behaviour.failing {
            return Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, "internal"));
        }
        let body = body(request).await;
        let subject = body["subject"].as_str().unwrap();
        let mut response = self.decide(subject);
        if self.behaviour.queues && response.status().is_success() {
            response = self.place(subject);
        }
        if self.drops(number, subject) {
            return Err(Dropped);
        }
        if self.behaviour.closes_after_answer {
            let close = "close".parse().unwrap();
            response.headers_mut().insert("connection", close);
        }
        Ok(response)
    }

    fn drops(&self, number: u64, subject: &str) -> bool {
        let mut dropped = self.dropped.lock();
        let drops = match self.behaviour.drops {
            Drops::Never => false,
            Drops::Every(every) => number.is_multiple_of(every) && !dropped.contains(subject),
            Drops::Always => true,
        };
        if drops {
            dropped.insert(subject.to_owned());
        }
        drops
    }

    async fn wait_out_stall(&self, number: u64) {
        let Some((at, span)) = self.behaviour.stall else {
            return;
        };
        let _gate = self.gate.lock().await;
        if number == at {
            tokio::time::sleep(span).await;
        }
    }

    fn decide(&self, subject: &str) -> Response<Full<Bytes>> {
        let mut state = self.state.lock();
        if let Some(&index) = state.by_subject.get(subject) {
            return self.decide_again(&mut state, index);
        }
        let limit = match self.behaviour.cheat {
            Some(Cheat::GivesOneTooMany) => state.stock + 1,
            Some(Cheat::KeepsOneBack) => state.stock - 1,
            Some(_) | None => state.stock,
        };
        if limit <= state.claims.len() as u64 {
            return problem(StatusCode::CONFLICT, "sold_out");
        }
        if self.cheats(Cheat::GivesOneCouponToTwo) && state.claims.len() == 7 && !state.cheated {
            state.cheated = true;
            let stolen = &state.claims[3];
            return claim_answer(&state, subject, stolen.serial, &stolen.code, false);
        }
        state.give(subject);
        let claim = &state.claims[state.claims.len() - 1];
        let another = self.cheats(Cheat::AnswersInTheNameOfAnother) && claim.serial == 5;
        let name = if another { "u000499x" } else { subject };
        claim_answer(&state, name, claim.serial, &claim.code, false)
    }

    fn decide_again(&self, state: &mut State, index: usize) -> Response<Full<Bytes>> {
        if self.cheats(Cheat::RefusesWhoAsksAgain) {
            return problem(StatusCode::CONFLICT, "sold_out");
        }
        if self.cheats(Cheat::GivesOnePersonTwo) && !state.cheated {
            state.cheated = true;
            let subject = state.claims[index].subject.clone();
            state.give(&subject);
            let claim = &state.claims[state.claims.len() - 1];
            return claim_answer(state, &subject, claim.serial, &claim.code, false);
        }
        let claim = &state.claims[index];
        claim_answer(state, &claim.subject, claim.serial, &claim.code, true)
    }
}

impl State {
    fn give(&mut self, subject: &str) {
        let serial = self.claims.len() as u64 + 1;
        self.by_subject.entry(subject.to_owned()).or_insert(self.claims.len());
        self.claims.push(Claim { serial, subject: subject.to_owned(), code: format!("C{:06X}", serial * 7_919) });
    }
}

fn record_line(claim: &Claim) -> Value {
    json!({
        "serial": claim.serial, "subject": claim.subject, "code": claim.code,
        "claimed_at": "2026-01-01T00:00:00Z", "status": "live",
    })
}

fn claim_answer(state: &State, subject: &str, serial: u64, code: &str, again: bool) -> Response<Full<Bytes>> {
    let status = if again { StatusCode::OK } else { StatusCode::CREATED };
    let body = json!({
        "campaign": state.campaign, "subject": subject, "serial": serial, "code": code,
        "claimed_at": "2026-01-01T00:00:00Z",
    });
    let mut response = json_answer(status, &body);
    if again {
        let mark = "true".parse().unwrap();
        response.headers_mut().insert("idempotent-replayed", mark);
    }
    response
}

fn busy(retry_after: &'static str) -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "queue_full");
    let seconds = retry_after.parse().unwrap();
    response.headers_mut().insert("retry-after", seconds);
    response
}

fn problem(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let body = json!({"title": code, "status": status.as_u16(), "code": code});
    json_answer(status, &body)
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// Where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    url(address)
}
