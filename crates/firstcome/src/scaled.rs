//! The scaled mode, assembled: the log in Kafka, the gate in Redis, the tables in PostgreSQL, and the node
//! that follows the log.

mod positions;
mod project;
mod start;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cluster::kafka::{self, FollowError, Follower, KafkaLog, KafkaSettings, Pace, Sink, Topic};
use cluster::protocol::limits::{DUE_EVERY, KEEP_EVERY};
use cluster::protocol::node::Node;
use cluster::protocol::record::{LogId, NodeId, RULES_KNOWN, RulesVersion};
use cluster::protocol::replica::{Delivered, Fault, Progress, Replica, Topology};
use cluster::redis::{self, RedisGate};
use domain::Kind;
use domain::hash::HashSeed;
use domain::keyring::{Keyring, NAME};
use domain::types::Timestamp;
use edge::auth::Auth;
use engine::clock::Clock;
use engine::limits::Limits;
use engine::views::Over;
use projection::postgres::{
    ConnectError, LoadError, Loaded, Origin, OriginError, PartitionPosition, Postgres, Settings as PostgresSettings,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::cli::{ServeArgs, SettingsError};
use crate::codes::CodeKeys;
use crate::serve::in_range;

pub use positions::Positions;
use start::OwnSnapshots;

/// How often the topic's settings are checked.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Time limit of the last copies of the state when the process ends.
const LAST_COPY_MAX: Duration = Duration::from_secs(10);

/// How often, and after which pause, a log that ends before the tables' position is checked again.
const END_LOOKS_MAX: u32 = 10;
const END_LOOK: Duration = Duration::from_millis(300);

/// The addresses of the other systems.
#[derive(Clone, Debug)]
pub struct ScaledSettings {
    /// The log.
    pub kafka: KafkaSettings,
    /// The gate, if one is configured.
    pub redis: Option<String>,
    /// The history's tables.
    pub postgres: String,
}

impl ScaledSettings {
    /// The scaled mode's settings, if any of its options is set.
    ///
    /// # Errors
    /// [`SettingsError`] that names the option.
    pub fn of(args: &ServeArgs) -> Result<Option<Self>, SettingsError> {
        let missing = |given: &str, missing: &str| Err(SettingsError::Value(format!("--{given} needs --{missing}")));
        match (&args.kafka, &args.postgres, &args.redis) {
            (None, None, None) => Ok(None),
            (None, Some(_), _) => missing("postgres", "kafka"),
            (None, None, Some(_)) => missing("redis", "kafka"),
            (Some(_), None, _) => missing("kafka", "postgres"),
            (Some(hosts), Some(postgres), redis) => {
                let partitions = in_range("kafka-partitions", args.kafka_partitions, 8, 1, 1_000)?;
                let topic = args.kafka_topic.clone().unwrap_or_else(|| "firstcome".to_owned());
                let is_name = !topic.is_empty()
                    && topic.len() <= 200
                    && topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
                if !is_name {
                    return Err(SettingsError::Value("--kafka-topic may only hold the characters A-Z a-z 0-9 . _ -".to_owned()));
                }
                let partitions = u32::try_from(partitions).unwrap_or(1);
                let kafka = KafkaSettings { hosts: hosts.clone(), topic, partitions, is_dev: args.kafka_dev };
                Ok(Some(ScaledSettings { kafka, redis: redis.clone(), postgres: postgres.clone() }))
            }
        }
    }
}

/// A node's other inputs.
#[derive(Clone, Debug)]
pub struct Starting {
    /// The data folder, for the node's own snapshots.
    pub data: PathBuf,
    /// The capacity of each partition.
    pub limits: Limits,
    /// The number of records of a partition after which a snapshot is written.
    pub snapshot_every: u64,
    /// The clock.
    pub clock: Clock,
    /// Follows the changes of keys.
    pub auth: Arc<Auth>,
}

/// Why the scaled mode cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ScaledError {
    /// Kafka cannot be used.
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] redis::OpenError),
    /// PostgreSQL cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The tables belong to another log.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The tables cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The loaded state, or the log, is invalid.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The node's own snapshots cannot be used.
    #[error("cannot use the snapshots in the data folder: {0}")]
    Snapshots(#[from] std::io::Error),
    /// The log does not begin early enough, or does not extend far enough, for the position of the history or
    /// of the node's own snapshot.
    #[error("{of} is at offset {position} of partition {partition}, but the topic holds offsets {low} to {high}: {what}")]
    Apart {
        /// The history or the snapshot.
        of: &'static str,
        /// The partition.
        partition: u32,
        /// Its position.
        position: u64,
        /// The first offset in the log.
        low: u64,
        /// The offset after the log's last record.
        high: u64,
        /// An explanation for the operator.
        what: &'static str,
    },
    /// The log's first record is gone, and the tables do not name its id.
    #[error("the topic's first record is gone, and the tables of --postgres do not say which log it was; retention must be unlimited")]
    NoBeginning,
}

