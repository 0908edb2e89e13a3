//! Checks before any decision that the topic exists and keeps all its records in the order of appending;
//! creates it if needed.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::{Hearing, KafkaSettings, OpenError};

/// How long the brokers may take to answer an admin request.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);
/// How often, and after which pause, the question is repeated while brokers disagree about the topic.
const SETTLE_TRIES_MAX: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Replicas of each record, and how many of them must have it before it is acknowledged.
const REPLICATION: i32 = 3;
const IN_SYNC: u32 = 2;

/// A topic that passed the checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// The Kafka cluster's own id.
    pub cluster_id: String,
    /// For each partition, the first offset that exists and the offset after the last one.
    pub offsets: Vec<(u64, u64)>,
}

/// Creates the topic if it does not exist, and checks its settings.
///
/// # Errors
/// [`OpenError`].
pub async fn prepare(settings: &KafkaSettings) -> Result<Topic, OpenError> {
    let admin = admin(settings)?;
    let (admin, found) = ask(settings, admin, partitions_of).await?;
    if found.is_none() {
        create(settings, &admin).await?;
    }
    look_at(settings, Wanted::AsItMustBe).await
}

/// Checks a topic that must already exist; creates nothing.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoTopic`] if it does not exist.
pub async fn find(settings: &KafkaSettings) -> Result<Topic, OpenError> {
    let (_, found) = ask(settings, admin(settings)?, partitions_of).await?;
    if found.is_some() { prepare(settings).await } else { Err(no_topic(settings)) }
}

/// Which topic is accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A topic that exists or has just been created, with the required settings.
    AsItMustBe,
    /// Any existing topic.
    AsItIs,
}

/// Looks the topic up, and retries for some seconds while the obstacle heals by itself.
async fn look_at(settings: &KafkaSettings, wanted: Wanted) -> Result<Topic, OpenError> {
    for _ in 0..SETTLE_TRIES_MAX {
        match look_once(settings, wanted).await {
            Err(error) if is_passing(&error, wanted) => tracing::debug!(%error, "the brokers do not agree on the topic yet"),
            outcome => return outcome,
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    look_once(settings, wanted).await
}

async fn look_once(settings: &KafkaSettings, wanted: Wanted) -> Result<Topic, OpenError> {
    if wanted == Wanted::AsItMustBe {
        check_settings(settings).await?;
    }
    let (_, topic) = ask(settings, admin(settings)?, topic_of).await?;
    if topic.offsets.is_empty() { Err(no_topic(settings)) } else { Ok(topic) }
}

/// Whether the error heals by itself: brokers learn of a new topic or a changed leader one after the other,
/// and each answers from its own knowledge.
fn is_passing(error: &OpenError, wanted: Wanted) -> bool {
    use RDKafkaErrorCode::{
        FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable, ReplicaNotAvailable, UnknownLeaderEpoch,
        UnknownTopicOrPartition,
    };
    let code = match error {
        OpenError::Client { source: KafkaError::AdminOp(code), .. } => Some(*code),
        OpenError::Client { source, .. } => source.rdkafka_error_code(),
        OpenError::NoTopic { .. } => return wanted == Wanted::AsItMustBe,
        _ => None,
    };
    matches!(
        code,
        Some(
            FencedLeaderEpoch
                | LeaderNotAvailable
                | NotLeaderForPartition
                | OffsetNotAvailable
                | ReplicaNotAvailable
                | UnknownLeaderEpoch
                | UnknownTopicOrPartition
        )
    )
}

/// Looks the topic up without creating it or checking its settings.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoTopic`] if it does not exist.
pub async fn look(settings: &KafkaSettings) -> Result<Topic, OpenError> {
    look_at(settings, Wanted::AsItIs).await
}

fn unreachable(settings: &KafkaSettings, why: String) -> OpenError {
    OpenError::Unreachable { hosts: settings.hosts.clone(), why }
}

fn no_topic(settings: &KafkaSettings) -> OpenError {
    OpenError::NoTopic { topic: settings.topic.clone(), hosts: settings.hosts.clone() }
}

/// The first offset of a partition and the offset after its last record.
fn ends_of(settings: &KafkaSettings, client: &Client<Hearing>, partition: i32) -> Result<(u64, u64), OpenError> {
    let ends = client.fetch_watermarks(&settings.topic, partition, ASK_TIME_MAX);
    let (low, high) = ends.map_err(|error| settings.failed(error))?;
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        // Taking an unknown end for 0 would begin the log anew.
        (Err(_), _) | (_, Err(_)) => Err(unreachable(settings, format!("partition {partition} has the ends {low} and {high}"))),
    }
}

/// Checks the topic's settings.
///
/// # Errors
/// [`OpenError`]; only [`OpenError::Settings`] means that a setting is wrong.
pub async fn check_settings(settings: &KafkaSettings) -> Result<(), OpenError> {
    check_with(settings, admin(settings)?).await.map(|_| ())
}

type Admin = AdminClient<Hearing>;

fn admin(settings: &KafkaSettings) -> Result<Admin, OpenError> {
    AdminClient::from_config_and_context(&settings.client(), Hearing::default()).map_err(|error| settings.failed(error))
}

/// Runs a blocking question on a thread where blocking is allowed.
async fn ask<T: Send + 'static>(
    settings: &KafkaSettings,
    admin: Admin,
    work: impl FnOnce(&KafkaSettings, &Admin) -> Result<T, OpenError> + Send + 'static,
) -> Result<(Admin, T), OpenError> {
    let (own, hosts) = (settings.clone(), settings.hosts.clone());
    let asked = tokio::task::spawn_blocking(move || work(&own, &admin).map(|answer| (admin, answer)));
    asked.await.unwrap_or_else(|error| Err(OpenError::Unreachable { hosts, why: error.to_string() }))
}

