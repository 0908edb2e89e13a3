//! THE SPECIFICATION OF RATE LIMITS, RUN: the tables in `conformance/rate-limit/`.
//!
//! One line, `->` before the answer; `case` and `#` as in the other tables:
//!
//! ```text
//! at 3.1s  check api by ann cost 2  -> allowed remaining 1 reset 3.9s
//! ```
//!
//! - `at 10s` moves time on: `30d`, `24h`, `10m`, `10.5s`, `100ms`, `7ns`, and sums like `1h30s`.
//!   Where a table says `at` with an earlier time than before, the clock runs backwards.
//! - `policy NAME ALGORITHM quota 5 window 1s [burst 4] [shadow]` makes or replaces a policy, and
//!   forgets what its keys have taken.
//! - `override NAME for ann quota 5 window 1s [burst 4]` gives one key other numbers, and forgets
//!   what it has taken; `override NAME for ann none` ends that.
//! - `check NAME by ann [cost 2]`; several at once with ` + ` between: `check a by ann + b by ann
//!   cost 2`. A cost of 0 only looks.
//! - `reserve NAME by ann cost 5 for 10s as r1`, `settle r1 cost 3`, `refund NAME by ann cost 2`,
//!   `reset NAME by ann`.
//! - `in-flight NAME limit 2 timeout 30s [shadow]`, `start NAME by ann as l1`, `end l1`.
//!
//! The answers: `allowed remaining 4 reset 1s`; `not_until remaining 0 reset 5s retry 1s`;
//! `exceeds_burst max 5 remaining 5 reset 0s`; several with ` + ` between; `shadow` before one that
//! is allowed only because its policy is watched; `done`; or the code of a refusal.
//!
//! A backend over HTTP tells milliseconds, rounded up. Tables whose times are finer have
//! `nanoseconds` in their file's name, and are not for it.

mod backend;
mod words;

use std::fmt;
use std::path::Path;

use domain::rate_limit::{Decision, Mode, Moment, Settings, Verdict};

pub use backend::DomainLimits;
use words::parse_ask;

use crate::run::{Failure, Problem, Summary, table_files, whole_file};
use crate::table::{one_space, without_comment};

