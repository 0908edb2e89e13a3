//! The runner notices what differs, all of it, and says where.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use conformance::{Backend, DomainBackend, Failure, Forgetting, Reply, Request, Summary, ask, run_folder};
use domain::types::Timestamp;

fn run(table: &str) -> Result<Summary, Failure> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.table"), table).unwrap();
    run_folder(folder.path(), || DomainBackend::new(Forgetting::WhenDue))
}

/// Line, expected and got of each problem.
fn problems(table: &str) -> Vec<(usize, String, String)> {
    let problems = run(table).unwrap_err().problems;
    problems.into_iter().map(|problem| (problem.line, problem.expected, problem.got)).collect()
}

#[test]
fn what_is_answered_as_it_should_is_counted() {
    let summary = run("case one\n  claim c by a -> campaign_not_found\ncase two\n  campaign c stock 1\n").unwrap();
    assert_eq!((summary.tables_count, summary.cases_count, summary.requests_count), (1, 2, 2));
    assert_eq!(summary.codes.into_iter().collect::<Vec<String>>(), ["campaign_not_found"]);
}

#[test]
fn every_line_that_differs_is_listed_with_both_answers() {
    let table = "case one\n  campaign c stock 1\n  claim c by a -> claimed serial 2\n  claim c by b -> claimed serial 2\n  claim c by b\n";
    let owned = |line, expected: &str, got: &str| (line, expected.to_owned(), got.to_owned());
    let expected = [
        owned(3, "claimed serial 2", "claimed serial 1"),
        owned(4, "claimed serial 2", "sold_out"),
        owned(5, "anything but a refusal", "sold_out"),
    ];
    assert_eq!(problems(table), expected);
}

#[test]
fn a_failure_names_file_line_case_and_request() {
    let text = run("case the last unit\n  at 1s claim c by a -> claimed serial 1\n").unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "differences from the tables: 1");
    assert!(lines[1].ends_with("a.table:2: the last unit"), "{text}");
    assert_eq!(lines[2..], ["  asked     claim c by a", "  expected  claimed serial 1", "  got       campaign_not_found"]);
}

#[test]
fn each_case_starts_with_nothing() {
    assert!(run("case one\n at 9s campaign c stock 1 -> created version 1\ncase two\n campaign c stock 1 -> created version 1\n").is_ok());
}

#[test]
fn what_is_no_table_is_a_problem() {
    assert_eq!(problems("# nothing\n")[0].1, "at least one case");
    assert_eq!(
        problems("case one\n  steal c by a\n")[0],
        (2, "a line of the table's language".into(), "`steal` is no verb of the tables".into())
    );
    let nowhere = run_folder(Path::new("nowhere"), || DomainBackend::new(Forgetting::Never)).unwrap_err();
    assert_eq!(nowhere.problems[0].expected, "a folder with tables");
}

/// Answers as the rules do, and says in the end that it is unsound.
struct Unsound(DomainBackend);

impl Backend for Unsound {
    fn set_time(&mut self, at: Timestamp) {
        self.0.set_time(at);
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        self.0.run(request)
    }

    fn finish(&mut self) -> Result<(), String> {
        Err("a byte is wrong".into())
    }
}

#[test]
fn an_unsound_backend_fails_the_case() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.table"), "case one\n  campaign c stock 1\n").unwrap();
    let failure = run_folder(folder.path(), || Unsound(DomainBackend::new(Forgetting::Never))).unwrap_err();
    assert_eq!((failure.problems[0].line, failure.problems[0].got.as_str()), (1, "a byte is wrong"));
}

#[test]
fn a_line_can_be_asked_on_its_own() {
    let mut rules = DomainBackend::new(Forgetting::WhenDue);
    assert_eq!(ask(&mut rules, "at 2s campaign c stock 1"), "created version 1");
    assert_eq!(ask(&mut rules, "at 3s"), "");
    assert_eq!(ask(&mut rules, "read c by"), "unreadable: a subject is missing at the end");
}
