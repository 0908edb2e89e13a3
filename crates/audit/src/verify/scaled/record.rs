//! The whole log: the topic's partitions, read from their beginning to given offsets.

use std::ops::Range;

use cluster::kafka::{self, KafkaSettings, OpenError, Topic};
use cluster::protocol::record::{Body, LogId, decode};

use super::partition::Partition;
use crate::verify::findings::Findings;

/// The topic, as far as it has been read.
#[derive(Debug)]
pub(super) struct Record {
    settings: KafkaSettings,
    pub(super) name: String,
    pub(super) topic: Topic,
    /// The log's id, from the first record of partition 0.
    pub(super) log: Option<LogId>,
    pub(super) partitions: Vec<Partition>,
}

impl Record {
    /// Reads only the log's id. Blocks.
    pub(super) fn begin(settings: &KafkaSettings, topic: Topic) -> Result<Self, OpenError> {
        let first = kafka::read_first(settings, 0)?;
        let log = match decode(&first).map(|record| record.body) {
            Ok(Body::Genesis(genesis)) => Some(genesis.log),
            Ok(_) | Err(_) => None,
        };
        let count = u32::try_from(topic.offsets.len()).unwrap_or(u32::MAX);
        let partitions = (0..count).map(|number| Partition::new(number, count)).collect();
        Ok(Self { settings: settings.clone(), name: settings.topic.clone(), topic, log, partitions })
    }

    /// Reads each partition up to this offset, unless it has been read further. Blocks.
    pub(super) fn read_to(&mut self, ends: &[u64], findings: &mut Findings) -> Result<(), OpenError> {
        let ranges: Vec<Range<u64>> = self.partitions.iter().zip(ends).map(|(partition, end)| partition.offset_next..*end).collect();
        let partitions = &mut self.partitions;
        kafka::read_ranges(&self.settings, &ranges, |partition, record| {
            if let Some(partition) = partitions.get_mut(partition as usize) {
                partition.take(record, findings);
            }
        })?;
        for (partition, end) in self.partitions.iter_mut().zip(ends) {
            partition.reach(*end, findings);
        }
        Ok(())
    }

    /// Final findings, once everything is read.
    pub(super) fn finish(&self, findings: &mut Findings) {
        for (number, partition) in (0_u32..).zip(&self.partitions) {
            if let Err(broken) = partition.oracle.check() {
                broken.into_iter().for_each(|(promise, story)| findings.broken(promise, story));
            }
            if let Some(stopped) = partition.stopped {
                let (from, count) = (stopped.offset, partition.offset_next.saturating_sub(stopped.offset));
                findings
                    .note(format!("no server passes offset {from} of partition {number}; {count} records from there on are not decided"));
            }
            match partition.log {
                Some(log) if self.log.is_some_and(|first| first != log) => {
                    let detail = format!("partition {number} is of another log than partition 0 (offset 0 of partition {number})");
                    findings.broken("genesis", detail);
                }
                None if partition.offset_next == 0 => findings.note(format!("partition {number} is empty: it was not begun yet")),
                Some(_) | None => {}
            }
        }
    }
}
