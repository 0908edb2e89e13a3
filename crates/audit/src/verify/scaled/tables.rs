//! Compares PostgreSQL's rows with the state that the log gives up to their positions.

use data_encoding::HEXLOWER;
use domain::rows::Table;
use domain::{Kind, Number};
use oracle::Oracle;
use projection::postgres::scan::Scan;
use projection::postgres::{Origin, PartitionPosition, aggregate_of_id};
use projection::{AggregateRow, ReadError};

use super::digest::digest;
use super::partition::{Partition, UNKNOWN_RULES};
use super::record::Record;
use crate::verify::findings::{EXTRA, Fields, Findings, MISSING, compare_aggregate};
use crate::verify::merge::{Merge, tables};

/// The name of the source of expected values, in messages.
const RECORD: &str = "record";
/// A row cannot be read.
pub(super) const DAMAGED: &str = "history_damaged";
/// The tables are ahead of the log.
pub(super) const AHEAD: &str = "history_ahead";

/// Whether the tables belong to this log; every difference is reported.
pub(super) fn check_origin(origin: &Origin, record: &Record, findings: &mut Findings) -> bool {
    let Some(log) = record.log.map(|log| log.to_string()) else {
        findings.note("the history is not compared: the record does not say which log it is".to_owned());
        return false;
    };
    let mut wrong = Vec::new();
    for (what, found, expected) in [
        ("cluster id", &origin.cluster_id, &record.topic.cluster_id),
        ("topic", &origin.topic, &record.name),
        ("topic id", &origin.topic_id, &log),
        ("number of partitions", &origin.partitions.to_string(), &record.partitions.len().to_string()),
    ] {
        if found != expected {
            wrong.push(format!("{what} is {found:?}, in the record {expected:?}"));
        }
    }
    if !wrong.is_empty() {
        findings.broken("history_other_record", format!("the history is that of another record: {}", wrong.join("; ")));
    }
    wrong.is_empty()
}

/// Compares every partition that was read up to the tables' position.
pub(super) async fn compare(scan: &Scan, record: &Record, findings: &mut Findings) -> Result<(), ReadError> {
    let mut compared = Vec::new();
    for (number, partition) in (0..).zip(&record.partitions) {
        match scan.positions().iter().find(|position| position.partition == number) {
            None => findings.broken(MISSING, format!("the position of partition {number} is not in the history")),
            Some(position) if is_comparable(position, partition, findings) => compared.push((position, partition)),
            Some(_) => {}
        }
    }
    for position in scan.positions().iter().filter(|position| record.partitions.len() <= position.partition as usize) {
        findings.broken(EXTRA, format!("the position of partition {} is in the history only", position.partition));
    }
    for (position, partition) in &compared {
        compare_position(position, partition, findings);
    }
    for kind in Kind::ALL {
        let Some(rows) = damage_told(scan.aggregates(*kind).await, findings)? else { continue };
        for (position, partition) in &compared {
            let here = |row: &&AggregateRow| place_of(row.number, record).0 == position.partition;
            compare_aggregates(&rows.iter().filter(here).collect::<Vec<_>>(), *kind, &partition.oracle, record, findings);
        }
    }
    for declared in tables() {
        for (position, partition) in &compared {
            let compared = compare_entries(scan, declared, position.partition, &partition.oracle, record, findings).await;
            damage_told(compared, findings)?;
        }
    }
    Ok(())
}

/// The partition of an aggregate, and its number there, from its id in the tables.
fn place_of(id: Number, record: &Record) -> (u32, u32) {
    let count = u32::try_from(record.partitions.len()).ok();
    let Some((partition, number)) = count.and_then(|count| aggregate_of_id(id, count)) else {
        panic!("a topic has partitions, and fewer than 2^32")
    };
    (partition, number.0)
}

/// An impossible row is a finding; every other error means that there is no verdict.
fn damage_told<T>(read: Result<T, ReadError>, findings: &mut Findings) -> Result<Option<T>, ReadError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Damaged(what)) => {
            findings.broken(DAMAGED, what);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_comparable(position: &PartitionPosition, partition: &Partition, findings: &mut Findings) -> bool {
    let PartitionPosition { partition: number, offset_next, .. } = *position;
    let text =
        |end: u64| format!("the history is at offset {offset_next} of partition {number}, but the record can be followed to {end} only");
    match partition.stopped {
        Some(stopped) if stopped.offset < offset_next && stopped.promise == UNKNOWN_RULES => {
            findings.note(format!("{}; partition {number} is not compared", text(stopped.offset)));
        }
        Some(stopped) if stopped.offset < offset_next => findings.broken(AHEAD, text(stopped.offset)),
        None if partition.offset_next < offset_next => findings.broken(AHEAD, text(partition.offset_next)),
        None if offset_next < partition.offset_next => {
            findings.note(format!("partition {number} of the history was begun anew meanwhile and is not compared"));
        }
        Some(_) | None => return true,
    }
    false
}

fn compare_position(position: &PartitionPosition, partition: &Partition, findings: &mut Findings) {
    let oracle = &partition.oracle;
    let mut fields = Fields::of(RECORD);
    fields.compare("decisions", position.decisions, oracle.decisions);
    fields.compare("effective_at", position.effective_at.millis(), oracle.time.millis());
    fields.compare("rules_version", position.rules_version, partition.rules_version.0);
    // At the very beginning the tables have no digest.
    let expected = if position.offset_next == 0 { String::new() } else { HEXLOWER.encode(&digest(oracle)) };
    fields.compare("digest", HEXLOWER.encode(&position.digest), expected);
    fields.report(|| format!("the position of partition {}", position.partition), findings);
}

fn compare_aggregates(rows: &[&AggregateRow], kind: Kind, oracle: &Oracle, record: &Record, findings: &mut Findings) {
    let word = kind.word();
    let number_of = |row: &AggregateRow| place_of(row.number, record).1;
    for aggregate in oracle.aggregates().filter(|aggregate| aggregate.kind() == kind) {
        let head = aggregate.head();
        match rows.iter().find(|row| number_of(row) == head.number) {
            None => findings.broken(MISSING, format!("{word} {} is not in the history", head.name)),
            Some(row) => compare_aggregate(RECORD, row, aggregate, findings),
        }
    }
    let is_known = |row: &AggregateRow| oracle.at(number_of(row)).is_some_and(|aggregate| aggregate.kind() == kind);
    for row in rows.iter().filter(|row| !is_known(row)) {
        findings.broken(EXTRA, format!("{word} {} (id {}) is in the history only", row.name, row.number.0));
    }
}

async fn compare_entries(
    scan: &Scan,
    (kind, table): (Kind, &'static Table),
    partition: u32,
    oracle: &Oracle,
    record: &Record,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let mut rows = scan.entries(table, partition).await?;
    let mut merge = Merge::new(RECORD, oracle, (kind, table), findings);
    while let Some(row) = rows.next().await? {
        merge.row(place_of(row.number, record).1, &row.cells());
    }
    merge.end();
    Ok(())
}
