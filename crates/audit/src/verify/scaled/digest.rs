//! The digest of the oracle's state, in the servers' format.

use std::sync::Arc;

use domain::Number;
use domain::request::{Fingerprint, Outcome as TheirOutcome, Remembered};
use domain::workload::{AnySummary, Head};
use engine::digest::{DIGEST_BYTES, RunningDigest};
use oracle::keys::Known;
use oracle::{Oracle, Outcome, View};

/// The digest that servers would compute; only its format is shared with them.
pub(super) fn digest(oracle: &Oracle) -> [u8; DIGEST_BYTES] {
    let mut digest = RunningDigest::default();
    for aggregate in oracle.aggregates() {
        let oracle::Head { number, name, version, created_at, .. } = aggregate.head().clone();
        let number = Number(number);
        digest.add_aggregate(&Head { name, number, version, created_at }, &aggregate.settings());
        aggregate.entries(&mut |bytes| digest.add_entry(number, bytes));
    }
    oracle.keys().iter().filter_map(|(_, known)| remembered(known)).for_each(|known| digest.add_request(&known));
    digest.value(oracle.time, oracle.decisions)
}

/// A request key as servers remember it; `None` for outcomes that are never remembered.
fn remembered(known: &Known) -> Option<Remembered> {
    let outcome = match &known.outcome {
        Outcome::Written { created, view } => TheirOutcome::Written { created: *created, summary: Box::new(summary_of(view)?) },
        Outcome::Removed(view) => TheirOutcome::Removed { summary: Box::new(summary_of(view)?) },
        Outcome::Did(number, answer) => TheirOutcome::Did(Number(*number), answer.outcome()?),
        Outcome::DidBoth((number, one), (other, others)) => {
            TheirOutcome::DidBoth((Number(*number), one.outcome()?), (Number(*other), others.outcome()?))
        }
        Outcome::KeysForgotten(_) | Outcome::TimeSet | Outcome::Nothing(_) => return None,
    };
    Some(Remembered {
        kind: known.scope.kind,
        name: Arc::clone(&known.scope.name),
        actor: known.scope.actor.clone(),
        key: known.scope.key.clone(),
        fingerprint: Fingerprint(known.fingerprint),
        recorded_at: known.at,
        outcome,
    })
}

/// `None` for figures that no aggregate of the kind can have.
fn summary_of(view: &View) -> Option<AnySummary> {
    let head = Head { name: Arc::clone(&view.name), number: Number(view.number), version: view.version, created_at: view.created_at };
    AnySummary::of(head, view.settings, &view.figures, view.at)
}
