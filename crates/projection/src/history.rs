//! The one writer: rows and position in the same transaction.

use std::fmt;
use std::path::{Path, PathBuf};

use domain::coupon::{self, CampaignNumber, Settings};
use domain::state::{Event, Record};
use domain::types::{Quantity, Serial, Timestamp};
use domain::wire::Position;
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, TransactionBehavior, params, params_from_iter};

use crate::error::{ApplyError, OpenError, is_damage};
use crate::rows::AsOf;
use crate::schema::{self, RUN_RECORDS_LOG2, SCHEMA};

/// Why a history was begun anew; the text of [`fmt::Display`] is meant for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rebuilt {
    /// There was none.
    Missing,
    /// It was that of another journal.
    OtherJournal,
    /// Another version of the program wrote it, with tables of this version.
    OtherSchema(i64),
    /// It was damaged in this way.
    Damaged(String),
    /// It held records that the journal does not have.
    Ahead {
        /// Its last record.
        history: Position,
        /// The journal's last record.
        journal: Position,
    },
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there was no history"),
            Self::OtherJournal => write!(f, "the history was that of another journal"),
            Self::OtherSchema(version) => write!(f, "the history had tables of version {version}, not {SCHEMA}"),
            Self::Damaged(what) => write!(f, "the history was damaged: {what}"),
            Self::Ahead { history, journal } => {
                write!(f, "the history held record {}, but the journal ends at record {}", history.0, journal.0)
            }
        }
    }
}

/// The history, open for writing. One at a time: the program holds a lock on the folder.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    journal_id: [u8; 16],
    db: Connection,
    as_of: AsOf,
    rebuilt: Option<Rebuilt>,
}

impl History {
    /// Opens the history of a journal. Where that is not to be had (no file, another journal's,
    /// another version's, damaged) it is begun anew at position 0; [`History::rebuilt`] says why.
    ///
    /// # Errors
    /// [`OpenError`]; a disk or a lock that fails is no reason to begin anew.
    pub fn open(path: &Path, journal_id: [u8; 16]) -> Result<Self, OpenError> {
        let reason = match Self::resume(path, journal_id)? {
            Ok(history) => return Ok(history),
            Err(reason) => reason,
        };
        schema::remove(path).map_err(|source| OpenError::Remove { path: path.to_owned(), source })?;
        let db = create(path, journal_id).map_err(|error| store_error(path, error))?;
        Ok(Self { path: path.to_owned(), journal_id, db, as_of: AsOf::default(), rebuilt: Some(reason) })
    }

    /// Why it was begun anew, if it was.
    #[must_use]
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.rebuilt.as_ref()
    }

    /// The last record that is in.
    #[must_use]
    pub fn position(&self) -> Position {
        self.as_of.position
    }

    /// The last record that is in, with its effective time.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.as_of
    }

    /// Begins anew if the history holds records after `last`, the journal's last; says whether.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn reset_if_ahead(&mut self, last: Position) -> Result<bool, OpenError> {
        let history = self.as_of.position;
        if history <= last {
            return Ok(false);
        }
        self.begin_anew(Rebuilt::Ahead { history, journal: last })?;
        Ok(true)
    }

    /// Drops all rows and goes back to position 0. Readers notice it by themselves.
    ///
    /// # Errors
    /// [`OpenError`]; the history must not be used further then.
    pub fn begin_anew(&mut self, reason: Rebuilt) -> Result<(), OpenError> {
        schema::remove(&self.path).map_err(|source| OpenError::Remove { path: self.path.clone(), source })?;
        self.db = create(&self.path, self.journal_id).map_err(|error| store_error(&self.path, error))?;
        self.as_of = AsOf::default();
        self.rebuilt = Some(reason);
        Ok(())
    }

    /// Applies records in order, all or none. What is in already is skipped, so that giving a
    /// record twice is harmless; the first new one must be the one after [`History::position`].
    ///
    /// # Errors
    /// [`ApplyError`]; rows and position are as before then.
    pub fn apply<'r>(&mut self, records: impl IntoIterator<Item = (Position, Record<'r>)>) -> Result<AsOf, ApplyError> {
        let before = self.as_of.position;
        let mut records = records.into_iter().skip_while(|(position, _)| *position <= before).peekable();
        if records.peek().is_none() {
            return Ok(self.as_of);
        }
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let as_of = Tables::prepare(&transaction)?.write_all(self.as_of, records)?;
        transaction.commit()?;
        self.as_of = as_of;
        Ok(as_of)
    }

    fn resume(path: &Path, journal_id: [u8; 16]) -> Result<Result<Self, Rebuilt>, OpenError> {
        if !path.exists() {
            return Ok(Err(Rebuilt::Missing));
        }
        match resume(path, journal_id) {
            Ok(Ok((db, as_of))) => Ok(Ok(Self { path: path.to_owned(), journal_id, db, as_of, rebuilt: None })),
            Ok(Err(reason)) => Ok(Err(reason)),
            Err(error) if is_damage(&error) || has_no_such_table(&error) => Ok(Err(Rebuilt::Damaged(error.to_string()))),
            Err(error) => Err(store_error(path, error)),
        }
    }
}

