//! The log that the tables belong to, and the position of each partition. Both are checked before any
//! decision is based on them: the tables of another cluster would lead to wrong decisions silently.

use domain::types::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::connection::within;
use super::error::{LoadError, OriginError};
use super::failure::Failure;
use super::reading::Reading;
use super::values::{get, signed_small, time, unsigned, unsigned_small};

/// The log that the tables belong to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The id of the Kafka cluster.
    pub cluster_id: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's id: a topic that is recreated under the same name has another one.
    pub topic_id: String,
    /// The number of partitions, at least 1.
    pub partitions: u32,
    /// A fingerprint of the secret that the claims' codes are derived from; the secret does not follow from it.
    pub code_secret: String,
}

/// The position of one partition in the tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionPosition {
    /// The partition.
    pub partition: u32,
    /// The offset of the first record that is not applied yet.
    pub offset_next: u64,
    /// The number of applied decisions.
    pub decisions: u64,
    /// The effective time at this position.
    pub effective_at: Timestamp,
    /// The version of the rules at this position.
    pub rules_version: u32,
    /// The digest at this position.
    pub digest: Vec<u8>,
}

impl PartitionPosition {
    /// The position before the first record.
    #[must_use]
    pub fn first(partition: u32) -> Self {
        Self { partition, ..Self::default() }
    }
}

const ORIGIN: &str = "SELECT cluster_id, topic, topic_id, partitions, code_secret FROM firstcome.origin";
pub(super) const POSITIONS: &str =
    "SELECT partition, offset_next, decisions, effective_at, rules_version, digest FROM firstcome.positions ORDER BY partition";
const POSITION: &str =
    "SELECT partition, offset_next, decisions, effective_at, rules_version, digest FROM firstcome.positions WHERE partition = $1";

impl Postgres {
    /// Assigns this log to the tables, the first time; later, checks that it is the same one. Any number of
    /// nodes may do so at once.
    ///
    /// # Errors
    /// [`OriginError`].
    pub async fn claim_origin(&self, origin: &Origin) -> Result<(), OriginError> {
        let limit = self.inner.settings.answer_max();
        let partitions = signed_small(origin.partitions)?;
        let mut db = self.open().await?;
        let stored = within(limit, store_origin(&mut db, origin, partitions)).await?;
        for (what, stored, given) in [
            ("the cluster id", &stored.cluster_id, &origin.cluster_id),
            ("the topic", &stored.topic, &origin.topic),
            ("the topic id", &stored.topic_id, &origin.topic_id),
            ("the number of partitions", &stored.partitions.to_string(), &origin.partitions.to_string()),
            ("the fingerprint of code-secret", &stored.code_secret, &origin.code_secret),
        ] {
            if stored != given {
                return Err(OriginError::Differs { what, stored: stored.clone(), given: given.clone() });
            }
        }
        Ok(())
    }

    /// The log that the tables belong to; `None` before the first [`Postgres::claim_origin`].
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn origin(&self) -> Result<Option<Origin>, LoadError> {
        let reading = Reading::begin(self, self.inner.settings.statement_timeout).await?;
        let origin = read_origin(&reading).await?;
        reading.end().await?;
        Ok(origin)
    }

    /// The position of each partition.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn positions(&self) -> Result<Vec<PartitionPosition>, LoadError> {
        let reading = Reading::begin(self, self.inner.settings.statement_timeout).await?;
        let rows = reading.all(POSITIONS, &[]).await?;
        reading.end().await?;
        Ok(rows.iter().map(position_row).collect::<Result<_, _>>()?)
    }

    /// The position of a partition.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn position(&self, partition: u32) -> Result<PartitionPosition, LoadError> {
        let reading = Reading::begin(self, self.inner.settings.statement_timeout).await?;
        let row = reading.first(POSITION, &[&signed_small(partition)?]).await?;
        reading.end().await?;
        Ok(row.as_ref().map(position_row).transpose()?.unwrap_or_else(|| PartitionPosition::first(partition)))
    }
}

/// Inserts the origin if there is none, and returns the stored one. An insert that conflicts with another
/// node's waits until that one commits or aborts, so that all nodes see the same.
async fn store_origin(db: &mut tokio_postgres::Client, origin: &Origin, partitions: i32) -> Result<Origin, Failure> {
    let transaction = db.transaction().await?;
    let insert = "INSERT INTO firstcome.origin (cluster_id, topic, topic_id, partitions, code_secret)
                  VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    transaction.execute(insert, &[&origin.cluster_id, &origin.topic, &origin.topic_id, &partitions, &origin.code_secret]).await?;
    let positions = "INSERT INTO firstcome.positions (partition, offset_next, decisions, effective_at, rules_version, digest)
                     SELECT number, 0, 0, to_timestamp(0), 0, '' FROM firstcome.origin, generate_series(0, partitions - 1) AS number
                     ON CONFLICT DO NOTHING";
    transaction.execute(positions, &[]).await?;
    let stored = origin_row(&transaction.query_one(ORIGIN, &[]).await?)?;
    transaction.commit().await?;
    Ok(stored)
}

pub(super) async fn read_origin(reading: &Reading) -> Result<Option<Origin>, Failure> {
    reading.first(ORIGIN, &[]).await?.as_ref().map(origin_row).transpose()
}

pub(super) fn origin_row(row: &Row) -> Result<Origin, Failure> {
    let (cluster_id, topic, topic_id) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
    Ok(Origin { cluster_id, topic, topic_id, partitions: unsigned_small(row, 3)?, code_secret: get(row, 4)? })
}

pub(super) fn position_row(row: &Row) -> Result<PartitionPosition, Failure> {
    Ok(PartitionPosition {
        partition: unsigned_small(row, 0)?,
        offset_next: unsigned(row, 1)?,
        decisions: unsigned(row, 2)?,
        effective_at: time(row, 3)?,
        rules_version: unsigned_small(row, 4)?,
        digest: get(row, 5)?,
    })
}
