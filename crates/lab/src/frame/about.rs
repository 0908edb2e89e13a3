//! The description of a strategy: in words, in steps, and with its race.

use serde::Serialize;

/// The description of a strategy.
#[derive(Debug)]
pub struct About {
    /// The stable name, for programs and the command line.
    pub name: &'static str,
    /// The title for people.
    pub title: &'static str,
    /// The engines that it needs, as text.
    pub engines: &'static str,
    /// An explanation in two sentences.
    pub explained: &'static str,
    /// The steps that serve one request, in order.
    pub steps: &'static [&'static str],
    /// The step where two requests interfere, or where a crash between two systems loses something.
    pub race: Option<Race>,
    /// What a success response guarantees.
    pub told_yes: &'static str,
    /// Whether it gives out exactly the stock as long as nothing fails.
    pub is_exact: bool,
    /// Whether its table of claims has a unique index.
    pub has_unique_claims: bool,
    /// What makes a success durable.
    pub durable_by: DurableBy,
    /// The faults that the lab injects.
    pub faults: &'static [Fault],
    /// Its source file, if it has one.
    pub source: Option<&'static str>,
}

/// A window between two steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Race {
    /// The window opens after this step, counted from 1.
    pub after_step: usize,
    /// What can happen in it.
    pub what: &'static str,
}

/// What must have been synced, or replicated, for a success to survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableBy {
    /// A commit in PostgreSQL.
    Postgres,
    /// A record in Kafka, and the matching state in Redis.
    RedisAndKafka,
    /// A record in Kafka.
    Kafka,
    /// Firstcome's own journal.
    Journal,
}

/// An injected fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The step after which it occurs, counted from 1.
    pub after_step: usize,
    /// The named point in the code.
    pub at: &'static str,
    /// The kind of fault.
    pub kind: FaultKind,
}

/// What a fault does to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The process aborts at a named point.
    Crash,
    /// The process is suspended at a named point, while a second server continues.
    Pause,
    /// The process is killed from outside, wherever it is.
    Kill,
}

impl About {
    /// Whether it needs an engine: PostgreSQL, Redis or Kafka.
    pub(crate) fn needs(&self, engine: &str) -> bool {
        self.engines.contains(engine)
    }

    /// The source of these functions, from its file.
    pub(crate) fn excerpt(&self, functions: &[&str]) -> Option<String> {
        let lines: Vec<&str> = self.source?.lines().collect();
        let begins = |line: &str| functions.iter().any(|name| line.starts_with(&format!("    async fn {name}(")));
        let places = lines.iter().enumerate().filter(|(_, line)| begins(line)).map(|(place, _)| place);
        let function = |start: usize| {
            let length = lines[start..].iter().position(|line| *line == "    }")? + 1;
            let text = lines[start..start + length].iter().map(|line| line.strip_prefix("    ").unwrap_or(line));
            Some(text.collect::<Vec<_>>().join("\n"))
        };
        Some(places.filter_map(function).collect::<Vec<_>>().join("\n\n"))
    }
}
