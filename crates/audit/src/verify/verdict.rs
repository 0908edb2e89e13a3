//! The verdict, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::Kind;
use domain::claims::ClaimStatus;
use journal::Lsn;
use oracle::Oracle;
use serde_json::{Value, json};

use super::findings::{Broken, Findings};
use super::walk::Walk;

/// The result of a verification.
#[derive(Debug)]
pub struct Verdict {
    /// Broken promises, at most [`super::BROKEN_KEPT_MAX`] of each kind, in the order in which they were
    /// found.
    pub broken: Vec<Broken>,
    /// The number of broken promises of each kind.
    pub broken_counts: BTreeMap<&'static str, u64>,
    /// Remarks that are not broken promises.
    pub notes: Vec<String>,
    /// The amounts of verified data.
    pub counts: Counts,
    /// The LSN up to which the history was compared; `None` if it was not.
    pub history_position: Option<u64>,
    /// The duration, set by the caller, which has the clock.
    pub seconds: Option<f64>,
}

/// The amounts of verified data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Segment files, including spare ones.
    pub segments: u64,
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Aggregates by the plural of their kind, such as `campaigns`.
    pub aggregates: BTreeMap<&'static str, u64>,
    /// Claims that can still be redeemed or cancelled.
    pub claims_live: u64,
    /// Claims that are accepted and not decided yet.
    pub claims_pending: u64,
    /// Claims that were redeemed.
    pub claims_redeemed: u64,
    /// Claims that were cancelled.
    pub claims_cancelled: u64,
}

impl Verdict {
    pub(super) fn new(walk: &Walk, segments_count: u64, history_position: Option<Lsn>, findings: Findings) -> Self {
        let mut counts = Counts::of(walk.oracle());
        counts.segments = segments_count;
        counts.batches = walk.batches_count;
        counts.records = walk.checked().0;
        counts.bytes = walk.bytes_count;
        let history_position = history_position.map(|position| position.0);
        Self { counts, history_position, ..Self::without_walk(findings) }
    }

    /// The verdict if the journal could not be opened far enough to read a batch.
    pub(super) fn without_walk(findings: Findings) -> Self {
        Self {
            broken: findings.broken,
            broken_counts: findings.counts,
            notes: findings.notes,
            counts: Counts::default(),
            history_position: None,
            seconds: None,
        }
    }

    /// Whether every promise holds.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    /// One object with stable members: `is_good`, `broken` (`promise` and `detail`), `broken_counts` (by
    /// promise), `notes`, `segments`, `batches`, `records`, `bytes`, a number for each kind (`campaigns`, …),
    /// `claims` (`live`, `pending`, `redeemed`, `cancelled`), `history_position` (a number or null) and
    /// `seconds` (a number or null).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Counts { segments, batches, records, bytes, .. } = self.counts;
        let verdict = json!({
            "is_good": self.is_good(),
            "broken": broken_to_json(&self.broken),
            "broken_counts": self.broken_counts,
            "notes": self.notes,
            "segments": segments,
            "batches": batches,
            "records": records,
            "bytes": bytes,
            "history_position": self.history_position,
            "seconds": self.seconds,
        });
        self.counts.beside(verdict)
    }

    /// The verdict for people; the last lines list broken promises, or say that there are none.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let counts = &self.counts;
        writeln!(text, "journal    {} records in {} batches, {} segments", counts.records, counts.batches, counts.segments)?;
        counts.write_text(text)?;
        match self.history_position {
            Some(position) => writeln!(text, "history    up to record {position}")?,
            None => writeln!(text, "history    not compared")?,
        }
        if let Some(seconds) = self.seconds {
            writeln!(text, "time       {seconds:.1} s")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))?;
        write_broken(&self.broken, &self.broken_counts, text)
    }
}

pub(super) fn broken_to_json(broken: &[Broken]) -> Vec<Value> {
    broken.iter().map(|broken| json!({ "promise": broken.promise, "detail": broken.detail })).collect()
}

/// The last lines of the text: the broken promises, or that there are none.
pub(super) fn write_broken(broken: &[Broken], counts: &BTreeMap<&'static str, u64>, text: &mut String) -> std::fmt::Result {
    if broken.is_empty() {
        return writeln!(text, "every promise holds");
    }
    broken.iter().try_for_each(|broken| writeln!(text, "BROKEN {}: {}", broken.promise, broken.detail))?;
    let totals: Vec<String> = counts.iter().map(|(promise, count)| format!("{count} {promise}")).collect();
    writeln!(text, "broken promises: {}", totals.join(", "))
}

impl Counts {
    fn of(oracle: &Oracle) -> Self {
        let mut counts = Self::default();
        counts.add(oracle);
        counts
    }

    /// Counts aggregates and claims.
    pub(super) fn add(&mut self, oracle: &Oracle) {
        for kind in Kind::ALL {
            let count = oracle.aggregates().filter(|aggregate| aggregate.kind() == *kind).count() as u64;
            *self.aggregates.entry(kind.path()).or_default() += count;
        }
        for (_, claim) in oracle.campaigns().flat_map(|campaign| campaign.claims()) {
            match claim.status {
                ClaimStatus::Pending => self.claims_pending += 1,
                ClaimStatus::Live => self.claims_live += 1,
                ClaimStatus::Redeemed { .. } => self.claims_redeemed += 1,
                ClaimStatus::Cancelled { .. } => self.claims_cancelled += 1,
            }
        }
    }

    /// Adds the numbers of aggregates and claims to a verdict.
    pub(super) fn beside(&self, mut verdict: Value) -> Value {
        let Self { claims_live, claims_pending, claims_redeemed, claims_cancelled, .. } = self;
        let claims = json!({ "live": claims_live, "pending": claims_pending, "redeemed": claims_redeemed, "cancelled": claims_cancelled });
        if let Some(members) = verdict.as_object_mut() {
            // A kind without aggregates is listed with 0.
            members.extend(Kind::ALL.iter().map(|kind| (kind.path().to_owned(), json!(self.of_kind(*kind)))));
            members.insert("claims".to_owned(), claims);
        }
        verdict
    }

    pub(super) fn of_kind(&self, kind: Kind) -> u64 {
        self.aggregates.get(kind.path()).copied().unwrap_or(0)
    }

    pub(super) fn write_text(&self, text: &mut String) -> std::fmt::Result {
        Kind::ALL.iter().try_for_each(|kind| writeln!(text, "{:<10} {}", kind.path(), self.of_kind(*kind)))?;
        let (live, redeemed, cancelled) = (self.claims_live, self.claims_redeemed, self.claims_cancelled);
        writeln!(text, "claims     {live} live, {redeemed} redeemed, {cancelled} cancelled")
    }
}
