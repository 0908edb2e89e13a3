//! The contents of a broker's `server.properties`.

use std::path::Path;

use super::KafkaOptions;
use crate::error::ServiceError;
use crate::ports;

/// Any valid id; separate clusters never communicate.
pub(super) const CLUSTER_ID: &str = "Zmlyc3Rjb21lLXRlc3RzMA";

/// The ports of a node, broker and controller in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) broker_port: u16,
    pub(super) controller_port: u16,
}

pub(super) fn nodes(count: usize) -> Result<Vec<Node>, ServiceError> {
    (0..count).map(|_| Ok(Node { broker_port: ports::free()?, controller_port: ports::free()? })).collect()
}

/// A node's id in Kafka.
pub(super) fn id_of(index: usize) -> usize {
    index + 1
}

/// The file `server.properties`; the last of several lines with one name applies.
pub(super) fn lines(nodes: &[Node], index: usize, data: &Path, options: &KafkaOptions) -> String {
    let replicas = nodes.len();
    let in_sync_min = replicas.div_ceil(2);
    let voters = nodes.iter().enumerate().map(|(index, node)| format!("{}@127.0.0.1:{}", id_of(index), node.controller_port));
    let Node { broker_port, controller_port } = nodes[index];
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        format!("node.id={}", id_of(index)),
        format!("controller.quorum.voters={}", voters.collect::<Vec<_>>().join(",")),
        format!("listeners=PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{broker_port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        format!("log.dirs={}", data.display()),
        "auto.create.topics.enable=false".to_owned(),
        "group.initial.rebalance.delay.ms=0".to_owned(),
        format!("default.replication.factor={replicas}"),
        format!("min.insync.replicas={in_sync_min}"),
        // The default is 128 MiB, half of the heap, for a cleaner that has nothing to clean.
        "log.cleaner.dedupe.buffer.size=4194304".to_owned(),
    ];
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        lines.push(format!("{topic}.replication.factor={replicas}"));
        lines.push(format!("{topic}.num.partitions=1"));
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        lines.push(format!("{topic}.min.isr={in_sync_min}"));
    }
    lines.extend(options.settings.iter().cloned());
    lines.join("\n") + "\n"
}

/// The file `meta.properties`, which identifies the data's owner; Kafka adds the folder's own id.
pub(super) fn identity(index: usize) -> String {
    format!("version=1\ncluster.id={CLUSTER_ID}\nnode.id={}\n", id_of(index))
}
