//! The only writer. A lock asks for one writer at a time, and the position enforces it: it moves in the same
//! transaction as the rows, and only from where the writer believes it to be. A writer that is late, or was
//! wrongly given up for dead, changes nothing.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use domain::Record;
use domain::wire::Position;

use super::batch::{Batch, BatchError};
use super::connection::within;
use super::error::ProjectError;
use super::failure::Failure;
use super::origin::PartitionPosition;
use super::reading::Parameters;
use super::values::{Time, get, signed, signed_small, unsigned_small};
use super::{LOCK_SPACE, Postgres};

const LOCK: i32 = 2;

const BEGIN: &str = "START TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";
const MOVE: &str = "UPDATE firstcome.positions SET offset_next = $5, decisions = $6, effective_at = $7, rules_version = $8, digest = $9
                    WHERE partition = $1 AND offset_next = $2 AND decisions = $3 AND (digest = $4 OR offset_next = 0)";
const IS_OTHER_CHAIN: &str =
    "SELECT true FROM firstcome.positions WHERE partition = $1 AND offset_next = $2 AND decisions = $3 AND digest <> $4";

/// One decision, in the order of its partition.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// Its position: the partition's decisions are counted from 1.
    pub position: Position,
    /// The decided record.
    pub record: Record<'a>,
}

/// The lock that allows writing, on a connection of its own. The lock ends with the connection.
pub struct Projector {
    pub(super) db: ClientWrapper,
    partitions: u32,
    pub(super) answer_max: Duration,
    is_lost: bool,
}

impl Projector {
    /// Becomes the projector; `None` while another one holds the lock.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn try_begin(postgres: &Postgres) -> Result<Option<Self>, ProjectError> {
        let answer_max = postgres.inner.settings.answer_max();
        let db = postgres.open().await?;
        let row = within(answer_max, db.query_one("SELECT pg_is_in_recovery()", &[])).await?;
        if get(&row, 0)? {
            return Err(ProjectError::Standby { host: postgres.host().to_owned() });
        }
        let origin = within(answer_max, db.query_opt("SELECT partitions FROM firstcome.origin", &[])).await?;
        let partitions = unsigned_small(&origin.ok_or(ProjectError::NoOrigin)?, 0)?;
        let row = within(answer_max, db.query_one("SELECT pg_try_advisory_lock($1, $2)", &[&LOCK_SPACE, &LOCK])).await?;
        Ok(get::<bool>(&row, 0)?.then_some(Self { db, partitions, answer_max, is_lost: false }))
    }

    /// Whether the projector can no longer write: its connection is closed or in an unknown state. Begin
    /// another one then.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost || self.db.is_closed()
    }

    /// Writes the decisions of one partition and moves its position from `before` to `after`, all or nothing.
    /// Without decisions, only the position moves.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn apply(
        &mut self,
        before: &PartitionPosition,
        after: &PartitionPosition,
        decided: &[Decided<'_>],
    ) -> Result<(), ProjectError> {
        check_follows(before, after, decided)?;
        self.begin().await?;
        if let Err(error) = self.write(before, after, decided).await {
            self.roll_back().await;
            return Err(error);
        }
        self.commit(after.partition).await
    }

    /// Begins a transaction. Until it ends the projector counts as lost, because a cancelled call would leave
    /// the transaction open.
    pub(super) async fn begin(&mut self) -> Result<(), ProjectError> {
        if self.is_lost() {
            return Err(ProjectError::Lost);
        }
        self.is_lost = true;
        Ok(self.run(BEGIN).await?)
    }

    pub(super) async fn roll_back(&mut self) {
        self.is_lost = self.run("ROLLBACK").await.is_err();
    }

    async fn write(&self, before: &PartitionPosition, after: &PartitionPosition, decided: &[Decided<'_>]) -> Result<(), ProjectError> {
        self.advance(before, after).await?;
        let batch = Batch { db: &self.db, answer_max: self.answer_max, partition: before.partition, partitions: self.partitions };
        batch.write(decided).await.map_err(|error| match error {
            BatchError::Failure(failure) => failure.into(),
            BatchError::Conflict { position, what } => ProjectError::Conflict { partition: before.partition, position, what },
        })
    }

    /// Moves the position first: from here on, another writer of this partition waits.
    async fn advance(&self, before: &PartitionPosition, after: &PartitionPosition) -> Result<(), ProjectError> {
        let PartitionPosition { partition, offset_next, decisions, .. } = *before;
        let (id, offset, count) = (signed_small(partition)?, signed(offset_next)?, signed(decisions)?);
        let (offset_after, count_after, time) = (signed(after.offset_next)?, signed(after.decisions)?, Time(after.effective_at));
        let rules_version = signed_small(after.rules_version)?;
        let statement = within(self.answer_max, self.db.prepare_cached(MOVE)).await?;
        let parameters: Parameters<'_> =
            &[&id, &offset, &count, &before.digest, &offset_after, &count_after, &time, &rules_version, &after.digest];
        if within(self.answer_max, self.db.execute(&statement, parameters)).await? == 1 {
            return Ok(());
        }
        let other = within(self.answer_max, self.db.query_opt(IS_OTHER_CHAIN, &[&id, &offset, &count, &before.digest])).await?;
        if other.is_some() {
            return Err(other_chain(before));
        }
        Err(ProjectError::Moved { partition, offset_next, decisions })
    }

    pub(super) async fn commit(&mut self, partition: u32) -> Result<(), ProjectError> {
        match self.run("COMMIT").await {
            Ok(()) => {
                self.is_lost = false;
                Ok(())
            }
            Err(failure) if failure.is_answer() => {
                self.is_lost = false;
                Err(failure.into())
            }
            Err(failure) => Err(ProjectError::Unclear { partition, what: failure.describe() }),
        }
    }

    async fn run(&self, sql: &str) -> Result<(), Failure> {
        within(self.answer_max, self.db.batch_execute(sql)).await
    }
}

