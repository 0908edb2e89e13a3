//! The runner of the rate limits' tables notices what differs, and says where.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use conformance::limits::{DomainLimits, run_limits};
use conformance::{Failure, Summary};

fn run(table: &str) -> Result<Summary, Failure> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.table"), table).unwrap();
    run_limits(folder.path(), |_| true, DomainLimits::default)
}

/// Line, expected and got of each problem.
fn problems(table: &str) -> Vec<(usize, String, String)> {
    let problems = run(table).unwrap_err().problems;
    problems.into_iter().map(|problem| (problem.line, problem.expected, problem.got)).collect()
}

const POLICY: &str = "case one\n  policy api fixed_window quota 1 window 10s\n";

#[test]
fn what_is_answered_as_it_should_is_counted() {
    let summary =
        run(&format!("{POLICY}  check api by ann -> allowed remaining 0 reset 10s\n  check night by ann -> policy_not_found\n")).unwrap();
    assert_eq!((summary.tables_count, summary.cases_count, summary.requests_count), (1, 1, 3));
    assert_eq!(summary.codes.into_iter().collect::<Vec<String>>(), ["policy_not_found"]);
}

#[test]
fn every_line_that_differs_is_listed_with_both_answers() {
    let table = format!("{POLICY}  check api by ann -> allowed remaining 1 reset 10s\n  check night by ann\n");
    let owned = |line, expected: &str, got: &str| (line, expected.to_owned(), got.to_owned());
    let expected = [
        owned(3, "allowed remaining 1 reset 10s", "allowed remaining 0 reset 10s"),
        owned(4, "anything but a refusal", "policy_not_found"),
    ];
    assert_eq!(problems(&table), expected);
}

#[test]
fn each_case_starts_with_nothing() {
    assert!(run(&format!("{POLICY}case two\n  check api by ann -> policy_not_found\n")).is_ok());
}

#[test]
fn what_is_no_table_is_a_problem() {
    for line in ["steal api by ann", "at soon", "-> done", "policy api gcra quota 1 window 1s", "check api", "check api by ann + by bob"] {
        assert_eq!(problems(&format!("case one\n  {line}\n"))[0].0, 2, "{line}");
    }
    assert_eq!(problems("policy api fixed_window quota 1 window 1s\n")[0].0, 1);
    let folder = tempfile::tempdir().unwrap();
    assert!(run_limits(folder.path(), |_| true, DomainLimits::default).is_err());
}
