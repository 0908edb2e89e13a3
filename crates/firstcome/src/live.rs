//! The contents of live streams. The streams themselves are part of `edge`.
//!
//! An aggregate is read as for a response: only after the shown state is durable (W2).

use std::sync::Arc;

use domain::Kind;
use domain::types::{Name, Timestamp};
use domain::workload::{AnyAggregate, AnySummary};
use edge::live::{Picture, Source};
use serde_json::Map;

use crate::app::App;
use crate::backend::Declined;
use crate::http::settings::shown;

/// The contents of a kind's live stream. One value exists for each stream, so that it can compare
/// with earlier reads.
pub trait Show: Default + Send + Sync + 'static {
    /// The part of an aggregate that is copied.
    type Seen: Send + Sync;

    /// Copies the part to be shown.
    fn see(aggregate: &AnyAggregate, now: Timestamp) -> Option<Self::Seen>;

    /// Renders the copy.
    fn picture(&self, app: &App, name: &str, seen: Self::Seen) -> Picture;
}

/// Settings and figures, for every reader.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Show for Plain {
    type Seen = AnySummary;

    fn see(aggregate: &AnyAggregate, now: Timestamp) -> Option<AnySummary> {
        Some(aggregate.summary(now))
    }

    fn picture(&self, _app: &App, _name: &str, summary: AnySummary) -> Picture {
        Picture { public: shown(&summary), private: Map::new() }
    }
}

/// The source of an aggregate's live stream.
#[derive(Debug)]
pub struct AggregateSource<S> {
    app: Arc<App>,
    kind: Kind,
    name: String,
    show: S,
}

impl<S: Show> AggregateSource<S> {
    /// A source, and the first picture.
    #[must_use]
    pub fn new(app: &Arc<App>, kind: Kind, name: String, seen: S::Seen) -> (Self, Picture) {
        let source = Self { app: Arc::clone(app), kind, name, show: S::default() };
        let picture = source.show.picture(app, &source.name, seen);
        (source, picture)
    }
}

impl<S: Show> Source for AggregateSource<S> {
    async fn look(&self) -> Option<Picture> {
        let name = Name::new(&self.name).ok()?;
        // A failed disk ends the server; after any other error the next read may succeed.
        let seen = see::<S>(&self.app, (self.kind, name)).await.ok()??;
        Some(self.show.picture(&self.app, &self.name, seen))
    }
}

/// Reads an aggregate from this server's durable state, if it exists.
///
/// # Errors
/// [`Declined`].
pub async fn see<S: Show>(app: &App, one: (Kind, Name<'_>)) -> Result<Option<S::Seen>, Declined> {
    app.backend.read_local(one, app.clock.now(), |found, now| found.and_then(|aggregate| S::see(aggregate, now))).await
}
