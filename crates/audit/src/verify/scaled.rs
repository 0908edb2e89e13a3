//! The same promises in the scaled mode, recomputed from Kafka's log alone, and PostgreSQL compared with the result.
//!
//! A journal holds decisions; Kafka's log holds commands, in an order. So the oracle decides every command
//! itself, and nothing of the servers' deciding is used: only the formats are shared. Nothing is changed, and
//! a serving cluster is not disturbed.
//!
//! The log is read up to its end at the start of the verification. The tables may be behind it: they are
//! compared with the state at their own positions, so reading stops there, compares, and continues. If the
//! tables have passed that end meanwhile, the log is read up to their positions.

mod digest;
mod gates;
mod partition;
mod record;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use cluster::kafka::{self, KafkaSettings, Topic};
use cluster::redis;
use projection::ReadError;
use projection::postgres::scan::Scan;
use projection::postgres::{ConnectError, LoadError, PartitionPosition, Postgres, Settings};
use tokio::runtime::Runtime;

use super::findings::Findings;
use gates::GatesError;
use record::Record;

pub use gates::GateReport;
pub use verdict::{PartitionReport, ScaledVerdict};

const NO_HISTORY: &str = "there is no history to compare with";
/// After a change of leader, a partition's end may be reported too low for a moment.
const END_LOOKS_MAX: u32 = 10;
const END_LOOK: Duration = Duration::from_millis(300);

/// The log, the tables and the gates to verify.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The log.
    pub kafka: KafkaSettings,
    /// The gates, if they are to be read.
    pub redis: Option<String>,
    /// The tables.
    pub postgres: String,
}

