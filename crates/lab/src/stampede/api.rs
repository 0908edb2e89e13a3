//! The API that every strategy serves: the part of Firstcome's API that a rush needs, so that the same rush
//! drives all of them. Reads come from the tables, never from a strategy's own memory.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::child::{ChildSettings, GREETING};
use crate::coupon::{Answer, Strategy};
use crate::frame::error::LabError;
use crate::frame::kafka::Topic;
use crate::frame::postgres::{ASIDE, Database, find, row, run};
use crate::frame::tools::Trouble;

/// Retry delay while a claim is not decided yet.
const RETRY_AFTER_MS: u64 = 100;

struct Served<S> {
    strategy: Arc<S>,
    /// For reads, beside the strategy's own pool.
    tables: Database,
    topic: Option<Arc<Topic>>,
}

#[derive(Deserialize)]
struct CampaignBody {
    stock: i64,
}

#[derive(Deserialize)]
struct ClaimBody {
    subject: String,
}

pub(crate) async fn serve<S: Strategy>(settings: &ChildSettings) -> Result<(), LabError> {
    let tools = settings.tools()?;
    let topic = tools.topic.clone();
    let tables = tools.database(ASIDE).await?;
    let strategy = Arc::new(S::open(tools).await?);
    if let Some(topic) = &topic {
        let (strategy, runtime) = (Arc::clone(&strategy), Handle::current());
        topic.follow(move |record| runtime.block_on(strategy.consume(record)))?;
    }
    let served = Arc::new(Served { strategy, tables, topic });
    let routes = Router::new()
        .route("/v1/campaigns/{campaign}", get(read_campaign::<S>).put(make_campaign::<S>))
        .route("/v1/campaigns/{campaign}/claims", post(claim::<S>).get(read_claims::<S>))
        .with_state(served);
    let other = LabError::other("cannot listen");
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await.map_err(|error| other(&error))?;
    eprintln!("{GREETING} http://127.0.0.1:{}", settings.port);
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| other(&error))?;
        stream.set_nodelay(true).map_err(|error| other(&error))?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        // The task ends with the connection; the client sees any error.
        tokio::spawn(async move { connection.await.ok() });
    }
}

async fn make_campaign<S: Strategy>(
    State(served): State<Arc<Served<S>>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Trouble> {
    let CampaignBody { stock } = serde_json::from_slice(&body)?;
    let db = served.tables.connection().await?;
    let insert = "INSERT INTO campaigns (name, stock, remaining) VALUES ($1, $2, $2) ON CONFLICT DO NOTHING";
    run(&db, insert, &[&name, &stock]).await?;
    served.strategy.announce(&name, stock).await?;
    Ok((StatusCode::CREATED, Json(json!({"campaign": name, "stock": stock}))).into_response())
}

async fn read_campaign<S: Strategy>(State(served): State<Arc<Served<S>>>, Path(name): Path<String>) -> Result<Response, Trouble> {
    served.settle().await?;
    let db = served.tables.connection().await?;
    let Some(campaign) = find(&db, "SELECT stock FROM campaigns WHERE name = $1", &[&name]).await? else {
        return Ok((StatusCode::NOT_FOUND, Json(json!({"code": "campaign_not_found"}))).into_response());
    };
    let stock: i64 = campaign.get(0);
    let claimed: i64 = row(&db, "SELECT count(*) FROM claims WHERE campaign = $1", &[&name]).await?.get(0);
    let remaining = (stock - claimed).max(0);
    Ok(Json(json!({"campaign": name, "stock": stock, "claimed": claimed, "remaining": remaining})).into_response())
}

/// Every claim, one JSON object per line.
async fn read_claims<S: Strategy>(State(served): State<Arc<Served<S>>>, Path(name): Path<String>) -> Result<Response, Trouble> {
    served.settle().await?;
    let db = served.tables.connection().await?;
    let rows = db.query("SELECT serial, subject FROM claims WHERE campaign = $1 ORDER BY serial", &[&name]).await?;
    let lines = rows.iter().map(|row| format!("{}\n", claim_json(&name, row.get(1), row.get(0))));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines.collect::<String>()).into_response())
}

async fn claim<S: Strategy>(State(served): State<Arc<Served<S>>>, Path(name): Path<String>, body: Bytes) -> Result<Response, Trouble> {
    let ClaimBody { subject } = serde_json::from_slice(&body)?;
    let answer = match served.strategy.claim(&name, &subject).await? {
        Answer::Claimed(serial) => (StatusCode::CREATED, Json(claim_json(&name, &subject, serial))).into_response(),
        Answer::Repeat(serial) => (StatusCode::OK, Json(claim_json(&name, &subject, serial))).into_response(),
        Answer::SoldOut => (StatusCode::CONFLICT, Json(json!({"code": "sold_out"}))).into_response(),
    };
    Ok(answer)
}

/// The code is derived from the serial: the check is only whether both belong to the person.
fn claim_json(campaign: &str, subject: &str, serial: i64) -> serde_json::Value {
    json!({"campaign": campaign, "subject": subject, "serial": serial, "code": format!("{campaign}-{serial}")})
}

impl<S> Served<S> {
    /// Waits until every acknowledged claim is in the tables, or should be.
    async fn settle(&self) -> Result<(), Trouble> {
        match &self.topic {
            Some(topic) => topic.caught_up().await,
            None => Ok(()),
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            // Without a retry delay: most clients that get it give up.
            Trouble::Busy(detail) => (StatusCode::SERVICE_UNAVAILABLE, json!({"code": "busy", "detail": detail})),
            Trouble::Pending(detail) => {
                (StatusCode::SERVICE_UNAVAILABLE, json!({"code": "pending", "detail": detail, "retry_after_ms": RETRY_AFTER_MS}))
            }
            Trouble::Failed(detail) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"code": "failed", "detail": detail})),
        };
        (status, Json(body)).into_response()
    }
}
