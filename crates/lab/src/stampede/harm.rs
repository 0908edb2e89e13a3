//! The run with a fault: during a small rush one server crashes between two of its steps, or is suspended; it is
//! restarted, or resumed; then everyone asks once more. Lost and duplicate claims are counted in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::crowd::{Crowd, Patience};
use super::options::Options;
use super::servers::{CAMPAIGN, Servers};
use crate::frame::about::{About, Fault, FaultKind};
use crate::frame::engines::Places;
use crate::frame::error::LabError;
use crate::frame::web::Web;

pub(crate) const PEOPLE: u32 = 500;
pub(crate) const STOCK: u32 = 50;

/// Longer than any strategy's lock.
const PAUSE: Duration = Duration::from_secs(4);
/// Longer than any strategy needs to reach the fault.
const STRIKES_WITHIN: Duration = Duration::from_secs(60);
const FIRST: Patience = Patience { with_silence: Duration::from_secs(45), with_trouble: Duration::from_secs(6) };
const ONCE_MORE: Patience = Patience { with_silence: Duration::from_secs(45), with_trouble: Duration::from_secs(2) };
const READ_TRIES_MAX: u32 = 100;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The effect of a fault.
#[derive(Clone, Debug, Serialize)]
pub struct HarmReport {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The step after which it occurred, counted from 1.
    pub after_step: usize,
    /// People who asked, twice each.
    pub people: u32,
    /// Coupons in the campaign.
    pub stock: u32,
    /// Rows in the table of claims.
    pub issued: u64,
    /// Coupons that were never given out, although everyone has asked once more.
    pub never_sold: u64,
    /// Rows beyond the stock.
    pub over_issued: u64,
    /// Acknowledged claims that the table does not contain.
    pub told_not_recorded: u64,
    /// People with more than one claim, in the table or by the answers.
    pub two_for_one: u64,
    /// People who had a coupon and were refused when they asked once more.
    pub taken_back: u64,
    /// People who still have no final answer.
    pub unanswered: u64,
    /// The last response to the first of them.
    pub unanswered_hears: Option<String>,
    /// The longest time without a final answer to anyone, in milliseconds.
    pub longest_silence_ms: u64,
}

/// A row of the table of claims.
#[derive(Deserialize)]
struct Line {
    serial: i64,
    subject: String,
    status: Option<String>,
}

pub(crate) async fn hurt(options: &Options, places: &Places, about: &'static About, fault: &Fault) -> Result<HarmReport, LabError> {
    let mut servers = Servers::start(options, places, about, Some(fault)).await?;
    let report = hurt_these(&mut servers, fault).await;
    servers.end().await;
    report
}

async fn hurt_these(servers: &mut Servers, fault: &Fault) -> Result<HarmReport, LabError> {
    let ports = servers.ports();
    let mut web = Web::new(ports[0]);
    let body = format!("{{\"stock\":{STOCK}}}");
    let made = web.ask(Method::PUT, &format!("/v1/campaigns/{CAMPAIGN}"), "application/json", body).await;
    if made.as_ref().is_none_or(|reply| reply.status != 201) {
        let why = made.map_or_else(|| "no answer".to_owned(), |reply| String::from_utf8_lossy(&reply.body).into_owned());
        return Err(LabError::Other { what: "the campaign was not made", why });
    }
    let crowd = Crowd::new(PEOPLE, ports.clone());
    // The server to be suspended must get enough requests first; an unfair lock could leave all
    // of them to the other one.
    crowd.let_others_serve(fault.kind != FaultKind::Pause);
    let asking = {
        let crowd = Arc::clone(&crowd);
        tokio::spawn(async move { crowd.everybody_asks(FIRST).await })
    };
    strike(servers, fault, &crowd).await?;
    asking.await.map_err(|error| LabError::other("the crowd")(&error))?;
    crowd.everybody_asks(ONCE_MORE).await;
    // Any of the servers can list the claims; the first port serves again by now.
    let lines = read(ports[0]).await?;
    Ok(judge(fault, &crowd, &lines))
}

