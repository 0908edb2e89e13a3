//! A campaign as it is shown, and what has changed in it, as bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use engine::histogram::Counts;
use engine::views::WatchedCampaign;
use serde_json::{Map, Value, json};

use super::Tally;
use super::viewer::Audience;
use crate::http::answer::CampaignJson;
use crate::http::times;

/// Rates are those of so many milliseconds.
const RATE_MS: u64 = 1_000;
/// Times are those of the claims of so many seconds in which there were any.
const LATENCY_SECONDS: usize = 10;

/// One event, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    sse: Bytes,
    json_start: usize,
}

/// One event, as each kind of audience gets it.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    public: Frame,
    with_claims: Frame,
}

/// What one event says.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Picture {
    /// For everybody.
    fields: Map<String, Value>,
    /// For those who may read who has claimed.
    last_claims: Value,
}

/// What was seen before, to tell how fast it grows.
#[derive(Debug, Default)]
pub(super) struct Pace {
    seen: VecDeque<(u64, u64, u64)>,
    latencies: VecDeque<Counts>,
    latency_at_ms: u64,
    quantiles: [Option<u64>; 2],
}

impl Frame {
    fn new(kind: &str, id: &str, json: &str) -> Self {
        let head = format!("event: {kind}\nid: {id}\ndata: ");
        Self { json_start: head.len(), sse: Bytes::from(format!("{head}{json}\n\n")) }
    }

    /// As Server-Sent Events have it.
    pub(super) fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The JSON alone, which shares its memory.
    pub(super) fn json(&self) -> Bytes {
        self.sse.slice(self.json_start..self.sse.len() - 2)
    }
}

impl Encoded {
    pub(super) fn frame(&self, audience: Audience) -> &Frame {
        match audience {
            Audience::Public => &self.public,
            Audience::WithClaims => &self.with_claims,
        }
    }

    fn new(kind: &str, id: &str, seq: u64, at: &str, fields: &Map<String, Value>, last_claims: Option<&Value>) -> Self {
        let mut all = Map::new();
        all.insert("event".to_owned(), json!(kind));
        all.insert("id".to_owned(), json!(id));
        all.insert("seq".to_owned(), json!(seq));
        all.insert("at".to_owned(), json!(at));
        all.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        let public = Frame::new(kind, id, &Value::Object(all.clone()).to_string());
        let Some(last_claims) = last_claims else { return Self { with_claims: public.clone(), public } };
        all.insert("last_claims".to_owned(), last_claims.clone());
        Self { with_claims: Frame::new(kind, id, &Value::Object(all).to_string()), public }
    }
}

impl Picture {
    pub(super) fn new(watched: &WatchedCampaign, tally: Option<&Tally>, pace: &mut Pace, now_ms: u64) -> Self {
        let mut fields = match serde_json::to_value(CampaignJson::new(&watched.campaign)) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        };
        let answered = tally.map_or(0, Tally::total);
        let (claims_rate, answers_rate) = pace.rates(now_ms, watched.issued, answered);
        let [p50, p99] = pace.quantiles(now_ms, tally);
        fields.insert("issued".to_owned(), json!(watched.issued));
        fields.insert("claims_per_second".to_owned(), json!(claims_rate));
        fields.insert("answers_per_second".to_owned(), json!(answers_rate));
        fields.insert("p50_us".to_owned(), json!(p50));
        fields.insert("p99_us".to_owned(), json!(p99));
        fields.insert("outcomes".to_owned(), tally.map_or_else(|| json!({}), Tally::to_json));
        let last_claims = watched.last.iter().map(|claim| {
            let status = crate::http::answer::status_parts(claim.status).0;
            json!({
                "subject": claim.subject,
                "serial": claim.serial.get(),
                "claimed_at": times::format(claim.claimed_at),
                "status": status,
            })
        });
        Self { fields, last_claims: last_claims.collect() }
    }

    /// All of it.
    pub(super) fn snapshot(&self, id: &str, seq: u64, at: &str) -> Encoded {
        Encoded::new("snapshot", id, seq, at, &self.fields, Some(&self.last_claims))
    }

    /// What is not as in `before`.
    pub(super) fn delta(&self, before: &Self, id: &str, seq: u64, at: &str) -> Encoded {
        let changed = self.fields.iter().filter(|(name, value)| before.fields.get(*name) != Some(value));
        let changed = changed.map(|(name, value)| (name.clone(), value.clone())).collect();
        let last_claims = (self.last_claims != before.last_claims).then_some(&self.last_claims);
        Encoded::new("delta", id, seq, at, &changed, last_claims)
    }
}

impl Pace {
    /// Claims and answers a second, over the last second.
    fn rates(&mut self, now_ms: u64, issued: u64, answered: u64) -> (u64, u64) {
        self.seen.push_back((now_ms, issued, answered));
        // One is kept that is a second old or older, to count from.
        while self.seen.get(1).is_some_and(|(at, ..)| *at + RATE_MS <= now_ms) {
            self.seen.pop_front();
        }
        let Some((at, issued_then, answered_then)) = self.seen.front().copied() else { return (0, 0) };
        let span = now_ms.saturating_sub(at).max(RATE_MS / 2);
        let rate = |now: u64, then: u64| (now.saturating_sub(then) * 1_000 + span / 2) / span;
        (rate(issued, issued_then), rate(answered, answered_then))
    }

    /// Median and worst hundredth, told anew once a second while claims are answered.
    fn quantiles(&mut self, now_ms: u64, tally: Option<&Tally>) -> [Option<u64>; 2] {
        let Some(tally) = tally.filter(|_| self.latency_at_ms + RATE_MS <= now_ms || self.latencies.is_empty()) else {
            return self.quantiles;
        };
        self.latency_at_ms = now_ms;
        let counts = tally.times();
        if self.latencies.back().is_none_or(|last| last.total() != counts.total()) {
            let since = self.latencies.front().map_or_else(|| counts.clone(), |first| counts.since(first));
            let told = |per_mille| since.quantile(per_mille).and_then(|time| u64::try_from(time.as_micros()).ok());
            self.quantiles = [told(500), told(990)];
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
        let mut pace = Pace::default();
        assert_eq!(pace.rates(0, 5, 5), (0, 0));
        assert_eq!(pace.rates(1_000, 105, 205), (100, 200));
        assert_eq!(pace.rates(1_500, 155, 205), (100, 133));
        assert_eq!(pace.rates(2_500, 155, 205), (0, 0));
    }

    #[test]
    fn a_frame_of_either_kind_shares_its_bytes() {
        let encoded = Encoded::new("delta", "a-7", 7, "now", &Map::new(), Some(&json!(["ann"])));
        let json = r#"{"event":"delta","id":"a-7","seq":7,"at":"now"}"#;
        let public = encoded.frame(Audience::Public);
        assert_eq!(public.json(), json);
        assert_eq!(public.sse(), format!("event: delta\nid: a-7\ndata: {json}\n\n"));
        let full: Value = serde_json::from_slice(&encoded.frame(Audience::WithClaims).json()).unwrap();
        assert_eq!(full["last_claims"], json!(["ann"]));
    }
}
