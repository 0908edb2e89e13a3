//! How claims were answered since the server's start, by campaign, and how fast: counted after the
//! answer was given, and so after what it rests on was durable.

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

/// What a claim can come to; what is not named here is `other`.
const OUTCOMES: [&str; 10] =
    ["claimed", "repeated", "queued", "sold_out", "queue_full", "not_open", "closed", "paused", "subject_limit_reached", "busy"];

/// How claims of all campaigns were answered. There are no more of these than campaigns.
#[derive(Debug, Default)]
pub struct Tallies(RwLock<HashMap<String, Arc<Tally>>>);

/// How claims of one campaign were answered.
#[derive(Debug, Default)]
pub struct Tally {
    outcomes: [AtomicU64; OUTCOMES.len()],
    other: AtomicU64,
    times: Histogram,
}

impl Tallies {
    /// Of a campaign of which claims were counted.
    #[must_use]
    pub fn find(&self, campaign: &str) -> Option<Arc<Tally>> {
        self.0.read().get(campaign).cloned()
    }

    /// Of a campaign that there is.
    #[must_use]
    pub fn of(&self, campaign: &str) -> Arc<Tally> {
        Arc::clone(self.0.write().entry(campaign.to_owned()).or_default())
    }
}

impl Tally {
    /// A claim was answered with this word, after this time.
    pub fn answered(&self, outcome: &str, took: Duration) {
        let place = OUTCOMES.iter().position(|known| *known == outcome);
        place.and_then(|place| self.outcomes.get(place)).unwrap_or(&self.other).fetch_add(1, Ordering::Relaxed);
        self.times.record(took);
    }

    /// How many answers there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.outcomes.iter().chain([&self.other]).map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How long they took.
    #[must_use]
    pub fn times(&self) -> Counts {
        self.times.counts()
    }

    /// Those outcomes that there were.
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

/// Whether the outcome shows that the campaign exists: invented names must not fill memory with counts.
fn is_of_a_campaign(answer: &HandlerResult) -> bool {
    match answer {
        Ok(_) => true,
        Err(problem) => matches!(problem.code(), "sold_out" | "queue_full" | "not_open" | "closed" | "paused" | "subject_limit_reached"),
    }
}
