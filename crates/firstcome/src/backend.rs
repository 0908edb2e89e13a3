//! Who decides, and which tables are read: one machine's engine and files, or a node among others.
//! Two kinds, one set of calls, so that what is above does not know which one it is.
#![cfg_attr(not(feature = "scaled"), expect(unused_variables, reason = "some parameters are for the scaled mode only"))]

use std::sync::Arc;
use std::time::Duration;

use domain::coupon::{self, ClaimView, Coupon, TargetBy};
use domain::rows::Table;
use domain::types::{Name, RequestId, Serial, Timestamp};
use domain::workload::{AnyAggregate, AnySummary};
use domain::{Aggregate, Command, Kind, Listed, Rejection, State};
use engine::Engine;
use engine::engine::Counts;
use engine::views::{Done, Over, Refusal};
use projection::{EntryKey, EntryPage, OwnedCell, ReadError, Selection};

use crate::history::{History, ListError};
#[cfg(feature = "scaled")]
use crate::scaled::Scaled;

/// Who decides.
#[derive(Debug)]
pub enum Backend {
    /// This process alone.
    Single {
        /// The one writer.
        engine: Arc<Engine>,
        /// The tables that lists read.
        history: Arc<History>,
    },
    /// The order of a log, which other processes follow as well.
    #[cfg(feature = "scaled")]
    Scaled(Box<Scaled>),
}

/// What the backend has to say of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendStatus {
    /// Decisions so far.
    pub position: u64,
    /// The decision of the last snapshot.
    pub snapshot_position: u64,
    /// Decisions in the tables that lists read.
    pub history_position: u64,
    /// Whether the tables cannot follow.
    pub is_history_broken: bool,
    /// Writes and syncs of the journal since the start.
    pub commits_count: u64,
    /// Aggregates, entries and request keys in memory.
    pub counts: Counts,
    /// Whether there is no room for another decision.
    pub is_read_only: bool,
    /// How far the last record's time is ahead of the clock, in milliseconds.
    pub ahead_of_clock_ms: u64,
}