/// Why there is no verdict. None of these is a broken promise.
#[derive(Debug, thiserror::Error)]
pub enum ScaledVerifyError {
    /// Kafka cannot be read.
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
    /// The log's beginning is gone, so nothing can be recomputed.
    #[error(
        "the beginning of topic {topic} (--kafka-topic) is gone: partition {partition} starts at offset {low}; retention must be unlimited"
    )]
    BeginningGone {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: usize,
        /// The first existing offset.
        low: u64,
    },
    /// There is nothing to verify.
    #[error("topic {0} (--kafka-topic) is empty")]
    Empty(String),
    /// PostgreSQL cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The tables' positions cannot be read.
    #[error(transparent)]
    Positions(#[from] LoadError),
    /// The tables cannot be read; this is not damage.
    #[error("the tables of --postgres: {0}")]
    Tables(#[from] ReadError),
    /// The Redis setting is not a valid URL.
    #[error(transparent)]
    Redis(redis::OpenError),
}

/// Verifies a cluster, whether it is serving or not. Blocks.
///
/// # Errors
/// [`ScaledVerifyError`] if there is no verdict; broken promises are in the [`ScaledVerdict`].
pub fn run(settings: &Sources, runtime: &Runtime) -> Result<ScaledVerdict, ScaledVerifyError> {
    let mut findings = Findings::default();
    let tables = open_tables(settings, runtime, &mut findings)?;
    // Read after the tables' positions, so that the log's end is not before them.
    let topic = runtime.block_on(kafka::look(&settings.kafka))?;
    check_beginning(settings, &topic)?;
    let ends: Vec<u64> = topic.offsets.iter().map(|(_, high)| *high).collect();
    let mut record = Record::begin(&settings.kafka, topic)?;
    let mut history_positions = None;
    if let Some((postgres, positions)) = &tables {
        // Most of the log is read before the tables: while a transaction reads them, the database cannot
        // clean up changed rows.
        record.read_to(&lower(&offsets_of(positions, ends.len()), &ends), &mut findings)?;
        history_positions = compare_tables(settings, runtime, postgres, &mut record, &mut findings)?;
    }
    record.read_to(&ends, &mut findings)?;
    record.finish(&mut findings);
    let gates = look_at_gates(settings, runtime, &record, &mut findings)?;
    Ok(ScaledVerdict::new(&record, history_positions.as_deref(), gates, findings))
}

/// The tables and their positions; `None` if there are none to compare with.
fn open_tables(
    settings: &Sources,
    runtime: &Runtime,
    findings: &mut Findings,
) -> Result<Option<(Postgres, Vec<PartitionPosition>)>, ScaledVerifyError> {
    let Some(postgres) = runtime.block_on(Postgres::connect_to_read(Settings::new(settings.postgres.clone())))? else {
        findings.note(NO_HISTORY.to_owned());
        return Ok(None);
    };
    match runtime.block_on(postgres.positions()) {
        Ok(positions) => Ok(Some((postgres, positions))),
        Err(LoadError::Damaged(what)) => {
            findings.broken(tables::DAMAGED, what);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn check_beginning(settings: &Sources, topic: &Topic) -> Result<(), ScaledVerifyError> {
    let name = || settings.kafka.topic.clone();
    if let Some((partition, (low, _))) = topic.offsets.iter().enumerate().find(|(_, (low, _))| *low != 0) {
        return Err(ScaledVerifyError::BeginningGone { topic: name(), partition, low: *low });
    }
    // The first partition is begun before the others.
    if topic.offsets.first().is_none_or(|(_, high)| *high == 0) {
        return Err(ScaledVerifyError::Empty(name()));
    }
    Ok(())
}

/// Reads the log up to the tables' positions, and compares; returns the offset of each partition there.
fn compare_tables(
    settings: &Sources,
    runtime: &Runtime,
    postgres: &Postgres,
    record: &mut Record,
    findings: &mut Findings,
) -> Result<Option<Vec<u64>>, ScaledVerifyError> {
    let scan = match runtime.block_on(postgres.scan()) {
        Ok(Some(scan)) => scan,
        Ok(None) => {
            findings.note(NO_HISTORY.to_owned());
            return Ok(None);
        }
        Err(ReadError::Damaged(what)) => {
            findings.broken(tables::DAMAGED, what);
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if !tables::check_origin(scan.origin(), record, findings) {
        return Ok(None);
    }
    let positions = offsets_of(scan.positions(), record.partitions.len());
    let ends = ends_from(settings, runtime, &positions)?;
    record.read_to(&lower(&positions, &ends), findings)?;
    runtime.block_on(compare_and_end(scan, record, findings))?;
    Ok(Some(positions))
}

async fn compare_and_end(scan: Scan, record: &Record, findings: &mut Findings) -> Result<(), ReadError> {
    tables::compare(&scan, record, findings).await?;
    scan.end().await
}

/// The log's current ends, which should be at least at these positions.
fn ends_from(settings: &Sources, runtime: &Runtime, positions: &[u64]) -> Result<Vec<u64>, ScaledVerifyError> {
    let mut ends = Vec::new();
    for _ in 0..END_LOOKS_MAX {
        ends = runtime.block_on(kafka::look(&settings.kafka))?.offsets.iter().map(|(_, high)| *high).collect();
        if positions.iter().zip(&ends).all(|(position, end)| position <= end) {
            break;
        }
        std::thread::sleep(END_LOOK);
    }
    Ok(ends)
}

/// Unreachable gates cause a note; gates are not part of the promises.
fn look_at_gates(
    settings: &Sources,
    runtime: &Runtime,
    record: &Record,
    findings: &mut Findings,
) -> Result<Option<Vec<GateReport>>, ScaledVerifyError> {
    let Some(url) = &settings.redis else { return Ok(None) };
    match runtime.block_on(gates::look(url, record)) {
        Ok(reports) => Ok(Some(reports)),
        Err(GatesError::Open(error @ redis::OpenError::Url(_))) => Err(ScaledVerifyError::Redis(error)),
        Err(error) => {
            findings.note(format!("the gates are not looked at: {error}"));
            Ok(None)
        }
    }
}

/// The offset of each partition; a partition missing in the tables is at its beginning.
fn offsets_of(positions: &[PartitionPosition], partitions: usize) -> Vec<u64> {
    let mut offsets = vec![0; partitions];
    for position in positions {
        if let Some(offset) = offsets.get_mut(position.partition as usize) {
            *offset = position.offset_next;
        }
    }
    offsets
}

fn lower(some: &[u64], others: &[u64]) -> Vec<u64> {
    some.iter().zip(others).map(|(one, other)| *one.min(other)).collect()
}