fn resume(path: &Path, journal_id: [u8; 16]) -> rusqlite::Result<Result<(Connection, AsOf), Rebuilt>> {
    let db = schema::open_writer(path)?;
    let version = schema::version_of(&db)?;
    if version != SCHEMA {
        return Ok(Err(Rebuilt::OtherSchema(version)));
    }
    let (journal, as_of) = read_position(&db)?;
    if journal != journal_id {
        return Ok(Err(Rebuilt::OtherJournal));
    }
    Ok(Ok((db, as_of)))
}

fn create(path: &Path, journal_id: [u8; 16]) -> rusqlite::Result<Connection> {
    let mut db = schema::open_writer(path)?;
    schema::create(&mut db, journal_id)?;
    Ok(db)
}

/// The journal that the tables belong to, and the last record that is in.
pub(crate) fn read_position(db: &Connection) -> rusqlite::Result<([u8; 16], AsOf)> {
    let mut statement = db.prepare_cached("SELECT journal, applied, effective_at FROM position WHERE only = 1")?;
    statement.query_row([], |row| {
        let time = time_of(row.get(2)?).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, row.get(2)?))?;
        let position = u64::try_from(row.get::<_, i64>(1)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?;
        Ok((row.get(0)?, AsOf { position: Position(position), time }))
    })
}

/// `None` for what is no time.
pub(crate) fn time_of(millis: i64) -> Option<Timestamp> {
    u64::try_from(millis).ok().and_then(Timestamp::from_millis)
}

fn millis_of(time: Timestamp) -> i64 {
    let Ok(millis) = i64::try_from(time.millis()) else { panic!("a time fits 48 bits, and {time:?} does not") };
    millis
}

fn run_of(position: Position) -> i64 {
    let Ok(run) = i64::try_from(position.0 >> RUN_RECORDS_LOG2) else { panic!("{position:?} is of no run") };
    run
}

/// A file with our version's number whose tables are not ours.
fn has_no_such_table(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::Unknown)
}

fn store_error(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Store { path: path.to_owned(), source: error.into() }
}

/// The statements of one transaction. Plain inserts, and updates of exactly one row: whatever does
/// not fit is a conflict.
struct Tables<'db> {
    claim: CachedStatement<'db>,
    end_claim: CachedStatement<'db>,
    create_campaign: CachedStatement<'db>,
    change_campaign: CachedStatement<'db>,
    position: CachedStatement<'db>,
}

impl<'db> Tables<'db> {
    fn prepare(db: &'db Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            claim: db.prepare_cached(
                "INSERT INTO claims (campaign, serial, subject, claimed_at, status, actor, request_id, run)
                 VALUES (?1, ?2, ?3, ?4, 'live', ?5, ?6, ?7)",
            )?,
            end_claim: db
                .prepare_cached("UPDATE claims SET status = ?3, changed_at = ?4 WHERE campaign = ?1 AND serial = ?2 AND status = 'live'")?,
            create_campaign: db.prepare_cached(
                "INSERT INTO campaigns (number, name, code_key, version, created_at, changed_at,
                                        stock, per_subject_max, opens_at, closes_at, redeem_until, paused,
                                        mode, decisions_per_second_max, queue_max)
                 VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            change_campaign: db.prepare_cached(
                "UPDATE campaigns SET version = version + 1, changed_at = ?2, stock = ?3, per_subject_max = ?4,
                                      opens_at = ?5, closes_at = ?6, redeem_until = ?7, paused = ?8,
                                      mode = ?9, decisions_per_second_max = ?10, queue_max = ?11
                 WHERE number = ?1",
            )?,
            position: db.prepare_cached("UPDATE position SET applied = ?1, effective_at = ?2 WHERE only = 1")?,
        })
    }

    fn write_all<'r>(mut self, before: AsOf, records: impl Iterator<Item = (Position, Record<'r>)>) -> Result<AsOf, ApplyError> {
        let mut as_of = before;
        for (position, record) in records {
            let expected = Position(as_of.position.0 + 1);
            if position != expected {
                return Err(ApplyError::Gap { expected, found: position });
            }
            self.write(position, &record)?;
            as_of = AsOf { position, time: as_of.time.max(record.at) };
        }
        let applied = i64::try_from(as_of.position.0).map_err(|error| ApplyError::Store(error.into()))?;
        self.position.execute((applied, millis_of(as_of.time)))?;
        Ok(as_of)
    }

    fn write(&mut self, position: Position, record: &Record<'_>) -> Result<(), ApplyError> {
        let Event::Coupon(event) = &record.event else { return Ok(()) };
        let rows_count = match self.write_coupon(event, position, record) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => 0,
            written => written?,
        };
        if rows_count == 1 { Ok(()) } else { Err(ApplyError::Conflict { position, what: conflict_of(event) }) }
    }

    fn write_coupon(&mut self, event: &coupon::Event<'_>, position: Position, record: &Record<'_>) -> rusqlite::Result<usize> {
        let at = millis_of(record.at);
        match event {
            // What is pending is in no list: it is a claim from its decision on.
            coupon::Event::Accepted { .. } => Ok(1),
            coupon::Event::Claimed { campaign, serial, subject } => {
                let (actor, request_id) = (record.actor.as_str(), record.request_id.as_str());
                self.claim.execute(params![campaign.0, serial.get(), subject.as_str(), at, actor, request_id, run_of(position)])
            }
            coupon::Event::Redeemed { campaign, serial } => self.end(*campaign, *serial, "redeemed", at),
            coupon::Event::Cancelled { campaign, serial } => self.end(*campaign, *serial, "cancelled", at),
            coupon::Event::CampaignCreated { campaign, name, settings, code_key } => {
                let (settings, name) = (SettingsRow::from(settings), name.as_str());
                let first: [&dyn ToSql; 4] = [&campaign.0, &name, code_key, &at];
                self.create_campaign.execute(params_from_iter(first.into_iter().chain(settings.columns())))
            }
            coupon::Event::CampaignChanged { campaign, settings } => {
                let settings = SettingsRow::from(settings);
                let first: [&dyn ToSql; 2] = [&campaign.0, &at];
                self.change_campaign.execute(params_from_iter(first.into_iter().chain(settings.columns())))
            }
        }
    }

    fn end(&mut self, campaign: CampaignNumber, serial: Serial, status: &str, at: i64) -> rusqlite::Result<usize> {
        self.end_claim.execute(params![campaign.0, serial.get(), status, at])
    }
}

