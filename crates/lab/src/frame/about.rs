//! What is told of a strategy: in words, in steps, and where it breaks.

use serde::Serialize;

/// A strategy in words. Its name is stable, for programs and for the command line.
#[derive(Debug)]
pub struct About {
    /// As it is typed.
    pub name: &'static str,
    /// As it is read.
    pub title: &'static str,
    /// The engines that it needs, in words.
    pub engines: &'static str,
    /// Two sentences.
    pub explained: &'static str,
    /// What it does for one person, in order.
    pub steps: &'static [&'static str],
    /// Where two get in each other's way, or a crash between two places loses something.
    pub race: Option<Race>,
    /// What a yes means when it is told.
    pub told_yes: &'static str,
    /// Whether it gives out exactly the stock, while nothing fails.
    pub is_exact: bool,
    /// Whether its table of claims has a unique index.
    pub has_unique_claims: bool,
    /// What a yes rests on.
    pub durable_by: DurableBy,
    /// How it is hurt in the lab.
    pub faults: &'static [Fault],
    /// Its file, if it has one.
    pub source: Option<&'static str>,
}

/// A gap between two steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Race {
    /// It opens after this step, counted from 1.
    pub after_step: usize,
    /// What happens in it.
    pub what: &'static str,
}

/// What must have been synced, or kept twice, for a yes to outlive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableBy {
    /// A commit.
    Postgres,
    /// A record in Kafka, and what Redis remembers of it.
    RedisAndKafka,
    /// A record in Kafka.
    Kafka,
    /// Firstcome's own journal.
    Journal,
}

/// How a strategy is hurt.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// After this step, counted from 1.
    pub after_step: usize,
    /// The point in the code that it is hurt at.
    pub at: &'static str,
    /// How.
    pub kind: FaultKind,
}

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It ends in the middle of its own work, at a named point.
    Crash,
    /// It stands still at a named point, while a second server goes on.
    Pause,
    /// It is killed from outside, wherever it is.
    Kill,
}

impl About {
    /// What needs PostgreSQL, Redis, Kafka.
    pub(crate) fn needs(&self, engine: &str) -> bool {
        self.engines.contains(engine)
    }

    /// These functions, as they stand in its file.
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
