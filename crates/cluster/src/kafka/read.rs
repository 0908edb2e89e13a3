//! Reads given ranges of offsets once, to verify the log.

use std::ops::Range;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::follow::{POLL, check, config, consumer, delivered};
use super::{Hearing, KafkaSettings, OpenError};
use crate::protocol::replica::{Delivered, Fault};

/// How long no record may arrive before reading is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Passes the records of each partition's range of offsets to `take`, in order; `ranges[0]` is partition 0's.
/// Offsets without a record are skipped: `take` sees the gap, or that the end is not reached. Blocks.
///
/// # Errors
/// [`OpenError`]; `take` may have seen some records by then.
pub fn read_ranges(settings: &KafkaSettings, ranges: &[Range<u64>], mut take: impl FnMut(u32, &Delivered<'_>)) -> Result<(), OpenError> {
    let Ok(partitions_count) = u32::try_from(ranges.len()) else { panic!("a topic has fewer than 2^31 partitions") };
    let mut open: Vec<bool> = ranges.iter().map(|range| !range.is_empty()).collect();
    let starts = ranges.iter().zip(0..).filter(|(range, _)| !range.is_empty()).map(|(range, partition)| (partition, range.start));
    if open.iter().all(|is_open| !is_open) {
        return Ok(());
    }
    let mut config = config(settings);
    // If the last offset holds no record, only the end-of-partition event shows that reading is complete.
    config.set("enable.partition.eof", "true");
    let consumer = consumer(settings, &config, starts)?;
    let mut silence = Duration::ZERO;
    while open.contains(&true) {
        let ended = match consumer.poll(POLL) {
            Some(Ok(message)) => {
                silence = Duration::ZERO;
                let (partition, record) = delivered(&message)?;
                let Some(Range { end, .. }) = ranges.get(partition as usize).cloned() else {
                    return Err(Fault::UnknownPartition { partition, partitions: partitions_count }.into());
                };
                if record.offset < end {
                    take(partition, &record);
                }
                (end <= record.offset + 1).then_some(message.partition())
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
            Some(Err(error)) => {
                check(error).map_err(|error| settings.failed(error))?;
                silence += POLL;
                None
            }
            None => {
                silence += POLL;
                None
            }
        };
        if let Some(partition) = ended {
            end(settings, &consumer, partition, &mut open)?;
        }
        if SILENCE_MAX <= silence {
            return Err(silent(settings, &consumer));
        }
    }
    Ok(())
}

/// Stops fetching a partition: others may take much longer, and it may grow meanwhile.
fn end(settings: &KafkaSettings, consumer: &BaseConsumer<Hearing>, partition: i32, open: &mut [bool]) -> Result<(), OpenError> {
    let place = usize::try_from(partition).ok().and_then(|place| open.get_mut(place));
    let Some(is_open) = place else { panic!("only partitions that were asked for end, not {partition}") };
    if !std::mem::take(is_open) {
        return Ok(());
    }
    let mut ended = TopicPartitionList::new();
    ended.add_partition(&settings.topic, partition);
    consumer.pause(&ended).map_err(|error| settings.failed(error))
}

fn silent(settings: &KafkaSettings, consumer: &BaseConsumer<Hearing>) -> OpenError {
    let heard = consumer.context().last();
    let why = if heard.is_empty() { format!("no record came for {} s", SILENCE_MAX.as_secs()) } else { heard };
    OpenError::Unreachable { hosts: settings.hosts.clone(), why }
}