/// A node with everything that it uses.
#[derive(Debug)]
pub struct Scaled {
    /// The node.
    pub node: Arc<Node<KafkaLog, RedisGate>>,
    /// The history's tables.
    pub postgres: Postgres,
    /// The positions of the tables.
    pub positions: Arc<Positions>,
    /// The state of the projector in this process.
    pub projecting: Arc<Projecting>,
    own: Arc<OwnSnapshots>,
    failure: Arc<OnceLock<String>>,
    follower: Mutex<Option<Follower>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    projector: Mutex<Option<JoinHandle<()>>>,
}

/// The state of the projector, for metrics.
#[derive(Debug, Default)]
pub struct Projecting {
    /// Whether this process writes the tables.
    pub is_at_work: AtomicBool,
    /// Whether the tables contradict the log, which is a fault.
    pub has_conflict: AtomicBool,
    /// Decisions written by this process.
    pub decisions_count: AtomicU64,
    /// Failed attempts.
    pub failures_count: AtomicU64,
    /// Tells the projector that the process is ending.
    ends: Notify,
}

/// A connection to the tables, which show whether the cluster has begun.
#[derive(Debug)]
pub struct Connected {
    postgres: Postgres,
    origin: Option<Origin>,
}

impl Connected {
    /// Whether any server of the cluster has started before.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.origin.is_some()
    }

    /// Connects to the other systems, rebuilds the state, and begins to follow the log. The node accepts no
    /// command until it has caught up.
    ///
    /// # Errors
    /// [`ScaledError`].
    pub async fn open(
        self,
        settings: &ScaledSettings,
        codes: &CodeKeys,
        starting: &Starting,
        random: [u64; 5],
    ) -> Result<Scaled, ScaledError> {
        let [node, log_low, log_high, seed_low, seed_high] = random;
        let (node_id, seed) = (NodeId(node), HashSeed(seed_low, seed_high));
        let Self { postgres, origin: stored } = self;
        let topic = match &stored {
            Some(stored) => find_topic(settings, stored, &postgres).await?,
            None => kafka::prepare(&settings.kafka).await?,
        };
        let log = KafkaLog::open(&settings.kafka, starting.clock.clone())?;
        let new_id = LogId([log_low.to_le_bytes(), log_high.to_le_bytes()].as_flattened().try_into().unwrap_or_default());
        let begun = kafka::begin(&settings.kafka, &log, &topic, node_id, new_id).await?;
        let log_id = match begun {
            Some(id) => id,
            None => stored.as_ref().and_then(stored_log).ok_or(ScaledError::NoBeginning)?,
        };
        let partitions = u32::try_from(topic.offsets.len()).unwrap_or(u32::MAX);
        let origin = Origin {
            cluster_id: topic.cluster_id.clone(),
            topic: settings.kafka.topic.clone(),
            topic_id: log_id.to_string(),
            partitions,
            code_secret: HEXLOWER.encode(&codes.fingerprint()),
        };
        postgres.claim_origin(&origin).await?;
        let gate = match &settings.redis {
            Some(url) => Some(Arc::new(RedisGate::open(url, &settings.kafka.topic).await?)),
            None => None,
        };
        let own = Arc::new(OwnSnapshots::open(&starting.data, log_id, partitions)?);
        let replicas = start::replicas(&own, &postgres, partitions, seed).await?;
        let offsets: Vec<u64> = replicas.iter().map(Replica::offset_next).collect();
        // Checked again, because snapshots and copies are written meanwhile.
        reaching(settings, "what this server starts from", &offsets).await?;
        let node = Arc::new(Node::new(node_id, log_id, log, gate, starting.limits, replicas));
        let failure = Arc::new(OnceLock::new());
        let sink = NodeSink { node: Arc::clone(&node), failure: Arc::clone(&failure), log_id, auth: Arc::clone(&starting.auth) };
        let follower = Mutex::new(Some(Follower::start(&settings.kafka, &offsets, Pace::AtOnce, sink)?));
        node.catch_up();
        let (positions, projecting) = (Arc::new(Positions::new(partitions)), Arc::new(Projecting::default()));
        let scaled =
            Scaled { node, postgres, positions, projecting, own, failure, follower, tasks: Mutex::default(), projector: Mutex::default() };
        scaled.start_tasks(settings, starting, seed);
        tracing::info!(topic = settings.kafka.topic, partitions, log = %log_id, gate = settings.redis.is_some(), ?offsets, "following the log");
        Ok(scaled)
    }
}

