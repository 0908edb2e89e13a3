//! Every claim goes to a small connection pool: correct, but only for requests that get a connection.

use std::time::Duration;

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, PoolSize, find, row, run};
use crate::frame::tools::{Faults, Tools};

pub(crate) const ABOUT: About = About {
    name: "small_pool",
    title: "Straight to a small pool",
    engines: "PostgreSQL",
    explained: "The statements are those of the conditional UPDATE, but every request needs one of four connections and waits 50 ms for it at most. \
                What is given out is right; most of those who come in the same instant get an error instead of an answer.",
    steps: &[
        "wait for one of 4 connections, 50 ms at most",
        "BEGIN",
        "read the person's claim",
        "insert the claim",
        "UPDATE … SET remaining = remaining - 1 WHERE remaining > 0",
        "COMMIT, or ROLLBACK if no row was updated",
        "answer",
    ],
    race: None,
    told_yes: "after COMMIT",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 5, at: "taken", kind: FaultKind::Crash }],
    source: Some(include_str!("small_pool.rs")),
};

/// Far smaller than the crowd, like a pool that was sized for an ordinary day.
const SMALL: PoolSize = PoolSize { connections: 4, wait_max: Duration::from_millis(50) };
const TAKE: &str = "UPDATE campaigns SET remaining = remaining - 1 WHERE name = $1 AND remaining > 0";
const INSERT: &str = "INSERT INTO claims (campaign, subject) VALUES ($1, $2) ON CONFLICT (campaign, subject) DO NOTHING RETURNING serial";

pub(crate) struct SmallPool {
    database: Database,
    faults: Faults,
}

impl Strategy for SmallPool {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        Ok(Self { database: tools.database(SMALL).await?, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        // The pool runs dry here: hundreds of requests wait for four connections.
        let mut connection = self.database.connection().await?;
        let db = connection.transaction().await?;
        if let Some(claim) = find(&db, CLAIM_OF, &[&campaign, &subject]).await? {
            return Ok(Answer::Repeat(claim.get(0)));
        }
        let Some(claim) = find(&db, INSERT, &[&campaign, &subject]).await? else {
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