impl Backend {
    /// Has a command decided, and waits until the answer may be given.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.submit(command, request_id).await?),
            // A way with many turns: its future is large, and made only here.
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(Box::pin(scaled.node.submit(command, request_id)).await?),
        }
    }

    /// Looks at the aggregate of this kind and name, if there is one, exact at the instant that `look` is
    /// given. `look` copies what the answer needs.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn read<T>(
        &self,
        (kind, name): (Kind, Name<'_>),
        look: impl FnOnce(Option<&AnyAggregate>, Timestamp) -> T,
    ) -> Result<T, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.read(Over::One(kind, name), |state, now| look(state.find(kind, name), now)).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.read_one(name, |state, now| look(state.find(kind, name), now)).await?),
        }
    }

    /// The same for an aggregate of a workload.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn read_of<W: Listed, T>(
        &self,
        name: Name<'_>,
        look: impl FnOnce(Option<&Aggregate<W>>, Timestamp) -> T,
    ) -> Result<T, Declined> {
        self.read((W::KIND, name), |found, now| look(found.and_then(W::of), now)).await
    }

    /// The same as it was durable a moment ago, at `wall` or later: across machines, others may know more.
    /// For live streams and counters, never for an answer.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn read_local<T>(
        &self,
        (kind, name): (Kind, Name<'_>),
        wall: Timestamp,
        look: impl FnOnce(Option<&AnyAggregate>, Timestamp) -> T,
    ) -> Result<T, Declined> {
        match self {
            Self::Single { .. } => self.read((kind, name), look).await,
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                // It is called once: one aggregate is in one partition.
                let mut look = Some(look);
                let looked = scaled
                    .node
                    .read_local(Over::One(kind, name), wall, |state, now| look.take().map(|look| look(state.find(kind, name), now)));
                Ok(looked.into_iter().flatten().next().ok_or(Refusal::NotCaughtUp)?)
            }
        }
    }

    /// The same for an aggregate of a workload.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn read_local_of<W: Listed, T>(
        &self,
        name: Name<'_>,
        wall: Timestamp,
        look: impl FnOnce(Option<&Aggregate<W>>, Timestamp) -> T,
    ) -> Result<T, Declined> {
        self.read_local((W::KIND, name), wall, |found, now| look(found.and_then(W::of), now)).await
    }

    /// Up to `limit` aggregates of a kind whose names begin with `prefix`, after a name, in the order of
    /// names.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn summaries(&self, kind: Kind, after: Option<&str>, prefix: &str, limit: usize) -> Result<Vec<AnySummary>, Declined> {
        let look = |state: &State, now| -> Vec<AnySummary> {
            state.named_after(kind, after, prefix).take(limit).map(|aggregate| aggregate.summary(now)).collect()
        };
        match self {
            Self::Single { engine, .. } => Ok(engine.read(Over::Kind(kind), look).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                let mut summaries: Vec<AnySummary> = scaled.node.read(Over::Kind(kind), look).await?.into_iter().flatten().collect();
                summaries.sort_unstable_by(|one, other| one.head().name.cmp(&other.head().name));
                summaries.truncate(limit);
                Ok(summaries)
            }
        }
    }

    /// What `look` makes of every aggregate of a workload, as this process knows them.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn each_local<W: Listed, T>(&self, wall: Timestamp, look: impl Fn(&Aggregate<W>) -> T) -> Result<Vec<T>, Declined> {
        let all = |state: &State, _now| -> Vec<T> { state.all::<W>().map(&look).collect() };
        match self {
            Self::Single { engine, .. } => Ok(engine.read(Over::Kind(W::KIND), all).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.read_local(Over::Kind(W::KIND), wall, all).into_iter().flatten().collect()),
        }
    }

    /// A claim as it stands.
    ///
    /// # Errors
    /// [`Declined`], also if there is no such claim.
    pub async fn claim(&self, name: Name<'_>, by: TargetBy<'_>) -> Result<ClaimView, Declined> {
        let claim = self.read_of::<Coupon, _>(name, |campaign, now| {
            let campaign = campaign.ok_or(Rejection::NotFound(Kind::Campaign))?;
            let claim = campaign.find(by).map_err(Rejection::of::<Coupon>)?;
            campaign.claim_view(claim.serial, now).ok_or(Rejection::of::<Coupon>(coupon::Rejection::ClaimNotFound))
        });
        Ok(claim.await??)
    }

    /// The claim with this serial, pending or decided, if there is one.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn claim_at(&self, name: Name<'_>, serial: Serial) -> Result<Option<ClaimView>, Declined> {
        self.read_of::<Coupon, _>(name, |campaign, now| campaign?.claim_view(serial, now)).await
    }

    /// Waits until the tables hold what was decided in a group before the call: what has the name, and the
    /// names beside it.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn wait_for_one(&self, name: Name<'_>, at_most: Duration) -> Result<(), WaitError> {
        match self {
            Self::Single { engine, history } => Ok(history.wait_for(engine.durable_lsn(), at_most).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                let (partition, progress) = scaled.node.caught_up_with(name).await?;
                wait_for_tables(scaled, &[(partition, progress.offset_next)], at_most).await
            }
        }
    }

    /// Waits until the tables hold everything that was decided before the call.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn wait_for_all(&self, at_most: Duration) -> Result<(), WaitError> {
        match self {
            Self::Single { engine, history } => Ok(history.wait_for(engine.durable_lsn(), at_most).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                scaled.node.pass_all_barriers().await?;
                let wanted: Vec<(u32, u64)> = (0..).zip(scaled.node.progress().iter().map(|progress| progress.offset_next)).collect();
                wait_for_tables(scaled, &wanted, at_most).await
            }
        }
    }

    /// Some entries of an aggregate, by their keys, from the tables.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn entries(&self, table: &'static Table, name: Name<'_>, chosen: Chosen, limit: u32) -> Result<EntryPage, ListError> {
        match self {
            Self::Single { history, .. } => {
                let name = name.as_str().to_owned();
                let read = history.read(move |reader| {
                    let name = Name::new(&name).map_err(|error| ReadError::Store(error.into()))?;
                    reader.entries(table, name, chosen.selection(), limit)
                });
                read.await
            }
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.postgres.entries(table, name, chosen.selection(), limit).await?),
        }
    }

    /// Some entries over all aggregates whose names begin with `prefix`, found by what the table is
    /// searched by, from the tables.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn entries_found(
        &self,
        table: &'static Table,
        by: &str,
        prefix: &str,
        after: Option<EntryKey>,
        limit: u32,
    ) -> Result<EntryPage, ListError> {
        match self {
            Self::Single { history, .. } => {
                let (by, prefix) = (by.to_owned(), prefix.to_owned());
                history.read(move |reader| reader.entries_found(table, &by, &prefix, after.as_ref(), limit)).await
            }
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.postgres.entries_found(table, by, prefix, after.as_ref(), limit).await?),
        }
    }

    /// Why no request should be sent here; `None` if nothing is in the way.
    pub async fn not_ready(&self) -> Option<&'static str> {
        match self {
            Self::Single { engine, .. } => engine.has_failed().then_some("the journal cannot be written"),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) if scaled.node.has_failed() => Some("the log cannot be followed"),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.node.pass_all_barriers().await.err().map(|_| "the log does not answer in time"),
        }
    }

    /// Why it cannot go on, if it cannot.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Single { engine, .. } => engine.has_failed().then(|| "the journal cannot be written".to_owned()),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.failure().map(str::to_owned),
        }
    }

    /// The engine, where this process decides alone.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        match self {
            Self::Single { engine, .. } => Some(engine),
            #[cfg(feature = "scaled")]
            Self::Scaled(_) => None,
        }
    }

    /// Counts, for metrics; `now` in milliseconds.
    #[must_use]
    pub fn status(&self, now: u64) -> BackendStatus {
        match self {
            Self::Single { engine, history } => {
                let status = engine.status();
                BackendStatus {
                    position: status.durable_lsn.0,
                    snapshot_position: status.snapshot_lsn.0,
                    history_position: history.position(),
                    is_history_broken: history.is_broken(),
                    commits_count: status.commits_count,
                    counts: status.counts,
                    is_read_only: status.is_read_only,
                    ahead_of_clock_ms: status.ahead_of_clock_ms,
                }
            }
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                let status = scaled.node.status();
                BackendStatus {
                    position: status.decisions,
                    snapshot_position: scaled.positions.decisions(),
                    history_position: scaled.positions.decisions(),
                    is_history_broken: scaled.projecting.has_conflict.load(std::sync::atomic::Ordering::Relaxed),
                    commits_count: scaled.node.log().delivered_count(),
                    counts: status.counts,
                    is_read_only: false,
                    ahead_of_clock_ms: status.effective_at.millis().saturating_sub(now),
                }
            }
        }
    }

    /// Ends it: what was answered is kept.
    pub async fn close(&self) {
        match self {
            Self::Single { engine, history } => {
                let (engine, history) = (Arc::clone(engine), Arc::clone(history));
                let closed = tokio::task::spawn_blocking(move || {
                    history.close();
                    engine.close();
                });
                // A panic in it has been told already.
                let _ = closed.await;
            }
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.close().await,
        }
    }
}

