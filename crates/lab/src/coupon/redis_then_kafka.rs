//! Redis decides, and Kafka carries the claims to the database.

use redis::Script;
use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{Answer, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind, Race};
use crate::frame::error::LabError;
use crate::frame::kafka::Topic;
use crate::frame::postgres::{Database, POOL_SIZE, run};
use crate::frame::tools::{Faults, Tools, Trouble};

pub(crate) const ABOUT: About = About {
    name: "redis_then_kafka",
    title: "Redis Lua, then Kafka to the database",
    engines: "Redis, Kafka, PostgreSQL",
    explained: "A Lua script decides in Redis in one step, the yes is appended to Kafka, and a consumer writes it to the database. \
                It is fast and exact while nothing fails; but Redis and Kafka are two places, and whoever dies between them leaves a unit that is gone in one and was never given in the other.",
    steps: &[
        "Lua in Redis: has the person one? is one left? note it",
        "append to Kafka, wait until it has it",
        "answer",
        "consumer: INSERT … ON CONFLICT DO NOTHING",
    ],
    race: Some(Race {
        after_step: 1,
        what: "Redis has counted the unit and noted the person; until Kafka has the record, nobody else knows of it, and after a crash nobody ever will",
    }),
    told_yes: "when Redis has noted it and Kafka has it; the row comes later. Who asks again is told yes by Redis alone",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::RedisAndKafka,
    faults: &[Fault { after_step: 1, at: "redis said yes", kind: FaultKind::Crash }],
    source: Some(include_str!("redis_then_kafka.rs")),
};

/// The serial of the claim; negative if the subject had it before; 0 if sold out.
pub(super) const DECIDE: &str = "
    local serial = redis.call('HGET', KEYS[1], ARGV[1])
    if serial then return -tonumber(serial) end
    local count = redis.call('HLEN', KEYS[1])
    if tonumber(redis.call('GET', KEYS[2])) <= count then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], count + 1)
    return count + 1";

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    campaign: &'a str,
    subject: &'a str,
    serial: i64,
}

pub(crate) struct RedisThenKafka {
    redis: ConnectionManager,
    decide: Script,
    prefix: String,
    topic: Arc<Topic>,
    database: Database,
    faults: Faults,
}

impl Strategy for RedisThenKafka {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        let (redis, topic, database) = (tools.redis().await?, tools.topic()?, tools.database(POOL_SIZE).await?);
        Ok(Self { redis, decide: Script::new(DECIDE), prefix: tools.prefix, topic, database, faults: tools.faults })
    }

    async fn announce(&self, campaign: &str, stock: i64) -> Result<(), Trouble> {
        redis::cmd("SET").arg(format!("{}:{campaign}:stock", self.prefix)).arg(stock).exec_async(&mut self.redis.clone()).await?;
        Ok(())
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let (claims, stock) = (format!("{}:{campaign}:claims", self.prefix), format!("{}:{campaign}:stock", self.prefix));
        let decided: i64 = self.decide.key(claims).key(stock).arg(subject).invoke_async(&mut self.redis.clone()).await?;
        match decided {
            0 => return Ok(Answer::SoldOut),
            before if before < 0 => return Ok(Answer::Repeat(-before)),
            _ => {}
        }
        // RACE: Redis has given the unit away, and no other system knows it yet.
        self.faults.reached("redis said yes");
        let record = Record { campaign, subject, serial: decided };
        self.topic.append(campaign, &serde_json::to_vec(&record)?).await?;
        Ok(Answer::Claimed(decided))
    }

    async fn consume(&self, record: &[u8]) -> Result<(), Trouble> {
        let Record { campaign, subject, serial } = serde_json::from_slice(record)?;
        let connection = self.database.connection().await?;
        let insert = "INSERT INTO claims (campaign, subject, serial) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        run(&connection, insert, &[&campaign, &subject, &serial]).await?;
        Ok(())
    }
}
