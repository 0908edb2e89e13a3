//! The broken promises, each with a stable name.

use serde::Serialize;

use super::elsewhere::{Elsewhere, ServerCounts};
use super::report::Report;
use crate::format::thousands;

/// A promise that the server broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokenPromise {
    /// A stable name, for programs.
    pub name: &'static str,
    /// The number of violations; at least 1.
    pub count: u64,
    /// A sentence for people.
    pub sentence: String,
}

/// Singular and plural.
type Noun = [&'static str; 2];

const COUPON: Noun = ["coupon", "coupons"];
const PERSON: Noun = ["person", "people"];
const ANSWER: Noun = ["answer", "answers"];

pub(crate) fn broken(report: &Report) -> Vec<BrokenPromise> {
    let found = &report.findings;
    let all = [
        ("over_issued", found.over_issued, COUPON, "given out beyond the stock"),
        ("two_for_one", found.two_for_one, PERSON, "got more than one coupon"),
        ("one_for_two", found.one_for_two, COUPON, "went to more than one person"),
        ("answers_not_in_record", found.answers_not_in_record, COUPON, "promised that the record does not hold"),
        ("in_record_unanswered", found.in_record_unanswered, COUPON, "in the record that nobody was told of"),
        ("yes_taken_back", found.yes_taken_back, PERSON, "had a coupon or a place and got a refusal when asking again"),
        ("misdirected", found.misdirected, ANSWER, "named another person or campaign than the one that asked"),
        ("unknown_elsewhere", elsewhere(report, |found| found.unknown), COUPON, "that another server does not show as it was given"),
        (
            "not_repeated_elsewhere",
            elsewhere(report, |found| found.not_repeated),
            PERSON,
            "asked another server and did not get the same coupon again",
        ),
        (
            "pace",
            report.queued.as_ref().map_or(0, |queued| queued.over_pace),
            COUPON,
            "decided within a second of as many others as the pace allows",
        ),
        ("undersold", undersold(report), COUPON, "kept back though enough people asked"),
    ];
    let broken = all.into_iter().filter(|(_, count, ..)| 0 < *count);
    let mut broken: Vec<BrokenPromise> = broken
        .map(|(name, count, noun, what)| BrokenPromise {
            name,
            count,
            sentence: format!("{} {} {what}", thousands(count), form(noun, count)),
        })
        .collect();
    broken.extend(counts(report));
    broken.extend(servers_differ(report));
    broken
}

/// 0 if only one server was used.
fn elsewhere(report: &Report, count: impl FnOnce(&Elsewhere) -> u64) -> u64 {
    report.findings.elsewhere.as_ref().map_or(0, count)
}

fn servers_differ(report: &Report) -> Option<BrokenPromise> {
    let found = report.findings.elsewhere.as_ref().filter(|found| found.servers_differ)?;
    let say = |server: &ServerCounts| match server.campaign {
        Some(campaign) => format!("{} says {} claimed of {}", server.server, thousands(campaign.claimed), thousands(campaign.stock)),
        None => format!("{} does not know the campaign", server.server),
    };
    let all: Vec<String> = found.servers.iter().map(say).collect();
    Some(BrokenPromise { name: "servers_differ", count: 1, sentence: format!("the servers do not agree: {}", all.join(", ")) })
}

/// Only judged if every request was answered: otherwise it is unknown whether enough people have asked.
fn undersold(report: &Report) -> u64 {
    let unanswered = report.errors + report.skipped;
    if unanswered != 0 || report.settings.users < report.settings.stock {
        return 0;
    }
    let given = report.claimed.max(report.findings.record_live);
    u64::from(report.settings.stock).saturating_sub(given)
}

fn counts(report: &Report) -> Option<BrokenPromise> {
    let found = &report.findings;
    found.counts_differ.then(|| BrokenPromise {
        name: "counts",
        count: 1,
        sentence: format!(
            "the campaign says {} claimed and {} remaining of {}, and the record holds {}",
            thousands(found.campaign.claimed),
            thousands(found.campaign.remaining),
            thousands(found.campaign.stock),
            thousands(found.record_live),
        ),
    })
}

fn form([one, several]: Noun, count: u64) -> &'static str {
    if count == 1 { one } else { several }
}