impl fmt::Debug for Projector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projector").field("partitions", &self.partitions).field("is_lost", &self.is_lost()).finish_non_exhaustive()
    }
}

/// The part of a batch that is not in the tables yet; `None` if all of it is. A projector that starts from a
/// copy of the state sees decisions again whose rows are already written; these are skipped, up to the
/// tables' position.
///
/// # Errors
/// [`ProjectError::Conflict`] if the batch ends at the tables' offset with another digest.
pub fn not_yet_in<'d, 'a>(
    tables: &PartitionPosition,
    after: &PartitionPosition,
    decided: &'d [Decided<'a>],
) -> Result<Option<&'d [Decided<'a>]>, ProjectError> {
    if after.offset_next < tables.offset_next {
        return Ok(None);
    }
    if after.offset_next == tables.offset_next {
        return if after == tables { Ok(None) } else { Err(other_chain(tables)) };
    }
    let written = decided.partition_point(|one| one.position.0 <= tables.decisions);
    Ok(decided.get(written..))
}

fn other_chain(tables: &PartitionPosition) -> ProjectError {
    let what = "the tables are at this place by other decisions: the digests differ".to_owned();
    ProjectError::Conflict { partition: tables.partition, position: Position(tables.decisions), what }
}

/// Checks what the tables cannot, because only the caller has both positions.
fn check_follows(before: &PartitionPosition, after: &PartitionPosition, decided: &[Decided<'_>]) -> Result<(), ProjectError> {
    let partition = before.partition;
    let mut last = Position(before.decisions);
    for one in decided {
        let expected = Position(last.0 + 1);
        if one.position != expected {
            return Err(ProjectError::Gap { partition, expected, found: one.position });
        }
        last = one.position;
    }
    if last.0 != after.decisions {
        return Err(ProjectError::Gap { partition, expected: Position(last.0 + 1), found: Position(after.decisions) });
    }
    let goes_back = after.offset_next < before.offset_next || after.effective_at < before.effective_at;
    if goes_back || after.partition != partition {
        let what = "it was to be moved back, or to another partition".to_owned();
        return Err(ProjectError::Conflict { partition, position: last, what });
    }
    Ok(())
}
