//! From the types of `domain` to the oracle's, and a comparison of both states. Nothing is decided here:
//! each function says the same in other words.

use domain::coupon::{self as theirs, Campaign as TheirCampaign};
use domain::fields::{Fields, Patch};
use domain::keyring::{self as rings, KeptKeyring};
use domain::rate_limit::policies::{self, KeptPolicy};
use domain::request::{Keyed, Outcome as TheirOutcome};
use domain::state::{Action, Change, Command, Decision, Done, Record, Rejection, State, Step as TheirStep};
use domain::types::ActorId;
use domain::workload::{AnyAggregate, AnyCommand, AnyEvent, AnyOutcome, AnyPatch, AnySettings, AnySummary};

use crate::keyring::{self, Ring};
use crate::limit::Policy;
use crate::{Aggregate, Answer, Ask, Effect, Happening, Key, No, Oracle, Outcome, Ruling, Said, Step, View, What, Wish, coupon, limit};

/// A command, as a question.
#[must_use]
pub fn ask<'a>(command: &Command<'a>) -> Ask<'a> {
    let what = match command.action {
        Action::Put { name, settings, precondition } => What::Put(name.as_str(), settings, precondition),
        Action::Patch { name, patch, precondition } => What::Patch(name.as_str(), patch, precondition),
        Action::Remove { kind, name, precondition } => What::Remove(kind, name.as_str(), precondition),
        Action::Do(one) => What::Do(step(&one)),
        Action::DoBoth(first, second) => What::DoBoth(step(&first), step(&second)),
        Action::ForgetRequests => What::ForgetKeys,
    };
    Ask { key: command.request.map(|keyed| key(command.actor, keyed)), what }
}

fn key<'a>(actor: ActorId<'a>, keyed: Keyed<'a>) -> Key<'a> {
    Key { actor: actor.as_str(), key: keyed.key.as_str(), fingerprint: keyed.fingerprint.0 }
}

fn step<'a>(step: &TheirStep<'a>) -> Step<'a> {
    let wish = match step.command {
        AnyCommand::Campaign(command) => Wish::Coupon(coupon_ask(command)),
        AnyCommand::Policy(command) => Wish::Limit(limit_ask(command)),
        AnyCommand::Keyring(command) => Wish::Keyring(keyring_ask(command)),
    };
    Step { name: step.name.as_str(), wish }
}

fn coupon_ask(command: theirs::Command<'_>) -> coupon::Ask<'_> {
    match command {
        theirs::Command::Claim { subject } => coupon::Ask::Claim(subject),
        theirs::Command::Redeem { by } => coupon::Ask::Redeem(by),
        theirs::Command::Cancel { by } => coupon::Ask::Cancel(by),
        theirs::Command::DecideNext { serial, subject } => coupon::Ask::DecideNext(serial, subject),
    }
}

fn limit_ask(command: policies::Command<'_>) -> limit::Ask<'_> {
    match command {
        policies::Command::PutOverride { key, numbers } => limit::Ask::PutOverride(key.as_str(), numbers),
        policies::Command::RemoveOverride { key } => limit::Ask::RemoveOverride(key.as_str()),
    }
}

fn keyring_ask(command: rings::Command<'_>) -> keyring::Ask<'_> {
    match command {
        rings::Command::CreateKey { by, key, scopes, campaigns, secret } => {
            keyring::Ask::Create { by, key: key.as_str(), scopes, campaigns: campaigns.as_str(), secret }
        }
        rings::Command::RotateKey { by, key, secret, overlap_ms } => keyring::Ask::Rotate { by, key: key.as_str(), secret, overlap_ms },
        rings::Command::RevokeKey { by, key } => keyring::Ask::Revoke { by, key: key.as_str() },
    }
}

/// The request key of a record.
#[must_use]
pub fn key_of<'a>(record: &Record<'a>) -> Option<Key<'a>> {
    record.request.map(|keyed| key(record.actor, keyed))
}

/// What a record says that has changed.
#[must_use]
pub fn effect(change: &Change<'_>) -> Effect {
    let one = |done: &Done<'_>| (done.number.0, happening(&done.event));
    match change {
        Change::Created { number, name, settings } => {
            Effect::Created { number: number.0, name: name.as_str().to_owned(), settings: *settings }
        }
        Change::Changed { number, settings } => Effect::Changed(number.0, *settings),
        Change::Removed { number } => Effect::Removed(number.0),
        Change::Did(done) => {
            let (number, happening) = one(done);
            Effect::Did(number, happening)
        }
        Change::DidBoth(first, second) => Effect::DidBoth(one(first), one(second)),
        Change::RequestsForgotten { count } => Effect::KeysForgotten(*count),
    }
}

fn happening(event: &AnyEvent<'_>) -> Happening {
    match event {
        AnyEvent::Campaign(event) => Happening::Coupon(match *event {
            theirs::Event::Accepted { serial, subject } => coupon::Effect::Accepted(serial, subject.as_str().into()),
            theirs::Event::Claimed { serial, subject } => coupon::Effect::Claimed(serial, subject.as_str().into()),
            theirs::Event::Decided { serial, subject } => coupon::Effect::Decided(serial, subject.as_str().into()),
            theirs::Event::Redeemed { serial } => coupon::Effect::Redeemed(serial),
            theirs::Event::Cancelled { serial } => coupon::Effect::Cancelled(serial),
        }),
        AnyEvent::Policy(event) => Happening::Limit(match *event {
            policies::Event::OverrideWritten { key, numbers } => limit::Effect::OverrideWritten(key.as_str().to_owned(), numbers),
            policies::Event::OverrideRemoved { key } => limit::Effect::OverrideRemoved(key.as_str().to_owned()),
        }),
        AnyEvent::Keyring(event) => Happening::Keyring(match *event {
            rings::Event::KeyCreated { key, scopes, campaigns, secret } => {
                let (key, campaigns) = (key.as_str().to_owned(), campaigns.as_str().to_owned());
                keyring::Effect::Created { key, scopes, campaigns, secret: secret.get() }
            }
            rings::Event::KeyRotated { key, secret, overlap_ms } => {
                keyring::Effect::Rotated { key: key.as_str().to_owned(), secret: secret.get(), overlap_ms }
            }
            rings::Event::KeyRevoked { key } => keyring::Effect::Revoked(key.as_str().to_owned()),
        }),
    }
}

/// What the rules of `domain` decided, as an answer.
///
/// # Errors
/// The rejection, as a [`No`].
pub fn said(decided: &Result<Decision<'_>, Rejection>) -> Result<Decided, No> {
    match decided {
        Ok(Decision::Change(change)) => Ok(Decided::Effect(effect(change))),
        Ok(Decision::Answer(answer)) => Ok(Decided::Answer(outcome(&answer.outcome), answer.novelty)),
        Ok(Decision::Nothing) => Ok(Decided::Nothing),
        Err(rejection) => Err(no(rejection)),
    }
}

/// As much of an answer as `domain` says of its own: not the reason why nothing happens, and not the
/// answer to what takes effect, which comes with the effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decided {
    /// Something changes.
    Effect(Effect),
    /// Nothing changes, and this is the answer.
    Answer(Outcome, domain::Novelty),
    /// Nothing changes, and nobody waits for an answer.
    Nothing,
}

