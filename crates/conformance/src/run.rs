//! Runs tables against a backend and lists every line that differs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use domain::types::Timestamp;

use crate::reply::Reply;
use crate::request::Request;
use crate::table::{Case, Step, parse_line, parse_table};

/// What the tables are run against. Each case gets a new one, with nothing in it and at time 0.
pub trait Backend {
    /// Moves the clock; never back.
    fn set_time(&mut self, at: Timestamp);

    /// Asks, and waits for the answer.
    fn run(&mut self, request: &Request<'_>) -> Reply;

    /// After the last line of a case: what the backend knows to be wrong with itself.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// What was run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Files.
    pub tables_count: usize,
    /// Stories in them.
    pub cases_count: usize,
    /// Requests in those.
    pub requests_count: usize,
    /// The code of every refusal that was answered as it should.
    pub codes: BTreeSet<String>,
}

/// What went wrong, all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// In the order of the files and their lines.
    pub problems: Vec<Problem>,
}

/// One thing that went wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; 0 for the whole file.
    pub line: usize,
    /// In which case.
    pub case: String,
    /// What was asked, if anything was.
    pub asked: String,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub got: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.file.display(), self.line, self.case)?;
        if !self.asked.is_empty() {
            writeln!(f, "  asked     {}", self.asked)?;
        }
        writeln!(f, "  expected  {}", self.expected)?;
        write!(f, "  got       {}", self.got)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "differences from the tables: {}", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

/// As [`fmt::Display`], so that `unwrap` in a test shows it readably.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// Runs every `*.table` of a folder, in the order of the names, each case on a backend of its own.
///
/// # Errors
/// [`Failure`] lists every line that differs, every line that cannot be read, and a folder
/// without tables.
pub fn run_folder<B: Backend>(folder: &Path, mut backend: impl FnMut() -> B) -> Result<Summary, Failure> {
    let mut run = Run { summary: Summary::default(), problems: Vec::new() };
    let files = table_files(folder).unwrap_or_default();
    if files.is_empty() {
        run.problems.push(whole_file(folder, "a folder with tables", "none"));
    }
    for file in &files {
        match std::fs::read_to_string(file) {
            Ok(text) => run.table(file, &text, &mut backend),
            Err(error) => run.problems.push(whole_file(file, "a text file", &error.to_string())),
        }
    }
    if run.problems.is_empty() { Ok(run.summary) } else { Err(Failure { problems: run.problems }) }
}

/// Runs one line without an answer, and gives the answer in words: for tests that are no tables.
/// A line that only moves time answers nothing.
pub fn ask(backend: &mut impl Backend, line: &str) -> String {
    let step = match parse_line(line) {
        Ok(step) => step,
        Err(why) => return format!("unreadable: {why}"),
    };
    if let Some(at) = step.at {
        backend.set_time(at);
    }
    step.request.map_or_else(String::new, |(_, request)| backend.run(&request).to_string())
}

pub(crate) fn table_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "table"));
    files.sort();
    Ok(files)
}

pub(crate) fn whole_file(file: &Path, expected: &str, got: &str) -> Problem {
    let (file, expected, got) = (file.to_owned(), expected.to_owned(), got.to_owned());
    Problem { file, line: 0, case: String::new(), asked: String::new(), expected, got }
}

struct Run {
    summary: Summary,
    problems: Vec<Problem>,
}

impl Run {
    fn table<B: Backend>(&mut self, file: &Path, text: &str, backend: &mut impl FnMut() -> B) {
        self.summary.tables_count += 1;
        match parse_table(text) {
            Ok(cases) if cases.is_empty() => self.problems.push(whole_file(file, "at least one case", "none")),
            Ok(cases) => cases.iter().for_each(|case| self.case(file, case, &mut backend())),
            Err((line, got)) => self.problems.push(Problem { line, ..whole_file(file, "a line of the table's language", &got) }),
        }
    }

    fn case(&mut self, file: &Path, case: &Case<'_>, backend: &mut impl Backend) {
        self.summary.cases_count += 1;
        for step in &case.steps {
            if let Some(at) = step.at {
                backend.set_time(at);
            }
            if let Some((asked, request)) = &step.request {
                let reply = backend.run(request);
                self.summary.requests_count += 1;
                self.compare(step, &reply, |expected, got| Problem {
                    line: step.line,
                    case: case.name.to_owned(),
                    asked: (*asked).to_owned(),
                    ..whole_file(file, expected, got)
                });
            }
        }
        if let Err(got) = backend.finish() {
            let problem = whole_file(file, "a sound backend after the last line", &got);
            self.problems.push(Problem { line: case.line, case: case.name.to_owned(), ..problem });
        }
    }

    fn compare(&mut self, step: &Step<'_>, reply: &Reply, problem: impl Fn(&str, &str) -> Problem) {
        let got = reply.to_string();
        let is_yes = !matches!(reply, Reply::Refused(_) | Reply::Unexpected(_));
        match &step.expected {
            Some(expected) if *expected != got => self.problems.push(problem(expected, &got)),
            None if !is_yes => self.problems.push(problem("anything but a refusal", &got)),
            Some(_) | None => {}
        }
        if let (Reply::Refused(refusal), Some(_)) = (reply, &step.expected) {
            self.summary.codes.insert(refusal.code.clone());
        }
    }
}