impl Scaled {
    /// Connects to the tables.
    ///
    /// # Errors
    /// [`ScaledError`].
    pub async fn connect(settings: &ScaledSettings) -> Result<Connected, ScaledError> {
        let postgres = Postgres::connect(PostgresSettings::new(settings.postgres.clone())).await?;
        let origin = postgres.origin().await?;
        Ok(Connected { postgres, origin })
    }

    /// Why the node cannot continue, if it has failed.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Closes everything; decisions that are not in the tables yet are written after the next start.
    pub async fn close(&self) {
        self.node.stop();
        let projector = self.projector.lock().take();
        if let Some(mut projector) = projector {
            self.projecting.ends.notify_one();
            if tokio::time::timeout(LAST_COPY_MAX, &mut projector).await.is_err() {
                projector.abort();
                let _ = projector.await;
            }
        }
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        let follower = self.follower.lock().take();
        // Joining the thread and waiting for the disk would block other tasks.
        let (own, node) = (Arc::clone(&self.own), Arc::clone(&self.node));
        let ended = tokio::task::spawn_blocking(move || {
            drop(follower);
            own.write(&node, 1);
        });
        // A panic in the thread has already been reported.
        let _ = ended.await;
    }

    fn start_tasks(&self, settings: &ScaledSettings, starting: &Starting, seed: HashSeed) {
        let keeping = keep(Arc::clone(&self.node));
        let doing = do_due(Arc::clone(&self.node));
        let checking = check_broker(settings.kafka.clone(), Arc::clone(&self.node), Arc::clone(&self.failure));
        let following = Arc::clone(&self.positions).follow(self.postgres.clone(), Arc::clone(&self.node), Arc::clone(&self.failure));
        let projecting = project::run(project::Parts {
            kafka: settings.kafka.clone(),
            postgres: self.postgres.clone(),
            partitions: self.node.partitions_count(),
            seed,
            state: Arc::clone(&self.projecting),
        });
        let storing = tokio::spawn(start::keep(Arc::clone(&self.own), Arc::clone(&self.node), starting.snapshot_every));
        let tasks = [tokio::spawn(keeping), tokio::spawn(doing), tokio::spawn(checking), tokio::spawn(following), storing];
        *self.projector.lock() = Some(tokio::spawn(projecting));
        self.tasks.lock().extend(tasks);
    }
}

/// A replica from a copy that the tables store.
fn replica_of(loaded: Loaded, partitions: u32, seed: HashSeed) -> Result<Replica, Fault> {
    let PartitionPosition { partition, .. } = loaded.position;
    let topology = Topology { partition, partitions };
    match progress_of(&loaded.position)? {
        Some(progress) => Replica::resume(topology, RULES_KNOWN, loaded.state, &progress),
        None => Ok(Replica::new(topology, RULES_KNOWN, seed)),
    }
}

/// `None` at the very beginning, where there is nothing to compare.
fn progress_of(position: &PartitionPosition) -> Result<Option<Progress>, Fault> {
    let PartitionPosition { partition, offset_next, decisions, effective_at, .. } = *position;
    if offset_next == 0 {
        return Ok(None);
    }
    let digest = position.digest.as_slice().try_into().map_err(|_| Fault::NoDigest { partition, bytes: position.digest.len() })?;
    let rules = RulesVersion(position.rules_version);
    Ok(Some(Progress { offset_next, decisions, effective_at, rules, digest }))
}

fn position_of(partition: u32, progress: &Progress) -> PartitionPosition {
    PartitionPosition {
        partition,
        offset_next: progress.offset_next,
        decisions: progress.decisions,
        effective_at: progress.effective_at,
        rules_version: progress.rules.0,
        digest: progress.digest.to_vec(),
    }
}

