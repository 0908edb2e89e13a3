//! The history's rows against what the journal's records add up to, at the same record.

use std::ops::ControlFlow;

use projection::rows::{BareClaim, CampaignRow};
use projection::{HistoryView, ReadError};

use super::findings::{EXTRA, Fields, Findings, MISSING};
use super::rules::{Campaign, Claim, Rules};

pub(super) fn compare(view: &HistoryView<'_>, rules: &Rules, findings: &mut Findings) -> Result<(), ReadError> {
    let mut fields = Fields::of("journal");
    fields.compare("time", view.as_of().time.millis(), rules.time.millis());
    fields.report("the history's position".to_owned(), findings);
    compare_campaigns(&view.campaigns()?, rules, findings);
    let mut merge = Merge { rules, findings, campaign: 0, place: 0 };
    view.for_each_bare_claim(|row| {
        merge.row(&row);
        ControlFlow::Continue(())
    })?;
    merge.skip_to((u32::MAX, u32::MAX));
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
    let mut fields = Fields::of("journal");
    fields.compare("name", &*row.name, &*campaign.name);
    fields.compare("version", row.version, campaign.version);
    fields.compare("code_key", row.code_key, campaign.code_key);
    fields.compare("created_at", row.created_at.millis(), campaign.created_at.millis());
    fields.compare("settings", row.settings, campaign.settings);
    fields.report(format!("campaign {}", campaign.name), findings);
}

/// Both sides in the order of campaign and serial, walked through together.
struct Merge<'a> {
    rules: &'a Rules,
    findings: &'a mut Findings,
    /// The next claim of the journal: its campaign, and its place in it.
    campaign: u32,
    place: usize,
}

impl<'a> Merge<'a> {
    fn row(&mut self, row: &BareClaim<'_>) {
        let key = (row.number.0, row.serial.get());
        self.skip_to(key);
        match self.next() {
            Some((campaign, claim)) if key == (self.campaign, claim.serial) => {
                compare_claim(row, campaign, claim, self.rules, self.findings);
                self.place += 1;
            }
            _ => self.findings.broken(EXTRA, format!("claim {} of campaign {} is in the history only", key.1, self.name(key.0))),
        }
    }

    /// Reports the journal's claims before this one: the history does not have them.
    fn skip_to(&mut self, key: (u32, u32)) {
        while let Some((campaign, claim)) = self.next() {
            if key <= (self.campaign, claim.serial) {
                break;
            }
            self.findings.broken(MISSING, format!("claim {} of campaign {} is not in the history", claim.serial, campaign.name));
            self.place += 1;
        }
    }

    fn next(&mut self) -> Option<(&'a Campaign, &'a Claim)> {
        let rules = self.rules;
        loop {
            let campaign = rules.campaigns.get(self.campaign as usize)?;
            if let Some(claim) = campaign.claims.get(self.place) {
                return Some((campaign, claim));
            }
            self.campaign += 1;
            self.place = 0;
        }
    }

    fn name(&self, number: u32) -> String {
        self.rules.campaigns.get(number as usize).map_or_else(|| format!("number {number}"), |campaign| campaign.name.clone())
    }
}

fn compare_claim(row: &BareClaim<'_>, campaign: &Campaign, claim: &Claim, rules: &Rules, findings: &mut Findings) {
    let subject = rules.subjects.text(claim.subject);
    if (row.subject, row.claimed_at, row.status) == (subject, claim.claimed_at, claim.status()) {
        return;
    }
    let mut fields = Fields::of("journal");
    fields.compare("subject", row.subject, subject);
    fields.compare("claimed_at", row.claimed_at.millis(), claim.claimed_at.millis());
    fields.compare("status", row.status, claim.status());
    fields.report(format!("claim {} of campaign {}", claim.serial, campaign.name), findings);
}
