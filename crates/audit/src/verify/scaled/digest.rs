//! What servers keep of the same state, in their formats: its digest.

use std::sync::Arc;

use domain::Number;
use domain::claims::Claim;
use domain::coupon::{self as coupons, CampaignState, claim_bytes};
use domain::keyring::{self as rings, KeyringFigures, key_bytes};
use domain::rate_limit::policies::{self, PolicyFigures, override_bytes};
use domain::request::{Fingerprint, Outcome as TheirOutcome, Remembered};
use domain::types::LimitKey;
use domain::workload::{AnyOutcome, AnySettings, AnySummary, Head, Summary};
use engine::digest::{DIGEST_BYTES, RunningDigest};
use oracle::keys::Known;
use oracle::{Aggregate, Answer, Oracle, Outcome, View, coupon, keyring, limit};

/// The digest that servers have; nothing but its format is shared with them.
pub(super) fn digest(oracle: &Oracle) -> [u8; DIGEST_BYTES] {
    let mut digest = RunningDigest::default();
    for aggregate in oracle.aggregates() {
        let oracle::Head { number, name, version, created_at, .. } = aggregate.head().clone();
        let number = Number(number);
        digest.add_aggregate(&Head { name, number, version, created_at }, &aggregate.settings());
        add_entries(&mut digest, number, aggregate);
    }
    oracle.keys().iter().filter_map(|(_, known)| remembered(known)).for_each(|known| digest.add_request(&known));
    digest.value(oracle.time, oracle.decisions)
}

fn add_entries(digest: &mut RunningDigest, number: Number, aggregate: &Aggregate) {
    match aggregate {
        Aggregate::Coupon(campaign) => {
            for (serial, claim) in campaign.claims() {
                let (subject, claimed_at, status) = (claim.subject(), claim.claimed_at, claim.status);
                digest.add_entry(number, &claim_bytes(&Claim { serial, subject, claimed_at, status }));
            }
        }
        Aggregate::Limit(policy) => {
            for (key, numbers) in &policy.overrides {
                // Only a valid key comes in.
                let key = LimitKey::new(key).unwrap_or_else(|error| panic!("the key {key:?} of an override {error}"));
                digest.add_entry(number, &override_bytes(key, *numbers));
            }
        }
        Aggregate::Keyring(ring) => ring.keys.iter().for_each(|(name, key)| digest.add_entry(number, &key_bytes(name, key))),
    }
}

/// A request key as servers remember it; `None` for what is never remembered.
fn remembered(known: &Known) -> Option<Remembered> {
    let outcome = match &known.outcome {
        Outcome::Written { created, view } => TheirOutcome::Written { created: *created, summary: Box::new(summary_of(view)?) },
        Outcome::Removed(view) => TheirOutcome::Removed { summary: Box::new(summary_of(view)?) },
        Outcome::Did(number, answer) => TheirOutcome::Did(Number(*number), outcome_of(*answer)?),
        Outcome::DidBoth((number, one), (other, others)) => {
            TheirOutcome::DidBoth((Number(*number), outcome_of(*one)?), (Number(*other), outcome_of(*others)?))
        }
        Outcome::KeysForgotten(_) | Outcome::Nothing(_) => return None,
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

fn outcome_of(answer: Answer) -> Option<AnyOutcome> {
    Some(match answer {
        Answer::Coupon(coupon::Outcome::Claimed(serial)) => AnyOutcome::Campaign(coupons::Outcome::Claimed { serial }),
        Answer::Coupon(coupon::Outcome::Redeemed(serial)) => AnyOutcome::Campaign(coupons::Outcome::Redeemed { serial }),
        Answer::Coupon(coupon::Outcome::Cancelled(serial)) => AnyOutcome::Campaign(coupons::Outcome::Cancelled { serial }),
        Answer::Coupon(coupon::Outcome::Nothing(_)) => return None,
        Answer::Limit(limit::Outcome::Overridden { numbers, has_burst }) => {
            AnyOutcome::Policy(policies::Outcome::OverrideWritten { numbers, has_burst })
        }
        Answer::Limit(limit::Outcome::OverrideRemoved) => AnyOutcome::Policy(policies::Outcome::OverrideRemoved),
        Answer::Keyring(keyring::Outcome::Created) => AnyOutcome::Keyring(rings::Outcome::KeyCreated),
        Answer::Keyring(keyring::Outcome::Rotated) => AnyOutcome::Keyring(rings::Outcome::KeyRotated),
        Answer::Keyring(keyring::Outcome::Revoked) => AnyOutcome::Keyring(rings::Outcome::KeyRevoked),
    })
}

/// `None` for figures that no aggregate of the kind has.
fn summary_of(view: &View) -> Option<AnySummary> {
    let head = Head { name: Arc::clone(&view.name), number: Number(view.number), version: view.version, created_at: view.created_at };
    let count = |name| u32::try_from(view.figure(name)).ok();
    Some(match view.settings {
        AnySettings::Campaign(settings) => {
            let figures = coupons::Figures {
                state: CampaignState::from_word(view.word("state"))?,
                claimed: count("claimed")?,
                remaining: count("remaining")?,
                pending: count("pending")?,
                redeemed: count("redeemed")?,
            };
            AnySummary::Campaign(Summary { head, settings, figures, at: view.at })
        }
        AnySettings::Policy(settings) => {
            AnySummary::Policy(Summary { head, settings, figures: PolicyFigures { overrides: count("overrides")? }, at: view.at })
        }
        AnySettings::Keyring(settings) => {
            let figures = KeyringFigures { keys: count("keys")?, changes: view.figure("changes") };
            AnySummary::Keyring(Summary { head, settings, figures, at: view.at })
        }
    })
}
