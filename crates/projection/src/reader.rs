//! Any number of readers beside the one writer. Every call blocks; an async caller goes through a
//! thread for it. A reader sees the tables as they were at one position, whatever is written
//! meanwhile.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::claims::ClaimStatus;
use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{CampaignNumber, Settings};
use domain::types::{CampaignName, Quantity, Serial, SubjectId, Timestamp};
use domain::wire::Position;
use rusqlite::{Connection, ErrorCode, Params, Row, Transaction};

use crate::clock::TimeLimit;
use crate::error::{ReadError, is_damage};
use crate::history::{read_position, time_of};
use crate::rows::{AsOf, BareClaim, CampaignRow, ClaimFilter, ClaimRow, Page, SubjectPage};
use crate::schema::{self, RUN_RECORDS_LOG2, SCHEMA};

/// How long one call may take: as long as it reads, what is written meanwhile cannot be tidied.
pub const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Steps of the database between two looks at the clock.
const STEPS_PER_LOOK: i32 = 10_000;

const CLAIM_COLUMNS: &str = "claims.campaign, serial, subject, claimed_at, status, claims.changed_at, name, code_key";

/// A reader. Cheap to keep: a caller has a few.
#[derive(Debug)]
pub struct HistoryReader {
    path: PathBuf,
    db: Connection,
    file: FileIdentity,
    time_max: Duration,
}

/// Tells a file from another one that took its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl HistoryReader {
    /// Opens the history to read it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = identity_of(path)?;
        let db = schema::open_reader(path).map_err(other_error)?;
        let found = schema::version_of(&db).map_err(other_error)?;
        if found != SCHEMA {
            return Err(ReadError::OtherSchema { found, wanted: SCHEMA });
        }
        Ok(Self { path: path.to_owned(), db, file, time_max: READ_TIME_MAX })
    }

    /// With another limit than [`READ_TIME_MAX`] for each call, or each view as a whole: an export
    /// takes longer than a page.
    #[must_use]
    pub fn with_time_max(mut self, time_max: Duration) -> Self {
        self.time_max = time_max;
        self
    }

    /// The tables as they are now, for several reads that rest on the same position.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn view(&mut self) -> Result<HistoryView<'_>, ReadError> {
        if identity_of(&self.path)? != self.file {
            // It was begun anew.
            *self = Self::open(&self.path)?.with_time_max(self.time_max);
        }
        let time_max = self.time_max;
        let limit = TimeLimit::from_now(time_max);
        self.db.progress_handler(STEPS_PER_LOOK, Some(move || limit.has_passed())).map_err(other_error)?;
        let transaction = self.db.transaction().map_err(other_error)?;
        let (journal_id, as_of) = read_position(&transaction).map_err(other_error)?;
        Ok(HistoryView { transaction, journal_id, as_of, time_max })
    }

    /// The last record that is in.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn position(&mut self) -> Result<Position, ReadError> {
        Ok(self.view()?.as_of.position)
    }

    /// All campaigns in the order of creation, and what the list rests on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn campaigns(&mut self) -> Result<(Vec<CampaignRow>, AsOf), ReadError> {
        let view = self.view()?;
        Ok((view.campaigns()?, view.as_of))
    }

    /// At most `limit` claims of a campaign, by rising serial from the first after `after`; none
    /// if there is no such campaign.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn claims_of_campaign(
        &mut self,
        campaign: CampaignName<'_>,
        after: Option<Serial>,
        limit: u32,
        filter: ClaimFilter,
    ) -> Result<Page, ReadError> {
        self.view()?.claims_of_campaign(campaign, after, limit, filter)
    }

    /// At most `limit` claims of a subject, by campaign and serial from the first after `after`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn claims_of_subject(
        &mut self,
        subject: SubjectId<'_>,
        prefix: &str,
        after: Option<(CampaignNumber, Serial)>,
        limit: u32,
    ) -> Result<SubjectPage, ReadError> {
        self.view()?.claims_of_subject(subject, prefix, after, limit)
    }

    /// Gives every claim of a campaign to `take`, by rising serial, until it breaks off; returns
    /// what they rest on.
    ///
    /// # Errors
    /// [`ReadError`]; `take` may have seen some claims by then.
    pub fn for_each_claim(&mut self, campaign: CampaignName<'_>, take: impl FnMut(ClaimRow) -> ControlFlow<()>) -> Result<AsOf, ReadError> {
        let view = self.view()?;
        view.for_each_claim(campaign, take)?;
        Ok(view.as_of)
    }
}

