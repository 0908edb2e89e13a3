//! Claims as the history has them against claims as their records tell, both in the order of
//! campaign and serial, walked through together.

use std::iter::Peekable;

use domain::claims::ClaimStatus;
use domain::types::Serial;
use oracle::Oracle;
use oracle::coupon::Claim;
use projection::rows::BareClaim;

use super::findings::{EXTRA, Fields, Findings, MISSING};

/// A claim that the history must have.
pub(super) struct Expected<'a> {
    number: u32,
    campaign: &'a str,
    serial: Serial,
    claim: &'a Claim,
}

/// The decided claims, by campaign and serial.
pub(super) fn decided(oracle: &Oracle) -> impl Iterator<Item = Expected<'_>> {
    claims(oracle, |status| status != ClaimStatus::Pending)
}

fn claims(oracle: &Oracle, wanted: fn(ClaimStatus) -> bool) -> impl Iterator<Item = Expected<'_>> {
    oracle.campaigns().flat_map(move |campaign| {
        let claims = campaign.claims().filter(move |(_, claim)| wanted(claim.status));
        claims.map(|(serial, claim)| Expected { number: campaign.number, campaign: &campaign.name, serial, claim })
    })
}

/// The pending claims.
#[cfg(feature = "scaled")]
pub(super) fn pending(oracle: &Oracle) -> impl Iterator<Item = Expected<'_>> {
    claims(oracle, |status| status == ClaimStatus::Pending)
}

/// The walk, at the next claim that is expected.
pub(super) struct Merge<'a, I: Iterator> {
    /// Where what is expected comes from, for people.
    source: &'static str,
    oracle: &'a Oracle,
    expected: Peekable<I>,
    findings: &'a mut Findings,
}

impl<'a, I: Iterator<Item = Expected<'a>>> Merge<'a, I> {
    pub(super) fn new(source: &'static str, oracle: &'a Oracle, expected: I, findings: &'a mut Findings) -> Self {
        Self { source, oracle, expected: expected.peekable(), findings }
    }

    /// The history's next row.
    pub(super) fn row(&mut self, row: &BareClaim<'_>) {
        let key = (row.number.0, row.serial);
        self.skip_to(Some(key));
        match self.expected.next_if(|expected| expected.key() == key) {
            Some(expected) => compare_claim(row, &expected, self.source, self.findings),
            None => {
                let campaign = self.oracle.campaign_at(key.0);
                let name = campaign.map_or_else(|| format!("number {}", key.0), |campaign| campaign.name.to_string());
                self.findings.broken(EXTRA, format!("claim {} of campaign {name} is in the history only", key.1.get()));
            }
        }
    }

    /// The history has no more.
    pub(super) fn end(mut self) {
        self.skip_to(None);
    }

    /// Reports what is expected before this one: the history does not have it.
    fn skip_to(&mut self, key: Option<(u32, Serial)>) {
        while let Some(missing) = self.expected.next_if(|expected| key.is_none_or(|key| expected.key() < key)) {
            let Expected { campaign, serial, .. } = missing;
            self.findings.broken(MISSING, format!("claim {} of campaign {campaign} is not in the history", serial.get()));
        }
    }
}

impl Expected<'_> {
    fn key(&self) -> (u32, Serial) {
        (self.number, self.serial)
    }
}

fn compare_claim(row: &BareClaim<'_>, expected: &Expected<'_>, source: &'static str, findings: &mut Findings) {
    let &Expected { campaign, serial, claim, .. } = expected;
    let mut fields = Fields::of(source);
    fields.compare("subject", row.subject, claim.subject().as_str());
    fields.compare("claimed_at", row.claimed_at.millis(), claim.claimed_at.millis());
    fields.compare("status", row.status, claim.status);
    fields.report(|| format!("claim {} of campaign {campaign}", serial.get()), findings);
}
