//! The live stream of a campaign.

use std::collections::VecDeque;

use domain::Listed;
use domain::coupon::{ClaimView, Coupon};
use domain::types::Timestamp;
use domain::workload::{AnyAggregate, AnySummary};
use edge::live::Picture;
use edge::{clock, times};
use engine::histogram::Counts;
use parking_lot::Mutex;
use serde_json::{Map, json};

use super::json::status_parts;
use super::tally::Tally;
use crate::app::App;
use crate::http::settings::shown;
use crate::live::Show;

/// The number of last claims to show.
const LAST_CLAIMS: u32 = 10;
/// The window of rates.
const RATE_MS: u64 = 1_000;
/// The window of latencies: this many seconds in which there were claims.
const LATENCY_SECONDS: usize = 10;

/// A campaign's state for the stream, with its last claims.
#[derive(Clone, Debug)]
pub struct Watched {
    summary: AnySummary,
    /// Claims ever granted, including cancelled ones.
    issued: u64,
    /// The last claims, newest first.
    last: Vec<ClaimView>,
}

/// Settings and figures, rates, answers by outcome; the last claims for callers that may read them.
#[derive(Debug, Default)]
pub struct CampaignShow(Mutex<Rates>);

/// Earlier counts, from which rates and latencies are computed.
#[derive(Debug, Default)]
struct Rates {
    seen: VecDeque<(u64, u64, u64)>,
    latencies: VecDeque<Counts>,
    latency_at_ms: u64,
    quantiles: [Option<u64>; 2],
}

impl Show for CampaignShow {
    type Seen = Watched;

    fn see(aggregate: &AnyAggregate, now: Timestamp) -> Option<Watched> {
        let campaign = Coupon::of(aggregate)?;
        Some(Watched {
            summary: aggregate.summary(now),
            issued: campaign.items.claims.decided_count() as u64,
            last: campaign.last_claims(LAST_CLAIMS),
        })
    }

    fn picture(&self, app: &App, name: &str, seen: Watched) -> Picture {
        let tally = app.tallies.find(name);
        let mut rates = self.0.lock();
        picture(&seen, tally.as_deref(), &mut rates, clock::elapsed_ms())
    }
}

fn picture(watched: &Watched, tally: Option<&Tally>, rates: &mut Rates, now_ms: u64) -> Picture {
    let mut fields = shown(&watched.summary);
    let answered = tally.map_or(0, Tally::total);
    let (claims_rate, answers_rate) = rates.per_second(now_ms, watched.issued, answered);
    let [p50, p99] = rates.quantiles(now_ms, tally);
    fields.insert("issued".to_owned(), json!(watched.issued));
    fields.insert("claims_per_second".to_owned(), json!(claims_rate));
    fields.insert("answers_per_second".to_owned(), json!(answers_rate));
    fields.insert("p50_us".to_owned(), json!(p50));
    fields.insert("p99_us".to_owned(), json!(p99));
    fields.insert("outcomes".to_owned(), tally.map_or_else(|| json!({}), Tally::to_json));
    let last_claims = watched.last.iter().map(|claim| {
        let status = status_parts(claim.status).0;
        json!({
            "subject": claim.subject,
            "serial": claim.serial.get(),
            "claimed_at": times::format(claim.claimed_at),
            "status": status,
        })
    });
    let private = Map::from_iter([("last_claims".to_owned(), last_claims.collect())]);
    Picture { public: fields, private }
}

impl Rates {
    /// Claims and answers per second, over the last second.
    fn per_second(&mut self, now_ms: u64, issued: u64, answered: u64) -> (u64, u64) {
        self.seen.push_back((now_ms, issued, answered));
        // Keeps one count that is at least a second old, as the base of the rate.
        while self.seen.get(1).is_some_and(|(at, ..)| *at + RATE_MS <= now_ms) {
            self.seen.pop_front();
        }
        let Some((at, issued_then, answered_then)) = self.seen.front().copied() else { return (0, 0) };
        let span = now_ms.saturating_sub(at).max(RATE_MS / 2);
        let rate = |now: u64, then: u64| (now.saturating_sub(then) * 1_000 + span / 2) / span;
        (rate(issued, issued_then), rate(answered, answered_then))
    }

    /// Median and 99th percentile, computed once a second while claims are answered.
    fn quantiles(&mut self, now_ms: u64, tally: Option<&Tally>) -> [Option<u64>; 2] {
        let Some(tally) = tally.filter(|_| self.latency_at_ms + RATE_MS <= now_ms || self.latencies.is_empty()) else {
            return self.quantiles;
        };
        self.latency_at_ms = now_ms;
        let counts = tally.times();
        if self.latencies.back().is_none_or(|last| last.total() != counts.total()) {
            let since = self.latencies.front().map_or_else(|| counts.clone(), |first| counts.since(first));
            let micros = |per_mille| since.quantile(per_mille).and_then(|time| u64::try_from(time.as_micros()).ok());
            self.quantiles = [micros(500), micros(990)];
            self.latencies.push_back(counts);
            if LATENCY_SECONDS < self.latencies.len() {
                self.latencies.pop_front();
            }
        }
        self.quantiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(0, 5, 5), (0, 0));
        assert_eq!(rates.per_second(1_000, 105, 205), (100, 200));
        assert_eq!(rates.per_second(1_500, 155, 205), (100, 133));
        assert_eq!(rates.per_second(2_500, 155, 205), (0, 0));
    }
}
