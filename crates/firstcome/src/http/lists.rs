//! Lists of claims: pages of JSON, and whole campaigns as NDJSON or CSV. They read the history,
//! and wait for it to hold what was durable when the request came.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use domain::coupon::queue::Mode;
use domain::coupon::{CLAIMS, ClaimView, Coupon, STATUS, claim_of_row};
use domain::rows::Cell;
use domain::types::{Name, Serial};
use domain::{Kind, Listed, Number, Rejection};
#[cfg(feature = "scaled")]
use projection::postgres::Postgres;
use projection::{AggregateRow, AsOf, EntryKey, EntryRow, OwnedCell, ReadError};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::answer::{self, with_header};
use super::context::{Context, number};
use super::problem::{HandlerResult, Problem};
use super::times;
use crate::app::App;
use crate::backend::{Backend, Chosen, Declined, WaitError};
use crate::history::{History, ListError};
use crate::workloads::coupon::json::{ClaimJson, status_parts};
use edge::request::page_limit;

/// The instant that an export rests on.
pub const AS_OF: HeaderName = HeaderName::from_static("firstcome-as-of");
/// Bytes that an export gathers before it passes them on.
const CHUNK_BYTES: usize = 64 * 1_024;
/// Chunks between the reading thread and a client.
const CHUNKS_MAX: usize = 4;
/// The first line of a list as CSV.
pub const CSV_HEAD: &str = "campaign,serial,subject,code,claimed_at,status,redeemed_at,cancelled_at\r\n";

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Behind { .. } => Self::new("history_behind", error.to_string()).retry_after_ms(1_000),
            ListError::Busy | ListError::Unread => Self::new("busy", error.to_string()).retry_after_ms(500),
            ListError::Read(ReadError::Unavailable(_)) => {
                tracing::warn!(%error, "a list cannot be read now");
                Self::new("history_behind", "the history cannot be reached").retry_after_ms(1_000)
            }
            ListError::Read(ReadError::TooSlow(_)) => Self::new("busy", error.to_string()).retry_after_ms(2_000),
            ListError::Read(_) => {
                tracing::error!(%error, "a list cannot be read");
                Self::new("internal", "the history cannot be read")
            }
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Refused(refusal) => Declined(refusal).into(),
            WaitError::List(error) => error.into(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Ndjson,
    Csv,
}

/// `GET /v1/campaigns/{campaign}/claims`
pub async fn of_campaign(context: Context) -> HandlerResult {
    let name = context.named("campaign")?;
    let [after, limit, status] = context.query(["after", "limit", "status"])?;
    let having = status.map(status_word).transpose()?.map(|word| (STATUS, word));
    let chosen = Chosen { after: after.map(serial_cursor).transpose()?.map(key_of), having };
    let format = format(&context)?;
    let page_limit = page_limit(limit)?;
    let is_there = context.app.backend.read((Kind::Campaign, name), |found, _| found.is_some()).await?;
    if !is_there {
        return Err(Declined::from(Rejection::NotFound(Kind::Campaign)).into());
    }
    context.app.backend.wait_for_one(name, context.app.edge.limits.history_time).await?;
    if format != Format::Json && limit.is_none() {
        return export(&context.app, name, chosen, format).await;
    }
    let limit = u32::try_from(page_limit).unwrap_or(u32::MAX);
    let page = context.app.backend.entries(&CLAIMS, name, chosen, limit).await?;
    let next = page.next.as_ref().and_then(serial_of).map(|serial| serial.to_string());
    match format {
        Format::Json => json_page(&context.app, &page.rows, next, page.as_of),
        Format::Ndjson | Format::Csv => text_page(&context.app, &page.rows, format, page.as_of),
    }
}

/// `GET /v1/subjects/{subject}/claims`
pub async fn of_subject(context: Context) -> HandlerResult {
    let subject = context.subject()?;
    let [after, limit] = context.query(["after", "limit"])?;
    let after = after.map(subject_cursor).transpose()?;
    let limit = u32::try_from(page_limit(limit)?).unwrap_or(u32::MAX);
    context.app.backend.wait_for_all(context.app.edge.limits.history_time).await?;
    let page = context.app.backend.entries_found(&CLAIMS, subject.as_str(), context.caller.campaigns(), after, limit).await?;
    let next = page.next.as_ref().and_then(|key| Some(format!("{}-{}", key.number.0, serial_of(key)?)));
    json_page(&context.app, &page.rows, next, page.as_of)
}

