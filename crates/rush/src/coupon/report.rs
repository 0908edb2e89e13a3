//! The results of a run: figures, JSON and a table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Options;
use super::campaign::Counts;
use super::elsewhere::Elsewhere;
use super::load::Load;
use super::page;
use super::queued::Queued;
use super::verdict::{self, BrokenPromise};
use crate::figures::{self, CurvePoint, Percentiles, Slot};
use crate::format::{as_micros, as_millis, duration, micros, percent, thousands};
use crate::machine::Machine;

/// The result of one run. Every request has exactly one end, so that `asked` is the sum of the 201 responses
/// (`fresh`; with a queue, of the people whose first decision was read), `repeats`, `sold_out`, all
/// `refusals`, `errors` and `skipped`.
#[derive(Clone, Debug)]
pub struct Report {
    pub settings: Settings,
    pub machine: Machine,
    /// When the load began, RFC 3339, UTC.
    pub date: String,
    /// People who asked, plus those who asked twice.
    pub asked: u64,
    /// People who got a coupon.
    pub claimed: u64,
    /// Responses 201: a new claim; with a queue, people whose first decision was read.
    pub fresh: u64,
    /// Responses 200: the claim that the person already had.
    pub repeats: u64,
    /// Responses 409 `sold_out`.
    pub sold_out: u64,
    /// Other responses 409, by their code.
    pub refusals: BTreeMap<String, u64>,
    /// Requests that ended without a usable response.
    pub errors: u64,
    /// The first few errors, as text.
    pub error_samples: Vec<String>,
    /// Requests that were never sent because the server could no longer be reached.
    pub skipped: u64,
    /// Retries after a 503 or 429 with a retry delay.
    pub asked_again: u64,
    /// Tries without a response, or with a 5xx: each was retried once.
    pub unknown_outcomes: u64,
    /// Connections that had to be reopened.
    pub reconnects: u64,
    /// From the start of the load to the last response.
    pub duration: Duration,
    /// From the start of the load to the response of the last new claim.
    pub claims_duration: Duration,
    /// Responses per second of `duration`.
    pub answers_per_second: f64,
    /// New claims per second of `claims_duration`.
    pub claims_per_second: f64,
    /// From the instant at which a request was due to the end of its response.
    pub latency: Percentiles,
    /// From sending the last try to the end of its response.
    pub service_time: Percentiles,
    /// Percent of one core over `duration`.
    pub server_cpu_percent: Option<f64>,
    pub client_cpu_percent: Option<f64>,
    pub findings: Findings,
    /// The figures of the queue; `None` if claims are decided at once.
    pub queued: Option<Queued>,
    pub timeline: Vec<Slot>,
    pub latency_curve: Vec<CurvePoint>,
    pub service_curve: Vec<CurvePoint>,
}

/// The settings of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// `host:port`; several servers are separated by commas.
    pub server: String,
    pub campaign: String,
    pub users: u32,
    pub stock: u32,
    pub connections: usize,
    pub over_ms: u64,
    pub repeat_percent: u8,
    /// The pace of the queue; null if claims are decided at once.
    pub decisions_per_second: Option<u32>,
    pub request_timeout_ms: u64,
}

/// The results of the checks. All counts but `settled_in_record` and `record_live` must be 0.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Live claims in the list, or different serials in responses, beyond the stock.
    pub over_issued: u64,
    /// People with more than one claim, in the list or in responses.
    pub two_for_one: u64,
    /// Serials that more than one person has.
    pub one_for_two: u64,
    /// Promised claims that the list does not contain exactly so.
    pub answers_not_in_record: u64,
    /// Live claims in the list that no response promised, although no outcome was unknown.
    pub in_record_unanswered: u64,
    /// The same, of people whose last try had an unknown outcome: allowed.
    pub settled_in_record: u64,
    /// People who got a coupon and were refused when they asked again.
    pub yes_taken_back: u64,
    /// Responses that name another person or campaign.
    pub misdirected: u64,
    /// Live claims in the list.
    pub record_live: u64,
    /// The campaign's counts after the load.
    pub campaign: Campaign,
    /// Whether the campaign's counts do not add up or do not match the list.
    pub counts_differ: bool,
    /// The comparison between several servers; `None` if there was only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
}

/// A campaign's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Campaign {
    pub stock: u64,
    pub claimed: u64,
    pub remaining: u64,
}

impl From<Counts> for Campaign {
    fn from(counts: Counts) -> Campaign {
        Campaign { stock: counts.stock, claimed: counts.claimed, remaining: counts.remaining }
    }
}

