//! Redis Cluster: three primaries with a replica each.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::clock::wait_until;
use crate::error::ServiceError;
use crate::folder::Folder;
use crate::ports;
use crate::programs;
use crate::redis::{self, PACKAGES, RedisNode, RedisOptions};

const NODES: usize = 6;
const PRIMARIES: usize = 3;
/// How long the nodes may take to agree.
const AGREED_MAX: Duration = Duration::from_secs(60);

/// The options of a Redis cluster.
#[derive(Clone, Debug)]
pub struct RedisClusterOptions {
    /// The time after which a silent primary is replaced, in milliseconds.
    pub node_timeout_ms: u32,
    /// Whether every write goes to a file, so that a restarted node has its data.
    pub persistent: bool,
}

impl Default for RedisClusterOptions {
    fn default() -> Self {
        Self { node_timeout_ms: 2_000, persistent: true }
    }
}

/// A running cluster. Nodes 0 to 2 begin as primaries, 3 to 5 as their replicas.
#[derive(Debug)]
pub struct RedisCluster {
    // Dropped before the folder that the nodes write to.
    nodes: Vec<RedisNode>,
    folder: Folder,
}

impl RedisCluster {
    /// Starts a cluster that replaces dead primaries within a few seconds.
    pub fn start() -> Result<Self, ServiceError> {
        Self::start_with(&RedisClusterOptions::default())
    }

    /// Starts a cluster.
    pub fn start_with(options: &RedisClusterOptions) -> Result<Self, ServiceError> {
        let cli = programs::find("redis-cli", PACKAGES)?;
        let folder = Folder::new("redis-cluster")?;
        let mut nodes = (0..NODES).map(|index| start_node(&folder, index, options)).collect::<Result<Vec<_>, _>>()?;
        nodes.iter_mut().try_for_each(RedisNode::wait_until_ready)?;
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let mut create = Command::new(cli);
        create.args(["--cluster", "create"]).args(addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        programs::output(&mut create)?;
        let cluster = Self { nodes, folder };
        cluster.wait_for_replicas()?;
        cluster.wait_until_agreed()?;
        Ok(cluster)
    }

    /// Waits until each of nodes 0 to 2 has a replica with all of its data. `redis-cli` assigns replicas once: a
    /// node that does not know its primary yet refuses, stays a primary without slots, and the cluster still
    /// calls itself `ok`; but nobody would replace that primary. So what is missing is assigned again.
    pub fn wait_for_replicas(&self) -> Result<(), ServiceError> {
        let (primaries, replicas) = self.nodes.split_at(PRIMARIES.min(self.nodes.len()));
        let mut last = String::new();
        let have_replicas = wait_until(AGREED_MAX, || {
            let alone: Vec<&RedisNode> = primaries.iter().filter(|node| !ask(node, "INFO replication").contains("state=online")).collect();
            let unassigned = replicas.iter().filter(|node| ask(node, "INFO replication").contains("role:master"));
            for (replica, primary) in unassigned.zip(&alone) {
                last = ask(replica, &format!("CLUSTER REPLICATE {}", ask(primary, "CLUSTER MYID")));
            }
            Ok::<_, ServiceError>(alone.is_empty())
        })?;
        if have_replicas { Ok(()) } else { Err(disagreed(last, "a replica of every primary")) }
    }

    /// `redis://127.0.0.1:PORT` of each node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect()
    }

    /// The ids of the running processes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.process.id()).collect()
    }

    /// The folder with its data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills one node (0 to 5) with `kill -9`.
    pub fn kill(&mut self, node: usize) -> Result<(), ServiceError> {
        self.node_mut(node)?.process.kill()
    }

    /// Restarts a node (0 to 5) on its port; it returns as a replica if it was replaced.
    pub fn restart(&mut self, node: usize) -> Result<(), ServiceError> {
        self.node(node)?;
        let Self { nodes, folder } = self;
        nodes.get_mut(node).map_or(Ok(()), |node| node.restart(folder))
    }

    /// Suspends one node (0 to 5) with `SIGSTOP`.
    pub fn stop(&self, node: usize) -> Result<(), ServiceError> {
        self.node(node)?.process.stop()
    }

    /// Resumes one node (0 to 5) with `SIGCONT`.
    pub fn resume(&self, node: usize) -> Result<(), ServiceError> {
        self.node(node)?.process.resume()
    }

    /// Waits until every running node reports that all slots are served.
    pub fn wait_until_agreed(&self) -> Result<(), ServiceError> {
        let mut last = String::new();
        let agreed = wait_until(AGREED_MAX, || {
            let running = self.nodes.iter().filter(|node| node.process.id().is_some());
            let disagrees = running.map(state_of).find(|state| !is_agreed(state));
            last = disagrees.unwrap_or_default();
            Ok::<_, ServiceError>(last.is_empty())
        })?;
        if agreed {
            return Ok(());
        }
        Err(disagreed(last, "cluster_state:ok on every node"))
    }

    fn node(&self, index: usize) -> Result<&RedisNode, ServiceError> {
        self.nodes.get(index).ok_or(ServiceError::NoSuchNode { index, count: NODES })
    }

    fn node_mut(&mut self, index: usize) -> Result<&mut RedisNode, ServiceError> {
        self.nodes.get_mut(index).ok_or(ServiceError::NoSuchNode { index, count: NODES })
    }
}

fn start_node(folder: &Folder, index: usize, options: &RedisClusterOptions) -> Result<RedisNode, ServiceError> {
    let settings = vec![
        "cluster-enabled yes".to_owned(),
        format!("cluster-node-timeout {}", options.node_timeout_ms),
        // The default cluster port, derived from the other one, may be in use.
        format!("cluster-port {}", ports::free()?),
        "repl-diskless-sync-delay 0".to_owned(),
    ];
    RedisNode::start(folder, &format!("redis-{index}"), RedisOptions { password: None, persistent: options.persistent, settings })
}

/// A node's view of the cluster and, if it is a replica, of its primary.
fn state_of(node: &RedisNode) -> String {
    format!("{}{}", ask(node, "CLUSTER INFO"), ask(node, "INFO replication"))
}

fn ask(node: &RedisNode, line: &str) -> String {
    redis::ask(node.port, None, line).unwrap_or_else(|error| error.to_string())
}

fn disagreed(answer: String, expected: &'static str) -> ServiceError {
    ServiceError::Answer { name: "redis-cluster".to_owned(), answer, expected }
}

fn is_agreed(state: &str) -> bool {
    state.contains("cluster_state:ok") && !state.contains("master_link_status:down")
}
