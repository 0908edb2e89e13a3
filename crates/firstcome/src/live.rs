//! Live streams: what they show of an aggregate. The streams themselves are `edge`'s.
//!
//! An aggregate is read as for a response: only after what is shown is durable (W2).

use std::sync::Arc;

use domain::Kind;
use domain::types::{Name, Timestamp};
use domain::workload::{AnyAggregate, AnySummary};
use edge::live::{Picture, Source};
use serde_json::Map;

use crate::app::App;
use crate::backend::Declined;
use crate::http::settings::shown;

/// What the live stream of a kind shows. One of these lives as long as a stream, so that it can
/// compare with what it saw before.
pub trait Show: Default + Send + Sync + 'static {
    /// What is copied of an aggregate.
    type Seen: Send + Sync;

    /// Copies what is to be shown.
    fn see(aggregate: &AnyAggregate, now: Timestamp) -> Option<Self::Seen>;

    /// Shows what was copied of the aggregate of this name.
    fn picture(&self, app: &App, name: &str, seen: Self::Seen) -> Picture;
}

/// Settings and figures, for everyone who may read them.
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

/// Reads an aggregate for its live stream.
#[derive(Debug)]
pub struct AggregateSource<S> {
    app: Arc<App>,
    kind: Kind,
    name: String,
    show: S,
}

impl<S: Show> AggregateSource<S> {
    /// A source, and the first picture: the aggregate as it was durable a moment ago.
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
        // A disk that has failed ends the server; anything else may be readable the next time.
        let seen = see::<S>(&self.app, (self.kind, name)).await.ok()??;
        Some(self.show.picture(&self.app, &self.name, seen))
    }
}

/// An aggregate as it was durable a moment ago, if there is one.
///
/// # Errors
/// [`Declined`].
pub async fn see<S: Show>(app: &App, one: (Kind, Name<'_>)) -> Result<Option<S::Seen>, Declined> {
    app.backend.read_local(one, app.clock.now(), |found, now| found.and_then(|aggregate| S::see(aggregate, now))).await
}