/// The oracle's answer in the same form.
///
/// # Errors
/// Its [`No`].
pub fn decided(said: Said) -> Result<Decided, No> {
    let Ruling { outcome, novelty, effect } = said?;
    Ok(match (effect, outcome) {
        (Some(effect), _) => Decided::Effect(effect),
        (None, Outcome::Nothing(_)) => Decided::Nothing,
        (None, outcome) => Decided::Answer(outcome, novelty),
    })
}

/// An answer as `domain` remembers it.
#[must_use]
pub fn outcome(outcome: &TheirOutcome) -> Outcome {
    match outcome {
        TheirOutcome::Written { created, summary } => Outcome::Written { created: *created, view: Box::new(view_of(summary)) },
        TheirOutcome::Removed { summary } => Outcome::Removed(Box::new(view_of(summary))),
        TheirOutcome::Did(number, one) => Outcome::Did(number.0, answer(one)),
        TheirOutcome::DidBoth((number, one), (other, others)) => Outcome::DidBoth((number.0, answer(one)), (other.0, answer(others))),
    }
}

fn answer(outcome: &AnyOutcome) -> Answer {
    match outcome {
        AnyOutcome::Campaign(outcome) => Answer::Coupon(match *outcome {
            theirs::Outcome::Claimed { serial } => coupon::Outcome::Claimed(serial),
            theirs::Outcome::Redeemed { serial } => coupon::Outcome::Redeemed(serial),
            theirs::Outcome::Cancelled { serial } => coupon::Outcome::Cancelled(serial),
        }),
        AnyOutcome::Policy(outcome) => Answer::Limit(match *outcome {
            policies::Outcome::OverrideWritten { numbers, has_burst } => limit::Outcome::Overridden { numbers, has_burst },
            policies::Outcome::OverrideRemoved => limit::Outcome::OverrideRemoved,
        }),
        AnyOutcome::Keyring(outcome) => Answer::Keyring(match outcome {
            rings::Outcome::KeyCreated => keyring::Outcome::Created,
            rings::Outcome::KeyRotated => keyring::Outcome::Rotated,
            rings::Outcome::KeyRevoked => keyring::Outcome::Revoked,
        }),
    }
}

fn view_of(summary: &AnySummary) -> View {
    let head = summary.head();
    View {
        number: head.number.0,
        name: head.name.clone(),
        version: head.version,
        created_at: head.created_at,
        settings: summary.settings(),
        figures: summary.figures().into_iter().map(|(field, value)| (field.name, value)).collect(),
        at: summary.at(),
    }
}

