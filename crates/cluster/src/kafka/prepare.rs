//! Before anything is decided: the topic is there, and keeps what it is given in the order that it
//! was given.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::{Hearing, KafkaSettings, OpenError};

/// How long the brokers may take to answer.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);
/// How often, and after which pause, brokers that do not agree on the topic are asked again.
const SETTLE_TRIES_MAX: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// Copies of each record, and how many of them must be there before it counts.
const REPLICATION: i32 = 3;
const IN_SYNC: u32 = 2;

/// A topic that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Kafka's own name for the cluster.
    pub cluster_id: String,
    /// The first offset that is there, and the one after the last, for each partition.
    pub offsets: Vec<(u64, u64)>,
}

/// Makes the topic if it is not there, and checks how it is set.
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

/// The same for a topic that must be there: nothing is made.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoTopic`] if it is not there.
pub async fn find(settings: &KafkaSettings) -> Result<Topic, OpenError> {
    let (_, found) = ask(settings, admin(settings)?, partitions_of).await?;
    if found.is_some() { prepare(settings).await } else { Err(no_topic(settings)) }
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A topic that is there, or has just been made, set as it must be.
    AsItMustBe,
    /// Whatever is there.
    AsItIs,
}

/// Looks, and looks again for some seconds while what is in the way heals by itself.
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

/// Whether it heals by itself: brokers learn one by one of a topic that was made, and of a leader
/// that has changed, and answer from what they know.
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

/// Looks at the topic as it is: nothing is made, and how it is set is not checked.
///
/// # Errors
/// [`OpenError`]; [`OpenError::NoTopic`] if it is not there.
pub async fn look(settings: &KafkaSettings) -> Result<Topic, OpenError> {
    look_at(settings, Wanted::AsItIs).await
}

fn unreachable(settings: &KafkaSettings, why: String) -> OpenError {
    OpenError::Unreachable { hosts: settings.hosts.clone(), why }
}

fn no_topic(settings: &KafkaSettings) -> OpenError {
    OpenError::NoTopic { topic: settings.topic.clone(), hosts: settings.hosts.clone() }
}

/// Where a partition begins and ends.
fn ends_of(settings: &KafkaSettings, client: &Client<Hearing>, partition: i32) -> Result<(u64, u64), OpenError> {
    let ends = client.fetch_watermarks(&settings.topic, partition, ASK_TIME_MAX);
    let (low, high) = ends.map_err(|error| settings.failed(error))?;
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        // An end that is taken for 0 would have the log begun anew.
        (Err(_), _) | (_, Err(_)) => Err(unreachable(settings, format!("partition {partition} has the ends {low} and {high}"))),
    }
}

/// Checks how the topic is set.
///
/// # Errors
/// [`OpenError`]; only [`OpenError::Settings`] says that it is set wrong.
pub async fn check_settings(settings: &KafkaSettings) -> Result<(), OpenError> {
    check_with(settings, admin(settings)?).await.map(|_| ())
}

type Admin = AdminClient<Hearing>;

fn admin(settings: &KafkaSettings) -> Result<Admin, OpenError> {
    AdminClient::from_config_and_context(&settings.client(), Hearing::default()).map_err(|error| settings.failed(error))
}

/// Asks on a thread where waiting disturbs nobody.
async fn ask<T: Send + 'static>(
    settings: &KafkaSettings,
    admin: Admin,
    work: impl FnOnce(&KafkaSettings, &Admin) -> Result<T, OpenError> + Send + 'static,
) -> Result<(Admin, T), OpenError> {
    let (own, hosts) = (settings.clone(), settings.hosts.clone());
    let asked = tokio::task::spawn_blocking(move || work(&own, &admin).map(|answer| (admin, answer)));
    asked.await.unwrap_or_else(|error| Err(OpenError::Unreachable { hosts, why: error.to_string() }))
}

/// How many replicas each partition has; nothing where there is no such topic.
fn partitions_of(settings: &KafkaSettings, admin: &Admin) -> Result<Option<Vec<usize>>, OpenError> {
    // All topics: asking for one by name may make it, with whatever settings are usual there.
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
            // Another node was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, RDKafkaErrorCode::InvalidReplicationFactor)) if !settings.is_dev => {
                return Err(failed("it needs three brokers; for trying it out, --kafka-dev is content with one".to_owned()));
            }
            Err((_, code)) => return Err(failed(KafkaError::AdminOp(code).to_string())),
        }
    }
    tracing::info!(topic = settings.topic, partitions, "the topic was made");
    // The brokers tell one another of it.
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
    // Where there is none for now, nothing is set wrong.
    let replicas = replicas.ok_or_else(|| no_topic(settings))?;
    let wrong = wrong_settings(&config, &replicas, settings.is_dev);
    if wrong.is_empty() { Ok(admin) } else { Err(OpenError::Settings { topic: settings.topic.clone(), wrong }) }
}

/// What is set in a way that could lose records, or the order of them.
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
    // A partition whose replicas are not known counts as one without any.
    let fewest = replicas.iter().min().copied().unwrap_or(0);
    if fewest < REPLICATION as usize {
        wrong.push(format!("a partition has {fewest} replicas and must have {REPLICATION} or more (--kafka-dev does without)"));
    }
    wrong
}
