//! The gate in Redis or Valkey, single or cluster: one Lua script, and one hash slot for each aggregate.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Kind;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, RedisFuture, Script, ScriptInvocation, ServerErrorKind, Value,
};
use tokio::time::{Instant, timeout};

use crate::protocol::gate::{Away, Correct, Corrected, Enter, Entered, GateKey, GateServer, GateVerdict, GateVersion, Mark};
use crate::protocol::limits::{FLIGHT_MILLIS_MAX, millis_of};

const SCRIPT: &str = include_str!("redis/gate.lua");
/// How long a call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(1);
/// How long connecting may take at start.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// After a failed call the gate is not called for at least this long, and for as long again as that call
/// took: meanwhile commands continue without the gate.
const REST_MIN_MILLIS: u64 = 250;

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The setting is not a URL.
    #[error("--redis is no URL such as redis://host:6379: {0}")]
    Url(String),
    /// Redis does not respond.
    #[error("Redis does not answer at {address} (--redis): {why}")]
    Unreachable {
        /// The server's host and port, without credentials.
        address: String,
        /// The client's error text.
        why: String,
    },
    /// The user name or password is wrong.
    #[error("Redis at {address} does not let us in; check user and password in --redis: {why}")]
    Credentials {
        /// The server's host and port, without credentials.
        address: String,
        /// The client's error text.
        why: String,
    },
    /// The user is not allowed to run the gate's script.
    #[error(
        "Redis at {address} (--redis) refuses the gate's script; its user needs evalsha, script|load and the commands in the documentation: {why}"
    )]
    Script {
        /// The server's host and port, without credentials.
        address: String,
        /// The client's error text.
        why: String,
    },
}

/// The gates of one topic.
pub struct RedisGate {
    connection: Connection,
    script: Script,
    topic: String,
    started: Instant,
    /// When calls may resume after a failure, in milliseconds since `started`.
    rests_until: AtomicU64,
    calls_count: AtomicU64,
    failures_count: AtomicU64,
}

impl fmt::Debug for RedisGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisGate").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// A connection to a single server or to a cluster; both take the same calls.
#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(&'a mut self, cmd: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl RedisGate {
    /// Connects, and checks that the script is allowed to run.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(url: &str, topic: &str) -> Result<Self, OpenError> {
        let gate = Self::open_to_look(url, topic).await?;
        let address = info_of(url)?.addr().to_string();
        // A harmless test call: it removes a mark that does not exist.
        let mut invocation = gate.script.prepare_invoke();
        invocation.key(format!("{topic}:{{}}:gate")).arg(&["unmark", "", "0", "", "0", "0", "0", "0"]);
        let mut connection = gate.connection.clone();
        let tried = timeout(CONNECT_TIME_MAX, invocation.invoke_async::<Value>(&mut connection)).await;
        let tried = tried.map_err(|_| too_slow(&address))?;
        tried.map_err(|error| OpenError::Script { address, why: error.to_string() })?;
        Ok(gate)
    }

    /// Connects for [`RedisGate::look`] only: the script need not be allowed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_to_look(url: &str, topic: &str) -> Result<Self, OpenError> {
        let info = info_of(url)?;
        let address = info.addr().to_string();
        let opened = timeout(CONNECT_TIME_MAX, connect(info)).await.map_err(|_| too_slow(&address))?;
        Ok(Self {
            connection: opened.map_err(|error| refused(error, &address))?,
            script: Script::new(SCRIPT),
            topic: topic.to_owned(),
            started: Instant::now(),
            rests_until: AtomicU64::new(0),
            calls_count: AtomicU64::new(0),
            failures_count: AtomicU64::new(0),
        })
    }

    /// The number of calls.
    #[must_use]
    pub fn calls_count(&self) -> u64 {
        self.calls_count.load(Ordering::Relaxed)
    }

    /// The number of failed calls.
    #[must_use]
    pub fn failures_count(&self) -> u64 {
        self.failures_count.load(Ordering::Relaxed)
    }

    /// The units that an aggregate's gate may still admit, and the offset of its last correction; `None` if
    /// the gate was never filled.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn look(&self, kind: Kind, name: &str) -> Result<Option<(i64, u64)>, Away> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.name_of(kind, name)).arg(&["left", "base"]);
        let mut connection = self.connection.clone();
        let looked = timeout(CALL_TIME_MAX, command.query_async::<(Option<i64>, Option<u64>)>(&mut connection)).await;
        let (left, base) = looked.map_err(|_| Away("it took longer than 1 s".to_owned()))?.map_err(|error| Away(error.to_string()))?;
        Ok(left.zip(base))
    }

    fn name_of(&self, kind: Kind, name: &str) -> String {
        format!("{}:{{{}:{name}}}:gate", self.topic, kind.word())
    }

    fn begin(&self, operation: &str, key: &GateKey, node: u64, known: GateVersion) -> ScriptInvocation<'_> {
        let mut invocation = self.script.prepare_invoke();
        invocation.key(self.name_of(key.kind, &key.name)).arg(operation).arg(key.log.to_string()).arg(key.partition);
        invocation.arg(format!("{node:016x}")).arg(known.fill).arg(known.base);
        invocation
    }

    fn millis(&self) -> u64 {
        millis_of(self.started.elapsed())
    }

    async fn call<T: redis::FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Away> {
        let began = self.millis();
        if began < self.rests_until.load(Ordering::Relaxed) {
            return Err(Away("it failed a moment ago".to_owned()));
        }
        self.calls_count.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connection.clone();
        let called = timeout(CALL_TIME_MAX, invocation.invoke_async::<T>(&mut connection)).await;
        let failed = match called {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took longer than 1 s".to_owned(),
        };
        self.failures_count.fetch_add(1, Ordering::Relaxed);
        let failed_at = self.millis();
        let rest = REST_MIN_MILLIS.max(failed_at - began);
        self.rests_until.store(failed_at + rest, Ordering::Relaxed);
        tracing::warn!(error = failed, "the gate is away; a few commands at a time go on without it");
        Err(Away(failed))
    }
}

