//! Writes the first record (genesis) of each partition: the node that arrives first does so.

use std::time::Duration;

use super::{KafkaLog, KafkaSettings, OpenError, Topic, read_first};
use crate::protocol::node::Log;
use crate::protocol::record::{Body, Genesis, LogId, LogRecord, NodeId, Origin, RULES_KNOWN, Routing, decode, encode};

/// How often writing the first record is tried.
const TRIES_MAX: u32 = 10;

/// Writes the genesis record of every empty partition, and returns the log's id; `None` if the log's first
/// record no longer exists.
///
/// # Errors
/// [`OpenError`].
pub async fn begin(
    settings: &KafkaSettings,
    log: &KafkaLog,
    topic: &Topic,
    node: NodeId,
    new_id: LogId,
) -> Result<Option<LogId>, OpenError> {
    let Ok(partitions) = u32::try_from(topic.offsets.len()) else { panic!("a topic has fewer than 2^31 partitions") };
    let Some((0, end)) = topic.offsets.first().copied() else { return Ok(None) };
    if end == 0 {
        append(settings, log, 0, node, Genesis { log: new_id, partitions, rules: RULES_KNOWN }).await?;
    }
    // Two nodes may have begun the log at once: the first record counts.
    let first = first_record(settings, 0).await?;
    let id = match decode(&first).map(|record| record.body) {
        Ok(Body::Genesis(genesis)) => genesis.log,
        Ok(_) | Err(_) => return Err(not_ours(settings)),
    };
    for (partition, (_, end)) in (0..).zip(&topic.offsets).skip(1) {
        if *end == 0 {
            append(settings, log, partition, node, Genesis { log: id, partitions, rules: RULES_KNOWN }).await?;
        }
    }
    Ok(Some(id))
}

async fn append(settings: &KafkaSettings, log: &KafkaLog, partition: u32, node: NodeId, genesis: Genesis) -> Result<(), OpenError> {
    let origin = Origin { node, sequence: 0 };
    let record = LogRecord { origin, sent_at: log.now(), routing: Routing::Partition(partition), body: Body::Genesis(genesis) };
    for _ in 0..TRIES_MAX {
        let before = log.delivered_count();
        // A second genesis record has no effect.
        let _ = log.append(partition, "", encode(&record));
        for _ in 0..100 {
            if before < log.delivered_count() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let why = "the first record was not taken; are there as many brokers as min.insync.replicas says?".to_owned();
    Err(OpenError::Unreachable { hosts: settings.hosts.clone(), why })
}

async fn first_record(settings: &KafkaSettings, partition: u32) -> Result<Vec<u8>, OpenError> {
    let (own, hosts) = (settings.clone(), settings.hosts.clone());
    let read = tokio::task::spawn_blocking(move || read_first(&own, partition)).await;
    read.unwrap_or_else(|error| Err(OpenError::Unreachable { hosts, why: error.to_string() }))
}

fn not_ours(settings: &KafkaSettings) -> OpenError {
    let wrong = vec!["its first record is none of ours: take another topic (--kafka-topic)".to_owned()];
    OpenError::Settings { topic: settings.topic.clone(), wrong }
}
