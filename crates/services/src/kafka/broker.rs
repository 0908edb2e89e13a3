//! One Kafka process, broker and controller in one.

use std::fs;
use std::path::PathBuf;

use super::jars::Jars;
use super::settings::{self, Node};
use super::{KafkaOptions, clock_offset};
use crate::error::ServiceError;
use crate::folder::Folder;
use crate::process::{Launch, Process};

/// The broker's log line once it can be used: it is registered and not fenced.
const IS_STARTED: &str = "Kafka Server started";

/// The inputs of a start.
pub(super) struct Start<'a> {
    pub(super) jars: &'a Jars,
    pub(super) folder: &'a Folder,
    pub(super) nodes: &'a [Node],
    pub(super) options: &'a KafkaOptions,
}

#[derive(Debug)]
pub(super) struct Broker {
    index: usize,
    process: Option<Process>,
}

impl Broker {
    /// A broker that is not running yet.
    pub(super) fn new(index: usize) -> Self {
        Self { index, process: None }
    }

    pub(super) fn start(&mut self, start: &Start<'_>) -> Result<(), ServiceError> {
        let archive = &start.jars.archive;
        let classes = archive.is_file().then(|| format!("-XX:SharedArchiveFile={}", archive.display()));
        self.start_with(start, classes.as_slice())
    }

    /// Starts the broker with additional Java options; in its old folder, if it has one.
    pub(super) fn start_with(&mut self, start: &Start<'_>, java_options: &[String]) -> Result<(), ServiceError> {
        let Start { jars, folder, nodes, options } = start;
        let name = format!("kafka-{}", self.index);
        let data = folder.path().join(format!("{name}-data"));
        if !data.exists() {
            fs::create_dir(&data).map_err(ServiceError::file(&data))?;
            let identity = data.join("meta.properties");
            fs::write(&identity, settings::identity(self.index)).map_err(ServiceError::file(&identity))?;
            let first_records = data.join("bootstrap.checkpoint");
            fs::copy(&jars.first_records, &first_records).map_err(ServiceError::file(first_records))?;
        }
        let file = folder.path().join(format!("{name}.properties"));
        fs::write(&file, settings::lines(nodes, self.index, &data, options)).map_err(ServiceError::file(&file))?;
        let (program, clock) = self.program(jars, options)?;
        let launch = Launch::new(name, program)
            .arguments(clock)
            .arguments(java_options_of(options))
            .arguments(java_options)
            .arguments(["-cp", &jars.class_path, "kafka.Kafka"])
            .arguments([file]);
        self.process = Some(launch.start(folder)?);
        Ok(())
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<(), ServiceError> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.wait_until_said(IS_STARTED)
    }

    /// Kills the broker with `kill -9`.
    pub(super) fn kill(&mut self) -> Result<(), ServiceError> {
        self.process.as_mut().map_or(Ok(()), Process::kill)
    }

    /// Asks the broker to end, and waits until it has.
    pub(super) fn end(&mut self) -> Result<(), ServiceError> {
        self.process.as_mut().map_or(Ok(()), Process::end)
    }

    pub(super) fn stop(&self) -> Result<(), ServiceError> {
        self.process.as_ref().map_or(Ok(()), Process::stop)
    }

    pub(super) fn resume(&self) -> Result<(), ServiceError> {
        self.process.as_ref().map_or(Ok(()), Process::resume)
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.process.as_ref()?.id()
    }

    /// `java`, or `env` with settings that change the clock of the `java` that it starts.
    fn program(&self, jars: &Jars, options: &KafkaOptions) -> Result<(PathBuf, Vec<String>), ServiceError> {
        match options.clock_offsets_s.iter().find(|(broker, _)| *broker == self.index) {
            None => Ok((jars.java.clone(), Vec::new())),
            Some((_, seconds)) => {
                let mut arguments = clock_offset::environment(*seconds)?;
                arguments.push(jars.java.to_string_lossy().into_owned());
                Ok((PathBuf::from("env"), arguments))
            }
        }
    }
}

fn java_options_of(options: &KafkaOptions) -> Vec<String> {
    let mut arguments = vec![
        format!("-Xmx{}m", options.heap_mb),
        "-Djava.awt.headless=true".to_owned(),
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
        "-Dorg.slf4j.simpleLogger.showDateTime=true".to_owned(),
        // Enables the log line that reports the start.
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
    ];
    if options.is_for_tests {
        arguments.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    arguments
}
