//! Optimistic locking: no request waits; one that was overtaken retries.

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, POOL_SIZE, find, row, run};
use crate::frame::tools::{Faults, Tools, Trouble};

pub(crate) const ABOUT: About = About {
    name: "optimistic_version",
    title: "Optimistic version, with retries",
    engines: "PostgreSQL",
    explained: "The row carries a version; the write counts only if the version is still the one that was read, and is tried again otherwise, ten times at most. \
                It is exact, but under a stampede on one row most of the work is to find out that one was overtaken, and whoever is overtaken ten times gets an error while coupons are left.",
    steps: &[
        "read the person's claim",
        "read remaining and version",
        "BEGIN",
        "UPDATE … SET remaining = …, version = version + 1 WHERE version = the one read",
        "no row: ROLLBACK, back to 1, ten times at most",
        "insert the claim",
        "COMMIT",
        "answer",
    ],
    race: None,
    told_yes: "after COMMIT",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 6, at: "inserted", kind: FaultKind::Crash }],
    source: Some(include_str!("optimistic_version.rs")),
};

const TRIES_MAX: u32 = 10;
const READ: &str = "SELECT remaining, version FROM campaigns WHERE name = $1";
const WRITE: &str = "UPDATE campaigns SET remaining = $2, version = version + 1 WHERE name = $1 AND version = $3";

pub(crate) struct OptimisticVersion {
    database: Database,
    faults: Faults,
}

impl Strategy for OptimisticVersion {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        Ok(Self { database: tools.database(POOL_SIZE).await?, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let mut connection = self.database.connection().await?;
        for _ in 0..TRIES_MAX {
            if let Some(claim) = find(&connection, CLAIM_OF, &[&campaign, &subject]).await? {
                return Ok(Answer::Repeat(claim.get(0)));
            }
            let read = row(&connection, READ, &[&campaign]).await?;
            let (remaining, version): (i64, i64) = (read.get(0), read.get(1));
            if remaining <= 0 {
                return Ok(Answer::SoldOut);
            }
            let db = connection.transaction().await?;
            if run(&db, WRITE, &[&campaign, &(remaining - 1), &version]).await? == 0 {
                // Another transaction was faster: the version that was read is outdated.
                db.rollback().await?;
                continue;
            }
            let claim = row(&db, "INSERT INTO claims (campaign, subject) VALUES ($1, $2) RETURNING serial", &[&campaign, &subject]).await?;
            self.faults.reached("inserted");
            db.commit().await?;
            return Ok(Answer::Claimed(claim.get(0)));
        }
        Err(Trouble::Busy(format!("overtaken {TRIES_MAX} times")))
    }
}
