//! Compares the history's rows with the state that the journal's records give, at the same record.

use std::ops::ControlFlow;

use domain::Kind;
use oracle::Oracle;
use projection::{AggregateRow, HistoryView, ReadError};

use super::findings::{EXTRA, Fields, Findings, MISSING, compare_aggregate};
use super::merge::{Merge, tables};

/// The name of the source of expected values, in messages.
const JOURNAL: &str = "journal";

pub(super) fn compare(view: &HistoryView<'_>, oracle: &Oracle, findings: &mut Findings) -> Result<(), ReadError> {
    let mut fields = Fields::of(JOURNAL);
    fields.compare("time", view.as_of().time.millis(), oracle.time.millis());
    fields.report(|| "the history's position".to_owned(), findings);
    for kind in Kind::ALL {
        compare_aggregates(&view.aggregates(*kind)?, *kind, oracle, findings);
    }
    for (kind, table) in tables() {
        let mut merge = Merge::new(JOURNAL, oracle, (kind, table), findings);
        view.for_each_bare_entry(table, |row| {
            merge.row(row.number.0, row.cells);
            ControlFlow::Continue(())
        })?;
        merge.end();
    }
    Ok(())
}

fn compare_aggregates(rows: &[AggregateRow], kind: Kind, oracle: &Oracle, findings: &mut Findings) {
    let word = kind.word();
    for aggregate in oracle.aggregates().filter(|aggregate| aggregate.kind() == kind) {
        let head = aggregate.head();
        match rows.iter().find(|row| row.number.0 == head.number) {
            None => findings.broken(MISSING, format!("{word} {} (number {}) is not in the history", head.name, head.number)),
            Some(row) => compare_aggregate(JOURNAL, row, aggregate, findings),
        }
    }
    let is_known = |row: &AggregateRow| oracle.at(row.number.0).is_some_and(|aggregate| aggregate.kind() == kind);
    for row in rows.iter().filter(|row| !is_known(row)) {
        findings.broken(EXTRA, format!("{word} {} (number {}) is in the history only", row.name, row.number.0));
    }
}
