//! From the types of `domain` to the oracle's, and a comparison of both states. Nothing is decided here:
//! each function says the same in other words.

use domain::claims::{Claim, ClaimStatus};
use domain::coupon::{self as theirs, Campaign as TheirCampaign};
use domain::fields::{Fields, Patch};
use domain::rate_limit::policies;
use domain::request::{Keyed, Outcome as TheirOutcome};
use domain::rows::{Cell, Table};
use domain::state::{Action, Change, Command, Decision, Done, Record, Rejection, State, Step as TheirStep};
use domain::types::{ActorId, LimitKey, Serial};
use domain::workload::AnySummary;

use crate::coupon::Campaign;
use crate::limit::Policy;
use crate::workload::{CommandOf, Rows, Translated};
use crate::{Answer, Ask, Effect, Happening, Key, No, Oracle, Outcome, Ruling, Said, Step, View, What, Wish, coupon, limit};

const MS_NS: u64 = 1_000_000;

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
        Action::SetTime { to } => What::SetTime(to),
    };
    Ask { key: command.request.map(|keyed| key(command.actor, keyed)), what }
}

fn key<'a>(actor: ActorId<'a>, keyed: Keyed<'a>) -> Key<'a> {
    Key { actor: actor.as_str(), key: keyed.key.as_str(), fingerprint: keyed.fingerprint.0 }
}

fn step<'a>(step: &TheirStep<'a>) -> Step<'a> {
    Step { name: step.name.as_str(), wish: Wish::of(step.command) }
}

/// The request key of a record.
#[must_use]
pub fn key_of<'a>(record: &Record<'a>) -> Option<Key<'a>> {
    record.request.map(|keyed| key(record.actor, keyed))
}

