//! The duration of each test, parsed from the output of its program, and a list of the slowest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::parts::Outcome;

/// The number of listed tests.
const LISTED: usize = 10;

/// The tests that have run so far, with their durations in seconds.
#[derive(Debug, Default)]
pub(crate) struct Slowest(Vec<(f64, String)>);

impl Slowest {
    /// Runs a test program. Lines of passed tests are only parsed; all other output is shown at once.
    pub(crate) fn run(&mut self, program_name: &str, program: &mut Command) -> Outcome {
        // libtest reports durations only with unstable options.
        program.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1");
        let cannot_run = |error: std::io::Error| format!("cannot run {program_name}: {error}");
        let mut child = program.stdout(Stdio::piped()).spawn().map_err(cannot_run)?;
        let stdout = child.stdout.take().ok_or("the test program has no stdout")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(cannot_run)?;
            match passed(&line) {
                Some((test, seconds)) => self.0.push((seconds, format!("{program_name}: {test}"))),
                None if is_of_interest(&line) => println!("{line}"),
                None => {}
            }
        }
        let status = child.wait().map_err(cannot_run)?;
        if status.success() { Ok(()) } else { Err(format!("{program_name} ended with {status}")) }
    }

    pub(crate) fn print(mut self) {
        let count = self.0.len();
        self.0.sort_by(|one, other| other.0.total_cmp(&one.0));
        println!("\nthe slowest of {count} tests, in seconds");
        for (seconds, test) in self.0.iter().take(LISTED) {
            println!("{seconds:>8.1}  {test}");
        }
    }
}

/// The name and the duration of a passed test: `test a::b ... ok <1.234s>`.
fn passed(line: &str) -> Option<(&str, f64)> {
    let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let seconds = outcome.strip_prefix("ok <")?.strip_suffix("s>")?;
    Some((test.trim_end_matches(" - should panic"), seconds.parse().ok()?))
}

fn is_of_interest(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("running ") && !line.starts_with("test result: ok") && !line.contains(" ... ignored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_has_passed_has_a_time() {
        assert_eq!(passed("test a::b ... ok <1.250s>"), Some(("a::b", 1.25)));
        assert_eq!(passed("test a::b - should panic ... ok <0.001s>"), Some(("a::b", 0.001)));
        assert_eq!(passed("test a::b ... FAILED <1.250s>"), None);
        assert_eq!(passed("test a::b ... ignored, a measurement"), None);
        assert!(is_of_interest("test a::b ... FAILED <1.250s>"));
    }
}
