//! The backend that decides commands and reads tables: one machine's engine and files, or a node of a
//! cluster. Both offer the same calls, so that handlers do not depend on the mode.
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

/// Decides commands.
#[derive(Debug)]
pub enum Backend {
    /// This process alone, with its own journal.
    Single {
        /// The one writer.
        engine: Arc<Engine>,
        /// The history's tables, for lists.
        history: Arc<History>,
    },
    /// A node that follows a shared log.
    #[cfg(feature = "scaled")]
    Scaled(Box<Scaled>),
}

/// The backend's status, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendStatus {
    /// The number of decisions.
    pub position: u64,
    /// The position of the last snapshot.
    pub snapshot_position: u64,
    /// The number of decisions in the tables that lists read.
    pub history_position: u64,
    /// Whether the tables can no longer follow the decisions.
    pub is_history_broken: bool,
    /// Writes and syncs of the journal since the start.
    pub commits_count: u64,
    /// Aggregates, entries and request keys in memory.
    pub counts: Counts,
    /// Whether new decisions are refused because the journal has no room left.
    pub is_read_only: bool,
}

impl Backend {
    /// Decides a command, and waits until the answer may be released.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn submit(&self, command: &Command<'_>, request_id: RequestId<'_>) -> Result<Done, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.submit(command, request_id).await?),
            // This path's future is large; boxing keeps it out of the caller's.
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(Box::pin(scaled.node.submit(command, request_id)).await?),
        }
    }

    /// Reads the aggregate of this kind and name, if it exists, exact as of the instant given to `look`.
    /// `look` copies what the answer needs.
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

    /// The same, typed for a workload.
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

    /// Reads this process's own durable state, as of `wall` or later; across machines other nodes may be
    /// ahead. For live streams and counters, never for an answer.
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
                // Called once, because one aggregate is in one partition.
                let mut look = Some(look);
                let looked = scaled
                    .node
                    .read_local(Over::One(kind, name), wall, |state, now| look.take().map(|look| look(state.find(kind, name), now)));
                Ok(looked.into_iter().flatten().next().ok_or(Refusal::NotCaughtUp)?)
            }
        }
    }

    /// The same, typed for a workload.
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

    /// Up to `limit` aggregates of a kind whose names begin with `prefix`, ordered by name, after the given one.
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

    /// The results of `look` for every aggregate of a workload in this process's own state.
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

    /// The current state of a claim.
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

    /// Waits until the tables hold every decision before the call in the group of `name` ([`Name::group`]).
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

    /// Waits until the tables hold every decision before the call.
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

    /// A page of an aggregate's entries, by their keys, from the tables.
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

    /// A page of entries, over all aggregates whose names begin with `prefix`, found by the table's lookup column.
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

    /// Why the server is not ready for requests; `None` if it is.
    pub async fn not_ready(&self) -> Option<&'static str> {
        match self {
            Self::Single { engine, .. } => engine.has_failed().then_some("the journal cannot be written"),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) if scaled.node.has_failed() => Some("the log cannot be followed"),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.node.pass_all_barriers().await.err().map(|_| "the log does not answer in time"),
        }
    }

    /// Why the backend cannot continue, if it has failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Single { engine, .. } => engine.has_failed().then(|| "the journal cannot be written".to_owned()),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.failure().map(str::to_owned),
        }
    }

    /// The engine, if this process decides alone.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        match self {
            Self::Single { engine, .. } => Some(engine),
            #[cfg(feature = "scaled")]
            Self::Scaled(_) => None,
        }
    }

    /// The last record's time, of all partitions: what is decided now is not earlier.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Single { engine, .. } => engine.time(),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.node.effective_at(),
        }
    }

    /// The backend's status, for metrics.
    #[must_use]
    pub fn status(&self) -> BackendStatus {
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
                }
            }
        }
    }

    /// Sets the time back to `to`, with a record; a time that is not ahead of it stays.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn set_time(&self, to: Timestamp) -> Result<(), Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.set_time(to, RequestId::OPERATOR).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.set_time(to, RequestId::OPERATOR).await?),
        }
    }

    /// Closes the backend; every answered command is durable.
    pub async fn close(&self) {
        match self {
            Self::Single { engine, history } => {
                let (engine, history) = (Arc::clone(engine), Arc::clone(history));
                let closed = tokio::task::spawn_blocking(move || {
                    history.close();
                    engine.close();
                });
                // A panic in the thread has already been reported.
                let _ = closed.await;
            }
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => scaled.close().await,
        }
    }
}

/// Why the backend gave no answer: the rules rejected the command, or it could not be decided.
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

/// Selects entries of an aggregate: a [`Selection`] that can be sent to another thread.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Only entries after the one with this key.
    pub after: Option<Vec<OwnedCell>>,
    /// Only entries with this text in this column.
    pub having: Option<(usize, &'static str)>,
}

impl Chosen {
    /// The selection, borrowed.
    #[must_use]
    pub fn selection(&self) -> Selection<'_> {
        Selection { after: self.after.as_deref(), having: self.having }
    }
}

/// Why it is unknown whether the tables hold the required decisions.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The node could not confirm that its own state is current.
    #[error("the node has not caught up")]
    Refused(Refusal),
    /// The tables did not reach the required position in time.
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