fn json_page(app: &App, rows: &[EntryRow], next: Option<String>, as_of: AsOf) -> HandlerResult {
    let views = rows.iter().map(|row| view_of(&row.aggregate, &row.cells())).collect::<Result<Vec<ClaimView>, ReadError>>();
    let views = views.map_err(ListError::from)?;
    let claims: Vec<ClaimJson<'_>> = views.iter().map(|view| ClaimJson::new(&app.codes, view)).collect();
    let as_of = json!({ "position": as_of.position.0, "time": times::format(as_of.time) });
    Ok(answer::json(StatusCode::OK, &json!({ "claims": claims, "next": next, "as_of": as_of })))
}

fn text_page(app: &App, rows: &[EntryRow], format: Format, as_of: AsOf) -> HandlerResult {
    let mut text = head_of(format).as_bytes().to_vec();
    for row in rows {
        write_row(app, (&row.aggregate, &row.cells()), format, &mut text).map_err(ListError::from)?;
    }
    Ok(text_response(Body::from(text), format, as_of))
}

/// All claims that are chosen, read in one transaction and passed on as they come.
async fn export(app: &Arc<App>, name: Name<'_>, chosen: Chosen, format: Format) -> HandlerResult {
    let (sender, mut receiver) = mpsc::channel::<Chunk>(CHUNKS_MAX);
    let (app, campaign) = (Arc::clone(app), name.as_str().to_owned());
    let passing = Passing { sender, runtime: Handle::current(), time_max: app.edge.limits.write_time };
    match &app.backend {
        Backend::Single { history, .. } => {
            let history = Arc::clone(history);
            tokio::task::spawn_blocking(move || {
                let permits = history.export_permit();
                let outcome = permits.and_then(|_permits| write_export(&app, &history, &campaign, &chosen, format, &passing));
                passing.end(outcome);
            });
        }
        #[cfg(feature = "scaled")]
        Backend::Scaled(scaled) => {
            let postgres = scaled.postgres.clone();
            tokio::spawn(async move {
                let outcome = pass_export(&app, &postgres, &campaign, &chosen, format, &passing).await;
                passing.end(outcome);
            });
        }
    }
    // What comes first says whether there is a list at all.
    match receiver.recv().await {
        Some(Chunk::Begins(as_of)) => Ok(text_response(Body::from_stream(Rest { receiver, has_ended: false }), format, as_of)),
        Some(Chunk::Failed(error)) => Err(error.into()),
        Some(Chunk::Bytes(_) | Chunk::Ends) | None => Err(Problem::new("internal", "the export ended before it began")),
    }
}

enum Chunk {
    Begins(AsOf),
    Bytes(Bytes),
    Ends,
    Failed(ListError),
}

/// The way of an export from the reading thread to its client. HTTP/2 lets a client stop the flow
/// of one answer while its connection is busy with others, so that the connection's own limit does
/// not notice.
struct Passing {
    sender: mpsc::Sender<Chunk>,
    runtime: Handle,
    time_max: Duration,
}

impl Passing {
    fn pass(&self, chunk: Chunk) -> Result<(), ListError> {
        self.runtime.block_on(self.pass_soon(chunk))
    }

    async fn pass_soon(&self, chunk: Chunk) -> Result<(), ListError> {
        let passed = tokio::time::timeout(self.time_max, self.sender.send(chunk)).await;
        passed.map_err(|_| ListError::Unread)?.map_err(|_| ListError::Unread)
    }

    fn end(&self, outcome: Result<(), ListError>) {
        if let Err(error) = outcome {
            // Where there is no room for it, the client has gone or does not read.
            let _ = self.sender.try_send(Chunk::Failed(error));
        }
    }
}

/// What follows the beginning. Whoever reads sees the connection break off instead of a list that
/// looks whole: only [`Chunk::Ends`] is the end.
struct Rest {
    receiver: mpsc::Receiver<Chunk>,
    has_ended: bool,
}