impl Report {
    pub(crate) fn new(options: &Options, server: &str, load: Load, findings: Findings, decided_ms: Vec<i64>) -> Report {
        let queued = options.decisions_per_second.map(|pace| Queued::new(pace, &load, decided_ms));
        let mut samples = load.tally.samples;
        let latencies = figures::histogram(samples.iter().map(|sample| sample.latency_us));
        let services = figures::histogram(samples.iter().map(|sample| sample.service_us));
        let last_claim = samples.iter().filter(|sample| sample.gave);
        let last_claim_us = last_claim.map(|sample| sample.done_us).max().unwrap_or(0);
        let claims_duration = Duration::from_micros(last_claim_us);
        Report {
            settings: Settings::new(options, server),
            machine: Machine::read(),
            date: load.date,
            asked: load.asked,
            claimed: load.answers.winners(),
            fresh: load.tally.fresh,
            repeats: load.tally.repeats,
            sold_out: load.tally.sold_out,
            refusals: load.tally.refusals,
            errors: load.tally.errors,
            error_samples: texts(load.tally.error_samples),
            skipped: load.skipped,
            asked_again: load.tally.asked_again,
            unknown_outcomes: load.tally.unknown_outcomes,
            reconnects: load.tally.reconnects,
            duration: load.duration,
            claims_duration,
            answers_per_second: rate(samples.len() as u64, load.duration),
            claims_per_second: rate(load.tally.fresh, claims_duration),
            latency: figures::percentiles(&latencies),
            service_time: figures::percentiles(&services),
            server_cpu_percent: load.server_cpu_percent,
            client_cpu_percent: load.client_cpu_percent,
            findings,
            queued,
            timeline: figures::timeline(&mut samples, load.duration),
            latency_curve: figures::curve(&latencies),
            service_curve: figures::curve(&services),
        }
    }

    /// The promises that the server broke; empty in a good run.
    #[must_use]
    pub fn broken(&self) -> Vec<BrokenPromise> {
        verdict::broken(self)
    }

    /// One object with stable field names. Times are integers with the unit in the name; shares are percent
    /// of one core, or null if unknown.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "workload": "coupon",
            "date": self.date,
            "settings": self.settings,
            "machine": self.machine,
            "broken": self.broken(),
            "asked": self.asked,
            "claimed": self.claimed,
            "fresh": self.fresh,
            "repeats": self.repeats,
            "sold_out": self.sold_out,
            "refusals": self.refusals,
            "errors": self.errors,
            "error_samples": self.error_samples,
            "skipped": self.skipped,
            "asked_again": self.asked_again,
            "unknown_outcomes": self.unknown_outcomes,
            "reconnects": self.reconnects,
            "findings": self.findings,
            "duration_us": as_micros(self.duration),
            "claims_duration_us": as_micros(self.claims_duration),
            "answers_per_second": self.answers_per_second,
            "claims_per_second": self.claims_per_second,
            "latency": self.latency,
            "service_time": self.service_time,
            "queued": self.queued,
            "server_cpu_percent": self.server_cpu_percent,
            "client_cpu_percent": self.client_cpu_percent,
            "timeline": self.timeline,
            "latency_curve": self.latency_curve,
            "service_curve": self.service_curve,
        })
    }

    /// The short table, for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "rush coupon: {} people for {} coupons, campaign {} on {}\n\n",
            thousands(self.settings.users.into()),
            thousands(self.settings.stock.into()),
            self.settings.campaign,
            self.settings.server,
        );
        let rows = self.rows();
        for row in &rows {
            let line = format!("{:<31}{:>12}  {}", row.label, row.value, row.note);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.headline());
        text.push('\n');
        for promise in self.broken() {
            text.push_str(&format!("  {}: {}\n", promise.name, promise.sentence));
        }
        for sample in self.findings.elsewhere.iter().flat_map(|elsewhere| &elsewhere.samples) {
            text.push_str(&format!("  elsewhere: {sample}\n"));
        }
        for sample in &self.error_samples {
            text.push_str(&format!("  error: {sample}\n"));
        }
        text
    }

    /// One self-contained page that opens without network.
    #[must_use]
    pub fn html(&self) -> String {
        page::render(self).into_string()
    }

    /// The verdict in one line.
    pub(crate) fn headline(&self) -> String {
        let given = self.claimed.max(self.findings.record_live);
        let of_stock = format!("{} of {}", thousands(given), thousands(self.settings.stock.into()));
        match (self.broken().len(), self.unanswered()) {
            (0, 0) => format!("exactly {of_stock}; nothing broken"),
            (0, open) => format!("{of_stock}; nothing broken, {} not answered", thousands(open)),
            (1, _) => format!("{of_stock}; 1 promise broken"),
            (several, _) => format!("{of_stock}; {several} promises broken"),
        }
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.errors + self.skipped
    }

    fn at_once(&self) -> bool {
        self.settings.over_ms == 0
    }

    pub(crate) fn arrivals(&self) -> String {
        match self.at_once() {
            true => "all at once".to_owned(),
            false => format!("spread over {}", micros(self.settings.over_ms * 1_000)),
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = self.outcome_rows();
        rows.extend(self.promise_rows());
        rows.extend(self.queued.iter().flat_map(Queued::rows));
        rows.extend(self.speed_rows());
        rows
    }

    fn outcome_rows(&self) -> Vec<Row> {
        let twice = self.asked - u64::from(self.settings.users);
        let when = self.arrivals();
        let mut rows = vec![
            Row::count("asked", self.asked).with(format!("{} of them for the second time, {when}", thousands(twice))),
            Row::count("claimed", self.claimed).with(format!("of {}", thousands(self.settings.stock.into()))),
            Row::count("sold out", self.sold_out),
            Row::count("repeats", self.repeats).with("the same answer again".to_owned()),
        ];
        for (code, count) in &self.refusals {
            rows.push(Row::count("refused", *count).with(code.clone()));
        }
        rows.push(Row::zero("errors", self.errors));
        let rare = [
            ("skipped", self.skipped, "never sent, the server was gone"),
            ("asked again", self.asked_again, "when told to come back later"),
            ("unknown outcomes", self.unknown_outcomes, "asked once more"),
            ("reconnects", self.reconnects, ""),
        ];
        let rare = rare.into_iter().filter(|(_, count, _)| 0 < *count);
        rows.extend(rare.map(|(label, count, note)| Row::count(label, count).with(note.to_owned())));
        rows
    }

    fn promise_rows(&self) -> Vec<Row> {
        let found = &self.findings;
        let must_be_zero = |label, count| Row::zero(label, count).with("must be 0".to_owned());
        let mut rows = vec![
            must_be_zero("over-issued", found.over_issued),
            must_be_zero("two for one person", found.two_for_one),
            must_be_zero("answers the record doesn't hold", found.answers_not_in_record),
        ];
        if let Some(elsewhere) = &found.elsewhere {
            let asked = format!("of {} asked for there, must be 0", thousands(elsewhere.asked));
            rows.push(Row::zero("not so on another server", elsewhere.wrong()).with(asked));
        }
        rows
    }

    fn speed_rows(&self) -> Vec<Row> {
        let sold = format!("{} claims/s until the last claim, after {}", whole(self.claims_per_second), duration(self.claims_duration));
        let from = match self.at_once() {
            true => "counts from the instant at which everybody asked at once",
            false => "counts from the instant at which a request was due",
        };
        let cpu = format!("client {}, of one core each", percent(self.client_cpu_percent));
        vec![
            Row::text("answers per second", whole(self.answers_per_second)).with(sold),
            Row::text("latency p50", micros(self.latency.p50_us)).with(tail(&self.latency)),
            Row::text("", String::new()).with(from.to_owned()),
            Row::text("service time p50", micros(self.service_time.p50_us)).with(tail(&self.service_time)),
            Row::text("server CPU", percent(self.server_cpu_percent)).with(cpu),
            Row::text("duration", duration(self.duration)),
        ]
    }
}

