//! One conditional `UPDATE`: the check is part of the act.

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, POOL_SIZE, find, row, run};
use crate::frame::tools::{Faults, Tools};

pub(crate) const ABOUT: About = About {
    name: "conditional_update",
    title: "Conditional UPDATE",
    engines: "PostgreSQL",
    explained: "The database itself looks whether something remains while it takes it away, and a unique index keeps a person from having two. \
                It is exact and the row is held for one statement and the COMMIT only, but it is still one row for all.",
    steps: &[
        "read the person's claim and remaining, without a lock",
        "BEGIN",
        "insert the claim, unless the person has one",
        "UPDATE … SET remaining = remaining - 1 WHERE remaining > 0",
        "COMMIT, or ROLLBACK if no row was updated",
        "answer",
    ],
    race: None,
    told_yes: "after COMMIT",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 4, at: "taken", kind: FaultKind::Crash }],
    source: Some(include_str!("conditional_update.rs")),
};

const TAKE: &str = "UPDATE campaigns SET remaining = remaining - 1 WHERE name = $1 AND remaining > 0";
const INSERT: &str = "INSERT INTO claims (campaign, subject) VALUES ($1, $2) ON CONFLICT (campaign, subject) DO NOTHING RETURNING serial";

pub(crate) struct ConditionalUpdate {
    database: Database,
    faults: Faults,
}

impl Strategy for ConditionalUpdate {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        Ok(Self { database: tools.database(POOL_SIZE).await?, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let mut connection = self.database.connection().await?;
        if let Some(claim) = find(&connection, CLAIM_OF, &[&campaign, &subject]).await? {
            return Ok(Answer::Repeat(claim.get(0)));
        }
        // Safe without a lock: a campaign that is sold out stays so.
        let remaining: i64 = row(&connection, "SELECT remaining FROM campaigns WHERE name = $1", &[&campaign]).await?.get(0);
        if remaining <= 0 {
            return Ok(Answer::SoldOut);
        }
        let db = connection.transaction().await?;
        let Some(claim) = find(&db, INSERT, &[&campaign, &subject]).await? else {
            // The same subject's other request was faster and has committed: the insert has waited for it.
            return Ok(Answer::Repeat(row(&db, CLAIM_OF, &[&campaign, &subject]).await?.get(0)));
        };
        if run(&db, TAKE, &[&campaign]).await? == 0 {
            return Ok(Answer::SoldOut);
        }
        self.faults.reached("taken");
        db.commit().await?;
        Ok(Answer::Claimed(claim.get(0)))
    }
}
