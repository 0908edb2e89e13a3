//! A distributed lock: Redis gives the turn, PostgreSQL is checked and written.

use std::time::Duration;

use redis::Script;
use redis::aio::ConnectionManager;

use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind, Race};
use crate::frame::error::LabError;
use crate::frame::postgres::{Database, POOL_SIZE, find, row, run};
use crate::frame::tools::{Faults, Tools, Trouble, random};

pub(crate) const ABOUT: About = About {
    name: "redis_lock",
    title: "Distributed lock on Redis",
    engines: "Redis, PostgreSQL",
    explained: "SET NX PX takes a lock that is given up by compare-and-delete; whoever holds it checks and then acts, as in the first strategy. \
                It is exact as long as nobody holds the lock for longer than its time: a process that pauses for longer goes on afterwards as if it still had it, and nothing stops its write.",
    steps: &[
        "SET lock NX PX 3000, again and again, 10 s at most",
        "BEGIN, read the person's claim and remaining",
        "insert the claim",
        "write remaining - 1",
        "COMMIT",
        "delete the lock if it is still mine",
        "answer",
    ],
    race: Some(Race {
        after_step: 2,
        what: "if the lock's time ends here, in a pause of this process, others sell on, and then this one writes back a number from the past",
    }),
    told_yes: "after COMMIT",
    is_exact: true,
    has_unique_claims: false,
    durable_by: DurableBy::Postgres,
    faults: &[
        Fault { after_step: 2, at: "checked", kind: FaultKind::Crash },
        Fault { after_step: 2, at: "checked", kind: FaultKind::Pause },
    ],
    source: Some(include_str!("redis_lock.rs")),
};

/// Many times the duration of the work; after a crash, no request is served for this long.
const LOCK_MS: u64 = 3_000;
const TRIES_MAX: u32 = 2_000;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

pub(crate) struct RedisLock {
    redis: ConnectionManager,
    release: Script,
    prefix: String,
    database: Database,
    faults: Faults,
}

impl Strategy for RedisLock {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        let (redis, database) = (tools.redis().await?, tools.database(POOL_SIZE).await?);
        Ok(Self { redis, release: Script::new(RELEASE), prefix: tools.prefix, database, faults: tools.faults })
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let (lock, mine) = (format!("{}:{campaign}:lock", self.prefix), random());
        self.lock(&lock, &mine).await?;
        let outcome = self.check_then_act(campaign, subject).await;
        self.release.key(lock).arg(mine).invoke_async::<i64>(&mut self.redis.clone()).await?;
        outcome
    }
}

impl RedisLock {
    async fn lock(&self, lock: &str, mine: &str) -> Result<(), Trouble> {
        let mut set = redis::cmd("SET");
        set.arg(lock).arg(mine).arg("NX").arg("PX").arg(LOCK_MS);
        for _ in 0..TRIES_MAX {
            if set.query_async::<Option<String>>(&mut self.redis.clone()).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        Err(Trouble::Busy(format!("no lock after {TRIES_MAX} tries")))
    }

    async fn check_then_act(&self, campaign: &str, subject: &str) -> Outcome {
        let mut connection = self.database.connection().await?;
        let db = connection.transaction().await?;
        if let Some(claim) = find(&db, CLAIM_OF, &[&campaign, &subject]).await? {
            return Ok(Answer::Repeat(claim.get(0)));
        }
        let remaining: i64 = row(&db, "SELECT remaining FROM campaigns WHERE name = $1", &[&campaign]).await?.get(0);
        if remaining <= 0 {
            return Ok(Answer::SoldOut);
        }
        // RACE: only if this process is suspended for longer than the lock lasts.
        self.faults.reached("checked");
        let claim = row(&db, "INSERT INTO claims (campaign, subject) VALUES ($1, $2) RETURNING serial", &[&campaign, &subject]).await?;
        run(&db, "UPDATE campaigns SET remaining = $2 WHERE name = $1", &[&campaign, &(remaining - 1)]).await?;
        db.commit().await?;
        Ok(Answer::Claimed(claim.get(0)))
    }
}
