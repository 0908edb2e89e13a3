//! The history's rows against what the journal's records add up to, at the same record.

use std::ops::ControlFlow;

use oracle::Oracle;
use oracle::coupon::Campaign;
use projection::rows::CampaignRow;
use projection::{HistoryView, ReadError};

use super::findings::{EXTRA, Fields, Findings, MISSING};
use super::merge::{self, Merge};

/// Where what is expected comes from, for people.
const JOURNAL: &str = "journal";

pub(super) fn compare(view: &HistoryView<'_>, oracle: &Oracle, findings: &mut Findings) -> Result<(), ReadError> {
    let mut fields = Fields::of(JOURNAL);
    fields.compare("time", view.as_of().time.millis(), oracle.time.millis());
    fields.report(|| "the history's position".to_owned(), findings);
    compare_campaigns(&view.campaigns()?, oracle, findings);
    let mut merge = Merge::new(JOURNAL, oracle, merge::decided(oracle), findings);
    view.for_each_bare_claim(|row| {
        merge.row(&row);
        ControlFlow::Continue(())
    })?;
    merge.end();
    Ok(())
}

fn compare_campaigns(rows: &[CampaignRow], oracle: &Oracle, findings: &mut Findings) {
    for campaign in oracle.campaigns() {
        let number = campaign.number;
        match rows.iter().find(|row| row.number.0 == number) {
            None => findings.broken(MISSING, format!("campaign {} (number {number}) is not in the history", campaign.name)),
            Some(row) => compare_campaign(row, campaign, findings),
        }
    }
    for row in rows.iter().filter(|row| oracle.campaign_at(row.number.0).is_none()) {
        findings.broken(EXTRA, format!("campaign {} (number {}) is in the history only", row.name, row.number.0));
    }
}

fn compare_campaign(row: &CampaignRow, campaign: &Campaign, findings: &mut Findings) {
    let mut fields = Fields::of(JOURNAL);
    fields.compare("name", &*row.name, &*campaign.name);
    fields.compare("version", row.version, campaign.version);
    fields.compare("code_key", row.code_key, campaign.code_key);
    fields.compare("created_at", row.created_at.millis(), campaign.created_at.millis());
    fields.compare("settings", row.settings, campaign.settings);
    fields.report(|| format!("campaign {}", campaign.name), findings);
}