/// Why the backend gave no answer: the rules refused, or it could not decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declined(pub Refusal);

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Rejection> for Declined {
    fn from(rejection: Rejection) -> Self {
        Self(Refusal::Rejected(rejection))
    }
}

impl From<coupon::Rejection> for Declined {
    fn from(rejection: coupon::Rejection) -> Self {
        Rejection::of::<Coupon>(rejection).into()
    }
}

/// Which entries of an aggregate are read: a [`Selection`] that can be sent to another thread.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Those behind the one with this key.
    pub after: Option<Vec<OwnedCell>>,
    /// Those with this text in this column.
    pub having: Option<(usize, &'static str)>,
}

impl Chosen {
    /// The selection.
    #[must_use]
    pub fn selection(&self) -> Selection<'_> {
        Selection { after: self.after.as_deref(), having: self.having }
    }
}

/// Why the tables are not known to hold what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The node does not know what that is.
    #[error("the node has not caught up")]
    Refused(Refusal),
    /// They do not hold it in time.
    #[error(transparent)]
    List(#[from] ListError),
}

impl From<Refusal> for WaitError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(feature = "scaled")]
async fn wait_for_tables(scaled: &Scaled, wanted: &[(u32, u64)], at_most: Duration) -> Result<(), WaitError> {
    let waited = scaled.positions.wait_for(wanted, at_most).await;
    let records = wanted.iter().map(|(_, offset)| offset).sum::<u64>();
    Ok(waited.map_err(|missing| ListError::Behind { at: records.saturating_sub(missing), wanted: records })?)
}