/// A rejection, as a no.
#[must_use]
pub fn no(rejection: &Rejection) -> No {
    No { code: rejection.code(), details: rejection.details() }
}

/// Settings after a change; those of another kind stay as they are.
#[must_use]
pub fn patched(old: AnySettings, patch: &AnyPatch) -> AnySettings {
    fn with<S: Fields>(mut settings: S, patch: &Patch<S>) -> S {
        for (index, value) in patch.changes() {
            // A patch holds only values that its fields take.
            settings.set(index, value).unwrap_or_else(|error| panic!("field {index} of a patch {error}"));
        }
        settings
    }
    match (old, patch) {
        (AnySettings::Campaign(settings), AnyPatch::Campaign(patch)) => AnySettings::Campaign(with(settings, patch)),
        (AnySettings::Policy(settings), AnyPatch::Policy(patch)) => AnySettings::Policy(with(settings, patch)),
        (AnySettings::Keyring(settings), AnyPatch::Keyring(patch)) => AnySettings::Keyring(with(settings, patch)),
        (AnySettings::Campaign(_) | AnySettings::Policy(_) | AnySettings::Keyring(_), _) => old,
    }
}

/// Compares the state of `domain` with everything that the oracle knows.
///
/// # Errors
/// The first difference in words.
pub fn compare(oracle: &Oracle, state: &State) -> Result<(), String> {
    same(|| "the time".to_owned(), state.time, oracle.time)?;
    same(|| "the number of aggregates".to_owned(), state.aggregates().count(), oracle.aggregates().len())?;
    state.aggregates().zip(oracle.aggregates()).try_for_each(|(found, expected)| {
        let head = expected.head();
        same(|| format!("{} {}", expected.kind().word(), head.name), view_of(&found.summary(oracle.time)), expected.view(oracle.time))?;
        match (found, expected) {
            (AnyAggregate::Campaign(found), Aggregate::Coupon(expected)) => compare_claims(found, expected),
            (AnyAggregate::Policy(found), Aggregate::Limit(expected)) => compare_overrides(found, expected),
            (AnyAggregate::Keyring(found), Aggregate::Keyring(expected)) => compare_api_keys(found, expected),
            _ => Err(format!("{} is a {}, and must be a {}", head.name, found.kind().word(), expected.kind().word())),
        }
    })
}

/// Compares the request keys that are remembered, with their answers; both sides must have forgotten the
/// same ones.
///
/// # Errors
/// The first difference in words.
pub fn compare_keys(oracle: &Oracle, state: &State) -> Result<(), String> {
    same(|| "the number of request keys".to_owned(), state.requests.len(), oracle.keys().count())?;
    state.requests.iter().zip(oracle.keys().iter()).try_for_each(|(found, (_, expected))| {
        let scope = &expected.scope;
        let what = || format!("the request key {} of {} {}", scope.key, scope.kind.word(), scope.name);
        same(what, (found.kind, &found.name, &found.actor, &found.key), (scope.kind, &scope.name, &scope.actor, &scope.key))?;
        same(what, (found.fingerprint.0, found.recorded_at), (expected.fingerprint, expected.at))?;
        same(what, outcome(&found.outcome), expected.outcome.clone())
    })
}

fn compare_claims(found: &TheirCampaign, expected: &coupon::Campaign) -> Result<(), String> {
    let (name, claims) = (&expected.head.name, &found.items.claims);
    same(|| format!("the number of claims of {name}"), claims.count(), expected.claims().len())?;
    for (serial, claim) in expected.claims() {
        let text = || format!("claim {} of {name}", serial.get());
        let one = claims.get(serial).ok_or_else(|| format!("{} is not there", text()))?;
        same(text, (one.subject, one.claimed_at, one.status), (claim.subject(), claim.claimed_at, claim.status))?;
        let mut held: Vec<_> = claims.holding(claim.subject()).collect();
        held.sort_unstable();
        same(|| format!("what {} holds of {name}", claim.subject()), held, expected.held_by(claim.subject()))?;
    }
    Ok(())
}

fn compare_overrides(found: &KeptPolicy, expected: &Policy) -> Result<(), String> {
    let overrides = found.items.overrides.iter().map(|(key, numbers)| (key.to_string(), *numbers)).collect();
    same(|| format!("the overrides of {}", expected.head.name), &overrides, &expected.overrides)
}

fn compare_api_keys(found: &KeptKeyring, expected: &Ring) -> Result<(), String> {
    let keys = found.items.ring.keys.iter().map(|(name, key)| (name.to_string(), key.clone())).collect();
    same(|| "the keys".to_owned(), &keys, &expected.keys)
}

fn same<T: PartialEq + std::fmt::Debug>(what: impl FnOnce() -> String, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{}: {found:?}, and must be {expected:?}", what())) }
}
