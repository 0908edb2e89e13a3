//! Decisions as statements on many rows each. Decisions of one kind that follow each other are
//! written together; a rush is nearly all claims. Between kinds the order stays, because it matters:
//! a subject may claim, give back and claim again.
//!
//! Plain inserts, and updates that must hit as many rows as there are decisions: whatever does not
//! fit is a conflict, never passed over.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use domain::coupon::{self, CampaignNumber, Settings};
use domain::state::Event;
use domain::types::{RequestId, Serial, Timestamp};
use domain::wire::Position;

use super::connection::within;
use super::failure::{Failure, Kind};
use super::projector::Decided;
use super::reading::Parameters;
use super::values::{SettingsRow, Time, campaign_id, signed, signed_small};

/// Rows of one statement at most.
const ROWS_MAX: usize = 5_000;

const CLAIM: &str = "INSERT INTO firstcome.claims (campaign, serial, subject, claimed_at, status, actor, request_id, only_one)
    SELECT new.campaign, new.serial, new.subject, new.claimed_at, 'live', new.actor, new.request_id, campaigns.per_subject_max = 1
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[])
         AS new (campaign, serial, subject, claimed_at, actor, request_id)
    JOIN firstcome.campaigns ON campaigns.id = new.campaign";
const ACCEPT: &str = "INSERT INTO firstcome.queue (campaign, serial, subject, accepted_at)
    SELECT new.campaign, new.serial, new.subject, new.accepted_at
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[]) AS new (campaign, serial, subject, accepted_at)";
const LEAVE: &str = "DELETE FROM firstcome.queue USING unnest($1::bigint[], $2::bigint[]) AS done (campaign, serial)
    WHERE queue.campaign = done.campaign AND queue.serial = done.serial";
const REDEEM: &str = "UPDATE firstcome.claims SET status = 'redeemed', changed_at = done.at
    FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS done (campaign, serial, at)
    WHERE claims.campaign = done.campaign AND claims.serial = done.serial AND claims.status = 'live'";
const CANCEL: &str = "UPDATE firstcome.claims SET status = 'cancelled', changed_at = done.at
    FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS done (campaign, serial, at)
    WHERE claims.campaign = done.campaign AND claims.serial = done.serial AND claims.status = 'live'";
