//! Prepares files that make a broker start fast, once from the jars: the first records of a new cluster, and
//! an archive of the classes that a broker loads.

use std::fs;
use std::path::Path;

use super::broker::{Broker, Start};
use super::jars::Jars;
use super::{KafkaOptions, settings};
use crate::error::ServiceError;
use crate::folder::Folder;
use crate::process::Launch;

pub(super) fn prepare(jars: &Jars, cache: &Path) -> Result<(), ServiceError> {
    if !jars.first_records.is_file() {
        make_first_records(jars, cache)?;
    }
    if jars.archive.is_file() {
        return Ok(());
    }
    // Without the archive everything works, only slower.
    let _ = make_archive(jars, cache);
    Ok(())
}

/// With Kafka's own tool, so that a cluster has the same features as one created by hand.
fn make_first_records(jars: &Jars, cache: &Path) -> Result<(), ServiceError> {
    let folder = Folder::new("kafka-format")?;
    let nodes = settings::nodes(1)?;
    let file = folder.path().join("server.properties");
    let data = folder.path().join("data");
    let lines = settings::lines(&nodes, 0, &data, &KafkaOptions::default());
    fs::write(&file, lines).map_err(ServiceError::file(&file))?;
    Launch::new("format", &jars.java)
        .arguments(["-XX:TieredStopAtLevel=1", "-cp", &jars.class_path, "kafka.tools.StorageTool", "format"])
        .arguments(["--cluster-id", settings::CLUSTER_ID, "--config"])
        .arguments([&file])
        .output(folder.path())?;
    publish(&data.join("bootstrap.checkpoint"), cache, &jars.first_records)
}

/// The archive is written when a broker ends normally.
fn make_archive(jars: &Jars, cache: &Path) -> Result<(), ServiceError> {
    let folder = Folder::new("kafka-archive")?;
    let nodes = settings::nodes(1)?;
    let archive = folder.path().join("classes.jsa");
    let options = KafkaOptions::default();
    let start = Start { jars, folder: &folder, nodes: &nodes, options: &options };
    let mut broker = Broker::new(0);
    broker.start_with(&start, &[format!("-XX:ArchiveClassesAtExit={}", archive.display())])?;
    broker.wait_until_ready()?;
    broker.end()?;
    publish(&archive, cache, &jars.archive)
}

/// Moves a file into the cache atomically.
fn publish(from: &Path, cache: &Path, to: &Path) -> Result<(), ServiceError> {
    let new = cache.join("new");
    fs::copy(from, &new).map_err(ServiceError::file(from))?;
    fs::rename(&new, to).map_err(ServiceError::file(to))
}
