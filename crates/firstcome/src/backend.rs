//! Who decides, and which tables are read: one machine's engine and files, or a node among others.
//! Two kinds, one set of calls, so that what is above does not know which one it is.
#![cfg_attr(not(feature = "scaled"), expect(unused_variables, reason = "some parameters are for the scaled mode only"))]

use std::sync::Arc;
use std::time::Duration;

use domain::Command;
use domain::coupon::{self, CampaignNumber, TargetBy};
use domain::rate_limit::policies;
use domain::types::{CampaignName, PolicyName, RequestId, Serial, SubjectId, Timestamp};
use engine::Engine;
use engine::views::{ClaimView, Done, NamedCampaign, PolicyView, Refusal, WatchedCampaign};
use projection::{ClaimFilter, Page, ReadError, SubjectPage};

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
    /// Claims in memory, cancelled ones included.
    pub claims_count: u64,
    /// Request keys in memory.
    pub requests_count: u64,
    /// Campaigns.
    pub campaigns_count: u64,
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

    /// A campaign as it stands, exact at one instant, if there is one.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn campaign(&self, name: CampaignName<'_>) -> Result<Option<NamedCampaign>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.campaign(name).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.campaign(name).await?),
        }
    }

    /// Up to `limit` campaigns after a name, in the order of names.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn campaigns(&self, after: Option<&str>, prefix: &str, limit: usize) -> Result<Vec<NamedCampaign>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.campaigns(after, prefix, limit).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.campaigns(after, prefix, limit).await?),
        }
    }

    /// A campaign for somebody who watches, as it was durable a moment ago, with its last claims.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn watched(&self, name: CampaignName<'_>, last_max: u32, now: Timestamp) -> Result<Option<WatchedCampaign>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.watched(name, last_max).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.watched(name, last_max, now)),
        }
    }

    /// A policy of a rate limit, if there is one.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn policy(&self, name: PolicyName<'_>) -> Result<Option<PolicyView>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.policy(name).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(_) => Err(Declined(Refusal::NotAcrossMachines)),
        }
    }

    /// Up to `limit` policies after a name, in the order of names.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn policies(&self, after: Option<&str>, limit: usize) -> Result<Vec<PolicyView>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.policies(after, limit).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(_) => Err(Declined(Refusal::NotAcrossMachines)),
        }
    }

    /// A claim as it stands.
    ///
    /// # Errors
    /// [`Declined`], also if there is no such claim.
    pub async fn claim(&self, name: CampaignName<'_>, by: TargetBy<'_>) -> Result<ClaimView, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.claim(name, by).await??),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.claim_of(name, by).await??),
        }
    }

    /// The claim with this serial, pending or decided, if there is one.
    ///
    /// # Errors
    /// [`Declined`].
    pub async fn claim_at(&self, name: CampaignName<'_>, serial: Serial) -> Result<Option<ClaimView>, Declined> {
        match self {
            Self::Single { engine, .. } => Ok(engine.claim_at(name, serial).await?),
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.node.claim_at(name, serial).await?),
        }
    }

    /// Waits until the tables hold what was decided about a campaign before the call.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn wait_for_campaign(&self, name: CampaignName<'_>, at_most: Duration) -> Result<(), WaitError> {
        match self {
            Self::Single { engine, history } => Ok(history.wait_for(engine.durable_lsn(), at_most).await?),
            #[cfg(feature = "scaled")]
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
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                scaled.node.pass_all_barriers().await?;
                let wanted: Vec<(u32, u64)> = (0..).zip(scaled.node.progress().iter().map(|progress| progress.offset_next)).collect();
                wait_for_tables(scaled, &wanted, at_most).await
            }
        }
    }

    /// Some claims of a campaign, by rising serial, from the tables.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn claims_of_campaign(
        &self,
        name: CampaignName<'_>,
        after: Option<Serial>,
        limit: u32,
        filter: ClaimFilter,
    ) -> Result<Page, ListError> {
        match self {
            Self::Single { history, .. } => {
                let campaign = name.as_str().to_owned();
                let read = history.read(move |reader| {
                    let name = CampaignName::new(&campaign).map_err(|error| ReadError::Store(error.into()))?;
                    reader.claims_of_campaign(name, after, limit, filter)
                });
                read.await
            }
            #[cfg(feature = "scaled")]
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.postgres.claims_of_campaign(name, after, limit, filter).await?),
        }
    }

    /// Some claims of a subject, by campaign and serial, from the tables.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn claims_of_subject(
        &self,
        subject: SubjectId<'_>,
        prefix: &str,
        after: Option<(CampaignNumber, Serial)>,
        limit: u32,
    ) -> Result<SubjectPage, ListError> {
        match self {
            Self::Single { history, .. } => {
                let (subject, prefix) = (subject.as_str().to_owned(), prefix.to_owned());
                let read = history.read(move |reader| {
                    let subject = SubjectId::new(&subject).map_err(|error| ReadError::Store(error.into()))?;
                    reader.claims_of_subject(subject, &prefix, after, limit)
                });
                read.await
            }
            #[cfg(feature = "scaled")]
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => Ok(scaled.postgres.claims_of_subject(subject, prefix, after, limit).await?),
        }
    }

    /// Why no request should be sent here; `None` if nothing is in the way.
    pub async fn not_ready(&self) -> Option<&'static str> {
        match self {
            Self::Single { engine, .. } => engine.has_failed().then_some("the journal cannot be written"),
            #[cfg(feature = "scaled")]
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) if scaled.node.has_failed() => Some("the log cannot be followed"),
            #[cfg(feature = "scaled")]
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
                    claims_count: status.claims_count,
                    requests_count: status.requests_count,
                    campaigns_count: status.campaigns_count,
                    is_read_only: status.is_read_only,
                    ahead_of_clock_ms: status.ahead_of_clock_ms,
                }
            }
            #[cfg(feature = "scaled")]
            #[cfg(feature = "scaled")]
            Self::Scaled(scaled) => {
                let status = scaled.node.status();
                BackendStatus {
                    position: status.decisions,
                    snapshot_position: scaled.positions.decisions(),
                    history_position: scaled.positions.decisions(),
                    is_history_broken: scaled.projecting.has_conflict.load(std::sync::atomic::Ordering::Relaxed),
                    commits_count: scaled.node.log().delivered_count(),
                    claims_count: status.claims_count,
                    requests_count: status.requests_count,
                    campaigns_count: status.campaigns_count,
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

impl From<coupon::Rejection> for Declined {
    fn from(rejection: coupon::Rejection) -> Self {
        Self(Refusal::Rejected(rejection.into()))
    }
}

impl From<policies::Rejection> for Declined {
    fn from(rejection: policies::Rejection) -> Self {
        Self(Refusal::Rejected(rejection.into()))
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