/// What a record says that has changed.
#[must_use]
pub fn effect(change: &Change<'_>) -> Effect {
    let one = |done: &Done<'_>| (done.number.0, Happening::of(&done.event));
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
        Change::TimeSet { from, to } => Effect::TimeSet { from: *from, to: *to },
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
        TheirOutcome::Did(number, one) => Outcome::Did(number.0, Answer::of(one)),
        TheirOutcome::DidBoth((number, one), (other, others)) => {
            Outcome::DidBoth((number.0, Answer::of(one)), (other.0, Answer::of(others)))
        }
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

/// Settings after a change.
pub(crate) fn with<S: Fields>(mut settings: S, patch: &Patch<S>) -> S {
    for (index, value) in patch.changes() {
        // A patch holds only values that its fields take.
        settings.set(index, value).unwrap_or_else(|error| panic!("field {index} of a patch {error}"));
    }
    settings
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
        expected.compare(found)
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

impl Translated for Campaign {
    fn ask(command: CommandOf<'_, Self>) -> Self::Ask<'_> {
        match command {
            theirs::Command::Claim { subject } => coupon::Ask::Claim(subject),
            theirs::Command::Redeem { by } => coupon::Ask::Redeem(by),
            theirs::Command::Cancel { by } => coupon::Ask::Cancel(by),
            theirs::Command::DecideNext { serial, subject } => coupon::Ask::DecideNext(serial, subject),
        }
    }

    fn effect(event: &theirs::Event<'_>) -> coupon::Effect {
        match *event {
            theirs::Event::Accepted { serial, subject } => coupon::Effect::Accepted(serial, subject.as_str().into()),
            theirs::Event::Claimed { serial, subject } => coupon::Effect::Claimed(serial, subject.as_str().into()),
            theirs::Event::Decided { serial, subject } => coupon::Effect::Decided(serial, subject.as_str().into()),
            theirs::Event::Redeemed { serial } => coupon::Effect::Redeemed(serial),
            theirs::Event::Cancelled { serial } => coupon::Effect::Cancelled(serial),
        }
    }

    fn answer(outcome: &theirs::Outcome) -> coupon::Outcome {
        match *outcome {
            theirs::Outcome::Claimed { serial } => coupon::Outcome::Claimed(serial),
            theirs::Outcome::Redeemed { serial } => coupon::Outcome::Redeemed(serial),
            theirs::Outcome::Cancelled { serial } => coupon::Outcome::Cancelled(serial),
        }
    }

    fn outcome(answer: &coupon::Outcome) -> Option<theirs::Outcome> {
        Some(match *answer {
            coupon::Outcome::Claimed(serial) => theirs::Outcome::Claimed { serial },
            coupon::Outcome::Redeemed(serial) => theirs::Outcome::Redeemed { serial },
            coupon::Outcome::Cancelled(serial) => theirs::Outcome::Cancelled { serial },
            coupon::Outcome::Nothing(_) => return None,
        })
    }

    fn rows(&self, _table: &Table) -> Rows<'_> {
        Box::new(self.claims().filter_map(|(serial, claim)| claim_row(serial, claim)))
    }

    fn entries(&self, each: &mut dyn FnMut(&[u8])) {
        for (serial, claim) in self.claims() {
            let (subject, claimed_at, status) = (claim.subject(), claim.claimed_at, claim.status);
            each(&theirs::claim_bytes(&Claim { serial, subject, claimed_at, status }));
        }
    }

    fn compare(&self, found: &TheirCampaign) -> Result<(), String> {
        let (name, claims) = (&self.head.name, &found.items.claims);
        same(|| format!("the number of claims of {name}"), claims.count(), self.claims().len())?;
        for (serial, claim) in self.claims() {
            let text = || format!("claim {} of {name}", serial.get());
            let one = claims.get(serial).ok_or_else(|| format!("{} is not there", text()))?;
            same(text, (one.subject, one.claimed_at, one.status), (claim.subject(), claim.claimed_at, claim.status))?;
            let mut held: Vec<_> = claims.holding(claim.subject()).collect();
            held.sort_unstable();
            same(|| format!("what {} holds of {name}", claim.subject()), held, self.held_by(claim.subject()))?;
        }
        Ok(())
    }
}

/// What is pending is in no table.
fn claim_row(serial: Serial, claim: &coupon::Claim) -> Option<Vec<Cell<'_>>> {
    let (status, changed_at) = match claim.status {
        ClaimStatus::Pending => return None,
        ClaimStatus::Live => ("live", Cell::Null),
        ClaimStatus::Redeemed { redeemed_at } => ("redeemed", Cell::Time(redeemed_at)),
        ClaimStatus::Cancelled { cancelled_at } => ("cancelled", Cell::Time(cancelled_at)),
    };
    let (serial, subject) = (Cell::Number(serial.get().into()), Cell::Text(claim.subject().as_str()));
    Some(vec![serial, subject, Cell::Time(claim.claimed_at), Cell::Text(status), changed_at])
}

impl Translated for Policy {
    fn ask(command: CommandOf<'_, Self>) -> Self::Ask<'_> {
        match command {
            policies::Command::PutOverride { key, numbers } => limit::Ask::PutOverride(key.as_str(), numbers),
            policies::Command::RemoveOverride { key } => limit::Ask::RemoveOverride(key.as_str()),
        }
    }

    fn effect(event: &policies::Event<'_>) -> limit::Effect {
        match *event {
            policies::Event::OverrideWritten { key, numbers } => limit::Effect::OverrideWritten(key.as_str().to_owned(), numbers),
            policies::Event::OverrideRemoved { key } => limit::Effect::OverrideRemoved(key.as_str().to_owned()),
        }
    }

    fn answer(outcome: &policies::Outcome) -> limit::Outcome {
        match *outcome {
            policies::Outcome::OverrideWritten { numbers, has_burst } => limit::Outcome::Overridden { numbers, has_burst },
            policies::Outcome::OverrideRemoved => limit::Outcome::OverrideRemoved,
        }
    }

    fn outcome(answer: &limit::Outcome) -> Option<policies::Outcome> {
        Some(match *answer {
            limit::Outcome::Overridden { numbers, has_burst } => policies::Outcome::OverrideWritten { numbers, has_burst },
            limit::Outcome::OverrideRemoved => policies::Outcome::OverrideRemoved,
        })
    }

    fn rows(&self, _table: &Table) -> Rows<'_> {
        Box::new(self.overrides.iter().map(|(key, numbers)| {
            let number = |number: u32| Cell::Number(number.into());
            vec![Cell::Text(key), number(numbers.quota), Cell::Number(numbers.window_ns / MS_NS), number(numbers.burst)]
        }))
    }

    fn entries(&self, each: &mut dyn FnMut(&[u8])) {
        for (key, numbers) in &self.overrides {
            // Only a valid key comes in.
            let key = LimitKey::new(key).unwrap_or_else(|error| panic!("the key {key:?} of an override {error}"));
            each(&policies::override_bytes(key, *numbers));
        }
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: impl FnOnce() -> String, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{}: {found:?}, and must be {expected:?}", what())) }
}
