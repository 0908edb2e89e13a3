//! Lists to show and to export, in the rows that one machine's history gives as well. Each call sees
//! the tables as they were at one instant.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use domain::coupon::CampaignNumber;
use domain::types::{CampaignName, Serial, SubjectId};
use domain::wire::Position;
use tokio_postgres::Row;

use super::Postgres;
use super::error::read_error;
use super::failure::Failure;
use super::origin::{POSITIONS, position_row};
use super::reading::{Reading, Rows};
use super::values::{SETTINGS, get, half, serial, settings, status, time, unsigned};
use crate::error::ReadError;
use crate::rows::{AsOf, CampaignRow, ClaimFilter, ClaimRow, Page, SubjectPage};

const CAMPAIGN: &str =
    "SELECT id, decisions, effective_at FROM firstcome.campaigns JOIN firstcome.positions USING (partition) WHERE name = $1";
const CLAIM_COLUMNS: &str = "claims.campaign, claims.serial, claims.subject, claims.claimed_at, claims.status, claims.changed_at, campaigns.name, campaigns.code_key";

impl Postgres {
    /// All campaigns by rising id ([`super::campaign_id`]), and what the list rests on: the decisions of all
    /// partitions together, and the latest of their times.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn campaigns(&self) -> Result<(Vec<CampaignRow>, AsOf), ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let read = async {
            let reading = Reading::begin(self, time_max).await?;
            let as_of = as_of_all(&reading).await?;
            let campaigns = campaigns(&reading).await?;
            reading.end().await?;
            Ok((campaigns, as_of))
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// At most `limit` claims of a campaign, by rising serial from the first after `after`; none
    /// if there is no such campaign yet. It rests on the decisions of the campaign's partition.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn claims_of_campaign(
        &self,
        campaign: CampaignName<'_>,
        after: Option<Serial>,
        limit: u32,
        filter: ClaimFilter,
    ) -> Result<Page, ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let read = async {
            let reading = Reading::begin(self, time_max).await?;
            let Some((id, as_of)) = find(&reading, campaign).await? else {
                reading.end().await?;
                return Ok(Page { rows: Vec::new(), next: None, as_of: AsOf::default() });
            };
            let (after, one_more) = (i64::from(after.map_or(0, Serial::get)), one_more(limit));
            let sql = format!("{} LIMIT $3", claims_after(filter));
            let rows = claim_rows(&reading.all(&sql, &[&id, &after, &one_more]).await?)?;
            reading.end().await?;
            let (rows, is_last) = cut(rows, limit);
            let next = rows.last().filter(|_| !is_last).map(|row| row.serial);
            Ok(Page { rows, next, as_of })
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// At most `limit` claims of a subject in campaigns whose names begin with `prefix`, by campaign
    /// and serial from the first after `after`. It rests on the decisions of all partitions together.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn claims_of_subject(
        &self,
        subject: SubjectId<'_>,
        prefix: &str,
        after: Option<(CampaignNumber, Serial)>,
        limit: u32,
    ) -> Result<SubjectPage, ReadError> {
        let time_max = self.inner.settings.statement_timeout;
        let read = async {
            let reading = Reading::begin(self, time_max).await?;
            let as_of = as_of_all(&reading).await?;
            let (campaign, serial) = after.map_or((0, 0), |(campaign, serial)| (i64::from(campaign.0), i64::from(serial.get())));
            let sql = format!(
                "SELECT {CLAIM_COLUMNS} FROM firstcome.claims JOIN firstcome.campaigns ON campaigns.id = claims.campaign
                 WHERE claims.subject = $1 AND ($2, $3) < (claims.campaign, claims.serial) AND starts_with(campaigns.name, $4)
                 ORDER BY claims.campaign, claims.serial LIMIT $5"
            );
            let (subject, one_more) = (subject.as_str(), one_more(limit));
            let rows = claim_rows(&reading.all(&sql, &[&subject, &campaign, &serial, &prefix, &one_more]).await?)?;
            reading.end().await?;
            let (rows, is_last) = cut(rows, limit);
            let next = rows.last().filter(|_| !is_last).map(|row| (row.number, row.serial));
            Ok(SubjectPage { rows, next, as_of })
        };
        read.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// Every claim of a campaign, by rising serial, as they are taken; `None` if there is no such
    /// campaign yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn export(&self, campaign: CampaignName<'_>, filter: ClaimFilter) -> Result<Option<Export>, ReadError> {
        let time_max = self.inner.settings.bulk_timeout;
        let begin = async {
            let reading = Reading::begin(self, time_max).await?;
            let Some((id, as_of)) = find(&reading, campaign).await? else {
                reading.end().await?;
                return Ok(None);
            };
            let rows = reading.rows(&claims_after(filter), &[&id, &0_i64]).await?;
            Ok(Some(Export { reading, rows, name: None, as_of, time_max }))
        };
        begin.await.map_err(|failure| read_error(&failure, time_max))
    }

    /// Gives every claim of a campaign to `take`, by rising serial, until it breaks off; returns what
    /// they rest on.
    ///
    /// # Errors
    /// [`ReadError`]; `take` may have seen some claims by then.
    pub async fn for_each_claim(
        &self,
        campaign: CampaignName<'_>,
        mut take: impl FnMut(ClaimRow) -> ControlFlow<()>,
    ) -> Result<AsOf, ReadError> {
        let Some(mut export) = self.export(campaign, ClaimFilter::All).await? else { return Ok(AsOf::default()) };
        while let Some(row) = export.next().await? {
            if take(row).is_break() {
                return Ok(export.as_of());
            }
        }
        let as_of = export.as_of();
        export.end().await?;
        Ok(as_of)
    }
}

