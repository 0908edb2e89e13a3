//! The history's rows against what the journal's records add up to, at the same record.

use std::ops::ControlFlow;

use projection::rows::CampaignRow;
use projection::{HistoryView, ReadError};

use super::findings::{EXTRA, Fields, Findings, MISSING};
use super::merge::{Expected, Merge};
use super::names::Names;
use super::rules::{Campaign, Claim, Rules};

/// Where what is expected comes from, for people.
const JOURNAL: &str = "journal";

pub(super) fn compare(view: &HistoryView<'_>, rules: &Rules, findings: &mut Findings) -> Result<(), ReadError> {
    let mut fields = Fields::of(JOURNAL);
    fields.compare("time", view.as_of().time.millis(), rules.time.millis());
    fields.report("the history's position".to_owned(), findings);
    compare_campaigns(&view.campaigns()?, rules, findings);
    let mut merge = Merge::new(rules, findings);
    view.for_each_bare_claim(|row| {
        merge.row(&row);
        ControlFlow::Continue(())
    })?;
    merge.end();
    Ok(())
}

fn compare_campaigns(rows: &[CampaignRow], rules: &Rules, findings: &mut Findings) {
    for (campaign, number) in rules.campaigns.iter().zip(0..) {
        match rows.iter().find(|row| row.number.0 == number) {
            None => findings.broken(MISSING, format!("campaign {} (number {number}) is not in the history", campaign.name)),
            Some(row) => compare_campaign(row, campaign, findings),
        }
    }
    for row in rows.iter().filter(|row| rules.campaigns.len() <= row.number.0 as usize) {
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
    fields.report(format!("campaign {}", campaign.name), findings);
}

impl Expected for Rules {
    const SOURCE: &'static str = JOURNAL;

    fn campaign(&self, number: u32) -> Option<(&str, &[Claim])> {
        self.campaigns.get(number as usize).map(|campaign| (&*campaign.name, campaign.decided()))
    }

    fn subjects(&self) -> &Names {
        &self.subjects
    }
}