/// The tables as they were at one position.
#[derive(Debug)]
pub struct HistoryView<'r> {
    transaction: Transaction<'r>,
    journal_id: [u8; 16],
    as_of: AsOf,
    time_max: Duration,
}

impl HistoryView<'_> {
    /// What everything read here rests on.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// The journal that the history follows.
    #[must_use]
    pub fn journal_id(&self) -> [u8; 16] {
        self.journal_id
    }

    /// All campaigns in the order of creation.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn campaigns(&self) -> Result<Vec<CampaignRow>, ReadError> {
        let sql = "SELECT number, name, code_key, version, created_at, changed_at,
                          stock, per_subject_max, opens_at, closes_at, redeem_until, paused,
                          mode, decisions_per_second_max, queue_max
                   FROM campaigns ORDER BY number";
        let mut rows = Vec::new();
        self.for_each_row(sql, [], |row| {
            rows.push(campaign_row(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// See [`HistoryReader::claims_of_campaign`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn claims_of_campaign(
        &self,
        campaign: CampaignName<'_>,
        after: Option<Serial>,
        limit: u32,
        filter: ClaimFilter,
    ) -> Result<Page, ReadError> {
        let condition = status_condition(filter);
        let sql = format!(
            "SELECT {CLAIM_COLUMNS} FROM campaigns CROSS JOIN claims ON claims.campaign = number
             WHERE name = ?1 AND ?2 < serial {condition}
             ORDER BY serial LIMIT ?3"
        );
        let parameters = (campaign.as_str(), after.map_or(0, Serial::get), one_more(limit));
        let (rows, is_last) = self.page(&sql, parameters, limit)?;
        let next = rows.last().filter(|_| !is_last).map(|row| row.serial);
        Ok(Page { rows, next, as_of: self.as_of })
    }

    /// See [`HistoryReader::claims_of_subject`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn claims_of_subject(
        &self,
        subject: SubjectId<'_>,
        prefix: &str,
        after: Option<(CampaignNumber, Serial)>,
        limit: u32,
    ) -> Result<SubjectPage, ReadError> {
        let sql = format!(
            "WITH RECURSIVE runs (run) AS (
                 SELECT 0 UNION ALL SELECT run + 1 FROM runs WHERE run < (SELECT applied >> {RUN_RECORDS_LOG2} FROM position)
             )
             SELECT {CLAIM_COLUMNS}
             FROM runs CROSS JOIN claims INDEXED BY claims_by_subject ON claims.run = runs.run
                       CROSS JOIN campaigns ON number = claims.campaign
             WHERE subject = ?1 AND (?2, ?3) < (claims.campaign, serial) AND substr(name, 1, length(?5)) = ?5
             ORDER BY claims.campaign, serial LIMIT ?4"
        );
        let (number, serial) = after.map_or((0, 0), |(number, serial)| (number.0, serial.get()));
        let (rows, is_last) = self.page(&sql, (subject.as_str(), number, serial, one_more(limit), prefix), limit)?;
        let next = rows.last().filter(|_| !is_last).map(|row| (row.number, row.serial));
        Ok(SubjectPage { rows, next, as_of: self.as_of })
    }

    /// See [`HistoryReader::for_each_claim`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn for_each_claim(&self, campaign: CampaignName<'_>, mut take: impl FnMut(ClaimRow) -> ControlFlow<()>) -> Result<(), ReadError> {
        let sql = format!(
            "SELECT {CLAIM_COLUMNS} FROM campaigns CROSS JOIN claims ON claims.campaign = number
             WHERE name = ?1 ORDER BY serial"
        );
        let mut name = None;
        self.for_each_row(&sql, [campaign.as_str()], |row| Ok(take(claim_row(row, &mut name)?)))
    }

    /// Gives every row of the table of claims to `take`, by campaign and serial, until it breaks
    /// off: also a row whose campaign has none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn for_each_bare_claim(&self, mut take: impl FnMut(BareClaim<'_>) -> ControlFlow<()>) -> Result<(), ReadError> {
        let sql = "SELECT campaign, serial, subject, claimed_at, status, changed_at FROM claims ORDER BY campaign, serial";
        self.for_each_row(sql, [], |row| Ok(take(bare_claim(row)?)))
    }

    /// One row more than asked for tells whether there are more.
    fn page(&self, sql: &str, parameters: impl Params, limit: u32) -> Result<(Vec<ClaimRow>, bool), ReadError> {
        let (mut rows, mut name) = (Vec::new(), None);
        self.for_each_row(sql, parameters, |row| {
            rows.push(claim_row(row, &mut name)?);
            Ok(ControlFlow::Continue(()))
        })?;
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        Ok((rows, is_last))
    }

    fn for_each_row(
        &self,
        sql: &str,
        parameters: impl Params,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<(), ReadError> {
        let read = || {
            let mut statement = self.transaction.prepare_cached(sql)?;
            let mut rows = statement.query(parameters)?;
            while let Some(row) = rows.next()? {
                if take(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| read_error(error, self.time_max))
    }
}

fn one_more(limit: u32) -> i64 {
    i64::from(limit) + 1
}

fn status_condition(filter: ClaimFilter) -> &'static str {
    match filter {
        ClaimFilter::All => "",
        ClaimFilter::Live => "AND status = 'live'",
        ClaimFilter::Redeemed => "AND status = 'redeemed'",
        ClaimFilter::Cancelled => "AND status = 'cancelled'",
    }
}

fn bare_claim<'a>(row: &'a Row<'_>) -> rusqlite::Result<BareClaim<'a>> {
    Ok(BareClaim {
        number: CampaignNumber(row.get(0)?),
        serial: serial_of(row, 1)?,
        subject: row.get_ref(2)?.as_str()?,
        claimed_at: time_at(row, 3)?,
        status: status_of(row)?,
    })
}

/// The name is shared among the rows of the same campaign.
fn claim_row(row: &Row<'_>, name: &mut Option<Arc<str>>) -> rusqlite::Result<ClaimRow> {
    let bare = bare_claim(row)?;
    let text = row.get_ref(6)?.as_str()?;
    let campaign = name.take().filter(|name| **name == *text).unwrap_or_else(|| text.into());
    *name = Some(Arc::clone(&campaign));
    let BareClaim { number, serial, subject, claimed_at, status } = bare;
    Ok(ClaimRow { campaign, number, code_key: row.get(7)?, serial, subject: subject.to_owned(), claimed_at, status })
}

fn campaign_row(row: &Row<'_>) -> rusqlite::Result<CampaignRow> {
    let stock = Quantity::new(row.get(6)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(6, row.get(6)?))?;
    let version: i64 = row.get(3)?;
    Ok(CampaignRow {
        number: CampaignNumber(row.get(0)?),
        name: row.get(1)?,
        settings: Settings {
            stock,
            per_subject_max: row.get(7)?,
            opens_at: optional_time_at(row, 8)?,
            closes_at: optional_time_at(row, 9)?,
            redeem_until: optional_time_at(row, 10)?,
            paused: row.get(11)?,
            queue: queue_settings(row)?,
        },
        version: u64::try_from(version).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(3, version))?,
        code_key: row.get(2)?,
        created_at: time_at(row, 4)?,
        changed_at: time_at(row, 5)?,
    })
}