/// Claims on their way out, all of one instant. The database sends no faster than they are taken.
pub struct Export {
    reading: Reading,
    rows: Rows,
    name: Option<Arc<str>>,
    as_of: AsOf,
    time_max: Duration,
}

impl Export {
    /// What every claim rests on.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// The next claim; `None` after the last.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<ClaimRow>, ReadError> {
        let row = self.rows.next().await.map_err(|failure| read_error(&failure, self.time_max))?;
        let claim = row.map(|row| claim_row(&row, &mut self.name)).transpose();
        claim.map_err(|failure| read_error(&failure, self.time_max))
    }

    /// Gives the connection back, after the last claim; dropped instead, it is closed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn end(self) -> Result<(), ReadError> {
        let Self { reading, rows, time_max, .. } = self;
        drop(rows);
        reading.end().await.map_err(|failure| read_error(&failure, time_max))
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("as_of", &self.as_of).finish_non_exhaustive()
    }
}

pub(super) async fn campaigns(reading: &Reading) -> Result<Vec<CampaignRow>, Failure> {
    let sql = format!("SELECT id, name, version, code_key, created_at, changed_at, {SETTINGS} FROM firstcome.campaigns ORDER BY id");
    let rows = reading.all(&sql, &[]).await?;
    rows.iter().map(campaign_row).collect()
}

fn campaign_row(row: &Row) -> Result<CampaignRow, Failure> {
    Ok(CampaignRow {
        number: CampaignNumber(half(row, 0)?),
        name: get::<&str>(row, 1)?.into(),
        settings: settings(row, 6)?,
        version: unsigned(row, 2)?,
        code_key: half(row, 3)?,
        created_at: time(row, 4)?,
        changed_at: time(row, 5)?,
    })
}

/// The claims of campaign `$1` with a serial above `$2`.
fn claims_after(filter: ClaimFilter) -> String {
    let condition = match filter {
        ClaimFilter::All => "",
        ClaimFilter::Live => "AND claims.status = 'live'",
        ClaimFilter::Redeemed => "AND claims.status = 'redeemed'",
        ClaimFilter::Cancelled => "AND claims.status = 'cancelled'",
    };
    format!(
        "SELECT {CLAIM_COLUMNS} FROM firstcome.claims JOIN firstcome.campaigns ON campaigns.id = claims.campaign
         WHERE claims.campaign = $1 AND $2 < claims.serial {condition} ORDER BY claims.serial"
    )
}

async fn find(reading: &Reading, campaign: CampaignName<'_>) -> Result<Option<(i64, AsOf)>, Failure> {
    let Some(row) = reading.first(CAMPAIGN, &[&campaign.as_str()]).await? else { return Ok(None) };
    Ok(Some((get(&row, 0)?, AsOf { position: Position(unsigned(&row, 1)?), time: time(&row, 2)? })))
}

async fn as_of_all(reading: &Reading) -> Result<AsOf, Failure> {
    let mut as_of = AsOf::default();
    for row in reading.all(POSITIONS, &[]).await? {
        let position = position_row(&row)?;
        let sum = as_of.position.0.checked_add(position.decisions);
        as_of.position.0 = sum.ok_or_else(|| Failure::Row("firstcome.positions: more than 2^64 decisions".to_owned()))?;
        as_of.time = as_of.time.max(position.effective_at);
    }
    Ok(as_of)
}

fn claim_rows(rows: &[Row]) -> Result<Vec<ClaimRow>, Failure> {
    let mut name = None;
    rows.iter().map(|row| claim_row(row, &mut name)).collect()
}

/// The name is shared among the rows of the same campaign.
fn claim_row(row: &Row, name: &mut Option<Arc<str>>) -> Result<ClaimRow, Failure> {
    let text: &str = get(row, 6)?;
    let campaign = name.take().filter(|name| **name == *text).unwrap_or_else(|| text.into());
    *name = Some(Arc::clone(&campaign));
    Ok(ClaimRow {
        campaign,
        number: CampaignNumber(half(row, 0)?),
        code_key: half(row, 7)?,
        serial: serial(row, 1)?,
        subject: get(row, 2)?,
        claimed_at: time(row, 3)?,
        status: status(row, 4)?,
    })
}

/// One row more than asked for tells whether there are more.
fn one_more(limit: u32) -> i64 {
    i64::from(limit) + 1
}

fn cut(mut rows: Vec<ClaimRow>, limit: u32) -> (Vec<ClaimRow>, bool) {
    let is_last = rows.len() <= limit as usize;
    rows.truncate(limit as usize);
    (rows, is_last)
}