/// The number of replicas of each partition; `None` if the topic does not exist.
fn partitions_of(settings: &KafkaSettings, admin: &Admin) -> Result<Option<Vec<usize>>, OpenError> {
    // Metadata of all topics: asking for one by name may create it, with the broker's default settings.
    let metadata = admin.inner().fetch_metadata(None, ASK_TIME_MAX).map_err(|error| {
        let heard = admin.inner().context().last();
        let why = if heard.is_empty() { error.to_string() } else { heard };
        OpenError::Unreachable { hosts: settings.hosts.clone(), why }
    })?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == settings.topic);
    Ok(topic.map(replicas_of))
}

fn replicas_of(topic: &MetadataTopic) -> Vec<usize> {
    topic.partitions().iter().map(|partition| partition.replicas().len()).collect()
}

fn topic_of(settings: &KafkaSettings, admin: &Admin) -> Result<Topic, OpenError> {
    let client = admin.inner();
    let partitions = partitions_of(settings, admin)?.map_or(0, |replicas| replicas.len());
    let id = client.fetch_cluster_id(ASK_TIME_MAX);
    let cluster_id = id.ok_or_else(|| unreachable(settings, "it does not tell its cluster's id".to_owned()))?;
    let Ok(partitions) = i32::try_from(partitions) else { panic!("Kafka numbers partitions with 31 bits") };
    let offsets = (0..partitions).map(|partition| ends_of(settings, client, partition));
    Ok(Topic { cluster_id, offsets: offsets.collect::<Result<_, OpenError>>()? })
}

async fn create(settings: &KafkaSettings, admin: &Admin) -> Result<(), OpenError> {
    let failed = |why: String| OpenError::Create { topic: settings.topic.clone(), why };
    let partitions = i32::try_from(settings.partitions);
    let partitions = partitions.map_err(|_| failed(format!("it cannot have {} partitions (--kafka-partitions)", settings.partitions)))?;
    let (replication, in_sync) = if settings.is_dev { (1, "1") } else { (REPLICATION, "2") };
    let topic = NewTopic::new(&settings.topic, partitions, TopicReplication::Fixed(replication))
        .set("min.insync.replicas", in_sync)
        .set("unclean.leader.election.enable", "false")
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().operation_timeout(Some(ASK_TIME_MAX)).request_timeout(Some(ASK_TIME_MAX));
    let created = admin.create_topics([&topic], &options).await.map_err(|error| failed(error.to_string()))?;
    for outcome in created {
        match outcome {
            // Another node created it first.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, RDKafkaErrorCode::InvalidReplicationFactor)) if !settings.is_dev => {
                return Err(failed("it needs three brokers; for trying it out, --kafka-dev is content with one".to_owned()));
            }
            Err((_, code)) => return Err(failed(KafkaError::AdminOp(code).to_string())),
        }
    }
    tracing::info!(topic = settings.topic, partitions, "the topic was made");
    // The new topic's metadata spreads among the brokers.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let metadata = admin.inner().fetch_metadata(None, ASK_TIME_MAX).map_err(|error| failed(error.to_string()))?;
        let is_there = |topic: &MetadataTopic| {
            topic.name() == settings.topic && !topic.partitions().is_empty() && topic.partitions().iter().all(|one| 0 <= one.leader())
        };
        if metadata.topics().iter().any(is_there) {
            return Ok(());
        }
    }
    Err(failed("it was made, but has no leader".to_owned()))
}

async fn check_with(settings: &KafkaSettings, admin: Admin) -> Result<Admin, OpenError> {
    let (admin, replicas) = ask(settings, admin, partitions_of).await?;
    let options = AdminOptions::new().request_timeout(Some(ASK_TIME_MAX));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(&settings.topic)], &options).await;
    let described = described.map_err(|error| settings.failed(error))?.into_iter().next();
    let config = match described {
        Some(Ok(config)) => config,
        Some(Err(code)) => return Err(settings.failed(KafkaError::AdminOp(code))),
        None => return Err(settings.failed(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition))),
    };
    // A topic that is not found yet is not a wrong setting.
    let replicas = replicas.ok_or_else(|| no_topic(settings))?;
    let wrong = wrong_settings(&config, &replicas, settings.is_dev);
    if wrong.is_empty() { Ok(admin) } else { Err(OpenError::Settings { topic: settings.topic.clone(), wrong }) }
}

/// The settings that could lose or reorder records.
fn wrong_settings(config: &ConfigResource, replicas: &[usize], is_dev: bool) -> Vec<String> {
    let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let mut wrong = Vec::new();
    let mut must = |name: &str, wanted: &str| {
        let found = value(name);
        if found != wanted {
            wrong.push(format!("{name} is {found:?} and must be {wanted:?}"));
        }
    };
    must("message.timestamp.type", "LogAppendTime");
    must("cleanup.policy", "delete");
    must("retention.ms", "-1");
    must("retention.bytes", "-1");
    if is_dev {
        return wrong;
    }
    must("unclean.leader.election.enable", "false");
    let in_sync = value("min.insync.replicas");
    if !in_sync.parse::<u32>().is_ok_and(|count| IN_SYNC <= count) {
        wrong.push(format!("min.insync.replicas is {in_sync:?} and must be {IN_SYNC} or more (--kafka-dev does without)"));
    }
    // A partition whose replicas are unknown counts as having none.
    let fewest = replicas.iter().min().copied().unwrap_or(0);
    if fewest < REPLICATION as usize {
        wrong.push(format!("a partition has {fewest} replicas and must have {REPLICATION} or more (--kafka-dev does without)"));
    }
    wrong
}