/// What a line asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitAsk<'a> {
    /// Make or replace a policy.
    Policy(&'a str, Settings),
    /// Other numbers for one key: its quota, window in nanoseconds and burst.
    Override(&'a str, &'a str, Option<(u32, u64, u32)>),
    /// Check, all or nothing: policy, key and cost of each.
    Check(Vec<(&'a str, &'a str, u32)>),
    /// Take an estimate, to be settled within so many nanoseconds, under a label.
    Reserve(&'a str, &'a str, u32, u64, &'a str),
    /// Put the actual cost in the place of the labelled estimate.
    Settle(&'a str, u32),
    /// Give units back.
    Refund(&'a str, &'a str, u32),
    /// Forget what a key has taken.
    Reset(&'a str, &'a str),
    /// Make or replace a limit on requests in flight: limit and timeout in nanoseconds.
    InFlight(&'a str, u32, u64, Mode),
    /// Start a request, under a label.
    Start(&'a str, &'a str, &'a str),
    /// The labelled request is over.
    End(&'a str),
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitReply {
    /// To checks, in their order; also to a reservation and a start.
    Decided(Vec<Decision>),
    /// Nothing more to say.
    Done,
    /// A code.
    Refused(String),
}

/// What the tables are run against. Each case gets a new one, with nothing in it, at time 0.
pub trait LimitBackend {
    /// Sets the clock, also backwards.
    fn set_time(&mut self, at: Moment);

    /// Asks, and waits for the answer.
    fn run(&mut self, ask: &LimitAsk<'_>) -> LimitReply;
}

impl fmt::Display for LimitReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided(decisions) => {
                let all: Vec<String> = decisions.iter().map(in_words).collect();
                f.write_str(&all.join(" + "))
            }
            Self::Done => f.write_str("done"),
            Self::Refused(code) => f.write_str(code),
        }
    }
}

fn in_words(decision: &Decision) -> String {
    let shadow = if decision.is_allowed() && !decision.conforms() { "shadow " } else { "" };
    let max = if let Verdict::ExceedsBurst { max } = decision.verdict { format!(" max {max}") } else { String::new() };
    let retry = decision.retry_after_ns().map_or_else(String::new, |retry| format!(" retry {}", words::seconds(retry)));
    let (word, reset) = (decision.verdict.code().unwrap_or("allowed"), words::seconds(decision.reset_after_ns));
    format!("{shadow}{word}{max} remaining {} reset {reset}{retry}", decision.remaining)
}

/// Runs every `*.table` of a folder whose name `wanted` takes, each case on a backend of its own.
///
/// # Errors
/// [`Failure`] lists every line that differs, every line that cannot be read, and a folder
/// without tables.
pub fn run_limits<B: LimitBackend>(
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
    mut backend: impl FnMut() -> B,
) -> Result<Summary, Failure> {
    let (mut summary, mut problems) = (Summary::default(), Vec::new());
    let files = table_files(folder).unwrap_or_default();
    for file in files.iter().filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(&wanted)) {
        summary.tables_count += 1;
        match std::fs::read_to_string(file) {
            Ok(text) => run_table(file, &text, &mut backend, &mut summary, &mut problems),
            Err(error) => problems.push(whole_file(file, "a text file", &error.to_string())),
        }
    }
    if summary.tables_count == 0 {
        problems.push(whole_file(folder, "a folder with tables", "none"));
    }
    if problems.is_empty() { Ok(summary) } else { Err(Failure { problems }) }
}

fn run_table<B: LimitBackend>(
    file: &Path,
    text: &str,
    backend: &mut impl FnMut() -> B,
    summary: &mut Summary,
    problems: &mut Vec<Problem>,
) {
    let (mut current, mut case) = (None, "");
    for (line, text) in (1..).zip(text.lines().map(without_comment)).filter(|(_, text)| !text.is_empty()) {
        if let Some(name) = text.strip_prefix("case ") {
            (current, case) = (Some(backend()), name.trim());
            summary.cases_count += 1;
            continue;
        }
        let problem =
            |expected: &str, got: &str| Problem { line, case: case.to_owned(), asked: text.to_owned(), ..whole_file(file, expected, got) };
        let Some(backend) = current.as_mut() else {
            problems.push(problem("a line of the table's language", "a table starts with a `case`"));
            return;
        };
        match run_line(backend, text, summary) {
            Ok(None) => {}
            Ok(Some((expected, got))) => problems.push(problem(&expected, &got)),
            Err(why) => problems.push(problem("a line of the table's language", &why)),
        }
    }
}

/// The expected answer and the one that came, where they differ.
fn run_line(backend: &mut impl LimitBackend, text: &str, summary: &mut Summary) -> Result<Option<(String, String)>, String> {
    let (asked, expected) = text.split_once("->").map_or((text, None), |(asked, expected)| (asked, Some(one_space(expected))));
    let (at, asked) = words::parse_at(asked.trim())?;
    if let Some(at) = at {
        backend.set_time(at);
    }
    if asked.is_empty() {
        return if expected.is_some() { Err("nothing is asked".into()) } else { Ok(None) };
    }
    let reply = backend.run(&parse_ask(asked)?);
    summary.requests_count += 1;
    let got = reply.to_string();
    match (expected, &reply) {
        (Some(expected), _) if expected != got => return Ok(Some((expected, got))),
        (None, LimitReply::Refused(_)) => return Ok(Some(("anything but a refusal".into(), got))),
        (Some(_), LimitReply::Refused(code)) => drop(summary.codes.insert(code.clone())),
        (Some(_), LimitReply::Decided(decisions)) => {
            summary.codes.extend(decisions.iter().filter_map(|decision| decision.verdict.code()).map(str::to_owned));
        }
        (Some(_) | None, _) => {}
    }
    Ok(None)
}