fn queue_settings(row: &Row<'_>) -> rusqlite::Result<QueueSettings> {
    let mode: String = row.get(12)?;
    let mode = Mode::from_word(&mode)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(12, rusqlite::types::Type::Text, format!("{mode:?} is no mode").into()))?;
    Ok(QueueSettings { mode, decisions_per_second_max: row.get(13)?, queue_max: row.get(14)? })
}

fn status_of(row: &Row<'_>) -> rusqlite::Result<ClaimStatus> {
    match (row.get_ref(4)?.as_str()?, optional_time_at(row, 5)?) {
        ("live", None) => Ok(ClaimStatus::Live),
        ("redeemed", Some(redeemed_at)) => Ok(ClaimStatus::Redeemed { redeemed_at }),
        ("cancelled", Some(cancelled_at)) => Ok(ClaimStatus::Cancelled { cancelled_at }),
        (status, _) => {
            let claim = format!("claim {} of campaign {}", row.get::<_, i64>(1)?, row.get::<_, i64>(0)?);
            let what = format!("{claim} has the status {status:?}, which does not go with its time of change");
            Err(rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, what.into()))
        }
    }
}

fn serial_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Serial> {
    Serial::new(row.get(column)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, 0))
}

fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let millis = row.get(column)?;
    time_of(millis).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, millis))
}

fn optional_time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let Some(millis) = row.get::<_, Option<i64>>(column)? else { return Ok(None) };
    time_of(millis).map(Some).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, millis))
}

fn identity_of(path: &Path) -> Result<FileIdentity, ReadError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ReadError::Missing(path.to_owned())),
        Err(error) => Err(ReadError::Store(error.into())),
    }
}

fn read_error(error: rusqlite::Error, time_max: Duration) -> ReadError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => ReadError::TooSlow(time_max.as_millis()),
        _ => other_error(error),
    }
}

fn other_error(error: rusqlite::Error) -> ReadError {
    if is_damage(&error) { ReadError::Damaged(error.to_string()) } else { ReadError::Store(error.into()) }
}