const CREATE: &str = "INSERT INTO firstcome.campaigns (id, partition, name, code_key, version, created_at, changed_at,
        stock, per_subject_max, opens_at, closes_at, redeem_until, paused, mode, decisions_per_second_max, queue_max)
    VALUES ($1, $2, $3, $4, 1, $5, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const CHANGE: &str = "UPDATE firstcome.campaigns SET version = version + 1, changed_at = $2,
        stock = $3, per_subject_max = $4, opens_at = $5, closes_at = $6, redeem_until = $7, paused = $8,
        mode = $9, decisions_per_second_max = $10, queue_max = $11
    WHERE id = $1";
const REMEMBER: &str = "INSERT INTO firstcome.requests (partition, ordinal, recorded_at, body)
    SELECT $1, new.ordinal, new.recorded_at, new.body
    FROM unnest($2::bigint[], $3::timestamptz[], $4::bytea[]) AS new (ordinal, recorded_at, body)";
const FORGET: &str = "DELETE FROM firstcome.requests WHERE partition = $1 AND ordinal IN
    (SELECT ordinal FROM firstcome.requests WHERE partition = $1 ORDER BY ordinal LIMIT $2)";

/// Why decisions were not written.
pub(super) enum BatchError {
    Failure(Failure),
    Conflict { position: Position, what: String },
}

impl From<Failure> for BatchError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Writes decisions of one partition in the transaction that is open on a connection.
pub(super) struct Batch<'c> {
    pub(super) db: &'c ClientWrapper,
    pub(super) answer_max: Duration,
    pub(super) partition: u32,
    pub(super) partitions: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EventKind {
    Created,
    Changed,
    Accepted,
    Claimed,
    Redeemed,
    Cancelled,
    Forgotten,
    /// Of which there is no table.
    Untold,
}

fn kind_of(decided: &Decided<'_>) -> EventKind {
    match decided.record.event {
        Event::Coupon(coupon::Event::CampaignCreated { .. }) => EventKind::Created,
        Event::Coupon(coupon::Event::CampaignChanged { .. }) => EventKind::Changed,
        Event::Coupon(coupon::Event::Accepted { .. }) => EventKind::Accepted,
        Event::Coupon(coupon::Event::Claimed { .. }) => EventKind::Claimed,
        Event::Coupon(coupon::Event::Redeemed { .. }) => EventKind::Redeemed,
        Event::Coupon(coupon::Event::Cancelled { .. }) => EventKind::Cancelled,
        Event::Policy(_) => EventKind::Untold,
        Event::RequestsForgotten { .. } => EventKind::Forgotten,
    }
}

impl Batch<'_> {
    pub(super) async fn write(&self, decided: &[Decided<'_>]) -> Result<(), BatchError> {
        let (mut done, mut remembered) = (0, 0);
        for run in decided.chunk_by(|one, next| kind_of(one) == kind_of(next)) {
            // A run has at least one record.
            let kind = kind_of(&run[0]);
            if kind == EventKind::Forgotten {
                // What is forgotten may be what was remembered just before.
                self.remember(&decided[remembered..done]).await?;
                remembered = done;
            }
            for rows in run.chunks(ROWS_MAX) {
                self.write_run(kind, rows).await?;
            }
            done += run.len();
        }
        self.remember(&decided[remembered..]).await
    }

    async fn write_run(&self, kind: EventKind, rows: &[Decided<'_>]) -> Result<(), BatchError> {
        match kind {
            EventKind::Accepted => self.accept(rows).await,
            EventKind::Claimed => self.claim(rows).await,
            EventKind::Redeemed => self.end(rows, REDEEM, "a claim to redeem is not live").await,
            EventKind::Cancelled => self.end(rows, CANCEL, "a claim to cancel is not live").await,
            EventKind::Untold => Ok(()),
            EventKind::Created | EventKind::Changed | EventKind::Forgotten => {
                for row in rows {
                    self.write_one(row).await?;
                }
                Ok(())
            }
        }
    }

    async fn write_one(&self, row: &Decided<'_>) -> Result<(), BatchError> {
        match &row.record.event {
            Event::Coupon(coupon::Event::CampaignCreated { campaign, name, settings, code_key }) => {
                self.create(row, *campaign, (name.as_str(), settings, *code_key)).await
            }
            Event::Coupon(coupon::Event::CampaignChanged { campaign, settings }) => self.change(row, *campaign, settings).await,
            Event::RequestsForgotten { count } => self.forget(row.position, *count).await,
            Event::Coupon(
                coupon::Event::Accepted { .. }
                | coupon::Event::Claimed { .. }
                | coupon::Event::Redeemed { .. }
                | coupon::Event::Cancelled { .. },
            )
            | Event::Policy(_) => Ok(()),
        }
    }

    async fn accept(&self, rows: &[Decided<'_>]) -> Result<(), BatchError> {
        let (mut campaigns, mut serials, mut subjects, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let Event::Coupon(coupon::Event::Accepted { campaign, serial, subject }) = &row.record.event else { continue };
            campaigns.push(self.id(row.position, *campaign)?);
            serials.push(i64::from(serial.get()));
            subjects.push(subject.as_str());
            times.push(Time(row.record.at));
        }
        self.exactly(rows, ACCEPT, &[&campaigns, &serials, &subjects, &times], "a claim is in the queue already").await
    }

    /// Takes out of the queue what was in it: a claim that is decided at once never was.
    async fn leave(&self, rows: &[Decided<'_>]) -> Result<(), BatchError> {
        let (mut campaigns, mut serials) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| row.record.request_id == RequestId::ENGINE) {
            let Event::Coupon(coupon::Event::Claimed { campaign, serial, .. }) = &row.record.event else { continue };
            campaigns.push(self.id(row.position, *campaign)?);
            serials.push(i64::from(serial.get()));
        }
        if serials.is_empty() {
            return Ok(());
        }
        let statement = within(self.answer_max, self.db.prepare_cached(LEAVE)).await?;
        within(self.answer_max, self.db.execute(&statement, &[&campaigns, &serials])).await?;
        Ok(())
    }

    async fn claim(&self, rows: &[Decided<'_>]) -> Result<(), BatchError> {
        self.leave(rows).await?;
        let mut columns = ClaimColumns::default();
        for row in rows {
            let Event::Coupon(coupon::Event::Claimed { campaign, serial, subject }) = &row.record.event else { continue };
            columns.campaigns.push(self.id(row.position, *campaign)?);
            columns.serials.push(i64::from(serial.get()));
            columns.subjects.push(subject.as_str());
            columns.times.push(Time(row.record.at));
            columns.actors.push(row.record.actor.as_str());
            columns.request_ids.push(row.record.request_id.as_str());
        }
        let ClaimColumns { campaigns, serials, subjects, times, actors, request_ids } = &columns;
        let parameters: Parameters<'_> = &[campaigns, serials, subjects, times, actors, request_ids];
        let what = "a claim is there already, its subject holds one already, or its campaign is not there";
        self.exactly(rows, CLAIM, parameters, what).await
    }

    async fn end(&self, rows: &[Decided<'_>], sql: &str, what: &str) -> Result<(), BatchError> {
        let (mut campaigns, mut serials, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let Some((campaign, serial, at)) = ended(row) else { continue };
            campaigns.push(self.id(row.position, campaign)?);
            serials.push(i64::from(serial.get()));
            times.push(Time(at));
        }
        self.exactly(rows, sql, &[&campaigns, &serials, &times], what).await
    }

    async fn create(
        &self,
        row: &Decided<'_>,
        campaign: CampaignNumber,
        (name, settings, code_key): (&str, &Settings, u32),
    ) -> Result<(), BatchError> {
        let (id, partition) = (self.id(row.position, campaign)?, signed_small(self.partition)?);
        let settings = SettingsRow::new(settings)?;
        let (code_key, at) = (i64::from(code_key), Time(row.record.at));
        let first: Parameters<'_> = &[&id, &partition, &name, &code_key, &at];
        let parameters = [first, &settings.columns()].concat();
        let what = format!("there is a campaign {id}, or one named {name}, already");
        self.exactly(std::slice::from_ref(row), CREATE, &parameters, &what).await
    }

    async fn change(&self, row: &Decided<'_>, campaign: CampaignNumber, settings: &Settings) -> Result<(), BatchError> {
        let id = self.id(row.position, campaign)?;
        let settings = SettingsRow::new(settings)?;
        let at = Time(row.record.at);
        let first: Parameters<'_> = &[&id, &at];
        let parameters = [first, &settings.columns()].concat();
        let what = format!("there is no campaign {id} to change");
        self.exactly(std::slice::from_ref(row), CHANGE, &parameters, &what).await
    }

    /// Keeps the request keys of these decisions.
    async fn remember(&self, rows: &[Decided<'_>]) -> Result<(), BatchError> {
        if let Some(row) = rows.iter().find(|row| row.remembered.is_some() != row.record.request.is_some()) {
            let what = "what is remembered does not go with the record's request key".to_owned();
            return Err(BatchError::Conflict { position: row.position, what });
        }
        let keyed: Vec<&Decided<'_>> = rows.iter().filter(|row| row.remembered.is_some()).collect();
        let partition = signed_small(self.partition)?;
        for rows in keyed.chunks(ROWS_MAX) {
            let ordinals = rows.iter().map(|row| signed(row.position.0)).collect::<Result<Vec<i64>, Failure>>()?;
            let times: Vec<Time> = rows.iter().map(|row| Time(row.record.at)).collect();
            let bodies: Vec<&[u8]> = rows.iter().filter_map(|row| row.remembered).collect();
            let first = rows.first().map_or_else(Position::default, |row| row.position);
            let parameters: Parameters<'_> = &[&partition, &ordinals, &times, &bodies];
            self.exact_count((first, rows.len() as u64), REMEMBER, parameters, "a request key is there already").await?;
        }
        Ok(())
    }

    async fn forget(&self, position: Position, count: u32) -> Result<(), BatchError> {
        let (partition, limit) = (signed_small(self.partition)?, i64::from(count));
        let what = "fewer request keys are there than are to be forgotten";
        self.exact_count((position, u64::from(count)), FORGET, &[&partition, &limit], what).await
    }

    async fn exactly(&self, rows: &[Decided<'_>], sql: &str, parameters: Parameters<'_>, what: &str) -> Result<(), BatchError> {
        let first = rows.first().map_or_else(Position::default, |row| row.position);
        self.exact_count((first, rows.len() as u64), sql, parameters, what).await
    }

    /// One statement, which must write just so many rows.
    async fn exact_count(
        &self,
        (position, count): (Position, u64),
        sql: &str,
        parameters: Parameters<'_>,
        what: &str,
    ) -> Result<(), BatchError> {
        let statement = within(self.answer_max, self.db.prepare_cached(sql)).await?;
        match within(self.answer_max, self.db.execute(&statement, parameters)).await {
            Ok(found) if found == count => Ok(()),
            Ok(found) => Err(BatchError::Conflict { position, what: format!("{what} ({found} rows were written instead of {count})") }),
            Err(failure) if failure.kind() == Kind::Contradiction => {
                Err(BatchError::Conflict { position, what: format!("{what}: {}", failure.describe()) })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn id(&self, position: Position, campaign: CampaignNumber) -> Result<i64, BatchError> {
        match campaign_id(campaign, self.partition, self.partitions) {
            Some(id) => Ok(i64::from(id.0)),
            None => Err(BatchError::Conflict { position, what: format!("campaign {} has no id in these tables", campaign.0) }),
        }
    }
}

/// The columns of claims, side by side.
#[derive(Default)]
struct ClaimColumns<'a> {
    campaigns: Vec<i64>,
    serials: Vec<i64>,
    subjects: Vec<&'a str>,
    times: Vec<Time>,
    actors: Vec<&'a str>,
    request_ids: Vec<&'a str>,
}

fn ended(row: &Decided<'_>) -> Option<(CampaignNumber, Serial, Timestamp)> {
    match &row.record.event {
        Event::Coupon(coupon::Event::Redeemed { campaign, serial } | coupon::Event::Cancelled { campaign, serial }) => {
            Some((*campaign, *serial, row.record.at))
        }
        _ => None,
    }
}