/// Settings as columns.
struct SettingsRow {
    stock: u32,
    per_subject_max: u32,
    opens_at: Option<i64>,
    closes_at: Option<i64>,
    redeem_until: Option<i64>,
    paused: bool,
    mode: &'static str,
    pace: Option<u32>,
    queue_max: u32,
}

impl From<&Settings> for SettingsRow {
    fn from(settings: &Settings) -> Self {
        Self {
            stock: Quantity::get(settings.stock),
            per_subject_max: settings.per_subject_max,
            opens_at: settings.opens_at.map(millis_of),
            closes_at: settings.closes_at.map(millis_of),
            redeem_until: settings.redeem_until.map(millis_of),
            paused: settings.paused,
            mode: settings.queue.mode.word(),
            pace: settings.queue.decisions_per_second_max,
            queue_max: settings.queue.queue_max,
        }
    }
}

impl SettingsRow {
    /// In the order in which the statements number them.
    fn columns(&self) -> [&dyn ToSql; 9] {
        let Self { stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, pace, queue_max } = self;
        [stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, pace, queue_max]
    }
}

fn conflict_of(event: &coupon::Event<'_>) -> String {
    let campaign = event.campaign().0;
    match event {
        coupon::Event::CampaignCreated { name, .. } => format!("there is a campaign {campaign}, or one named {name}, already"),
        coupon::Event::CampaignChanged { .. } => format!("there is no campaign {campaign} to change"),
        coupon::Event::Accepted { serial, .. } | coupon::Event::Claimed { serial, .. } => {
            format!("claim {} of campaign {campaign} is there already, or the campaign is not", serial.get())
        }
        coupon::Event::Redeemed { serial, .. } | coupon::Event::Cancelled { serial, .. } => {
            format!("there is no live claim {} of campaign {campaign}", serial.get())
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::types::{ActorId, CampaignName, RequestId, SubjectId};

    use super::*;

    fn record(event: coupon::Event<'_>) -> Record<'_> {
        Record { at: Timestamp::ZERO, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event: Event::Coupon(event) }
    }

    #[test]
    fn a_full_disk_loses_nothing_and_the_same_records_go_in_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::open(&folder.path().join("history.sqlite"), [1; 16]).unwrap();
        let campaign = CampaignNumber(0);
        let settings = Settings::plain(Quantity::MAX);
        let name = CampaignName::new("spring").unwrap();
        let created = record(coupon::Event::CampaignCreated { campaign, name, settings, code_key: 1 });
        history.apply([(Position(1), created)]).unwrap();

        let subjects: Vec<String> = (0..20_000).map(|user| format!("user-{user}")).collect();
        let claims = subjects.iter().zip(1..).map(|(subject, serial)| {
            let (serial, subject) = (Serial::new(serial).unwrap(), SubjectId::new(subject).unwrap());
            (Position(u64::from(serial.get()) + 1), record(coupon::Event::Claimed { campaign, serial, subject }))
        });
        history.db.pragma_update(None, "max_page_count", 40).unwrap();
        assert!(matches!(history.apply(claims.clone()), Err(ApplyError::Full)));
        assert_eq!(history.position(), Position(1));
        assert_eq!(read_position(&history.db).unwrap().1.position, Position(1));
        history.db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        assert_eq!(history.apply(claims).unwrap().position, Position(20_001));
    }
}
