//! The verdict, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use domain::Kind;
use serde_json::{Value, json};

use super::gates::GateReport;
use super::record::Record;
use crate::verify::findings::{Broken, Findings};
use crate::verify::verdict::{Counts, broken_to_json, write_broken};

/// Most rows of one table in the text; JSON has all.
const ROWS_MAX: usize = 20;

/// The result of a verification.
#[derive(Debug)]
pub struct ScaledVerdict {
    /// Broken promises, at most [`crate::verify::BROKEN_KEPT_MAX`] of each kind, in the order in which
    /// they were found.
    pub broken: Vec<Broken>,
    /// The number of broken promises of each kind.
    pub broken_counts: BTreeMap<&'static str, u64>,
    /// Remarks that are not broken promises.
    pub notes: Vec<String>,
    /// The topic.
    pub topic: String,
    /// The id of the log in it.
    pub log: Option<String>,
    /// The amounts of verified data; a topic has no segments or batches.
    pub counts: Counts,
    /// Each partition.
    pub partitions: Vec<PartitionReport>,
    /// Each campaign's gate; `None` if the gates were not read.
    pub gates: Option<Vec<GateReport>>,
    /// The duration, set by the caller, which has the clock.
    pub seconds: Option<f64>,
}

/// How far one partition was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    /// The number of records.
    pub records: u64,
    /// The number of decisions.
    pub decisions: u64,
    /// Records whose effects are in the tables; `None` if the tables were not compared.
    pub history_position: Option<u64>,
}

impl PartitionReport {
    /// How many records the tables are behind.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        self.history_position.map(|position| self.records.saturating_sub(position))
    }
}

impl ScaledVerdict {
    pub(super) fn new(record: &Record, positions: Option<&[u64]>, gates: Option<Vec<GateReport>>, findings: Findings) -> Self {
        let mut counts = Counts::default();
        let mut partitions = Vec::new();
        for (place, partition) in record.partitions.iter().enumerate() {
            let (records, decisions) = (partition.offset_next, partition.oracle.decisions);
            let history_position = positions.and_then(|positions| positions.get(place).copied());
            partitions.push(PartitionReport { records, decisions, history_position });
            counts.records += records;
            counts.bytes += partition.bytes_count;
            counts.add(&partition.oracle);
        }
        Self {
            broken: findings.broken,
            broken_counts: findings.counts,
            notes: findings.notes,
            topic: record.name.clone(),
            log: record.log.map(|log| log.to_string()),
            counts,
            partitions,
            gates,
            seconds: None,
        }
    }

    /// Whether every promise holds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// One object with stable members. As for a journal: `is_good`, `broken` (`promise` and `detail`),
    /// `broken_counts` (by promise), `notes`, `records`, `bytes`, a number for each kind (`campaigns`, …),
    /// `claims` (`live`, `pending`, `redeemed`, `cancelled`), `history_position` (records in the tables, a
    /// number or null) and `seconds` (a number or null). Only in the scaled mode: `topic`, `log` (the log's
    /// id, or null), `decisions`, `history_behind` (how many records the tables are behind, a number or
    /// null), `partitions` (an array, from partition 0 on, of `records`, `decisions`, `history_position` and
    /// `history_behind`), and `gates` (null if they were not read, else an array of `campaign`, `left`,
    /// `remaining`, `base` and `behind`).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Counts { records, bytes, .. } = self.counts;
        let partitions = self.partitions.iter().map(|partition| {
            let PartitionReport { records, decisions, history_position } = partition;
            json!({
                "records": records,
                "decisions": decisions,
                "history_position": history_position,
                "history_behind": partition.behind(),
            })
        });
        let gates = self.gates.as_ref().map(|gates| gates.iter().map(gate_to_json).collect::<Vec<_>>());
        let verdict = json!({
            "is_good": self.is_good(),
            "broken": broken_to_json(&self.broken),
            "broken_counts": self.broken_counts,
            "notes": self.notes,
            "topic": self.topic,
            "log": self.log,
            "records": records,
            "decisions": self.decisions(),
            "bytes": bytes,
            "history_position": self.sum(|partition| partition.history_position),
            "history_behind": self.sum(PartitionReport::behind),
            "partitions": partitions.collect::<Vec<_>>(),
            "gates": gates,
            "seconds": self.seconds,
        });
        self.counts.beside(verdict)
    }

    /// The verdict for people; the last lines list broken promises, or say that there are none.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, text: &mut String) -> fmt::Result {
        let (counts, log) = (&self.counts, self.log.as_deref().unwrap_or("(unknown)"));
        let partitions = self.partitions.len();
        writeln!(text, "record     {} records in {partitions} partitions of topic {}, log {log}", counts.records, self.topic)?;
        writeln!(text, "decisions  {}", self.decisions())?;
        counts.write_text(text)?;
        match (self.sum(|partition| partition.history_position), self.sum(PartitionReport::behind)) {
            (Some(position), Some(behind)) => writeln!(text, "history    {position} records, {behind} behind")?,
            _ => writeln!(text, "history    not compared")?,
        }
        match &self.gates {
            Some(gates) => writeln!(text, "gates      {} of {} campaigns", gates.len(), counts.of_kind(Kind::Campaign))?,
            None => writeln!(text, "gates      not looked at")?,
        }
        if let Some(seconds) = self.seconds {
            writeln!(text, "time       {seconds:.1} s")?;
        }
        self.write_partitions(text)?;
        self.gates.iter().filter(|gates| !gates.is_empty()).try_for_each(|gates| write_gates(gates, text))?;
        self.notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))?;
        write_broken(&self.broken, &self.broken_counts, text)
    }

    fn write_partitions(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "\n{:<12}{:>12}{:>12}{:>16}{:>12}", "partition", "records", "decisions", "in the history", "behind")?;
        let cell = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        for (number, partition) in self.partitions.iter().enumerate().take(ROWS_MAX) {
            let PartitionReport { records, decisions, history_position } = partition;
            let (position, behind) = (cell(*history_position), cell(partition.behind()));
            writeln!(text, "{number:<12}{records:>12}{decisions:>12}{position:>16}{behind:>12}")?;
        }
        write_rest(self.partitions.len(), text)
    }

    fn decisions(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.decisions).sum()
    }

    fn sum(&self, of: impl Fn(&PartitionReport) -> Option<u64>) -> Option<u64> {
        self.partitions.iter().map(of).sum()
    }
}

fn gate_to_json(gate: &GateReport) -> Value {
    let GateReport { campaign, left, remaining, base, behind } = gate;
    json!({ "campaign": campaign, "left": left, "remaining": remaining, "base": base, "behind": behind })
}

fn write_gates(gates: &[GateReport], text: &mut String) -> fmt::Result {
    writeln!(text, "{:<24}{:>12}{:>16}{:>12}", "gate", "left", "in the record", "behind")?;
    for GateReport { campaign, left, remaining, behind, .. } in gates.iter().take(ROWS_MAX) {
        writeln!(text, "{campaign:<24}{left:>12}{remaining:>16}{behind:>12}")?;
    }
    write_rest(gates.len(), text)
}

fn write_rest(count: usize, text: &mut String) -> fmt::Result {
    match count.saturating_sub(ROWS_MAX) {
        0 => writeln!(text),
        more => writeln!(text, "and {more} more, which --json shows\n"),
    }
}
