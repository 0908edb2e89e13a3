//! Check, then act: the obvious first implementation.

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind, Race};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, POOL_SIZE, find, row, run};
use crate::frame::tools::{Faults, Tools};

pub(crate) const ABOUT: About = About {
    name: "check_then_act",
    title: "Check, then act",
    engines: "PostgreSQL",
    explained: "Read what remains; if there is some, insert the claim and write back one less, as an ORM does it. \
                The transaction around it does not help: at the usual isolation level, READ COMMITTED, two of them read the same number.",
    steps: &["BEGIN", "read the person's claim", "read remaining", "insert the claim", "write remaining - 1", "COMMIT", "answer"],
    race: Some(Race {
        after_step: 3,
        what: "whoever comes before the COMMIT reads the same remaining, and the same \"no claim yet\": both go on, and one of the two subtractions is lost",
    }),
    told_yes: "after COMMIT",
    is_exact: false,
    has_unique_claims: false,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 4, at: "inserted", kind: FaultKind::Crash }],
    source: Some(include_str!("check_then_act.rs")),
};

pub(crate) struct CheckThenAct {
    database: Database,
    faults: Faults,
}

impl Strategy for CheckThenAct {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        Ok(Self { database: tools.database(POOL_SIZE).await?, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let mut connection = self.database.connection().await?;
        let db = connection.transaction().await?;
        if let Some(claim) = find(&db, CLAIM_OF, &[&campaign, &subject]).await? {
            return Ok(Answer::Repeat(claim.get(0)));
        }
        let remaining: i64 = row(&db, "SELECT remaining FROM campaigns WHERE name = $1", &[&campaign]).await?.get(0);
        if remaining <= 0 {
            return Ok(Answer::SoldOut);
        }
        // RACE: the result of the read above may be outdated: other transactions have read the same.
        let claim = row(&db, "INSERT INTO claims (campaign, subject) VALUES ($1, $2) RETURNING serial", &[&campaign, &subject]).await?;
        self.faults.reached("inserted");
        run(&db, "UPDATE campaigns SET remaining = $2 WHERE name = $1", &[&campaign, &(remaining - 1)]).await?;
        db.commit().await?;
        Ok(Answer::Claimed(claim.get(0)))
    }
}