/// Waits until the fault has occurred, and the affected server serves again.
async fn strike(servers: &mut Servers, fault: &Fault, crowd: &Crowd) -> Result<(), LabError> {
    let never = |_| LabError::Other { what: "the fault did not happen", why: format!("{:?} at {:?}", fault.kind, fault.at) };
    match fault.kind {
        FaultKind::Crash => {
            tokio::time::timeout(STRIKES_WITHIN, servers.running[0].ended()).await.map_err(never)?;
            servers.restart(0).await
        }
        FaultKind::Pause => {
            tokio::time::timeout(STRIKES_WITHIN, servers.running[0].paused()).await.map_err(never)?;
            crowd.let_others_serve(true);
            tokio::time::sleep(PAUSE).await;
            servers.running[0].resume();
            Ok(())
        }
        FaultKind::Kill => {
            let middle = async {
                while crowd.served() < (STOCK / 2) as usize {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(STRIKES_WITHIN, middle).await.map_err(never)?;
            servers.restart(0).await
        }
    }
}

/// All claims, as soon as the server returns them.
async fn read(port: u16) -> Result<Vec<Line>, LabError> {
    let mut web = Web::new(port);
    let mut said = String::new();
    for _ in 0..READ_TRIES_MAX {
        // Firstcome's lists have up to 1,000 lines, more than there are claims.
        let reply = web.ask(Method::GET, &format!("/v1/campaigns/{CAMPAIGN}/claims"), "application/x-ndjson", String::new()).await;
        match reply {
            Some(reply) if reply.status == 200 => {
                let lines = reply.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
                let parsed: Result<Vec<Line>, _> = lines.map(serde_json::from_slice).collect();
                return parsed.map_err(|error| LabError::other("the record cannot be read")(&error));
            }
            Some(reply) => said = String::from_utf8_lossy(&reply.body).into_owned(),
            None => said = "no answer".to_owned(),
        }
        tokio::time::sleep(READ_AGAIN_AFTER).await;
    }
    Err(LabError::Other { what: "the record cannot be read", why: said })
}

fn judge(fault: &Fault, crowd: &Crowd, lines: &[Line]) -> HarmReport {
    let memory = crowd.memory();
    let live: Vec<&Line> = lines.iter().filter(|line| line.status.as_deref() != Some("cancelled")).collect();
    let recorded: BTreeSet<(&str, i64)> = live.iter().map(|line| (line.subject.as_str(), line.serial)).collect();
    let mut rows_of: BTreeMap<&str, usize> = BTreeMap::new();
    live.iter().for_each(|line| *rows_of.entry(line.subject.as_str()).or_default() += 1);
    let told = memory.yes.iter().flat_map(|(person, serials)| serials.iter().map(move |serial| (format!("person-{person}"), *serial)));
    let told_not_recorded = told.filter(|(subject, serial)| !recorded.contains(&(subject.as_str(), *serial))).count();
    let doubled_rows = rows_of.iter().filter(|(_, rows)| 1 < **rows).map(|(subject, _)| (*subject).to_owned());
    let doubled_told = memory.yes.iter().filter(|(_, serials)| 1 < serials.len()).map(|(person, _)| format!("person-{person}"));
    let two_for_one: BTreeSet<String> = doubled_rows.chain(doubled_told).collect();
    let (issued, stock) = (live.len() as u64, u64::from(STOCK));
    HarmReport {
        kind: fault.kind,
        after_step: fault.after_step,
        people: PEOPLE,
        stock: STOCK,
        issued,
        never_sold: stock.saturating_sub(issued),
        over_issued: issued.saturating_sub(stock),
        told_not_recorded: told_not_recorded as u64,
        two_for_one: two_for_one.len() as u64,
        taken_back: memory.taken_back.len() as u64,
        unanswered: memory.unanswered.len() as u64,
        unanswered_hears: memory.unanswered.values().next().cloned(),
        longest_silence_ms: rush::format::as_millis(memory.longest_silence),
    }
}

impl HarmReport {
    /// Whether nothing was lost or duplicated.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        let Self { never_sold, over_issued, told_not_recorded, two_for_one, taken_back, unanswered, .. } = self;
        [never_sold, over_issued, told_not_recorded, two_for_one, taken_back, unanswered].into_iter().all(|count| *count == 0)
    }

    /// The effect in words and numbers, relative to the small rush's stock. A strategy that is not exact
    /// over-issues even without a fault.
    #[must_use]
    pub fn words(&self, is_exact: bool) -> String {
        let said = |count: u64, one: &str, several: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {several}")),
        };
        let over_issued = if is_exact { "over-issued" } else { "over-issued, as without a crash" };
        let found = [
            said(self.never_sold, "never sold", "never sold"),
            said(self.over_issued, over_issued, over_issued),
            said(self.told_not_recorded, "told yes and not recorded", "told yes and not recorded"),
            said(self.two_for_one, "person with two", "people with two"),
            said(self.taken_back, "person told yes, then no", "people told yes, then no"),
            said(self.unanswered, "person never answered", "people never answered"),
        ];
        let found: Vec<String> = found.into_iter().flatten().collect();
        let harm = if found.is_empty() { "nothing lost, nothing doubled".to_owned() } else { found.join(", ") };
        let what = match self.kind {
            FaultKind::Crash => format!("crash after step {}", self.after_step),
            FaultKind::Pause => format!("pause of {} s after step {}", PAUSE.as_secs(), self.after_step),
            FaultKind::Kill => "kill -9".to_owned(),
        };
        format!("{what}: {harm}; nobody answered for {:.1} s", self.longest_silence_ms as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn harmless() -> HarmReport {
        HarmReport {
            kind: FaultKind::Crash,
            after_step: 2,
            people: PEOPLE,
            stock: STOCK,
            issued: u64::from(STOCK),
            never_sold: 0,
            over_issued: 0,
            told_not_recorded: 0,
            two_for_one: 0,
            taken_back: 0,
            unanswered: 0,
            unanswered_hears: None,
            longest_silence_ms: 250,
        }
    }

    fn line(serial: i64, subject: &str) -> Line {
        Line { serial, subject: subject.to_owned(), status: None }
    }

    #[test]
    fn harm_is_told_in_numbers_and_none_is_told_as_none() {
        assert_eq!(harmless().words(true), "crash after step 2: nothing lost, nothing doubled; nobody answered for 0.2 s");
        let hurt = HarmReport { never_sold: 2, unanswered: 1, ..harmless() };
        assert!(hurt.words(true).contains("2 never sold, 1 person never answered;"));
        assert!(harmless().is_harmless() && !hurt.is_harmless());
    }

    #[test]
    fn what_was_told_is_held_against_the_record_row_by_row() {
        let crowd = Crowd::new(4, vec![1]);
        let told = [(0, 1), (1, 2), (2, 3), (2, 4)];
        for (person, serial) in told {
            crowd.memory().yes.entry(person).or_default().insert(serial);
        }
        // Person 0 has the acknowledged claim, 1 another one, 2 was given two and has one, 3 has two.
        let lines = [line(1, "person-0"), line(9, "person-1"), line(3, "person-2"), line(5, "person-3"), line(6, "person-3")];
        let fault = Fault { after_step: 1, at: "", kind: FaultKind::Crash };
        let found = judge(&fault, &crowd, &lines);
        assert_eq!((found.told_not_recorded, found.two_for_one), (2, 2));
        assert_eq!((found.issued, found.never_sold, found.over_issued), (5, u64::from(STOCK) - 5, 0));
    }
}
