//! The server of the benchmarks: the product's own, with two additional routes: one that only reads and
//! writes JSON, and one that uses the other hand-over.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use edge::auth::Access;
use edge::auth::caller::Scope;
use edge::input::parse;
use firstcome::backend::Declined;
use firstcome::cli::ServeArgs;
use firstcome::http::answer;
use firstcome::http::calls;
use firstcome::http::context::Context;
use firstcome::http::problem::Problem;
use firstcome::keys::{self, Change, Decider};
use firstcome::operator::ORIGIN;
use firstcome::serve::{ServeSettings, Server, Tables, raise_files_max};
use firstcome::workloads::coupon::claims::ClaimBody;
use firstcome::workloads::coupon::json::ClaimedJson;
use serde_json::json;

use crate::Outcome;
use crate::handover::WriterThread;

/// The campaign of the claims.
pub(crate) const CAMPAIGN: &str = "bench";
/// The route without any decision.
pub(crate) const EMPTY: &str = "/bench/empty";
/// The route that hands claims to a writer thread.
pub(crate) const THREAD: &str = "/bench/thread";

/// The server's configuration.
pub(crate) struct Wanted {
    pub(crate) data: PathBuf,
    pub(crate) core: Option<usize>,
    pub(crate) places: Option<u64>,
    pub(crate) keys: bool,
    pub(crate) scaled: ScaledArgs,
}

/// The addresses of the engines of the scaled mode, if it is measured.
pub(crate) struct ScaledArgs {
    pub(crate) kafka: Option<String>,
    pub(crate) kafka_topic: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) postgres: Option<String>,
}

pub(crate) fn run(wanted: &Wanted) -> Outcome<()> {
    if let Some(core) = wanted.core {
        crate::pin(core)?;
    }
    raise_files_max();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(wanted))
}

async fn serve(wanted: &Wanted) -> Outcome<()> {
    let data = wanted.data.as_path();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let args = ServeArgs {
        listen: Some(([127, 0, 0, 1], 0).into()),
        data: Some(data.join("lock")),
        requests_max: wanted.places,
        // All subscribers connect from this machine.
        live_clients_per_address_max: Some(4_096),
        kafka: wanted.scaled.kafka.clone(),
        kafka_topic: wanted.scaled.kafka_topic.clone(),
        // There is only one broker.
        kafka_dev: true,
        redis: wanted.scaled.redis.clone(),
        postgres: wanted.scaled.postgres.clone(),
        ..ServeArgs::default()
    };
    let server = Server::open(&ServeSettings::new(&args)?).await?;
    let writer = Arc::new(WriterThread::start(&data.join("thread"))?);
    let mut table = calls::table();
    table.push(calls::route(EMPTY, Method::POST, Access::Scope(Scope::Issue), empty));
    table.push(calls::route(THREAD, Method::POST, Access::Scope(Scope::Issue), move |context| {
        claim_by_thread(context, Arc::clone(&writer))
    }));
    let key = if wanted.keys { make_key(&server).await? } else { String::new() };
    println!("{} {key}", server.address()?);
    server.run_with(Tables { public: table, admin: Vec::new() }, std::future::pending()).await?;
    Ok(())
}

async fn make_key(server: &Server) -> Outcome<String> {
    let app = server.app();
    let change = Change::Create { key: "bench".to_owned(), scopes: vec!["admin".to_owned()], campaigns: None };
    let made = keys::change(Decider::Server(app), &ORIGIN, &change).await?;
    Ok(made.secret.ok_or("a new key has a secret")?)
}

/// Reads a claim's body and sends a response of the same size, without a decision.
async fn empty(context: Context) -> Result<Response<Body>, Problem> {
    let body: ClaimBody = parse(context.json_body("application/json")?)?;
    body.subject()?;
    Ok(answer::json(StatusCode::CREATED, &json!({})))
}

async fn claim_by_thread(context: Context, writer: Arc<WriterThread>) -> Result<Response<Body>, Problem> {
    let body: ClaimBody = parse(context.json_body("application/json")?)?;
    body.subject()?;
    let claim = writer.claim(body.subject, context.request_id.clone()).await.map_err(Declined)?;
    Ok(answer::json(StatusCode::CREATED, &ClaimedJson::new(&context.app.codes, &claim)))
}