impl GateServer for RedisGate {
    async fn enter(&self, enter: &Enter) -> Result<Entered, Away> {
        let mut invocation = self.begin("enter", &enter.key, enter.node.0, enter.known);
        invocation.arg(enter.settled.taken).arg(enter.settled.returned).arg(enter.settled.offset);
        for mark in &enter.marks {
            match mark {
                Some(Mark { set, number }) => invocation.arg(*set).arg(*number),
                None => invocation.arg("").arg(""),
            };
        }
        let answer: Vec<Value> = self.call(&invocation).await?;
        entered(&answer).ok_or_else(|| unexpected(&answer))
    }

    async fn correct(&self, correct: &Correct) -> Result<Corrected, Away> {
        let mut invocation = self.begin("correct", &correct.key, correct.node.0, correct.known);
        invocation.arg(correct.base).arg(correct.remaining).arg(correct.flight).arg(correct.sets).arg(FLIGHT_MILLIS_MAX);
        let answer: Vec<Value> = self.call(&invocation).await?;
        let [Value::BulkString(word), Value::Int(fill), Value::Int(base)] = answer.as_slice() else { return Err(unexpected(&answer)) };
        let Some(version) = version(*fill, *base) else { return Err(unexpected(&answer)) };
        match word.as_slice() {
            b"taken" => Ok(Corrected::Taken(version)),
            b"ignored" => Ok(Corrected::Ignored(version)),
            b"filled" => Ok(Corrected::Filled(version)),
            _ => Err(unexpected(&answer)),
        }
    }

    async fn unmark(&self, key: &GateKey, mark: Mark) -> Result<(), Away> {
        let mut invocation = self.begin("unmark", key, 0, GateVersion::default());
        invocation.arg(mark.set).arg(mark.number);
        self.call::<Value>(&invocation).await.map(|_| ())
    }
}

fn entered(answer: &[Value]) -> Option<Entered> {
    match answer {
        [Value::BulkString(word)] if word == b"unfilled" => Some(Entered::Unfilled),
        [Value::BulkString(word), Value::Int(fill), Value::Int(base), Value::BulkString(verdicts)] if word == b"entered" => {
            let verdict = |letter: &u8| match letter {
                b'P' => Some(GateVerdict::Passed),
                b'S' => Some(GateVerdict::SoldOut),
                b'M' => Some(GateVerdict::Marked),
                _ => None,
            };
            Some(Entered::Verdicts(version(*fill, *base)?, verdicts.iter().map(verdict).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// `None` for numbers that the script never writes.
fn version(fill: i64, base: i64) -> Option<GateVersion> {
    Some(GateVersion { fill: u64::try_from(fill).ok()?, base: u64::try_from(base).ok()? })
}

fn unexpected(answer: &[Value]) -> Away {
    Away(format!("it answered {answer:?}"))
}

async fn connect(info: redis::ConnectionInfo) -> Result<Connection, RedisError> {
    let client = Client::open(info.clone())?;
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(CALL_TIME_MAX))
        .set_connection_timeout(Some(CALL_TIME_MAX))
        .set_max_delay(Duration::from_secs(1))
        .set_number_of_retries(1);
    let mut single = ConnectionManager::new_with_config(client, config).await?;
    redis::cmd("PING").query_async::<Value>(&mut single).await.or_else(without_permission)?;
    let told = redis::cmd("INFO").arg("cluster").query_async::<Value>(&mut single).await.or_else(without_permission)?;
    // If the user may not run INFO, a single server is assumed.
    let is_cluster = told != Value::Nil && redis::from_redis_value::<String>(told)?.contains("cluster_enabled:1");
    if !is_cluster {
        return Ok(Connection::Single(single));
    }
    let builder = ClusterClient::builder([info]).retries(3).connection_timeout(CALL_TIME_MAX).response_timeout(CALL_TIME_MAX);
    Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
}

fn info_of(url: &str) -> Result<redis::ConnectionInfo, OpenError> {
    url.into_connection_info().map_err(|error| OpenError::Url(error.to_string()))
}

fn too_slow(address: &str) -> OpenError {
    OpenError::Unreachable { address: address.to_owned(), why: "it took longer than 5 s".to_owned() }
}

/// A user that may run the script need not be allowed any other command.
fn without_permission(error: RedisError) -> Result<Value, RedisError> {
    if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) { Ok(Value::Nil) } else { Err(error) }
}

fn refused(error: RedisError, address: &str) -> OpenError {
    let (address, why) = (address.to_owned(), error.to_string());
    let is_about_credentials = error.kind() == ErrorKind::AuthenticationFailed || why.contains("NOAUTH") || why.contains("WRONGPASS");
    if is_about_credentials { OpenError::Credentials { address, why } } else { OpenError::Unreachable { address, why } }
}