impl Stream for Rest {
    type Item = Result<Bytes, ListError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let chunk = std::task::ready!(self.receiver.poll_recv(context));
        if let Some(Chunk::Bytes(bytes)) = chunk {
            return Poll::Ready(Some(Ok(bytes)));
        }
        self.has_ended = true;
        match chunk {
            Some(Chunk::Ends) => Poll::Ready(None),
            Some(Chunk::Failed(error)) => Poll::Ready(Some(Err(error))),
            Some(Chunk::Begins(_) | Chunk::Bytes(_)) | None => Poll::Ready(Some(Err(ListError::Unread))),
        }
    }
}

/// The same from a database that is asked over the network.
#[cfg(feature = "scaled")]
async fn pass_export(
    app: &App,
    postgres: &Postgres,
    campaign: &str,
    chosen: &Chosen,
    format: Format,
    passing: &Passing,
) -> Result<(), ListError> {
    let name = Name::new(campaign).map_err(|error| ReadError::Store(error.into()))?;
    // The campaign is there, and so its row will be: the tables have been waited for.
    let missing = || ListError::Read(ReadError::Store("the campaign is not in the tables".into()));
    let mut export = postgres.export(&CLAIMS, name, chosen.selection()).await?.ok_or_else(missing)?;
    passing.pass_soon(Chunk::Begins(export.as_of())).await?;
    let mut text = head_of(format).as_bytes().to_vec();
    while let Some(row) = export.next().await? {
        write_row(app, (&row.aggregate, &row.cells()), format, &mut text)?;
        if CHUNK_BYTES <= text.len() {
            passing.pass_soon(Chunk::Bytes(taken(&mut text))).await?;
        }
    }
    export.end().await?;
    passing.pass_soon(Chunk::Bytes(taken(&mut text))).await?;
    passing.pass_soon(Chunk::Ends).await
}

