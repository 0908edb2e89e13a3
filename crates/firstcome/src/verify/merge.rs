//! Claims as the history has them against claims as their records tell, both in the order of
//! campaign and serial, walked through together.

use projection::rows::BareClaim;

use super::findings::{EXTRA, Fields, Findings, MISSING};
use super::names::Names;
use super::rules::Claim;

/// What is expected: campaigns by number, their claims by rising serial.
pub(super) trait Expected {
    /// Where it comes from, for people.
    const SOURCE: &'static str;

    /// Name and claims of the campaign with this number.
    fn campaign(&self, number: u32) -> Option<(&str, &[Claim])>;

    fn subjects(&self) -> &Names;
}

/// The walk, at the next claim that is expected.
pub(super) struct Merge<'a, E> {
    expected: &'a E,
    findings: &'a mut Findings,
    /// The number of its campaign, and its place in it.
    campaign: u32,
    place: usize,
}

impl<'a, E: Expected> Merge<'a, E> {
    pub(super) fn new(expected: &'a E, findings: &'a mut Findings) -> Self {
        Self { expected, findings, campaign: 0, place: 0 }
    }

    /// The history's next row.
    pub(super) fn row(&mut self, row: &BareClaim<'_>) {
        let key = (row.number.0, row.serial.get());
        self.skip_to(key);
        match self.next() {
            Some((campaign, claim)) if key == (self.campaign, claim.serial) => {
                compare_claim(row, campaign, claim, self.expected, self.findings);
                self.place += 1;
            }
            _ => {
                let name = self.expected.campaign(key.0).map_or_else(|| format!("number {}", key.0), |(name, _)| name.to_owned());
                self.findings.broken(EXTRA, format!("claim {} of campaign {name} is in the history only", key.1));
            }
        }
    }

    /// The history has no more.
    pub(super) fn end(mut self) {
        self.skip_to((u32::MAX, u32::MAX));
    }

    /// Reports what is expected before this one: the history does not have it.
    fn skip_to(&mut self, key: (u32, u32)) {
        while let Some((campaign, claim)) = self.next() {
            if key <= (self.campaign, claim.serial) {
                break;
            }
            self.findings.broken(MISSING, format!("claim {} of campaign {campaign} is not in the history", claim.serial));
            self.place += 1;
        }
    }

    fn next(&mut self) -> Option<(&'a str, &'a Claim)> {
        loop {
            let (name, claims) = self.expected.campaign(self.campaign)?;
            if let Some(claim) = claims.get(self.place) {
                return Some((name, claim));
            }
            self.campaign += 1;
            self.place = 0;
        }
    }
}

fn compare_claim<E: Expected>(row: &BareClaim<'_>, campaign: &str, claim: &Claim, expected: &E, findings: &mut Findings) {
    let subject = expected.subjects().text(claim.subject);
    if (row.subject, row.claimed_at, row.status) == (subject, claim.claimed_at, claim.status()) {
        return;
    }
    let mut fields = Fields::of(E::SOURCE);
    fields.compare("subject", row.subject, subject);
    fields.compare("claimed_at", row.claimed_at.millis(), claim.claimed_at.millis());
    fields.compare("status", row.status, claim.status());
    fields.report(format!("claim {} of campaign {campaign}", claim.serial), findings);
}
