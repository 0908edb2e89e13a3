//! PostgreSQL's rows against what the record's first so many records add up to.

use domain::claims::ClaimStatus;
use domain::coupon::CampaignNumber;
use domain::request::Remembered;
use oracle::Oracle;
use oracle::coupon::Campaign;
use projection::ReadError;
use projection::postgres::scan::{FullClaim, Scan, WaitingClaim};
use projection::postgres::{Origin, PartitionPosition};
use projection::rows::{BareClaim, CampaignRow};

use super::digest::{digest, remembered};
use super::partition::{Partition, UNKNOWN_RULES};
use super::record::Record;
use crate::verify::findings::{DIFFERENT, EXTRA, Fields, Findings, MISSING};
use crate::verify::merge::{self, Merge};

/// Where what is expected comes from, for people.
const RECORD: &str = "record";
/// What cannot be read at all.
pub(super) const DAMAGED: &str = "history_damaged";
/// The tables hold what the record does not.
pub(super) const AHEAD: &str = "history_ahead";

/// Whether the tables follow this record; all that is different is reported.
pub(super) fn check_origin(origin: &Origin, record: &Record, findings: &mut Findings) -> bool {
    let Some(log) = record.log.map(|log| log.to_string()) else {
        findings.note("the history is not compared: the record does not say which log it is".to_owned());
        return false;
    };
    let mut wrong = Vec::new();
    for (what, found, expected) in [
        ("cluster id", &origin.cluster_id, &record.topic.cluster_id),
        ("topic", &origin.topic, &record.name),
        ("topic id", &origin.topic_id, &log),
        ("number of partitions", &origin.partitions.to_string(), &record.partitions.len().to_string()),
    ] {
        if found != expected {
            wrong.push(format!("{what} is {found:?}, in the record {expected:?}"));
        }
    }
    if !wrong.is_empty() {
        findings.broken("history_other_record", format!("the history is that of another record: {}", wrong.join("; ")));
    }
    wrong.is_empty()
}

/// Compares every partition that was read up to the tables' position.
pub(super) async fn compare(scan: &Scan, record: &Record, findings: &mut Findings) -> Result<(), ReadError> {
    let mut compared = Vec::new();
    for (number, partition) in (0..).zip(&record.partitions) {
        match scan.positions().iter().find(|position| position.partition == number) {
            None => findings.broken(MISSING, format!("the position of partition {number} is not in the history")),
            Some(position) if is_comparable(position, partition, findings) => compared.push((position, partition)),
            Some(_) => {}
        }
    }
    for position in scan.positions().iter().filter(|position| record.partitions.len() <= position.partition as usize) {
        findings.broken(EXTRA, format!("the position of partition {} is in the history only", position.partition));
    }
    let campaigns = damage_told(scan.campaigns().await, findings)?;
    for (position, partition) in compared {
        compare_position(position, partition, findings);
        let oracle = &partition.oracle;
        if let Some(rows) = &campaigns {
            compare_campaigns(rows, position.partition, oracle, record, findings);
        }
        let claims = compare_claims(scan, position.partition, oracle, record, findings).await;
        damage_told(claims, findings)?;
        let queue = compare_queue(scan, position.partition, oracle, record, findings).await;
        damage_told(queue, findings)?;
        let requests = compare_requests(scan, position.partition, oracle, findings).await;
        damage_told(requests, findings)?;
    }
    Ok(())
}

