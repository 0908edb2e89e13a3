//! The record itself, read from the topic as a server reads it.

use std::collections::BTreeMap;
use std::ops::Range;

use cluster::kafka::{self, KafkaSettings};
use cluster::protocol::record::{Body, Routing, decode};
use tokio::task::block_in_place;

/// What lies in the topic.
#[derive(Clone, Default, Debug)]
pub struct Record {
    /// Commands by campaign; barriers and what begins a partition do not count.
    pub commands: BTreeMap<String, u64>,
    /// All records.
    pub records_count: u64,
}

/// Reads everything that is there by now.
pub async fn read(settings: &KafkaSettings) -> Record {
    let topic = kafka::look(settings).await.unwrap();
    let ranges: Vec<Range<u64>> = topic.offsets.iter().map(|(low, high)| *low..*high).collect();
    let mut read = Record::default();
    let read_all = || {
        kafka::read_ranges(settings, &ranges, |_, delivered| {
            read.records_count += 1;
            let record = decode(delivered.bytes).unwrap();
            if let (Body::Command { .. }, Routing::Group(campaign)) = (&record.body, record.routing) {
                *read.commands.entry(campaign.to_owned()).or_default() += 1;
            }
        })
    };
    block_in_place(read_all).unwrap();
    read
}
