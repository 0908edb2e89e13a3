//! Counts claim answers since the server's start, by campaign and outcome, and their latency. An answer is
//! counted after it was given, so everything that it rests on is durable.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edge::clock;
use engine::histogram::{Counts, Histogram};
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use super::claims;
use crate::http::answer::REPLAYED;
use crate::http::context::Context;
use crate::http::problem::HandlerResult;

/// The outcomes of a claim; any other is counted as `other`.
const OUTCOMES: [&str; 10] =
    ["claimed", "repeated", "queued", "sold_out", "queue_full", "not_open", "closed", "paused", "subject_limit_reached", "busy"];

/// The tallies of all campaigns. There are never more than campaigns.
#[derive(Debug, Default)]
pub struct Tallies(RwLock<HashMap<String, Arc<Tally>>>);

/// The tally of one campaign.
#[derive(Debug, Default)]
pub struct Tally {
    outcomes: [AtomicU64; OUTCOMES.len()],
    other: AtomicU64,
    times: Histogram,
}

impl Tallies {
    /// The tally of a campaign, if claims were counted.
    #[must_use]
    pub fn find(&self, campaign: &str) -> Option<Arc<Tally>> {
        self.0.read().get(campaign).cloned()
    }

    /// The tally of an existing campaign, created if needed.
    #[must_use]
    pub fn of(&self, campaign: &str) -> Arc<Tally> {
        Arc::clone(self.0.write().entry(campaign.to_owned()).or_default())
    }
}

impl Tally {
    /// Counts an answer with this outcome and latency.
    pub fn answered(&self, outcome: &str, took: Duration) {
        let place = OUTCOMES.iter().position(|known| *known == outcome);
        place.and_then(|place| self.outcomes.get(place)).unwrap_or(&self.other).fetch_add(1, Ordering::Relaxed);
        self.times.record(took);
    }

    /// The number of answers.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.outcomes.iter().chain([&self.other]).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The latencies.
    #[must_use]
    pub fn times(&self) -> Counts {
        self.times.counts()
    }

    /// The outcomes that occurred, with their counts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let named = OUTCOMES.iter().copied().chain(["other"]).zip(self.outcomes.iter().chain([&self.other]));
        let counted = named.map(|(name, count)| (name, count.load(Ordering::Relaxed))).filter(|(_, count)| *count != 0);
        Value::Object(counted.map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>())
    }
}

/// `POST /v1/campaigns/{campaign}/claims`, counted.
pub async fn claim(context: Context) -> HandlerResult {
    let started = clock::elapsed();
    let app = Arc::clone(&context.app);
    let Ok(campaign) = context.named("campaign") else { return claims::claim(context).await };
    let known = app.tallies.find(campaign.as_str());
    let name = if known.is_none() { Some(campaign.as_str().to_owned()) } else { None };
    let answer = claims::claim(context).await;
    let outcome = outcome_of(&answer);
    let tally = known.or_else(|| name.filter(|_| is_of_a_campaign(&answer)).map(|name| app.tallies.of(&name)));
    if let Some(tally) = tally {
        tally.answered(outcome, clock::elapsed().saturating_sub(started));
    }
    answer
}

fn outcome_of(answer: &HandlerResult) -> &'static str {
    match answer {
        Ok(response) if response.headers().contains_key(REPLAYED) => "repeated",
        Ok(response) if response.status().as_u16() == 202 => "queued",
        Ok(_) => "claimed",
        Err(problem) => problem.code(),
    }
}

/// Whether the outcome shows that the campaign exists: made-up names must not fill the memory with tallies.
fn is_of_a_campaign(answer: &HandlerResult) -> bool {
    match answer {
        Ok(_) => true,
        Err(problem) => matches!(problem.code(), "sold_out" | "queue_full" | "not_open" | "closed" | "paused" | "subject_limit_reached"),
    }
}
