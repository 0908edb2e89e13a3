//! `SELECT … FOR UPDATE`: every request waits for the campaign's row.

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, POOL_SIZE, find, row, run};
use crate::frame::tools::{Faults, Tools};

pub(crate) const ABOUT: About = About {
    name: "select_for_update",
    title: "SELECT … FOR UPDATE",
    engines: "PostgreSQL",
    explained: "The campaign's row is locked before anything is read, so that one transaction after the other checks and acts. \
                It is exact, and everybody stands in one line, those too who come when nothing is left.",
    steps: &[
        "BEGIN",
        "lock the campaign's row and read remaining",
        "read the person's claim",
        "insert the claim",
        "write remaining - 1",
        "COMMIT, which frees the row",
        "answer",
    ],
    race: None,
    told_yes: "after COMMIT",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 4, at: "inserted", kind: FaultKind::Crash }],
    source: Some(include_str!("select_for_update.rs")),
};

pub(crate) struct SelectForUpdate {
    database: Database,
    faults: Faults,
}

impl Strategy for SelectForUpdate {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        Ok(Self { database: tools.database(POOL_SIZE).await?, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let mut connection = self.database.connection().await?;
        let db = connection.transaction().await?;
        // The first transaction holds the row lock until its end.
        let remaining: i64 = row(&db, "SELECT remaining FROM campaigns WHERE name = $1 FOR UPDATE", &[&campaign]).await?.get(0);
        if let Some(claim) = find(&db, CLAIM_OF, &[&campaign, &subject]).await? {
            return Ok(Answer::Repeat(claim.get(0)));
        }
        if remaining <= 0 {
            return Ok(Answer::SoldOut);
        }
        let claim = row(&db, "INSERT INTO claims (campaign, subject) VALUES ($1, $2) RETURNING serial", &[&campaign, &subject]).await?;
        self.faults.reached("inserted");
        run(&db, "UPDATE campaigns SET remaining = $2 WHERE name = $1", &[&campaign, &(remaining - 1)]).await?;
        db.commit().await?;
        Ok(Answer::Claimed(claim.get(0)))
    }
}