/// The topic that the tables belong to. Once the cluster has begun, the topic is never created or begun anew:
/// an empty topic would be another one.
async fn find_topic(settings: &ScaledSettings, stored: &Origin, postgres: &Postgres) -> Result<Topic, ScaledError> {
    if stored.topic != settings.kafka.topic {
        let (stored, given) = (stored.topic.clone(), settings.kafka.topic.clone());
        return Err(OriginError::Differs { what: "the topic", stored, given }.into());
    }
    // Read before the log's ends: running servers move the tables forward meanwhile.
    let positions = postgres.positions().await?;
    let position_of = |partition| positions.iter().find(|position| position.partition == partition);
    let known: Vec<u64> =
        (0..stored.partitions).map(|partition| position_of(partition).map_or(0, |position| position.offset_next)).collect();
    reaching(settings, "the history (--postgres)", &known).await
}

/// The topic, if it contains the offsets in `known`.
async fn reaching(settings: &ScaledSettings, of: &'static str, known: &[u64]) -> Result<Topic, ScaledError> {
    let mut looks = 0;
    loop {
        let topic = kafka::find(&settings.kafka).await?;
        looks += 1;
        match check_reach(of, known, &topic.offsets) {
            Ok(()) => return Ok(topic),
            Err(error) if looks == END_LOOKS_MAX => return Err(error),
            // A new leader may not yet know its high watermark.
            Err(_) => tokio::time::sleep(END_LOOK).await,
        }
    }
}

/// Checks that the log contains the position in `known` of each partition.
fn check_reach(of: &'static str, known: &[u64], offsets: &[(u64, u64)]) -> Result<(), ScaledError> {
    for (partition, (low, high)) in (0..).zip(offsets.iter().copied()) {
        let position = known.get(partition as usize).copied().unwrap_or(0);
        let apart = |what| Err(ScaledError::Apart { of, partition, position, low, high, what });
        if position < low {
            return apart("records in between are gone; retention must be unlimited");
        }
        if high < position {
            return apart("the log is another one, or has lost records");
        }
    }
    Ok(())
}

fn stored_log(origin: &Origin) -> Option<LogId> {
    HEXLOWER_PERMISSIVE.decode(origin.topic_id.as_bytes()).ok()?.try_into().ok().map(LogId)
}

/// Passes records from the log to the node.
struct NodeSink {
    node: Arc<Node<KafkaLog, RedisGate>>,
    failure: Arc<OnceLock<String>>,
    log_id: LogId,
    auth: Arc<Auth>,
}

impl Sink for NodeSink {
    fn apply(&mut self, partition: u32, records: &[Delivered<'_>]) -> Result<(), FollowError> {
        self.node.apply(partition, records.iter().copied())?;
        if partition == self.node.partition_of(NAME) {
            self.follow_keys();
        }
        Ok(())
    }

    fn ended(&mut self, outcome: Result<(), FollowError>) {
        let Err(error) = outcome else { return };
        tracing::error!(%error, log = %self.log_id, "this node cannot follow the log any more");
        let _ = self.failure.set(error.to_string());
        self.node.fail();
    }
}

impl NodeSink {
    /// A key that another server has revoked is accepted here until the record has been applied.
    fn follow_keys(&self) {
        let over = Over::One(Kind::Keyring, NAME);
        let look = |state: &domain::State, _| state.get::<Keyring>(NAME).map(|keyring| Arc::clone(&keyring.items.ring));
        self.node.read_local(over, Timestamp::ZERO, look).into_iter().flatten().for_each(|ring| self.auth.follow(&ring));
    }
}

/// Appends due commands, such as the decisions on pending claims.
async fn do_due(node: Arc<Node<KafkaLog, RedisGate>>) {
    let mut ticks = tokio::time::interval(DUE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        node.do_due();
    }
}

/// A node's periodic work, every second.
async fn keep(node: Arc<Node<KafkaLog, RedisGate>>) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        node.keep();
        node.log().keep();
    }
}

/// Changed settings of the topic could lose answered commands, so they are checked while the node runs.
async fn check_broker(kafka: KafkaSettings, node: Arc<Node<KafkaLog, RedisGate>>, failure: Arc<OnceLock<String>>) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        match kafka::check_settings(&kafka).await {
            Ok(()) => {}
            Err(error @ kafka::OpenError::Settings { .. }) => {
                tracing::error!(%error, "stopping: what is answered from here on might be lost");
                let _ = failure.set(error.to_string());
                node.fail();
                return;
            }
            Err(error) => tracing::warn!(%error, "the topic's settings cannot be looked at"),
        }
    }
}