/// A row that cannot be is a finding; everything else is no verdict.
fn damage_told<T>(read: Result<T, ReadError>, findings: &mut Findings) -> Result<Option<T>, ReadError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ReadError::Damaged(what)) => {
            findings.broken(DAMAGED, what);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_comparable(position: &PartitionPosition, partition: &Partition, findings: &mut Findings) -> bool {
    let PartitionPosition { partition: number, offset_next, .. } = *position;
    let text =
        |end: u64| format!("the history is at offset {offset_next} of partition {number}, but the record can be followed to {end} only");
    match partition.stopped {
        Some(stopped) if stopped.offset < offset_next && stopped.promise == UNKNOWN_RULES => {
            findings.note(format!("{}; partition {number} is not compared", text(stopped.offset)));
        }
        Some(stopped) if stopped.offset < offset_next => findings.broken(AHEAD, text(stopped.offset)),
        None if partition.offset_next < offset_next => findings.broken(AHEAD, text(partition.offset_next)),
        None if offset_next < partition.offset_next => {
            findings.note(format!("partition {number} of the history was begun anew meanwhile and is not compared"));
        }
        Some(_) | None => return true,
    }
    false
}

fn compare_position(position: &PartitionPosition, partition: &Partition, findings: &mut Findings) {
    let oracle = &partition.oracle;
    let mut fields = Fields::of(RECORD);
    fields.compare("decisions", position.decisions, oracle.decisions);
    fields.compare("effective_at", position.effective_at.millis(), oracle.time.millis());
    fields.compare("rules_version", position.rules_version, partition.rules_version.0);
    // At the very beginning there is nothing to have a digest of.
    let found = if position.offset_next == 0 { Ok(String::new()) } else { digest(oracle).map(|digest| hex(&digest)) };
    match found {
        Ok(digest) => fields.compare("digest", hex(&position.digest), digest),
        Err(error) => findings.broken(DIFFERENT, format!("partition {} has no digest: {error}", position.partition)),
    }
    fields.report(|| format!("the position of partition {}", position.partition), findings);
}

fn compare_campaigns(rows: &[CampaignRow], partition: u32, oracle: &Oracle, record: &Record, findings: &mut Findings) {
    let row_of = |number: CampaignNumber| rows.iter().find(|row| record.place_of(row.number) == (partition, number));
    for campaign in oracle.campaigns() {
        match row_of(CampaignNumber(campaign.number)) {
            None => findings.broken(MISSING, format!("campaign {} is not in the history", campaign.name)),
            Some(row) => compare_campaign(row, campaign, findings),
        }
    }
    for row in rows {
        let (of, number) = record.place_of(row.number);
        if of == partition && oracle.campaign_at(number.0).is_none() {
            findings.broken(EXTRA, format!("campaign {} (id {}) is in the history only", row.name, row.number.0));
        }
    }
}

fn compare_campaign(row: &CampaignRow, campaign: &Campaign, findings: &mut Findings) {
    let mut fields = Fields::of(RECORD);
    fields.compare("name", &*row.name, &*campaign.name);
    fields.compare("version", row.version, campaign.version);
    fields.compare("code_key", row.code_key, campaign.code_key);
    fields.compare("created_at", row.created_at.millis(), campaign.created_at.millis());
    fields.compare("changed_at", row.changed_at.millis(), campaign.changed_at.millis());
    fields.compare("stock", row.settings.stock.get(), campaign.settings.stock.get());
    let others = |settings| domain::coupon::Settings { stock: domain::types::Quantity::ZERO, ..settings };
    fields.compare("settings", others(row.settings), others(campaign.settings));
    fields.report(|| format!("campaign {}", campaign.name), findings);
}

async fn compare_claims(scan: &Scan, partition: u32, oracle: &Oracle, record: &Record, findings: &mut Findings) -> Result<(), ReadError> {
    let mut rows = scan.claims(partition).await?;
    let mut merge = Merge::new(RECORD, oracle, merge::decided(oracle), findings);
    while let Some(row) = rows.next().await? {
        let (_, number) = record.place_of(row.campaign);
        let FullClaim { serial, ref subject, claimed_at, status, .. } = row;
        merge.row(&BareClaim { number, serial, subject, claimed_at, status });
    }
    merge.end();
    Ok(())
}

async fn compare_queue(scan: &Scan, partition: u32, oracle: &Oracle, record: &Record, findings: &mut Findings) -> Result<(), ReadError> {
    let mut rows = scan.queue(partition).await?;
    let mut merge = Merge::new(RECORD, oracle, merge::pending(oracle), findings);
    while let Some(row) = rows.next().await? {
        let (_, number) = record.place_of(row.campaign);
        let WaitingClaim { serial, ref subject, accepted_at, .. } = row;
        merge.row(&BareClaim { number, serial, subject, claimed_at: accepted_at, status: ClaimStatus::Pending });
    }
    merge.end();
    Ok(())
}

/// Request keys by the decision that they were; both sides rise.
async fn compare_requests(scan: &Scan, partition: u32, oracle: &Oracle, findings: &mut Findings) -> Result<(), ReadError> {
    let mut rows = scan.requests(partition).await?;
    let known = oracle.keys().iter().filter_map(|(decision, known)| Some((decision, remembered(oracle, known)?)));
    let mut expected = known.peekable();
    while let Some((decision, found)) = rows.next().await? {
        while let Some((_, known)) = expected.next_if(|(expected, _)| *expected < decision.0) {
            findings.broken(MISSING, format!("{} is not in the history", words_of(&known, oracle)));
        }
        match expected.next_if(|(expected, _)| *expected == decision.0) {
            Some((_, known)) if known == found => {}
            Some((_, known)) => {
                findings.broken(DIFFERENT, format!("{}; in the history it is {}", words_of(&known, oracle), words_of(&found, oracle)));
            }
            None => findings.broken(EXTRA, format!("{} is in the history only", words_of(&found, oracle))),
        }
    }
    for (_, known) in expected {
        findings.broken(MISSING, format!("{} is not in the history", words_of(&known, oracle)));
    }
    Ok(())
}

fn words_of(known: &Remembered, oracle: &Oracle) -> String {
    let campaign = oracle.campaign_at(known.campaign.0).map_or("(unknown)", |campaign| &*campaign.name);
    let (key, actor, at) = (&known.key, &known.actor, known.recorded_at.millis());
    format!("the request key {key:?} of {actor} in campaign {campaign}, of {at} ms, with the outcome {:?}", known.outcome)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
