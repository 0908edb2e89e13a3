//! Kafka first: every request is accepted; a consumer asks Redis and writes the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::Script;
use redis::aio::ConnectionManager;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::redis_then_kafka::DECIDE;
use super::{Answer, CLAIM_OF, Outcome, Strategy};
use crate::frame::about::{About, DurableBy, Fault, FaultKind, Race};
use crate::frame::error::LabError;
use crate::frame::kafka::Topic;
use crate::frame::postgres::{Database, POOL_SIZE, find, run};
use crate::frame::tools::{Faults, Tools, Trouble};

pub(crate) const ABOUT: About = About {
    name: "kafka_first",
    title: "Kafka first, a consumer decides",
    engines: "Kafka, Redis, PostgreSQL",
    explained: "Every request is appended to Kafka and accepted; one consumer after it asks Redis whether the person may have one and writes the database. \
                The peak becomes a line, and everybody waits in it, those too who get nothing; and between Redis and the row the consumer can die, after which the record comes again and Redis says \"you have one\" of a row that is not there.",
    steps: &[
        "append the request to Kafka: \"accepted\"",
        "consumer, one after the other: Lua in Redis decides",
        "insert the row",
        "the person, who has asked until now, is told",
        "move the consumer's place in the topic",
    ],
    race: Some(Race {
        after_step: 2,
        what: "Redis has counted the unit; after a crash here the record is read again, Redis says \"already\", and the row is never written",
    }),
    told_yes: "when the row is written. In the field the first answer is \"accepted\", which promises nothing, and people poll; here the server \
               keeps the request until it is decided, so that the times are those until the final answer",
    is_exact: true,
    has_unique_claims: true,
    durable_by: DurableBy::Postgres,
    faults: &[Fault { after_step: 2, at: "redis said yes", kind: FaultKind::Crash }],
    source: Some(include_str!("kafka_first.rs")),
};

/// How long a request stays open until the client has to poll.
const KEPT_MAX: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    campaign: &'a str,
    subject: &'a str,
}

type Waiting = Mutex<HashMap<String, Vec<oneshot::Sender<Outcome>>>>;

pub(crate) struct KafkaFirst {
    redis: ConnectionManager,
    decide: Script,
    prefix: String,
    topic: Arc<Topic>,
    database: Database,
    faults: Faults,
    /// The open requests; at most as many as there are connections.
    waiting: Waiting,
}

impl Strategy for KafkaFirst {
    async fn open(tools: Tools) -> Result<Self, LabError> {
        let (redis, topic, database) = (tools.redis().await?, tools.topic()?, tools.database(POOL_SIZE).await?);
        let (prefix, faults) = (tools.prefix, tools.faults);
        Ok(Self { redis, decide: Script::new(DECIDE), prefix, topic, database, faults, waiting: Waiting::default() })
    }

    async fn announce(&self, campaign: &str, stock: i64) -> Result<(), Trouble> {
        redis::cmd("SET").arg(format!("{}:{campaign}:stock", self.prefix)).arg(stock).exec_async(&mut self.redis.clone()).await?;
        Ok(())
    }

    async fn claim(&self, campaign: &str, subject: &str) -> Outcome {
        let decided = self.wait_for(subject);
        self.topic.append(campaign, &serde_json::to_vec(&Record { campaign, subject })?).await?;
        // Accepted: deployed systems respond here, before anything is decided.
        match tokio::time::timeout(KEPT_MAX, decided).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Trouble::Pending("accepted, and not decided yet".to_owned())),
        }
    }

    async fn consume(&self, record: &[u8]) -> Result<(), Trouble> {
        let Record { campaign, subject } = serde_json::from_slice(record)?;
        let (claims, stock) = (format!("{}:{campaign}:claims", self.prefix), format!("{}:{campaign}:stock", self.prefix));
        let decided: i64 = self.decide.key(claims).key(stock).arg(subject).invoke_async(&mut self.redis.clone()).await?;
        if decided == 0 {
            self.tell(subject, &Ok(Answer::SoldOut));
            return Ok(());
        }
        let connection = self.database.connection().await?;
        if decided < 0 {
            let row = find(&connection, CLAIM_OF, &[&campaign, &subject]).await?;
            let missing = || Trouble::Pending("Redis says that it was given; the row is not there".to_owned());
            self.tell(subject, &row.map(|row| Answer::Repeat(row.get(0))).ok_or_else(missing));
            return Ok(());
        }
        // RACE: a crash here has used up a unit that nobody gets.
        self.faults.reached("redis said yes");
        run(&connection, "INSERT INTO claims (campaign, subject, serial) VALUES ($1, $2, $3)", &[&campaign, &subject, &decided]).await?;
        self.tell(subject, &Ok(Answer::Claimed(decided)));
        Ok(())
    }
}

impl KafkaFirst {
    fn wait_for(&self, subject: &str) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.entry(subject.to_owned()).or_default().push(sender);
        receiver
    }

    fn tell(&self, subject: &str, outcome: &Outcome) {
        let waiting = self.waiting.lock().remove(subject);
        for sender in waiting.into_iter().flatten() {
            // A client that has disconnected asks again.
            let _ = sender.send(outcome.clone());
        }
    }
}
