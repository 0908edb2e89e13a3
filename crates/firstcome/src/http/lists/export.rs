//! Exports: whole lists, streamed while they are read.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use domain::types::Name;
#[cfg(feature = "scaled")]
use projection::postgres::Postgres;
use projection::{AsOf, ReadError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::{Format, Listing, head_of, text_response};
use crate::app::App;
use crate::backend::{Backend, Chosen};
use crate::history::{History, ListError};
use crate::http::problem::{HandlerResult, Problem};

/// Bytes that an export collects before it sends a chunk.
const CHUNK_BYTES: usize = 64 * 1_024;
/// Chunks buffered between the reading thread and a client.
const CHUNKS_MAX: usize = 4;

/// All selected entries, read in one transaction and streamed.
pub(super) async fn export(app: &Arc<App>, listing: &'static Listing, name: Name<'_>, chosen: Chosen, format: Format) -> HandlerResult {
    let (sender, mut receiver) = mpsc::channel::<Chunk>(CHUNKS_MAX);
    let (app, name) = (Arc::clone(app), name.as_str().to_owned());
    let passing = Passing { sender, runtime: Handle::current(), time_max: app.edge.limits.write_time };
    match &app.backend {
        Backend::Single { history, .. } => {
            let history = Arc::clone(history);
            tokio::task::spawn_blocking(move || {
                let permits = history.export_permit();
                let outcome = permits.and_then(|_permits| write_export(&app, &history, (listing, &name), &chosen, format, &passing));
                passing.end(outcome);
            });
        }
        #[cfg(feature = "scaled")]
        Backend::Scaled(scaled) => {
            let postgres = scaled.postgres.clone();
            tokio::spawn(async move {
                let outcome = pass_export(&app, &postgres, (listing, &name), &chosen, format, &passing).await;
                passing.end(outcome);
            });
        }
    }
    // The first message shows whether there is a list at all.
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

/// Passes an export from the reading thread to its client. With HTTP/2 a client can stop the flow of one
/// response while its connection is busy with others, so the connection's own write limit does not apply.
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
            // If the channel is full, the client has disconnected or does not read.
            let _ = self.sender.try_send(Chunk::Failed(error));
        }
    }
}

/// The rest of an export. If the export fails, the client sees a broken connection and not a list that looks
/// complete: only [`Chunk::Ends`] ends it normally.
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

/// The same from PostgreSQL.
#[cfg(feature = "scaled")]
async fn pass_export(
    app: &App,
    postgres: &Postgres,
    (listing, name): (&Listing, &str),
    chosen: &Chosen,
    format: Format,
    passing: &Passing,
) -> Result<(), ListError> {
    let name = Name::new(name).map_err(|error| ReadError::Store(error.into()))?;
    // The aggregate exists, and the tables have been waited for, so its row must be there.
    let missing = || ListError::Read(ReadError::Store("the aggregate is not in the tables".into()));
    let mut export = postgres.export(listing.table, name, chosen.selection()).await?.ok_or_else(missing)?;
    passing.pass_soon(Chunk::Begins(export.as_of())).await?;
    let mut text = head_of(listing, format);
    while let Some(row) = export.next().await? {
        (listing.write)(app, listing, (&row.aggregate, &row.cells()), format, &mut text)?;
        if CHUNK_BYTES <= text.len() {
            passing.pass_soon(Chunk::Bytes(taken(&mut text))).await?;
        }
    }
    export.end().await?;
    passing.pass_soon(Chunk::Bytes(taken(&mut text))).await?;
    passing.pass_soon(Chunk::Ends).await
}

fn write_export(
    app: &App,
    history: &History,
    (listing, name): (&Listing, &str),
    chosen: &Chosen,
    format: Format,
    passing: &Passing,
) -> Result<(), ListError> {
    let mut text = head_of(listing, format);
    let mut passed = Ok(());
    history.with_reader(|reader| {
        let view = reader.view()?;
        passed = passing.pass(Chunk::Begins(view.as_of()));
        if passed.is_err() {
            return Ok(());
        }
        let name = Name::new(name).map_err(|error| ReadError::Store(error.into()))?;
        view.for_each_entry(listing.table, name, chosen.selection(), |entry| {
            passed = (listing.write)(app, listing, (entry.aggregate, entry.cells), format, &mut text).map_err(ListError::from);
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