fn write_export(app: &App, history: &History, campaign: &str, chosen: &Chosen, format: Format, passing: &Passing) -> Result<(), ListError> {
    let mut text = head_of(format).as_bytes().to_vec();
    let mut passed = Ok(());
    history.with_reader(|reader| {
        let view = reader.view()?;
        passed = passing.pass(Chunk::Begins(view.as_of()));
        if passed.is_err() {
            return Ok(());
        }
        let name = Name::new(campaign).map_err(|error| ReadError::Store(error.into()))?;
        view.for_each_entry(&CLAIMS, name, chosen.selection(), |entry| {
            passed = write_row(app, (entry.aggregate, entry.cells), format, &mut text).map_err(ListError::from);
            if passed.is_ok() && CHUNK_BYTES <= text.len() {
                passed = passing.pass(Chunk::Bytes(taken(&mut text)));
            }
            if passed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    })?;
    passed?;
    passing.pass(Chunk::Bytes(taken(&mut text)))?;
    passing.pass(Chunk::Ends)
}

fn taken(text: &mut Vec<u8>) -> Bytes {
    Bytes::from(std::mem::replace(text, Vec::with_capacity(CHUNK_BYTES + 1_024)))
}

fn write_row(app: &App, (campaign, cells): (&AggregateRow, &[Cell<'_>]), format: Format, text: &mut Vec<u8>) -> Result<(), ReadError> {
    let view = view_of(campaign, cells)?;
    match format {
        Format::Json | Format::Ndjson => {
            // Writing to memory cannot fail.
            let _ = serde_json::to_writer(&mut *text, &ClaimJson::new(&app.codes, &view));
            text.push(b'\n');
        }
        Format::Csv => text.extend_from_slice(csv_row(app, &view).as_bytes()),
    }
    Ok(())
}

/// No field can hold a comma or a quote. A subject that a spreadsheet would take for a formula can
/// only begin with a minus sign, and is quoted with an apostrophe as is the custom.
fn csv_row(app: &App, view: &ClaimView) -> String {
    let (status, redeemed_at, cancelled_at) = status_parts(view.status);
    let time = |time: Option<domain::types::Timestamp>| time.map(times::format).unwrap_or_default();
    let plain = |name: &str| if name.starts_with('-') { format!("'{name}") } else { name.to_owned() };
    format!(
        "{},{},{},{},{},{status},{},{}\r\n",
        plain(&view.campaign),
        view.serial.get(),
        plain(&view.subject),
        app.codes.code(view.code_key, &view.campaign, view.serial),
        times::format(view.claimed_at),
        time(redeemed_at),
        time(cancelled_at),
    )
}

fn text_response(body: Body, format: Format, as_of: AsOf) -> Response<Body> {
    let mut response = Response::new(body);
    let media_type = match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8; header=present",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    with_header(response, AS_OF, &format!("position={}, time={}", as_of.position.0, times::format(as_of.time)))
}

fn head_of(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Ndjson => "",
        Format::Csv => CSV_HEAD,
    }
}

fn view_of(campaign: &AggregateRow, cells: &[Cell<'_>]) -> Result<ClaimView, ReadError> {
    let settings = Coupon::settings(&campaign.settings).ok_or_else(|| ReadError::Store("claims of what is no campaign".into()))?;
    let claim = claim_of_row(cells).ok_or_else(|| ReadError::Store("a row of claims that no claim has".into()))?;
    Ok(ClaimView {
        campaign: Arc::clone(&campaign.name),
        code_key: settings.code_key,
        subject: claim.subject.as_str().to_owned(),
        serial: claim.serial,
        claimed_at: claim.claimed_at,
        status: claim.status,
        // What is pending is in no list.
        mode: Mode::Direct,
        waiting: None,
    })
}

/// The best of the three formats that the caller accepts (RFC 9110, 12.5.1).
fn format(context: &Context) -> Result<Format, Problem> {
    let accepted: Vec<&str> = context.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accepted = accepted.join(",");
    if accepted.trim().is_empty() {
        return Ok(Format::Json);
    }
    let offers = [("application/json", Format::Json), ("application/x-ndjson", Format::Ndjson), ("text/csv", Format::Csv)];
    let weighed = offers.map(|(media_type, format)| (weight(&accepted, media_type), format));
    // Of equals the first wins.
    let best = weighed.into_iter().rev().max_by_key(|(weight, _)| *weight).filter(|(weight, _)| 0 < *weight);
    best.map(|(_, format)| format)
        .ok_or_else(|| Problem::new("not_acceptable", "the list comes as application/json, application/x-ndjson or text/csv"))
}

/// The weight of a media type in thousandths: that of the most specific range that matches it.
fn weight(accepted: &str, media_type: &str) -> u32 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let ranges = accepted.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let specificity = match name {
            _ if name.eq_ignore_ascii_case(media_type) => 2,
            "*/*" => 0,
            _ if name.strip_suffix("/*").is_some_and(|prefix| prefix.eq_ignore_ascii_case(kind)) => 1,
            _ => return None,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |quality| quality.parse::<f64>().ok())?;
        Some((specificity, thousandths(quality)))
    });
    ranges.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, quality)| quality)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 1,000")]
fn thousandths(quality: f64) -> u32 {
    (quality.clamp(0.0, 1.0) * 1_000.0) as u32
}

fn status_word(status: &str) -> Result<&'static str, Problem> {
    let word = ["live", "redeemed", "cancelled"].into_iter().find(|word| *word == status);
    word.ok_or_else(|| Problem::parameter("status", "must be live, redeemed or cancelled"))
}

fn serial_cursor(after: &str) -> Result<Serial, Problem> {
    let serial = number(after).and_then(Serial::new);
    serial.ok_or_else(|| Problem::parameter("after", "must be a `next` of an earlier page"))
}

fn subject_cursor(after: &str) -> Result<EntryKey, Problem> {
    let cursor = after
        .split_once('-')
        .and_then(|(campaign, serial)| Some(EntryKey { number: Number(number(campaign)?), key: key_of(Serial::new(number(serial)?)?) }));
    cursor.ok_or_else(|| Problem::parameter("after", "must be a `next` of an earlier page"))
}

fn key_of(serial: Serial) -> Vec<OwnedCell> {
    vec![OwnedCell::Number(u64::from(serial.get()))]
}

fn serial_of(key: &EntryKey) -> Option<u64> {
    let [OwnedCell::Number(serial)] = *key.key else { return None };
    Some(serial)
}
