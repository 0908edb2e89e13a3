//! The findings: broken promises, and notes.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use domain::fields::Value;
use domain::rows::Cell;
use domain::workload::AnySettings;
use journal::{Lsn, segments};
use oracle::Aggregate;
use projection::AggregateRow;

/// How many broken promises of one kind are listed; further ones are only counted.
pub const BROKEN_KEPT_MAX: u64 = 20;

/// A required row of the history is missing.
pub(super) const MISSING: &str = "history_missing_row";
/// A row of the history should not exist.
pub(super) const EXTRA: &str = "history_extra_row";
/// A row of the history has wrong values.
pub(super) const DIFFERENT: &str = "history_different_row";

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The promise, by a stable name.
    pub promise: &'static str,
    /// The place and the details, for people.
    pub detail: String,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) broken: Vec<Broken>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) notes: Vec<String>,
}

impl Findings {
    pub(super) fn broken(&mut self, promise: &'static str, detail: String) {
        let count = self.counts.entry(promise).or_default();
        *count += 1;
        if *count <= BROKEN_KEPT_MAX {
            self.broken.push(Broken { promise, detail });
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }
}

/// The location of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) lsn: Lsn,
    pub(super) segment: u64,
    /// The offset of its batch.
    pub(super) offset: u64,
}

/// Collects the findings at one record.
pub(super) struct Report<'f> {
    pub(super) findings: &'f mut Findings,
    pub(super) place: Place,
}

impl Report<'_> {
    pub(super) fn broken(&mut self, promise: &'static str, what: &str) {
        let Place { lsn, segment, offset } = self.place;
        let file = segments::name_of(segment);
        self.findings.broken(promise, format!("{what} (record {lsn}, in the batch in {file} at offset {offset})"));
    }
}

/// The fields of a row that differ from the expected values.
pub(super) struct Fields {
    expected_in: &'static str,
    text: String,
}

impl Fields {
    /// Starts a comparison with the given source of expected values.
    pub(super) fn of(expected_in: &'static str) -> Self {
        Self { expected_in, text: String::new() }
    }

    pub(super) fn compare<T: PartialEq + Debug>(&mut self, field: &str, found: T, expected: T) {
        if found != expected {
            // Writing to a string cannot fail.
            let _ = write!(self.text, "; {field} is {found:?}, in the {} {expected:?}", self.expected_in);
        }
    }

    pub(super) fn report(self, row: impl FnOnce() -> String, findings: &mut Findings) {
        if !self.text.is_empty() {
            findings.broken(DIFFERENT, row() + &self.text);
        }
    }
}

/// Compares the cells of a column.
pub(super) fn compare_cells(fields: &mut Fields, column: &str, found: Cell<'_>, expected: Cell<'_>) {
    match (found, expected) {
        (Cell::Number(found), Cell::Number(expected)) => fields.compare(column, found, expected),
        (Cell::Text(found), Cell::Text(expected)) => fields.compare(column, found, expected),
        (Cell::Time(found), Cell::Time(expected)) => fields.compare(column, found.millis(), expected.millis()),
        (found, expected) => fields.compare(column, found, expected),
    }
}

/// Compares the row of an aggregate with its expected state.
pub(super) fn compare_aggregate(source: &'static str, row: &AggregateRow, aggregate: &Aggregate, findings: &mut Findings) {
    let mut fields = Fields::of(source);
    let head = aggregate.head();
    fields.compare("name", &*row.name, &*head.name);
    fields.compare("version", row.version, head.version);
    fields.compare("created_at", row.created_at.millis(), head.created_at.millis());
    fields.compare("changed_at", row.changed_at.millis(), head.changed_at.millis());
    compare_settings(&mut fields, &row.settings, &aggregate.settings());
    fields.report(|| format!("{} {}", aggregate.kind().word(), head.name), findings);
}

fn compare_settings(fields: &mut Fields, found: &AnySettings, expected: &AnySettings) {
    for ((field, found), (_, expected)) in found.values().into_iter().zip(expected.values()) {
        match (found, expected) {
            (Value::Number(found), Value::Number(expected)) => fields.compare(field.name, found, expected),
            (Value::Word(found), Value::Word(expected)) => fields.compare(field.name, found, expected),
            (Value::Bool(found), Value::Bool(expected)) => fields.compare(field.name, found, expected),
            (Value::Time(found), Value::Time(expected)) => fields.compare(field.name, found.millis(), expected.millis()),
            (found, expected) => fields.compare(field.name, found, expected),
        }
    }
}