impl Settings {
    fn new(options: &Options, server: &str) -> Settings {
        Settings {
            server: server.to_owned(),
            campaign: options.campaign.clone(),
            users: options.users,
            stock: options.stock,
            connections: options.connections,
            over_ms: as_millis(options.over),
            repeat_percent: options.repeat_percent,
            decisions_per_second: options.decisions_per_second,
            request_timeout_ms: as_millis(options.request_timeout),
        }
    }
}

/// One line of the table, on the terminal and in the page.
pub(crate) struct Row {
    pub(crate) label: &'static str,
    pub(crate) value: String,
    pub(crate) note: String,
    /// Whether the count should be zero and is not.
    pub(crate) alarming: bool,
}

impl Row {
    pub(crate) fn text(label: &'static str, value: String) -> Row {
        Row { label, value, note: String::new(), alarming: false }
    }

    pub(crate) fn count(label: &'static str, count: u64) -> Row {
        Row::text(label, thousands(count))
    }

    fn zero(label: &'static str, count: u64) -> Row {
        Row { alarming: count != 0, ..Row::count(label, count) }
    }

    pub(crate) fn with(self, note: String) -> Row {
        Row { note, ..self }
    }
}

fn texts(samples: Vec<(Duration, String)>) -> Vec<String> {
    let text = |(at, what)| format!("after {}: {what}", duration(at));
    samples.into_iter().map(text).collect()
}

pub(crate) fn tail(percentiles: &Percentiles) -> String {
    format!("p99 {}, p99.9 {}, max {}", micros(percentiles.p99_us), micros(percentiles.p999_us), micros(percentiles.max_us))
}

fn whole(rate: f64) -> String {
    // A rate is positive and far below 2^64.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    thousands(rate.round() as u64)
}

fn rate(count: u64, span: Duration) -> f64 {
    let rate = count as f64 / span.as_secs_f64();
    if rate.is_finite() { rate } else { 0.0 }
}
