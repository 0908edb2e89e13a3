//! Everything that is in the tables, of one instant, to check it against the record of decisions.

use std::fmt;
use std::time::Duration;

use domain::claims::ClaimStatus;
use domain::coupon::CampaignNumber;
use domain::request::Remembered;
use domain::types::{Serial, Timestamp};
use domain::wire::Position;
use domain::wire::state::decode_remembered;
use tokio_postgres::Row;

use super::Postgres;
use super::error::read_error;
use super::failure::Failure;
use super::lists::campaigns;
use super::origin::{Origin, POSITIONS, PartitionPosition, position_row, read_origin};
use super::reading::{Reading, Rows};
use super::values::{get, half, serial, signed_small, status, time, unsigned};
use crate::error::ReadError;
use crate::rows::CampaignRow;

/// A claim with every column that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullClaim {
    /// The id of its campaign ([`super::campaign_id`]).
    pub campaign: CampaignNumber,
    /// Its number in the campaign.
    pub serial: Serial,
    /// Whose it is.
    pub subject: String,
    /// When it was decided.
    pub claimed_at: Timestamp,
    /// What became of it, and when.
    pub status: ClaimStatus,
    /// Who asked.
    pub actor: String,
    /// By which request.
    pub request_id: String,
    /// Whether its campaign gave one to each subject then.
    pub only_one: bool,
}

/// A claim that is in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingClaim {
    /// The id of its campaign ([`super::campaign_id`]).
    pub campaign: CampaignNumber,
    /// Its number in the campaign.
    pub serial: Serial,
    /// Whose it is.
    pub subject: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// The tables as they were at one instant.
pub struct Scan {
    reading: Reading,
    origin: Origin,
    positions: Vec<PartitionPosition>,
    time_max: Duration,
}

impl Postgres {
    /// Begins to read everything; `None` while the tables are those of no cluster.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn scan(&self) -> Result<Option<Scan>, ReadError> {
        let time_max = self.inner.settings.bulk_timeout;
        let begin = async {
            let reading = Reading::begin(self, time_max).await?;
            let Some(origin) = read_origin(&reading).await? else {
                reading.end().await?;
                return Ok(None);
            };
            let positions = reading.all(POSITIONS, &[]).await?.iter().map(position_row).collect::<Result<_, _>>()?;
            Ok(Some(Scan { reading, origin, positions, time_max }))
        };
        begin.await.map_err(|failure| read_error(&failure, time_max))
    }
}

impl Scan {
    /// The record that the tables follow.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How far each partition is.
    #[must_use]
    pub fn positions(&self) -> &[PartitionPosition] {
        &self.positions
    }

    /// All campaigns, by rising id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn campaigns(&self) -> Result<Vec<CampaignRow>, ReadError> {
        campaigns(&self.reading).await.map_err(|failure| read_error(&failure, self.time_max))
    }

    /// The claims of a partition, by campaign and serial, as they are taken.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn claims(&self, partition: u32) -> Result<Streamed<FullClaim>, ReadError> {
        let sql = "SELECT campaign, serial, subject, claimed_at, status, changed_at, actor, request_id, only_one
                   FROM firstcome.claims WHERE campaign % $1 = $2 ORDER BY campaign, serial";
        self.of_partition(sql, partition, claim_of).await
    }

    /// The claims of a partition that are in the queue, by campaign and serial, as they are taken.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn queue(&self, partition: u32) -> Result<Streamed<WaitingClaim>, ReadError> {
        let sql = "SELECT campaign, serial, subject, accepted_at FROM firstcome.queue WHERE campaign % $1 = $2 ORDER BY campaign, serial";
        self.of_partition(sql, partition, waiting_of).await
    }

    /// The request keys that a partition remembers, oldest first, each with the decision that it was.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn requests(&self, partition: u32) -> Result<Streamed<(Position, Remembered)>, ReadError> {
        let sql = "SELECT ordinal, body FROM firstcome.requests WHERE partition = $1 ORDER BY ordinal";
        let rows = async { self.reading.rows(sql, &[&signed_small(partition)?]).await };
        let rows = rows.await.map_err(|failure| read_error(&failure, self.time_max))?;
        Ok(Streamed { rows, read: request_of, time_max: self.time_max })
    }

    async fn of_partition<T>(&self, sql: &str, partition: u32, read: fn(&Row) -> Result<T, Failure>) -> Result<Streamed<T>, ReadError> {
        let (partitions, partition) = (i64::from(self.origin.partitions), i64::from(partition));
        let rows = self.reading.rows(sql, &[&partitions, &partition]).await;
        let rows = rows.map_err(|failure| read_error(&failure, self.time_max))?;
        Ok(Streamed { rows, read, time_max: self.time_max })
    }

    /// Gives the connection back; dropped instead, it is closed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn end(self) -> Result<(), ReadError> {
        let time_max = self.time_max;
        self.reading.end().await.map_err(|failure| read_error(&failure, time_max))
    }
}

/// Rows on their way.
pub struct Streamed<T> {
    rows: Rows,
    read: fn(&Row) -> Result<T, Failure>,
    time_max: Duration,
}

impl<T> Streamed<T> {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<T>, ReadError> {
        let next = async { self.rows.next().await?.map(|row| (self.read)(&row)).transpose() };
        next.await.map_err(|failure: Failure| read_error(&failure, self.time_max))
    }
}

fn claim_of(row: &Row) -> Result<FullClaim, Failure> {
    Ok(FullClaim {
        campaign: CampaignNumber(half(row, 0)?),
        serial: serial(row, 1)?,
        subject: get(row, 2)?,
        claimed_at: time(row, 3)?,
        status: status(row, 4)?,
        actor: get(row, 6)?,
        request_id: get(row, 7)?,
        only_one: get(row, 8)?,
    })
}

fn waiting_of(row: &Row) -> Result<WaitingClaim, Failure> {
    let (campaign, serial) = (CampaignNumber(half(row, 0)?), serial(row, 1)?);
    Ok(WaitingClaim { campaign, serial, subject: get(row, 2)?, accepted_at: time(row, 3)? })
}

fn request_of(row: &Row) -> Result<(Position, Remembered), Failure> {
    let known = decode_remembered(get(row, 1)?).map_err(|error| Failure::Row(format!("a remembered request: {error}")))?;
    Ok((Position(unsigned(row, 0)?), known))
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Streamed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").finish_non_exhaustive()
    }
}
